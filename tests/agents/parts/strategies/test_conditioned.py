"""Conditioned: the level behind the prompt, who gets which, and that evaluations start from the top one."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env.agents import recipes
from g2rpo_env.agents.parts.strategies.conditioned import Conditioned, lay
from g2rpo_env.episode import Role
from g2rpo_env.errors import BudgetError, ConfigurationError

SIZE = 4


def collect_from(strategy: Any, make_policy: Any, envs: Any, seed: int = 3) -> Any:
    """The groups of one update from the beginning of the order."""
    envs.unwrapped.load_state_dict({"root": seed, "counter": 0, "open": {}})
    return strategy(make_policy(envs), envs)


def read_context(envs: Any, episode: Any) -> str:
    return str(envs.unwrapped.tokenizer.decode(episode.tokens_T[episode.role_T == Role.PROMPT].tolist()))


def test_the_level_stands_behind_the_prompt_and_is_never_trained(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, SIZE)
    groups = collect_from(Conditioned(explore=0.0), make_policy, envs)
    assert [(e.group, e.member) for e in groups.episodes] == [(g, m) for g in range(2) for m in range(SIZE)]
    for e in groups.episodes:
        assert read_context(envs, e) == f"{e.problem_id}=[1]"
        assert set(e.role_T[len(e.problem_id) + 4 :].tolist()) == {Role.SAMPLED}
        assert 1 <= int(e.sampled_T.sum()) <= 10 and e.train_prefix is None


def test_a_level_stands_behind_the_frame_of_a_chat(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(4, SIZE, frame=([3, 4], [5]), begin_tokens=())
    (group,) = collect_from(Conditioned(explore=0.0, template="{level}"), make_policy, envs)
    e = group.episodes[0]
    context = e.tokens_T[e.role_T == Role.PROMPT].tolist()
    assert context[:2] == [3, 4] and context[-2] == 5
    assert envs.unwrapped.tokenizer.decode(context[-1:]) == "1"


def test_levels_are_chosen_from_a_stream_of_each_episode(make_envs: Any, make_policy: Any) -> None:
    strategy = Conditioned((0.0, 0.5, 1.0), explore=0.6)
    chosen = Counter(strategy.choose(0, group, member) for group in range(150) for member in range(8))
    # .4 + .6 / 3 of 1,200 on the top level, .2 on each of the others; the deviation of a fifth is 14
    assert abs(chosen[2] - 720) < 60 and abs(chosen[0] - 240) < 50 and abs(chosen[1] - 240) < 50
    envs = make_envs(16, SIZE)
    groups = collect_from(strategy, make_policy, envs)
    names = ("[0]", "[0.5]", "[1]")
    for e in groups.episodes:
        assert read_context(envs, e) == f"{e.problem_id}={names[strategy.choose(3, e.group, e.member)]}"
    assert {Conditioned(explore=0.0).choose(0, g, 0) for g in range(50)} == {1}


@pytest.mark.parametrize("lanes", [4, 8])
def test_answers_do_not_depend_on_the_lanes(make_envs: Any, make_policy: Any, lanes: int) -> None:
    together = collect_from(Conditioned(explore=0.5), make_policy, make_envs(16, SIZE))
    envs = make_envs(lanes, SIZE)
    envs.unwrapped.load_state_dict({"root": 3, "counter": 0, "open": {}})
    policy = make_policy(envs)
    parts = [Conditioned(explore=0.5)(policy, envs) for _ in range(16 // lanes)]
    one = [(e.group, e.member, e.tokens_T.tolist()) for e in together.episodes]
    assert one == [(e.group, e.member, e.tokens_T.tolist()) for part in parts for e in part.episodes]


def test_recorded_log_probabilities_are_those_under_the_level(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, SIZE)
    groups = collect_from(Conditioned(), make_policy, envs)
    policy = make_policy(envs)
    for e in groups.episodes:
        tokens = torch.from_numpy(e.tokens_T.astype(np.int64))[None]
        with torch.no_grad():
            full_T = policy.token_log_probs(tokens, torch.ones_like(tokens, dtype=torch.bool))[0].numpy()
        assert np.allclose(full_T[e.sampled_T], e.logprob_T[e.sampled_T], atol=1e-5)


def test_guidance_reveals_nothing(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, SIZE, guidance={"length": 5, "ratio": 1.0})
    assert {e.reveal for e in collect_from(Conditioned(), make_policy, envs).episodes} == {0}


def test_evaluations_start_from_the_top_level(make_envs: Any, make_policy: Any) -> None:
    seen: list[str] = []

    class Watched(Conditioned):
        def context(self, task: Any, problem_id: str) -> np.ndarray:
            found_T = super().context(task, problem_id)
            seen.append(task.tokenizer.decode(found_T.tolist()))
            return found_T

    envs = make_envs(8, SIZE)
    agent = recipes.make("gac", make_policy(envs), envs, strategy=Watched((0.0, 0.25, 0.75)))
    evaluation = agent.evaluate(problems=8)
    assert len(evaluation.problem_ids) == len(seen) and all(text.endswith("=[0.75]") for text in seen)


@pytest.mark.parametrize(
    "levels,reward,reached",
    [((0.0, 1.0), 0.99, 0), ((0.0, 1.0), 1.0, 1), ((0.0, 1.0), -3.0, 0), ((1.0,), 0.0, 0), ((-1, 0, 1), 0.0, 1)],
)
def test_a_reward_reaches_the_highest_level_that_it_is_not_below(levels: Any, reward: float, reached: int) -> None:
    assert Conditioned(levels).find_reached(reward) == reached


def test_room_is_that_of_the_longest_level(make_envs: Any) -> None:
    task = make_envs().unwrapped.task
    strategy = Conditioned((0.0, 0.125, 1.0))
    assert strategy.room(task) == len("[0.125]")
    levels = strategy.encode_levels(task)
    contexts = [lay(task, "1+2", level_T).tolist() for level_T in levels]
    assert [task.tokenizer.decode(ids) for ids in contexts] == ["1+2=[0]", "1+2=[0.125]", "1+2=[1]"]


def test_contexts_that_do_not_fit_are_refused_before_sampling(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, SIZE)
    policy = make_policy(envs)
    policy.model.config.max_position_embeddings = envs.unwrapped.task.length
    envs.reset(seed=0)
    with pytest.raises(
        BudgetError, match=r"levels=\(0.0, 1.0\) must fit with contexts that are 3 tokens longer: an ep"
    ):
        Conditioned()(policy, envs)


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"levels": ()}, r"levels=\(\) must be finite numbers that rise, at least one"),
        ({"levels": (1.0, 0.0)}, r"levels=\(1.0, 0.0\) must be finite numbers that rise"),
        ({"levels": (0.0, 0.0)}, "must be finite numbers that rise"),
        ({"levels": (0.0, math.inf)}, "must be finite numbers that rise"),
        ({"levels": (math.nan,)}, "must be finite numbers that rise"),
        ({"template": "level"}, "template='level' must hold '{level}' exactly once"),
        ({"explore": 1.5}, r"explore=1.5 must lie in \[0, 1\]"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Conditioned(**arguments)


def test_levels_of_a_list_are_those_of_a_tuple() -> None:
    assert Conditioned([0, 1]) == Conditioned() and hash(Conditioned([0, 1])) == hash(Conditioned())
