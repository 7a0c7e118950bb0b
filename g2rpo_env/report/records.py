"""Records: what a run writes of its updates for people to look at, beside its metrics.

groups.jsonl          one line per group of every update: rewards, lengths, advantages and answers of its members
problems.jsonl        one line per problem that occurs in the saved rollouts
rollouts/000050.jsonl one record per episode of an update: its tokens, and what the update made of them

Everything comes from the record of the update (``agent.last_update``) and from one forward pass after it. Nothing here
changes what a run computes: files without clock times are equal to the byte with records and without.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from g2rpo_env.episode import Role
from g2rpo_env.errors import ConfigurationError, UnknownProblemError
from g2rpo_env.report.run_folder import GROUPS, PROBLEMS, ROLLOUTS, append_lines, read_lines, write_lines
from g2rpo_env.report.texts import TokenTexts

if TYPE_CHECKING:
    from g2rpo_env.agents.scores import Scores
    from g2rpo_env.agents.update import Example, Update
    from g2rpo_env.episode import Episode

VERSION = 2
"""Version of the records of rollouts that are written; version 1 is read too."""

ANSWER = 80
"""Characters of an answer that groups.jsonl keeps."""


@dataclass(frozen=True)
class Recording:
    """What of a run is recorded beside its metrics, and for which command.

    Attributes:
        every: Updates between saved rollouts, those of the first and the last update besides; 0 saves none.
        groups: Whether a line is written for each group of every update.
        top: Likeliest tokens that are saved for each sampled one, >= 0.
        command: Name of the command.
        argv: Its arguments.

    Raises:
        ConfigurationError: a number is below 0.
    """

    every: int = 50
    groups: bool = True
    top: int = 0
    command: str = ""
    argv: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("every", "top"):
            if getattr(self, name) < 0:
                raise ConfigurationError(f"{name}={getattr(self, name)} of a Recording must be at least 0")

    def is_due(self, update: int) -> bool:
        """Whether the rollouts of an update are saved, whichever is the last one."""
        return bool(self.every) and (update == 1 or update % self.every == 0)


class Recorder:
    """Writes the records of a run, update by update.

    An agent whose ``last_update`` is no :class:`~g2rpo_env.agents.update.Update`, such as one of another library, has
    no records.

    Args:
        folder: The run folder.
        agent: The agent.
        recording: What is written.
    """

    def __init__(self, folder: Path, agent: Any, recording: Recording) -> None:
        self.folder, self.agent, self.recording = folder, agent, recording
        self._known: set[str] | None = None  # problems in the file; it is read when the first ones are written

    @property
    def update(self) -> Update | None:
        """Record of the agent's last update."""
        return getattr(self.agent, "last_update", None)

    def record(self) -> None:
        """Write the groups of the last update, and its rollouts where they are due."""
        update = self.update
        if update is None:
            return
        if self.recording.groups:
            append_lines(self.folder / GROUPS, group_records(update))
        if self.recording.is_due(update.number):
            self.save_rollouts()

    def finish(self) -> None:
        """Write the rollouts of the last update of a run, unless they are there."""
        update = self.update
        if update is not None and self.recording.every and not self._find_rollouts(update.number).is_file():
            self.save_rollouts()

    def _find_rollouts(self, update: int) -> Path:
        return self.folder / ROLLOUTS / f"{update:06d}.jsonl"

    def save_rollouts(self) -> Path:
        """Write the episodes of the last update and the problems that they worked on, and return the file."""
        update = self.update
        assert update is not None, "there has been an update"
        path = self._find_rollouts(update.number)
        path.parent.mkdir(exist_ok=True)
        write_lines(path, rollout_records(self.agent, self.recording.top))
        if self._known is None:
            self._known = {str(row.get("problem_id")) for row in read_lines(self.folder / PROBLEMS)}
        rows = problem_records(update, self.agent.envs.unwrapped.task, self._known)
        append_lines(self.folder / PROBLEMS, rows)
        self._known.update(row["problem_id"] for row in rows)
        return path


