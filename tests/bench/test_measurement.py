"""Measurements of benchmarks."""

from g2rpo_env.bench.measurement import Measurement


def test_measurements_compare_by_what_they_say() -> None:
    assert Measurement("a", 1.0, "ratio") == Measurement("a", 1.0, "ratio") != Measurement("a", 2.0, "ratio")
