"""check_env: the rules of TokenEnv."""

from __future__ import annotations

import copy
import warnings
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils.env_checker import check_env as check_env_gymnasium

from g2rpo_env.checks.episodes import (
    Frame,
    action_of,
    ending,
    filler,
    play,
    play_by_the_rules,
    roles_fit_the_tokens,
    writable,
)
from g2rpo_env.checks.problems import GRADED, check_task, draw_epoch
from g2rpo_env.checks.rules import (
    SEED,
    check_base,
    check_raises,
    deep_copy,
    no_error_escapes,
    pickle_round_trip,
    require,
    same,
    twin,
)
from g2rpo_env.checks.wrappers import check_wrappers_keep_infos, warn_of_wrappers
from g2rpo_env.core import TokenEnv
from g2rpo_env.errors import ConfigurationError, ConformanceError, InvalidActionError, UnknownProblemError
from g2rpo_env.problem import Problem
from g2rpo_env.reveal.placement import InAnswer
from g2rpo_env.reveal.plan import RevealPlan
from g2rpo_env.task import Task
from g2rpo_env.tokenizer import decode


def check_env(env: gym.Env[Any, Any]) -> None:
    """Check an environment built on TokenEnv against the contract; works on copies, ``env`` itself is not stepped.

    Warns of wrappers that make no sense on tokens. Gymnasium's own ``check_env`` is a part of it.

    Args:
        env: The environment, wrapped or not.

    Raises:
        ConformanceError: the first rule that is broken, and what to fix.
    """
    check_base(env, TokenEnv)
    warn_of_wrappers(env)
    own = deep_copy(env)
    base: TokenEnv = own.unwrapped
    check_task(base.task)
    with no_error_escapes("task"):
        check_vocabulary(base.task, base.vocabulary)
    check_token_spaces(base, base.observation_space, base.action_space)
    with no_error_escapes("environment"):
        for rule in ENV_RULES:
            rule(twin(base))
        check_wrappers_keep_infos(own)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is different from the unwrapped version.*")
            check_env_gymnasium(own, skip_render_check=True, skip_close_check=True)
    except (AssertionError, gym.error.Error) as error:
        raise ConformanceError(f"gymnasium.utils.env_checker.check_env refuses the environment: {error}") from error


def check_token_spaces(env: Any, observation: Any, action: Any) -> None:
    """Require the spaces of one lane."""
    task, actions = env.task, len(writable(env))
    expected = gym.spaces.Dict(
        tokens=gym.spaces.Box(0, task.vocab_size - 1, (task.length,), np.int32),
        length=gym.spaces.Box(0, task.length, (1,), np.int32),
    )
    require(observation == expected, f"observation_space must be {expected}, got {observation}")
    require(
        action == gym.spaces.Discrete(actions),
        f"action_space must be Discrete({actions}), one action per token that can be written, got {action}",
    )


def find_unwritable(task: Task, vocabulary: np.ndarray, problem: Problem) -> str:
    """Return the characters of a problem's final part that no action writes, sorted; only those of ASCII are judged.

    Args:
        task: The task.
        vocabulary: int (A,), the token of each action.
        problem: A problem.
    """
    written = {char for token in vocabulary for char in decode(task.tokenizer, np.array([token]))}
    return "".join(sorted({char for char in problem.final if char.isascii()} - written))


def check_vocabulary(task: Task, vocabulary: np.ndarray | None) -> None:
    """Require that a reduced vocabulary can write right answers.

    Args:
        task: The task.
        vocabulary: int (A,), the token of each action; None for all tokens.

    Raises:
        ConformanceError: a final part cannot be written, nor is it right without what is missing.
    """
    if vocabulary is None:
        return
    for problem_id in draw_epoch(task.source)[:GRADED]:
        problem = task.source.get(problem_id)
        missing = find_unwritable(task, vocabulary, problem)
        rest = "".join(char for char in problem.final if char not in missing)
        require(
            not missing or task.grade([problem], [rest])[0].correct,
            f"vocabulary must hold what the final part {problem.final!r:.60} of problem {problem.problem_id!r} is "
            f"written with; it lacks {missing!r}",
        )


