"""The admission test of environments: the contract, executed.

:func:`check_env` and :func:`check_vector_env` play short episodes on copies and raise at the first broken rule, with a
message that says what is wrong and what to fix. Every id of this library passes; run them on a task, a source, a
verifier or an environment of your own before you train on it.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
import pickle
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils.env_checker import check_env as check_env_gymnasium
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from g2rpo_env.core import TokenEnv
from g2rpo_env.episode import Role
from g2rpo_env.errors import (
    BudgetError,
    ConfigurationError,
    ConformanceError,
    InvalidActionError,
    UnknownProblemError,
)
from g2rpo_env.problem import Problem, ProblemSource
from g2rpo_env.reveal import RevealPlan, reveal_tokens
from g2rpo_env.task import Task
from g2rpo_env.tokenizer import decode, encode
from g2rpo_env.vector import TokenVectorEnv
from g2rpo_env.verdict import Outcome, Verdict

SEED = 123
DRAWS = 256  # draws of an order that are looked at where a source does not say how many problems it has
EPOCH = 10_000  # problems of a finite source that are looked at
GRADED = 8  # problems whose tokens and verdicts are looked at

RESET_INFO = {"problem_id": str, "group": int, "member": int, "prompt_length": int, "reveal_length": int}
FINAL_INFO = {"completion": str, "correct": bool, "valid": bool, "verdict": Verdict}

GARBAGE = ("", " \n", "no answer here", "\ufffd", "<eos>", "#" * 40, "(" * 400, "9" * 4000)
"""What policies write before they have learnt anything, and what breaks parsers."""

IDS = "token ids are names, not numbers"
WRAPPERS = {
    "TimeLimit": "the budget is max_new_tokens; a cut by steps ends the episode without a verdict",
    "Autoreset": "the ground truth of one episode would stand before the next; use autoreset_mode of gym.make_vec",
    "TimeAwareObservation": "observation['length'] already says how far the episode is",
    "FrameStackObservation": "tokens are append-only: the last observation holds all earlier ones",
    "DelayObservation": "a policy that does not see its last token cannot write text",
    "MaxAndSkipObservation": f"{IDS}, and no token may be skipped",
    "NormalizeObservation": f"{IDS}: a normalised id means nothing",
    "RescaleObservation": f"{IDS}: a rescaled id means nothing",
    "DiscretizeObservation": f"{IDS}: bins of ids mean nothing",
    "ClipAction": f"{IDS}: the nearest valid id is another word",
    "RescaleAction": f"{IDS}: a rescaled id is another word",
    "DiscretizeAction": "actions are discrete already",
    "StickyAction": "it replaces the policy's token by the one before, and log-probabilities no longer fit",
    "RepeatAction": "it writes tokens that the policy did not sample",
    "DictInfoToList": "agents read the batched info with its masks",
}
"""Gymnasium wrapper, single or vector -> why it makes no sense on token ids."""


def check_env(env: gym.Env[Any, Any]) -> None:
    """Check an environment built on TokenEnv against the contract; works on copies, ``env`` itself is not stepped.

    Warns of wrappers that make no sense on tokens. Gymnasium's own ``check_env`` is a part of it.

    Args:
        env: The environment, wrapped or not.

    Raises:
        ConformanceError: the first rule that is broken, and what to fix.
    """
    _check_base(env, TokenEnv)
    warn_of_wrappers(env)
    env = _copied(env)
    base = env.unwrapped
    check_task(base.task)
    _check_token_spaces(base.observation_space, base.action_space, base.task)
    with _no_error_escapes("environment"):
        for rule in ENV_RULES:
            rule(_twin(base))
        _check_wrappers_keep_infos(env)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is different from the unwrapped version.*")
            check_env_gymnasium(env, skip_render_check=True, skip_close_check=True)
    except (AssertionError, gym.error.Error) as error:
        raise ConformanceError(f"gymnasium.utils.env_checker.check_env refuses the environment: {error}") from error


def check_vector_env(envs: gym.vector.VectorEnv[Any, Any, Any]) -> None:
    """Check a vector environment built on TokenVectorEnv; works on copies, ``envs`` itself is not stepped.

    Every lane is compared with a TokenEnv that is given the same problem and the same actions.

    Args:
        envs: The vector environment, wrapped or not.

    Raises:
        ConformanceError: the first rule that is broken, and what to fix.
    """
    _check_base(envs, TokenVectorEnv)
    warn_of_wrappers(envs)
    envs = _copied(envs)
    base = envs.unwrapped
    check_task(base.task)
    _check_vector_spaces(base)
    with _no_error_escapes("environment"):
        for rule in VECTOR_RULES:
            rule(_twin(base))
        _check_wrappers_keep_infos(envs)


def warn_of_wrappers(env: Any) -> None:
    """Warn of every wrapper around ``env`` that :data:`WRAPPERS` lists."""
    while (inner := env.__dict__.get("env")) is not None:
        for kind in type(env).__mro__:
            if kind.__module__.startswith("gymnasium.wrappers") and kind.__name__ in WRAPPERS:
                warnings.warn(f"{kind.__name__} makes no sense here: {WRAPPERS[kind.__name__]}", stacklevel=3)
        env = inner


def _require(kept: bool, broken: str) -> None:
    if not kept:
        raise ConformanceError(broken)


@contextlib.contextmanager
def _no_error_escapes(what: str) -> Iterator[None]:
    try:
        yield
    except ConformanceError:
        raise
    except Exception as error:
        raise ConformanceError(f"the {what} raises {type(error).__name__} in ordinary use: {error}") from error


def _check_base(env: Any, kind: type) -> None:
    base = getattr(env, "unwrapped", env)
    _require(
        isinstance(base, kind),
        f"{type(base).__name__} must be a {kind.__name__}: give a Task to {kind.__name__}, or subclass it",
    )


def _copied(env: Any) -> Any:
    try:
        return copy.deepcopy(env)
    except Exception as error:
        raise ConformanceError(
            f"copy.deepcopy fails with {type(error).__name__}: {error}; "
            "open files, processes and threads lazily, and leave them out of __getstate__"
        ) from error


def _twin(env: Any) -> Any:
    """Return a copy that shares the task."""
    return copy.deepcopy(env, {id(env.task): env.task})


# -- the task -----------------------------------------------------------------------------------------------------


def check_task(task: Task) -> None:
    """Check the source, the tokens and the verifier of a task.

    Args:
        task: The task.

    Raises:
        ConformanceError: the first rule that is broken, and what to fix.
    """
    with _no_error_escapes("task"):
        source = task.source
        _check_order_of_problems(source)
        problems = [source.get(problem_id) for problem_id in dict.fromkeys(drawn(source))]
        for problem in problems[: 4 * GRADED]:
            _check_problem(task, problem)
        _check_verifier(task, problems[:GRADED])
        _check_splits(source)


def drawn(source: ProblemSource) -> list[str]:
    """Return the ids of the first epoch of the seeded order, at most :data:`EPOCH`; :data:`DRAWS` of a generator."""
    size = source.num_problems
    return [source.draw(SEED, index) for index in range(DRAWS if size is None else min(size, EPOCH))]


def _check_order_of_problems(source: ProblemSource) -> None:
    ids = drawn(source)
    bad = next((i for i in ids if not isinstance(i, str)), None)
    _require(bad is None, f"source.draw must return problem ids, texts, got {bad!r}")
    _require(
        ids == drawn(source),
        "source.draw(seed, index) gives another problem the second time; it must be a pure function of seed and index "
        "(g2rpo_env.streams.stream gives one random generator per key)",
    )
    _require(
        source.num_problems is None or len(set(ids)) == len(ids),
        f"source.draw repeats a problem within an epoch of num_problems={source.num_problems}; "
        "each epoch must be a permutation (RowSource does that)",
    )
    try:
        source.draw([SEED, 1], 0)  # what a vector environment has for a root when it is given several seeds
    except Exception as error:
        raise ConformanceError(
            f"source.draw must take a list of ints for a seed, it raises {type(error).__name__}: {error}"
        ) from error
    for problem_id in ids[:GRADED]:
        found = source.get(problem_id)
        _require(
            isinstance(found, Problem) and found.problem_id == problem_id,
            f"source.get({problem_id!r}) must return the Problem of that id, got {found!r:.120}",
        )
        _require(found == source.get(problem_id), f"source.get({problem_id!r}) gives another problem the second time")
    try:
        source.get("\0 no such problem")
    except UnknownProblemError:
        return
    except Exception as error:
        raise ConformanceError(
            f"source.get of an unknown id raises {type(error).__name__}; it must raise UnknownProblemError"
        ) from error
    raise ConformanceError("source.get returns a problem for an unknown id; it must raise UnknownProblemError")


def _check_problem(task: Task, problem: Problem) -> None:
    name = f"problem {problem.problem_id!r}"
    _require(bool(problem.final), f"{name} has no final part: without it, guidance could reveal the whole solution")
    for part in ("prompt", "solution"):
        text = getattr(problem, part)
        back = decode(task.tokenizer, encode(task.tokenizer, text)[0])
        _require(
            back == text,
            f"the tokenizer does not give the {part} of {name} back: decode(encode({text!r:.80})) is {back!r:.80}; "
            "use another tokenizer, or normalise the text of the problems",
        )
    encoded = task.encode(problem)
    try:
        task.start(problem.problem_id, encoded.revealable)
    except BudgetError as error:
        raise ConformanceError(
            f"source.longest() must yield the longest problems, {name} is longer than all it yields: {error}"
        ) from error


def _verdicts(task: Task, problems: list[Problem], completions: list[str]) -> list[Verdict]:
    try:
        verdicts = list(task.verifier(problems, completions))
    except Exception as error:
        raise ConformanceError(
            f"the verifier raises {type(error).__name__}: {error} on {completions!r:.80}; "
            "it must give a verdict on every text a policy may write"
        ) from error
    _require(
        len(verdicts) == len(problems) and all(isinstance(verdict, Verdict) for verdict in verdicts),
        f"the verifier must return one Verdict per completion, {len(problems)}, got {verdicts!r:.120}",
    )
    for verdict in verdicts:
        _require(math.isfinite(verdict.reward), f"the verifier must give a finite score, got {verdict.score}")
    return verdicts


def _check_verifier(task: Task, problems: list[Problem]) -> None:
    _check_truth(task, problems)
    for problem in problems:
        texts = [text for text in GARBAGE if text not in (problem.solution, problem.final, problem.answer)]
        for text, verdict in zip(texts, _verdicts(task, [problem] * len(texts), texts), strict=True):
            _require(not verdict.correct, f"the verifier takes {text!r:.60} for a right answer to {problem.prompt!r}")
            _require(
                verdict.valid,
                f"the verifier gives an ERROR verdict on {text!r:.60} ({verdict.message}); ERROR is for a verifier "
                "that failed, a text without an answer is NO_ANSWER or WRONG",
            )
    failing = copy.copy(task)
    failing.verifier = _raise
    verdict = failing.grade(problems[:1], [""])[0]
    _require(
        verdict.outcome is Outcome.ERROR,
        f"task.grade must give an ERROR verdict when the verifier raises, got {verdict.outcome}",
    )


def _check_truth(task: Task, problems: list[Problem]) -> None:
    solutions = [problem.solution for problem in problems]
    verdicts = _verdicts(task, problems, solutions)
    for problem, verdict in zip(problems, verdicts, strict=True):
        _require(
            verdict.correct,
            f"the verifier gives {verdict} on the ground truth {problem.solution!r:.120} of {problem.prompt!r:.80}: "
            "solution, answer and verifier must agree",
        )
    alone = [_verdicts(task, [p], [s])[0] for p, s in zip(problems, solutions, strict=True)]
    _require(
        alone == verdicts,
        "the verifier gives other verdicts one by one than in a batch; it must keep no state between completions",
    )
    others = [(p, q.solution) for p in problems for q in problems if p.answer != q.answer]
    if others:
        verdicts = _verdicts(task, [p for p, _ in others], [s for _, s in others])
        _require(
            not all(verdict.correct for verdict in verdicts),
            "the verifier takes the solutions of all other problems for right; it must look at the answer",
        )


def _raise(problems: Any, completions: Any) -> list[Verdict]:
    raise RuntimeError("raised on purpose by check_env")


def _check_splits(source: ProblemSource) -> None:
    splits, split = getattr(source, "splits", ()), source.split
    _require(split in splits, f"source.splits={splits} must name the source's own split {split!r}")
    prompts: dict[str, set[str]] = {}
    for name in splits:
        try:
            other = source.with_split(name)
        except ConfigurationError:  # such as a single file, which is one split only
            continue
        _require(other.split == name, f"source.with_split({name!r}) returns a source of split {other.split!r}")
        prompts[name] = {other.get(problem_id).prompt for problem_id in drawn(other)}
    _require(source.split == split, "source.with_split must return another source and leave its own alone")
    for one, two in itertools.combinations(prompts, 2):
        shared = prompts[one] & prompts[two]
        if {one, two} != {"train", "warmstart"}:  # a source may serve train for warmstart
            _require(
                not shared,
                f"splits {one!r} and {two!r} share {len(shared)} problems, such as {min(shared, default='')!r:.80}: "
                "assign each problem to one split, for example by a hash of its prompt",
            )


# -- one episode --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Frame:
    """What an environment showed after a reset (``action`` None) or a step."""

    action: int | None
    observation: dict[str, np.ndarray]
    snapshot: dict[str, np.ndarray]
    role_T: np.ndarray
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]

    @property
    def tokens_T(self) -> np.ndarray:
        """The context as it was."""
        return self.snapshot["tokens"][: int(self.snapshot["length"][0])]

    @property
    def ended(self) -> bool:
        """Whether the episode is over."""
        return bool(self.terminated or self.truncated)


def play(env: TokenEnv, actions: Iterable[int], **reset: Any) -> list[Frame]:
    """Reset and step until the episode or the actions end; return what was shown."""
    observation, info = env.reset(**reset)
    _check_observation(env, observation)
    frames = [Frame(None, observation, copy.deepcopy(observation), env.roles, 0.0, False, False, info)]
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(np.int64(action))
        _check_observation(env, observation)
        snapshot = copy.deepcopy(observation)
        frames.append(Frame(int(action), observation, snapshot, env.roles, reward, terminated, truncated, info))
        if frames[-1].ended:
            break
    return frames


def _check_observation(env: TokenEnv, observation: Any) -> None:
    _require(
        env.observation_space.contains(observation),
        f"observation {observation!r:.200} must lie in the observation space {env.observation_space}",
    )


def _contexts_only_grow(frames: list[Frame], task: Task) -> None:
    for frame in frames:
        length = len(frame.tokens_T)
        _require(not frame.snapshot["tokens"][length:].any(), "observation['tokens'] must be 0 beyond 'length'")
        _require(
            frame.role_T.shape == (length,),
            f"roles must have one role per token of the context, shape ({length},), got {frame.role_T.shape}",
        )
    for before, after in itertools.pairwise(frames):
        length = len(before.tokens_T)
        _require(
            len(after.tokens_T) > length and np.array_equal(after.tokens_T[:length], before.tokens_T),
            "observation['tokens'] must be append-only: a step changed or removed tokens of the context",
        )
        _require(
            after.tokens_T[length] == after.action,
            f"the first token that a step appends must be the action {after.action}, got {after.tokens_T[length]}",
        )


def _roles_fit_the_tokens(frames: list[Frame], task: Task) -> None:
    start = frames[0]
    prompt, reveal = start.info["prompt_length"], start.info["reveal_length"]
    expected = [Role.PROMPT] * prompt + [Role.REVEALED] * reveal
    _require(
        start.role_T.tolist() == expected,
        f"roles at reset must be prompt_length={prompt} times 0 and reveal_length={reveal} times 1, "
        f"got {start.role_T.tolist()}",
    )
    for before, after in itertools.pairwise(frames):
        length, role_T = len(before.role_T), after.role_T
        _require(np.array_equal(role_T[:length], before.role_T), "roles must be append-only, like the tokens")
        _require(
            role_T[length] == Role.SAMPLED and (role_T[length + 1 :] == Role.ENVIRONMENT).all(),
            f"a step must append the action with role 2 and its own tokens with role 3, got {role_T[length:].tolist()}",
        )


def _infos_have_their_keys(frames: list[Frame], task: Task) -> None:
    _check_info(frames[0].info, RESET_INFO, "at reset")
    for frame in frames[1:]:
        if frame.ended:
            _check_info(frame.info, FINAL_INFO, "at the end of an episode")
        else:
            _require(frame.info == {}, f"info during an episode must be empty, got the keys {sorted(frame.info)}")


def _check_info(info: dict[str, Any], expected: dict[str, type], when: str) -> None:
    _require(
        set(info) == set(expected),
        f"info {when} must have the keys {sorted(expected)}, got {sorted(info)}",
    )
    for key, kind in expected.items():
        _require(
            type(info[key]) is kind,
            f"info[{key!r}] {when} must be of type {kind.__name__}, got {type(info[key]).__name__}",
        )


def _ends_are_marked_once(frames: list[Frame], task: Task) -> None:
    for frame in frames:
        _require(
            type(frame.terminated) is bool and type(frame.truncated) is bool,
            f"terminated and truncated must be bool, got {frame.terminated!r} and {frame.truncated!r}",
        )
        _require(
            not (frame.terminated and frame.truncated),
            "terminated and truncated are True together: an answer that ended is not cut by the budget",
        )
        _require(
            isinstance(frame.reward, float) and math.isfinite(frame.reward),
            f"reward must be a finite float, got {frame.reward!r}",
        )
        if frame.reward and not frame.ended:
            warnings.warn("a reward before the end of the episode: the task must document it", stacklevel=4)
    sampled = int((frames[-1].role_T == Role.SAMPLED).sum())
    _require(
        frames[-1].truncated == (sampled == task.max_new_tokens and not frames[-1].terminated),
        f"truncated must mean that the budget max_new_tokens={task.max_new_tokens} is spent, "
        f"got {frames[-1].truncated} after {sampled} sampled tokens",
    )


def _ends_are_graded(frames: list[Frame], task: Task) -> None:
    last = frames[-1]
    if not last.ended:
        return
    verdict, completion = last.info["verdict"], last.info["completion"]
    for key, value in (("correct", verdict.correct), ("valid", verdict.valid)):
        _require(last.info[key] == value, f"info[{key!r}]={last.info[key]} must be that of info['verdict']")
    answer_T = last.tokens_T[frames[0].info["prompt_length"] :]
    text = decode(task.tokenizer, answer_T[:-1] if answer_T[-1] == task.eos_token_id else answer_T)
    whole = not task.stop_strings and not (last.role_T == Role.ENVIRONMENT).any()
    _require(
        completion == text if whole else completion in text,
        f"info['completion'] must be the text after the prompt without the end token, {text!r:.80}, "
        f"got {completion!r:.80}",
    )
    problem = task.source.get(frames[0].info["problem_id"])
    _require(
        verdict == task.grade([problem], [completion])[0],
        f"info['verdict'] must be what the verifier says of info['completion'], got {verdict}",
    )


def _arrays_are_fresh(frames: list[Frame], task: Task) -> None:
    for frame in frames:
        _require(
            all(np.array_equal(frame.observation[key], frame.snapshot[key]) for key in frame.snapshot),
            "an observation changed after it was returned; return fresh arrays from every reset and step",
        )


FRAME_RULES = (
    _infos_have_their_keys,
    _contexts_only_grow,
    _roles_fit_the_tokens,
    _ends_are_marked_once,
    _ends_are_graded,
    _arrays_are_fresh,
)


def filler(task: Task) -> int | None:
    """Return a token that ends nothing, or None if every token might."""
    candidates = task.may_stop(np.arange(task.vocab_size))
    free = np.ones(task.vocab_size, np.bool_) if candidates is None else ~candidates
    free[task.eos_token_id] = False
    return int(np.argmax(free)) if free.any() else None


def _ending(task: Task) -> list[int]:
    return [task.eos_token_id] * task.max_new_tokens  # more than one where the task gives several tries


# -- the single environment -----------------------------------------------------------------------------------------


def _check_token_spaces(observation: Any, action: Any, task: Task) -> None:
    expected = gym.spaces.Dict(
        tokens=gym.spaces.Box(0, task.vocab_size - 1, (task.length,), np.int32),
        length=gym.spaces.Box(0, task.length, (1,), np.int32),
    )
    _require(observation == expected, f"observation_space must be {expected}, got {observation}")
    _require(
        action == gym.spaces.Discrete(len(task.tokenizer)),
        f"action_space must be Discrete({len(task.tokenizer)}), one action per token of the tokenizer, got {action}",
    )


def _play_by_the_rules(env: TokenEnv, actions: Iterable[int], **reset: Any) -> list[Frame]:
    frames = play(env, actions, **reset)
    for rule in FRAME_RULES:
        rule(frames, env.task)
    return frames


def _check_refusals(env: TokenEnv) -> None:
    env.load_state_dict(env.state_dict())  # ends the running episode, if there is one
    _check_raises(lambda: env.step(0), gym.error.ResetNeeded, "step() before reset()")
    env.reset(seed=SEED)
    before = env.context
    for action in (-1, env.task.vocab_size, 0.5):
        _check_raises(lambda action=action: env.step(action), InvalidActionError, f"step({action})")
    unknown = {"problem": "\0 no such problem"}
    _check_raises(lambda: env.reset(options=unknown), UnknownProblemError, "reset() with an unknown problem")
    _check_raises(lambda: env.reset(options={"problm": "x"}), ConfigurationError, "reset() with an unknown option")
    _require(np.array_equal(before, env.context), "a refused action or reset must change nothing")
    play(env, _ending(env.task), seed=SEED)
    _check_raises(lambda: env.step(0), gym.error.ResetNeeded, "step() after the end of an episode")


def _check_raises(call: Any, kind: type[Exception], what: str) -> None:
    try:
        call()
    except kind:
        return
    except Exception as error:
        raise ConformanceError(f"{what} must raise {kind.__name__}, not {type(error).__name__}: {error}") from error
    raise ConformanceError(f"{what} must raise {kind.__name__}, but is taken")


def _check_episodes(env: TokenEnv) -> None:
    task, filling = env.task, filler(env.task)
    last = _play_by_the_rules(env, _ending(task), seed=SEED)[-1]
    _require(last.terminated, "the end token must end the answer: terminated is False")
    if filling is not None:
        last = _play_by_the_rules(env, [filling] * (task.max_new_tokens + 1), seed=SEED)[-1]
        _require(last.truncated, f"an episode must be truncated after max_new_tokens={task.max_new_tokens} tokens")
    for problem in [task.source.get(problem_id) for problem_id in drawn(task.source)[:GRADED]]:
        encoded = task.encode(problem)
        rest = encoded.solution_T[encoded.revealable :].tolist()
        if len(rest) < task.max_new_tokens:
            options = {"problem": problem.problem_id, "prefix": _shown(task, problem)}
            last = _play_by_the_rules(env, [*rest, task.eos_token_id], options=options)[-1]
            _require(
                last.terminated and last.info["correct"],
                f"the solution of problem {problem.problem_id!r}, played token by token, must be correct, got "
                f"{last.info.get('verdict')}; does a stop string occur in it?",
            )


def _shown(task: Task, problem: Problem) -> np.ndarray:
    """Return prompt and all that may be revealed."""
    encoded = task.encode(problem)
    return np.concatenate([encoded.prompt_T, encoded.solution_T[: encoded.revealable]])


def _starts(env: TokenEnv, count: int, seed: int | None = None) -> list[tuple[Any, ...]]:
    """Return what ``count`` resets show, as plain data."""
    out = []
    for number in range(count):
        observation, info = env.reset(seed=seed if number == 0 else None)
        out.append((info, observation["tokens"].tolist(), observation["length"].tolist(), env.roles.tolist()))
    return out


def _check_order(env: TokenEnv) -> None:
    starts = _starts(env, 4, seed=SEED)
    _require(starts == _starts(env, 4, seed=SEED), "reset(seed=...) twice with one seed must give the same episodes")
    ids = [env.task.source.draw(SEED, index) for index in range(4)]
    found = [info["problem_id"] for info, *_ in starts]
    _require(found == ids, f"reset must take the problems in the order of source.draw, {ids}, got {found}")
    groups = [(info["group"], info["member"]) for info, *_ in starts]
    _require(
        groups == [(0, 0), (1, 0), (2, 0), (3, 0)],
        f"after a seed, (group, member) must count (0, 0), (1, 0), (2, 0), ..., got {groups}",
    )
    other = _twin(env)
    _starts(env, 2, seed=SEED)
    state = env.state_dict()
    other.reset(seed=SEED + 1)
    other.load_state_dict(state)
    _require(
        _starts(other, 2) == starts[2:],
        "state_dict must resume the order: after load_state_dict, reset() must draw the problem that would come next",
    )


def _check_copies(env: TokenEnv) -> None:
    env.reset(seed=SEED)
    filling = filler(env.task)
    if filling is not None:
        env.step(filling)
    clones = {"copy.deepcopy": _copied(env), "pickling": _unpickled(env)}
    expected = env.step(env.task.eos_token_id)
    for name, clone in clones.items():
        _require(
            _same(clone.step(env.task.eos_token_id), expected) and _starts(clone, 1) == _starts(_twin(env), 1),
            f"{name} in mid-episode must give an environment that continues alike",
        )


def _unpickled(env: Any) -> Any:
    try:
        return pickle.loads(pickle.dumps(env))
    except Exception as error:
        raise ConformanceError(
            f"pickling fails with {type(error).__name__}: {error}; sources, verifiers and rules must be picklable: "
            "classes and functions of a module, not lambdas or local ones"
        ) from error


def _same(one: Any, other: Any) -> bool:
    """Whether two results are equal, arrays included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, np.ndarray):
        if one.dtype != other.dtype or one.shape != other.shape or one.dtype != object:
            return one.dtype == other.dtype and np.array_equal(one, other)
        return all(map(_same, one.flat, other.flat))
    return bool(one == other)


