"""Selections that make preference pairs: groups of two, the better one first, with a probability each as rewards.

The rewards (1 - e, e) say that the first one is better but for a doubt e; see
:class:`~g2rpo_env.agents.parts.losses.Preference`, which learns from them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from g2rpo_env.agents.batch import cut_context
from g2rpo_env.agents.parts.judges import AnswerJudge, Judged, StatedResult, ask_answers, check_judge
from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.episode import Episode, Group, Groups, Role
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.problem import Problem
from g2rpo_env.streams import stream

Pair = tuple[int, int]
"""Positions of the better and of the worse member in their group."""

NGRAM = 4
"""Tokens that must come again in a row to be a repetition."""

DOUBTS = ("posterior", "visits", "none")
"""Rules of doubt that :class:`StepPairs` knows."""


def check_most(most: int) -> None:
    """Raise ConfigurationError unless a number of pairs is at least 1."""
    if most < 1:
        raise ConfigurationError(f"most={most} must be at least 1")


def draw_order(group: Group) -> list[float]:
    """Return a random number per member, which decides between pairs that are as good, whatever the members' order."""
    return [float(stream(e.seed, "pair", e.group, e.member, e.stage).random()) for e in group.episodes]


def count_sampled(group: Group) -> list[int]:
    """Return the number of sampled tokens of each member."""
    return [int(e.sampled_T.sum()) for e in group.episodes]


def make_pairs(group: Group, pairs: Sequence[Pair]) -> tuple[list[Group], list[np.ndarray]]:
    """Return pairs without doubt as groups of two, and their rewards."""
    groups = [Group((group.episodes[better], group.episodes[worse])) for better, worse in pairs]
    return groups, [np.array([1.0, 0.0]) for _ in pairs]


# -- whole answers ----------------------------------------------------------------------------------------------------


def match_lengths(length_G: Sequence[int], right_G: Sequence[bool], order_G: Sequence[float], most: int) -> list[Pair]:
    """Return pairs of a right and a wrong answer, each in one pair at most, the nearest lengths first.

    Args:
        length_G: Tokens of each answer.
        right_G: Whether it is right.
        order_G: Numbers that decide between pairs of equal distance.
        most: Most pairs, >= 1.

    >>> match_lengths([10, 30, 12, 31], [True, True, False, False], [0.1, 0.2, 0.3, 0.4], 2)
    [(1, 3), (0, 2)]
    """
    members = range(len(length_G))
    nearest = sorted(
        (abs(length_G[i] - length_G[j]), order_G[i], order_G[j], i, j)
        for i in members
        for j in members
        if right_G[i] and not right_G[j]
    )
    pairs: list[Pair] = []
    used: set[int] = set()
    for *_, better, worse in nearest:
        if len(pairs) < most and not used & {better, worse}:
            pairs.append((better, worse))
            used |= {better, worse}
    return pairs


@dataclass(frozen=True)
class AnswerPairs:
    """A right and a wrong answer of a group as a pair; rewards (1, 0).

    Those whose numbers of sampled tokens are nearest first, greedily, each answer in one pair at most; the length then
    says least about which is right. Between pairs of equal distance a random stream decides. Groups with one kind of
    answer give no pair.

    Args:
        most: Most pairs of a group, >= 1.

    Raises:
        ConfigurationError: ``most`` is below 1.
    """

    most: int = 2

    needs = frozenset({"members"})

    def __post_init__(self) -> None:
        check_types(self)
        check_most(self.most)

    def __call__(self, groups: Groups, reward_PG: list[np.ndarray]) -> tuple[Groups, list[np.ndarray]]:
        """Return the pairs and their rewards."""
        pairs, rewards = Groups(), []
        for group in groups:
            right_G = [e.correct for e in group.episodes]
            found = match_lengths(count_sampled(group), right_G, draw_order(group), self.most)
            made, reward_P = make_pairs(group, found)
            pairs += made
            rewards += reward_P
        return pairs, rewards


# -- judged answers ---------------------------------------------------------------------------------------------------


