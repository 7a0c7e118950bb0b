"""Refine: drafts first, then answers that the policy writes with its best draft in the prompt (iGRPO)."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.agents.policy.protocol import SamplingPolicy
from g2rpo_env.agents.rollout import collect, make_room, token_vector_env
from g2rpo_env.episode import Episode, Group, Groups, Role
from g2rpo_env.errors import ConfigurationError, NonFiniteError
from g2rpo_env.streams import stream
from g2rpo_env.task import Task
from g2rpo_env.tokenizer import decode, encode


@dataclass(frozen=True)
class Refine:
    """The policy writes drafts; the best one goes into the prompt, and answers to that prompt are what is learnt from.

    Stage 0: ``drafts`` members of each group answer the bare prompt. Stage 1: all members of the same group answer the
    prompt with the draft of the highest reward before its text, inside the frame of a chat. Drafts are counted in
    sampled tokens, are seen by controllers and metrics, and get no gradient (``Groups.left_out``). Refinements are
    trained in the context that they were sampled in. Logs ``reward_drafts``, the mean reward of the drafts.

    With binary rewards and a success of V per draft the best of N is right with probability 1 - (1 - V)^N.

    Source: iGRPO (arXiv 2602.09000), its method section; no official code was found. Its defaults are 4 drafts and 4
    refinements for each problem.

    Deviations:

    1. The text of the template is ours, and so is the rule for ties (uniform among the best, from a stream of its own):
       the paper gives none that fits small models.
    2. The draft stands before the text of the prompt, for the prompts of some tasks end where the answer begins.
    3. Drafts share the lanes of their group, so there are at most as many of them as members.

    As there, evaluations show no draft. No gradient reaches the bare prompt as such: a policy that has never seen a
    draft must first learn to read one, by a warm start under :meth:`warm_context`. A draft is the answer as it was
    graded: what a guidance wrapper reveals in the answer is a part of it. Refinements are not guided.

    Args:
        drafts: Drafts for each group, in [0, G]; 0 samples groups as
            :class:`~g2rpo_env.agents.parts.strategies.Rollout` does.
        template: Text around the draft, with ``{draft}`` in it exactly once; encoded as data.

    Raises:
        ConfigurationError: an argument breaks its rule; when an agent is made, more drafts than members.
        BudgetError: when an agent is made, a prompt with a draft is longer than the policy or the task allows.
    """

    drafts: int = 4
    template: str = "Draft: {draft}\n"

    def __post_init__(self) -> None:
        check_types(self)
        if self.drafts < 0:
            raise ConfigurationError(f"drafts={self.drafts} must be at least 0")
        if self.template.count("{draft}") != 1:
            raise ConfigurationError(f"template={self.template!r} must hold '{{draft}}' exactly once")

    @property
    def takes_guidance(self) -> bool:
        """Whether what is learnt from can begin with revealed tokens: only where it begins with no draft."""
        return not self.drafts

    def __call__(self, policy: SamplingPolicy, envs: Any) -> Groups:
        """Return the groups of one update: the refinements, and as left out the drafts."""
        base = token_vector_env(envs)
        if not self.drafts:
            return collect(policy, envs)
        self.prepare(policy, envs)
        numbers = np.repeat(base.take_groups(base.num_envs // base.group_size), base.group_size)
        members = np.arange(base.num_envs) % base.group_size
        options: dict[str, Any] = {"group": numbers, "member": members}
        drafts = collect(policy, envs, options={**options, "reset_mask": members < self.drafts})
        context_of = {group.group: self.lay_best(base.task, group) for group in drafts}
        prefixes = [context_of[int(number)] for number in numbers]
        roles = [np.full(len(prefix_T), Role.PROMPT, np.int8) for prefix_T in prefixes]
        refined = collect(policy, envs, stage=1, options={**options, "prefix": prefixes, "prefix_roles": roles})
        reward = [e.reward for e in drafts.episodes if e.valid]
        metrics = {"reward_drafts": float(np.mean(reward))} if reward else {}
        return Groups(refined, left_out=drafts.episodes, metrics=metrics)

    def prepare(self, policy: SamplingPolicy | None, envs: Any) -> None:
        """Make room for drafts in the contexts of an environment; asked when an agent is made."""
        base = token_vector_env(envs)
        if self.drafts > base.group_size:
            raise ConfigurationError(f"drafts={self.drafts} must be at most group_size={base.group_size}")
        if self.drafts:
            make_room(policy, envs, self.room(base.task), f"drafts={self.drafts}")

    def room(self, task: Task) -> int:
        """Return the tokens of context that template and draft take at most, beyond those of a revealed solution."""
        replies = (task.max_tries - 1) * task.max_reply_tokens
        return sum(map(len, self._around(task))) + task.max_new_tokens + replies

    def lay_best(self, task: Task, group: Group) -> np.ndarray:
        """Return the prompt with the best draft of a group in it, int32 (T,)."""
        return self.lay(task, group.problem_id, cut_draft(task, choose_draft(group)))

    def lay(self, task: Task, problem_id: str, draft_T: np.ndarray) -> np.ndarray:
        """Return the prompt of a problem with the tokens of a draft in it, int32 (T,)."""
        encoded = task.lookup(problem_id)
        head_T, tail_T = self._around(task)
        at = encoded.text_start
        parts = (encoded.prompt_T[:at], head_T, draft_T, tail_T, encoded.prompt_T[at:])
        return np.concatenate(parts).astype(np.int32)

    def _around(self, task: Task) -> tuple[np.ndarray, np.ndarray]:
        head, tail = self.template.split("{draft}")
        return encode(task.tokenizer, head)[0], encode(task.tokenizer, tail)[0]

    def warm_context(self, task: Task, problem_id: str) -> np.ndarray:
        """Return the context of a problem in a warm start, int32 (T,): ``warm_start(..., context=...)``.

        A third of the problems stand there as they are, the others with a draft, the solution of another problem: it
        reads like one and gives nothing away, so that the policy learns to look at the problem. (With drafts that are
        nearly right it would learn to copy them.) Which draft that is, is a function of the problem alone.
        """
        random = stream(zlib.crc32(problem_id.encode()), "practice")
        if not self.drafts or random.random() < 1 / 3:
            return task.lookup(problem_id).prompt_T
        other = task.lookup(task.source.draw(int(random.integers(2**31)), 0))
        return self.lay(task, problem_id, other.solution_T)


def choose_draft(group: Group) -> Episode:
    """Return the draft with the highest reward; one of the best at random, from a stream of the group."""
    # The verifier may have failed on some: they are shown only where it failed on all.
    graded = [e for e in group.episodes if e.valid] or list(group.episodes)
    for episode in graded:
        if not math.isfinite(episode.reward):
            raise NonFiniteError(
                f"reward={episode.reward} of problem {episode.problem_id!r}, group {episode.group}, draft "
                f"{episode.member} must be finite"
            )
    best = max(e.reward for e in graded)
    tied = [e for e in graded if e.reward == best]
    return tied[int(stream(tied[0].seed, "draft", group.group).integers(len(tied)))]


def cut_draft(task: Task, episode: Episode) -> np.ndarray:
    """Return the tokens of an answer without end tokens and without the stop string that ended it, int32 (T,).

    The tokens are those that the policy wrote: what looks like a special token in its text stays text.
    """
    answer_T = episode.tokens_T[episode.role_T != Role.PROMPT]
    ends = list(task.end_tokens)
    if task.stop_strings and episode.terminated and len(answer_T) and answer_T[-1] not in ends:
        text, kept = task.completion(answer_T, stopped=True), len(answer_T)
        while kept and not text.startswith(decode(task.tokenizer, answer_T[:kept])):
            kept -= 1
        answer_T = answer_T[:kept]
    return answer_T[~np.isin(answer_T, ends)]