def _check_reveal(env: TokenEnv) -> None:
    task, plan = env.task, env.reveal_plan or RevealPlan()
    amounts = (0, 0.5, 1) if plan.unit == "fraction" else (0, 1, 2, 10**6)
    for problem_id in drawn(task.source)[:GRADED]:
        problem = task.source.get(problem_id)
        encoded = task.encode(problem)
        for amount in amounts:
            frame = play(env, [], options={"problem": problem_id, "reveal": amount})[0]
            _roles_fit_the_tokens([frame], task)
            _check_shown(frame, task, problem, reveal_tokens(encoded, amount, plan.unit, plan.cap))
    env.reveal_plan = RevealPlan(length=10**6)
    frame = play(env, [], seed=SEED)[0]
    problem = task.source.get(frame.info["problem_id"])
    _check_shown(frame, task, problem, task.encode(problem).revealable)
    _require(env.reset()[1]["reveal_length"] > 0 or not task.max_reveal, "the reveal plan must hold at every reset")


def _check_shown(frame: Frame, task: Task, problem: Problem, expected: int) -> None:
    reveal, encoded = frame.info["reveal_length"], task.encode(problem)
    shown_T = frame.tokens_T[frame.info["prompt_length"] :]
    _require(
        np.array_equal(frame.tokens_T[: frame.info["prompt_length"]], encoded.prompt_T),
        f"the context must start with the prompt of problem {problem.problem_id!r}",
    )
    text = decode(task.tokenizer, shown_T).rstrip("\ufffd")  # the last character may be shown in part
    _require(
        "".join(problem.steps).startswith(text),
        f"the reveal shows {text[-40:]!r}, which is not in the steps: it must never show the final answer",
    )
    _require(
        reveal == expected and np.array_equal(shown_T, encoded.solution_T[:expected]),
        f"the reveal must show {expected} solution tokens of problem {problem.problem_id!r}, got {reveal}",
    )


