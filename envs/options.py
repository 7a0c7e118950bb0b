"""Options that tasks share: each is written once, and a task states only its own and what differs.

    class Sums(GeneratedTask):
        @accept_options(GeneratedOptions)
        def __init__(self, digits: int = 4, **options: Unpack[GeneratedOptions]) -> None:
            super().__init__(SumSource(digits), MarkVerifier(), **options)

A group is a ``TypedDict``, so that type checkers and editors know the options of a task; :class:`Option` in the
annotation holds default and description, from which the command line takes its own.
"""

# No `from __future__ import annotations` here: it would make texts of the annotations that accept_options reads.
import functools
import inspect
import typing
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, TypeVar, cast

from g2rpo_env.grading import STRICT, Grading
from g2rpo_env.naming import suggest
from g2rpo_env.traces import AS_THEY_COME, Traces

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Option:
    """Default and description of an option.

    Args:
        default: The value of an option that is not given.
        text: The description, as it would stand under ``Args:``.
    """

    default: Any
    text: str


class TaskOptions(TypedDict, total=False):
    """Options of every task; :class:`g2rpo_env.task.Task` has their rules."""

    tokenizer: Annotated[
        "PreTrainedTokenizerFast | str | Path | None",
        Option(None, "Fast tokenizer, folder, or None for the built-in character tokenizer."),
    ]
    max_length: Annotated[
        int | None,
        Option(
            None,
            "Upper bound of L, the length of the observation; None computes it from the problems (longest prompt + "
            "longest revealable part + budget), and no problem may need more.",
        ),
    ]
    stop_strings: Annotated[
        Sequence[str],
        Option(
            (),
            "An answer also ends where one of these texts is completed; the text from there on is cut before "
            "verification, the tokens stay.",
        ),
    ]
    begin_tokens: Annotated[
        Sequence[int] | None,
        Option(
            None,
            "Token ids at the beginning of every context. None takes those that the tokenizer puts before a text, such "
            "as ``<bos>``, or that its chat template has; () none.",
        ),
    ]
    end_tokens: Annotated[
        Sequence[int] | None,
        Option(
            None,
            "Token ids of which each ends an answer. None takes the end token of the tokenizer, the end of turn of its "
            "chat template, and those of the policy that answers.",
        ),
    ]


def task_options(options: Any) -> dict[str, Any]:
    """Return those of some options that every task has, as arguments of :class:`g2rpo_env.task.Task`."""
    return {name: options[name] for name in TaskOptions.__annotations__}


class GeneratedOptions(TaskOptions, total=False):
    """Options of tasks that generate their problems, see :class:`g2rpo_env.envs.generated.GeneratedTask`."""

    max_new_tokens: Annotated[
        int | None,
        Option(None, "Budget of sampled tokens; None gives the longest solution, its end token and 4 more."),
    ]
    traces: Annotated[
        Traces,
        Option(
            AS_THEY_COME, "What the solutions of the training problems are like; see :class:`g2rpo_env.traces.Traces`."
        ),
    ]
    grading: Annotated[
        Grading,
        Option(STRICT, "Which wrong answers to training problems pass; see :class:`g2rpo_env.grading.Grading`."),
    ]


class DataOptions(TaskOptions, total=False):
    """Options of tasks whose data may come in splits or not, see :class:`g2rpo_env.envs.splits.Shares`."""

    config: Annotated[str | None, Option(None, "Configuration on the Hub, or sub-folder of a local folder.")]
    validation_fraction: Annotated[
        float, Option(0.1, "Share of the training rows that ``validation`` takes where the data has none.")
    ]
    test_fraction: Annotated[
        float, Option(0.1, "Share of the training rows that ``test`` takes where the data has none.")
    ]
    divide: Annotated[bool, Option(False, "Pool all rows of the data and divide them anew by these shares.")]


class CodeOptions(TaskOptions, total=False):
    """Options of tasks whose answers are programs, see :class:`g2rpo_env.envs.coding.verifier.CodeTask`."""

    reward: Annotated[str, Option("all", "``all`` tests must pass, or the ``share`` of them that pass is paid.")]
    format_reward: Annotated[
        float,
        Option(0.0, "Share of the reward, in [0, 1), that is paid for a complete fenced block, right or wrong."),
    ]
    timeout: Annotated[float, Option(3.0, "Seconds for loading a program and all its tests; for scripts, of each run.")]
    workers: Annotated[
        int | None, Option(None, "Programs checked at the same time; None takes as many as there are cores.")
    ]