# -- making records ---------------------------------------------------------------------------------------------------


def group_records(update: Update) -> list[dict[str, Any]]:
    """Return a record per group of an update, with a list per member for everything that differs between them."""
    pairs = [
        (episode, float(advantage))
        for group, advantage_G in zip(update.selected, update.advantages, strict=True)
        for episode, advantage in zip(group.episodes, advantage_G, strict=True)
    ]
    learnt = {id(episode): advantage for episode, advantage in pairs}
    # A selection may hand on copies, cut or put together anew.
    by_name = {(e.group, e.member, e.stage): advantage for e, advantage in pairs}
    rows = []
    for group in update.groups:
        members = group.episodes
        found = [learnt.get(id(e), by_name.get((e.group, e.member, e.stage))) for e in members]
        rows.append(
            {
                "update": update.number,
                "group": group.group,
                "problem_id": group.problem_id,
                "reward": [number(e.reward) for e in members],
                "correct": [bool(e.correct) for e in members],
                "guided": [bool(e.guided) for e in members],
                "reveal": [int(e.reveal) for e in members],
                "sampled": [int(e.sampled_T.sum()) for e in members],
                "truncated": [bool(e.truncated) for e in members],
                "advantage": [None if one is None else number(one) for one in found],
                "answer": [None if e.verdict.answer is None else str(e.verdict.answer)[:ANSWER] for e in members],
            }
        )
    return rows