def _check_episodes(env: TokenEnv) -> None:
    task, filling = env.task, filler(env)
    last = play_by_the_rules(env, ending(env), seed=SEED)[-1]
    require(
        last.terminated or last.token != task.eos_token_id, "the end token must end the answer: terminated is False"
    )
    if filling is not None:
        last = play_by_the_rules(env, [filling] * (task.max_new_tokens + 1), seed=SEED)[-1]
        require(last.truncated, f"an episode must be truncated after max_new_tokens={task.max_new_tokens} tokens")
    for problem in [task.source.get(problem_id) for problem_id in draw_epoch(task.source)[:GRADED]]:
        encoded = task.encode(problem)
        rest = [*encoded.solution_T[encoded.revealable :].tolist(), task.eos_token_id]
        if len(rest) <= task.max_new_tokens and set(rest) <= set(writable(env).tolist()):
            options = {"problem": problem.problem_id, "prefix": _shown(task, problem)}
            last = play_by_the_rules(env, rest, options=options)[-1]
            require(
                last.terminated and last.info["correct"],
                f"the solution of problem {problem.problem_id!r}, played token by token, must be correct, got "
                f"{last.info.get('verdict')}; does a stop string occur in it?",
            )


def _shown(task: Task, problem: Problem) -> np.ndarray:
    """Return prompt and all that may be revealed."""
    encoded = task.encode(problem)
    return np.concatenate([encoded.prompt_T, encoded.solution_T[: encoded.revealable]])


def _check_refusals(env: TokenEnv) -> None:
    env.load_state_dict(env.state_dict())  # ends the running episode, if there is one
    check_raises(lambda: env.step(0), gym.error.ResetNeeded, "step() before reset()")
    env.reset(seed=SEED)
    before = env.context
    for action in (-1, len(writable(env)), 0.5):
        check_raises(partial(env.step, action), InvalidActionError, f"step({action})")
    unknown = {"problem": "\0 no such problem"}
    check_raises(lambda: env.reset(options=unknown), UnknownProblemError, "reset() with an unknown problem")
    check_raises(lambda: env.reset(options={"problm": "x"}), ConfigurationError, "reset() with an unknown option")
    require(np.array_equal(before, env.context), "a refused action or reset must change nothing")
    play(env, ending(env), seed=SEED)
    check_raises(lambda: env.step(0), gym.error.ResetNeeded, "step() after the end of an episode")


def _starts(env: TokenEnv, count: int, seed: int | None = None) -> list[tuple[Any, ...]]:
    """Return the starts that ``count`` resets show, as plain data."""
    out = []
    for number in range(count):
        observation, info = env.reset(seed=seed if number == 0 else None)
        out.append((info, observation["tokens"].tolist(), observation["length"].tolist(), env.roles.tolist()))
    return out


def _check_order(env: TokenEnv) -> None:
    starts = _starts(env, 4, seed=SEED)
    require(starts == _starts(env, 4, seed=SEED), "reset(seed=...) twice with one seed must give the same episodes")
    ids = [env.task.source.draw(SEED, index) for index in range(4)]
    found = [info["problem_id"] for info, *_ in starts]
    require(found == ids, f"reset must take the problems in the order of source.draw, {ids}, got {found}")
    groups = [(info["group"], info["member"]) for info, *_ in starts]
    require(
        groups == [(0, 0), (1, 0), (2, 0), (3, 0)],
        f"after a seed, (group, member) must count (0, 0), (1, 0), (2, 0), ..., got {groups}",
    )
    other = twin(env)
    _starts(env, 2, seed=SEED)
    state = env.state_dict()
    other.reset(seed=SEED + 1)
    other.load_state_dict(state)
    require(
        _starts(other, 2) == starts[2:],
        "state_dict must resume the order: after load_state_dict, reset() must draw the problem that would come next",
    )


