"""Tree: answers that go on from the steps of earlier answers, the most promising ones first (tree search)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.agents.policy.protocol import SamplingPolicy
from g2rpo_env.agents.rollout import collect, token_vector_env
from g2rpo_env.episode import Episode, Group, Groups
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.tokenizer import find_line_ends

LENGTH_POWER = 1.25
"""Power of the length of a step that its log-probability is divided by for its prior."""


@dataclass(frozen=True)
class Tree:
    """One tree per group: the root is the prompt, a node a beginning of an answer that ends with a step.

    Iteration 0 is a rollout. In each further one every tree walks from its root to the child with the highest
    U = Q + exploration p sqrt(N of the parent) / (1 + N), until a node of fewer than 2 visits, one without a child that
    can be continued, or one of ``depth`` steps; all G members of the group continue that beginning to the end. N counts
    the answers that were sampled through a node, Q is the mean of their rewards, p = exp(log-probability of the step /
    tokens of the step^1.25). The first step of each answer, up to the first sampled token with a line end, becomes a
    child of the node that it was sampled from. What an answer ended with is never continued.

    It returns one group per tree with all its answers, members numbered 0..iterations x G - 1: it can feed any
    selection, :class:`~g2rpo_env.agents.parts.selection.StepPairs` or none at all. The record of a continued answer has
    the log-probabilities of its beginning as they were when that was sampled, and ``parent`` says where it branched
    off. ``Episode.stage`` is the iteration.

    Source: MCTS-DPO (arXiv 2405.00451), read in YuxiXie/MCTS-DPO fb23437, mcts.py lines 83-278.

    Deviations:

    1. The value of a node is the mean reward of answers through it; the code asks the policy itself about a step, shows
       it the gold answer for that, and adds a gold step to the candidates.
    2. A leaf is continued to the end, by all members at once; there it is expanded by two steps at a time.
    3. No path is committed to: the whole tree is kept.
    4. Visits are counted once; there those of the root are counted twice.

    With a guidance wrapper, members that begin with a revealed part have first steps of their own; what an answer that
    goes on from there may still write is not shortened by guidance that counts towards the budget.

    Args:
        iterations: Answers to each problem for each member, >= 1; 1 samples groups as
            :class:`~g2rpo_env.agents.parts.strategies.Rollout` does.
        depth: Most steps of a beginning that is continued, >= 1.
        exploration: Weight of the prior against the value, >= 0.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    iterations: int = 4
    depth: int = 3
    exploration: float = 1.0

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("iterations", "depth"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name}={getattr(self, name)} must be at least 1")
        if not 0 <= self.exploration < math.inf:
            raise ConfigurationError(f"exploration={self.exploration} must be finite and at least 0")

    @property
    def needs(self) -> frozenset[str]:
        """Solutions in steps, where an answer is to be continued."""
        return frozenset({"steps"} if self.iterations > 1 else ())

    def __call__(self, policy: SamplingPolicy, envs: Any) -> Groups:
        """Return the groups of one update, one per tree."""
        first = collect(policy, envs)
        if self.iterations == 1:
            return first
        base = token_vector_env(envs)
        ends_V = find_line_ends(base.tokenizer)
        trees = [SearchTree(ends_V) for _ in first]
        for tree, group in zip(trees, first, strict=True):
            tree.add([tree.root], group.episodes)
        for stage in range(1, self.iterations):
            paths = [tree.walk(self.depth, self.exploration) for tree in trees]
            options = continue_from([path[-1] for path in paths], [group.group for group in first], base.group_size)
            sampled = collect(policy, envs, stage=stage, options=options)
            for tree, path, group in zip(trees, paths, sampled, strict=True):
                tree.add(path, [join(path[-1], e, e.member + stage * base.group_size) for e in group.episodes])
        return Groups(Group(tuple(tree.episodes)) for tree in trees)


