"""Lanes: spaces, options, amounts of guidance, graded tries and infos, as both environments use them."""

import copy
from typing import Any

import numpy as np
import pytest

from g2rpo_env import Outcome, Ramp, RevealPlan, Role, Verdict
from g2rpo_env.checks import episodes
from g2rpo_env.envs.arithmetic import Addition
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.lane import (
    Graded,
    Try,
    action_mask,
    action_rule,
    action_tokens,
    append_reply,
    check_options,
    check_render_mode,
    final_columns,
    first_of,
    grade_tries,
    load_source_state,
    reset_columns,
    reveal_amounts,
    source_state,
    token_spaces,
)
from g2rpo_env.problem import WrappedSource
from g2rpo_env.streams import Seed
from g2rpo_env.tokenizer import char_tokenizer, encode

TASK = Addition(digits=2)
SUM = TASK.source.get("58+67")


def tokens(text: str) -> np.ndarray:
    return encode(char_tokenizer(), text)[0]


def test_spaces_are_those_of_the_task() -> None:
    observation, action = token_spaces(TASK, 15)
    assert observation["tokens"].shape == (TASK.length,) and observation["tokens"].high.max() == 257
    assert observation["length"].high.tolist() == [TASK.length] and action.n == 15


def test_actions_are_token_ids_or_indices_into_a_vocabulary() -> None:
    few = action_tokens(TASK, "01#")
    assert action_tokens(TASK, None) is None and few is not None
    assert sorted(few.tolist()) == sorted([*tokens("01#").tolist(), TASK.eos_token_id])
    assert action_mask(TASK, few).tolist() == [True] * 4 and action_mask(TASK, None).sum() == 257  # all but <pad>
    assert (action_rule(None), action_rule(few)) == ("a token id", "an index into the reduced vocabulary")


def test_modes_and_options_nobody_reads_are_named() -> None:
    check_render_mode(None, ["ansi"])
    with pytest.raises(ConfigurationError, match="render_mode='ascii' must be None or one of 'ansi'"):
        check_render_mode("ascii", ["ansi"])
    check_options({"prefix": [1], "prefix_roles": [0]}, ("prefix", "prefix_roles"))
    with pytest.raises(ConfigurationError, match="reset option 'x' is unknown; known are prefix"):
        check_options({"x": 1}, ("prefix",))
    with pytest.raises(ConfigurationError, match=r"options\['prefix_roles'\] must come with options\['prefix'\]"):
        check_options({"prefix_roles": [0]}, ("prefix", "prefix_roles"))


def test_amounts_are_planned_unless_they_are_given() -> None:
    def amounts(plan: RevealPlan | None, given: Any = None) -> list[float]:
        return reveal_amounts(plan, 0, 2, ["a", "a", "b"], [0, 0, 1], [0, 1, 1], given)

    assert amounts(None) == [0, 0, 0] and amounts(None, [None, 3.0, 0.5]) == [0, 3, 0.5]
    half = RevealPlan(length=4, ratio=0.5)  # the first member of two
    assert amounts(half) == [4, 0, 0] and amounts(half, [None, 3.0, None]) == [4, 3, 0]
    each = RevealPlan(rule=lambda problem_ids, members: [len(problem_ids) + m for m in members])
    assert amounts(each) == [3, 4, 4]


def test_tries_are_graded_in_one_call_and_answered_where_the_episode_goes_on() -> None:
    calls: list[list[str]] = []

    def verify(problems: Any, completions: Any) -> list[Verdict]:
        calls.append(list(completions))
        return [Verdict(Outcome.CORRECT if text == "#125" else Outcome.WRONG) for text in completions]

    task = copy.copy(TASK)
    task.verifier, task.reply, task.max_tries = verify, lambda problem, text, verdict: f"not {text}", 3
    wrong = tokens("#1")
    tries = [
        Try(SUM, tokens("#125"), False, 1, True),
        Try(SUM, wrong, False, 2, True),
        Try(SUM, wrong, False, 2, False),  # the budget is spent
        Try(SUM, wrong, False, 3, True),  # the last try
    ]
    graded = grade_tries(task, tries)
    assert calls == [["#125", "#1", "#1", "#1"]] and [one.completion for one in graded] == calls[0]
    assert [one.verdict.correct for one in graded] == [True, False, False, False]
    assert [one.reply_T is None for one in graded] == [True, False, True, True]
    assert graded[1].reply_T is not None and graded[1].reply_T.tolist() == tokens("not #1").tolist()


def test_a_reply_stands_behind_the_context_with_a_role_of_its_own() -> None:
    tokens_T, role_T = np.array([5, 6, 0, 0, 0], np.int32), np.array([0, 2, 2, 2, 2], np.int8)
    assert append_reply(tokens_T, role_T, 2, np.array([8, 9], np.int32)) == 4
    assert tokens_T.tolist() == [5, 6, 8, 9, 0]
    assert role_T.tolist() == [0, 2, Role.ENVIRONMENT, Role.ENVIRONMENT, 2]


def test_infos_have_the_keys_that_the_contract_names() -> None:
    starts = [TASK.start("58+67", 4), TASK.start("11+22", 0)]
    columns = reset_columns(starts, [7, 8], [3, 0])
    assert columns["reveal_length"] == (np.int64, [4, 0]) and columns["problem_id"] == (object, ["58+67", "11+22"])
    shown = {"problem_id": "58+67", "group": 7, "member": 3, "prompt_length": 6, "reveal_length": 4}
    assert first_of(columns) == shown and list(columns) == list(episodes.RESET_INFO)
    verdict = Verdict(Outcome.ERROR)
    ended = final_columns([Graded("#1", verdict, None)])
    assert first_of(ended) == {"completion": "#1", "correct": False, "valid": False, "verdict": verdict}
    assert list(ended) == list(episodes.FINAL_INFO)


class Stateful(WrappedSource):
    """A source with a number for a state."""

    number = 3

    def draw(self, seed: Seed, index: int) -> str:
        """Return the index-th problem of the source."""
        return self.source.draw(seed, index)

    def state_dict(self) -> int:
        """Return the number."""
        return self.number

    def load_state_dict(self, state: int) -> None:
        """Take a number."""
        self.number = state


def test_the_state_of_a_source_is_kept_where_it_has_one() -> None:
    assert source_state(TASK) == {}
    load_source_state(TASK, {"source": 1})  # nobody reads it
    task = copy.copy(TASK)
    source: Any = Stateful(task.source)
    task.source = source
    assert source_state(task) == {"source": 3}
    load_source_state(task, {"source": 5})
    assert source.number == 5
    task.source = Ramp(source)  # one source with a state: it stands there as if it were alone
    assert source_state(task) == {"source": 5}
    load_source_state(task, {"source": 6})
    assert source.number == 6


def test_the_states_of_several_sources_are_a_list_from_the_outermost_inwards() -> None:
    task = copy.copy(TASK)
    inner: Any = Stateful(task.source)
    outer: Any = Stateful(Ramp(inner))
    inner.number, outer.number, task.source = 1, 2, outer
    assert source_state(task) == {"source": [2, 1]}
    load_source_state(task, {"source": [4, 5]})
    assert (outer.number, inner.number) == (4, 5)
    for other in ([4], 4):
        with pytest.raises(ConfigurationError, match=r"state\['source'\] must be a list of 2 states"):
            load_source_state(task, {"source": other})