def _check_reveal(env: TokenEnv) -> None:
    task, plan = env.task, env.reveal_plan or RevealPlan()
    amounts = (0, 0.5, 1) if plan.unit == "fraction" else (0, 1, 2, 10**6)
    for problem_id in draw_epoch(task.source)[:GRADED]:
        problem, encoded = task.source.get(problem_id), task.lookup(problem_id)
        for amount in amounts:
            frame = play(env, [], options={"problem": problem_id, "reveal": amount})[0]
            roles_fit_the_tokens([frame], task)
            expected = plan.tokens(encoded, amount)
            if plan.place == InAnswer():
                _check_shown(frame, task, problem, expected)
            require(
                np.array_equal(frame.tokens_T, plan.place.lay(encoded, expected, task.tokenizer, task.frame).tokens_T),
                f"problem {problem_id!r} with reveal={amount} must begin with what {plan.place} lays",
            )
    env.reveal_plan = RevealPlan(length=10**6)
    for seed in (SEED, None):  # at every reset, not only at the first
        frame = play(env, [], seed=seed)[0]
        problem = task.source.get(frame.info["problem_id"])
        _check_shown(frame, task, problem, task.encode(problem).revealable)


def _check_shown(frame: Frame, task: Task, problem: Problem, expected: int) -> None:
    reveal, encoded = frame.info["reveal_length"], task.encode(problem)
    shown_T = frame.tokens_T[frame.info["prompt_length"] :]
    require(
        np.array_equal(frame.tokens_T[: frame.info["prompt_length"]], encoded.prompt_T),
        f"the context must start with the prompt of problem {problem.problem_id!r}",
    )
    text = decode(task.tokenizer, shown_T).rstrip("\ufffd")  # the last character may be shown in part
    require(
        "".join(problem.steps).startswith(text),
        f"the reveal shows {text[-40:]!r}, which is not in the steps: it must never show the final answer",
    )
    require(
        reveal == expected and np.array_equal(shown_T, encoded.solution_T[:expected]),
        f"the reveal must show {expected} solution tokens of problem {problem.problem_id!r}, got {reveal}",
    )


def _check_prefix(env: TokenEnv) -> None:
    filling = filler(env)
    if filling is None:
        return
    frame = play(env, [filling], seed=SEED, options={"reveal": 1})[-1]
    options = {"problem": env.problem.problem_id, "prefix": frame.tokens_T, "prefix_roles": frame.role_T}
    given = copy.deepcopy(options)
    started = play(env, [], options=options)[0]
    require(same(options, given), "reset must not change its options")
    require(
        same((started.tokens_T, started.role_T), (frame.tokens_T, frame.role_T)),
        "options['prefix'] and ['prefix_roles'] must start an episode from exactly these tokens and roles",
    )


def _check_memory(env: TokenEnv) -> None:
    filling = filler(env)
    observation, _ = env.reset(seed=SEED)
    for array in observation.values():
        array[...] = 1
    env.context[...] = 1
    env.roles[...] = 1
    other = twin(env)
    other.reset(seed=SEED)
    action = action_of(env, ending(env)[0] if filling is None else filling)
    require(
        same(env.step(action), other.step(action)),
        "writing into an observation, context or roles changes the environment; return fresh arrays",
    )


def _check_copies(env: TokenEnv) -> None:
    env.reset(seed=SEED)
    filling = filler(env)
    if filling is not None:
        env.step(action_of(env, filling))
    clones = {"copy.deepcopy": deep_copy(env), "pickling": pickle_round_trip(env)}
    end = action_of(env, ending(env)[0])
    expected = env.step(end)
    for name, clone in clones.items():
        require(
            same(clone.step(end), expected) and _starts(clone, 1) == _starts(twin(env), 1),
            f"{name} in mid-episode must give an environment that continues alike",
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
