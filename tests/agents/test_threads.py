"""Threads: small models get one, large ones the cores that are idle, and what the user says stays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from g2rpo_env.agents import threads
from g2rpo_env.agents.threads import SMALL, VARIABLES, choose_threads, fit_threads
from g2rpo_env.errors import ConfigurationError


class Model:
    """A model that has nothing but a number of parameters."""

    def __init__(self, parameters: int, device: str = "cpu") -> None:
        self.weight = torch.empty(parameters, device="meta")
        self.device = device

    def parameters(self) -> list[Any]:
        return [type("Weight", (), {"numel": self.weight.numel, "device": torch.device(self.device)})]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, float]]:
    """Eight cores, of which ``idle`` are; no number of threads is stated."""
    now = {"cores": 8, "idle": 8.0}
    before = torch.get_num_threads()
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads._Record, "number", before)
    monkeypatch.setattr(threads, "available_cores", lambda: int(now["cores"]))
    monkeypatch.setattr(threads, "idle_cores", lambda: now["idle"])
    yield now
    torch.set_num_threads(before)


def test_the_number_by_hand() -> None:
    large = SMALL
    assert choose_threads(SMALL - 1, cores=8, idle=8.0) == 1
    assert [choose_threads(large, 8, idle) for idle in (8.0, 7.8, 7.6, 1.2, 0.9, 0.0)] == [8, 8, 7, 1, 1, 1]
    assert choose_threads(large, 2, 8.0) == 2


def test_a_small_model_gets_one_thread_and_a_large_one_the_idle_cores(machine: dict[str, float]) -> None:
    found = fit_threads(Model(357_360))
    assert found.number == torch.get_num_threads() == 1
    assert str(found) == "1 torch thread: 357,360 parameters, more would wait for each other"
    machine["idle"] = 2.1
    found = fit_threads(Model(135_000_000))
    assert found.number == torch.get_num_threads() == 2
    assert str(found) == "2 torch threads: 135,000,000 parameters, 2.1 of 8 cores are idle"
    machine["cores"] = 1
    assert fit_threads(Model(135_000_000)).reason == "135,000,000 parameters, of the single core"


def test_a_policy_is_as_good_as_its_model(make_envs: Any, make_policy: Any) -> None:
    assert fit_threads(make_policy(make_envs())).number == 1


def test_what_the_user_asks_for_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fit_threads(Model(10), 3).number == torch.get_num_threads() == 3
    assert fit_threads(Model(10)).number == 1  # what was set here before is nobody's wish
    torch.set_num_threads(2)
    found = fit_threads(Model(10))
    assert found.number == torch.get_num_threads() == 2 and "set_num_threads" in found.reason
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert fit_threads(Model(10)).reason == "as OMP_NUM_THREADS=2 says" and torch.get_num_threads() == 2
    assert fit_threads(Model(10), 1).number == torch.get_num_threads() == 1  # the option is the later word
    with pytest.raises(ConfigurationError, match="threads=0"):
        fit_threads(Model(10), 0)


def test_a_model_elsewhere_leaves_the_threads_as_they_are() -> None:
    before = torch.get_num_threads()
    assert fit_threads(Model(10, "cuda:0")).number == torch.get_num_threads() == before