def _check_prefix(env: TokenEnv) -> None:
    filling = filler(env.task)
    if filling is None:
        return
    frame = play(env, [filling], seed=SEED, options={"reveal": 1})[-1]
    options = {"problem": env.problem.problem_id, "prefix": frame.tokens_T, "prefix_roles": frame.role_T}
    given = copy.deepcopy(options)
    started = _play_prefix(env, options)
    _require(_same(options, given), "reset must not change its options")
    _require(
        _same((started.tokens_T, started.role_T), (frame.tokens_T, frame.role_T)),
        "options['prefix'] and ['prefix_roles'] must start an episode from exactly these tokens and roles",
    )


def _play_prefix(env: TokenEnv, options: dict[str, Any]) -> Frame:
    return play(env, [], options=options)[0]


def _check_memory(env: TokenEnv) -> None:
    filling = filler(env.task)
    observation, _ = env.reset(seed=SEED)
    for array in observation.values():
        array[...] = 1
    env.context[...] = 1
    env.roles[...] = 1
    twin = _twin(env)
    twin.reset(seed=SEED)
    action = env.task.eos_token_id if filling is None else filling
    _require(
        _same(env.step(action), twin.step(action)),
        "writing into an observation, context or roles changes the environment; return fresh arrays",
    )


ENV_RULES = (
    _check_episodes,
    _check_refusals,
    _check_order,
    _check_reveal,
    _check_prefix,
    _check_memory,
    _check_copies,
)


