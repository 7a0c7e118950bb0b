"""The benchmarks by name: each has a title, and those that need torch take a place."""

from typing import Any

import pytest

from g2rpo_env.bench import update
from g2rpo_env.bench.benchmarks import BENCHMARKS, TITLES, WITH_TORCH
from g2rpo_env.bench.device import Place
from g2rpo_env.bench.measurement import Measurement


def test_every_benchmark_has_a_title() -> None:
    assert set(BENCHMARKS) == set(TITLES) >= set(WITH_TORCH)


def test_the_arguments_of_a_place_reach_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(repeats: int, place: Place) -> list[Any]:
        return [Measurement(place.dtype, repeats, "repeats")]

    monkeypatch.setattr(update, "bench_update", measure)
    assert BENCHMARKS["update"](3, dtype="bfloat16") == [Measurement("bfloat16", 3, "repeats")]
