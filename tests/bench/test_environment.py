"""bench: both sides compute the same, useful tokens are counted right, and the file holds what was printed."""

import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from g2rpo_env.cli import bench
from g2rpo_env.errors import ConfigurationError


def test_both_vectorisations_compute_the_same() -> None:
    bench.same_computation(steps=50)


def test_a_difference_between_the_sides_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(gym.vector.VectorWrapper):
        def step(self, actions: np.ndarray) -> tuple:
            observation, *rest = self.env.step(actions)
            return {**observation, "length": observation["length"] + 1}, *rest

    make = bench.make_sync
    monkeypatch.setattr(bench, "make_sync", lambda lanes: Other(make(lanes)))
    with pytest.raises(AssertionError, match="length"):
        bench.same_computation(steps=1)


def test_the_observation_has_the_length_that_the_rows_name() -> None:
    assert bench.make_single(300).observation_space["tokens"].shape == (300,)
    assert bench.make_lanes(2).single_observation_space["tokens"].shape == (bench.LENGTH,)


def test_the_file_holds_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    rows = [bench.Row("stepping", 1234.5, "tokens/s"), bench.Row("ours / theirs", 2.5, "ratio")]
    monkeypatch.setitem(bench.BENCHMARKS, "env", lambda repeats: rows)
    bench.main(["env", "--json", str(tmp_path / "b.json")])
    found = json.loads((tmp_path / "b.json").read_text())
    assert found[1] == {"name": "ours / theirs", "value": 2.5, "unit": "ratio"} and len(found) == 2
    shown = capsys.readouterr().out
    assert "1,234" in shown and "2.50" in shown


@pytest.mark.parametrize("argv,message", [(["gpu"], "what='gpu'"), (["env", "--repeats", "0"], "repeats=0")])
def test_bad_options_are_named(argv: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        bench.main(argv)
