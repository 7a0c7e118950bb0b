"""Episode and Group: the frozen records that pass from rollouts to algorithms, files and viewers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from g2rpo_env.errors import ConfigurationError
from g2rpo_env.verdict import Outcome, Verdict

RECORD_VERSION = 1
"""Version of the records that :meth:`Episode.to_record` makes; those of run folders have more fields, and version 2."""
READ_VERSIONS = (1, 2)


class Role(IntEnum):
    """Author of a token. The three masks of the library derive from roles and are never mixed.

    Attention sees every role. The loss takes ``SAMPLED`` (and ``REVEALED`` only on request). Statistics (lengths,
    entropies) count ``SAMPLED``.
    """

    PROMPT = 0
    REVEALED = 1
    SAMPLED = 2
    ENVIRONMENT = 3
    """Written by the environment after an action, such as feedback on a wrong answer."""


@dataclass(frozen=True, eq=False)
class Episode:
    """One finished episode.

    Attributes:
        tokens_T: int32 (T,), prompt included.
        role_T: int8 (T,), a :class:`Role` per token.
        logprob_T: float32 (T,), log-probability under the sampling distribution where sampled, 0 elsewhere.
        problem_id: The problem.
        group: Number of the group, increasing over the life of the environment.
        member: Position in the group, 0..G-1.
        seed: Root seed of the environment.
        reveal: Number of revealed tokens.
        reward: Terminal reward, finite.
        verdict: Verdict of the verifier.
        valid: False if the verifier failed; algorithms drop such episodes.
        terminated: The policy ended its answer.
        truncated: The budget of sampled tokens was spent.
        stage: Stage of a rollout strategy that samples in several; 0 otherwise.
        parent: (group, member, position) that this episode branched from, or None; the tokens before that position are
            those of the other episode.
        train_prefix: Context that replaces the tokens before the first sampled one in training, or None.
    """

    tokens_T: np.ndarray
    role_T: np.ndarray
    logprob_T: np.ndarray
    problem_id: str
    group: int
    member: int
    seed: Any
    reveal: int
    reward: float
    verdict: Verdict
    valid: bool = True
    terminated: bool = True
    truncated: bool = False
    stage: int = 0
    parent: tuple[int, int, int] | None = None
    train_prefix: np.ndarray | None = None

    def __post_init__(self) -> None:
        shape = self.tokens_T.shape
        if self.role_T.shape != shape or self.logprob_T.shape != shape or len(shape) != 1:
            raise ConfigurationError(
                f"tokens_T {shape}, role_T {self.role_T.shape} and logprob_T {self.logprob_T.shape} "
                "must have one shape (T,)"
            )

    @property
    def sampled_T(self) -> np.ndarray:
        """bool (T,), the tokens that the policy wrote."""
        return self.role_T == Role.SAMPLED

    @property
    def own_tokens(self) -> int:
        """Number of tokens that the policy wrote for this episode: those before the place where it branched from
        another one were written for that one.
        """
        first = 0 if self.parent is None else self.parent[2]
        return int(self.sampled_T[first:].sum())

    @property
    def guided(self) -> bool:
        """Whether a part of the solution was revealed."""
        return self.reveal > 0

    @property
    def correct(self) -> bool:
        """Whether the final answer is right."""
        return self.verdict.correct

    def to_record(self) -> dict[str, Any]:
        """Return the episode as plain data for JSON Lines (versioned, see :meth:`from_record`).

        Only sampled tokens have a log-probability; it is None for prompt, revealed and environment tokens.
        """
        verdict = asdict(self.verdict)
        del verdict["seconds"]  # records hold no clock times, so that equal runs write equal files
        return {
            "version": RECORD_VERSION,
            "tokens": self.tokens_T.tolist(),
            "roles": self.role_T.tolist(),
            "logprobs": [
                round(float(x), 6) if s else None for x, s in zip(self.logprob_T, self.sampled_T, strict=True)
            ],
            "problem_id": self.problem_id,
            "group": self.group,
            "member": self.member,
            "seed": self.seed,
            "reveal": self.reveal,
            "reward": self.reward,
            "verdict": verdict,
            "valid": self.valid,
            "terminated": self.terminated,
            "truncated": self.truncated,
            "stage": self.stage,
            "parent": list(self.parent) if self.parent else None,
            "train_prefix": None if self.train_prefix is None else self.train_prefix.tolist(),
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Episode:
        """Return the episode of a record, of :meth:`to_record` or of a run folder.

        Log-probabilities were rounded to 6 decimals, and are 0 where it has None.

        Raises:
            ConfigurationError: the record has another version.
        """
        if record.get("version") not in READ_VERSIONS:
            raise ConfigurationError(f"version={record.get('version')!r} of a rollout record must be 1 or 2")
        verdict = dict(record["verdict"])
        verdict["outcome"] = Outcome(verdict["outcome"])
        prefix = record["train_prefix"]
        plain = ("problem_id", "group", "member", "seed", "reveal", "reward", "valid")
        return cls(
            tokens_T=np.array(record["tokens"], np.int32),
            role_T=np.array(record["roles"], np.int8),
            logprob_T=np.array([x or 0.0 for x in record["logprobs"]], np.float32),
            verdict=Verdict(**verdict),
            parent=tuple(record["parent"]) if record["parent"] else None,
            train_prefix=None if prefix is None else np.array(prefix, np.int32),
            **{key: record[key] for key in (*plain, "terminated", "truncated", "stage")},
        )


@dataclass(frozen=True, eq=False)
class Group:
    """The episodes of one problem that are compared with each other, ordered by member."""

    episodes: tuple[Episode, ...]

    def __post_init__(self) -> None:
        if not self.episodes:
            raise ConfigurationError("a Group must hold at least one episode")
        if len({(e.group, e.problem_id) for e in self.episodes}) > 1:
            raise ConfigurationError("the episodes of a Group must share group and problem_id")

    @property
    def problem_id(self) -> str:
        """The problem all members worked on."""
        return self.episodes[0].problem_id

    @property
    def group(self) -> int:
        """Number of the group."""
        return self.episodes[0].group

    @property
    def reward_G(self) -> np.ndarray:
        """float64 (G,), rewards by member."""
        return np.array([e.reward for e in self.episodes], dtype=np.float64)

    def __len__(self) -> int:
        return len(self.episodes)


class Groups(list[Group]):
    """Groups in order, with the totals that budgets are counted in.

    Args:
        groups: The groups.
        left_out: Episodes that a strategy sampled and does not hand on to be learnt from, such as drafts. They cost
            tokens and say how able the policy is, so budgets, controllers and metrics see them.
        metrics: Name -> number, what a strategy has to say of an update; they go into its metrics.
        reused: Whether the groups were sampled for an earlier update: they cost no tokens again.
        as_trained: Whether the recorded log-probabilities are, up to rounding, those that the present policy is trained
            at: it has sampled the episodes itself, from its whole distribution.
    """

    def __init__(
        self,
        groups: Iterable[Group] = (),
        *,
        left_out: Iterable[Episode] = (),
        metrics: Mapping[str, float] | None = None,
        reused: bool = False,
        as_trained: bool = False,
    ) -> None:
        super().__init__(groups)
        self.left_out = list(left_out)
        self.metrics = dict(metrics or {})
        self.reused = reused
        self.as_trained = as_trained

    @property
    def episodes(self) -> list[Episode]:
        """All episodes, group by group, without those that were left out."""
        return [episode for group in self for episode in group.episodes]

    @property
    def sampled_episodes(self) -> list[Episode]:
        """All episodes, those that were left out last."""
        return [*self.episodes, *self.left_out]

    @property
    def left_out_tokens(self) -> int:
        """Number of tokens the policy wrote in episodes that were left out."""
        return sum(e.own_tokens for e in self.left_out)

    @property
    def sampled_tokens(self) -> int:
        """Number of tokens the policy wrote, left out or not: the budget that comparisons hold equal.

        What episodes share because one branched from the other counts once.
        """
        return 0 if self.reused else sum(e.own_tokens for e in self.sampled_episodes)

    @property
    def revealed_tokens(self) -> int:
        """Number of ground-truth tokens that were shown, to episodes that were left out too."""
        return 0 if self.reused else int(sum(e.reveal for e in self.sampled_episodes))


def group_episodes(episodes: Iterable[Episode]) -> Groups:
    """Return episodes as groups ordered by group number, members ordered inside."""
    by_group: dict[int, list[Episode]] = {}
    for episode in episodes:
        by_group.setdefault(episode.group, []).append(episode)
    return Groups(Group(tuple(sorted(by_group[number], key=lambda e: e.member))) for number in sorted(by_group))