def _check_wrappers_keep_infos(env: Any) -> None:
    """Play the same through the wrappers and without them: no key of info may be lost or changed."""
    base, bare = env.unwrapped, _twin(env.unwrapped)
    if env is base or env.action_space != base.action_space:
        return
    shown, expected = [], []
    for one, infos in ((env, shown), (bare, expected)):
        infos.append(one.reset(seed=SEED)[1])
        end = base.task.eos_token_id
        actions = end if isinstance(base, TokenEnv) else np.full(base.num_envs, end)
        infos.append(one.step(actions)[4])
    for got, wanted in zip(shown, expected, strict=True):
        kept = isinstance(got, dict) and all(key in got and _same(got[key], wanted[key]) for key in wanted)
        _require(kept, f"a wrapper of {env} loses or changes info: the keys {sorted(wanted)} must pass through it")


# -- the vector environment -----------------------------------------------------------------------------------------


def _check_vector_spaces(envs: TokenVectorEnv) -> None:
    _check_token_spaces(envs.single_observation_space, envs.single_action_space, envs.task)
    for name in ("observation_space", "action_space"):
        expected = batch_space(getattr(envs, f"single_{name}"), envs.num_envs)
        _require(getattr(envs, name) == expected, f"{name} must be the single one batched, {expected}")
    mode = envs.metadata.get("autoreset_mode")
    _require(
        isinstance(mode, AutoresetMode) and mode is envs.autoreset_mode,
        f"metadata['autoreset_mode'] must be the AutoresetMode {envs.autoreset_mode}, got {mode!r}",
    )
    _require(
        envs.group_size == 1 or mode is AutoresetMode.DISABLED,
        f"autoreset_mode={mode} must be DISABLED for group_size={envs.group_size}",
    )


