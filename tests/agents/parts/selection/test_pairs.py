"""Pairs: which answers and which steps are paired by hand, doubt against integrals, and whatever the members' order."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2rpo_env.agents import recipes
from g2rpo_env.agents.parts.judges import Judged, StatedResult
from g2rpo_env.agents.parts.selection.pairs import (
    AnswerPairs,
    JudgedPairs,
    StepPairs,
    doubt_by_posterior,
    doubt_by_visits,
    match_lengths,
    repetition,
)
from g2rpo_env.agents.parts.token_weights import TokenMean
from g2rpo_env.agents.recipe import Optimizer, part_from_config, part_to_config
from g2rpo_env.episode import Episode, Group, Groups, Role
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.problem import Problem
from g2rpo_env.verdict import Outcome, Verdict

P, R, S, E = Role.PROMPT, Role.REVEALED, Role.SAMPLED, Role.ENVIRONMENT
END = 9
"""The token that ends a step in these tests."""


def answer(tokens: Any, correct: bool, member: int, roles: Any = None, **fields: Any) -> Episode:
    """An episode on the prompt 1; all other tokens are sampled, unless roles say otherwise."""
    tokens_T = np.array([1, *tokens], np.int32)
    role_T = np.array([P, *([S] * len(tokens) if roles is None else roles)], np.int8)
    return Episode(
        tokens_T=tokens_T,
        role_T=role_T,
        logprob_T=np.where(role_T == S, -0.1 * np.arange(len(tokens_T)), 0).astype(np.float32),
        problem_id="p",
        group=0,
        member=member,
        seed=0,
        reveal=int((role_T == R).sum()),
        reward=float(correct),
        verdict=Verdict(Outcome.CORRECT if correct else Outcome.WRONG),
        **fields,
    )


def make_group(*rows: Any) -> Group:
    """A group of (tokens, correct) rows."""
    return Group(tuple(answer(tokens, correct, member) for member, (tokens, correct) in enumerate(rows)))


def list_members(pairs: Groups) -> list[tuple[int, ...]]:
    """The members in each pair."""
    return [tuple(e.member for e in pair.episodes) for pair in pairs]


# -- whole answers ----------------------------------------------------------------------------------------------------


def test_the_nearest_lengths_are_paired_first_and_each_answer_once() -> None:
    # Right of 3 and 7 tokens, wrong of 4, 8 and 20: distances 1 (0, 2), 1 (1, 3), the rest is farther.
    group = make_group(([5] * 3, True), ([5] * 7, True), ([5] * 4, False), ([5] * 8, False), ([5] * 20, False))
    pairs, rewards = AnswerPairs()(Groups([group]), [group.reward_G])
    assert sorted(list_members(pairs)) == [(0, 2), (1, 3)]
    assert [reward.tolist() for reward in rewards] == [[1, 0], [1, 0]]
    assert len(AnswerPairs(most=1)(Groups([group]), [group.reward_G])[0]) == 1
    assert len(AnswerPairs(most=9)(Groups([group]), [group.reward_G])[0]) == 2


def test_groups_of_one_kind_give_no_pair() -> None:
    groups = Groups([make_group(([5], True), ([6], True)), make_group(([5], False), ([6], False))])
    assert AnswerPairs()(groups, [g.reward_G for g in groups]) == ([], [])


def test_pairs_hold_the_episodes_as_they_are_and_correct_decides_not_the_reward() -> None:
    group = make_group(([5, 5], False), ([6], True))
    pairs, _ = AnswerPairs()(Groups([group]), [np.array([3.0, -1.0])])
    assert pairs[0].episodes == (group.episodes[1], group.episodes[0])


def shuffled(group: Group, random: Any) -> tuple[Group, list[int]]:
    """The members of a group in another order, and their places before."""
    order = list(range(len(group)))
    random.shuffle(order)
    return Group(tuple(group.episodes[i] for i in order)), order


@given(st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=2, max_size=10), st.randoms(), st.integers(1, 4))
def test_the_order_of_members_does_not_matter(rows: Any, random: Any, most: int) -> None:
    group = make_group(*[([5] * length, correct) for length, correct in rows])
    turned, _ = shuffled(group, random)
    found = [list_members(AnswerPairs(most)(Groups([one]), [one.reward_G])[0]) for one in (group, turned)]
    assert found[0] == found[1]
    right = sum(correct for _, correct in rows)
    assert len(found[0]) == min(most, right, len(rows) - right)


def test_equal_distances_do_not_prefer_the_first_members() -> None:
    firsts = set()
    for number in range(20):
        group = make_group(*[([5], member < 2) for member in range(4)])
        group = Group(tuple(dataclasses.replace(e, group=number) for e in group.episodes))
        firsts.add(list_members(AnswerPairs(1)(Groups([group]), [group.reward_G])[0])[0])
    assert firsts == {(0, 2), (0, 3), (1, 2), (1, 3)}


def test_numbers_decide_between_equal_distances() -> None:
    assert match_lengths([5, 5, 5], [True, False, False], [0.1, 0.9, 0.2], 9) == [(0, 2)]


# -- judged answers ---------------------------------------------------------------------------------------------------

RUNNING = Problem("58+67", "58+67=", ("8+7+0=15,5\n", "5+6+1=12,125\n"), "#125", "125")


class Scripted:
    """A judge that says what is written before it, and keeps what it was asked."""

    def __init__(self, *judged: Judged) -> None:
        self.judged, self.asked = judged, []

    def __call__(self, problem: Problem, completions: Any) -> Any:
        self.asked.append((problem, list(completions)))
        return [self.judged[int(text)] for text in completions]


def call_judged(part: JudgedPairs, *groups: Group) -> list[tuple[int, ...]]:
    """The pairs of groups whose completions are the numbers of their members."""
    texts = [str(e.member) for group in groups for e in group.episodes]
    pairs, rewards = part(
        Groups(groups), [g.reward_G for g in groups], completion_G=texts, problem=[RUNNING] * len(groups)
    )
    assert [reward.tolist() for reward in rewards] == [[1, 0]] * len(pairs)
    return list_members(pairs)


def test_the_three_families_on_six_answers() -> None:
    # 0: good. 1: right, inconsistent. 2: right, repetitive (8 equal tokens: 0.8). 3: wrong. 4: good, reflects. 5: wrong
    # and cut off. Lengths 10, 12, 8, 5, 6, 20. Nearest ratio for each worse one: 1 by 0 (12/10), 2 by 0 (10/8; 4 has
    # 8/6), 3 by 4 alone (only it reflects: 6/5), 5 by 0 (20/10; 4 has 20/6). In the order of ratios 1.2 twice, 1.25, 2.
    rows = [(range(20, 30), True), (range(20, 32), True), ([7] * 8, True), (range(20, 25), False)]
    rows += [(range(20, 26), True), (range(20, 40), False)]
    group = make_group(*rows)
    cut = dataclasses.replace(group.episodes[5], truncated=True, terminated=False)
    group = Group((*group.episodes[:5], cut))
    judged = [Judged(True, False), Judged(False, False), Judged(True, False), Judged(True, True), Judged(True, True)]
    judge = Scripted(*judged, Judged(None, None))
    found = call_judged(JudgedPairs(judge), group)
    assert set(found[:2]) == {(0, 1), (4, 3)} and found[2:] == [(0, 2), (0, 5)]
    assert call_judged(JudgedPairs(judge, most=3), group) == found[:3]
    # Ten tokens at least: 4 is no longer good, and is itself worse than 0; so is 3, whose family now is penalty.
    assert set(call_judged(JudgedPairs(judge, shortest=10), group)) == {(0, 1), (0, 2), (0, 3), (0, 4), (0, 5)}
    # Repetition does not matter: 2 is good, 8 tokens.
    assert (2, 3) not in call_judged(JudgedPairs(judge, repeat=1.0), group)
    assert set(call_judged(JudgedPairs(judge, repeat=1.0), group)) == {(0, 1), (4, 3), (0, 5)}
    assert judge.asked[0] == (RUNNING, ["0", "1", "2", "3", "4", "5"])


def test_what_a_judge_cannot_say_makes_no_answer_inconsistent() -> None:
    group = make_group(([5, 6], True), ([5, 6, 7], True), ([5], False))
    assert call_judged(JudgedPairs(Scripted(*[Judged()] * 3)), group) == []
    assert call_judged(JudgedPairs(Scripted(Judged(), Judged(False), Judged())), group) == [(0, 1)]


def test_each_group_is_judged_with_its_own_problem_and_texts() -> None:
    one, other = make_group(([5], True), ([6], False)), make_group(([5], False), ([6, 6], True), ([6], True))
    judge = Scripted(Judged(True, True), Judged(True, True), Judged(False, None))
    assert call_judged(JudgedPairs(judge), one, other) == [(0, 1), (1, 2), (1, 0)]
    assert [texts for _, texts in judge.asked] == [["0", "1"], ["0", "1", "2"]]


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.booleans(), st.sampled_from([True, False, None]), st.booleans()),
        min_size=2,
        max_size=7,
    ),
    st.randoms(),
)
def test_the_order_of_members_does_not_matter_to_judged_pairs(rows: Any, random: Any) -> None:
    group = make_group(*[([5] * length, correct) for length, correct, _, _ in rows])
    part = JudgedPairs(Scripted(*[Judged(consistent, reflects) for _, _, consistent, reflects in rows]))
    turned, _ = shuffled(group, random)
    found = call_judged(part, group)
    assert call_judged(part, turned) == found
    assert len({worse for _, worse in found}) == len(found)


def test_repetition_by_hand() -> None:
    # Runs of four in 1 2 3 1 2 3 1: 1231 2312 3123 1231, one of four again.
    assert repetition(np.array([1, 2, 3, 1, 2, 3, 1])) == 0.25
    assert repetition(np.array([1, 1, 1])) == 0


def test_a_judge_of_pairs_is_saved_and_says_what_is_needed() -> None:
    config = part_to_config(JudgedPairs(shortest=3))
    assert config is not None and config["options"]["judge"] == {"class": "StatedResult", "options": {}}
    assert part_from_config(config) == JudgedPairs(StatedResult(), shortest=3)
    assert JudgedPairs().needs == {"members", "steps"} and JudgedPairs(Scripted()).needs == {"members"}


# -- doubt ------------------------------------------------------------------------------------------------------------


def test_posteriors_by_hand() -> None:
    # Beta(2, 1) against Beta(1, 2): integral of 2 (1 - x) x^2 = 1/6. Nothing known of either: 1/2.
    assert doubt_by_posterior(1, 1, 0, 1) == pytest.approx(1 / 6)
    assert doubt_by_posterior(0, 0, 0, 0) == pytest.approx(1 / 2)
    # One of one against nine of ten: the worse one is known better. Beta(2, 1), Beta(10, 2): integral of 2x (1 - F(x)),
    # = E[Y^2] = 10 * 11 / (12 * 13).
    assert doubt_by_posterior(1, 1, 9, 10) == pytest.approx(110 / 156)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_posteriors_against_an_integral(right: int, wrong: int, other_right: int, other_wrong: int) -> None:
    # P(Y > X) = E over X of 1 - F_Y(X), by the trapezoid rule on a fine grid.
    x = np.linspace(0, 1, 4001)
    density = x**right * (1 - x) ** wrong
    other = x**other_right * (1 - x) ** other_wrong
    below = np.concatenate([[0], np.cumsum((other[1:] + other[:-1]) / 2)])
    expected = np.trapezoid(density * (1 - below / below[-1]), x) / np.trapezoid(density, x)
    found = doubt_by_posterior(right, right + wrong, other_right, other_right + other_wrong)
    assert found == pytest.approx(expected, abs=1e-4)
    back = doubt_by_posterior(other_right, other_right + other_wrong, right, right + wrong)
    assert found + back == pytest.approx(1)


def test_visits_by_hand() -> None:
    assert doubt_by_visits(1, 1) == doubt_by_visits(5, 5) == doubt_by_visits(1, 9) == 0.5
    assert doubt_by_visits(30, 10) == 0.25 and doubt_by_visits(0, 1) == 0.5


# -- steps ------------------------------------------------------------------------------------------------------------


def call_steps(part: StepPairs, group: Group, rewards: Any = None) -> tuple[Groups, list[list[float]]]:
    """The pairs of steps of one group and their rewards."""
    ends = [(e.tokens_T == END) & e.sampled_T for e in group.episodes]
    reward_G = group.reward_G if rewards is None else np.array(rewards)
    pairs, found = part(Groups([group]), [reward_G], step_end_GT=ends)
    return pairs, [reward.tolist() for reward in found]


TREE = make_group(
    ([2, END, 3, END, 4], True),
    ([2, END, 3, END, 5], False),
    ([2, END, 6, END, 4], False),
    ([7, END, 8], False),
)
"""Root: 2 (visits 3, Q 1/3), 7 (1, 0). Behind 2: 3 (2, 1/2), 6 (1, 0). Behind 2 3: 4 (1, 1), 5 (1, 0)."""


def test_pairs_at_every_node_the_deepest_first() -> None:
    pairs, rewards = call_steps(StepPairs(), TREE)
    tokens = [[e.tokens_T.tolist() for e in pair.episodes] for pair in pairs]
    assert tokens == [
        [[1, 2, END, 3, END, 4], [1, 2, END, 3, END, 5]],
        [[1, 2, END, 3, END], [1, 2, END, 6, END]],
        [[1, 2, END], [1, 7, END]],
    ]
    # Doubts: Beta(2, 1), Beta(1, 2): 1/6. Beta(2, 2), Beta(1, 2): 3/10 (integral of 6x (1-x) (1-x)^2 = 6/20).
    # Beta(2, 3), Beta(1, 2): integral of 12 x (1-x)^2 (1-x)^2 = 12/30 = 2/5.
    assert [doubt for _, doubt in rewards] == pytest.approx([1 / 6, 3 / 10, 2 / 5])
    assert [sum(pair) for pair in rewards] == pytest.approx([1, 1, 1])
    assert [len(call_steps(StepPairs(most), TREE)[0]) for most in (1, 2, 9)] == [1, 2, 3]


def test_doubts_by_other_rules() -> None:
    # Visits of the worse over those of both: 1/2, 1/3, 1/4.
    assert [doubt for _, doubt in call_steps(StepPairs(doubt="visits"), TREE)[1]] == pytest.approx(
        [1 / 2, 1 / 3, 1 / 4]
    )
    assert call_steps(StepPairs(doubt="none"), TREE)[1] == [[1, 0]] * 3


def test_only_the_step_is_trained_and_the_prefix_is_common() -> None:
    for pair in call_steps(StepPairs(), TREE)[0]:
        better, worse = pair.episodes
        trained = [np.flatnonzero(TokenMean()(e)) for e in (better, worse)]
        assert trained[0][0] == trained[1][0]
        assert better.tokens_T[: trained[0][0]].tolist() == worse.tokens_T[: trained[1][0]].tolist()
        for episode, places in zip((better, worse), trained, strict=True):
            assert places.tolist() == list(range(places[0], len(episode.tokens_T)))
            assert episode.role_T[0] == P and set(episode.role_T[1 : places[0]]) <= {E}
            assert (episode.logprob_T[: places[0]] == 0).all() and (episode.logprob_T[places] != 0).all()
    assert TREE.episodes[0].role_T.tolist() == [P, S, S, S, S, S]  # the answers themselves are as they were


def test_a_step_that_is_cut_out_did_not_end_the_answer() -> None:
    members = [dataclasses.replace(e, terminated=False, truncated=True) for e in TREE.episodes]
    pairs, _ = call_steps(StepPairs(), Group(tuple(members)))
    assert [[e.truncated for e in pair.episodes] for pair in pairs] == [[True, True], [False, False], [False, False]]


def test_the_best_and_the_worst_step_are_paired_and_the_surest_of_equal_ones() -> None:
    group = make_group(
        ([2, END], True), ([3, END], True), ([3, END], True), ([4, END], False), ([5, END], False), ([5, END], False),
        ([6, END], True), ([6, END], False),
    )  # fmt: skip
    pairs, rewards = call_steps(StepPairs(), group)
    assert [[e.tokens_T.tolist() for e in pair.episodes] for pair in pairs] == [[[1, 3, END], [1, 5, END]]]
    # Beta(3, 1), Beta(1, 3): integral of 3x^2 (1-x)^3 = 3 * 2! 3! / 6! = 1/20.
    assert rewards[0] == pytest.approx([19 / 20, 1 / 20])


def test_values_are_mean_rewards_and_steps_of_equal_value_are_no_pair() -> None:
    # By reward both are worth 1/2, by correctness they differ: no pair. With a penalty on the first they differ.
    group = make_group(([2, END], True), ([3, END], False))
    assert call_steps(StepPairs(), group, [0.5, 0.5])[0] == []
    pairs, _ = call_steps(StepPairs(), group, [0.2, 0.5])
    assert [e.tokens_T.tolist() for e in pairs[0].episodes] == [[1, 3, END], [1, 2, END]]


def test_an_end_of_an_answer_is_the_end_of_a_step() -> None:
    pairs, _ = call_steps(StepPairs(), make_group(([2, END, 3, 4], True), ([2, END, 3], False)))
    assert [e.tokens_T.tolist() for e in pairs[0].episodes] == [[1, 2, END, 3, 4], [1, 2, END, 3]]


def test_revealed_steps_are_no_steps_and_join_sampled_ones() -> None:
    # The reveal 2 END of member 0 leads to where the step 2 END of member 1 leads: the steps 3 and 4 behind it differ.
    # At the root the sampled step 2 END (1, Q 0) stands alone.
    members = (answer([2, END, 3], True, 0, [R, R, S]), answer([2, END, 4], False, 1))
    pairs, _ = call_steps(StepPairs(), Group(members))
    assert [[e.tokens_T.tolist() for e in pair.episodes] for pair in pairs] == [[[1, 2, END, 3], [1, 2, END, 4]]]
    assert [e.role_T.tolist() for e in pairs[0].episodes] == [[P, E, E, S], [P, E, E, S]]
    assert pairs[0].episodes[0].reveal == 2


def test_a_context_for_training_becomes_the_prompt() -> None:
    # Both were sampled after a reveal and are trained behind the prompt 1 alone.
    members = tuple(
        answer([8, 8, 2, END, last], last == 3, member, [R, R, S, S, S], train_prefix=np.array([1], np.int32))
        for member, last in enumerate([3, 4])
    )
    pairs, _ = call_steps(StepPairs(), Group(members))
    better, worse = pairs[0].episodes
    assert better.tokens_T.tolist() == [1, 2, END, 3] and worse.tokens_T.tolist() == [1, 2, END, 4]
    assert better.role_T.tolist() == [P, E, E, S] and better.train_prefix is None
    assert better.tokens_T.dtype == np.int32 and better.role_T.dtype == np.int8 and better.logprob_T.dtype == np.float32


def test_episodes_without_a_sampled_token_give_no_step() -> None:
    group = Group((answer([2], True, 0, [R]), answer([3, END], False, 1), answer([4, END], True, 2)))
    assert list_members(call_steps(StepPairs(), group)[0]) == [(2, 1)]


@given(
    st.lists(st.tuples(st.lists(st.sampled_from([2, 3, END]), min_size=1, max_size=5), st.booleans()), min_size=2),
    st.randoms(),
)
def test_the_order_of_members_does_not_matter_to_steps(rows: Any, random: Any) -> None:
    group = make_group(*rows)
    turned, order = shuffled(group, random)
    found = []
    for one in (group, turned):
        pairs, rewards = call_steps(StepPairs(), one)
        found.append([([e.tokens_T.tolist() for e in p.episodes], r) for p, r in zip(pairs, rewards, strict=True)])
    assert found[0] == found[1]


# -- in an agent ------------------------------------------------------------------------------------------------------


class EvenLengths:
    """A judge that finds texts of an even length consistent, and sees all of them reflect."""

    def __call__(self, problem: Problem, completions: Any) -> Any:
        return [Judged(len(text) % 2 == 0, True) for text in completions]


@pytest.mark.parametrize(
    "selection", [AnswerPairs(), StepPairs(), JudgedPairs(EvenLengths())], ids=lambda one: type(one).__name__
)
def test_an_agent_learns_from_pairs(make_envs: Any, make_policy: Any, selection: Any) -> None:
    # With 120 tokens some answers of a random policy end; those that do not are flawed.
    envs = make_envs(16, 4, guidance={"length": 6, "ratio": 0.5}, max_new_tokens=120)
    agent = recipes.make("dpo", make_policy(envs), envs, selection=selection, optimizer=Optimizer(learning_rate=1e-2))
    metrics = agent.update()
    assert metrics["grad_norm"] > 0 and metrics["loss"] == pytest.approx(np.log(2), rel=1e-5)
    assert {len(pair) for pair in agent.last_update.selected} == {2}
    assert metrics["sampled_tokens"] == agent.groups.sampled_tokens


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AnswerPairs(most=0), "most=0 must be at least 1"),
        (lambda: StepPairs(most=0), "most=0 must be at least 1"),
        (lambda: StepPairs(doubt="some"), "doubt='some' must be one of posterior, visits, none"),
        (lambda: JudgedPairs(most=0), "most=0 must be at least 1"),
        (lambda: JudgedPairs(repeat=1.5), r"repeat=1.5 must lie in \[0, 1\]"),
        (lambda: JudgedPairs(shortest=-1), "shortest=-1 must be at least 0"),
        (lambda: JudgedPairs(None), "judge=None must be an object"),
    ],
)
def test_wrong_options_are_refused(make: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make()
