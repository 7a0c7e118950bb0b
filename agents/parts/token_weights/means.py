"""Token weights: which tokens the loss counts, and how much. Numpy arrays, one episode at a time.

What a weight ``requires`` is computed for it and given by name: ``advantage`` (float, that of the episode) and
``entropy_T`` (float (T,), of the policy's distribution at each revealed token, 0 elsewhere).

The loss is sum(weight * term) / sum(weight) over the whole update, so the weights decide the normalisation too:
1 per token gives the token mean, 1/length the mean over episodes of their token means.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.agents.parts.token_weights.revealed import RevealFilter, get_filter
from g2rpo_env.episode import Episode, Role
from g2rpo_env.errors import ConfigurationError


def in_loss(episode: Episode, sampled: bool, revealed: bool) -> np.ndarray:
    """Return bool (T,), the tokens that count: those of the chosen roles. Prompts and environment tokens never do."""
    role_T = episode.role_T
    return ((role_T == Role.SAMPLED) & sampled) | ((role_T == Role.REVEALED) & revealed)


@dataclass(frozen=True)
class TokenMean:
    """Every counted token weighs 1 (DAPO's normalisation, arXiv 2503.14476).

    Args:
        sampled: Count the tokens that the policy wrote.
        revealed: Count the revealed tokens.
        which: Which of them: ``every`` one, those of episodes with ``positive`` advantage, the fifth of highest
            ``entropy``, or an object such as ``TopEntropy(0.5)``.
        truncated: Count the tokens of episodes that ran out of budget. False takes them out of the loss and of its
            denominator; their rewards stay in the means of their groups (DAPO's overlong filtering, TRL's
            ``mask_truncated_completions``).

    Raises:
        ConfigurationError: no token is left, or there is no such filter.
    """

    sampled: bool = True
    revealed: bool = False
    which: RevealFilter | str = "every"
    truncated: bool = True

    def __post_init__(self) -> None:
        check_types(self)
        if not (self.sampled or self.revealed):
            raise ConfigurationError("sampled=False and revealed=False leave no token for the loss")
        get_filter(self.which)

    @property
    def requires(self) -> frozenset[str]:
        """Requirements of the filter, if revealed tokens count."""
        return get_filter(self.which).requires if self.revealed else frozenset()

    def __call__(self, episode: Episode, **given: Any) -> np.ndarray:
        """Return weights, float32 (T,)."""
        counts_T = in_loss(episode, self.sampled, self.revealed)
        if episode.truncated and not self.truncated:
            counts_T[:] = False
        if self.revealed:
            counts_T &= (episode.role_T != Role.REVEALED) | get_filter(self.which)(episode, **given)
        return counts_T.astype(np.float32)


@dataclass(frozen=True)
class SequenceMean(TokenMean):
    """Every episode weighs 1, shared by its counted tokens (GRPO's normalisation, and the official G²RPO-A code's)."""

    def __call__(self, episode: Episode, **given: Any) -> np.ndarray:
        """Return weights, float32 (T,)."""
        weight_T = super().__call__(episode, **given)
        return weight_T / max(weight_T.sum(), 1.0)


@dataclass(frozen=True)
class SequenceSum(TokenMean):
    """Every counted token weighs 1 and every episode adds 1 to the denominator: the mean over episodes of their sums.

    Long answers weigh more than short ones, as in the likelihood of whole answers: REINFORCE and RLOO (arXiv
    2402.14740), LUSPO.
    """

    def count(self, weight_T: np.ndarray) -> float:
        """Return 1, what an episode adds to the denominator; 0 where ``truncated=False`` takes it out."""
        return 1.0 if self.truncated or weight_T.any() else 0.0


@dataclass(frozen=True)
class FixedLength(TokenMean):
    """Every counted token weighs 1 / length, and every episode adds 1 to the denominator, however long it is.

    Dr. GRPO's normalisation (arXiv 2503.20783): no answer's length changes how much one of its tokens weighs.

    Args:
        length: Tokens that every sum is divided by, > 0; None: most sampled tokens of an episode of the task.

    Raises:
        ConfigurationError: ``length`` breaks its rule.
    """

    length: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length is not None and not self.length > 0:
            raise ConfigurationError(f"length={self.length} must be None or above 0")

    @property
    def requires(self) -> frozenset[str]:
        """The budget of the task, where no length is given, and what the filter requires."""
        return super().requires | ({"budget"} if self.length is None else frozenset())

    def __call__(self, episode: Episode, **given: Any) -> np.ndarray:
        """Return weights, float32 (T,)."""
        length = given["budget"] if self.length is None else self.length
        return super().__call__(episode, **given) / np.float32(length)

    def count(self, weight_T: np.ndarray) -> float:
        """Return 1, what an episode adds to the denominator; 0 where ``truncated=False`` takes it out."""
        return 1.0 if self.truncated or weight_T.any() else 0.0


@dataclass(frozen=True)
class RisingMean(TokenMean):
    """Every episode weighs 1, shared by its counted tokens in rising shares: later tokens weigh more.

    The t-th counted token, from 0 on, has the share 1 + decay + ... + decay^t = (1 - decay^(t+1)) / (1 - decay),
    divided by the sum of all: the form of GRPO-lambda (arXiv 2510.00194, third-party text) that weighs tokens and
    traces no ratios. Decay 0 is ``SequenceMean``.

    Args:
        decay: Discount times lambda, in [0, 1]; at 1 the shares rise as 1, 2, 3.

    Raises:
        ConfigurationError: ``decay`` breaks its rule.
    """

    decay: float = 0.99

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.decay <= 1:
            raise ConfigurationError(f"decay={self.decay} must lie in [0, 1]")

    def __call__(self, episode: Episode, **given: Any) -> np.ndarray:
        """Return weights, float32 (T,)."""
        weight_T = super().__call__(episode, **given)
        place_K = np.flatnonzero(weight_T)  # K counted tokens
        share_K = np.cumsum(self.decay ** np.arange(len(place_K)))
        weight_T[place_K] = share_K / share_K.sum()
        return weight_T


@dataclass(frozen=True)
class ByRole:
    """Sampled tokens weigh ``answer``, tokens with the role of a reveal ``level``; the denominator is the sampled ones.

    For the rows of :class:`~g2rpo_env.agents.parts.selection.Reached`, in which the tokens of a trained level have that
    role: the weight of the level is relative to one sampled token, however many rows and levels there are.

    Args:
        answer: Weight of a sampled token, > 0.
        level: Weight of a token of a level, >= 0.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    answer: float = 1.0
    level: float = 0.1

    def __post_init__(self) -> None:
        check_types(self)
        if not 0 < self.answer < math.inf:
            raise ConfigurationError(f"answer={self.answer} must be finite and above 0")
        if not 0 <= self.level < math.inf:
            raise ConfigurationError(f"level={self.level} must be finite and at least 0")

    def __call__(self, episode: Episode) -> np.ndarray:
        """Return weights, float32 (T,)."""
        answer, level = np.float32(self.answer), np.float32(self.level)
        if level == answer:
            level = np.nextafter(level, np.float32(0))  # told apart from sampled tokens by its last bit, see count
        weight_T = np.where(in_loss(episode, sampled=True, revealed=False), answer, np.float32(0))
        return np.where(in_loss(episode, sampled=False, revealed=True), level, weight_T)

    def count(self, weight_T: np.ndarray) -> float:
        """Return the number of sampled tokens, what an episode adds to the denominator."""
        return float((weight_T == np.float32(self.answer)).sum())