class _Lanes:
    """A TokenEnv for every lane, which is given what the lane is given and must show what the lane shows."""

    def __init__(self, envs: TokenVectorEnv) -> None:
        self.envs = envs
        self.singles = [TokenEnv(envs.task) for _ in range(envs.num_envs)]
        self.running = np.zeros(envs.num_envs, np.bool_)
        self.shown: list[dict[str, np.ndarray]] = [{} for _ in range(envs.num_envs)]

    def reset(self, **arguments: Any) -> dict[str, Any]:
        """Reset the vector environment and compare the lanes that were reset; the others must be as they were."""
        mask = (arguments.get("options") or {}).get("reset_mask", np.ones(self.envs.num_envs, np.bool_))
        observation, info = self.envs.reset(**arguments)
        for lane in range(self.envs.num_envs):
            found = lane_info(info, lane)
            if mask[lane]:
                self._begin(lane, found)
            else:
                _require(found == {}, f"lane {lane} is not in the reset mask, but has a reset info")
            self._compare(lane, observation, "after reset()")
        _check_groups(self.envs, info, mask)
        self._check_active()
        return info

    def step(self, actions: np.ndarray) -> None:
        """Step the vector environment and compare every lane."""
        observation, reward, terminated, truncated, info = self.envs.step(actions)
        for lane in range(self.envs.num_envs):
            flags = float(reward[lane]), bool(terminated[lane]), bool(truncated[lane])
            found = lane_info(info, lane)
            if self.running[lane]:
                self._stepped(lane, int(actions[lane]), flags, found)
            else:
                self._waited(lane, flags, found)
            self._compare(lane, observation, "after step()")
        self._check_active()

    def _begin(self, lane: int, info: dict[str, Any]) -> None:
        _check_info(info, RESET_INFO, f"of lane {lane} at reset")
        options = {"problem": info["problem_id"], "reveal": info["reveal_length"]}
        self.shown[lane], single = self.singles[lane].reset(seed=SEED, options=options)
        for key in ("problem_id", "prompt_length", "reveal_length"):
            _require(info[key] == single[key], f"info[{key!r}] of lane {lane} is {info[key]}, not {single[key]}")
        self.running[lane] = True

    def _stepped(self, lane: int, action: int, flags: tuple[Any, ...], found: dict[str, Any]) -> None:
        self.shown[lane], *expected, info = self.singles[lane].step(action)
        names = ("reward", "terminated", "truncated")
        for name, got, wanted in zip(names, flags, expected, strict=True):
            _require(
                got == wanted,
                f"{name} of lane {lane} is {got}, but {wanted} for a TokenEnv with the same problem and actions",
            )
        ended = expected[1] or expected[2]
        if ended and self.envs.autoreset_mode is AutoresetMode.SAME_STEP:
            final = found.pop("final_obs", None)
            _require(
                _same(final, self.shown[lane]) and _same(found.pop("final_info", None), info),
                f"SAME_STEP must keep the end of lane {lane} in info['final_obs'] and info['final_info']",
            )
            self._begin(lane, found)
            return
        _require(
            _same(found, info),
            f"info of lane {lane} is {found}, but {info} for a TokenEnv with the same problem and actions",
        )
        self.running[lane] = not ended

    def _waited(self, lane: int, flags: tuple[Any, ...], found: dict[str, Any]) -> None:
        mode = self.envs.autoreset_mode.name
        _require(
            flags == (0.0, False, False),
            f"the flags and the reward of an episode must appear on exactly one step; under {mode} lane {lane} shows "
            f"(reward, terminated, truncated) = {flags} on the step after its end",
        )
        if self.envs.autoreset_mode is AutoresetMode.NEXT_STEP:
            self._begin(lane, found)
        else:
            _require(found == {}, f"lane {lane} waits and must have no info, got {sorted(found)}")

    def _compare(self, lane: int, observation: dict[str, np.ndarray], when: str) -> None:
        got = {key: observation[key][lane] for key in observation}
        _require(
            _same(got, self.shown[lane]),
            f"the observation of lane {lane} {when} differs from that of a TokenEnv with the same problem and actions",
        )

    def _check_active(self) -> None:
        active = self.envs.active
        _require(
            np.array_equal(active, self.running),
            f"active must say which lanes have a running episode, {self.running.tolist()}, got {active.tolist()}",
        )


