"""Rollout: the policy drives the environment token by token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode

from g2rpo_env.agents.policy.protocol import SamplingPolicy
from g2rpo_env.agents.policy.sampling import draw
from g2rpo_env.episode import Episode, Groups, group_episodes
from g2rpo_env.errors import BudgetError, ConfigurationError, NonFiniteError
from g2rpo_env.streams import Seed, stream
from g2rpo_env.vector import TokenVectorEnv


@torch.inference_mode()
def collect(
    policy: SamplingPolicy,
    envs: Any,
    *,
    greedy: bool = False,
    seed: int | None = None,
    options: dict[str, Any] | None = None,
    groups: int | None = None,
    refill: bool = True,
    stage: int = 0,
    on_step: Callable[[int], None] | None = None,
) -> Groups:
    """Sample episodes to their ends and return the groups: one episode per lane, or more of them than lanes.

    The tokens of an episode come from a random stream keyed by (root seed, group, member): they depend neither on
    the number of lanes nor on their order, nor on ``refill``. An answer ends at the end tokens of the environment and
    at those of the policy, which the environment keeps, see :func:`fit_policy`.

    Args:
        policy: The policy.
        envs: A TokenVectorEnv, wrapped or not, with autoreset_mode DISABLED.
        greedy: Take the likeliest token instead of sampling.
        seed: New root seed of the environment; None continues its seeded order of problems.
        options: Reset options, without ``groups``.
        groups: Number of groups, >= 1; their members wait for a lane. None resets all lanes once.
        refill: A lane that has finished takes the next waiting member at once; False waits until all have finished.
        stage: Of a strategy that samples the same groups several times, >= 0: from 1 on it is part of the key of the
            random streams, so that a group that is sampled again gets other numbers, and the episodes say it.
        on_step: Called after each step of the lanes with the number of steps so far, to show progress.

    Raises:
        ConfigurationError: the environment restarts lanes by itself, or ``groups`` breaks its rule.
        VocabularyMismatchError, BudgetError: policy and environment do not fit.
        NonFiniteError: the policy's logits are NaN or infinite.
    """
    base = token_vector_env(envs)
    fit_policy(policy, envs)
    feed = _Feed(envs, base, groups, seed, options)
    observation, info = feed.first()
    recorder = EpisodeRecorder(base, stage)
    decoder = policy.decoder(base.num_envs)
    uniforms = np.zeros((base.num_envs, base.task.max_new_tokens))
    actions = np.zeros(base.num_envs, np.int64)
    steps = np.zeros(base.num_envs, np.int64)
    running = np.zeros(base.num_envs, np.bool_)
    started = feed.started
    done = 0
    while True:
        if len(started):
            recorder.begin(started, info)
            running[started], steps[started] = True, 0
            if not greedy:
                uniforms[started] = [recorder.uniforms(int(lane)) for lane in started]
        lanes = np.flatnonzero(running)
        if not len(lanes):
            policy.keep(decoder)
            groups_found = group_episodes(recorder.episodes)
            groups_found.as_trained = getattr(policy, "samples_as_trained", False)
            return groups_found
        logits = decoder.advance(observation["tokens"], observation["length"][:, 0], lanes)
        log_probs = policy.sampling_log_probs(logits)
        try:
            chosen, picked = draw(log_probs, None if greedy else uniforms[lanes, steps[lanes]])
        except NonFiniteError:
            raise NonFiniteError(recorder.not_finite(lanes, steps, log_probs)) from None
        actions[lanes] = chosen
        recorder.record(lanes, observation["length"][lanes, 0], picked)
        steps[lanes] += 1
        observation, reward, terminated, truncated, info = envs.step(actions)
        done += 1
        if on_step is not None:
            on_step(done)
        finished = np.flatnonzero((terminated | truncated) & running)
        started = finished[:0]
        if len(finished):
            recorder.finish(finished, reward, terminated, info)
            running[finished] = False
            if feed.waiting and (refill or not running.any()):
                observation, info = feed.next(np.flatnonzero(~running))
                started = feed.started
                decoder.restart(started)


def fit_policy(policy: SamplingPolicy, envs: Any) -> None:
    """Check that a policy fits an environment, and let the policy's end tokens end answers there from now on.

    Args:
        policy: The policy; one without ``end_tokens`` adds none.
        envs: An environment, wrapped or not.

    Raises:
        VocabularyMismatchError, BudgetError: policy and environment do not fit.
    """
    policy.check_fits(envs)
    envs.unwrapped.add_end_tokens(getattr(policy, "end_tokens", ()))


def make_room(policy: SamplingPolicy | None, envs: Any, room: int, reason: str) -> None:
    """Lengthen the contexts of an environment where a strategy puts more into them than the prompt.

    Args:
        policy: The policy, which must be able to read the longer contexts. None: ask the task alone, change nothing.
        envs: A TokenVectorEnv, wrapped or not.
        room: Tokens of context beyond those of prompt and solution.
        reason: What needs them, an argument with its value, for the message.

    Raises:
        BudgetError: the contexts would be longer than the policy can read, or than ``max_length`` of the task allows.
    """
    base = token_vector_env(envs)
    before = base.task
    try:
        if policy is None:
            before.with_room(room)
            return
        base.make_room(room)
        if base.task is not before:
            policy.check_fits(envs)
    except BudgetError as error:
        raise BudgetError(f"{reason} must fit with contexts that are {room} tokens longer: {error}") from None


class _Feed:
    """Starts episodes: all lanes at once, or the members of ``groups`` one after the other as lanes become free."""

    def __init__(
        self, envs: Any, base: TokenVectorEnv, groups: int | None, seed: int | None, options: dict[str, Any] | None
    ) -> None:
        self.envs, self.lanes, self.seed, self.options = envs, base.num_envs, seed, options
        self.started = np.arange(base.num_envs)
        self.waiting: list[tuple[int, int]] | None = None
        if groups is not None:
            if groups < 1:
                raise ConfigurationError(f"groups={groups} must be None or at least 1")
            if options:
                raise ConfigurationError("options must be None with groups: lanes take whatever member is next")
            numbers = base.take_groups(groups, seed=seed)
            self.waiting = [(group, member) for group in numbers for member in range(base.group_size)]
            self.waiting.reverse()  # taken from the end

    def first(self) -> tuple[Any, dict[str, Any]]:
        if self.waiting is not None:
            return self.next(self.started)
        observation, info = self.envs.reset(seed=self.seed, options=self.options)
        self.started = np.flatnonzero(info["_group"])  # all lanes, or those of a reset_mask among the options
        return observation, info

    def next(self, free: np.ndarray) -> tuple[Any, dict[str, Any]]:
        """Start waiting members in free lanes; ``started`` says in which."""
        assert self.waiting is not None
        self.started = free[: len(self.waiting)]
        mask = np.zeros(self.lanes, np.bool_)
        group, member = np.zeros(self.lanes, np.int64), np.zeros(self.lanes, np.int64)
        mask[self.started] = True
        for lane in self.started:
            group[lane], member[lane] = self.waiting.pop()
        return self.envs.reset(options={"reset_mask": mask, "group": group, "member": member})


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


def sampling_stream(root: Seed, group: int, member: int, stage: int = 0) -> np.random.Generator:
    """Return the stream that the tokens of one episode are sampled from; stage 0 is in no key."""
    return stream(root, "sample", group, member, *([stage] if stage else []))


COLUMNS = ("problem_id", "group", "member", "reveal_length")
"""Keys of the reset info that a record takes."""


class EpisodeRecorder:
    """Collects log-probabilities while lanes run and makes an Episode of each when it ends.

    Args:
        base: The environment whose lanes are recorded.
        stage: Of the rollout, see :func:`collect`.

    Raises:
        ConfigurationError: ``stage`` is negative.
    """

    def __init__(self, base: TokenVectorEnv, stage: int = 0) -> None:
        if stage < 0:
            raise ConfigurationError(f"stage={stage} must be at least 0")
        self.base, self.stage = base, stage
        self.log_probs = np.zeros((base.num_envs, base.task.length), np.float32)  # (N, L)
        self.starts: list[dict[str, Any]] = [{} for _ in range(base.num_envs)]
        self.episodes: list[Episode] = []

    def begin(self, lanes: np.ndarray, info: dict[str, Any]) -> None:
        """Note which episodes lanes have begun, given the info of their reset."""
        self.log_probs[lanes] = 0.0
        for lane in lanes:
            self.starts[lane] = {key: info[key][lane] for key in COLUMNS}

    def uniforms(self, lane: int) -> np.ndarray:
        """Return one number per step for the episode of a lane, float64 (budget,), from the episode's own stream."""
        start = self.starts[lane]
        generator = sampling_stream(self.base.root_seed, int(start["group"]), int(start["member"]), self.stage)
        return generator.random(self.base.task.max_new_tokens)

    def record(self, lanes: np.ndarray, position: np.ndarray, log_probs: np.ndarray) -> None:
        """Note the log-probabilities of the tokens that lanes write at ``position``."""
        self.log_probs[lanes, position] = log_probs

    def not_finite(self, lanes: np.ndarray, steps: np.ndarray, log_probs: torch.Tensor) -> str:
        """Return the message for logits that are not finite: whose they are, and at which step."""
        row = int(torch.nonzero(~torch.isfinite(log_probs.max(-1).values))[0])
        start = self.starts[lanes[row]]
        return (
            f"the policy's logits are NaN or infinite at step {int(steps[lanes[row]])} of the episode with "
            f"problem_id={start['problem_id']!r}, group={int(start['group'])}, member={int(start['member'])}"
        )

    def finish(self, lanes: np.ndarray, reward: np.ndarray, terminated: np.ndarray, info: dict[str, Any]) -> None:
        """Make episodes of lanes that have ended, given what their last step returned."""
        for lane in lanes:
            tokens_T, role_T = self.base.episode_tokens(lane)
            start = self.starts[lane]
            self.episodes.append(
                Episode(
                    tokens_T=tokens_T,
                    role_T=role_T,
                    logprob_T=self.log_probs[lane, : len(tokens_T)].copy(),
                    problem_id=str(start["problem_id"]),
                    group=int(start["group"]),
                    member=int(start["member"]),
                    seed=self.base.root_seed,
                    reveal=int(start["reveal_length"]),
                    reward=float(reward[lane]),
                    verdict=info["verdict"][lane],
                    valid=bool(info["valid"][lane]),
                    terminated=bool(terminated[lane]),
                    truncated=not terminated[lane],
                    stage=self.stage,
                )
            )
