"""A lane: one episode at a time, token by token. TokenEnv is one lane, TokenVectorEnv many; both follow these rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from g2rpo_env.episode import Role
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.problem import Problem, walk_sources
from g2rpo_env.reveal.plan import RevealPlan
from g2rpo_env.streams import Seed
from g2rpo_env.task import Start, Task
from g2rpo_env.tokenizer import reduced_vocabulary
from g2rpo_env.verdict import Verdict

Observation = dict[str, np.ndarray]

# -- spaces and actions -----------------------------------------------------------------------------------------------


def token_spaces(task: Task, actions: int) -> tuple[gym.Space[Any], gym.spaces.Discrete]:
    """Return the observation space and the action space of one lane."""
    observation = gym.spaces.Dict(
        {
            "tokens": gym.spaces.Box(0, task.vocab_size - 1, (task.length,), np.int32),
            "length": gym.spaces.Box(0, task.length, (1,), np.int32),
        }
    )
    return observation, gym.spaces.Discrete(actions)


def action_tokens(task: Task, vocabulary: str | Sequence[int] | np.ndarray | None) -> np.ndarray | None:
    """Return the token id of each action, int32 (A,); None where actions are token ids."""
    return None if vocabulary is None else reduced_vocabulary(task.tokenizer, vocabulary)


def action_mask(task: Task, vocabulary: np.ndarray | None) -> np.ndarray:
    """Return the actions that an answer may hold, bool (A,)."""
    return task.answer_tokens.copy() if vocabulary is None else task.answer_tokens[vocabulary]


def action_rule(vocabulary: np.ndarray | None) -> str:
    """Return the rule for actions, for error messages."""
    return "a token id" if vocabulary is None else "an index into the reduced vocabulary"


# -- reset ------------------------------------------------------------------------------------------------------------

NEEDS = {"member": ("problem", "group"), "prefix_roles": ("prefix",)}
"""Reset option -> those without any of which it would be ignored."""


def check_options(options: dict[str, Any], known: tuple[str, ...]) -> None:
    """Raise ConfigurationError for a reset option nobody reads (a misspelt one would be ignored in silence)."""
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ConfigurationError(f"reset option {unknown[0]!r} is unknown; known are {', '.join(known)}")
    for name, needed in NEEDS.items():
        if options.get(name) is not None and all(options.get(other) is None for other in needed):
            others = " or ".join(f"options[{other!r}]" for other in needed)
            raise ConfigurationError(f"options[{name!r}] must come with {others}: it means nothing alone")


def check_render_mode(mode: str | None, known: Sequence[str]) -> None:
    """Raise ConfigurationError unless ``mode`` is None or one of ``known``."""
    if mode is not None and mode not in known:
        raise ConfigurationError(f"render_mode={mode!r} must be None or one of {', '.join(map(repr, known))}")


def reveal_amounts(
    plan: RevealPlan | None,
    root: Seed,
    group_size: int,
    problem_ids: Sequence[str],
    groups: Sequence[int],
    members: Sequence[int],
    given: Sequence[float | None] | None,
) -> list[float]:
    """Return the length of the guidance of N episodes, in the unit of the plan.

    Args:
        plan: The reveal plan; None plans no guidance.
        root: Root seed of the environment.
        group_size: Members of a group.
        problem_ids: N problems.
        groups: Their groups.
        members: Their members.
        given: Lengths that the caller of ``reset`` gave, None where the plan decides.
    """
    if plan is None:
        return [0.0] * len(problem_ids) if given is None else [0.0 if amount is None else amount for amount in given]
    planned_N = plan.lengths(problem_ids, members)  # float (N,)
    wanted = given or [None] * len(problem_ids)
    return [
        float(planned) * plan.share(root, group, member, group_size) if amount is None else amount
        for amount, planned, group, member in zip(wanted, planned_N, groups, members, strict=True)
    ]


Columns = dict[str, tuple[type, list[Any]]]
"""Key of an info -> the type of its column in a batch, and the values of N lanes."""


def reset_columns(starts: Sequence[Start], groups: list[int], members: list[int]) -> Columns:
    """Return the info of N episodes that begin."""
    return {
        "problem_id": (object, [start.problem.problem_id for start in starts]),
        "group": (np.int64, groups),
        "member": (np.int64, members),
        "prompt_length": (np.int64, [start.prompt_length for start in starts]),
        "reveal_length": (np.int64, [start.reveal_length for start in starts]),
    }


def first_of(columns: Columns) -> dict[str, Any]:
    """Return the info of the first lane."""
    return {key: values[0] for key, (_, values) in columns.items()}


# -- end of a try -----------------------------------------------------------------------------------------------------


class Try(NamedTuple):
    """An answer that is over and not yet graded.

    Attributes:
        problem: The problem that it answers.
        answer_T: int32 (T,), its tokens.
        stopped: Whether its last token completed a stop string.
        number: Number of tries of the episode, this one included.
        may_go_on: Whether the episode has budget for another try.
    """

    problem: Problem
    answer_T: np.ndarray
    stopped: bool
    number: int
    may_go_on: bool


class Graded(NamedTuple):
    """A graded answer.

    Attributes:
        completion: Its text.
        verdict: Its verdict.
        reply_T: int32 (T,), tokens of the reply that follows it; None where the episode is over.
    """

    completion: str
    verdict: Verdict
    reply_T: np.ndarray | None


def grade_tries(task: Task, tries: Sequence[Try]) -> list[Graded]:
    """Grade answers in one call of the verifier, and let the task reply to those after which an episode goes on."""
    completions = [task.completion(one.answer_T, one.stopped) for one in tries]
    verdicts = task.grade([one.problem for one in tries], completions)
    if task.reply is None:
        return [Graded(text, verdict, None) for text, verdict in zip(completions, verdicts, strict=True)]
    return [
        Graded(text, verdict, task.reply_tokens(one.problem, text, verdict, one.number) if one.may_go_on else None)
        for one, text, verdict in zip(tries, completions, verdicts, strict=True)
    ]


def append_reply(tokens_T: np.ndarray, role_T: np.ndarray, length: int, reply_T: np.ndarray) -> int:
    """Write a reply behind the context of a lane and return the new length.

    Args:
        tokens_T: int32 (L,), tokens of the lane, changed.
        role_T: int8 (L,), roles of the lane, changed.
        length: Tokens of the context so far.
        reply_T: int32 (T,), the reply.
    """
    end = length + len(reply_T)
    tokens_T[length:end] = reply_T
    role_T[length:end] = Role.ENVIRONMENT
    return end


def final_columns(graded: Sequence[Graded]) -> Columns:
    """Return the info of N episodes that end."""
    return {
        "completion": (object, [one.completion for one in graded]),
        "correct": (np.bool_, [one.verdict.correct for one in graded]),
        "valid": (np.bool_, [one.verdict.valid for one in graded]),
        "verdict": (object, [one.verdict for one in graded]),
    }


# -- state ------------------------------------------------------------------------------------------------------------


def source_state(task: Task) -> dict[str, Any]:
    """Return ``{"source": state}`` where the source of problems or one that it wraps has a state, nothing otherwise.

    The state is a list, the outermost source first, where several have one.
    """
    states = [source.state_dict() for source in _stateful_sources(task)]
    return {"source": states[0] if len(states) == 1 else states} if states else {}


def load_source_state(task: Task, state: dict[str, Any]) -> None:
    """Let the sources continue where :func:`source_state` was taken, if they have a state.

    Raises:
        ConfigurationError: it was taken of another number of sources.
    """
    sources = _stateful_sources(task)
    if "source" not in state or not sources:
        return
    states = state["source"] if len(sources) > 1 else [state["source"]]
    if not isinstance(states, list) or len(states) != len(sources):
        raise ConfigurationError(
            f"state['source'] must be a list of {len(sources)} states, as many as the task has sources with one"
        )
    for source, one in zip(sources, states, strict=True):
        source.load_state_dict(one)


def _stateful_sources(task: Task) -> list[Any]:
    """Return the sources with a state, the outermost first."""
    methods = "state_dict", "load_state_dict"
    return [source for source in walk_sources(task.source) if all(hasattr(source, name) for name in methods)]
