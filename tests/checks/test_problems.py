"""Every rule of a task has a case that breaks it."""

import copy
import math
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from broken import TASK, refusal, unbroken

from g2rpo_env import Outcome, Problem, Task, Verdict
from g2rpo_env.checks import check_task, problems
from g2rpo_env.envs.arithmetic import AdditionSource
from g2rpo_env.envs.dataset import RowSource
from g2rpo_env.envs.generated import MarkVerifier
from g2rpo_env.errors import ConfigurationError


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


def source_with(**members: Any) -> Task:
    """A task on sums whose source has some members replaced."""
    return Task(type("Broken", (Rows,), members)(), Mark(), max_new_tokens=6)


def with_verifier(verifier: Any) -> Task:
    task = copy.copy(TASK)
    task.verifier = verifier
    return task


def grading(grade: Callable[[Problem, str], Verdict]) -> Task:
    """A task whose verifier is a function of one problem and one completion."""
    return with_verifier(lambda ps, cs: [grade(p, c) for p, c in zip(ps, cs, strict=True)])


def right(problem: Problem, completion: str) -> Verdict:
    return MarkVerifier()([problem], [completion])[0]


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
            raise ConfigurationError("no validation")
        return type(self)(split)


def splits_with(**members: Any) -> Task:
    return Task(type("Broken", (Splits,), members)(), Mark(), max_new_tokens=6)


class Bounded(MarkVerifier):
    """States less than it gives."""

    bounds = (0, 0.5)


class First:
    """Right if what follows the first # begins with the answer."""

    def __call__(self, problems: Any, completions: Any) -> list[Verdict]:
        """One verdict per completion."""
        return [
            Verdict(Outcome.CORRECT if c.partition("#")[2][:1] == p.answer else Outcome.WRONG)
            for p, c in zip(problems, completions, strict=True)
        ]


def respaced(self: Any, split: str) -> Any:
    other = type(self)("train")
    other.split = split
    if split == "test":
        other._problems = {k: replace(p, prompt=" " + p.prompt + "\n") for k, p in other._problems.items()}
    return other


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
    check_task(Task(Splits(), Mark(), max_new_tokens=6))


def lossy() -> Task:
    """A task whose tokenizer gives another text back; loading refuses such a one, as far as its samples show it."""
    task = Task(Rows(), Mark(), max_new_tokens=6)

    class Lossy:
        """Decodes everything to one text."""

        def __call__(self, *arguments: Any, **options: Any) -> Any:
            return TASK.tokenizer(*arguments, **options)

        def __len__(self) -> int:
            return len(TASK.tokenizer)

        def decode(self, *arguments: Any, **options: Any) -> str:
            """The same text, whatever the ids."""
            return "abc"

    task.tokenizer = Lossy()
    return task


def test_settings_that_lose_something_in_silence_are_warned_of() -> None:
    with pytest.warns(
        UserWarning, match="max_new_tokens=4 is shorter than every solution .*; the shortest has 4 tokens"
    ):
        check_task(Task(Splits(), Mark(), max_new_tokens=4))
    copied = [replace(one, prompt=one.prompt + one.final + "\n") for one in rows(8)]
    with pytest.warns(UserWarning, match="the prompt of every problem that was looked at holds its final part"):
        check_task(Task(Rows(copied), Mark(), max_new_tokens=6))


def test_a_final_part_that_could_be_shorter_may_be_longer_than_the_budget() -> None:
    wordy = [replace(one, final="So the answer is #" + one.answer) for one in rows()]
    with pytest.warns(UserWarning, match="max_new_tokens=6 is shorter than every solution"):
        check_task(Task(Rows(wordy), Mark(), max_new_tokens=6))