@dataclass(eq=False)
class Node:
    """A beginning of an answer.

    Attributes:
        episode: An answer that begins so; None for the root, which is whatever answers start from.
        end: Number of its tokens.
        prior: Of its last step, in (0, 1].
        ended: Whether nothing can follow.
        visits: Answers that were sampled through it.
        total: Sum of their rewards.
        children: Tokens of a beginning that is one step longer, as bytes -> its node, in the order of their making.
    """

    episode: Episode | None = None
    end: int = 0
    prior: float = 1.0
    ended: bool = False
    visits: int = 0
    total: float = 0.0
    children: dict[bytes, Node] = field(default_factory=dict)

    def score(self, parent: Node, exploration: float) -> float:
        """Return U, see :class:`Tree`; a node in a tree has been visited."""
        return self.total / self.visits + exploration * self.prior * math.sqrt(parent.visits) / (1 + self.visits)


class SearchTree:
    """The tree of one group.

    Args:
        ends_V: bool (V,), the tokens that end a step.

    Attributes:
        root: What all answers start from.
        episodes: All answers, in the order in which they came.
    """

    def __init__(self, ends_V: np.ndarray) -> None:
        self.ends_V, self.root = ends_V, Node()
        self.episodes: list[Episode] = []

    def walk(self, depth: int, exploration: float) -> list[Node]:
        """Return the path from the root to the node that is continued next; of equal ones the first."""
        node = self.root
        path = [node]
        while node.visits >= 2 and len(path) <= depth:
            going_on = [child for child in node.children.values() if not child.ended]
            if not going_on:
                break
            parent = node
            node = max(going_on, key=lambda child: child.score(parent, exploration))
            path.append(node)
        return path

    def add(self, path: Sequence[Node], episodes: Sequence[Episode]) -> None:
        """Take the answers that continue the last node of a path; those that nobody could grade say nothing of it."""
        self.episodes.extend(episodes)
        for episode in episodes:
            if not episode.valid:
                continue
            for node in (*path, self._grow(path[-1], episode)):
                node.visits += 1
                node.total += episode.reward

    def _grow(self, node: Node, episode: Episode) -> Node:
        """Return the child of a node that an answer goes through."""
        own_T = episode.sampled_T.copy()
        own_T[: node.end] = False
        start = int(np.argmax(own_T))
        ends = np.flatnonzero(own_T & self.ends_V[episode.tokens_T])
        end = int(ends[0]) + 1 if len(ends) else len(own_T)
        key = episode.tokens_T[:end].tobytes()
        if key not in node.children:
            written_T = own_T[start:end]
            log_prob = float(episode.logprob_T[start:end][written_T].sum())
            prior = math.exp(log_prob / int(written_T.sum()) ** LENGTH_POWER)
            node.children[key] = Node(episode, end, prior, ended=end == len(own_T))
        return node.children[key]


def continue_from(nodes: Sequence[Node], groups: Sequence[int], size: int) -> dict[str, Any]:
    """Return the reset options with which all members of some groups continue one node each.

    Args:
        nodes: A node for each group.
        groups: The numbers of the groups.
        size: Members of a group.
    """
    prefixes: list[np.ndarray | None] = []
    roles: list[np.ndarray | None] = []
    for node in nodes:
        known = node.episode  # none at the root: its answers begin as the environment begins them
        prefixes += [None if known is None else known.tokens_T[: node.end]] * size
        roles += [None if known is None else known.role_T[: node.end]] * size
    members = np.tile(np.arange(size), len(nodes))
    return {"group": np.repeat(groups, size), "member": members, "prefix": prefixes, "prefix_roles": roles}


def join(node: Node, episode: Episode, member: int) -> Episode:
    """Return an answer that continues a node, with its number and with what is known of its beginning."""
    known = node.episode
    if known is None:
        return dataclasses.replace(episode, member=member)
    return dataclasses.replace(
        episode,
        member=member,
        logprob_T=np.concatenate([known.logprob_T[: node.end], episode.logprob_T[node.end :]]),
        reveal=known.reveal,
        parent=(known.group, known.member, node.end),
    )
