"""Strategies that take each group once: sampled through the environment, or revealed alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.agents.policy.protocol import SamplingPolicy
from g2rpo_env.agents.rollout import collect, token_vector_env
from g2rpo_env.episode import Episode, Groups, group_episodes
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.verdict import Outcome, Verdict


@dataclass(frozen=True)
class Rollout:
    """Episodes sampled through the environment, token by token.

    Args:
        groups: Groups per update; there may be more members than lanes. None: one episode per lane.
        refill: A lane that has finished takes the next waiting member at once, so that long answers do not hold up the
            rest; False waits until all lanes have finished. The tokens are the same, see
            :func:`~g2rpo_env.agents.rollout.collect`. No lane works ahead: an update gets its own groups, whole.

    Raises:
        ConfigurationError: ``groups`` is below 1.
    """

    groups: int | None = None
    refill: bool = True

    def __post_init__(self) -> None:
        check_types(self)
        if self.groups is not None and self.groups < 1:
            raise ConfigurationError(f"groups={self.groups} must be at least 1, or None")

    def __call__(self, policy: SamplingPolicy, envs: Any) -> Groups:
        """Return the groups of one update."""
        return collect(policy, envs, groups=self.groups, refill=self.refill)


@dataclass(frozen=True)
class RevealOnly:
    """No sampling: every guided lane gives its prompt and revealed tokens, unguided ones give nothing.

    What supervised training on "the same revealed tokens" learns from: with the seed and the reveal lengths of a guided
    run the environment shows exactly the tokens it showed there.
    """

    requires = frozenset({"guidance"})
    samples = False  # so that there is no success for a controller to follow

    def __call__(self, policy: SamplingPolicy, envs: Any) -> Groups:
        """Return the groups of one update, guided members only."""
        base = token_vector_env(envs)
        policy.check_fits(envs)
        _, info = envs.reset()
        episodes = []
        for lane in np.flatnonzero(info["reveal_length"] > 0):
            tokens_T, role_T = base.episode_tokens(int(lane))
            episodes.append(
                Episode(
                    tokens_T=tokens_T,
                    role_T=role_T,
                    logprob_T=np.zeros(len(tokens_T), np.float32),
                    problem_id=str(info["problem_id"][lane]),
                    group=int(info["group"][lane]),
                    member=int(info["member"][lane]),
                    seed=base.root_seed,
                    reveal=int(info["reveal_length"][lane]),
                    reward=0.0,
                    verdict=Verdict(Outcome.NO_ANSWER, message="nothing was sampled"),
                    terminated=False,
                    truncated=False,
                )
            )
        return group_episodes(episodes)
