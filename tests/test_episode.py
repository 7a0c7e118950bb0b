"""Episode and Group: frozen records that survive a line of JSON."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2rpo_env import Episode, Group, Groups, Outcome, Role, Verdict
from g2rpo_env.episode import group_episodes
from g2rpo_env.errors import ConfigurationError


def episode(**changes: Any) -> Episode:
    """Prompt of 2 tokens, 1 revealed, 2 sampled, 1 of the environment."""
    fields: dict[str, Any] = {
        "tokens_T": np.array([5, 6, 7, 8, 9, 10], np.int32),
        "role_T": np.array([0, 0, 1, 2, 2, 3], np.int8),
        "logprob_T": np.array([0, 0, 0, -0.5, -1.25, 0], np.float32),
        "problem_id": "58+67",
        "group": 3,
        "member": 1,
        "seed": 11,
        "reveal": 1,
        "reward": 1.0,
        "verdict": Verdict(Outcome.CORRECT, "125"),
    }
    return Episode(**{**fields, **changes})


def equal(one: Episode, other: Episode) -> bool:
    return all(
        np.array_equal(a, b) and a.dtype == b.dtype if isinstance(a, np.ndarray) else a == b
        for a, b in ((getattr(one, f.name), getattr(other, f.name)) for f in dataclasses.fields(Episode))
    )


def test_what_follows_from_the_fields() -> None:
    one = episode()
    assert one.sampled_T.tolist() == [False, False, False, True, True, False]
    assert one.guided and one.correct
    assert not episode(reveal=0).guided and not episode(verdict=Verdict(Outcome.WRONG)).correct


def test_roles_have_the_numbers_of_the_contract() -> None:
    assert {role.name: role.value for role in Role} == {"PROMPT": 0, "REVEALED": 1, "SAMPLED": 2, "ENVIRONMENT": 3}


def test_an_episode_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        episode().reward = 2.0  # type: ignore[misc]


@pytest.mark.parametrize("name", ["role_T", "logprob_T"])
def test_arrays_of_different_lengths_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"must have one shape \(T,\)"):
        episode(**{name: np.zeros(5)})
    square = np.zeros((2, 3))
    with pytest.raises(ConfigurationError, match=r"tokens_T \(2, 3\)"):
        episode(tokens_T=square, role_T=square, logprob_T=square)


@given(
    tokens=st.lists(st.integers(0, 2**31 - 1), max_size=6),
    outcome=st.sampled_from(list(Outcome)),
    text=st.text(st.characters(codec="utf-8")),
    score=st.none() | st.floats(-10, 10),
    parent=st.none() | st.tuples(*[st.integers(0, 99)] * 3),
    prefix=st.none() | st.lists(st.integers(0, 99), max_size=4).map(lambda ids: np.array(ids, np.int32)),
    seed=st.integers(0, 2**64) | st.lists(st.integers(0, 9), min_size=1),
)
def test_a_record_comes_back_from_json_as_it_was(
    tokens: list[int], outcome: Outcome, text: str, score: Any, parent: Any, prefix: Any, seed: Any
) -> None:
    one = episode(
        tokens_T=np.array(tokens, np.int32),
        role_T=np.full(len(tokens), 2, np.int8),
        logprob_T=np.full(len(tokens), -0.25, np.float32),
        verdict=Verdict(outcome, text, text, score),
        problem_id=text,
        parent=parent,
        train_prefix=prefix,
        seed=seed,
        valid=False,
        terminated=False,
        truncated=True,
        stage=2,
    )
    assert equal(Episode.from_record(json.loads(json.dumps(one.to_record()))), one)


def test_only_sampled_tokens_have_a_log_probability_in_a_record() -> None:
    roles = np.array([Role.PROMPT, Role.REVEALED, Role.SAMPLED, Role.ENVIRONMENT, Role.SAMPLED], np.int8)
    logprob_T = np.array([0, 0, -0.5, 0, 0], np.float32)  # the last one was certain
    one = episode(tokens_T=np.arange(5, dtype=np.int32), role_T=roles, logprob_T=logprob_T)
    record = json.loads(json.dumps(one.to_record()))
    assert record["logprobs"] == [None, None, -0.5, None, 0.0]
    assert equal(Episode.from_record(record), one)
    assert equal(Episode.from_record({**record, "logprobs": [0.0, 0.0, -0.5, 0.0, 0.0]}), one)  # as they were before


def test_records_hold_no_clock_times_so_that_equal_runs_write_equal_files() -> None:
    slow = episode(verdict=Verdict(Outcome.CORRECT, "125", seconds=9.0))
    assert json.dumps(slow.to_record()) == json.dumps(episode().to_record())


def test_a_record_of_another_version_is_refused() -> None:
    record = episode().to_record()
    for version in (3, None):
        with pytest.raises(ConfigurationError, match=f"version={version} of a rollout record must be 1 or 2"):
            Episode.from_record({**record, "version": version})


def test_episodes_are_grouped_by_number_and_ordered_by_member() -> None:
    keys = [(4, 1), (2, 0), (4, 0), (2, 1)]
    groups = group_episodes(episode(group=g, member=m, reward=float(10 * g + m)) for g, m in keys)
    assert [(e.group, e.member) for e in groups.episodes] == sorted(keys)
    assert [group.reward_G.tolist() for group in groups] == [[20, 21], [40, 41]]
    assert [(group.group, group.problem_id, len(group)) for group in groups] == [(2, "58+67", 2), (4, "58+67", 2)]


def test_totals_count_sampled_and_revealed_tokens() -> None:
    groups = Groups([Group((episode(), episode(member=2, reveal=4)))])
    assert (groups.sampled_tokens, groups.revealed_tokens) == (4, 5)
    assert (Groups().sampled_tokens, Groups().revealed_tokens) == (0, 0)


def test_episodes_that_were_left_out_cost_tokens_and_are_in_no_group() -> None:
    draft = episode(member=3)
    groups = Groups([Group((episode(), episode(member=2)))], left_out=[draft], metrics={"drafts": 1.0})
    assert (groups.sampled_tokens, groups.left_out_tokens) == (6, 2)  # two sampled tokens in each
    assert draft not in groups.episodes and groups.sampled_episodes == [*groups.episodes, draft]
    assert groups.revealed_tokens == 3 and groups.metrics == {"drafts": 1.0}
    assert Groups().left_out == [] == Groups([]).left_out


def test_what_was_written_before_an_episode_branched_off_is_counted_once() -> None:
    # Tokens 3 and 4 were sampled; the branch at 4 shares the first of them with the episode that it left.
    one, branch = episode(parent=None), episode(member=2, parent=(7, 1, 4))
    assert (one.own_tokens, branch.own_tokens) == (2, 1)
    groups = Groups([Group((one, branch))], left_out=[episode(member=3, parent=(7, 1, 4))])
    assert (groups.sampled_tokens, groups.left_out_tokens) == (4, 1)


def test_groups_that_are_used_again_cost_no_tokens_again() -> None:
    groups = Groups([Group((episode(),))], left_out=[episode(member=3)], reused=True)
    assert (groups.sampled_tokens, groups.left_out_tokens, groups.revealed_tokens) == (0, 2, 0)


def test_a_group_is_of_one_problem_and_not_empty() -> None:
    with pytest.raises(ConfigurationError, match="at least one episode"):
        Group(())
    for other in (episode(group=4), episode(problem_id="1+1")):
        with pytest.raises(ConfigurationError, match="must share group and problem_id"):
            Group((episode(), other))
