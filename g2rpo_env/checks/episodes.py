"""Rules of an episode, judged from what every reset and step showed."""

from __future__ import annotations

import copy
import itertools
import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from g2rpo_env.checks.rules import require
from g2rpo_env.core import TokenEnv
from g2rpo_env.episode import Role
from g2rpo_env.task import Task
from g2rpo_env.tokenizer import decode
from g2rpo_env.verdict import Verdict

RESET_INFO = {"problem_id": str, "group": int, "member": int, "prompt_length": int, "reveal_length": int}
FINAL_INFO = {"completion": str, "correct": bool, "valid": bool, "verdict": Verdict}


@dataclass(frozen=True)
class Frame:
    """Everything that an environment showed after a reset (``token`` None) or after a step that wrote a token."""

    token: int | None
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


def play(env: TokenEnv, tokens: Iterable[int], **reset: Any) -> list[Frame]:
    """Reset, write tokens until they or the episode end, and return what was shown."""
    observation, info = env.reset(**reset)
    _check_observation(env, observation)
    frames = [Frame(None, observation, copy.deepcopy(observation), env.roles, 0.0, False, False, info)]
    for token in tokens:
        observation, reward, terminated, truncated, info = env.step(np.int64(action_of(env, token)))
        _check_observation(env, observation)
        snapshot = copy.deepcopy(observation)
        frames.append(Frame(int(token), observation, snapshot, env.roles, reward, terminated, truncated, info))
        if frames[-1].ended:
            break
    return frames


def _check_observation(env: TokenEnv, observation: Any) -> None:
    require(
        env.observation_space.contains(observation),
        f"observation {observation!r:.200} must lie in the observation space {env.observation_space}",
    )


def _infos_have_their_keys(frames: list[Frame], task: Task) -> None:
    check_info(frames[0].info, RESET_INFO, "at reset")
    for frame in frames[1:]:
        if frame.ended:
            check_info(frame.info, FINAL_INFO, "at the end of an episode")
        else:
            require(frame.info == {}, f"info during an episode must be empty, got the keys {sorted(frame.info)}")


def check_info(info: dict[str, Any], expected: dict[str, type], when: str) -> None:
    """Require exactly these keys with exactly these types; a verdict may be of a class of its own."""
    require(
        set(info) == set(expected),
        f"info {when} must have the keys {sorted(expected)}, got {sorted(info)}",
    )
    for key, kind in expected.items():
        require(
            type(info[key]) is kind or (kind is Verdict and isinstance(info[key], Verdict)),
            f"info[{key!r}] {when} must be of type {kind.__name__}, got {type(info[key]).__name__}",
        )


def _contexts_only_grow(frames: list[Frame], task: Task) -> None:
    for frame in frames:
        length = len(frame.tokens_T)
        require(not frame.snapshot["tokens"][length:].any(), "observation['tokens'] must be 0 beyond 'length'")
        require(
            frame.role_T.shape == (length,),
            f"roles must have one role per token of the context, shape ({length},), got {frame.role_T.shape}",
        )
    for before, after in itertools.pairwise(frames):
        length = len(before.tokens_T)
        require(
            len(after.tokens_T) > length and np.array_equal(after.tokens_T[:length], before.tokens_T),
            "observation['tokens'] must be append-only: a step changed or removed tokens of the context",
        )
        require(
            after.tokens_T[length] == after.token,
            f"the first token that a step appends must be the action's, {after.token}, got {after.tokens_T[length]}",
        )


def roles_fit_the_tokens(frames: list[Frame], task: Task) -> None:
    """Require that roles and counts agree, and that every step appends roles 2 and 3."""
    start = frames[0]
    prompt, reveal = start.info["prompt_length"], start.info["reveal_length"]
    answered = len(start.role_T) - prompt  # none where guidance stands in the prompt
    expected = [Role.PROMPT] * prompt + [Role.REVEALED] * answered
    require(
        start.role_T.tolist() == expected and answered in (reveal, 0),
        f"roles at reset must be prompt_length={prompt} times 0 and reveal_length={reveal} times 1, "
        f"got {start.role_T.tolist()}",
    )
    for before, after in itertools.pairwise(frames):
        length, role_T = len(before.role_T), after.role_T
        require(np.array_equal(role_T[:length], before.role_T), "roles must be append-only, like the tokens")
        require(
            role_T[length] == Role.SAMPLED and (role_T[length + 1 :] == Role.ENVIRONMENT).all(),
            f"a step must append the action with role 2 and its own tokens with role 3, got {role_T[length:].tolist()}",
        )


