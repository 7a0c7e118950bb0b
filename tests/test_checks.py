"""check_env and check_vector_env: every shipped id passes, and every rule has a case that breaks it."""

import ast
import copy
import inspect
import math
import re
import threading
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import g2rpo_env
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
    checks,
)
from g2rpo_env.envs.arithmetic import Addition, AdditionSource, AdditionVerifier
from g2rpo_env.envs.dataset import RowSource
from g2rpo_env.errors import ConformanceError, G2RPOError
from g2rpo_env.registration import TASKS

TASK = Addition(digits=1, max_new_tokens=6)
EOS = TASK.eos_token_id
OPTIONS: dict[str, dict[str, Any]] = {"Addition-v0": {"digits": 2}, "GSM8K-v0": {"max_new_tokens": 24}}


# -- what passes ----------------------------------------------------------------------------------------------------


def made(name: str, folder: Path) -> dict[str, Any]:
    """The arguments of a shipped id."""
    return {**OPTIONS[name], **({"data": folder} if name.startswith("GSM8K") else {})}


def test_every_shipped_id_has_options_here() -> None:
    assert set(OPTIONS) == set(TASKS)


@pytest.fixture(autouse=True)
def _warnings_are_errors() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", TASKS)
def test_every_shipped_id_passes(name: str, split: str, gsm8k_folder: Path) -> None:
    env = gym.make(f"g2rpo_env/{name}", split=split, **made(name, gsm8k_folder))
    check_env(env)
    check_env(env.unwrapped)
    check_env(GuidanceWrapper(env, length=0.5, unit="fraction", ratio=0.5))