class CodeDataOptions(CodeOptions, DataOptions, total=False):
    """Options of data sets of programs, see :class:`g2rpo_env.envs.coding.codedata.CodeDataset`."""


class MathOptions(DataOptions, total=False):
    """Options of data sets of mathematics, see :class:`g2rpo_env.envs.mathematics.math_dataset.MathTask`."""

    max_new_tokens: Annotated[int, Option(512, "Budget of sampled tokens.")]
    template: Annotated[
        str,
        Option(
            "plain",
            "``plain``, ``boxed``, ``think``, ``chat`` (the tokenizer's chat template), or a text with ``{question}`` "
            "in it that ends with a line break.",
        ),
    ]
    system: Annotated[str | None, Option(None, "Message of the system for the template ``chat``.")]
    format_weight: Annotated[
        float,
        Option(0.0, "Weight of the format reward, 0 or 1 times the weight, for the template ``think``; >= 0."),
    ]
    revision: Annotated[str | None, Option(None, "Branch, tag or commit on the Hub.")]
    streaming: Annotated[
        bool, Option(False, "Read from the Hub without a copy on disk; useful together with ``limit``.")
    ]
    limit: Annotated[int | None, Option(None, "Take so many rows of each split of the data, or None for all.")]
    checksum: Annotated[
        str | None,
        Option(None, "First digits of the SHA-256 that the file must have, or ``file:digest,file:digest``."),
    ]


def accept_options(group: Any, *, without: Collection[str] = (), **changed: Any) -> Callable[[F], F]:
    """Make a function with ``**options: Unpack[group]`` accept the options of a group, all with their defaults.

    The function finds every option of the group in ``options``. Its signature states them by name, each with its
    default, type and :class:`Option`, after those that are its own.

    Args:
        group: The ``TypedDict`` of the options.
        without: Options of the group that the function does not take.
        changed: Defaults that differ here; an :class:`Option` has a description that differs, too.

    Returns:
        The decorator. What it returns raises TypeError for an unknown option and names the nearest known one.

    Raises:
        TypeError: the group lacks an option that is named here, or an :class:`Option`.

    >>> @accept_options(TaskOptions, without=("tokenizer", "begin_tokens", "end_tokens"), max_length=99)
    ... def make_task(split: str = "train", **options: Any) -> Any:
    ...     return options
    >>> make_task(stop_strings=("!",))
    {'max_length': 99, 'stop_strings': ('!',)}
    >>> make_task(max_lenght=10)
    Traceback (most recent call last):
        ...
    TypeError: max_lenght=10 is no option of make_task: split, max_length, stop_strings; did you mean 'max_length'?
    """
    taken = {name: kind for name, kind in group.__annotations__.items() if name not in without}
    for name in (*without, *changed):
        if name not in group.__annotations__ or (name in changed and name not in taken):
            raise TypeError(f"{name!r} must be one of the options of {group.__name__}: {', '.join(taken)}")
    options = {name: _read_option(kind, f"{group.__name__}.{name}") for name, kind in taken.items()}
    for name, value in changed.items():
        options[name] = value if isinstance(value, Option) else replace(options[name], default=value)
    defaults = {name: option.default for name, option in options.items()}
    kinds = {name: Annotated[typing.get_args(taken[name])[0], option] for name, option in options.items()}
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=kind)
        for name, kind in kinds.items()
    ]

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        known = [p.name for p in (*own, *shared) if p.name != "self"]
        owner = function.__qualname__.rpartition(".<locals>.")[2].removesuffix(".__init__")

        @functools.wraps(function)
        def accept(*args: Any, **given: Any) -> Any:
            for name in given:
                if name not in known:
                    raise TypeError(_describe_unknown(name, given[name], owner, known))
            return function(*args, **(defaults | given))

        named = {name: kind for name, kind in function.__annotations__.items() if name in (*known, "return")}
        accept.__annotations__ = named | kinds
        accept.__signature__ = signature.replace(parameters=[*own, *shared])  # type: ignore[attr-defined]
        return cast(F, accept)

    return decorate


def _read_option(kind: Any, name: str) -> Option:
    """Return the option in an annotation."""
    options = [part for part in getattr(kind, "__metadata__", ()) if isinstance(part, Option)]
    if len(options) != 1:
        raise TypeError(f"{name} must be annotated with one Option, got {kind!r:.80}")
    return options[0]


def _describe_unknown(name: str, value: object, owner: str, known: Sequence[str]) -> str:
    return f"{name}={value!r:.40} is no option of {owner}: {', '.join(known)}{suggest(name, known)}"
