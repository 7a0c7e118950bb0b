"""The environments beside Gymnasium's own: wrappers, specs, vectorisation lane by lane; and what bad input gives."""

import copy
import functools
import json
import pickle
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from hypothesis import given, settings
from hypothesis import strategies as st

from g2rpo_env import (
    GuidanceWrapper,
    Outcome,
    Problem,
    Task,
    TokenEnv,
    TokenVectorEnv,
    VectorGuidanceWrapper,
    Verdict,
    check_env,
    check_vector_env,
)
from g2rpo_env.envs.arithmetic import Addition
from g2rpo_env.envs.dataset import RowSource
from g2rpo_env.errors import ConfigurationError, ConformanceError, ResetNeededError, TokenizerError
from g2rpo_env.tokenizer import char_tokenizer, decode, encode

EOS = char_tokenizer().eos_token_id
X = 90  # a token that ends nothing
TASK = Addition(digits=2, max_new_tokens=6)


def ids(text: str) -> list[int]:
    return encode(char_tokenizer(), text)[0].tolist()


# -- Gymnasium's wrappers, single -------------------------------------------------------------------------------------


def test_a_time_limit_cuts_without_a_verdict() -> None:
    env = gym.wrappers.TimeLimit(TokenEnv(TASK), 3)
    env.reset(seed=0)
    results = [env.step(X) for _ in range(3)]
    assert [result[3] for result in results] == [False, False, True] and results[-1][4] == {}
    env.reset()
    assert env.step(EOS)[2:4] == (True, False)  # the limit counts anew


def test_episode_statistics_count_steps_and_rewards() -> None:
    env = gym.wrappers.RecordEpisodeStatistics(TokenEnv(TASK))
    for text, reward in (("#125", 1.0), ("#1", 0.0)):
        env.reset(seed=0, options={"problem": "58+67"})
        for token in [*ids(text), EOS]:
            *_, info = env.step(token)
        assert (info["episode"]["r"], info["episode"]["l"]) == (reward, len(text) + 1)
        assert info["completion"] == text
    assert list(env.length_queue) == [5, 3]


def test_a_transformed_reward_leaves_the_verdict_alone() -> None:
    env = gym.wrappers.TransformReward(TokenEnv(TASK), lambda reward: 2 * reward - 1)
    env.reset(seed=0, options={"problem": "58+67"})
    rewards = [env.step(token)[1] for token in ids("#125")]
    _, reward, _, _, info = env.step(EOS)
    assert rewards == [-1.0] * 4 and reward == 1.0 and info["verdict"].reward == 1.0


def test_a_normalised_reward_stays_finite_where_every_reward_is_zero() -> None:
    env = gym.wrappers.NormalizeReward(TokenEnv(TASK))
    for _ in range(3):
        env.reset(seed=0)
        assert np.isfinite(env.step(X)[1]) and np.isfinite(env.step(EOS)[1])


def test_a_flat_observation_holds_length_and_tokens() -> None:
    env = gym.wrappers.FlattenObservation(GuidanceWrapper(TokenEnv(TASK), length=2))
    flat, _ = env.reset(seed=0, options={"problem": "58+67"})
    assert env.observation_space.contains(flat) and flat.dtype == np.int32
    assert gym.spaces.unflatten(env.env.observation_space, flat)["tokens"][:8].tolist() == ids("58+67=8+")


def test_steps_before_a_reset_and_after_the_end_are_refused_through_make() -> None:
    env = gym.make("g2rpo_env/Addition-v0", digits=2)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(X)
    env.reset(seed=0)
    env.step(EOS)
    with pytest.raises(gym.error.ResetNeeded) as caught:
        env.step(X)
    assert isinstance(caught.value, ResetNeededError)


# -- specs --------------------------------------------------------------------------------------------------------


def first_frames(env: gym.Env) -> list[Any]:
    observation, info = env.reset(seed=3)
    return [observation, info, *(env.step(X) for _ in range(3))]


