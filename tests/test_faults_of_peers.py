"""Faults of other libraries of the field, from their code and their issues: the test for each, here or named."""

import copy
import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import g2rpo_env
from g2rpo_env import Group, Problem, Role, TokenEnv, TokenVectorEnv, VectorGuidanceWrapper
from g2rpo_env.agents import CausalLMPolicy, collect, recipes
from g2rpo_env.agents.batch import make_batch
from g2rpo_env.agents.parts.token_weights.means import TokenMean
from g2rpo_env.envs.arithmetic import Addition
from g2rpo_env.envs.mathematics.numeric import NumberVerifier
from g2rpo_env.errors import ConfigurationError

TESTS = Path(__file__).parent
ROOT = TESTS.parent

# fmt: off
TESTED = {
    "not a gymnasium.Env, or one that its checker refuses (gem, LMRL-Gym, OpenEnv, RL4LMs, SkyRL-gym, TextArena)":
        "test_core.py: test_both_checkers_pass_without_a_warning",
    "observations that Stable-Baselines3 does not take (SB3 1688, 1868; OpenEnv 374)":
        "test_core.py: test_both_checkers_pass_without_a_warning",
    "terminated and truncated at once (gem)": "test_core.py: test_an_episode_is_append_only_and_ends_once",
    "no difference between an ended answer and a spent budget (RL4LMs)":
        "test_core.py: test_a_spent_budget_truncates_and_the_answer_is_graded_all_the_same",
    "the terminal info overwritten by that of the reset (gem)":
        "test_vector.py: test_same_step_restarts_at_once_and_keeps_the_end",
    "the last observation lost at an autoreset (gymnasium 389, 1103)":
        "test_conformance.py: test_statistics_keep_the_end_of_same_step",
    "a dead step whose action is ignored, in every episode (NEXT_STEP of gymnasium)":
        "test_vector.py: test_disabled_shows_the_end_once_and_then_the_lane_waits",
    "a native vector environment that make_vec ignores (gymnasium 625)":
        "test_vector.py: test_gymnasium_makes_it_with_plain_arguments",
    "an environment for one episode, without a seed (SkyRL-gym)":
        "test_core.py: test_one_seed_gives_one_order_and_another_seed_another",
    "the history of earlier episodes in the first observation (TextArena), lanes":
        "test_vector.py: test_a_restarted_lane_shows_nothing_of_the_episode_before",
    "the whole context decoded at every token (RL4LMs), lanes":
        "test_vector.py: test_nothing_is_decoded_before_the_end",
    "texts decoded and encoded again on their way to the loss (TRL 5224, 5144; LMRL-Gym)":
        "agents/test_rollout.py: test_an_episode_is_its_prompt_its_reveal_and_its_answer",
    "a model that reads everything again for every token (LMRL-Gym)":
        "agents/policy/test_decoder.py: test_recorded_log_probs_equal_full_encoding",
    "mask and ids of different length (verifiers 37)": "test_episode.py: test_arrays_of_different_lengths_are_refused",
    "rewards too few, spread over all completions (TRL 6533), verifier":
        "test_vector.py: test_a_verifier_with_the_wrong_number_of_verdicts_is_a_mistake_and_no_error_verdict",
    "a failing verifier that counts as a wrong answer (verl 3407)":
        "test_core.py: test_a_verifier_that_raises_gives_an_error_verdict_and_no_wrong_answer",
    "signal.alarm: no verdict in a thread, every reward 0 (Math-Verify 55, TRL 5281)":
        "envs/mathematics/test_pool.py: test_threads_and_a_timer_of_the_caller",
    "a verifier that hangs the training (verl 5635)":
        "envs/mathematics/test_pool.py: test_a_late_process_is_killed_and_the_next_call_gets_another",
    "a process for every check (verifiers)": "envs/mathematics/test_pool.py: test_it_compares",
    "countdown with numbers that were not given (reasoning-gym 377)":
        "envs/test_countdown.py: test_everything_else_is_wrong",
    "correct answers refused for their form (reasoning-gym 526)":
        "envs/mathematics/test_equality.py: test_equal",
    "gradients from groups in which all rewards are equal (TRL 5588)":
        "agents/test_grpo.py: test_equal_rewards_take_no_step",
    "no way to leave such groups out (TRL 3708)":
        "agents/parts/selection/test_filters.py: test_drop_uniform_keeps_only_groups_whose_rewards_differ",
    "nobody can tell whether the prefix is in the loss (LUFFY 18, critique-GRPO 11)":
        "agents/test_grpo.py: test_gradients_reach_exactly_the_roles_a_recipe_counts",
    "completions that only a web service shows (TRL 2948)":
        "report/test_records.py: test_a_rollout_record_holds_the_episode_its_texts_and_what_the_loss_saw",
    "stale weights in a sampling server (TRL 2923)":
        "agents/parts/strategies/test_generators.py: test_a_server_with_old_weights_is_noticed",
    "requirements that no metadata declare (gem)": "test_packaging.py: test_every_imported_package_is_a_requirement",
    "a float mask of every step in the rollout buffer (sb3-contrib 247)":
        "agents/test_sb3.py: test_a_reduced_vocabulary_and_its_masks",
}
# fmt: on
"""Fault, with whose it is -> where its test is, if not below."""


