"""Assignments: the members of a group, or the groups, that see a reveal, and the share of the length that each gets.

An assignment is asked per episode and is a pure function of its key, so a result depends neither on the lane nor on the
order. The ratio of the guidance wrapper says how many members are guided, the assignment which ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from g2rpo_env.errors import ConfigurationError
from g2rpo_env.streams import Seed, stream


class Assignment(Protocol):
    """Share of the length for each episode, asked at every reset of a guided environment."""

    @property
    def guides_all(self) -> bool:
        """Whether a ratio of 1 guides every member."""
        ...

    def share(self, root: Seed, group: int, member: int, group_size: int, ratio: float) -> float:
        """Return the share of the length that a member gets, in [0, 1]; 0 means no guidance."""
        ...


def count_guided(ratio: float, group_size: int) -> int:
    """Return the number of guided members of a group: ceil(ratio * G - 1e-9), so that 0.1 of 10 is 1.

    >>> [count_guided(ratio, 8) for ratio in (0.0, 0.01, 0.25, 1.0)]
    [0, 1, 2, 8]
    """
    return max(0, math.ceil(ratio * group_size - 1e-9))


@dataclass(frozen=True)
class FirstMembers:
    """The first ceil(ratio G) members; in groups of one each episode by chance, with probability ``ratio``.

    The paper fixes a share of each group (arXiv 2508.13023); the official code lists positions of the batch by hand.

    >>> [FirstMembers().share(0, 7, member, 4, 0.5) for member in range(4)]
    [1.0, 1.0, 0.0, 0.0]
    """

    guides_all = True

    def rank(self, root: Seed, group: int, member: int, group_size: int) -> int:
        """Return the rank of a member, an int in [0, G): those of low rank are guided."""
        return member

    def share(self, root: Seed, group: int, member: int, group_size: int, ratio: float) -> float:
        """Return 1 for guided members, 0 for plain ones."""
        if group_size == 1:
            return float(stream(root, "guided", group, member).random() < ratio)
        return float(self.rank(root, group, member, group_size) < count_guided(ratio, group_size))


@dataclass(frozen=True)
class RandomMembers(FirstMembers):
    """ceil(ratio G) members drawn at random for each group, from a stream of its own.

    Without it, member 0 is guided in every group; whatever else depends on the position then goes with the guidance.

    >>> sum(RandomMembers().share(0, 7, member, 8, 0.25) for member in range(8))
    2.0
    """

    def rank(self, root: Seed, group: int, member: int, group_size: int) -> int:
        """Return the rank of a member in the random order of its group."""
        return int(stream(root, "guided order", group).permutation(group_size)[member])


@dataclass(frozen=True)
class WholeGroups:
    """Whole groups by chance, with probability ``ratio``: all members of a group get the same, a reveal or none.

    Then nobody is compared with anybody who was shown more or less. Our own.

    >>> [sum(WholeGroups().share(0, group, member, 4, 0.5) for member in range(4)) for group in range(6)]
    [4.0, 4.0, 4.0, 4.0, 0.0, 4.0]
    """

    guides_all = True

    def share(self, root: Seed, group: int, member: int, group_size: int, ratio: float) -> float:
        """Return 1 for the members of guided groups, 0 for the others."""
        return float(stream(root, "guided group", group).random() < ratio)


@dataclass(frozen=True)
class Levels:
    """Varied lengths inside a group: the guided members take the shares in turn, plain ones get nothing.

    Hint-GRPO's three levels are ``Levels((0, 1/3, 2/3))`` with ratio 1 and unit ``steps`` or ``fraction`` (read in
    hqhQAQ/Hint-GRPO, vllm_grpo_trainer.py lines 451, 760-769); StepHint's several levels at once are
    :func:`even_levels` with unit ``steps`` (third-party note).

    Deviations: Hint-GRPO samples a whole group per level and trains on the first that scores; here the levels share one
    group. StepHint finds the ends of steps from a probability, here they are the steps of the problem.

    Args:
        shares: Shares of the length, each in [0, 1], at least one above 0.
        random: Which members are guided: random ones, or the first.

    Raises:
        ConfigurationError: a share breaks its rule.

    >>> levels = Levels((1.0, 0.5))
    >>> [levels.share(0, 7, member, 8, 0.5) for member in range(8)]
    [1.0, 0.5, 1.0, 0.5, 0.0, 0.0, 0.0, 0.0]
    """

    shares: tuple[float, ...] = (0.0, 1 / 3, 2 / 3)
    random: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "shares", tuple(float(share) for share in self.shares))
        if not all(0 <= share <= 1 for share in self.shares) or not any(self.shares):
            raise ConfigurationError(f"shares={self.shares} must lie in [0, 1], with at least one above 0")

    @property
    def guides_all(self) -> bool:
        """Whether no share is 0."""
        return all(share > 0 for share in self.shares)

    def share(self, root: Seed, group: int, member: int, group_size: int, ratio: float) -> float:
        """Return the share of a member; in groups of one the groups take the shares in turn."""
        order = RandomMembers() if self.random else FirstMembers()
        guided = order.share(root, group, member, group_size, ratio)
        rank = group if group_size == 1 else order.rank(root, group, member, group_size)
        return guided * self.shares[rank % len(self.shares)]


def even_levels(count: int) -> Levels:
    """Return levels at 1, (n - 1)/n, ..., 1/n of the length.

    >>> even_levels(4).shares
    (1.0, 0.75, 0.5, 0.25)
    """
    if count < 1:
        raise ConfigurationError(f"count={count} must be at least 1")
    return Levels(tuple((count - i) / count for i in range(count)))


WHO: dict[str, Assignment] = {"first": FirstMembers(), "random": RandomMembers(), "groups": WholeGroups()}
"""Assignments by name."""


def resolve_assignment(who: Assignment | str) -> Assignment:
    """Return an assignment, by name or as it is.

    Raises:
        ConfigurationError: there is no assignment of that name, or the object is none.
    """
    if isinstance(who, str) and who in WHO:
        return WHO[who]
    if isinstance(who, str) or not (callable(getattr(who, "share", None)) and hasattr(who, "guides_all")):
        raise ConfigurationError(f"who={who!r} must be one of {', '.join(WHO)}, or an object such as Levels((0.5, 1))")
    return who
