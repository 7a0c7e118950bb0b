"""Rollout: the policy drives the environment token by token. The only loop of the library that steps environments."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode

from g2rpo_env.agents.policy import CausalLMPolicy, choose
from g2rpo_env.episode import Episode, Groups, group_episodes
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.streams import Seed, stream
from g2rpo_env.vector import TokenVectorEnv


@torch.inference_mode()
def collect(
    policy: CausalLMPolicy,
    envs: Any,
    *,
    greedy: bool = False,
    seed: int | None = None,
    options: dict[str, Any] | None = None,
) -> Groups:
    """Reset all lanes, sample every episode to its end and return the groups.

    The tokens of an episode come from a random stream keyed by (root seed, group, member): they depend neither on
    the number of lanes nor on their order.

    Args:
        policy: The policy.
        envs: A TokenVectorEnv, wrapped or not, with autoreset_mode DISABLED.
        greedy: Take the likeliest token instead of sampling.
        seed: New root seed of the environment; None continues its seeded order of problems.
        options: Reset options.

    Raises:
        ConfigurationError: the environment restarts lanes by itself.
        VocabularyMismatchError, BudgetError: policy and environment do not fit.
        NonFiniteError: the policy's logits are NaN or infinite.
    """
    base = token_vector_env(envs)
    policy.check_fits(envs)
    observation, info = envs.reset(seed=seed, options=options)
    recorder = _Recorder(base, info)
    uniforms = None if greedy else _uniforms(base, recorder)
    decoder = policy.decoder(base.num_envs)
    actions = np.zeros(base.num_envs, np.int64)
    steps = np.zeros(base.num_envs, np.int64)
    lanes = np.flatnonzero(base.active)
    while len(lanes):
        log_probs = policy.log_probs(decoder.advance(observation["tokens"], observation["length"][:, 0], lanes))
        chosen = choose(log_probs, None if uniforms is None else uniforms[lanes, steps[lanes]])
        actions[lanes] = chosen.cpu().numpy()
        recorder.record(lanes, observation["length"][lanes, 0], log_probs.gather(1, chosen[:, None])[:, 0])
        steps[lanes] += 1
        observation, reward, terminated, truncated, info = envs.step(actions)
        recorder.finish(np.flatnonzero(terminated | truncated), reward, terminated, info)
        lanes = np.flatnonzero(base.active)
    return group_episodes(recorder.episodes)


def token_vector_env(envs: Any) -> TokenVectorEnv:
    """Return the TokenVectorEnv under the wrappers; raise unless its lanes wait when they are finished."""
    base = envs.unwrapped
    if not isinstance(base, TokenVectorEnv):
        raise ConfigurationError(f"envs must be built on a TokenVectorEnv, got {type(base).__name__}")
    if base.autoreset_mode is not AutoresetMode.DISABLED:
        raise ConfigurationError(
            f"autoreset_mode={base.autoreset_mode.name} must be DISABLED to collect whole groups "
            "(the default for group_size > 1; give autoreset_mode='DISABLED' for groups of one)"
        )
    return base


def _uniforms(base: TokenVectorEnv, recorder: _Recorder) -> np.ndarray:
    """Return one uniform number per lane and step, float64 (N, budget), each lane from its episode's stream."""
    root, budget = base.root_seed, base.task.max_new_tokens
    keys = zip(recorder.info["group"], recorder.info["member"], strict=True)
    return np.stack([sampling_stream(root, int(g), int(m)).random(budget) for g, m in keys])


def sampling_stream(root: Seed, group: int, member: int) -> np.random.Generator:
    """Return the stream that the tokens of one episode are sampled from."""
    return stream(root, "sample", group, member)


class _Recorder:
    """Collects log-probabilities while lanes run and makes an Episode of each when it ends."""

    def __init__(self, base: TokenVectorEnv, info: dict[str, Any]) -> None:
        self.base, self.info = base, info
        self.log_probs = np.zeros((base.num_envs, base.task.length), np.float32)
        self.episodes: list[Episode] = []

    def record(self, lanes: np.ndarray, position: np.ndarray, log_probs: torch.Tensor) -> None:
        self.log_probs[lanes, position] = log_probs.float().cpu().numpy()

    def finish(self, lanes: np.ndarray, reward: np.ndarray, terminated: np.ndarray, info: dict[str, Any]) -> None:
        for lane in lanes:
            tokens_T, role_T = self.base.episode_tokens(lane)
            self.episodes.append(
                Episode(
                    tokens_T=tokens_T,
                    role_T=role_T,
                    logprob_T=self.log_probs[lane, : len(tokens_T)].copy(),
                    problem_id=str(self.info["problem_id"][lane]),
                    group=int(self.info["group"][lane]),
                    member=int(self.info["member"][lane]),
                    seed=self.base.root_seed,
                    reveal=int(self.info["reveal_length"][lane]),
                    reward=float(reward[lane]),
                    verdict=info["verdict"][lane],
                    valid=bool(info["valid"][lane]),
                    terminated=bool(terminated[lane]),
                    truncated=not terminated[lane],
                )
            )