def lane_info(info: dict[str, Any], lane: int) -> dict[str, Any]:
    """Return the info of one lane out of Gymnasium's batched info."""
    _require(
        all(f"_{key}" in info for key in info if not key.startswith("_")),
        f"every key of a batched info needs its mask '_key', got the keys {sorted(info)}",
    )
    keys = [key for key in info if not key.startswith("_") and info[f"_{key}"][lane]]
    return {key: _lane_value(info[key], lane) for key in keys}


def _lane_value(values: Any, lane: int) -> Any:
    if isinstance(values, dict):
        return lane_info(values, lane)
    value = values[lane]
    return value.item() if isinstance(value, np.generic) else value


def _check_groups(envs: TokenVectorEnv, info: dict[str, Any], mask: np.ndarray) -> None:
    lanes = np.flatnonzero(mask)
    for block in lanes.reshape(-1, envs.group_size):  # masks here hold whole groups
        for key in ("group", "problem_id"):
            _require(
                len(set(info[key][block])) == 1,
                f"the members of a group must share info[{key!r}], got {info[key][block].tolist()} in lanes "
                f"{block.tolist()}",
            )
        members = info["member"][block].tolist()
        _require(
            sorted(members) == list(range(envs.group_size)),
            f"the members of a group must be 0 to {envs.group_size - 1}, got {members} in lanes {block.tolist()}",
        )
    groups = info["group"][lanes[:: envs.group_size]].tolist()
    _require(len(set(groups)) == len(groups), f"every group must have a number of its own, got {groups}")