def problem_records(update: Update, task: Any, known: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Return a record per problem of the episodes of an update, but for those that are known.

    A problem that the task's source no longer has is left out.
    """
    asked = dict.fromkeys(e.problem_id for e in list_episodes(update))
    rows = []
    for problem_id in asked:
        if problem_id in known:
            continue
        try:
            problem = task.lookup(problem_id).problem
        except UnknownProblemError:
            continue
        rows.append(
            {
                "update": update.number,
                "problem_id": problem.problem_id,
                "prompt": problem.prompt,
                "steps": list(problem.steps),
                "final": problem.final,
                "answer": problem.answer,
                "level": None if problem.level is None else number(problem.level),
                "hint": problem.hint,
            }
        )
    return rows


def list_episodes(update: Update) -> list[Episode]:
    """Return the episodes of an update, those last that were learnt from and sampled earlier."""
    sampled = update.groups.sampled_episodes
    known = {id(episode) for episode in sampled}
    earlier = {id(e): e for e in update.selected.episodes if id(e) not in known}
    return [*sampled, *earlier.values()]


def rollout_records(agent: Any, top: int = 0) -> Iterator[dict[str, Any]]:
    """Yield a record per episode of the last update of an agent: the episode, and what the update made of it.

    First those that were sampled, left out or not, then those that were learnt from and sampled earlier. ``advantage``
    is None and the weights are 0 for an episode that the update did not learn from; one that it learnt from more than
    once has as many records. Log-probabilities and entropies after the update take one forward pass.

    Args:
        agent: The agent.
        top: Likeliest tokens per sampled one, after the update; a second forward pass.
    """
    from g2rpo_env.agents.scores import score_episodes

    update = agent.last_update
    if update is None:
        return
    examples_of: dict[int, list[Example | None]] = {}  # id of an episode -> what was learnt from it
    for found in update.examples():
        examples_of.setdefault(id(found.episode), []).append(found)
    stage = getattr(agent, "agent", agent)  # the agent of the stage that runs, of those that have stages
    episodes, learner, task = list_episodes(update), getattr(stage, "learner", None), agent.envs.unwrapped.task
    scores = score_episodes(agent.policy, episodes, top, getattr(learner, "options", None))
    before = {} if learner is None else learner.find_scored()
    texts = TokenTexts(agent.policy.tokenizer)
    for episode, score in zip(episodes, scores, strict=True):
        read = describe_tokens(episode, score, texts)
        read["prompt_reveal"] = find_prompt_reveal(episode, task)
        for example in examples_of.get(id(episode), [None]):
            has_credits = update.credits is not None
            made = describe_example(episode, example, before.get((episode.group, episode.member)), has_credits)
            yield {**episode.to_record(), "version": VERSION, "update": update.number, **read, **made}


def describe_tokens(episode: Episode, score: Scores, texts: TokenTexts) -> dict[str, Any]:
    """Return what the tokens of an episode read as and how likely they are now, as fields of its record."""
    shown, is_part = texts.decode(episode.tokens_T)
    fields: dict[str, Any] = {"texts": shown}
    if any(is_part):
        fields["parts"] = is_part
    fields["logprobs_after"] = mask(score.log_prob_T, score.written_T)
    fields["entropies_after"] = mask(score.entropy_T, score.written_T)
    if score.likeliest:
        fields["top"] = [
            None if one is None else [[int(i), texts.read(int(i)), number(p)] for i, p in zip(*one, strict=True)]
            for one in score.likeliest
        ]
    return fields


def describe_example(
    episode: Episode, example: Example | None, before_T: np.ndarray | None, has_credits: bool
) -> dict[str, Any]:
    """Return what an update made of an episode, as fields of its record.

    Args:
        episode: The episode.
        example: What was learnt from it; None for nothing.
        before_T: Log-probabilities of its tokens in the loss that the update computed before its first gradient step.
        has_credits: Whether the recipe has a credit part.
    """
    size = len(episode.tokens_T)
    weight_T = np.zeros(size, np.float32) if example is None else example.weight_T
    revealed_T = (episode.role_T == Role.REVEALED) & (weight_T > 0)
    knows = before_T is not None and len(before_T) >= size and episode.train_prefix is None
    return {
        "logprobs_before": mask(before_T[:size] if knows and before_T is not None else weight_T, revealed_T & knows),
        "advantage": None if example is None else example.advantage,
        "credits": mask(example.credit_T, weight_T > 0) if example is not None and has_credits else None,
        "weights": mask(weight_T, weight_T == weight_T),
        "loss_mask": (weight_T > 0).astype(int).tolist(),
        "shaped_reward": None if example is None else example.reward,
        "selected": example is not None,
    }


def find_prompt_reveal(episode: Episode, task: Any) -> list[int] | None:
    """Return where guidance stands in the prompt of an episode, [start, end), its template included; None for nowhere.

    It is what the prompt of the episode has and that of its problem has not.
    """
    prompt_T = episode.tokens_T[: int(np.argmin(np.append(episode.role_T == Role.PROMPT, False)))]
    if not episode.guided or (episode.role_T == Role.REVEALED).any():
        return None
    try:
        plain_T = task.lookup(episode.problem_id).prompt_T
    except UnknownProblemError:
        return None
    more = len(prompt_T) - len(plain_T)
    if more <= 0:
        return None
    same = prompt_T[: len(plain_T)] == plain_T
    start = int(np.argmin(np.append(same, False)))
    return [start, start + more] if np.array_equal(prompt_T[start + more :], plain_T[start:]) else None


def mask(values_T: np.ndarray, where_T: np.ndarray) -> list[float | None]:
    """Return numbers for a record, None where they are not asked for.

    >>> mask(np.array([0.5, -1.25]), np.array([False, True]))
    [None, -1.25]
    """
    value_T, known_T = np.asarray(values_T, np.float64), np.asarray(where_T, bool) & np.isfinite(values_T)
    pairs = zip(np.round(value_T, 6).tolist(), known_T.tolist(), strict=True)
    return [value if known else None for value, known in pairs]


def number(value: Any) -> float | None:
    """Return a number with six decimals, None where it is not finite, which JSON does not have.

    >>> number(1 / 3), number(float("nan"))
    (0.333333, None)
    """
    return round(float(value), 6) if math.isfinite(value) else None
