"""Given: what parts may require beyond their arguments, computed once per update and handed over by keyword.

Two tables say it all: :data:`PROVIDED`, what is computed for which requirement, and :data:`SLOTS`, which requirements
the part in each slot of a recipe may name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
import torch

from g2rpo_env.agents.batch import Batch, make_batch
from g2rpo_env.agents.learner import Learner
from g2rpo_env.agents.parts.protocols import Stateful, get_requirements
from g2rpo_env.agents.parts.token_weights.revealed import FILTERS
from g2rpo_env.agents.policy.scoring import TokenStates
from g2rpo_env.agents.recipe import Optimizer, Recipe
from g2rpo_env.controllers.base import Controller
from g2rpo_env.episode import Episode, Group, Role
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.naming import suggest
from g2rpo_env.problem import Problem
from g2rpo_env.task import Task
from g2rpo_env.tokenizer import decode, find_line_ends

WRITTEN = (Role.SAMPLED, Role.REVEALED)
"""Roles of the tokens that values per token are computed for; they are 0 elsewhere."""


class Given:
    """Computes what the parts of a recipe require of the groups of one update.

    A value per token that takes a forward pass is computed once for each episode, and for many episodes at a time.

    Args:
        learner: Scores tokens under the policy, as it is before the update, and under its reference.
        task: The task of the training environment.
        recorded: Whether the log-probabilities that episodes hold are those of the policy, see
            :class:`~g2rpo_env.episode.Groups`; they then stand for the forward pass, for the tokens that it wrote.
    """

    def __init__(self, learner: Learner, task: Task, recorded: bool = False) -> None:
        self.learner, self.task, self.recorded = learner, task, recorded
        # What was scored and at which roles -> id of an episode -> the episode, kept so that its id stays its own, and
        # its values (T,).
        self._known: dict[tuple[str, tuple[int, ...]], dict[int, tuple[Episode, np.ndarray]]] = {}

    def prepare(self, part: Any, groups: Sequence[Group]) -> None:
        """Make the forward passes that a part will ask for group by group, for all groups together."""
        for name in sorted(get_requirements(part) & SCORES.keys()):
            self._score(part, name, list_episodes(groups))

    def for_group(self, part: Any, group: Group) -> dict[str, Any]:
        """Return the keywords of a part that is called with one group."""
        return {one.keyword: value[0] if one.per == "group" else value for one, value in self._provide(part, [group])}

    def for_groups(self, part: Any, groups: Sequence[Group]) -> dict[str, Any]:
        """Return the keywords of a part that is called with all groups; values per group are lists."""
        return {one.keyword: value for one, value in self._provide(part, groups)}

    def for_episodes(self, part: Any, episodes: Sequence[Episode], advantage_N: np.ndarray) -> list[dict[str, Any]]:
        """Return the keywords of a token weight, one dict for each of N episodes.

        Lists hold an entry per episode elsewhere; here each episode gets its own. ``entropy_T`` is that of revealed
        tokens alone: filters of reveals ask for it, and the others would be scored for nobody.
        """
        given: list[dict[str, Any]] = [{} for _ in episodes]
        for one, values in self._provide(part, [Group((e,)) for e in episodes], at_reveals=True):
            for row, value in zip(given, values if one.per != "update" else [values] * len(given), strict=True):
                row[one.episode_keyword] = value
        if "advantage" in get_requirements(part):
            for row, advantage in zip(given, advantage_N, strict=True):
                row["advantage"] = float(advantage)
        return given

    def _provide(self, part: Any, groups: Sequence[Group], at_reveals: bool = False) -> list[tuple[Provided, Any]]:
        found = []
        for name in sorted(get_requirements(part) & PROVIDED.keys()):
            if name in SCORES:
                roles = (Role.REVEALED,) if name == "entropy" and at_reveals else WRITTEN
                value = self._score(part, name, list_episodes(groups), roles)
            else:
                value = PROVIDED[name].make(self, groups)
            found.append((PROVIDED[name], value))
        return found

    def _score(
        self, part: Any, what: str, episodes: Sequence[Episode], roles: tuple[int, ...] = WRITTEN
    ) -> list[np.ndarray]:
        """Return a value per token of each episode that a part reads, zeros for the others."""
        reads = getattr(part, "reads", None)
        read = [e for e in episodes if reads is None or reads(e)]
        found = {id(e): value_T for e, value_T in zip(read, self.per_token(what, read, roles), strict=True)}
        return [found[id(e)] if id(e) in found else np.zeros(len(e.tokens_T), np.float32) for e in episodes]

    def per_token(self, what: str, episodes: Sequence[Episode], roles: tuple[int, ...] = WRITTEN) -> list[np.ndarray]:
        """Return a value per token of each episode, float32 (T,) each, 0 where its role is not asked for.

        Episodes are scored in the context that they were sampled in. Those without a token to score cost nothing.

        Args:
            what: A key of :data:`SCORES`.
            episodes: The episodes; those that are not known yet are scored together.
            roles: Roles of the tokens that are asked for, some of :data:`WRITTEN`.
        """
        known, wider = self._known.setdefault((what, roles), {}), self._known.get((what, WRITTEN), {})
        for episode in episodes:
            if id(episode) in wider and id(episode) not in known:
                value_T = np.where(np.isin(episode.role_T, roles), wider[id(episode)][1], np.float32(0))
                known[id(episode)] = episode, value_T
        if what == "old_log_probs" and self.recorded:
            for episode in episodes:
                if id(episode) not in known and is_recorded(episode, roles):
                    known[id(episode)] = episode, episode.logprob_T
        missing = [e for e in episodes if id(e) not in known]
        asked = [e for e in missing if np.isin(e.role_T, roles).any() and is_scorable(e, roles)]
        for episode in missing:
            known[id(episode)] = episode, np.zeros(len(episode.tokens_T), np.float32)
        if asked:
            where = [np.isin(e.role_T, roles).astype(np.float32) for e in asked]
            rows = [replace(e, train_prefix=None) for e in asked]
            batch = make_batch(rows, np.zeros(len(rows)), where, self.learner.policy.device)
            value_NT = SCORES[what](self.learner, batch).cpu().numpy()
            for episode, value_T in zip(asked, value_NT, strict=True):
                known[id(episode)] = episode, value_T[: len(episode.tokens_T)]
        return [known[id(e)][1] for e in episodes]

    def find_known(self, what: str, episodes: Sequence[Episode]) -> list[np.ndarray] | None:
        """Return values per token as :meth:`per_token`, None unless all are known in the context of training."""
        known = self._known.get((what, WRITTEN), {})
        if not all(id(e) in known and e.train_prefix is None for e in episodes):
            return None
        return [known[id(e)][1] for e in episodes]


def is_scorable(episode: Episode, roles: tuple[int, ...]) -> bool:
    """Whether tokens of these roles are trained where they stand: a context for training takes the reveal away."""
    return episode.train_prefix is None or roles != (Role.REVEALED,)


def is_recorded(episode: Episode, roles: tuple[int, ...]) -> bool:
    """Whether an episode holds the log-probabilities of all its tokens of some roles.

    Those of revealed tokens, and of tokens that another episode wrote, are recorded as 0.
    """
    return episode.parent is None and not (Role.REVEALED in roles and (episode.role_T == Role.REVEALED).any())


SCORES: dict[str, Callable[[Learner, Batch], torch.Tensor]] = {
    "log_probs": lambda learner, batch: learner.log_probs(batch),
    "old_log_probs": lambda learner, batch: learner.log_probs(batch),
    "reference_log_probs": lambda learner, batch: learner.reference_log_probs(batch),
    "entropy": lambda learner, batch: learner.entropies(batch),
}
"""Values per token that take a forward pass: name -> (learner, batch) -> float32 (N, T)."""


# -- what is computed from groups -------------------------------------------------------------------------------------


def list_episodes(groups: Iterable[Group]) -> list[Episode]:
    """Return the episodes of some groups."""
    return [episode for group in groups for episode in group.episodes]


def get_states(given: Given, groups: Sequence[Group]) -> Callable[..., list[TokenStates]]:
    """Return (group, every_column=False) -> states: they are too large to hold those of all groups at once."""
    return lambda group, every_column=False: given.learner.states(group.episodes, every_column)


def find_step_ends(given: Given, groups: Sequence[Group]) -> list[np.ndarray]:
    """Return the sampled tokens that end a line, bool (T,) per episode."""
    ends_V = find_line_ends(given.task.tokenizer)
    return [ends_V[e.tokens_T] & e.sampled_T for e in list_episodes(groups)]


def find_answers(given: Given, groups: Sequence[Group]) -> list[np.ndarray]:
    """Return the tokens that overlap the last occurrence of the answer in the completion, bool (T,) per episode.

    All False where the verdict names no answer, or one that does not stand in the completion as it is.
    """
    return [find_answer(given.task, e) for e in list_episodes(groups)]


def find_answer(task: Task, episode: Episode) -> np.ndarray:
    """Return the tokens of an episode that overlap the last occurrence of its verdict's answer, bool (T,)."""
    span_T = np.zeros(len(episode.tokens_T), np.bool_)
    place_K = np.flatnonzero(episode.role_T != Role.PROMPT)  # K tokens of the completion
    answer = episode.verdict.answer
    if not answer or not len(place_K):
        return span_T
    text, start_K, end_K = locate_tokens(task.tokenizer, episode.tokens_T[place_K])
    # What ended the answer is no part of it: the name of an end token has letters, and may have those of the answer.
    first = text.rfind(str(answer), 0, len(get_completion(task, episode)))
    if first >= 0:
        span_T[place_K[(end_K > first) & (start_K < first + len(str(answer)))]] = True
    return span_T


