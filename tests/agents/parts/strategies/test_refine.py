"""Refine: drafts, the context that the best of them makes, and what is learnt from."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env.agents.evaluation import evaluate
from g2rpo_env.agents.parts.strategies.refine import Refine, choose_draft, cut_draft
from g2rpo_env.agents.parts.strategies.rollout import Rollout
from g2rpo_env.controllers.base import Feedback
from g2rpo_env.episode import Group, Role
from g2rpo_env.errors import BudgetError, ConfigurationError, NonFiniteError
from g2rpo_env.problem import Problem
from g2rpo_env.tokenizer import encode
from g2rpo_env.verdict import Outcome, Verdict

SIZE = 4


class ByVariety:
    """The reward is the share of distinct characters: graded, and seldom equal."""

    def __call__(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        return [Verdict(Outcome.WRONG, score=len(set(c)) / max(1, len(c))) for c in completions]


def collect_from(strategy: Any, make_policy: Any, envs: Any, seed: int = 3) -> Any:
    """The groups of one update from the beginning of the order."""
    envs.unwrapped.load_state_dict({"root": seed, "counter": 0, "open": {}})
    return strategy(make_policy(envs), envs)


def records(episodes: Sequence[Any]) -> list[Any]:
    """Episodes as plain data with their exact log-probabilities."""
    return [(e.to_record(), e.logprob_T.tolist()) for e in episodes]


def encode_text(envs: Any, text: str) -> list[int]:
    return encode(envs.unwrapped.tokenizer, text)[0].tolist()


def test_without_drafts_it_is_a_rollout_to_the_bit(make_envs: Any, make_policy: Any) -> None:
    one = collect_from(Refine(drafts=0), make_policy, make_envs(8, SIZE))
    two = collect_from(Rollout(), make_policy, make_envs(8, SIZE))
    assert records(one.episodes) == records(two.episodes)
    assert (one.left_out, one.metrics) == ([], {})


def test_guidance_stands_in_front_of_no_draft() -> None:
    assert Refine(drafts=0).takes_guidance and not Refine(drafts=1).takes_guidance


def test_the_best_draft_stands_in_its_template_before_the_prompt(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(12, SIZE, verifier=ByVariety())
    groups = collect_from(Refine(drafts=3, template="<{draft}>\n"), make_policy, envs)
    assert [group.group for group in groups] == [0, 1, 2] and len(groups.left_out) == 9
    for group in groups:
        drafts = [e for e in groups.left_out if e.group == group.group]
        assert {e.problem_id for e in drafts} == {group.problem_id}
        best = max(drafts, key=lambda e: e.reward)
        assert sum(e.reward == best.reward for e in drafts) == 1
        draft = [t for t in best.tokens_T[best.sampled_T].tolist() if t != 1]  # 1 is the end token
        prompt = encode_text(envs, group.problem_id + "=")
        expected = [*encode_text(envs, "<"), *draft, *encode_text(envs, ">\n"), *prompt]
        for member, e in enumerate(group.episodes):
            context_T = e.tokens_T[e.role_T == Role.PROMPT]
            assert context_T.tolist() == expected == e.tokens_T[: len(expected)].tolist()
            assert (e.member, e.stage, e.reveal, e.parent, e.train_prefix) == (member, 1, 0, None, None)
            assert set(e.role_T[len(expected) :].tolist()) == {Role.SAMPLED}


def test_a_draft_stands_inside_the_frame_of_a_chat(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(4, SIZE, frame=([3, 4], [5]), begin_tokens=())
    groups = collect_from(Refine(drafts=1, template="{draft}|"), make_policy, envs)
    draft = [t for t in groups.left_out[0].tokens_T[groups.left_out[0].sampled_T].tolist() if t != 1]
    prompt = encode_text(envs, groups[0].problem_id + "=")
    e = groups[0].episodes[0]
    assert e.tokens_T[e.role_T == Role.PROMPT].tolist() == [3, 4, *draft, *encode_text(envs, "|"), *prompt, 5]


def test_drafts_are_the_first_members_of_a_rollout_and_refinements_others(make_envs: Any, make_policy: Any) -> None:
    groups = collect_from(Refine(drafts=2), make_policy, make_envs(8, SIZE))
    plain = collect_from(Rollout(), make_policy, make_envs(8, SIZE))
    assert records(groups.left_out) == records([e for e in plain.episodes if e.member < 2])
    drafts = {(e.group, e.member): e for e in groups.left_out}
    for e in groups.episodes:  # stage 1 has streams of its own
        if e.member < 2:
            draft = drafts[e.group, e.member]
            assert e.tokens_T[e.sampled_T].tolist() != draft.tokens_T[draft.sampled_T].tolist()


def test_drafts_cost_tokens_and_are_seen_by_controllers(make_envs: Any, make_policy: Any) -> None:
    groups = collect_from(Refine(drafts=SIZE), make_policy, make_envs(8, SIZE))
    written = [int(e.sampled_T.sum()) for e in [*groups.episodes, *groups.left_out]]
    assert len(written) == 16 and groups.sampled_tokens == sum(written)
    assert groups.left_out_tokens == sum(written[8:])
    assert groups.metrics == {"reward_drafts": np.mean([e.reward for e in groups.left_out])}
    assert Feedback.from_groups(groups).reward("all") == np.mean([e.reward for e in groups.sampled_episodes])


def test_refinements_have_the_log_probabilities_of_their_own_context(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, SIZE)
    groups = collect_from(Refine(), make_policy, envs)
    policy = make_policy(envs)
    for e in groups.episodes:
        tokens = torch.from_numpy(e.tokens_T.astype(np.int64))[None]
        with torch.no_grad():
            full_T = policy.token_log_probs(tokens, torch.ones_like(tokens, dtype=torch.bool))[0].numpy()
        assert np.allclose(full_T[e.sampled_T], e.logprob_T[e.sampled_T], atol=1e-5)


@pytest.mark.parametrize("lanes", [4, 8])
def test_answers_do_not_depend_on_the_lanes(make_envs: Any, make_policy: Any, lanes: int) -> None:
    together = collect_from(Refine(drafts=2), make_policy, make_envs(16, SIZE))
    envs = make_envs(lanes, SIZE)
    envs.unwrapped.load_state_dict({"root": 3, "counter": 0, "open": {}})
    policy = make_policy(envs)
    parts = [Refine(drafts=2)(policy, envs) for _ in range(16 // lanes)]
    for name in ("episodes", "left_out"):
        one = [(e.group, e.member, e.stage, e.tokens_T.tolist()) for e in getattr(together, name)]
        two = [(e.group, e.member, e.stage, e.tokens_T.tolist()) for part in parts for e in getattr(part, name)]
        assert one == two


def test_guidance_helps_drafts_and_a_refinement_sees_what_was_revealed(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, SIZE, digits=2, guidance={"length": 5, "ratio": 1.0}, verifier=ByVariety())
    groups = collect_from(Refine(drafts=1, template="{draft};"), make_policy, envs)
    assert {e.reveal for e in groups.left_out} == {5} and {e.reveal for e in groups.episodes} == {0}
    for group, draft in zip(groups, groups.left_out, strict=True):
        shown_T = draft.tokens_T[draft.role_T == Role.REVEALED]
        assert group.episodes[0].tokens_T[:5].tolist() == shown_T.tolist()
        assert set(group.episodes[0].role_T.tolist()) == {Role.PROMPT, Role.SAMPLED}


# -- the draft ---------------------------------------------------------------------------------------------------------


def test_ties_are_broken_at_random_and_not_by_the_order_of_members(make_episode: Any) -> None:
    chosen = []
    for number in range(60):
        drafts = [make_episode("pss", group=number, member=m, reward=float(m != 1)) for m in range(4)]
        found = choose_draft(Group(tuple(drafts)))
        assert choose_draft(Group(tuple(drafts))) is found
        chosen.append(found.member)
    counts = Counter(chosen)
    assert set(counts) == {0, 2, 3} and min(counts.values()) > 10  # 20 expected of each


def test_a_draft_that_nobody_could_grade_is_shown_only_where_there_is_no_other(make_episode: Any) -> None:
    failed = make_episode("pss", member=0, reward=5.0, valid=False)
    wrong = make_episode("pss", member=1, reward=0.0)
    assert choose_draft(Group((failed, wrong))) is wrong
    assert choose_draft(Group((failed,))) is failed


def finish(make_episode: Any, envs: Any, text: str, end: bool) -> Any:
    """An episode of one prompt token and a text, ended by the end token or not."""
    answer = [*encode_text(envs, text), *([1] if end else [])]
    episode = make_episode("p" + "s" * len(answer))
    return dataclasses.replace(episode, tokens_T=np.array([9, *answer], np.int32))


def test_a_draft_ends_before_its_end_token_and_its_stop_string(make_envs: Any, make_episode: Any) -> None:
    envs = make_envs(stop_strings=("##", "é"))
    cases = [("ab<eos>c", True, "ab<eos>c"), ("ab##", False, "ab"), ("a##b", True, "a##b"), ("xyé", False, "xy")]
    for text, end, left in cases:
        cut_T = cut_draft(envs.unwrapped.task, finish(make_episode, envs, text, end))
        assert cut_T.tolist() == encode_text(envs, left)


def test_a_draft_that_spent_its_budget_is_shown_whole(make_envs: Any, make_episode: Any) -> None:
    envs = make_envs(stop_strings=("##",))
    episode = dataclasses.replace(finish(make_episode, envs, "ab", False), terminated=False, truncated=True)
    assert cut_draft(envs.unwrapped.task, episode).tolist() == encode_text(envs, "ab")


# -- what does not fit -------------------------------------------------------------------------------------------------


def test_more_drafts_than_members_are_refused(make_envs: Any, make_policy: Any) -> None:
    with pytest.raises(ConfigurationError, match="drafts=5 must be at most group_size=4"):
        collect_from(Refine(drafts=5), make_policy, make_envs(8, SIZE))


@pytest.mark.parametrize("template", ["Draft:", "{draft}{draft}"])
def test_wrong_arguments_are_named(template: str) -> None:
    with pytest.raises(ConfigurationError, match="drafts=-1 must be at least 0"):
        Refine(drafts=-1)
    with pytest.raises(ConfigurationError, match="template=.* must hold '{draft}' exactly once"):
        Refine(template=template)


def test_contexts_that_the_policy_cannot_read_are_refused_before_sampling(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, SIZE)
    policy = make_policy(envs)
    policy.model.config.max_position_embeddings = envs.unwrapped.task.length
    envs.reset(seed=0)
    # "Draft: " and a line end are 8 tokens, a draft has up to 10
    with pytest.raises(
        BudgetError, match="drafts=4 must fit with contexts that are 18 tokens longer: an episode of up"
    ):
        Refine()(policy, envs)


def test_contexts_beyond_the_length_of_the_task_are_refused_before_sampling(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, SIZE, max_length=40)
    with pytest.raises(BudgetError, match="drafts=1 must fit with contexts that are 18 tokens longer: problem"):
        collect_from(Refine(drafts=1), make_policy, envs)


# -- a warm start ------------------------------------------------------------------------------------------------------


def test_a_third_of_the_contexts_of_a_warm_start_are_bare(make_envs: Any, make_policy: Any) -> None:
    task, strategy = make_envs(digits=2).unwrapped.task, Refine(template="<{draft}>")
    ids = list(dict.fromkeys(task.source.draw(0, i) for i in range(300)))
    bare, same = 0, 0
    for problem_id in ids:
        context_T = strategy.warm_context(task, problem_id)
        assert np.array_equal(context_T, strategy.warm_context(task, problem_id))
        text = task.tokenizer.decode(context_T.tolist())
        assert text.endswith(f"{problem_id}=")
        bare += text == f"{problem_id}="
        if text != f"{problem_id}=":
            assert text[0] == "<"
            same += f"#{task.lookup(problem_id).problem.answer}>" in text
    assert same < 0.05 * len(ids)  # other problems, few of which have the same answer
    assert len(ids) > 250 and 0.25 < bare / len(ids) < 0.42
    assert np.array_equal(Refine(drafts=0).warm_context(task, ids[0]), task.lookup(ids[0]).prompt_T)


def test_answers_in_the_contexts_of_a_warm_start_can_be_measured(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(digits=2)
    found = evaluate(make_policy(envs), envs, problems=16, context=Refine().warm_context)
    assert found.correct_PS.shape == (16, 1)


def test_a_draft_whose_reward_is_not_finite_is_named(make_episode: Any) -> None:
    drafts = Group(tuple(make_episode("ps", member=member, reward=float("nan")) for member in range(2)))
    with pytest.raises(NonFiniteError, match=r"^reward=nan of problem '1\+1', group 0, draft 0 must be finite$"):
        choose_draft(drafts)