@pytest.mark.parametrize("through", ["spec", "json", "pickle"])
def test_an_environment_is_made_again_from_its_spec(through: str) -> None:
    made = gym.make("g2rpo_env/Addition-v0", digits=2, max_new_tokens=9, split="test")
    env = GuidanceWrapper(made, length=0.5, unit="fraction", ratio=0.7, reveal_cap="before_answer")
    spec = env.spec
    if through == "json":
        spec = gym.envs.registration.EnvSpec.from_json(spec.to_json())
    elif through == "pickle":
        spec = pickle.loads(pickle.dumps(spec))
    again = gym.make(spec)
    assert isinstance(again, GuidanceWrapper)
    assert (again.length, again.unit, again.ratio, again.reveal_cap) == (0.5, "fraction", 0.7, "before_answer")
    assert again.unwrapped.task.max_new_tokens == 9 and again.unwrapped.task.source.split == "test"
    assert data_equivalence(first_frames(env), first_frames(again), exact=True)
    assert json.loads(env.spec.to_json())["kwargs"]["task"] == "g2rpo_env.envs.arithmetic:Addition"


def test_no_id_registers_a_limit_of_steps() -> None:
    assert gym.spec("g2rpo_env/Addition-v0").max_episode_steps is None
    assert gym.spec("g2rpo_env/GSM8K-v0").max_episode_steps is None


# -- Gymnasium's wrappers, lanes ------------------------------------------------------------------------------------

MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_episode_statistics_count_each_episode_once(mode: AutoresetMode) -> None:
    envs = RecordEpisodeStatistics(TokenVectorEnv(TASK, 3, autoreset_mode=mode))
    envs.reset(seed=0)
    lengths, expected = [], 0
    random = np.random.default_rng(0)
    for _ in range(40):
        _, _, terminated, truncated, info = envs.step(random.choice([X, EOS], size=3, p=[0.7, 0.3]))
        ended = terminated | truncated
        expected += int(ended.sum())
        if ended.any():
            assert info["_episode"].tolist() == ended.tolist()
            lengths += info["episode"]["l"][ended].tolist()
            final = info["final_info"] if mode is AutoresetMode.SAME_STEP else info
            assert final["_verdict"].tolist() == ended.tolist()
            # the end token is the one sampled token that is no text
            wrote = [len(text) for text in final["completion"][ended]]
            cut = truncated[ended]
            assert [n + 1 - int(c) for n, c in zip(wrote, cut, strict=True)] == info["episode"]["l"][ended].tolist()
        if mode is AutoresetMode.DISABLED and not envs.unwrapped.active.any():
            envs.reset()
    assert envs.episode_count == expected == len(lengths) > 10
    assert list(envs.length_queue) == lengths


def test_a_reset_mask_passes_through_the_statistics() -> None:
    envs = RecordEpisodeStatistics(VectorGuidanceWrapper(TokenVectorEnv(TASK, 4, group_size=2), length=3, ratio=1.0))
    envs.reset(seed=0)
    envs.step(np.array([EOS, EOS, X, X]))
    mask = np.array([True, True, False, False])
    observation, info = envs.reset(options={"reset_mask": mask})
    assert info["_group"].tolist() == mask.tolist() and info["reveal_length"].tolist() == [3, 3, 0, 0]
    assert observation["length"].ravel().tolist() == [9, 9, 10, 10]
    *_, info = envs.step(np.full(4, EOS))
    assert info["episode"]["l"].tolist() == [1, 1, 2, 2]


def test_statistics_keep_the_end_of_same_step() -> None:
    envs = RecordEpisodeStatistics(TokenVectorEnv(TASK, 2, autoreset_mode="SAME_STEP"))
    envs.reset(seed=0)
    *_, info = envs.step(np.array([EOS, X]))
    assert info["final_obs"][0]["tokens"][6] == EOS and info["final_obs"][1] is None
    assert info["final_info"]["verdict"][0].outcome is Outcome.NO_ANSWER
    assert info["episode"]["l"].tolist() == [1, 0]


# -- lanes equal Gymnasium's vectorisation --------------------------------------------------------------------------

