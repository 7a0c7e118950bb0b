"""check_env: every shipped id passes, and every rule has a case that breaks it."""

import re
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from broken import EOS, TASK, env_with, made, refusal, unbroken

from g2rpo_env import GuidanceWrapper, Task, TokenEnv, TokenVectorEnv, check_env, check_vector_env
from g2rpo_env.checks import single
from g2rpo_env.envs.arithmetic import Addition, AdditionSource
from g2rpo_env.envs.generated import MarkVerifier
from g2rpo_env.registration import TASKS
from g2rpo_env.task import Start


@pytest.fixture(autouse=True)
def _warnings_are_errors() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*is shorter than every solution")  # budgets of tests are short
        yield


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", TASKS)
def test_every_shipped_id_passes(name: str, split: str, gsm8k_folder: Path) -> None:
    if (name, split) == ("HumanEval-v0", "train"):
        pytest.skip("HumanEval has only a test split")
    env = gym.make(f"g2rpo_env/{name}", split=split, **made(name, gsm8k_folder))
    check_env(env)
    check_env(env.unwrapped)
    check_env(GuidanceWrapper(env, length=0.5, unit="fraction", ratio=0.5))


def test_the_real_rows_pass(data_folder: Path) -> None:
    check_env(gym.make("g2rpo_env/GSM8K-v0", data=data_folder / "GSM8K"))


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


# -- what is refused: environments with one broken rule ----------------------------------------------------------------


def never_cut(self: TokenEnv, action: Any) -> Any:
    if self._running:
        self._budget = max(self._budget, 2)
    return TokenEnv.step(self, action)


def deaf_to_the_end(self: TokenEnv, action: Any) -> Any:
    result = TokenEnv.step(self, action)
    self._running = self._running or (result[2] and self._budget > 0)
    return (*result[:2], False, self._budget == 0, result[4] if self._budget == 0 else {})


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


def with_reveal(env: TokenEnv, start: Start, reveal: int) -> Start:
    """The start of the same episode with so many tokens of the solution."""
    encoded = env.task.encode(start.problem)
    tokens_T = np.concatenate([encoded.prompt_T, encoded.solution_T[:reveal]])
    role_T = np.array([0] * len(encoded.prompt_T) + [1] * reveal, np.int8)
    return start._replace(tokens_T=tokens_T, role_T=role_T, reveal_length=reveal)


def showing_the_answer(self: TokenEnv, root: int, group: int, options: Any) -> Start:
    start = TokenEnv._start(self, root, group, options)
    roomy = start.prompt_length == 4  # one digit, where the longest has two
    whole = start.reveal_length == self.task.encode(start.problem).revealable
    return with_reveal(self, start, start.reveal_length + 1) if roomy and whole and "prefix" not in options else start


def showing_less(self: TokenEnv, root: int, group: int, options: Any) -> Start:
    start = TokenEnv._start(self, root, group, options)
    return start if "prefix" in options else with_reveal(self, start, max(0, start.reveal_length - 1))


def showing_another_prompt(self: TokenEnv, root: int, group: int, options: Any) -> Any:
    start = TokenEnv._start(self, root, group, options)
    return start._replace(tokens_T=np.array([7, *start.tokens_T[1:]], np.int32))


def showing_once(self: TokenEnv, root: int, group: int, options: Any) -> Start:
    return TokenEnv._start(self, root, group, options if options or group == 0 else {"reveal": 0})


class Locked(TokenEnv):
    """Holds what cannot be copied."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.lock = threading.Lock()


class Forgetful(TokenEnv):
    """Copies without their context."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tokens": np.zeros_like(self._tokens)}


def without_super(self: TokenEnv, *, seed: Any = None, options: Any = None) -> Any:
    result = TokenEnv.reset(self, seed=seed, options=options)
    self._np_random = np.random.default_rng(0)
    return result


class WithoutSuper(TokenEnv):
    """Does not seed the generator that Gymnasium promises; all else is right."""

    reset = without_super


def space_of(env: TokenEnv, name: str, space: gym.Space) -> TokenEnv:
    setattr(env, name, space)
    return env