def locate_tokens(tokenizer: Any, tokens_K: np.ndarray) -> tuple[str, np.ndarray, np.ndarray]:
    """Return the text of tokens, and where each of them begins and ends in it, int64 (K,) each.

    A token that holds a part of a character stands where all of that character does.
    """
    text = decode(tokenizer, tokens_K)
    pieces = [decode(tokenizer, tokens_K[i : i + 1]) for i in range(len(tokens_K))]
    if "".join(pieces) == text:
        end_K = np.cumsum([len(piece) for piece in pieces]).astype(np.int64)
        return text, end_K - [len(piece) for piece in pieces], end_K
    # A character whose last bytes are missing shows as U+FFFD: whole_K counts the characters that are complete.
    prefixes = [decode(tokenizer, tokens_K[: i + 1]) for i in range(len(tokens_K))]
    whole_K = np.array([len(prefix.rstrip("\ufffd")) for prefix in prefixes], np.int64)
    started_K = np.array([prefix.endswith("\ufffd") for prefix in prefixes], np.int64)
    return text, np.concatenate([[0], whole_K[:-1]]), whole_K + started_K


def get_completions(given: Given, groups: Sequence[Group]) -> list[str]:
    """Return the texts behind the prompts as they were graded, revealed parts included, one per episode."""
    return [get_completion(given.task, e) for e in list_episodes(groups)]