PROBLEMS = {1: ["1+2", "8+9", "0+0"], 2: ["58+67", "10+20", "99+99"]}
PIECES = [[X], [X, X], [EOS], ids("\n"), ids("1#"), *([*ids(text), EOS] for text in ("#3", "#17", "#125", "1#30"))]
"""Answers that lanes write, one after the other: text, ends, stop strings, right answers to some problems."""


@st.composite
def runs(draw: st.DrawFn) -> dict[str, Any]:
    """A task, a number of lanes, a seed, and for each reset the problems and for each step the actions."""
    low = draw(st.integers(1, 2))
    high = draw(st.integers(low, 2))
    lanes = draw(st.integers(1, 4))
    problem = st.sampled_from([p for digits in range(low, high + 1) for p in PROBLEMS[digits]])
    steps = draw(st.integers(1, 14))
    text = st.lists(st.sampled_from(PIECES), min_size=steps, max_size=steps).map(lambda pieces: sum(pieces, [])[:steps])
    return {
        "task": Addition(
            digits=(low, high),
            max_new_tokens=draw(st.integers(2, 9)),
            stop_strings=draw(st.sampled_from([(), ("\n",), ("1#", "#")])),
        ),
        "seed": draw(st.integers(0, 2**31)),
        "problems": draw(st.lists(problem, min_size=lanes, max_size=lanes)),
        "reveals": draw(st.lists(st.integers(0, 20), min_size=lanes, max_size=lanes)),
        "actions": np.array(draw(st.lists(text, min_size=lanes, max_size=lanes))).T,
        "next": draw(problem),
    }


def without_groups(info: dict[str, Any]) -> dict[str, Any]:
    """Everything but the group numbers: single environments count their episodes alone."""
    nested = {"final_info": without_groups(info["final_info"])} if "final_info" in info else {}
    return {key: value for key, value in {**info, **nested}.items() if key not in ("group", "_group")}


def play(envs: Any, run: dict[str, Any]) -> list[Any]:
    """Reset lane by lane, with a problem each; step; reset finished lanes at once. Return all that was shown."""
    lanes = len(run["problems"])
    shown = [envs.reset(seed=run["seed"], options={"problem": run["problems"][0]})]
    for lane in range(lanes):
        options = {"problem": run["problems"][lane], "reveal": run["reveals"][lane]}
        shown.append(envs.reset(options={"reset_mask": np.arange(lanes) == lane, **options}))
    for actions in run["actions"]:
        observation, rewards, terminated, truncated, info = envs.step(actions)
        shown.append((observation, rewards.copy(), terminated.copy(), truncated.copy(), info))
        if (terminated | truncated).any():
            shown.append(envs.reset(options={"reset_mask": terminated | truncated, "problem": run["next"]}))
    return [(*rest, without_groups(info)) for *rest, info in shown]


def check_equal(kind: type, run: dict[str, Any]) -> None:
    singles = [functools.partial(TokenEnv, run["task"])] * len(run["problems"])
    ours = TokenVectorEnv(run["task"], len(singles), autoreset_mode="DISABLED")
    theirs = kind(singles, autoreset_mode=AutoresetMode.DISABLED)
    try:
        for number, (mine, yours) in enumerate(zip(play(ours, run), play(theirs, run), strict=True)):
            assert data_equivalence(mine, yours, exact=True), f"result {number}: {mine} differs from {yours}"
    finally:
        theirs.close()


@settings(deadline=None, max_examples=60)
@given(run=runs())
def test_lanes_equal_sync_vector_env(run: dict[str, Any]) -> None:
    check_equal(SyncVectorEnv, run)


@settings(deadline=None, max_examples=3)
@given(run=runs())
def test_lanes_equal_async_vector_env(run: dict[str, Any]) -> None:
    check_equal(AsyncVectorEnv, run)


