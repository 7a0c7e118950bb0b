"""Scores: what the policy gives the tokens of finished episodes now, for records and viewers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from g2rpo_env.agents.batch import make_batch
from g2rpo_env.agents.policy.protocol import Policy
from g2rpo_env.episode import Episode, Role

WRITTEN = (Role.REVEALED, Role.SAMPLED)
"""Roles of the tokens that are scored; the policy neither writes nor is taught the others."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of the revealed and sampled tokens of one episode, in the context that it was sampled in.

    Attributes:
        written_T: bool (T,), the tokens that have scores.
        log_prob_T: float32 (T,), log-probability given the tokens before it; 0 elsewhere.
        entropy_T: float32 (T,), entropy of the distribution that it comes from, in nats; 0 elsewhere.
        likeliest: One per token: None, or (ids, log-probabilities) of the likeliest tokens in its place, falling;
            those of sampled tokens alone. Empty where none were asked for.
    """

    written_T: np.ndarray
    log_prob_T: np.ndarray
    entropy_T: np.ndarray
    likeliest: tuple[tuple[np.ndarray, np.ndarray] | None, ...] = ()


@torch.no_grad()
def score_episodes(policy: Policy, episodes: Sequence[Episode], top: int = 0, options: Any = None) -> list[Scores]:
    """Return the scores of episodes under a policy as it is now; no random stream is touched.

    Args:
        policy: The policy.
        episodes: The episodes; they go through the policy together.
        top: Number of likeliest tokens per sampled token, >= 0; a second forward pass, which needs a policy whose model
            is a causal LM of transformers. Others have none.
        options: The :class:`~g2rpo_env.agents.recipe.Optimizer` whose limits of a forward pass hold; None for none.
    """
    written = [np.isin(episode.role_T, WRITTEN) for episode in episodes]
    for written_T in written:
        written_T[:1] = False  # the first token of a context comes from no distribution
    found = [Scores(one, np.zeros(len(one), np.float32), np.zeros(len(one), np.float32)) for one in written]
    if not any(one.any() for one in written):
        return found
    limits = getattr(options, "microbatch", None), getattr(options, "microbatch_tokens", None)
    rows = [replace(episode, train_prefix=None) for episode in episodes]
    where = [written_T.astype(np.float32) for written_T in written]
    batch = make_batch(rows, np.zeros(len(rows)), where, policy.device)
    devices = [policy.device] if policy.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        for part, row_N in batch.passes(*limits):
            scored = policy.token_scores(part.tokens_NT, part.mask_NT, part.weight_NT > 0)
            log_prob_NT, entropy_NT = (values.float().cpu().numpy() for values in scored)
            for line, row in enumerate(row_N.tolist()):
                size = len(written[row])
                found[row] = Scores(written[row], log_prob_NT[line, :size], entropy_NT[line, :size])
        if top and hasattr(policy.model, "get_output_embeddings"):
            for row, episode in enumerate(episodes):
                found[row] = replace(found[row], likeliest=find_likeliest(policy, episode, written[row], top))
    return found


def find_likeliest(
    policy: Policy, episode: Episode, written_T: np.ndarray, top: int
) -> tuple[tuple[np.ndarray, np.ndarray] | None, ...]:
    """Return (ids, log-probabilities) of the likeliest tokens in the place of each sampled token, None elsewhere."""
    place_M = np.flatnonzero(written_T & episode.sampled_T)
    found: list[tuple[np.ndarray, np.ndarray] | None] = [None] * len(written_T)
    if not len(place_M):
        return tuple(found)
    tokens_1T = torch.from_numpy(np.asarray(episode.tokens_T, np.int64))[None].to(policy.device)
    logits_TV = policy.model(input_ids=tokens_1T, use_cache=False).logits[0]
    size = getattr(policy, "vocab_size", logits_TV.shape[-1])
    logits_MV = logits_TV[torch.from_numpy(place_M - 1).to(policy.device), :size].float()
    values_MK, ids_MK = torch.log_softmax(logits_MV / policy.temperature, -1).topk(min(top, size), -1)
    for place, ids_K, values_K in zip(place_M.tolist(), ids_MK.cpu().numpy(), values_MK.cpu().numpy(), strict=True):
        found[place] = ids_K, values_K
    return tuple(found)