def get_completion(task: Task, episode: Episode) -> str:
    """Return the text of an episode behind its prompt, without the end token and cut at the stop string."""
    answer_T = episode.tokens_T[episode.role_T != Role.PROMPT]
    ended = len(answer_T) > 0 and int(answer_T[-1]) in task.end_tokens
    return task.completion(answer_T, stopped=bool(task.stop_strings) and episode.terminated and not ended)


def get_problems(given: Given, groups: Sequence[Group]) -> list[Problem]:
    """Return the problem of each group."""
    return [given.task.lookup(group.problem_id).problem for group in groups]


# -- the tables -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Provided:
    """One keyword that is handed over for a requirement.

    Attributes:
        keyword: Its name for parts that are called with groups.
        episode_keyword: Its name for token weights, which are called with an episode.
        per: ``token`` and ``episode``: a list with an entry for each episode of the groups that are asked for, for
            tokens an array (T,). ``group``: one value per group. ``update``: one value.
        make: (given, groups) -> the value, or the list of values; not asked for what :data:`SCORES` computes.
    """

    keyword: str
    episode_keyword: str
    per: Literal["token", "episode", "group", "update"]
    make: Callable[[Given, Sequence[Group]], Any] = lambda given, groups: None


PROVIDED: dict[str, Provided] = {
    # A forward pass of the policy as it is before the update, at sampled and revealed tokens: log pi, float32.
    "log_probs": Provided("log_prob_GT", "log_prob_T", "token"),
    # The same up to rounding: what the rollout recorded where that is it, a forward pass elsewhere.
    "old_log_probs": Provided("old_log_prob_GT", "old_log_prob_T", "token"),
    # A forward pass of the reference.
    "reference_log_probs": Provided("reference_log_prob_GT", "reference_log_prob_T", "token"),
    # A forward pass of the policy: entropies in nats.
    "entropy": Provided("entropy_GT", "entropy_T", "token"),
    # Function of a group: hidden states and residuals at its sampled tokens; the memory of one group at a time.
    "states": Provided("states_of", "states_of", "update", get_states),
    # Sampled tokens that end a line, bool.
    "step_ends": Provided("step_end_GT", "step_end_T", "token", find_step_ends),
    # Tokens of the final answer, bool.
    "answer_spans": Provided("answer_GT", "answer_T", "token", find_answers),
    # Completions as text.
    "texts": Provided("completion_G", "completion", "episode", get_completions),
    # The problem.
    "problem": Provided("problem", "problem", "group", get_problems),
    # The task.
    "task": Provided("task", "task", "update", lambda given, groups: given.task),
    # Most sampled tokens of an episode.
    "budget": Provided("budget", "budget", "update", lambda given, groups: given.task.max_new_tokens),
}
"""Requirement -> what is handed over for it."""