@settings(deadline=None, max_examples=30)
@given(run=runs(), mode=st.sampled_from([AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP]))
def test_lanes_that_restart_equal_sync_vector_env(run: dict[str, Any], mode: AutoresetMode) -> None:
    task = one_problem(run["task"], run["next"])
    lanes = len(run["problems"])
    ours = TokenVectorEnv(task, lanes, autoreset_mode=mode)
    theirs = SyncVectorEnv([functools.partial(TokenEnv, task)] * lanes, autoreset_mode=mode)
    shown = []
    for envs in (ours, theirs):
        results = [envs.reset(seed=run["seed"])]
        results += [copy.deepcopy(envs.step(actions)) for actions in run["actions"]]
        shown.append([(*rest, without_groups(info)) for *rest, info in results])
    assert data_equivalence(shown[0], shown[1], exact=True)


def one_problem(task: Task, problem_id: str) -> Task:
    """The task on a source of one problem, so that no seed makes a difference."""
    source = RowSource([task.source.get(problem_id)], "train")
    return Task(source, task.verifier, max_new_tokens=task.max_new_tokens, stop_strings=task.stop_strings)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31), lanes=st.integers(1, 4))
def test_lane_i_draws_what_an_environment_draws_i_th(seed: int, lanes: int) -> None:
    """One root seed is one order; it is dealt to the lanes, where SyncVectorEnv gives each lane seed + i."""
    env = TokenEnv(TASK)
    drawn = [env.reset(seed=seed if i == 0 else None)[1]["problem_id"] for i in range(lanes)]
    assert TokenVectorEnv(TASK, lanes).reset(seed=seed)[1]["problem_id"].tolist() == drawn
    theirs = SyncVectorEnv([functools.partial(TokenEnv, TASK)] * lanes)
    own = [TokenEnv(TASK).reset(seed=seed + i)[1]["problem_id"] for i in range(lanes)]
    assert theirs.reset(seed=seed)[1]["problem_id"].tolist() == own


# -- order and splits -----------------------------------------------------------------------------------------------


class Echo:
    """Right if the completion is the answer."""

    def __call__(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        """Return one verdict per completion."""
        return [
            Verdict(Outcome.CORRECT if p.answer == c else Outcome.WRONG)
            for p, c in zip(problems, completions, strict=True)
        ]


def finite(count: int = 5, **options: Any) -> Task:
    problems = [Problem(f"p{n}", f"{n}\n", (f"{n}",), f"#{n}", f"{n}") for n in range(count)]
    return Task(RowSource(problems, "train"), Echo(), max_new_tokens=3, **options)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**9), count=st.integers(1, 6), stop=st.integers(0, 12))
def test_an_exhausted_source_begins_the_next_epoch_and_resumes_in_it(seed: int, count: int, stop: int) -> None:
    env = TokenEnv(finite(count))
    order = [env.reset(seed=seed if i == 0 else None)[1]["problem_id"] for i in range(4 * count)]
    for epoch in range(4):
        assert sorted(order[epoch * count : (epoch + 1) * count]) == [f"p{n}" for n in range(count)]
    stop = min(stop, 4 * count - 1)
    first, second = TokenEnv(finite(count)), TokenEnv(finite(count))
    first.reset(seed=seed)
    for _ in range(stop):
        first.reset()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert [second.reset()[1]["problem_id"] for _ in range(4 * count - stop - 1)] == order[stop + 1 :]


def test_groups_take_the_epochs_of_a_finite_source_in_order() -> None:
    envs, order = TokenVectorEnv(finite(3), 4, group_size=2), []
    for number in range(6):
        info = envs.reset(seed=1 if number == 0 else None)[1]
        order += info["problem_id"][::2].tolist()
    assert [sorted(order[i : i + 3]) for i in (0, 3, 6, 9)] == [["p0", "p1", "p2"]] * 4


