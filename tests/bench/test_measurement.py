"""Rows of benchmarks."""

from g2rpo_env.bench.measurement import Row


def test_rows_compare_by_what_they_say() -> None:
    assert Row("a", 1.0, "ratio") == Row("a", 1.0, "ratio") != Row("a", 2.0, "ratio")