def repetition(tokens_K: np.ndarray) -> float:
    """Return 1 - distinct runs of four tokens / all of them, in [0, 1); 0 for fewer than four tokens.

    >>> repetition(np.array([1, 2, 3, 4, 5])), repetition(np.array([7] * 8))
    (0.0, 0.8)
    """
    runs = [tuple(tokens_K[i : i + NGRAM].tolist()) for i in range(len(tokens_K) - NGRAM + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


@dataclass(frozen=True)
class JudgedPairs:
    """VerIPO's pairs of whole answers, from rules and a judge; rewards (1, 0).

    An answer is flawed if it is repetitive, shorter than ``shortest`` or cut off by its budget; it is good if it is
    right, not flawed and not judged inconsistent. Three families of pairs:

    - penalty: a good answer over a flawed one;
    - consistency: a good answer over a right one that is judged inconsistent;
    - reflection: a good answer that goes back on a step of its own over a wrong one.

    The pairs of all families whose ratio of lengths is nearest to 1 come first, a worse answer stands in one pair at
    most, a good one in any number. Between equal ratios a random stream decides. What a judge cannot say (None) makes
    no answer inconsistent, and none one that reflects.

    Source: VerIPO (arXiv 2505.19000): its README (HITsz-TMG/VerIPO 3b94024, which has no trainer) and public reviews.

    Deviations: 1. Thresholds, judge and the choice among pairs are ours. 2. Text alone, there with video.

    Args:
        judge: (problem, completions) -> one ``Judged`` per completion.
        repeat: Greatest share of repeated runs of four tokens of an answer that is not repetitive, in [0, 1].
        shortest: Fewest sampled tokens of a good answer, >= 0.
        most: Most pairs of a group, >= 1.

    Raises:
        ConfigurationError: an argument breaks its rule, or the judge returns something else, when it is asked.
    """

    judge: AnswerJudge = field(default_factory=StatedResult)
    repeat: float = 0.5
    shortest: int = 0
    most: int = 8

    requires = frozenset({"texts", "problem"})

    def __post_init__(self) -> None:
        check_types(self)
        check_judge(self.judge)
        if not 0 <= self.repeat <= 1:
            raise ConfigurationError(f"repeat={self.repeat} must lie in [0, 1]")
        if self.shortest < 0:
            raise ConfigurationError(f"shortest={self.shortest} must be at least 0")
        check_most(self.most)

    @property
    def needs(self) -> frozenset[str]:
        """Members to compare, and what the judge needs."""
        return frozenset({"members"}) | getattr(self.judge, "needs", frozenset())

    def __call__(
        self, groups: Groups, reward_PG: list[np.ndarray], *, completion_G: Sequence[str], problem: Sequence[Problem]
    ) -> tuple[Groups, list[np.ndarray]]:
        """Return the pairs and their rewards.

        Args:
            groups: The groups.
            reward_PG: Their rewards, which are not looked at.
            completion_G: The completions of all groups, group by group.
            problem: The problem of each group.
        """
        pairs, rewards, start = Groups(), [], 0
        for group, one in zip(groups, problem, strict=True):
            judged_G = ask_answers(self.judge, one, completion_G[start : start + len(group)])
            start += len(group)
            made, reward_P = make_pairs(group, self._choose(group, judged_G))
            pairs += made
            rewards += reward_P
        return pairs, rewards

    def _choose(self, group: Group, judged_G: Sequence[Judged]) -> list[Pair]:
        length_G, order_G = count_sampled(group), draw_order(group)
        candidates = sorted(
            (abs(math.log(max(length_G[i], 1) / max(length_G[j], 1))), order_G[i], order_G[j], i, j)
            for i, j in self.list_pairs(group.episodes, judged_G)
        )
        chosen: list[Pair] = []
        used: set[int] = set()
        for *_, better, worse in candidates:
            if len(chosen) < self.most and worse not in used:
                chosen.append((better, worse))
                used.add(worse)
        return chosen

    def list_pairs(self, episodes: Sequence[Episode], judged_G: Sequence[Judged]) -> list[Pair]:
        """Return all pairs of all families, each once.

        Args:
            episodes: The members of a group.
            judged_G: What the judge said of each.
        """
        members = range(len(episodes))
        right_G = [e.correct for e in episodes]
        flawed_G = [self.is_flawed(e) for e in episodes]
        wrong_reasons = [right_G[i] and judged_G[i].consistent is False for i in members]
        good_G = [right_G[i] and not flawed_G[i] and not wrong_reasons[i] for i in members]
        return [
            (i, j)
            for i in members
            for j in members
            if good_G[i] and (flawed_G[j] or wrong_reasons[j] or (judged_G[i].reflects is True and not right_G[j]))
        ]

    def is_flawed(self, episode: Episode) -> bool:
        """Whether an answer is repetitive, too short or cut off."""
        tokens_K = episode.tokens_T[episode.sampled_T]
        return bool(episode.truncated or len(tokens_K) < self.shortest or repetition(tokens_K) > self.repeat)


# -- steps ------------------------------------------------------------------------------------------------------------


def doubt_by_posterior(right: int, visits: int, other_right: int, other_visits: int) -> float:
    """Return P(the other one is better), the success of each Beta(1 + right, 1 + wrong), exact.

    Args:
        right: Right answers through the better step.
        visits: Answers through it.
        other_right: Right answers through the worse step.
        other_visits: Answers through it.

    >>> round(doubt_by_posterior(1, 1, 0, 1), 6), round(doubt_by_posterior(1, 2, 1, 2), 6)
    (0.166667, 0.5)
    """
    a, b, c, d = 1 + right, 1 + visits - right, 1 + other_right, 1 + other_visits - other_right
    # P(Y > X) for X ~ Beta(a, b) and Y ~ Beta(c, d), c a whole number, is the sum over i = 0..c - 1 of
    # B(a + i, b + d) / ((d + i) B(1 + i, d) B(a, b)).
    logs = [log_beta(a + i, b + d) - math.log(d + i) - log_beta(1 + i, d) - log_beta(a, b) for i in range(c)]
    return min(1.0, math.fsum(math.exp(value) for value in logs))


def log_beta(a: float, b: float) -> float:
    """Return the logarithm of the beta function."""
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def doubt_by_visits(visits: int, other_visits: int) -> float:
    """Return min(N_l / (N_l + max(1, N_w)), 1/2), N_w and N_l the visits of the better and the worse step.

    >>> doubt_by_visits(300, 100), doubt_by_visits(3, 3)
    (0.25, 0.5)
    """
    return min(other_visits / (other_visits + max(1, visits)), 0.5)


@dataclass
class Node:
    """A step of a tree of answers: the answers that begin with the same tokens up to its end.

    Attributes:
        episode: One of them, as it is trained: with its context for training.
        begin: Where the step begins in it.
        end: Where it ends.
        reward: Sum of their rewards.
        right: Number of those that are right.
        visits: Number of them.
    """

    episode: Episode
    begin: int
    end: int
    reward: float = 0.0
    right: int = 0
    visits: int = 0

    @property
    def value(self) -> float:
        """Mean reward."""
        return self.reward / self.visits

    @property
    def tokens(self) -> tuple[int, ...]:
        """Its tokens and those before them."""
        return tuple(self.episode.tokens_T[: self.end].tolist())


def as_trained(episode: Episode, end_T: np.ndarray) -> tuple[Episode, np.ndarray]:
    """Return an episode with its context for training as its prompt, and where its steps end, bool (T,)."""
    if episode.train_prefix is None:
        return episode, end_T
    tokens_T, role_T, log_prob_T, end_T = cut_context(episode, end_T)
    trained = replace(
        episode,
        tokens_T=tokens_T.astype(np.int32),
        role_T=role_T.astype(np.int8),
        logprob_T=log_prob_T.astype(np.float32),
        train_prefix=None,
    )
    return trained, end_T > 0


def find_steps(episode: Episode, end_T: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield where each sampled step of an episode begins and ends; what is left behind the last end is a step too.

    Args:
        episode: The episode.
        end_T: bool (T,), the last token of each step.
    """
    place_K = np.flatnonzero(episode.sampled_T)
    if not len(place_K):
        return
    begin, last = int(place_K[0]), int(place_K[-1])
    for place in np.flatnonzero(end_T & episode.sampled_T):
        yield begin, int(place) + 1
        begin = int(place) + 1
    if begin <= last:
        yield begin, last + 1


def grow_tree(episodes: Sequence[Episode], reward_G: np.ndarray, end_GT: Sequence[np.ndarray]) -> list[list[Node]]:
    """Return the steps that follow each point where answers branch or go on: lists of steps with one beginning.

    Args:
        episodes: Answers to one problem.
        reward_G: float (G,), their rewards.
        end_GT: bool (T,) each, the last token of each step.
    """
    following: dict[tuple[int, ...], dict[tuple[int, ...], Node]] = {}
    for episode, reward, end_T in zip(episodes, reward_G, end_GT, strict=True):
        trained, end_T = as_trained(episode, end_T)
        for begin, end in find_steps(trained, end_T):
            before = tuple(trained.tokens_T[:begin].tolist())
            step = tuple(trained.tokens_T[begin:end].tolist())
            node = following.setdefault(before, {}).setdefault(step, Node(trained, begin, end))
            node.reward += float(reward)
            node.right += trained.correct
            node.visits += 1
    return [list(steps.values()) for steps in following.values()]


def cut_step(node: Node) -> Episode:
    """Return an answer up to the end of a step; of what was written before it, nothing is trained."""
    episode, end = node.episode, node.end
    role_T = episode.role_T[:end].copy()
    role_T[: node.begin][role_T[: node.begin] != Role.PROMPT] = Role.ENVIRONMENT
    whole = end == len(episode.tokens_T)
    return replace(
        episode,
        tokens_T=episode.tokens_T[:end],
        role_T=role_T,
        logprob_T=np.where(role_T == Role.SAMPLED, episode.logprob_T[:end], np.float32(0)),
        terminated=whole and episode.terminated,
        truncated=whole and episode.truncated,
    )


@dataclass(frozen=True)
class StepPairs:
    """Two steps that go on from the same tokens as a pair, the one whose answers earned more as the better one.

    The answers of a group are a tree: its nodes are the token prefixes at the ends of their lines (and the ends of the
    answers), N the number of answers through a node, Q their mean reward. Wherever the steps that follow a node differ
    in Q, the best and the worst of them are a pair of episodes cut after that step, in which the step alone is trained:
    what was written before it has the role of the environment. Between equal Q the step with more answers is taken. The
    pairs with the longest common prefix come first. Answers that begin at other tokens, such as after a reveal, grow
    other trees, or join where their tokens meet.

    The doubt e of a pair, rewards (1 - e, e): ``posterior``: P(the worse one is better) where the success of each is
    Beta(1 + right, 1 + wrong); above 1/2 where few answers made the better one. ``visits``: min(N_l / (N_l + max(1,
    N_w)), 1/2), the official rule: it is 1/2, no preference at all, wherever both have as many answers, and fit for
    hundreds of them. ``none``: 0.

    Source: MCTS-DPO (arXiv 2405.00451), read in YuxiXie/MCTS-DPO fb23437, trainer.py lines 160-200 and 255-352.

    Deviations: 1. Values are mean rewards of whole answers; there the policy judges itself too. 2. A pair at every
    node; there along one path. 3. Doubt by posteriors. 4. The worst step as the worse one; there a random one.

    Args:
        most: Most pairs of a group, >= 1.
        doubt: ``posterior``, ``visits`` or ``none``.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    most: int = 8
    doubt: str = "posterior"

    requires = frozenset({"step_ends"})
    needs = frozenset({"members"})

    def __post_init__(self) -> None:
        check_types(self)
        check_most(self.most)
        if self.doubt not in DOUBTS:
            raise ConfigurationError(f"doubt={self.doubt!r} must be one of {', '.join(DOUBTS)}")

    def __call__(
        self, groups: Groups, reward_PG: list[np.ndarray], *, step_end_GT: Sequence[np.ndarray]
    ) -> tuple[Groups, list[np.ndarray]]:
        """Return the pairs and their rewards.

        Args:
            groups: The groups.
            reward_PG: Their rewards, float64 (G,) each.
            step_end_GT: bool (T,) per episode of all groups, the last token of each step.
        """
        pairs, rewards, start = Groups(), [], 0
        for group, reward_G in zip(groups, reward_PG, strict=True):
            ends = step_end_GT[start : start + len(group)]
            start += len(group)
            for better, worse in self.choose(grow_tree(group.episodes, reward_G, ends)):
                doubt = self.compute_doubt(better, worse)
                pairs.append(Group((cut_step(better), cut_step(worse))))
                rewards.append(np.array([1 - doubt, doubt]))
        return pairs, rewards

    def choose(self, branches: Sequence[Sequence[Node]]) -> list[tuple[Node, Node]]:
        """Return the better and the worse step of each pair of a tree."""
        found = []
        for steps in branches:
            better = min(steps, key=lambda node: (-node.value, -node.visits, node.tokens))
            worse = min(steps, key=lambda node: (node.value, -node.visits, node.tokens))
            if better.value > worse.value:
                found.append((better, worse))
        found.sort(key=lambda pair: (-pair[0].begin, pair[0].tokens))
        return found[: self.most]

    def compute_doubt(self, better: Node, worse: Node) -> float:
        """Return the doubt of a pair, in [0, 1]."""
        if self.doubt == "posterior":
            return doubt_by_posterior(better.right, better.visits, worse.right, worse.visits)
        return doubt_by_visits(better.visits, worse.visits) if self.doubt == "visits" else 0.0