def test_a_number_of_the_prompt_that_is_the_answer_is_no_fault() -> None:
    equal = [Problem(f"{n}", f"what is {n}?\n", ("look\n",), f"#{n}", f"{n}") for n in range(8)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_task(Task(Rows(equal), Mark(), max_new_tokens=9))


CASES: dict[str, tuple[Callable[[], Any], str]] = {
    "ids": (lambda: source_with(draw=lambda s, seed, i: i), "source.draw must return problem ids, texts, got 0"),
    "impure": (lambda: source_with(draw=shuffled), r"source.draw\(seed, index\) gives another problem the second time"),
    "repeats": (
        lambda: source_with(draw=lambda s, seed, i: "1"),
        "repeats a problem within an epoch of num_problems=4",
    ),
    "seeds": (
        lambda: source_with(draw=lambda s, seed, i: str((i + seed) % 4)),
        "must take a list of ints for a seed.*TypeErr",
    ),
    "wrong id": (
        lambda: source_with(get=lambda s, i: RowSource.get(s, "0")),
        r"source.get\('.'\) must return the Problem of that",
    ),
    "second time": (lambda: source_with(get=another_time), "gives another problem the second time"),
    "KeyError": (
        lambda: source_with(get=lambda s, i: s._problems[i]),
        "unknown id raises KeyError; it must raise UnknownProblem",
    ),
    "takes any id": (
        lambda: source_with(get=lambda s, i: s._problems.get(i, s._problems["0"])),
        "returns a problem for an unknown id",
    ),
    "final": (lambda: Task(Rows([Problem("p", "1\n", ("1\n",), "", "2")]), Mark()), "problem 'p' has no final part"),
    "same ids": (
        lambda: source_with(longest=lambda s: [*rows(), replace(rows()[1], prompt="9+1=\n")]),
        r"two problems have the id '1', '1\+1=\\n' and '9\+1=\\n': one of them is never drawn",
    ),
    "another under that id": (
        lambda: source_with(longest=lambda s: [replace(rows()[3], prompt="8+1=\n"), *rows()[:3]]),
        r"source.get\('3'\) returns another problem than source.longest\(\) yields",
    ),
    "no text": (
        lambda: Task(Rows([replace(one, answer=int(one.answer)) for one in rows()]), Mark(), max_new_tokens=6),
        "answer of problem '.' must be a text, got int [1-4]",
    ),
    "steps": (
        lambda: Task(Rows([replace(one, steps=list(one.steps)) for one in rows()]), Mark(), max_new_tokens=6),
        r"steps of problem '.' must be a tuple of texts, got \['",
    ),
    "no answer": (
        lambda: Task(Rows([replace(one, final="#", answer="") for one in rows()]), Mark(), max_new_tokens=6),
        "problem '.' has no answer",
    ),
    "no room": (
        lambda: Task(Rows([replace(one, final="#000" + one.answer) for one in rows()]), Mark(), max_new_tokens=4),
        "max_new_tokens=4 must have room for the end token and a final part, such as '#000[1-4]'; it has none",
    ),
    "bounds": (lambda: with_verifier(Bounded()), r"rewards lie in bounds=\(0, 0.5\), but gives 1.0 to '"),
    "steps alone": (
        lambda: Task(
            Rows([replace(one, steps=("#" + one.answer,), final=" so") for one in rows()]), First(), max_new_tokens=6
        ),
        "takes steps without the final part for right: the final part must hold the answer, .*, as in '#[1-4]'",
    ),
    "same but for white space": (
        lambda: splits_with(with_split=respaced),
        "splits 'train' and 'test' share 4 problems",
    ),
    "round trip": (
        lambda: lossy(),
        r"does not give the prompt of problem '.' back: decode\(encode\('\d\+1=\\n'\)\) is 'abc",
    ),
    "longest": (
        lambda: source_with(longest=lambda s: [Problem("s", "1", (), "#2", "2")]),
        r"source.longest\(\) must yield the longest problems, problem '.' is longer than all it yields",
    ),
    "no splits": (lambda: Task(RowSource(rows(), "train"), Mark()), r"source.splits=\(\) must name the source"),
    "another split": (lambda: splits_with(with_split=lambda s, name: s), "'test'.* returns a source of split 'train'"),
    "moves": (lambda: splits_with(with_split=moving), "must return another source and leave its own alone"),
    "leaks": (lambda: splits_with(share=2), r"splits 'train' and 'test' share 2 problems, such as '2\+1='"),
    "verifier raises": (lambda: grading(raising), "the verifier raises IndexError: string index out of range on .'', "),
    "count": (
        lambda: with_verifier(lambda p, c: []),
        r"must return one Verdict per completion, \d+, got \[\]",
    ),
    "bools": (lambda: with_verifier(lambda p, c: [True] * len(p)), r"one Verdict per completion, \d+, got"),
    "score": (
        lambda: grading(lambda p, c: Verdict(Outcome.CORRECT, score=math.nan)),
        "must give a finite score, got nan",
    ),
    "disagrees": (lambda: grading(lambda p, c: Verdict(Outcome.WRONG)), "on the ground truth .*verifier must agree"),
    "state": (lambda: with_verifier(TakesTurns()), "gives other verdicts one by one than in a batch"),
    "takes the format": (
        lambda: grading(lambda p, c: Verdict(Outcome.CORRECT if "#" in c else Outcome.WRONG)),
        "takes the solutions of all other problems for right",
    ),
    "takes nothing for an answer": (
        lambda: grading(lambda p, c: right(p, c) if c else Verdict(Outcome.CORRECT)),
        r"takes '' for a right answer to '\d\+\d='",
    ),
    "ERROR on garbage": (
        lambda: grading(lambda p, c: right(p, c) if "#" in c else Verdict(Outcome.ERROR, message="no #")),
        r"gives an ERROR verdict on '' \(no #\); .* is NO_ANSWER or WRONG",
    ),
    "swallows": (
        lambda: Swallowing(AdditionSource(1), MarkVerifier(), max_new_tokens=6),
        "must give an ERROR verdict when the verifier raises, got wrong",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_broken_rule_is_named(name: str) -> None:
    make, words = CASES[name]
    assert re.search(words, str(refusal(check_task, make)), re.DOTALL)


def test_every_rule_has_a_case_that_breaks_it() -> None:
    assert unbroken(problems, [refusal(check_task, make) for make, _ in CASES.values()]) == []
