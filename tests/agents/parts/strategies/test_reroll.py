"""Strategies: sampling, and showing reveals without sampling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from g2rpo_env.agents.parts.strategies.reroll import Reroll
from g2rpo_env.episode import Role
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.verdict import Outcome, Verdict

GUIDED = {"length": 5, "ratio": 0.5}


class RightAfter:
    """Answers of problems are right from a number of looks at that problem on."""

    def __init__(self, looks: int) -> None:
        self.looks, self.seen = looks, {}

    def __call__(self, problems: Any, completions: Any) -> list[Verdict]:
        verdicts = []
        for problem in problems:
            self.seen[problem.problem_id] = self.seen.get(problem.problem_id, 0) + 1
            right = self.seen[problem.problem_id] > self.looks
            verdicts.append(Verdict(Outcome.CORRECT if right else Outcome.WRONG))
        return verdicts


def rerolled(make_envs: Any, make_policy: Any, looks: int, **options: Any) -> Any:
    """Groups of one update of two groups of four, each problem right after so many answers."""
    envs = make_envs(8, 4, digits=2, verifier=RightAfter(looks), **options)
    envs.reset(seed=0)
    return Reroll()(make_policy(envs), envs)


def test_groups_that_succeed_are_not_sampled_again(make_envs: Any, make_policy: Any) -> None:
    groups = rerolled(make_envs, make_policy, looks=0)
    assert len(groups) == 2 and {e.reveal for e in groups.episodes} == {0}


@pytest.mark.parametrize(
    "guidance", [None, {"length": 0, "unit": "tokens"}, {"length": 0, "unit": "fraction"}], ids=str
)
def test_failed_groups_get_more_at_every_stage_until_one_is_right(
    make_envs: Any, make_policy: Any, guidance: Any
) -> None:
    # two digits: 18 tokens may be revealed; 4 + 4 answers are wrong, the ninth is right: 0, then 4.5 -> 5, then 9
    groups = rerolled(make_envs, make_policy, looks=8, guidance=guidance)
    assert [{e.reveal for e in group.episodes} for group in groups] == [{0}, {0}, {5}, {5}, {9}, {9}]
    assert [any(e.correct for e in group.episodes) for group in groups] == [False] * 4 + [True] * 2
    assert len({group.group for group in groups}) == 6
    assert [group.problem_id for group in groups[2:4]] == [group.problem_id for group in groups[:2]]


def test_steps_are_shares_of_the_steps(make_envs: Any, make_policy: Any) -> None:
    groups = rerolled(make_envs, make_policy, looks=99, guidance={"length": 0, "unit": "steps"})
    # shares 1/4, 1/2, 3/4 of two steps of 9 tokens, rounded half up: 1, 1, 2
    assert [{e.reveal for e in group.episodes} for group in groups] == [{0}, {0}, {9}, {9}, {9}, {9}, {18}, {18}]


def test_only_the_failed_groups_are_sampled_again(make_envs: Any, make_policy: Any) -> None:
    class FirstProblem(RightAfter):
        def __call__(self, problems: Any, completions: Any) -> list[Verdict]:
            self.first = getattr(self, "first", sorted({p.problem_id for p in problems})[0])
            return [Verdict(Outcome.CORRECT if p.problem_id == self.first else Outcome.WRONG) for p in problems]

    envs = make_envs(8, 4, digits=2, verifier=FirstProblem(0))
    envs.reset(seed=0)
    groups = Reroll(stages=(1.0,))(make_policy(envs), envs)
    assert [len(group.episodes) for group in groups] == [4, 4, 4]
    wrong = [group.problem_id for group in groups[:2] if not group.episodes[0].correct]
    assert [groups[2].problem_id] == wrong and {e.reveal for e in groups[2].episodes} == {18}


def test_it_trains(make_envs: Any, make_policy: Any) -> None:
    from g2rpo_env.agents import recipes

    envs = make_envs(8, 4, digits=1)
    agent = recipes.make("grpo", make_policy(envs), envs, seed=1, strategy=Reroll())
    agent.learn(2)
    assert agent.updates == 2 and agent.sampled_tokens > 0


@pytest.mark.parametrize("stages", [(), (0.5, 0.5), (0.0, 1.0), (0.5, 1.5)])
def test_stages_that_do_not_rise_are_named(stages: Any) -> None:
    with pytest.raises(ConfigurationError, match="stages="):
        Reroll(stages=stages)


# -- Guide and Scaf-GRPO ----------------------------------------------------------------------------------------------

IN_PROMPT = {"length": 0, "unit": "fraction", "place": "prompt"}


def test_repeats_are_trained_in_the_context_without_their_guidance(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4, digits=2, verifier=RightAfter(4), guidance=IN_PROMPT)
    envs.reset(seed=0)
    groups = Reroll((1.0,), train_plain=True)(make_policy(envs), envs)
    first, again = groups.episodes[:8], groups.episodes[8:]
    assert all(e.train_prefix is None and e.stage == 0 for e in first) and len(again) == 8
    for episode in again:
        plain = envs.unwrapped.task.lookup(episode.problem_id).prompt_T
        assert np.array_equal(episode.train_prefix, plain) and (episode.stage, episode.reveal) == (1, 18)
        assert episode.guided and int((episode.role_T == Role.PROMPT).sum()) == len(plain) + 18 + 7


def test_an_answer_is_not_trained_without_its_own_beginning(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4, guidance=GUIDED)
    envs.reset(seed=0)
    with pytest.raises(ConfigurationError, match="train_plain=True needs guidance in the prompt, got place=InAnswer"):
        Reroll(train_plain=True)(make_policy(envs), envs)
    assert Reroll(train_plain=True).requires == {"guidance"} and Reroll().requires == frozenset()


def test_the_first_right_answer_of_a_repeat_replaces_a_failed_member(make_envs: Any, make_policy: Any) -> None:
    # the ninth answer of a problem is the first right one: member 0 of the second repeat, shown half
    envs = make_envs(8, 4, digits=2, verifier=RightAfter(8))
    envs.reset(seed=0)
    groups = Reroll(swap=True)(make_policy(envs), envs)
    assert [len(group) for group in groups] == [4, 4] and [group.group for group in groups] == [2, 3]
    for group in groups:
        assert [(e.member, e.correct, e.reveal) for e in group.episodes] == [
            *((member, False, 0) for member in range(3)),
            (3, True, 9),
        ]
        assert group.episodes[3].stage == 2
    kept = sum(int(e.sampled_T.sum()) for e in groups.episodes)
    assert groups.sampled_tokens == kept + groups.left_out_tokens > 2 * kept  # what left still was sampled


def test_a_repeat_without_a_right_answer_leaves_its_group_as_it_was(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4, digits=2, verifier=RightAfter(99))
    envs.reset(seed=0)
    groups = Reroll((0.5, 1.0), swap=True)(make_policy(envs), envs)
    assert len(groups) == 2 and {e.stage for e in groups.episodes} == {0} and groups.left_out_tokens > 0