def _ends_are_marked_once(frames: list[Frame], task: Task) -> None:
    for frame in frames:
        require(
            type(frame.terminated) is bool and type(frame.truncated) is bool,
            f"terminated and truncated must be bool, got {frame.terminated!r} and {frame.truncated!r}",
        )
        require(
            not (frame.terminated and frame.truncated),
            "terminated and truncated are True together: an answer that ended is not cut by the budget",
        )
        require(
            isinstance(frame.reward, float) and math.isfinite(frame.reward),
            f"reward must be a finite float, got {frame.reward!r}",
        )
        if frame.reward and not frame.ended:
            warnings.warn("a reward before the end of the episode: the task must document it", stacklevel=4)
    sampled = int((frames[-1].role_T == Role.SAMPLED).sum())
    require(
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
        require(last.info[key] == value, f"info[{key!r}]={last.info[key]} must be that of info['verdict']")
    answer_T = last.tokens_T[frames[0].info["prompt_length"] :]
    text = decode(task.tokenizer, answer_T[:-1] if int(answer_T[-1]) in task.end_tokens else answer_T)
    whole = not task.stop_strings and not (last.role_T == Role.ENVIRONMENT).any()
    require(
        completion == text if whole else completion in text,
        f"info['completion'] must be the text after the prompt without the end token, {text!r:.80}, "
        f"got {completion!r:.80}",
    )
    problem = task.source.get(frames[0].info["problem_id"])
    require(
        verdict == task.grade([problem], [completion])[0],
        f"info['verdict'] must be what the verifier says of info['completion'], got {verdict}",
    )


def _arrays_are_fresh(frames: list[Frame], task: Task) -> None:
    for frame in frames:
        require(
            all(np.array_equal(frame.observation[key], frame.snapshot[key]) for key in frame.snapshot),
            "an observation changed after it was returned; return fresh arrays from every reset and step",
        )


FRAME_RULES = (
    _infos_have_their_keys,
    _contexts_only_grow,
    roles_fit_the_tokens,
    _ends_are_marked_once,
    _ends_are_graded,
    _arrays_are_fresh,
)


def play_by_the_rules(env: TokenEnv, tokens: Iterable[int], **reset: Any) -> list[Frame]:
    """Play, and judge what was shown by every rule."""
    frames = play(env, tokens, **reset)
    for rule in FRAME_RULES:
        rule(frames, env.task)
    return frames


def action_of(env: Any, token: int) -> int:
    """Return the action that writes a token, -1 if none does."""
    if env.vocabulary is None:
        return int(token)
    return int(np.argmax(env.vocabulary == token)) if token in env.vocabulary else -1


def writable(env: Any) -> np.ndarray:
    """Return the tokens that actions can write, int (A,)."""
    return np.arange(env.task.vocab_size) if env.vocabulary is None else env.vocabulary


def filler(env: Any) -> int | None:
    """Return a token that can be written and ends nothing, or None if every token might end the answer."""
    tokens = writable(env)
    barred = [*env.task.end_tokens, *env.task.unused_ids]
    tokens = tokens[~np.isin(tokens, barred) & ~env.task.may_stop(tokens)]
    return int(tokens[0]) if len(tokens) else None


def ending(env: Any) -> list[int]:
    """Return tokens that end an episode: end tokens, or any where no action writes one, until the budget is spent."""
    tokens = writable(env)
    end = env.task.eos_token_id
    return [end if end in tokens else int(tokens[0])] * env.task.max_new_tokens
