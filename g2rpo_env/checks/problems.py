"""Rules of a task: the order and the splits of its source, its tokens, its verifier."""

from __future__ import annotations

import copy
import itertools
import math
import warnings
from collections.abc import Sequence
from typing import Any

from g2rpo_env.checks.rules import SEED, no_error_escapes, require
from g2rpo_env.errors import BudgetError, ConfigurationError, ConformanceError, UnknownProblemError
from g2rpo_env.problem import Problem, ProblemSource
from g2rpo_env.task import Task
from g2rpo_env.tokenizer import decode, encode
from g2rpo_env.verdict import Outcome, Verdict

DRAWS = 256  # draws of an order that are looked at where a source does not say how many problems it has
EPOCH = 10_000  # problems of a finite source that are looked at
GRADED = 8  # problems whose tokens and verdicts are looked at

GARBAGE = ("", " \n", "no answer here", "\ufffd", "<eos>", "#" * 40, "(" * 400, "9" * 4000)
"""Texts that policies write before they have learnt anything, and texts that break parsers."""


def check_task(task: Task) -> None:
    """Check the source, the tokens and the verifier of a task.

    Args:
        task: The task.

    Raises:
        ConformanceError: the first rule that is broken, and what to fix.
    """
    with no_error_escapes("task"):
        source = task.source
        _check_order_of_problems(source)
        problems = [source.get(problem_id) for problem_id in dict.fromkeys(draw_epoch(source))]
        for problem in problems[: 4 * GRADED]:
            _check_problem(task, problem)
        _check_ids(source)
        _check_budget(task, problems[:GRADED])
        _check_verifier(task, problems[:GRADED], problems[: 4 * GRADED])
        _check_splits(source)


def draw_epoch(source: ProblemSource) -> list[str]:
    """Return the ids of the first epoch of the seeded order, at most :data:`EPOCH`; :data:`DRAWS` of a generator."""
    size = source.num_problems
    return [source.draw(SEED, index) for index in range(DRAWS if size is None else min(size, EPOCH))]


