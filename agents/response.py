"""The guidance-response curve: how often a policy succeeds when a given fraction of the solution is revealed.

What guidance can do for a policy, measured before and after training, without training on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from g2rpo_env.agents.evaluation import StepReport, interval95
from g2rpo_env.agents.policy.protocol import SamplingPolicy
from g2rpo_env.agents.progress import Report
from g2rpo_env.agents.rollout import collect
from g2rpo_env.episode import Episode, Role
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.guidance import VectorGuidanceWrapper
from g2rpo_env.problem import distinct_ids
from g2rpo_env.reveal.plan import CAPS
from g2rpo_env.tokenizer import decode
from g2rpo_env.vector import TokenVectorEnv
from g2rpo_env.verdict import is_shown

FRACTIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
LANES = 128


@dataclass(frozen=True)
class ResponsePoint:
    """One point of the curve.

    Attributes:
        reveal_cap: A key of :data:`g2rpo_env.reveal.plan.CAPS`.
        fraction: Revealed share of what the cap lets be revealed, in [0, 1].
        success: Share of correct answers, sampled, one per problem.
        interval: Its 95 % interval.
        copied: Share of all answers that stand in the revealed text, see :func:`is_copied`.
        correct_copied: Share of all answers that are correct and stand in the revealed text; compare it with
            ``success`` to see how much of a success is copying.
        problems: Number of problems.
    """

    reveal_cap: str
    fraction: float
    success: float
    interval: tuple[float, float]
    copied: float
    correct_copied: float
    problems: int


def guidance_response(
    policy: SamplingPolicy,
    envs: Any,
    *,
    split: str = "test",
    problems: int = 128,
    fractions: Sequence[float] = FRACTIONS,
    caps: Sequence[str] = tuple(CAPS),
    seed: int = 0,
    progress: Report | None = None,
) -> list[ResponsePoint]:
    """Return the curve, one point per reveal cap and fraction, all on the same problems.

    Args:
        policy: The policy; it samples at its own temperature.
        envs: Any environment of the task; a new one is built on its task, ``envs`` itself is not touched.
        split: Split of the problems.
        problems: Number of distinct problems, one sample each.
        fractions: Fractions of the revealable part, in [0, 1].
        caps: Reveal caps.
        seed: Chooses the problems and the samples.
        progress: Told after each step of the answers how much is done.

    Raises:
        ConfigurationError: a fraction or a cap breaks its rule.
    """
    task = envs.unwrapped.task.with_split(split)
    ids = distinct_ids(task.source, problems, seed)
    points: list[ResponsePoint] = []
    lanes = min(LANES, len(ids))
    batches = -(-len(ids) // lanes)
    told = StepReport(progress, len(caps) * len(fractions) * batches, task.max_new_tokens)
    for cap in caps:
        for fraction in fractions:
            env = TokenVectorEnv(task, lanes, autoreset_mode="DISABLED", copy=False)
            guided = VectorGuidanceWrapper(env, length=fraction, unit="fraction", ratio=1.0, reveal_cap=cap)
            points.append(
                _point(cap, fraction, _answers(policy, guided, ids, seed, told, len(points) * batches), task.tokenizer)
            )
    return points


def _answers(
    policy: SamplingPolicy, env: Any, ids: list[str], seed: int, told: StepReport, first: int
) -> list[Episode]:
    lanes = env.unwrapped.num_envs
    env.reset(seed=seed)
    answers: list[Episode] = []
    for number, start in enumerate(range(0, len(ids), lanes), first):
        chunk = ids[start : start + lanes]
        padded = chunk + chunk[-1:] * (lanes - len(chunk))  # the last batch is filled up with repeats
        groups = collect(policy, env, options={"problem": padded}, on_step=told.of(number))
        answers += groups.episodes[: len(chunk)]
    return answers


def _point(cap: str, fraction: float, answers: list[Episode], tokenizer: Any) -> ResponsePoint:
    valid = [episode for episode in answers if episode.valid]
    if not valid:
        raise ConfigurationError(f"fraction={fraction}: the verifier failed on all {len(answers)} answers")
    correct = np.array([episode.correct for episode in valid], float)
    copied = np.array([is_copied(episode, tokenizer) for episode in valid], float)
    return ResponsePoint(
        reveal_cap=cap,
        fraction=float(fraction),
        success=float(correct.mean()),
        interval=interval95(correct),
        copied=float(copied.mean()),
        correct_copied=float((correct * copied).mean()),
        problems=len(valid),
    )


def is_copied(episode: Episode, tokenizer: Any) -> bool:
    """Whether the answer stands in the revealed text, see :func:`~g2rpo_env.verdict.is_shown`."""
    if not episode.reveal:
        return False
    return is_shown(episode.verdict.answer, decode(tokenizer, episode.tokens_T[episode.role_T == Role.REVEALED]))
