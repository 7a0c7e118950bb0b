"""Protocols: the methods that a policy must have, for those who bring one that is not a :class:`CausalLMPolicy`.

Rollouts and evaluations ask for a :class:`SamplingPolicy`, training for a :class:`Policy`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from g2rpo_env.agents.policy.scoring import TokenStates
from g2rpo_env.episode import Episode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class LaneDecoder(Protocol):
    """Next-token logits for the lanes of a vector environment: the state that a policy has in one rollout."""

    def advance(self, tokens_NL: np.ndarray, length_N: np.ndarray, lanes: np.ndarray) -> torch.Tensor:
        """Take the new tokens of some lanes and return the logits after each one's last token.

        Args:
            tokens_NL: int, contexts of all lanes, padded on the right.
            length_N: int (N,), their lengths.
            lanes: int (K,), the lanes that need a token; each has at least one new token since it last did.

        Returns:
            Raw logits (K, V) or wider, in the order of ``lanes``; the next call may overwrite them.
        """

    def restart(self, lanes: np.ndarray) -> None:
        """Forget the tokens of lanes that have begun another episode."""


class SamplingPolicy(Protocol):
    """A policy that episodes can be sampled with: all that ``collect`` and ``evaluate`` ask for.

    A decoder gives logits, :meth:`sampling_log_probs` makes a distribution of them, and the rollout draws from that, by
    the random stream of each episode. A policy may have ``end_tokens``, token ids of which each ends an answer:
    rollouts add them to those of the environment. Where ``samples_as_trained`` is true, a token's log-probability
    in the rollout is that in training, which then needs no forward pass of its own.
    """

    def check_fits(self, envs: Any) -> None:
        """Raise unless the policy can write into an environment.

        Raises:
            VocabularyMismatchError: their tokens differ.
            BudgetError: an episode is longer than the policy can read.
        """

    def decoder(self, num_lanes: int) -> LaneDecoder:
        """Return the state of a new rollout over lanes that hold no token yet."""

    def keep(self, decoder: Any) -> None:
        """Take back the decoder of a rollout that is over, for the next one; a policy may ignore it."""

    def sampling_log_probs(self, logits: torch.Tensor) -> torch.Tensor:
        """Return log-probabilities of the distribution that tokens are drawn from, (..., V), from raw logits."""


class Policy(SamplingPolicy, Protocol):
    """A policy that is trained: all that GRPO and its parts ask for besides sampling."""

    @property
    def model(self) -> torch.nn.Module:
        """The weights: those that require a gradient are trained."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer of the environments that the policy is used with."""

    @property
    def temperature(self) -> float:
        """Temperature of the distribution that is trained."""

    @property
    def device(self) -> torch.device:
        """Device of the weights."""

    def to(self, device: str | torch.device | None = None, dtype: str | None = None) -> Policy:
        """Move the weights in place and return the policy; None leaves device or dtype as it is."""

    def token_log_probs(
        self,
        tokens_NT: torch.Tensor,
        mask_NT: torch.Tensor,
        where_NT: torch.Tensor | None = None,
        *,
        model: Any = None,
    ) -> torch.Tensor:
        """Return the log-probability of each token given those before it, (N, T), with gradients.

        Args:
            tokens_NT: int64, right-padded.
            mask_NT: bool, True where there is a token.
            where_NT: bool, the tokens that are asked for; None for all. The others get 0, and so does the first.
            model: Another model, such as a reference; None for the policy's own. Given only where a part requires
                reference log-probabilities.
        """

    def token_entropies(self, tokens_NT: torch.Tensor, mask_NT: torch.Tensor, where_NT: torch.Tensor) -> torch.Tensor:
        """Return the entropy of the trained distribution at each token, in nats, (N, T), no gradient.

        Arguments as of :meth:`token_log_probs`.
        """

    def token_scores(
        self, tokens_NT: torch.Tensor, mask_NT: torch.Tensor, where_NT: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log-probabilities and entropies of tokens, (N, T) each, with gradients; for regularizers."""

    def token_states(
        self, episodes: Sequence[Episode], every_column: bool = False, rows: int | None = None
    ) -> list[TokenStates]:
        """Return how the model came to the sampled tokens of some episodes; for parts that require ``states``.

        Args:
            episodes: Episodes; residuals have a column for each token that any of them sampled.
            every_column: Whether residuals have a column for every token of the vocabulary.
            rows: Most episodes that go through the model together, >= 1; None for all.
        """

    def save_pretrained(self, folder: str | Path) -> None:
        """Write weights and tokenizer into a folder."""

    def to_config(self) -> dict[str, Any]:
        """Return the options of the policy as plain data, without its weights."""