@pytest.mark.parametrize("digits", [1, (1, 2)])
def test_generated_splits_never_leak(digits: Any) -> None:
    seen = {}
    for split in ("train", "validation", "test", "warmstart"):
        env = TokenEnv(Addition(digits=digits, split=split))
        drawn = [env.reset(seed=0 if i == 0 else None)[1]["problem_id"] for i in range(600)]
        seen[split] = {frozenset(problem_id.split("+")) for problem_id in drawn}  # a+b and b+a are one problem
    assert sum(map(len, seen.values())) == len(set().union(*seen.values()))


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reveal", [18, 19, 500, 10**9])
def test_a_reveal_beyond_the_revealable_part_is_clipped_and_info_says_so(reveal: int) -> None:
    options = {"problem": "58+67", "reveal": reveal}
    observation, info = TokenEnv(TASK).reset(seed=0, options=options)
    assert info["reveal_length"] == 18 and observation["length"] == 6 + 18  # two steps of nine characters
    observation, info = TokenVectorEnv(TASK, 2).reset(seed=0, options=options)
    assert info["reveal_length"].tolist() == [18, 18] and observation["length"].ravel().tolist() == [24, 24]


@settings(deadline=None, max_examples=50)
@given(tokens=st.lists(st.integers(0, 257), min_size=1, max_size=12))
def test_whatever_a_policy_writes_is_text(tokens: list[int]) -> None:
    """Bytes that are no UTF-8, such as those of surrogates, show as U+FFFD in the completion."""
    task = Addition(digits=1, max_new_tokens=12)
    env = TokenEnv(task, render_mode="ansi")
    env.reset(seed=0)
    for token in tokens:
        _, _, terminated, truncated, info = env.step(token)
        env.render().encode()
        if terminated or truncated:
            info["completion"].encode()
            break


def test_the_bytes_of_a_surrogate_show_as_replacement_characters() -> None:
    surrogate = [char_tokenizer().convert_tokens_to_ids(c) for c in "íłĢ"]  # bytes ED A0 80, in the byte alphabet
    env = TokenEnv(finite())
    env.reset(seed=0)
    for token in surrogate:
        *_, info = env.step(token)
    assert set(info["completion"]) == {"\ufffd"} and info["verdict"].outcome is Outcome.WRONG
    assert decode(char_tokenizer(), np.array(surrogate)) == info["completion"]


def test_a_budget_of_one_token_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="max_new_tokens=1 .*at least 2"):
        Addition(digits=2, max_new_tokens=1)


@pytest.mark.parametrize("kind", [TokenEnv, TokenVectorEnv])
@pytest.mark.parametrize("vocabulary", ["", [EOS], [20]])
def test_a_vocabulary_of_one_token_is_refused(kind: Any, vocabulary: Any) -> None:
    with pytest.raises(ConfigurationError, match="vocabulary=.* at least 2 tokens"):
        kind(TASK, vocabulary=vocabulary)


@pytest.mark.parametrize("vocabulary", ["0123456789+=#\n", "#0123456789"])
def test_a_reduced_vocabulary_passes_the_checks(vocabulary: Any) -> None:
    check_env(TokenEnv(TASK, vocabulary=vocabulary))
    check_vector_env(TokenVectorEnv(TASK, 4, group_size=2, vocabulary=vocabulary))


@pytest.mark.parametrize("vocabulary", [[EOS, 20], [20, 21]])
def test_a_vocabulary_without_the_mark_of_answers_fails_the_checks(vocabulary: Any) -> None:
    with pytest.raises(ConformanceError, match="vocabulary must hold what the final part"):
        check_env(TokenEnv(TASK, vocabulary=vocabulary))
    with pytest.raises(ConformanceError, match="vocabulary must hold what the final part"):
        check_vector_env(TokenVectorEnv(TASK, 4, group_size=2, vocabulary=vocabulary))


def one(prompt: str, step: str = "1\n") -> Task:
    return Task(RowSource([Problem("p", prompt, (step,), "#1", "1")], "train"), Echo(), max_new_tokens=3)


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="problem 'p' must have a prompt of at least one token"):
        one("")


@pytest.mark.parametrize("texts", [("Q\udc00\n",), ("Q\n", "1\ud83d\n")])
def test_half_a_character_in_a_problem_is_refused(texts: tuple[str, ...]) -> None:
    with pytest.raises(TokenizerError, match="must be valid Unicode: it holds a lone surrogate at 1"):
        TokenEnv(one(*texts)).reset()
