"""Tools that all rules share."""

import threading

import numpy as np
import pytest
from broken import TASK

from g2rpo_env import TokenEnv, TokenVectorEnv
from g2rpo_env.checks import rules
from g2rpo_env.errors import ConformanceError, G2RPOError


def fails() -> None:
    raise KeyError("x")


def test_a_broken_rule_raises_its_text() -> None:
    rules.require(True, "kept")
    with pytest.raises(ConformanceError, match="^broken$") as caught:
        rules.require(False, "broken")
    assert isinstance(caught.value, G2RPOError) and isinstance(caught.value, AssertionError)


def test_no_other_error_escapes() -> None:
    with pytest.raises(ConformanceError, match="the source raises KeyError in ordinary use: 'x'"):
        with rules.no_error_escapes("source"):
            fails()
    with pytest.raises(ConformanceError, match="^broken$"):
        with rules.no_error_escapes("source"):
            rules.require(False, "broken")
    with pytest.raises(KeyboardInterrupt):
        with rules.no_error_escapes("source"):
            raise KeyboardInterrupt


def test_a_call_must_raise_one_kind_of_error() -> None:
    rules.check_raises(fails, LookupError, "call")
    with pytest.raises(ConformanceError, match="call must raise TypeError, not KeyError: 'x'"):
        rules.check_raises(fails, TypeError, "call")
    with pytest.raises(ConformanceError, match="call must raise TypeError, but is taken"):
        rules.check_raises(lambda: None, TypeError, "call")


def test_the_base_must_be_of_this_library() -> None:
    rules.check_base(TokenEnv(TASK), TokenEnv)
    with pytest.raises(ConformanceError, match="TokenEnv must be a TokenVectorEnv: give a Task to TokenVectorEnv"):
        rules.check_base(TokenEnv(TASK), TokenVectorEnv)


def test_what_cannot_be_copied_or_pickled_is_named() -> None:
    with pytest.raises(ConformanceError, match="copy.deepcopy fails with TypeError: cannot pickle '_thread.lock'"):
        rules.deep_copy(threading.Lock())
    with pytest.raises(ConformanceError, match="pickling fails with .*not lambdas or local ones"):
        rules.pickle_round_trip(lambda: None)
    assert rules.deep_copy([1]) == rules.pickle_round_trip([1]) == [1]


def test_a_twin_shares_the_task_and_nothing_else() -> None:
    env = TokenEnv(TASK)
    env.reset(seed=0)
    other = rules.twin(env)
    assert other.task is env.task and not np.shares_memory(other._tokens, env._tokens)


@pytest.mark.parametrize(
    "one,other,equal",
    [
        ({"a": np.array([1, 2])}, {"a": np.array([1, 2])}, True),
        ({"a": np.array([1, 2])}, {"a": np.array([1, 3])}, False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        (np.array([1, 2], np.int32), np.array([1, 2], np.int64), False),
        (np.array([1, 2]), np.array([[1, 2]]), False),
        (np.array([{"a": np.zeros(2)}, None]), np.array([{"a": np.zeros(2)}, None]), True),
        (np.array([{"a": np.zeros(2)}, None]), np.array([{"a": np.ones(2)}, None]), False),
        ((1, [2]), (1, [2]), True),
        ((1, [2]), (1, [2, 3]), False),
        (1, True, False),
    ],
)
def test_same_compares_values_types_and_arrays(one: object, other: object, equal: bool) -> None:
    assert rules.same(one, other) is equal