def _actions(envs: TokenVectorEnv, seed: int) -> Iterator[np.ndarray]:
    """Yield actions that end about every eighth token."""
    random, filling = np.random.default_rng(seed), filler(envs.task)
    tokens = [envs.task.eos_token_id] * 8 if filling is None else [filling] * 7 + [envs.task.eos_token_id]
    while True:
        yield random.choice(tokens, size=envs.num_envs)


def _check_lanes(envs: TokenVectorEnv) -> None:
    lanes = _Lanes(envs)
    first = lanes.reset(seed=SEED)
    groups = first["group"].tolist()
    for actions in itertools.islice(_actions(envs, SEED), 40):
        lanes.step(actions)
    again = lanes.reset(seed=SEED)
    _require(_same(first, again), "reset(seed=...) twice with one seed must give the same episodes")
    _require(min(lanes.reset()["group"]) > max(groups), "group numbers must increase from reset to reset")


def _check_mask(envs: TokenVectorEnv) -> None:
    lanes, size = _Lanes(envs), envs.group_size
    lanes.reset(seed=SEED)
    for actions in itertools.islice(_actions(envs, SEED + 1), 3):
        lanes.step(actions)
    mask = np.zeros(envs.num_envs, np.bool_)
    mask[-size:] = True
    options = {"reset_mask": mask}
    given = copy.deepcopy(options)
    lanes.reset(options=options)
    _require(_same(options, given), "reset must not change its options")
    for actions in itertools.islice(_actions(envs, SEED + 2), 10):
        lanes.step(actions)
    long = {"reset_mask": np.ones(envs.num_envs + 1, np.bool_)}
    _check_raises(lambda: envs.reset(options=long), ConfigurationError, "reset() with a mask that is too long")
    if size > 1:
        split = {"reset_mask": np.arange(envs.num_envs) == 0}
        _check_raises(lambda: envs.reset(options=split), ConfigurationError, "reset() with a mask that splits a group")