SLOTS: dict[str, frozenset[str]] = {
    "strategy": frozenset({"guidance"}),
    "shaping": frozenset(PROVIDED),
    "selection": frozenset(PROVIDED),
    "advantage": frozenset({"groups"}),
    "credit": frozenset(PROVIDED),
    "token_weight": frozenset(PROVIDED) - {"states"} | {"advantage"},
    "loss": frozenset({"off_policy_log_probs", "sets", "every_row", "reference_log_probs"}),
    "reference": frozenset({"reference_log_probs"}),
    "regularizer": frozenset({"entropy_gradient"}),
    "controller": frozenset(),
    "optimizer": frozenset(),
}
"""Slot of a recipe -> what its part may require."""


ARGUMENTS: dict[str, tuple[str, ...]] = {
    "strategy": ("policy", "envs"),
    "shaping": ("group",),
    "selection": ("groups", "reward_PG"),
    "advantage": ("reward_G",),
    "credit": ("groups", "advantage_PG"),
    "token_weight": ("episode",),
    "loss": ("log_probs_NT", "batch"),
    "reference": ("log_probs_NT", "batch"),
    "regularizer": ("entropy_NT", "batch"),
}
"""Slot of a recipe -> what its part is called with, before the keywords of what it requires."""


def list_arguments(slot: str, part: Any) -> tuple[tuple[str, ...], list[str]]:
    """Return the names of the arguments that a part is called with, by position and by keyword."""
    asked = get_requirements(part)
    if slot == "advantage" and "groups" in asked:
        return ("reward_PG", "groups"), []
    if slot in ("loss", "reference"):  # what they require is in the batch
        return ARGUMENTS[slot], []
    provided = [PROVIDED[name] for name in sorted(asked & PROVIDED.keys())]
    if slot != "token_weight":
        return ARGUMENTS[slot], [one.keyword for one in provided]
    return ARGUMENTS[slot], [one.episode_keyword for one in provided] + sorted(asked & {"advantage"})


def check_parts(recipe: Recipe) -> None:
    """Raise ConfigurationError unless every part is an object that can be called as its slot says."""
    for slot in ARGUMENTS:
        part = getattr(recipe, slot)
        if part is None and slot in ("credit", "regularizer"):
            continue
        arguments, keywords = list_arguments(slot, part)
        rule = f"must be an object that is called with ({', '.join([*arguments, *keywords])})"
        if isinstance(part, type) or not callable(part):
            made = f"; make one: {part.__name__}()" if isinstance(part, type) else ""
            raise ConfigurationError(f"{slot}={part!r:.80} {rule}{made}")
        if slot == "token_weight" and type(part) in map(type, FILTERS.values()):
            name = type(part).__name__
            raise ConfigurationError(f"{slot}={name} chooses revealed tokens: TokenMean(revealed=True, which={name}())")
        check_own_numbers(slot, part)
        try:
            inspect.signature(part).bind(*arguments, **dict.fromkeys(keywords))
        except TypeError as error:
            raise ConfigurationError(f"{slot}={type(part).__name__} {rule}; {error}") from None
    for slot, kind in (("optimizer", Optimizer), ("controller", Controller)):
        part = getattr(recipe, slot)
        if not isinstance(part, kind) and not (part is None and slot == "controller"):
            raise ConfigurationError(f"{slot}={part!r:.80} must be an object of a class derived from {kind.__name__}")


def check_own_numbers(slot: str, part: Any) -> None:
    """Raise ConfigurationError where a part has an optimiser and does not say what is to be saved with it."""
    if callable(getattr(part, "optimizer", None)) and not isinstance(part, Stateful):
        raise ConfigurationError(
            f"{slot}={type(part).__name__} has optimizer() and must have state_dict() and load_state_dict(state) too, "
            "which save the numbers that it trains"
        )


def check_requirements(recipe: Recipe) -> None:
    """Raise ConfigurationError unless every part requires only what its slot can be given."""
    for field in fields(recipe):
        part = getattr(recipe, field.name)
        for name in sorted(get_requirements(part) - SLOTS[field.name]):
            known = sorted(SLOTS[field.name])
            allowed = f"one of {', '.join(known)}" if known else "nothing"
            raise ConfigurationError(
                f"{field.name}={type(part).__name__} requires {name!r}, but this slot may require {allowed}"
                + suggest(name, known)
            )