@pytest.mark.parametrize(
    "options",
    [
        {"num_envs": 6, "group_size": 3},
        {"num_envs": 2, "group_size": 2, "copy": False},
        {"num_envs": 3},
        {"num_envs": 3, "autoreset_mode": "SAME_STEP"},
        {"num_envs": 3, "autoreset_mode": "DISABLED"},
        {"num_envs": 4, "group_size": 2, "rank": 1, "world_size": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", TASKS)
def test_every_shipped_id_passes_in_lanes(name: str, options: dict[str, Any], gsm8k_folder: Path) -> None:
    envs = gym.make_vec(f"g2rpo_env/{name}", **options, **made(name, gsm8k_folder))
    check_vector_env(envs)
    check_vector_env(VectorGuidanceWrapper(envs, length=2, unit="steps", ratio=0.5))


def test_stop_strings_and_merging_tokenizers_pass(merging_tokenizer: Any) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*prompts share a token with their solution.*")
        task = Addition(digits=2, tokenizer=merging_tokenizer, stop_strings=("!", "\n\n"))
        check_env(TokenEnv(task))
        check_vector_env(TokenVectorEnv(task, 4, group_size=2))


def test_the_environment_itself_is_not_stepped() -> None:
    env, envs = GuidanceWrapper(TokenEnv(TASK), length=2), TokenVectorEnv(TASK, 2, group_size=2)
    env.reset(seed=5), envs.reset(seed=5)
    states = env.unwrapped.state_dict(), envs.state_dict()
    context, plan = env.unwrapped.context, env.unwrapped.reveal_plan
    check_env(env)
    check_vector_env(envs)
    assert (env.unwrapped.state_dict(), envs.state_dict()) == states
    assert env.unwrapped.context.tolist() == context.tolist() and env.unwrapped.reveal_plan is plan
    env.step(EOS)


@pytest.mark.parametrize(
    "wrap",
    [
        gym.wrappers.RecordEpisodeStatistics,
        lambda env: gym.wrappers.TransformReward(env, lambda reward: reward - 1),
        gym.wrappers.NormalizeReward,
        gym.wrappers.FlattenObservation,
    ],
)
def test_wrappers_that_keep_the_contract_pass_without_a_warning(wrap: Callable[[gym.Env], gym.Env]) -> None:
    check_env(wrap(TokenEnv(TASK)))


def test_vector_wrappers_that_keep_the_contract_pass_without_a_warning() -> None:
    envs = TokenVectorEnv(TASK, 4, group_size=2)
    check_vector_env(gym.wrappers.vector.NormalizeReward(gym.wrappers.vector.RecordEpisodeStatistics(envs)))


# -- what is warned of ----------------------------------------------------------------------------------------------


def timed(env: gym.Env) -> gym.Env:
    return gym.wrappers.TimeAwareObservation(gym.wrappers.TimeLimit(env, 10))


@pytest.mark.parametrize(
    "wrap,words",
    [
        (lambda env: gym.wrappers.TimeLimit(env, 10), "TimeLimit makes no sense here: the budget is max_new_tokens"),
        (gym.wrappers.Autoreset, "Autoreset makes no sense here"),
        (timed, "TimeAwareObservation .* already says how far"),
        (lambda env: gym.wrappers.FrameStackObservation(env, 2), "FrameStackObservation .* append-only"),
        (lambda env: gym.wrappers.DelayObservation(env, 1), "DelayObservation"),
        (lambda env: gym.wrappers.StickyAction(env, 0.5), "StickyAction .* replaces the policy's token"),
    ],
)
def test_wrappers_without_sense_are_warned_of(wrap: Callable[[gym.Env], gym.Env], words: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        checks.warn_of_wrappers(GuidanceWrapper(wrap(TokenEnv(TASK)), length=1))
    assert re.search(words, str(caught[0].message))


def test_both_checks_look_at_the_wrappers() -> None:
    with pytest.warns(UserWarning, match="TimeLimit makes no sense here"):
        check_env(gym.wrappers.TimeLimit(TokenEnv(TASK), 10))
    listed = gym.wrappers.vector.DictInfoToList(TokenVectorEnv(TASK, 2))
    with pytest.warns(UserWarning, match="DictInfoToList makes no sense"), pytest.raises(ConformanceError, match="loses"):
        check_vector_env(listed)


def test_every_wrapper_of_the_table_exists() -> None:
    known = {*gym.wrappers.__all__, *gym.wrappers.vector.__all__}
    assert set(checks.WRAPPERS) <= known


class Encouraging(TokenEnv):
    """Pays for every token."""

    def step(self, action: Any) -> Any:
        """Step, and pay."""
        observation, _, *rest = super().step(action)
        return observation, 0.5, *rest


def test_rewards_before_the_end_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="a reward before the end of the episode: the task must document it"):
        check_env(Encouraging(TASK))


# -- what is refused: environments ----------------------------------------------------------------------------------


def env_with(task: Task = TASK, **members: Any) -> TokenEnv:
    """A TokenEnv with some members replaced."""
    return type("Broken", (TokenEnv,), members)(task)


def shows(
    reset: Callable[[TokenEnv, Any], Any] | None = None, step: Callable[[TokenEnv, Any], Any] | None = None
) -> TokenEnv:
    """A TokenEnv whose results go through a function of (env, result)."""
    members: dict[str, Any] = {}
    if reset is not None:
        members["reset"] = lambda self, **arguments: reset(self, TokenEnv.reset(self, **arguments))
    if step is not None:
        members["step"] = lambda self, action: step(self, TokenEnv.step(self, action))
    return env_with(**members)


def with_info(result: Any, **changes: Any) -> Any:
    return (*result[:-1], {**result[-1], **changes})


def without(result: Any, key: str) -> Any:
    return (*result[:-1], {k: v for k, v in result[-1].items() if k != key})


def at_end(change: Callable[[Any], Any]) -> Callable[[TokenEnv, Any], Any]:
    return lambda env, result: change(result) if result[2] or result[3] else result


def rewriting(env: TokenEnv, result: Any) -> Any:
    result[0]["tokens"][0] += 1
    return result


def littering(env: TokenEnv, result: Any) -> Any:
    result[0]["tokens"][-1] = 7
    return result


def replacing(env: TokenEnv, result: Any) -> Any:
    result[0]["tokens"][result[0]["length"][0] - 1] = 7
    return result


def never_cut(self: TokenEnv, action: Any) -> Any:
    if self._running:
        self._budget = max(self._budget, 2)
    return TokenEnv.step(self, action)


def cut_early(self: TokenEnv, action: Any) -> Any:
    if self._running:
        self._budget = 1
    return TokenEnv.step(self, action)


def deaf_to_the_end(self: TokenEnv, action: Any) -> Any:
    result = TokenEnv.step(self, action)
    self._running = self._running or (result[2] and self._budget > 0)
    return (*result[:2], False, self._budget == 0, result[4] if self._budget == 0 else {})


def changing_roles(self: TokenEnv) -> np.ndarray:
    roles = self._roles[: self._length].copy()
    roles[0] = min(3, self._length - self._prompt_length)
    return roles


def views(self: TokenEnv) -> Any:
    return {"tokens": self._tokens, "length": np.array([self._length], np.int32)}


def stepping_on_a_copy(self: TokenEnv, action: Any) -> Any:
    self._tokens = self._tokens.copy()
    return TokenEnv.step(self, action)


def counting_from_one(self: TokenEnv, *, seed: Any = None, options: Any = None) -> Any:
    observation, info = TokenEnv.reset(self, seed=seed, options=options)
    return observation, {**info, "group": info["group"] + 1}


def unseeded(self: TokenEnv, *, seed: Any = None, options: Any = None) -> Any:
    self.resets = getattr(self, "resets", 0) + 1
    observation, info = TokenEnv.reset(self, seed=seed, options=options)
    return observation, {**info, "group": self.resets}


def one_problem(self: TokenEnv, *, seed: Any = None, options: Any = None) -> Any:
    return TokenEnv.reset(self, seed=seed, options={"problem": "1+2", **(options or {})})


def taking_its_options(self: TokenEnv, *, seed: Any = None, options: Any = None) -> Any:
    result = TokenEnv.reset(self, seed=seed, options=options)
    if options:
        options.pop("prefix_roles", None)
    return result


def deaf_to(*names: str) -> Callable[..., Any]:
    def reset(self: TokenEnv, *, seed: Any = None, options: Any = None) -> Any:
        kept = {key: value for key, value in (options or {}).items() if key not in names}
        return TokenEnv.reset(self, seed=seed, options=kept)

    return reset


def deaf_to_unknown_problems(self: TokenEnv, *, seed: Any = None, options: Any = None) -> Any:
    try:
        return TokenEnv.reset(self, seed=seed, options=options)
    except LookupError:
        return TokenEnv.reset(self, seed=seed)


def half_reset(self: TokenEnv, *, seed: Any = None, options: Any = None) -> Any:
    self._tokens[0], self._length = 5, min(self._length, 1)
    return TokenEnv.reset(self, seed=seed, options=options)


def clipping(self: TokenEnv, action: Any) -> Any:
    return TokenEnv.step(self, np.int64(np.clip(action, 0, self.task.vocab_size - 1)))


def raising_index_errors(self: TokenEnv, action: Any) -> Any:
    if action == self.task.vocab_size:
        raise IndexError("out of range")
    return TokenEnv.step(self, action)


def always_running(when: str) -> Callable[..., Any]:
    def step(self: TokenEnv, action: Any) -> Any:
        fresh = self._problem is None or (self._tokens[: self._length] != EOS).all()
        if not self._running and fresh == (when == "before"):
            return self._observation(), 0.0, False, False, {}
        return TokenEnv.step(self, action)

    return step


def showing_the_answer(self: TokenEnv, problem_id: str, *rest: Any) -> int:
    encoded, reveal = self.task.encode(self.task.source.get(problem_id)), TokenEnv._reveal(self, problem_id, *rest)
    roomy = len(encoded.prompt_T) == 4  # one digit, where the longest has two
    return reveal + 1 if roomy and reveal == encoded.revealable else reveal


def showing_less(self: TokenEnv, *arguments: Any) -> int:
    return max(0, TokenEnv._reveal(self, *arguments) - 1)


def showing_another_prompt(self: TokenEnv, root: int, group: int, options: Any) -> Any:
    start = TokenEnv._start(self, root, group, options)
    start.tokens_T[0] = 7
    return start


def showing_once(self: TokenEnv, problem_id: str, root: int, group: int, amount: Any) -> int:
    return TokenEnv._reveal(self, problem_id, root, group, amount) if amount is not None or group == 0 else 0


class Locked(TokenEnv):
    """Holds what cannot be copied."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.lock = threading.Lock()


class Forgetful(TokenEnv):
    """Copies without their context."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tokens": np.zeros_like(self._tokens)}


class LosesInfo(gym.Wrapper):
    """A wrapper that drops the key which says who is who."""

    def reset(self, **arguments: Any) -> Any:
        """Reset without the group."""
        return without(self.env.reset(**arguments), "group")


def without_super(self: TokenEnv, *, seed: Any = None, options: Any = None) -> Any:
    result = TokenEnv.reset(self, seed=seed, options=options)
    self._np_random = np.random.default_rng(0)
    return result


ENVIRONMENTS: dict[str, tuple[Callable[[], Any], str]] = {
    "no TokenEnv": (lambda: gym.make("CartPole-v1"), "CartPoleEnv must be a TokenEnv: give a Task to TokenEnv"),
    "a lock": (lambda: Locked(TASK), "copy.deepcopy fails with TypeError: cannot pickle '_thread.lock'.*lazily"),
    "spaces": (
        lambda: space_of(env_with(), "observation_space", gym.spaces.Dict(tokens=gym.spaces.Discrete(3))),
        r"observation_space must be Dict\('tokens': Box\(0, 257",
    ),
    "actions": (
        lambda: space_of(env_with(), "action_space", gym.spaces.Discrete(300)),
        r"action_space must be Discrete\(258\), one action per token",
    ),
    "dtype": (
        lambda: shows(reset=lambda e, r: ({**r[0], "tokens": r[0]["tokens"].astype(np.int64)}, r[1])),
        "must lie in the observation space",
    ),
    "rewrites": (lambda: shows(step=rewriting), "must be append-only: a step changed or removed tokens"),
    "litter": (lambda: shows(step=littering), "must be 0 beyond 'length'"),
    "another action": (lambda: shows(step=replacing), "must be the action 1, got 7"),
    "roles too long": (
        lambda: env_with(roles=property(lambda self: self._roles.copy())),
        r"one role per token of the context, shape \(4,\), got \(19,\)",
    ),
    "roles at reset": (
        lambda: env_with(roles=property(lambda self: np.ones(self._length, np.int8))),
        "roles at reset must be prompt_length=4 times 0",
    ),
    "roles change": (lambda: env_with(roles=property(changing_roles)), "roles must be append-only"),
    "unsampled": (
        lambda: env_with(roles=property(lambda self: np.minimum(self._roles[: self._length], 1))),
        r"the action with role 2 and its own tokens with role 3, got \[1\]",
    ),
    "reset info lacks": (
        lambda: shows(reset=lambda e, r: without(r, "member")), "info at reset must have the keys .*'member'",
    ),
    "reset info extra": (lambda: shows(reset=lambda e, r: with_info(r, length=3)), "info at reset must have the keys"),
    "reset info type": (
        lambda: shows(reset=lambda e, r: with_info(r, group=np.int64(r[1]["group"]))),
        r"info\['group'\] at reset must be of type int, got int64",
    ),
    "info during": (
        lambda: shows(step=lambda e, r: r if r[2] or r[3] else with_info(r, length=3)),
        r"info during an episode must be empty, got the keys \['length'\]",
    ),
    "final info lacks": (
        lambda: shows(step=at_end(lambda r: without(r, "completion"))),
        "info at the end of an episode must have the keys .'completion', 'correct'",
    ),
    "final info type": (
        lambda: shows(step=at_end(lambda r: with_info(r, correct=np.bool_(False)))),
        r"info\['correct'\] at the end of an episode must be of type bool",
    ),
    "numpy flags": (
        lambda: shows(step=lambda e, r: (r[0], r[1], np.bool_(r[2]), r[3], r[4])), "terminated and truncated must be bool"
    ),
    "both flags": (
        lambda: shows(step=at_end(lambda r: (r[0], r[1], True, True, r[4]))), "are True together: an answer that ended"
    ),
    "reward nan": (
        lambda: shows(step=at_end(lambda r: (r[0], math.nan, *r[2:]))), "reward must be a finite float, got nan"
    ),
    "reward int": (lambda: shows(step=lambda e, r: (r[0], int(r[1]), *r[2:])), "reward must be a finite float, got 0"),
    "never cut": (
        lambda: env_with(step=never_cut), "an episode must be truncated after max_new_tokens=6 tokens"
    ),
    "cut early": (lambda: env_with(step=cut_early), "budget max_new_tokens=6 is spent, got True after 1 sampled"),
    "no end": (lambda: env_with(step=deaf_to_the_end), "the end token must end the answer"),
    "verdict and info": (
        lambda: shows(step=at_end(lambda r: with_info(r, correct=not r[4]["correct"]))),
        r"info\['correct'\]=True must be that of info\['verdict'\]",
    ),
    "completion": (
        lambda: shows(step=at_end(lambda r: with_info(r, completion=r[4]["completion"] + "<eos>"))),
        "must be the text after the prompt without the end token, '', got '<eos>'",
    ),
    "verdict": (
        lambda: shows(step=at_end(lambda r: with_info(r, verdict=Verdict(Outcome.WRONG, "no")))),
        r"info\['verdict'\] must be what the verifier says",
    ),
    "views": (lambda: env_with(_observation=views), "an observation changed after it was returned"),
    "writable": (
        lambda: env_with(_observation=views, step=stepping_on_a_copy), "writing into an observation, context or roles"
    ),
    "stop string in the solution": (
        lambda: TokenEnv(Addition(digits=1, max_new_tokens=6, stop_strings=("#",))),
        "played token by token, must be correct, .*NO_ANSWER.*; does a stop string occur in it",
    ),
    "step before reset": (lambda: env_with(step=always_running("before")), r"step\(\) before reset\(\) must raise Reset"),
    "step after the end": (
        lambda: env_with(step=always_running("after")), r"step\(\) after the end of an episode must raise ResetNeeded"
    ),
    "clips actions": (lambda: env_with(step=clipping), r"step\(-1\) must raise InvalidActionError, but is taken"),
    "another error": (
        lambda: env_with(step=raising_index_errors),
        r"step\(258\) must raise InvalidActionError, not IndexError: out of range",
    ),
    "unknown option": (
        lambda: env_with(reset=deaf_to("problm")), r"reset\(\) with an unknown option must raise ConfigurationError"
    ),
    "unknown problem": (
        lambda: env_with(reset=deaf_to_unknown_problems), "with an unknown problem must raise UnknownProblemError"
    ),
    "half a reset": (lambda: env_with(reset=half_reset), "a refused action or reset must change nothing"),
    "unseeded": (lambda: env_with(reset=unseeded), "twice with one seed must give the same episodes"),
    "another order": (lambda: env_with(reset=one_problem), "reset must take the problems in the order of source.draw"),
    "groups from one": (
        lambda: env_with(reset=counting_from_one), r"must count \(0, 0\), \(1, 0\), .* got \[\(1, 0\), \(2, 0\)"
    ),
    "state": (
        lambda: env_with(state_dict=lambda self: {"root": self._root, "group": 0}), "state_dict must resume the order"
    ),
    "reveals the answer": (
        lambda: env_with(Addition(digits=(1, 2)), _reveal=showing_the_answer), "which is not in the steps: it must never show the final"
    ),
    "reveals less": (lambda: env_with(_reveal=showing_less), "the reveal must show 1 solution tokens .* got 0"),
    "reveals once": (lambda: env_with(_reveal=showing_once), "the reveal plan must hold at every reset"),
    "another prompt": (lambda: env_with(_start=showing_another_prompt), "must start with the prompt of problem"),
    "prefix": (
        lambda: env_with(reset=deaf_to("prefix", "prefix_roles"), step=TokenEnv.step),
        "must start an episode from exactly these tokens|must be correct",
    ),
    "options": (lambda: env_with(reset=taking_its_options), "reset must not change its options"),
    "lambda": (lambda: TokenEnv(with_verifier(lambda p, c: AdditionVerifier()(p, c))), "pickling fails.*not lambdas"),
    "copies": (lambda: Forgetful(TASK), "copy.deepcopy in mid-episode must give an environment that continues alike"),
    "raises": (
        lambda: env_with(render=None, reset=lambda self, **arguments: 1 / 0),
        "the environment raises ZeroDivisionError in ordinary use: division by zero",
    ),
    "wrapper": (
        lambda: LosesInfo(TokenEnv(TASK)), r"loses or changes info: the keys \['group', .* must pass through"
    ),
    "Gymnasium's": (lambda: WithoutSuper(TASK), "gymnasium.utils.env_checker.check_env refuses the environment: Most"),
}


class WithoutSuper(TokenEnv):
    """Does not seed the generator that Gymnasium promises; all else is right."""

    reset = without_super


def space_of(env: TokenEnv, name: str, space: gym.Space) -> TokenEnv:
    setattr(env, name, space)
    return env


# -- what is refused: tasks -----------------------------------------------------------------------------------------


def rows(count: int = 4) -> list[Problem]:
    return [Problem(f"{n}", f"{n}+1=\n", (f"{n}\n",), f"#{n + 1}", f"{n + 1}") for n in range(count)]


class Rows(RowSource):
    """A few sums on one split."""

    splits: tuple[str, ...] = ("train",)

    def __init__(self, problems: list[Problem] | None = None, split: str = "train") -> None:
        super().__init__(rows() if problems is None else problems, split)

    def with_split(self, split: str) -> Any:
        """The source itself: there is one split."""
        return self


class Mark:
    """Right if what follows the last # is the answer."""

    def __call__(self, problems: Any, completions: Any) -> list[Verdict]:
        """One verdict per completion."""
        return [
            Verdict(Outcome.CORRECT if c.rpartition("#")[2] == p.answer else Outcome.WRONG)
            for p, c in zip(problems, completions, strict=True)
        ]


def source_env(**members: Any) -> TokenEnv:
    """An environment on sums whose source has some members replaced."""
    return TokenEnv(Task(type("Broken", (Rows,), members)(), Mark(), max_new_tokens=6))


def problem_env(problem: Problem) -> TokenEnv:
    """An environment whose one problem is added after the task has measured them: the task may refuse it itself."""
    env = TokenEnv(Task(Rows(), Mark(), max_new_tokens=6))
    env.task.source = Rows([problem])
    return env


def with_verifier(verifier: Any) -> Task:
    task = copy.copy(TASK)
    task.verifier = verifier
    return task


def verifier_env(grade: Callable[[Problem, str], Verdict]) -> TokenEnv:
    """An environment whose verifier is a function of one problem and one completion."""
    return TokenEnv(with_verifier(lambda ps, cs: [grade(p, c) for p, c in zip(ps, cs, strict=True)]))


def right(problem: Problem, completion: str) -> Verdict:
    return AdditionVerifier()([problem], [completion])[0]


def raising(problem: Problem, completion: str) -> Verdict:
    return right(problem, completion[:20] if completion[0] else completion)


class TakesTurns:
    """Every second verdict is right, whatever is asked."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, problems: Any, completions: Any) -> list[Verdict]:
        """Grade, and remember how many were graded together."""
        return [Verdict(Outcome.CORRECT, str(len(problems))) for _ in problems]


class Swallowing(Task):
    """Takes a verifier that failed for a wrong answer."""

    def grade(self, problems: Any, completions: Any) -> list[Verdict]:
        """Grade, and hide what the verifier raises."""
        try:
            return self.verifier(problems, completions)
        except Exception:
            return [Verdict(Outcome.WRONG) for _ in problems]


class Splits(Rows):
    """Rows with two splits, which ``share`` some of their problems."""

    splits = ("train", "test", "validation", "warmstart")
    share = 0

    def __init__(self, split: str = "train") -> None:
        many = rows(8)
        first = {"train": 0, "warmstart": 0, "test": 4 - self.share}.get(split, 0)
        super().__init__(many[first : first + 4], split)

    def with_split(self, split: str) -> Any:
        """Another split, but there is no validation."""
        if split == "validation":
            raise g2rpo_env.errors.ConfigurationError("no validation")
        return type(self)(split)


def splits_env(**members: Any) -> TokenEnv:
    return TokenEnv(Task(type("Broken", (Splits,), members)(), Mark(), max_new_tokens=6))


def moving(self: Any, split: str) -> Any:
    self.split = split
    return copy.copy(self)


def shuffled(self: Any, seed: Any, index: int) -> str:
    return str(np.random.default_rng().integers(4))


def another_time(self: Any, problem_id: str) -> Problem:
    problem = RowSource.get(self, problem_id)
    self.asked = getattr(self, "asked", 0) + 1
    return Problem(problem.problem_id, problem.prompt + "\n" * self.asked, problem.steps, problem.final, problem.answer)


def test_splits_that_keep_apart_pass() -> None:
    check_env(TokenEnv(Task(Splits(), Mark(), max_new_tokens=6)))


SOURCES: dict[str, tuple[Callable[[], Any], str]] = {
    "ids": (lambda: source_env(draw=lambda s, seed, i: i), "source.draw must return problem ids, texts, got 0"),
    "impure": (lambda: source_env(draw=shuffled), r"source.draw\(seed, index\) gives another problem the second time"),
    "repeats": (lambda: source_env(draw=lambda s, seed, i: "1"), "repeats a problem within an epoch of num_problems=4"),
    "seeds": (
        lambda: source_env(draw=lambda s, seed, i: str((i + seed) % 4)), "must take a list of ints for a seed.*TypeErr"
    ),
    "wrong id": (
        lambda: source_env(get=lambda s, i: RowSource.get(s, "0")), r"source.get\('.'\) must return the Problem of that"
    ),
    "second time": (lambda: source_env(get=another_time), "gives another problem the second time"),
    "KeyError": (
        lambda: source_env(get=lambda s, i: s._problems[i]), "unknown id raises KeyError; it must raise UnknownProblem"
    ),
    "takes any id": (
        lambda: source_env(get=lambda s, i: s._problems.get(i, s._problems["0"])), "returns a problem for an unknown id"
    ),
    "final": (lambda: problem_env(Problem("p", "1\n", ("1\n",), "", "2")), "problem 'p' has no final part"),
    "round trip": (
        lambda: lossy_env(), r"does not give the prompt of problem '.' back: decode\(encode\('\d\+1=\\n'\)\) is 'abc"
    ),
    "longest": (
        lambda: source_env(longest=lambda s: [Problem("s", "1", (), "#2", "2")]),
        r"source.longest\(\) must yield the longest problems, problem '.' is longer than all it yields",
    ),
    "no splits": (lambda: TokenEnv(Task(RowSource(rows(), "train"), Mark())), r"source.splits=\(\) must name the source"),
    "another split": (lambda: splits_env(with_split=lambda s, name: s), "'test'.* returns a source of split 'train'"),
    "moves": (lambda: splits_env(with_split=moving), "must return another source and leave its own alone"),
    "leaks": (lambda: splits_env(share=2), r"splits 'train' and 'test' share 2 problems, such as '2\+1=\\n'"),
    "verifier raises": (
        lambda: verifier_env(raising), "the verifier raises IndexError: string index out of range on .'', "
    ),
    "count": (
        lambda: TokenEnv(with_verifier(lambda p, c: [])), r"must return one Verdict per completion, \d, got \[\]",
    ),
    "bools": (lambda: TokenEnv(with_verifier(lambda p, c: [True] * len(p))), r"one Verdict per completion, \d, got"),
    "score": (
        lambda: verifier_env(lambda p, c: Verdict(Outcome.CORRECT, score=math.nan)), "must give a finite score, got nan"
    ),
    "disagrees": (
        lambda: verifier_env(lambda p, c: Verdict(Outcome.WRONG)), "on the ground truth .*verifier must agree"
    ),
    "state": (lambda: TokenEnv(with_verifier(TakesTurns())), "gives other verdicts one by one than in a batch"),
    "takes the format": (
        lambda: verifier_env(lambda p, c: Verdict(Outcome.CORRECT if "#" in c else Outcome.WRONG)),
        "takes the solutions of all other problems for right",
    ),
    "takes nothing for an answer": (
        lambda: verifier_env(lambda p, c: right(p, c) if c else Verdict(Outcome.CORRECT)),
        r"takes '' for a right answer to '\d\+\d='",
    ),
    "ERROR on garbage": (
        lambda: verifier_env(lambda p, c: right(p, c) if "#" in c else Verdict(Outcome.ERROR, message="no #")),
        r"gives an ERROR verdict on '' \(no #\); .* is NO_ANSWER or WRONG",
    ),
    "swallows": (
        lambda: TokenEnv(Swallowing(AdditionSource(1), AdditionVerifier(), max_new_tokens=6)),
        "must give an ERROR verdict when the verifier raises, got wrong",
    ),
}


def lossy_env() -> TokenEnv:
    """An environment whose tokenizer gives another text back."""
    env = TokenEnv(Task(Rows(), Mark(), max_new_tokens=6))

    class Lossy:
        """Decodes everything to one text."""

        def __call__(self, *arguments: Any, **options: Any) -> Any:
            return TASK.tokenizer(*arguments, **options)

        def __len__(self) -> int:
            return len(TASK.tokenizer)

        def decode(self, *arguments: Any, **options: Any) -> str:
            """The same text, whatever the ids."""
            return "abc"

    env.task.tokenizer = Lossy()
    return env


# -- what is refused: vector environments -----------------------------------------------------------------------------


def lanes_with(num_envs: int = 4, group_size: int = 2, mode: Any = None, **members: Any) -> TokenVectorEnv:
    """A TokenVectorEnv with some members replaced."""
    return type("Broken", (TokenVectorEnv,), members)(TASK, num_envs, group_size=group_size, autoreset_mode=mode)


def lanes_show(
    reset: Callable[..., Any] | None = None, step: Callable[..., Any] | None = None, **options: Any
) -> TokenVectorEnv:
    """A TokenVectorEnv whose results go through a function of (envs, result)."""
    members: dict[str, Any] = {}
    if reset is not None:
        members["reset"] = lambda self, **arguments: reset(self, TokenVectorEnv.reset(self, **arguments))
    if step is not None:
        members["step"] = lambda self, actions: step(self, TokenVectorEnv.step(self, actions))
    return lanes_with(**options, **members)


def set_space(envs: TokenVectorEnv, name: str, space: gym.Space) -> TokenVectorEnv:
    setattr(envs, name, space)
    return envs


def with_metadata(envs: TokenVectorEnv, **metadata: Any) -> TokenVectorEnv:
    envs.metadata = metadata
    return envs


def next_step_groups() -> TokenVectorEnv:
    envs = lanes_with()
    envs.autoreset_mode = AutoresetMode.NEXT_STEP
    return with_metadata(envs, autoreset_mode=AutoresetMode.NEXT_STEP)


def changed(result: Any, key: str, change: Callable[[np.ndarray], np.ndarray]) -> Any:
    info = result[-1]
    return with_info(result, **{key: change(info[key].copy())}) if key in info else result


def swapped(column: np.ndarray) -> np.ndarray:
    return column[[-1, *range(len(column) - 1)]]


def ending_twice(self: TokenVectorEnv, actions: Any) -> Any:
    before = getattr(self, "before", None)
    observation, reward, terminated, truncated, info = TokenVectorEnv.step(self, actions)
    self.before = terminated.copy()
    return observation, reward, terminated if before is None else terminated | before, truncated, info


def waiting_with_info(envs: TokenVectorEnv, result: Any) -> Any:
    waiting = ~envs.active & ~(result[2] | result[3])
    return with_info(result, waits=waiting, _waits=waiting) if waiting.any() else result


def moving_on(self: TokenVectorEnv, actions: Any) -> Any:
    result = TokenVectorEnv.step(self, actions)
    self._tokens[~self._active, 0] += 1
    return result


def resetting_others(self: TokenVectorEnv, *, seed: Any = None, options: Any = None) -> Any:
    options = dict(options or {})
    options.pop("reset_mask", None)
    return TokenVectorEnv.reset(self, seed=seed, options=options)


def writing_into_others(self: TokenVectorEnv, *, seed: Any = None, options: Any = None) -> Any:
    _, info = TokenVectorEnv.reset(self, seed=seed, options=options)
    if options:
        self._tokens[0, 0] = 7
    return self._observation(), info


def popping(self: TokenVectorEnv, *, seed: Any = None, options: Any = None) -> Any:
    result = TokenVectorEnv.reset(self, seed=seed, options=options)
    if options:
        options.pop("reset_mask")
    return result


def cutting_the_mask(self: TokenVectorEnv, *, seed: Any = None, options: Any = None) -> Any:
    if options and len(options["reset_mask"]) != self.num_envs:
        options = {"reset_mask": options["reset_mask"][: self.num_envs]}
    return TokenVectorEnv.reset(self, seed=seed, options=options)


def widening_the_mask(self: TokenVectorEnv, *, seed: Any = None, options: Any = None) -> Any:
    if options and options["reset_mask"].sum() == 1:
        options = {"reset_mask": np.arange(self.num_envs) < self.group_size}
    return TokenVectorEnv.reset(self, seed=seed, options=options)


def one_stream(self: TokenVectorEnv, *, seed: Any = None, options: Any = None) -> Any:
    self.resets = getattr(self, "resets", -1) + 1
    return TokenVectorEnv.reset(self, seed=None if seed is None else seed + self.resets, options=options)


def always_seeded(self: TokenVectorEnv, *, seed: Any = None, options: Any = None) -> Any:
    return TokenVectorEnv.reset(self, seed=checks.SEED if not options else None, options=options)


def vector_views(self: TokenVectorEnv) -> Any:
    self._length_view[:, 0] = self._length
    return {"tokens": self._tokens, "length": self._length_view}


class ForgetfulLanes(TokenVectorEnv):
    """Copies without their context."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tokens": np.zeros_like(self._tokens)}


def own_problems(self: TokenVectorEnv, lanes: np.ndarray) -> Any:
    ids, groups, members = TokenVectorEnv._draw_groups(self, lanes)
    return [f"{lane % 9}+{lane % 9}" for lane in lanes], groups, members


class LosesVectorInfo(gym.vector.VectorWrapper):
    """A wrapper that drops what resets say."""

    def reset(self, **arguments: Any) -> Any:
        """Reset without info."""
        return self.env.reset(**arguments)[0], {}


VECTORS: dict[str, tuple[Callable[[], Any], str]] = {
    "no TokenVectorEnv": (
        lambda: gym.make_vec("CartPole-v1", num_envs=2), "CartPoleVectorEnv must be a TokenVectorEnv: give a Task"
    ),
    "single space": (
        lambda: set_space(lanes_with(), "single_action_space", gym.spaces.Discrete(3)), r"must be Discrete\(258\)"
    ),
    "batched space": (
        lambda: set_space(lanes_with(), "action_space", gym.spaces.Discrete(3)),
        r"action_space must be the single one batched, MultiDiscrete",
    ),
    "mode": (
        lambda: with_metadata(lanes_with(), autoreset_mode="DISABLED"), r"metadata\['autoreset_mode'\] must be the Auto"
    ),
    "mode of groups": (next_step_groups, "NEXT_STEP must be DISABLED for group_size=2"),
    "observation": (
        lambda: lanes_show(step=lambda e, r: ({**r[0], "length": r[0]["length"] + 1}, *r[1:])),
        r"the observation of lane 0 after step\(\) differs from that of a TokenEnv",
    ),
    "reward": (
        lambda: lanes_show(step=lambda e, r: (r[0], r[1] + 0.5, *r[2:])), "reward of lane 0 is 0.5, but 0.0 for a Token"
    ),
    "flag": (
        lambda: lanes_show(step=lambda e, r: (r[0], r[1], np.zeros_like(r[2]), r[2] | r[3], r[4])),
        "terminated of lane . is False, but True for a TokenEnv",
    ),
    "info": (
        lambda: lanes_show(step=lambda e, r: changed(r, "completion", swapped)),
        "info of lane . is .* for a TokenEnv with the same problem and actions",
    ),
    "no mask": (
        lambda: lanes_show(reset=lambda e, r: without(r, "_group")), "every key of a batched info needs its mask '_key'"
    ),
    "reset info": (
        lambda: lanes_show(reset=lambda e, r: without(r, "member")), "info of lane 0 at reset must have the keys"
    ),
    "prompt length": (
        lambda: lanes_show(reset=lambda e, r: changed(r, "prompt_length", lambda column: column + 1)),
        r"info\['prompt_length'\] of lane 0 is 5, not 4",
    ),
    "ends twice": (
        lambda: lanes_with(step=ending_twice), r"on exactly one step; under DISABLED lane . shows .* \(0.0, True, False\)"
    ),
    "ends twice, NEXT_STEP": (
        lambda: lanes_with(group_size=1, step=ending_twice), "on exactly one step; under NEXT_STEP lane . shows"
    ),
    "waits with info": (lambda: lanes_show(step=waiting_with_info), r"lane . waits and must have no info, got \['waits'\]"),
    "waits and moves": (lambda: lanes_with(step=moving_on), r"observation of lane . after step\(\) differs"),
    "final_obs": (
        lambda: lanes_show(
            step=lambda e, r: without(without(r, "final_obs"), "_final_obs"), group_size=1, mode="SAME_STEP"
        ),
        r"SAME_STEP must keep the end of lane . in info\['final_obs'\]",
    ),
    "active": (
        lambda: lanes_with(active=property(lambda self: np.ones(self.num_envs, np.bool_))),
        "active must say which lanes have a running episode",
    ),
    "problems of a group": (
        lambda: lanes_with(_draw_groups=own_problems), r"must share info\['problem_id'\], got \['0\+0', '1\+1'\]"
    ),
    "members": (
        lambda: lanes_show(reset=lambda e, r: changed(r, "member", np.zeros_like)),
        r"the members of a group must be 0 to 1, got \[0, 0\] in lanes \[0, 1\]",
    ),
    "numbers": (
        lambda: lanes_show(reset=lambda e, r: changed(r, "group", np.zeros_like)),
        r"every group must have a number of its own, got \[0, 0\]",
    ),
    "growing": (lambda: lanes_with(reset=always_seeded), "group numbers must increase from reset to reset"),
    "unseeded": (lambda: lanes_with(reset=one_stream), "twice with one seed must give the same episodes"),
    "mask": (lambda: lanes_with(reset=resetting_others), "lane 0 is not in the reset mask, but has a reset info"),
    "mask and tokens": (lambda: lanes_with(reset=writing_into_others), r"lane 0 after reset\(\) differs"),
    "options": (lambda: lanes_with(reset=popping), "reset must not change its options"),
    "long mask": (lambda: lanes_with(reset=cutting_the_mask), r"reset\(\) with a mask that is too long must raise Config"),
    "split": (lambda: lanes_with(reset=widening_the_mask), "a mask that splits a group must raise ConfigurationError"),
    "copy": (lambda: lanes_with(_observation=vector_views), "with copy=True an observation must stay as it was returned"),
    "order": (
        lambda: lanes_with(state_dict=lambda self: {"root": self._root, "counter": 0, "open": {}}),
        "state_dict must resume the order",
    ),
    "copies": (lambda: ForgetfulLanes(TASK, 4, group_size=2), "copy.deepcopy in mid-episode must give an environment"),
    "wrapper": (lambda: LosesVectorInfo(TokenVectorEnv(TASK, 2)), r"loses or changes info: the keys \['_group'"),
}


# -- each is caught -------------------------------------------------------------------------------------------------

CASES = {
    **{f"env: {name}": (check_env, *case) for name, case in ENVIRONMENTS.items()},
    **{f"task: {name}": (check_env, *case) for name, case in SOURCES.items()},
    **{f"lanes: {name}": (check_vector_env, *case) for name, case in VECTORS.items()},
}


def refusal(name: str) -> ConformanceError:
    """What the check of a case raises."""
    check, make, _ = CASES[name]
    with pytest.raises(ConformanceError) as caught, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(make())
    return caught.value


@pytest.fixture(scope="module")
def refusals() -> dict[str, ConformanceError]:
    """Filled by the cases as they run."""
    return {}


@pytest.mark.parametrize("name", CASES)
def test_a_broken_rule_is_named(name: str, refusals: dict[str, ConformanceError]) -> None:
    refusals[name] = error = refusal(name)
    assert isinstance(error, G2RPOError)
    with pytest.raises(ConformanceError, match=f"(?s){CASES[name][2]}"):
        raise error


def rules() -> dict[int, str]:
    """Line -> source of every place of checks.py that can refuse something."""
    source = inspect.getsource(checks)
    found = {}
    for node in ast.walk(ast.parse(source)):
        requires = isinstance(node, ast.Call) and ast.unparse(node.func) == "_require"
        raises = isinstance(node, ast.Raise) and "ConformanceError" in ast.unparse(node) and "broken" not in ast.unparse(node)
        if requires or raises:
            found |= {line: ast.unparse(node)[:100] for line in range(node.lineno, node.end_lineno + 1)}
    return found


def test_every_rule_has_a_case_that_breaks_it(refusals: dict[str, ConformanceError]) -> None:
    """A check that cannot fail is a defect: the lines that raised are all lines that can."""
    raised = set()
    for name in CASES:
        error = refusals.get(name) or refusal(name)
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == checks.__file__]
        raised.add(next(frame.lineno for frame in reversed(frames) if frame.name != "_require"))
    lines = rules()
    starts = {line for line in lines if lines.get(line - 1) != lines[line]}
    unbroken = {lines[s] for s in starts} - {lines[line] for line in raised if line in lines}
    assert sorted(unbroken) == []
