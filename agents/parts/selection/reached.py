"""Reached: each answer under the level of reward that it has reached, as rows to learn from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.agents.parts.strategies.conditioned import Conditioned
from g2rpo_env.episode import Episode, Group, Groups, Role
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.task import Task


@dataclass(frozen=True)
class Reached:
    """The training rows of a generative actor-critic: every answer counts as an example of the level that it reached.

    For an answer y to x with reward R and the level l that R reaches:

    - the actor's row is x (role 0), l (role 0, or 1 with ``prior``), y (role 2). Its loss is -log p(y | x, l), with
      ``prior`` less w log p(l | x) as well;
    - the critic's row, with ``critic``, is x (role 0), y (role 3: read and not trained), l (role 1). Its loss is
      -w log p(l | x, y). Its reward is 1, whatever R is, so that an advantage that leans towards successes does not
      lean the critic.

    w is the weight of role 1, see :class:`~g2rpo_env.agents.parts.token_weights.ByRole`. The rows of a group are one
    group, those of the critic last. Recorded log-probabilities of the answer are kept, though they are those under the
    level that it was sampled under: the loss must not use them, as ``LogLikelihood`` does not. Revealed tokens, and
    what an environment writes, are read and not trained.

    Source: see :class:`~g2rpo_env.agents.parts.strategies.Conditioned`.

    Args:
        conditioned: That of the strategy: levels and their text.
        prior: Learn the level where the prompt ends, too. A policy that writes a level there answers no bare prompt any
            more, nor one of an evaluation without a level.
        critic: Make the critic's rows.

    Raises:
        ConfigurationError: ``conditioned`` is something else, or not that which answers were sampled under.
    """

    conditioned: Conditioned = field(default_factory=Conditioned)
    prior: bool = False
    critic: bool = False

    requires = frozenset({"task"})

    def __post_init__(self) -> None:
        check_types(self)
        if not isinstance(self.conditioned, Conditioned):
            raise ConfigurationError(f"conditioned={self.conditioned!r} must be a Conditioned, that of the strategy")

    def __call__(self, groups: Groups, reward_PG: list[np.ndarray], *, task: Task) -> tuple[Groups, list[np.ndarray]]:
        """Return the rows and their rewards."""
        rows, rewards = Groups(), []
        levels = self.conditioned.encode_levels(task)
        for group, reward_G in zip(groups, reward_PG, strict=True):
            prompt_T = task.lookup(group.problem_id).prompt_T
            self._check_levels(group, prompt_T, levels)
            prompt = read_only(prompt_T, Role.PROMPT)
            reached = [levels[self.conditioned.find_reached(float(reward))] for reward in reward_G]
            pairs = list(zip(group.episodes, reached, strict=True))
            episodes = [self._make_actor(episode, prompt, level_T) for episode, level_T in pairs]
            if self.critic:
                episodes += [make_critic(episode, prompt, level_T) for episode, level_T in pairs]
                reward_G = np.concatenate([reward_G, np.ones(len(reward_G))])
            rows.append(Group(tuple(episodes)))
            rewards.append(reward_G)
        return rows, rewards

    def _make_actor(self, episode: Episode, prompt: Part, level_T: np.ndarray) -> Episode:
        """Return prompt, level, answer."""
        answer_T = episode.role_T != Role.PROMPT
        role_T = np.where(episode.role_T == Role.SAMPLED, Role.SAMPLED, Role.ENVIRONMENT)[answer_T]
        level = read_only(level_T, Role.REVEALED if self.prior else Role.PROMPT)
        return join_parts(episode, prompt, level, (episode.tokens_T[answer_T], role_T, episode.logprob_T[answer_T]))

    def _check_levels(self, group: Group, prompt_T: np.ndarray, levels: list[np.ndarray]) -> None:
        """Raise ConfigurationError where an answer was sampled under a level that is none of these."""
        known = [level_T.tolist() for level_T in levels]
        for episode in group.episodes:
            context_T = episode.tokens_T[episode.role_T == Role.PROMPT]
            rest = context_T[len(prompt_T) :].tolist()
            begins = np.array_equal(context_T[: len(prompt_T)], prompt_T) and not episode.guided
            if begins and rest and rest not in known:
                raise ConfigurationError(
                    f"conditioned={self.conditioned} must be that of the strategy: an answer was sampled in another "
                    "context"
                )


Part = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Tokens, their roles and their log-probabilities, (T,) each."""


def read_only(tokens_T: np.ndarray, role: Role) -> Part:
    """Return tokens that nobody sampled here."""
    return tokens_T, np.full(len(tokens_T), role, np.int8), np.zeros(len(tokens_T), np.float32)


def make_critic(episode: Episode, prompt: Part, level_T: np.ndarray) -> Episode:
    """Return prompt, answer, level."""
    answer = read_only(episode.tokens_T[episode.role_T != Role.PROMPT], Role.ENVIRONMENT)
    return join_parts(episode, prompt, answer, read_only(level_T, Role.REVEALED))


def join_parts(episode: Episode, *parts: Part) -> Episode:
    """Return an episode with other tokens."""
    tokens, roles, log_probs = zip(*parts, strict=True)
    return dataclasses.replace(
        episode,
        tokens_T=np.concatenate(tokens).astype(np.int32),
        role_T=np.concatenate(roles).astype(np.int8),
        logprob_T=np.concatenate(log_probs).astype(np.float32),
        reveal=0,
        parent=None,
        train_prefix=None,
    )