def _check_vector_memory(envs: TokenVectorEnv) -> None:
    first, _ = envs.reset(seed=SEED)
    snapshot = copy.deepcopy(first)
    envs.step(next(_actions(envs, SEED)))
    _require(
        not envs.copy or _same(first, snapshot),
        "with copy=True an observation must stay as it was returned; return copies of the arrays",
    )


def _check_vector_order(envs: TokenVectorEnv) -> None:
    envs.reset(seed=SEED)
    other = _twin(envs)
    other.reset(seed=SEED + 1)
    other.load_state_dict(envs.state_dict())
    _require(
        _same(other.reset(), envs.reset()),
        "state_dict must resume the order: after load_state_dict, reset() must draw the groups that would come next",
    )


def _check_vector_copies(envs: TokenVectorEnv) -> None:
    envs.reset(seed=SEED)
    actions = list(itertools.islice(_actions(envs, SEED), 6))
    envs.step(actions[0])
    clones = {"copy.deepcopy": _copied(envs), "pickling": _unpickled(envs)}
    expected = [copy.deepcopy(envs.step(row)) for row in actions]
    for name, clone in clones.items():
        shown = [copy.deepcopy(clone.step(row)) for row in actions]
        _require(_same(shown, expected), f"{name} in mid-episode must give an environment that continues alike")


VECTOR_RULES = (_check_lanes, _check_mask, _check_vector_memory, _check_vector_order, _check_vector_copies)