CASES: dict[str, tuple[Callable[[], Any], str]] = {
    "no TokenEnv": (lambda: gym.make("CartPole-v1"), "CartPoleEnv must be a TokenEnv: give a Task to TokenEnv"),
    "a lock": (lambda: Locked(TASK), "copy.deepcopy fails with TypeError: cannot pickle '_thread.lock'.*lazily"),
    "spaces": (
        lambda: space_of(env_with(), "observation_space", gym.spaces.Dict(tokens=gym.spaces.Discrete(3))),
        r"observation_space must be Dict\('tokens': Box\(0, 257",
    ),
    "vocabulary": (
        lambda: TokenEnv(TASK, vocabulary="0123456789+=\n"),
        r"vocabulary must hold what the final part '#\d+' of problem '\d\+\d' is written with; it lacks '#'",
    ),
    "actions": (
        lambda: space_of(env_with(), "action_space", gym.spaces.Discrete(300)),
        r"action_space must be Discrete\(258\), one action per token that can",
    ),
    "never cut": (lambda: env_with(step=never_cut), "an episode must be truncated after max_new_tokens=6 tokens"),
    "no end": (lambda: env_with(step=deaf_to_the_end), "the end token must end the answer"),
    "writable": (
        lambda: env_with(_observation=views, step=stepping_on_a_copy),
        "writing into an observation, context or roles",
    ),
    "stop string in the solution": (
        lambda: TokenEnv(Addition(digits=1, max_new_tokens=6, stop_strings=("#",))),
        "played token by token, must be correct, .*NO_ANSWER.*; does a stop string occur in it",
    ),
    "step before reset": (
        lambda: env_with(step=always_running("before")),
        r"step\(\) before reset\(\) must raise Reset",
    ),
    "step after the end": (
        lambda: env_with(step=always_running("after")),
        r"step\(\) after the end of an episode must raise ResetNeeded",
    ),
    "clips actions": (lambda: env_with(step=clipping), r"step\(-1\) must raise InvalidActionError, but is taken"),
    "another error": (
        lambda: env_with(step=raising_index_errors),
        r"step\(258\) must raise InvalidActionError, not IndexError: out of range",
    ),
    "unknown option": (
        lambda: env_with(reset=deaf_to("problm")),
        r"reset\(\) with an unknown option must raise ConfigurationError",
    ),
    "unknown problem": (
        lambda: env_with(reset=deaf_to_unknown_problems),
        "with an unknown problem must raise UnknownProblemError",
    ),
    "half a reset": (lambda: env_with(reset=half_reset), "a refused action or reset must change nothing"),
    "unseeded": (lambda: env_with(reset=unseeded), "twice with one seed must give the same episodes"),
    "another order": (lambda: env_with(reset=one_problem), "reset must take the problems in the order of source.draw"),
    "groups from one": (
        lambda: env_with(reset=counting_from_one),
        r"must count \(0, 0\), \(1, 0\), .* got \[\(1, 0\), \(2, 0\)",
    ),
    "state": (
        lambda: env_with(state_dict=lambda self: {"root": self._root, "group": 0}),
        "state_dict must resume the order",
    ),
    "reveals the answer": (
        lambda: env_with(Addition(digits=(1, 2)), _start=showing_the_answer),
        "which is not in the steps: it must never show the final",
    ),
    "reveals less": (lambda: env_with(_start=showing_less), "the reveal must show 1 solution tokens .* got 0"),
    "reveals once": (lambda: env_with(_start=showing_once), "the reveal must show 9 solution tokens .* got 0"),
    "another prompt": (lambda: env_with(_start=showing_another_prompt), "must start with the prompt of problem"),
    "another place": (
        lambda: GuidanceWrapper(env_with(_start=showing_another_prompt), length=2, place="prompt"),
        "must begin with what InPrompt.* lays",
    ),
    "prefix": (
        lambda: env_with(reset=deaf_to("prefix", "prefix_roles"), step=TokenEnv.step),
        "must start an episode from exactly these tokens|must be correct",
    ),
    "options": (lambda: env_with(reset=taking_its_options), "reset must not change its options"),
    "lambda": (
        lambda: TokenEnv(Task(AdditionSource(1), lambda p, c: MarkVerifier()(p, c), max_new_tokens=6)),
        "pickling fails.*not lambdas",
    ),
    "copies": (lambda: Forgetful(TASK), "copy.deepcopy in mid-episode must give an environment that continues alike"),
    "raises": (
        lambda: env_with(render=None, reset=lambda self, **arguments: 1 / 0),
        "the environment raises ZeroDivisionError in ordinary use: division by zero",
    ),
    "Gymnasium's": (lambda: WithoutSuper(TASK), "gymnasium.utils.env_checker.check_env refuses the environment: Most"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_broken_rule_is_named(name: str) -> None:
    make, words = CASES[name]
    assert re.search(words, str(refusal(check_env, make)), re.DOTALL)


def test_every_rule_has_a_case_that_breaks_it() -> None:
    assert unbroken(single, [refusal(check_env, make) for make, _ in CASES.values()]) == []
