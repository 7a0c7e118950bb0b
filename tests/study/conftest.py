"""A ground on which a run takes a tenth of a second, and a folder that is shared by the tests of a module."""

from dataclasses import replace

import pytest

from g2rpo_env.agents.warm_start import WarmStart
from g2rpo_env.experiments.families import FAMILIES
from g2rpo_env.study.grounds import Ground, Scale

ENV = "g2rpo_env/Addition-v0"


@pytest.fixture(scope="module")
def tiny():
    """Sums of one digit, a model of width 16, three updates."""
    family = replace(
        FAMILIES[ENV],
        task={"digits": 1},
        warm=WarmStart((0.0, 1.0), max_steps=2, samples=8),
        longest=8.0,
        shortest=1.0,
        updates=3,
    )
    return Ground("tiny", ENV, family, hidden_size=16, layers=1, evaluation_problems=8, evaluations=2)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Keep warm starts out of the user's cache."""
    monkeypatch.setenv("G2RPO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def scale(tiny, monkeypatch):
    """Two seeds on the tiny ground, as all forms of a claim see it."""
    monkeypatch.setattr("g2rpo_env.study.grounds.REDUCED", tiny)
    return Scale("reduced", (0, 1), small=True)
