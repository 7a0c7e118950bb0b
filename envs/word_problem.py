"""WordProblem: templated stories of several hops, in the format of GSM8K; generated, no download.

    prompt     "Tom has 5 pens. He buys 3 packs of 4. He gives Ann 2. How many pens does Tom have?\\n"
    steps      "He buys 3*4=12.\\n" "He has 5+12=17.\\n" "He has 17-2=15.\\n"
    final      "#### 15"
    answer     "15"

The story has 2 to 4 events of ten kinds: 11,100 structures once names, things and numbers are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Unpack

import numpy as np

from g2rpo_env.envs.generated import TRIES, GeneratedSource, GeneratedTask, level_range
from g2rpo_env.envs.mathematics.numeric import MARK, NumberVerifier
from g2rpo_env.envs.options import GeneratedOptions, accept_options
from g2rpo_env.errors import ConfigurationError, UnknownProblemError
from g2rpo_env.problem import Problem

PEOPLE = {"Tom": "He", "Ann": "She", "Ben": "He", "Eve": "She", "Max": "He", "Mia": "She", "Leo": "He", "Zoe": "She"}
THINGS = ("pens", "cards", "books", "coins", "balls", "cups", "nuts", "keys")
LARGEST = 99
"""No one ever has more unless a source says so, and no one less than 1."""


@dataclass(frozen=True)
class Event:
    """Something that changes how many there are.

    Attributes:
        text: What the story says, with ``{They}`` for the pronoun, ``{other}`` for another person and ``{0}``,
            ``{1}`` for its numbers.
        ranges: Greatest value of each of its numbers; the least is 2.
        steps: ``{pronoun}``-less steps as (verb, equation) with ``{n}`` for how many there were before; each equation
            may use ``{r}``, the result of the one before.
    """

    text: str
    ranges: tuple[int, ...]
    steps: tuple[tuple[str, str], ...]


EVENTS = {
    "buy": Event("{They} buys {0} more.", (9,), (("has", "{n}+{0}"),)),
    "get": Event("{other} gives {They} {0}.", (9,), (("has", "{n}+{0}"),)),
    "find": Event("{They} finds {0}.", (9,), (("has", "{n}+{0}"),)),
    "lose": Event("{They} loses {0}.", (9,), (("has", "{n}-{0}"),)),
    "give": Event("{They} gives {other} {0}.", (9,), (("has", "{n}-{0}"),)),
    "sell": Event("{They} sells {0}.", (9,), (("has", "{n}-{0}"),)),
    "packs": Event("{They} buys {0} packs of {1}.", (5, 5), (("buys", "{0}*{1}"), ("has", "{n}+{r}"))),
    "double": Event("{They} doubles them.", (), (("has", "{n}*2"),)),
    "triple": Event("{They} triples them.", (), (("has", "{n}*3"),)),
    "half": Event("{They} loses half of them.", (), (("has", "{n}/2"),)),
}


@dataclass(frozen=True)
class Story:
    """One story: who, what, how many at first, and the events with their numbers."""

    person: str
    other: str
    thing: str
    first: int
    events: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def problem_id(self) -> str:
        """The story in short, such as ``"Tom Ann pens 5 packs,3,4 give,2"``."""
        events = (",".join([name, *map(str, values)]) for name, values in self.events)
        return " ".join([self.person, self.other, self.thing, str(self.first), *events])

    def equations(self, largest: int = LARGEST) -> list[tuple[str, str, int]] | None:
        """Return (verb, left side, result) of every step; None where one is not whole or not in [1, largest]."""
        found, count = [], self.first
        for name, values in self.events:
            result = 0
            for verb, template in EVENTS[name].steps:
                side = template.format(*values, n=count, r=result)
                a, sign, b = re.fullmatch(r"(\d+)([-+*/])(\d+)", side).groups()  # type: ignore[union-attr]
                exact = _RESULTS[sign](int(a), int(b))
                if exact is None or not 1 <= exact <= largest:
                    return None
                result = exact
                found.append((verb, side, result))
            count = result
        return found


_RESULTS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a // b if a % b == 0 else None,
}
_STORY = re.compile(r"(\w+) (\w+) (\w+) ([1-9]\d{0,4})((?: [a-z]+(?:,[2-9])*)+)", re.ASCII)


def greatest_first(largest: int) -> int:
    """Return the most that anyone has at first: a fifth of the most that anyone ever has."""
    return (largest + 1) // 5


def read(problem_id: str, largest: int = LARGEST) -> Story | None:
    """Return the story of an id; None if it is none that can be told with results of at most ``largest``."""
    match = _STORY.fullmatch(problem_id)
    if match is None:
        return None
    person, other, thing, first, rest = match.groups()
    events = []
    for word in rest.split():
        name, *values = word.split(",")
        ranges = EVENTS[name].ranges if name in EVENTS else None
        if ranges is None or len(values) != len(ranges) or any(int(v) > r for v, r in zip(values, ranges, strict=True)):
            return None
        events.append((name, tuple(map(int, values))))
    story = Story(person, other, thing, int(first), tuple(events))
    named = person in PEOPLE and other in PEOPLE and person != other and thing in THINGS
    fits = 2 <= story.first <= greatest_first(largest) and story.equations(largest) is not None
    return story if named and fits else None


def tell(story: Story, largest: int = LARGEST) -> Problem:
    """Return the problem of a story that can be told with results of at most ``largest``."""
    they = PEOPLE[story.person]
    him = {"He": "him", "She": "her"}[they]
    told = [f"{story.person} has {story.first} {story.thing}."]
    for name, values in story.events:
        text = EVENTS[name].text.replace("gives {They}", f"gives {him}")
        told.append(text.format(*values, They=they, other=story.other))
    prompt = " ".join([*told, f"How many {story.thing} does {story.person} have?\n"])
    equations = story.equations(largest)
    assert equations is not None, story
    steps = tuple(f"{they} {verb} {side}={result}.\n" for verb, side, result in equations)
    answer = str(equations[-1][2])
    return Problem(story.problem_id, prompt, steps, f"{MARK} {answer}", answer)


class WordProblemSource(GeneratedSource):
    """Stories; the id of a problem is the story in short, see :attr:`Story.problem_id`.

    Args:
        hops: Number of events, an int or an inclusive range (low, high) drawn uniformly, within [2, 8].
        largest: Greatest result, within [99, 9999]; at first they have up to a fifth of it.
        split: One of :data:`g2rpo_env.problem.SPLITS`; disjoint by the sequence of kinds of events.
    """

    def __init__(self, hops: int | Sequence[int] = (2, 4), split: str = "train", largest: int = LARGEST) -> None:
        super().__init__(level_range("hops", hops, 2, 8), split)
        if not 99 <= largest <= 9999:
            raise ConfigurationError(f"largest={largest} must be within [99, 9999]")
        self.largest = largest

    def sample(self, random: np.random.Generator, level: int) -> str:
        """Return a random story of ``level`` events."""
        people = list(PEOPLE)
        kinds = list(EVENTS)
        while True:
            person, other = random.permutation(len(people))[:2]
            thing = THINGS[int(random.integers(len(THINGS)))]
            names = [kinds[int(kind)] for kind in random.integers(len(kinds), size=level)]
            for _ in range(TRIES):
                first = int(random.integers(2, greatest_first(self.largest) + 1))
                events = tuple((n, tuple(int(random.integers(2, r + 1)) for r in EVENTS[n].ranges)) for n in names)
                story = Story(people[person], people[other], thing, first, events)
                if story.equations(self.largest) is not None:
                    return story.problem_id

    def structure(self, problem_id: str) -> str:
        """Return the kinds of its events, in order."""
        return " ".join(event.split(",")[0] for event in problem_id.split()[4:])

    def get(self, problem_id: str) -> Problem:
        """Return the problem of an id, of any split; raises UnknownProblemError."""
        story = read(problem_id, self.largest)
        if story is None or not self.low <= len(story.events) <= self.high or story.problem_id != problem_id:
            raise UnknownProblemError(
                f"problem={problem_id!r} must be 'person other thing number event event ...' with {self.low} to "
                f"{self.high} events, such as 'Tom Ann pens 5 packs,3,4 give,2', and no one may ever have less than 1 "
                f"or more than {self.largest}"
            )
        return tell(story, self.largest)

    def longest(self) -> Iterable[Problem]:
        """Return texts of the greatest lengths: the longest event over and over, all results of the most digits."""
        event = max((e.text.format(9, 9, They="She", other="Ann") for e in EVENTS.values()), key=len)
        prompt = f"Ann has {greatest_first(self.largest)} cards. {' '.join([event] * self.high)} "
        prompt += "How many cards does Ann have?\n"
        most = self.largest
        steps = ("She buys 5*5=25.\n", f"She has {most}-25={most}.\n") * self.high
        return [Problem("the longest", prompt, steps, f"{MARK} {most}", str(most))]


class WordProblem(GeneratedTask):
    """The task of ``g2rpo_env/WordProblem-v0``: stories of several hops, one step per equation.

    Args:
        hops: Number of events, an int or an inclusive range (low, high), within [2, 8].
        largest: Greatest result, within [99, 9999]; at first they have up to a fifth of it. With 99 a guess from the
            answers that come most often is right in 2 % of cases, with 999 in 0.4 %.
        split: ``train``, ``validation``, ``test`` or ``warmstart``; disjoint by the sequence of kinds of events.
        options: See :class:`g2rpo_env.envs.options.GeneratedOptions`.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    @accept_options(GeneratedOptions)
    def __init__(
        self,
        hops: int | Sequence[int] = (2, 4),
        split: str = "train",
        *,
        largest: int = LARGEST,
        **options: Unpack[GeneratedOptions],
    ) -> None:
        super().__init__(WordProblemSource(hops, split, largest), NumberVerifier(), **options)
