"""Reroll: groups without a right answer are sampled again at once, with a part of the solution shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.agents.parts.strategies.guided import PLACES, check_names, check_place
from g2rpo_env.agents.policy.protocol import SamplingPolicy
from g2rpo_env.agents.rollout import collect, token_vector_env
from g2rpo_env.controllers.on_failure import check_rising_shares
from g2rpo_env.encoding import EncodedProblem
from g2rpo_env.episode import Group, Groups
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.guidance import find_guidance
from g2rpo_env.reveal.placement import InAnswer, Placement
from g2rpo_env.task import Task

SHARE_OF: dict[str, Callable[[EncodedProblem, float], float]] = {
    "tokens": lambda encoded, share: share * encoded.revealable,
    "steps": lambda encoded, share: share * len(encoded.step_ends),
    "fraction": lambda encoded, share: share,
}
"""Unit of a reveal -> (encoded problem, share) -> length of that share of its solution."""


@dataclass(frozen=True)
class Reroll:
    """Groups without a right answer are sampled again at once, with more and more of the solution, until one is right.

    GHPO (read in hkgc-1/GHPO, ghpo_trainer.py lines 831-833): 25, 50, 75 % for groups that fail; it puts them into the
    prompt (a wrapper with ``place="prompt"``). Guide (arXiv 2506.13923, read in guide_rl 2f27715, ray_trainer.py near
    line 1386): ``Reroll((1.0,), train_plain=True)`` with ``place="hint"``, and the loss ``CorrectedSurrogate``.
    Scaf-GRPO (read in dvlab-research/Scaf-GRPO 1085db5, ray_trainer.py lines 1467-1642): ``Reroll(swap=True)``.

    Deviations:

    1. All groups stay in the update, those that failed as well: they give no gradient, but what was sampled for them is
       counted, and the controller sees it. Guide keeps those that are neither all right nor all wrong: ``DropUniform``.
    2. A group that is sampled again takes a new number in the seeded order, and the problem of that number is left out.
    3. Re-rolls are never left out; in Guide's code they need as many failed prompts as there are processes.

    Args:
        stages: Rising shares of what is shown of each problem, in (0, 1].
        train_plain: What was sampled with guidance is trained in the context without it (``Episode.train_prefix``); for
            guidance in the prompt. Otherwise it is trained as it was sampled.
        swap: The first right answer of a repeat takes the place of a failed member of the first try, the last one, and
            the repeats leave; otherwise each repeat is a group of its own.
        places: Places of guidance that the method is defined for, of ``answer``, ``prompt`` and ``hint``; empty: any.

    Raises:
        ConfigurationError: the shares or places break their rule; when an agent is made, or at the first update,
            guidance stands elsewhere, or ``train_plain`` comes with guidance in answers.
    """

    stages: tuple[float, ...] = (0.25, 0.5, 0.75)
    train_plain: bool = False
    swap: bool = False
    places: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_types(self)
        object.__setattr__(self, "stages", check_rising_shares("stages", self.stages))
        object.__setattr__(self, "places", check_names("places", self.places, PLACES))

    @property
    def requires(self) -> frozenset[str]:
        """A guidance wrapper that says where guidance stands, where that matters."""
        return frozenset({"guidance"} if self.train_plain or self.places else ())

    def check_guidance(self, guidance: Any) -> None:
        """Raise ConfigurationError where guidance stands in a place that the method is not defined for."""
        self._check_place(guidance.place)

    def _check_place(self, place: Placement) -> None:
        if self.train_plain and isinstance(place, InAnswer):
            raise ConfigurationError(
                f"train_plain=True needs guidance in the prompt, got place={place}: no answer can be trained without "
                "its own beginning"
            )
        check_place(place, self.places)

    def __call__(self, policy: SamplingPolicy, envs: Any) -> Groups:
        """Return the groups of one update, first those of all lanes, then those sampled again."""
        base, guidance = token_vector_env(envs), find_guidance(envs)
        place = InAnswer() if guidance is None else guidance.place
        self._check_place(place)
        share_of = SHARE_OF["tokens" if guidance is None else guidance.unit]
        first = collect(policy, envs)
        everything = Groups(first)
        failed = {block: group for block, group in enumerate(first) if is_all_wrong(group)}
        for number, stage in enumerate(self.stages, 1):
            if not failed:
                break
            mask = np.zeros(base.num_envs, bool)
            problems, reveal = np.full(base.num_envs, None, object), np.zeros(base.num_envs)
            for block, group in failed.items():
                lanes = slice(block * base.group_size, (block + 1) * base.group_size)
                mask[lanes], problems[lanes] = True, group.problem_id
                reveal[lanes] = share_of(base.task.lookup(group.problem_id).text(place.what), stage)
            sampled = collect(policy, envs, options={"reset_mask": mask, "problem": problems, "reveal": reveal})
            again = [self._repeat(group, base.task, number) for group in sampled]
            if self.swap:
                everything = swap(everything, dict(zip(failed, again, strict=True)))
            else:
                everything.extend(again)
            failed = {block: group for block, group in zip(failed, again, strict=True) if is_all_wrong(group)}
        return everything

    def _repeat(self, group: Group, task: Task, stage: int) -> Group:
        """Return a group that was sampled again, with its stage and the context that it is trained in."""
        changes: dict[str, Any] = {"stage": stage}
        if self.train_plain:
            changes["train_prefix"] = task.lookup(group.problem_id).prompt_T
        return Group(tuple(dataclasses.replace(episode, **changes) for episode in group.episodes))


def swap(groups: Groups, repeats: dict[int, Group]) -> Groups:
    """Return the groups, the first right answer of each repeat in the place of its group's last member.

    Args:
        groups: All groups.
        repeats: Place of a group -> its repeat; one without a right answer changes nothing.
    """
    mixed = Groups(groups, left_out=groups.left_out)
    for place, repeat in repeats.items():
        right = next((episode for episode in repeat.episodes if episode.valid and episode.correct), None)
        mixed.left_out += [episode for episode in repeat.episodes if episode is not right]
        if right is not None:
            *others, last = groups[place].episodes
            mixed[place] = Group((*others, dataclasses.replace(right, group=last.group, member=last.member)))
            mixed.left_out.append(last)
    return mixed


def is_all_wrong(group: Group) -> bool:
    """Whether a group was graded and has no right answer."""
    return any(e.valid for e in group.episodes) and not any(e.correct for e in group.episodes)