@pytest.mark.parametrize("place", sorted(set(TESTED.values())))
def test_the_tests_named_above_exist(place: str) -> None:
    file, _, name = place.partition(": ")
    assert f"\ndef {name}(" in (TESTS / file).read_text(encoding="utf-8")


def test_nothing_is_decoded_during_an_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    """RL4LMs decodes the whole context at every token."""
    calls: list[int] = []
    true = g2rpo_env.task.decode
    monkeypatch.setattr("g2rpo_env.task.decode", lambda tokenizer, ids: calls.append(len(ids)) or true(tokenizer, ids))
    env = TokenEnv(Addition(digits=2, max_new_tokens=20))
    env.reset(seed=0)
    for _ in range(19):
        env.step(90)
    assert calls == []
    env.step(90)
    assert calls == [20]


def test_an_environment_used_again_shows_what_a_new_one_shows() -> None:
    """The first observation of TextArena's environments grows from episode to episode."""
    used = TokenEnv(Addition(digits=2))
    for episode in range(4):
        new = TokenEnv(used.task)
        options = {"problem": "58+67", "reveal": episode}
        first, other = used.reset(seed=episode, options=options)[0], new.reset(seed=episode, options=options)[0]
        assert all(np.array_equal(first[key], other[key]) for key in first)
        for _ in range(10 + episode):
            used.step(90)


@pytest.mark.parametrize("copied", [False, True])
def test_infos_are_empty_between_the_start_and_the_end(copied: bool) -> None:
    """Stable-Baselines3 copies every info deeply: a kilobyte in each halves the speed."""
    envs = TokenVectorEnv(Addition(digits=2, max_new_tokens=5), 2, copy=copied)
    envs.reset(seed=0)
    infos = [envs.step(np.full(2, 90))[4] for _ in range(5)]
    assert infos[:4] == [{}] * 4 and set(infos[4]) >= {"completion", "verdict"}


@pytest.mark.parametrize("completion", ["#### the answer is -4", "#### 4", "#### -44", "#### --4", "-4", "#### -4 -4"])
def test_an_answer_that_holds_the_right_one_is_worth_nothing(completion: str) -> None:
    """A scorer of reasoning-gym gives len(gold) / len(answer) to answers that hold the right one."""
    problem = Problem("p", "?\n", (), "#### -4", "-4")
    assert [v.reward for v in NumberVerifier()([problem] * 2, [completion, "#### -4"])] == [0.0, 1.0]


