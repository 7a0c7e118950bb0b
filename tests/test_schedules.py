"""Replay: a list of lengths, whatever the reward."""

import math

import pytest

from g2rpo_env import FixedGuidance, Replay
from g2rpo_env.errors import ConfigurationError


def test_lengths_are_played_in_order_and_the_last_one_stays() -> None:
    replay = Replay(lengths=(45, 44, 40))
    assert replay.length == 45.0
    assert [replay.update(reward=r) for r in (0.0, 1.0, 0.5, 0.2)] == [44.0, 40.0, 40.0, 40.0]
    assert replay.history[0] == {"reward": 0.0, "length": 44.0}


def test_an_update_without_valid_episodes_moves_on_all_the_same() -> None:
    replay = Replay(lengths=(3, 2, 1))
    assert [replay.update(reward=math.nan), replay.update(reward=0.5)] == [2.0, 1.0]


def test_a_recorded_run_is_played_back_exactly() -> None:
    from g2rpo_env import TargetSuccess

    original = TargetSuccess(length=20, source="all")
    rewards = (0.1, 0.9, math.nan, 0.4)
    used = [original.length] + [original.update(reward=r) for r in rewards]
    replay = Replay(lengths=tuple(used))
    assert [replay.length] + [replay.update(reward=0.0) for _ in rewards] == used


def test_a_state_continues_at_its_place() -> None:
    lengths = tuple(range(10, 0, -1))
    whole, first, second = (Replay(lengths=lengths) for _ in range(3))
    expected = [whole.update(reward=0.5) for _ in range(6)]
    assert [first.update(reward=0.5) for _ in range(3)] == expected[:3]
    second.load_state_dict(first.state_dict())
    assert second.length == expected[2]
    assert [second.update(reward=0.5) for _ in range(3)] == expected[3:]
    assert second.history == whole.history


def test_the_plan_is_the_current_length_for_everybody() -> None:
    replay = Replay(lengths=(3, 2))
    replay.update(reward=0.5)
    assert replay.plan(["a", "b"], [0, 1]).tolist() == FixedGuidance(length=2).plan(["a", "b"], [0, 1]).tolist()


@pytest.mark.parametrize(
    "lengths,words",
    [
        ((), "lengths must hold at least one length"),
        ((3, -1), "lengths must all be finite and at least 0, got -1.0"),
        ((math.inf,), "got inf"),
        ((1, math.nan), "got nan"),
    ],
)
def test_bad_lengths_are_named(lengths: tuple[float, ...], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Replay(lengths=lengths)
