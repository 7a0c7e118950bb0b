"""Protocols: every part of the library is called as the protocol of its slot says."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import pytest
from toys import CountedCredit, EntropyMean, EntropySum, EvenCredit, Follower, LateCredit, Scaled

from g2rpo_env.agents import parts
from g2rpo_env.agents.parts import protocols
from g2rpo_env.agents.parts.protocols import Stateful, Trainable
from g2rpo_env.agents.parts.references import FrozenCopy, WithoutAdapter
from g2rpo_env.controllers import FixedGuidance
from g2rpo_env.errors import ConfigurationError

SLOTS = {
    "strategies": "Strategy",
    "shaping": "Shaping",
    "selection": "Selection",
    "advantages": "Advantage",
    "token_weights": "TokenWeight",
    "losses": "Loss",
    "references": "ReferenceTerm",
}


def arguments(kind: Any) -> list[str]:
    """Names of the positional arguments of a call, without ``self``."""
    found = inspect.signature(kind.__call__).parameters.values()
    return [p.name for p in found if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]


@pytest.mark.parametrize("slot", SLOTS)
def test_every_part_takes_the_arguments_of_its_slot(slot: str) -> None:
    offered = importlib.import_module(f"g2rpo_env.agents.parts.{slot}")
    kinds = [getattr(offered, name) for name in offered.__all__ if name in parts.__all__]
    assert kinds
    for kind in kinds:
        sees_all = slot == "advantages" and "groups" in getattr(kind, "requires", ())
        protocol = getattr(protocols, "UpdateAdvantage" if sees_all else SLOTS[slot])
        if kind.__name__ not in ("Every", "OfPositive", "TopEntropy"):  # filters inside a token weight
            assert arguments(kind) == arguments(protocol), kind


def test_stateful_and_trainable_are_told_by_their_methods() -> None:
    assert isinstance(Scaled(), Trainable) and isinstance(Scaled(), Stateful)
    assert isinstance(FixedGuidance(), Stateful) and not isinstance(FixedGuidance(), Trainable)
    assert not isinstance(parts.ClippedSurrogate(), Stateful)


def test_a_part_trains_its_numbers_without_being_told_of_steps() -> None:
    kind = type("Unbounded", (), {n: getattr(Scaled, n) for n in ("state_dict", "load_state_dict", "optimizer")})
    assert isinstance(kind(), Trainable) and not hasattr(kind, "stepped")


@pytest.mark.parametrize(
    ("kind", "protocol"),
    [(CountedCredit, "Credit"), (EvenCredit, "Credit"), (LateCredit, "Credit")]
    + [(EntropyMean, "Regularizer"), (EntropySum, "Regularizer")],
)
def test_credits_and_regularizers_take_the_arguments_of_their_slots(kind: Any, protocol: str) -> None:
    assert arguments(kind) == arguments(getattr(protocols, protocol))


@pytest.mark.parametrize("kind", [FrozenCopy, WithoutAdapter, Follower])
def test_references_have_a_model_and_a_state(kind: Any) -> None:
    assert all(callable(getattr(kind, name)) for name in ("model", "state_dict", "load_state_dict"))


@pytest.mark.parametrize("inner", [parts.GroupCentered, None, "GroupCentered"])
def test_a_part_inside_another_must_be_one_that_can_be_called(inner: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"inner=.* must be an object that is called with \(reward_G\)"):
        protocols.check_inner(inner, "reward_G")
    protocols.check_inner(parts.GroupCentered(), "reward_G")


def test_a_part_inside_another_must_keep_nothing_for_nobody_would_save_it() -> None:
    with pytest.raises(ConfigurationError, match="inner=CountedCredit must keep nothing between updates"):
        protocols.check_inner(CountedCredit(), "groups, advantage_PG")