def _check_order_of_problems(source: ProblemSource) -> None:
    ids = draw_epoch(source)
    bad = next((i for i in ids if not isinstance(i, str)), None)
    require(bad is None, f"source.draw must return problem ids, texts, got {bad!r}")
    require(
        ids == draw_epoch(source),
        "source.draw(seed, index) gives another problem the second time; it must be a pure function of seed and index "
        "(g2rpo_env.streams.stream gives one random generator per key)",
    )
    require(
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
        require(
            isinstance(found, Problem) and found.problem_id == problem_id,
            f"source.get({problem_id!r}) must return the Problem of that id, got {found!r:.120}",
        )
        require(found == source.get(problem_id), f"source.get({problem_id!r}) gives another problem the second time")
    try:
        source.get("\0 no such problem")
    except UnknownProblemError:
        return
    except Exception as error:
        raise ConformanceError(
            f"source.get of an unknown id raises {type(error).__name__}; it must raise UnknownProblemError"
        ) from error
    raise ConformanceError("source.get returns a problem for an unknown id; it must raise UnknownProblemError")


def _check_ids(source: ProblemSource) -> None:
    """Require that a finite source keeps all of its problems: those of one id are one problem."""
    if source.num_problems is None:  # what a generator yields for the longest need not be problems
        return
    seen: dict[str, Problem] = {}
    for problem in itertools.islice(source.longest(), EPOCH):
        other = seen.setdefault(problem.problem_id, problem)
        require(
            other == problem,
            f"two problems have the id {problem.problem_id!r}, {other.prompt!r:.50} and {problem.prompt!r:.50}: one of "
            "them is never drawn; give each an id of its own",
        )
        require(
            source.get(problem.problem_id) == problem,
            f"source.get({problem.problem_id!r}) returns another problem than source.longest() yields under that id",
        )


def _check_budget(task: Task, problems: list[Problem]) -> None:
    """Require that the end of some final part fits into the budget and is right: a policy may write less than all."""
    finals = [problem.final for problem in problems]
    if not _has_room(task, finals):
        ends = [decode(task.tokenizer, encode(task.tokenizer, text)[0][1 - task.max_new_tokens :]) for text in finals]
        require(
            any(verdict.correct for verdict in _verdicts(task, problems, ends)),
            f"max_new_tokens={task.max_new_tokens} must have room for the end token and a final part, such as "
            f"{finals[0]!r:.60}; it has none for that of any problem that was looked at",
        )
    for text in describe_losses(task, problems):
        warnings.warn(text, stacklevel=3)


def _has_room(task: Task, texts: list[str]) -> bool:
    """Whether one of some texts and the end token fit into the budget."""
    return not texts or min(len(encode(task.tokenizer, text)[0]) for text in texts) < task.max_new_tokens


def describe_losses(task: Task, problems: Sequence[Problem]) -> list[str]:
    """Return what would be lost in silence in training, a sentence each: settings that may be meant so.

    Args:
        task: The task.
        problems: Some of its problems.
    """
    found = []
    shortest = min((len(encode(task.tokenizer, p.solution)[0]) for p in problems), default=0)
    if not _has_room(task, [problem.solution for problem in problems]):
        found.append(
            f"max_new_tokens={task.max_new_tokens} is shorter than every solution that was looked at; the shortest has "
            f"{shortest} tokens and an end token: without guidance only shorter answers are graded whole"
        )
    if len(problems) >= GRADED and all(problem.final.strip() in problem.prompt for problem in problems):
        found.append(
            f"the prompt of every problem that was looked at holds its final part, such as {problems[0].final!r:.60}: "
            "it need only be copied"
        )
    return found


def _check_problem(task: Task, problem: Problem) -> None:
    name = f"problem {problem.problem_id!r}"
    for part in ("prompt", "final", "answer"):
        text = getattr(problem, part)
        require(isinstance(text, str), f"{part} of {name} must be a text, got {type(text).__name__} {text!r:.60}")
    require(
        isinstance(problem.steps, tuple) and all(isinstance(step, str) for step in problem.steps),
        f"steps of {name} must be a tuple of texts, got {problem.steps!r:.60}",
    )
    require(bool(problem.answer.strip()), f"{name} has no answer: a verifier would take an empty one for right")
    require(bool(problem.final), f"{name} has no final part: without it, guidance could reveal the whole solution")
    for part in ("prompt", "solution"):
        text = getattr(problem, part)
        back = decode(task.tokenizer, encode(task.tokenizer, text)[0])
        require(
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
    require(
        len(verdicts) == len(problems) and all(isinstance(verdict, Verdict) for verdict in verdicts),
        f"the verifier must return one Verdict per completion, {len(problems)}, got {verdicts!r:.120}",
    )
    low, high = getattr(task.verifier, "bounds", None) or (-math.inf, math.inf)
    for verdict, completion in zip(verdicts, completions, strict=True):
        require(math.isfinite(verdict.reward), f"the verifier must give a finite score, got {verdict.score}")
        require(
            not verdict.valid or low <= verdict.reward <= high,
            f"the verifier states that rewards lie in bounds=({low}, {high}), but gives {verdict.reward} to "
            f"{completion!r:.60}",
        )
    return verdicts


def _check_verifier(task: Task, problems: list[Problem], more: list[Problem]) -> None:
    _check_truth(task, problems, more)
    _check_final_part(task, problems)
    for problem in problems:
        texts = [text for text in GARBAGE if text not in (problem.solution, problem.final, problem.answer)]
        for text, verdict in zip(texts, _verdicts(task, [problem] * len(texts), texts), strict=True):
            require(not verdict.correct, f"the verifier takes {text!r:.60} for a right answer to {problem.prompt!r}")
            require(
                verdict.valid,
                f"the verifier gives an ERROR verdict on {text!r:.60} ({verdict.message}); ERROR is for a verifier "
                "that failed, a text without an answer is NO_ANSWER or WRONG",
            )
    failing = copy.copy(task)
    failing.verifier = _raise
    verdict = failing.grade(problems[:1], [""])[0]
    require(
        verdict.outcome is Outcome.ERROR,
        f"task.grade must give an ERROR verdict when the verifier raises, got {verdict.outcome}",
    )


def _check_truth(task: Task, problems: list[Problem], more: list[Problem]) -> None:
    solutions = [problem.solution for problem in problems]
    verdicts = _verdicts(task, problems, solutions)
    rest = more[len(problems) :]
    all_verdicts = verdicts + _verdicts(task, rest, [problem.solution for problem in rest])
    for problem, verdict in zip(more, all_verdicts, strict=True):
        require(
            verdict.correct,
            f"the verifier gives {verdict} on the ground truth {problem.solution!r:.120} of {problem.prompt!r:.80}: "
            "solution, answer and verifier must agree",
        )
    alone = [_verdicts(task, [p], [s])[0] for p, s in zip(problems, solutions, strict=True)]
    require(
        alone == verdicts,
        "the verifier gives other verdicts one by one than in a batch; it must keep no state between completions",
    )
    others = [(p, q.solution) for p in problems for q in problems if p.answer != q.answer]
    if others:
        verdicts = _verdicts(task, [p for p, _ in others], [s for _, s in others])
        require(
            not all(verdict.correct for verdict in verdicts),
            "the verifier takes the solutions of all other problems for right; it must look at the answer",
        )


def _check_final_part(task: Task, problems: list[Problem]) -> None:
    """Require that steps alone are not right in more than half of the problems: guidance shows all of them."""
    stepped = [problem for problem in problems if problem.steps]
    steps = ["".join(problem.steps) for problem in stepped]
    right = [text for text, verdict in zip(steps, _verdicts(task, stepped, steps), strict=True) if verdict.correct]
    require(
        len(right) * 2 <= len(stepped),
        "the verifier takes steps without the final part for right: the final part must hold the answer, or guidance "
        f"shows it, as in {''.join(right[:1])[-40:]!r}",
    )


def _raise(problems: Any, completions: Any) -> list[Verdict]:
    raise RuntimeError("raised on purpose by check_env")


def _check_splits(source: ProblemSource) -> None:
    splits, split = getattr(source, "splits", ()), source.split
    require(split in splits, f"source.splits={splits} must name the source's own split {split!r}")
    prompts: dict[str, set[str]] = {}
    for name in splits:
        try:
            other = source.with_split(name)
        except ConfigurationError:  # such as a single file, which is one split only
            continue
        require(other.split == name, f"source.with_split({name!r}) returns a source of split {other.split!r}")
        # Problems that differ in white space alone are the same problem.
        prompts[name] = {" ".join(other.get(problem_id).prompt.split()) for problem_id in draw_epoch(other)}
    require(source.split == split, "source.with_split must return another source and leave its own alone")
    for one, two in itertools.combinations(prompts, 2):
        shared = prompts[one] & prompts[two]
        if {one, two} != {"train", "warmstart"}:  # a source may serve train for warmstart
            require(
                not shared,
                f"splits {one!r} and {two!r} share {len(shared)} problems, such as {min(shared, default='')!r:.80}: "
                "assign each problem to one split, for example by a hash of its prompt",
            )