def test_the_end_token_is_trained_even_where_it_is_also_the_padding() -> None:
    """TRL took every token that equals the padding for padding (4974): the end of an answer was never learnt."""
    # Of 258 tokens one is the end: with 200 to sample half of the answers end by themselves.
    options = {"digits": 1, "max_new_tokens": 200, "tokenizer": ends_are_padding()}
    envs = gym.make_vec("g2rpo_env/Addition-v0", num_envs=8, group_size=4, **options)
    policy = CausalLMPolicy.tiny(envs, hidden_size=16, layers=1)
    episodes = collect(policy, envs, seed=0).episodes
    assert len({len(e.tokens_T) for e in episodes}) > 1 and any(e.terminated for e in episodes)
    weights = [TokenMean()(e) for e in episodes]
    batch = make_batch(episodes, np.ones(len(episodes)), weights, policy.device)
    for row, episode in enumerate(episodes):
        length = len(episode.tokens_T)
        assert batch.mask_NT[row].sum() == length
        assert (batch.weight_NT[row] > 0).sum() == (episode.role_T == Role.SAMPLED).sum()
        if episode.terminated:
            assert episode.tokens_T[-1] == policy.tokenizer.pad_token_id and batch.weight_NT[row, length - 1] > 0


def ends_are_padding() -> Any:
    """The built-in tokenizer, padded with its end token, as many checkpoints are."""
    tokenizer = copy.deepcopy(g2rpo_env.char_tokenizer())
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def test_the_policy_is_driven_through_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """RL4LMs generates the whole answer first and then replays it through its environment."""
    envs = gym.make_vec("g2rpo_env/Addition-v0", num_envs=4, group_size=2, digits=1)
    given: list[np.ndarray] = []
    true = TokenVectorEnv.step

    def step(self: Any, actions: Any) -> Any:
        given.append(actions.copy())
        return true(self, actions)

    monkeypatch.setattr(TokenVectorEnv, "step", step)
    groups = collect(CausalLMPolicy.tiny(envs, hidden_size=16, layers=1), envs, seed=0)
    answers = [e.tokens_T[e.role_T == Role.SAMPLED].tolist() for e in groups.episodes]
    assert len(given) == max(map(len, answers))
    stepped = [[int(row[lane]) for row in given] for lane in range(4)]
    assert [steps[: len(answer)] for steps, answer in zip(stepped, answers, strict=True)] == answers


class OneForAll:
    """Shaping with one reward, however many members there are."""

    requires: frozenset[str] = frozenset()

    def __call__(self, group: Group) -> np.ndarray:
        """Return it."""
        return np.ones(1)


def test_a_shaping_with_too_few_rewards_is_refused() -> None:
    """TRL spreads a list of rewards of the wrong length over all completions without a word (6533)."""
    envs = gym.make_vec("g2rpo_env/Addition-v0", num_envs=4, group_size=2, digits=1)
    policy = CausalLMPolicy.tiny(envs, hidden_size=16, layers=1)
    with pytest.raises(ConfigurationError, match="one reward per member"):
        recipes.make("grpo", policy, envs, seed=0, shaping=OneForAll())


def test_every_member_gets_its_reveal_however_many_groups_there_are() -> None:
    """The official code of G2RPO-A guides by a list of 84 positions: groups get two guided members, or none."""
    for groups, size in ((1, 12), (7, 10), (50, 4)):
        envs = gym.make_vec("g2rpo_env/Addition-v0", num_envs=groups * size, group_size=size, digits=2)
        envs = VectorGuidanceWrapper(envs, ratio=0.25, length=5)
        _, info = envs.reset(seed=0)
        guided = (info["reveal_length"] > 0).reshape(groups, size).sum(axis=1)
        assert guided.tolist() == [-(-size // 4)] * groups


def test_every_id_that_the_documentation_names_is_registered() -> None:
    """gem's README makes an id that gem does not register."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.py")]
    named = {m for page in pages for m in re.findall(r"\bg2rpo_env/\w+-v\d+", page.read_text(encoding="utf-8"))}
    assert len(named) > 5 and named <= set(g2rpo_env.env_ids())
