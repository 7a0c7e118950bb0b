"""Resampled: groups are drawn again until enough of them have both right and wrong answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.agents.parts.protocols import check_inner, get_requirements
from g2rpo_env.agents.parts.strategies.rollout import Rollout
from g2rpo_env.agents.policy.protocol import SamplingPolicy
from g2rpo_env.episode import Group, Groups
from g2rpo_env.errors import ConfigurationError


@dataclass(frozen=True)
class Resampled:
    """Dynamic sampling: another strategy draws until at least share P groups are mixed, P those of its first draw.

    A group is mixed where it has both right and wrong answers, by the verdict and not by the reward. At most ``most``
    draws are made. The first P mixed groups are kept, and with ``fill`` the last of the others in the place of those
    that are missing; they stand in the order in which they were drawn. All others are left out: budgets, metrics and
    controllers see them, so that nobody takes the success of mixed groups, near a half, for that of the policy.

    DAPO (arXiv 2503.14476, section 3.2; verl's ``filter_groups``, read): ``share=1, fill=False``. GPG (arXiv
    2504.02546; read in AMAP-ML/GPG e096da8, open-r1/src/open_r1/gpg_trainer.py lines 553-626): ``share=0.6``, its best
    setting, with ``fill``, and 20 draws at most.

    With ``share=0`` it is the inner strategy itself, and so it is with ``fill`` where the first draw is enough.
    Metrics: ``draws``, and ``mixed_share``, the share of mixed groups among all that were drawn.

    Deviations:

    1. Whole updates are drawn again, not as many groups as are missing: mixed groups beyond the first P are left out.
       GPG leaves out a surplus process by process.
    2. After the last draw the update has what there is, as in GPG; verl, as it is set, draws without end.

    Args:
        inner: Any strategy that takes new groups at every call.
        share: Share of P that must be mixed, in [0, 1].
        most: Most draws, >= 1.
        fill: Keep groups without signal in the place of mixed ones that are missing, so that an update always has P.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    inner: Any = field(default_factory=Rollout)
    share: float = 1.0
    most: int = 8
    fill: bool = True

    def __post_init__(self) -> None:
        check_types(self)
        check_inner(self.inner, "policy, envs")
        if not 0 <= self.share <= 1:
            raise ConfigurationError(f"share={self.share} must lie in [0, 1]")
        if self.most < 1:
            raise ConfigurationError(f"most={self.most} must be at least 1")

    @property
    def requires(self) -> frozenset[str]:
        """What the inner strategy requires."""
        return get_requirements(self.inner)

    @property
    def needs(self) -> frozenset[str]:
        """Groups of two or more, which can be mixed, and what the inner strategy needs of the environment."""
        return frozenset(getattr(self.inner, "needs", ())) | frozenset({"members"} if self.share > 0 else ())

    @property
    def context(self) -> Callable[..., np.ndarray] | None:
        """Tokens that evaluations start from, as the inner strategy says; None for the prompt."""
        return getattr(self.inner, "context", None)

    @property
    def takes_guidance(self) -> bool:
        """Whether answers can begin with revealed tokens, as the inner strategy says."""
        return bool(getattr(self.inner, "takes_guidance", True))

    @property
    def samples(self) -> bool:
        """Whether there are answers whose success a controller could follow, as the inner strategy says."""
        return bool(getattr(self.inner, "samples", True))

    def prepare(self, policy: SamplingPolicy | None, envs: Any) -> None:
        """Do what the inner strategy does when an agent is made."""
        prepare = getattr(self.inner, "prepare", None)
        if prepare is not None:
            prepare(policy, envs)

    def check_guidance(self, guidance: Any) -> None:
        """Raise ConfigurationError where the inner strategy refuses the settings of a guidance wrapper."""
        check = getattr(self.inner, "check_guidance", None)
        if check is not None:
            check(guidance)

    @property
    def warm_context(self) -> Callable[..., np.ndarray] | None:
        """Tokens that a base must have learnt to answer from, as the inner strategy says; None for no others."""
        return getattr(self.inner, "warm_context", None)

    def __call__(self, policy: SamplingPolicy, envs: Any) -> Groups:
        """Return the groups of one update."""
        first = self.inner(policy, envs)
        if self.share == 0:
            return first
        draws, due = [first], math.ceil(self.share * len(first) - 1e-9)
        while count_mixed(draws) < due and len(draws) < self.most:
            draws.append(self.inner(policy, envs))
        return self._join(draws)

    def _join(self, draws: Sequence[Groups]) -> Groups:
        """Return the groups that are kept of all draws, and the others as left out."""
        size, drawn = len(draws[0]), [group for draw in draws for group in draw]
        mixed = [place for place, group in enumerate(drawn) if is_mixed(group)]
        kept = set(mixed[:size])
        if self.fill:
            others = [place for place, group in enumerate(drawn) if not is_mixed(group)]
            kept.update(others[len(others) - (size - len(kept)) :])
        left_out = [e for place, group in enumerate(drawn) if place not in kept for e in group.episodes]
        return Groups(
            [group for place, group in enumerate(drawn) if place in kept],
            left_out=[*(e for draw in draws for e in draw.left_out), *left_out],
            metrics={
                **average_metrics(draws),
                "draws": float(len(draws)),
                "mixed_share": len(mixed) / max(len(drawn), 1),
            },
            reused=all(draw.reused for draw in draws),
        )


def is_mixed(group: Group) -> bool:
    """Whether a group has both right and wrong answers, as far as the verifier could say."""
    return len({e.correct for e in group.episodes if e.valid}) > 1


def count_mixed(draws: Sequence[Groups]) -> int:
    """Return the number of groups with both right and wrong answers."""
    return sum(is_mixed(group) for draw in draws for group in draw)


def average_metrics(draws: Sequence[Groups]) -> dict[str, float]:
    """Return the mean of each metric over the draws that have it."""
    names = dict.fromkeys(name for draw in draws for name in draw.metrics)
    return {name: float(np.mean([d.metrics[name] for d in draws if name in d.metrics])) for name in names}
