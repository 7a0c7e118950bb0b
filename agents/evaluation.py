"""Evaluation: unguided accuracy on a split, greedy or sampled, with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from g2rpo_env.agents.policy.protocol import SamplingPolicy
from g2rpo_env.agents.progress import Report
from g2rpo_env.agents.rollout import collect
from g2rpo_env.episode import Episode, Role
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.estimators import pass_at_k
from g2rpo_env.problem import distinct_ids
from g2rpo_env.task import Task
from g2rpo_env.tokenizer import decode
from g2rpo_env.vector import TokenVectorEnv
from g2rpo_env.verdict import Outcome

MODES = ("greedy", "sampled")
LANES = 128

EXAMPLES = 3
"""Answers that an evaluation keeps for people to look at."""

ContextRule = Callable[[Task, str], np.ndarray]
"""(task, problem_id) -> int32 (T,), what an answer starts from in the place of the prompt."""


@dataclass(frozen=True)
class Answer:
    """One answer of an evaluation, for people to look at.

    Attributes:
        problem_id: The problem.
        completion: What the policy wrote, end token left out.
        answer: The final answer that the verifier found in it, or None.
        outcome: Its finding.
        truncated: Whether the budget was spent before the end token.
    """

    problem_id: str
    completion: str
    answer: str | None
    outcome: Outcome
    truncated: bool


@dataclass(frozen=True)
class Evaluation:
    """Result of an evaluation.

    Attributes:
        accuracy: Mean over problems of the share of correct answers (pass@1), in [0, 1].
        interval: 95 % interval of ``accuracy``: Wilson's for one answer per problem, see :func:`interval95` for more.
        pass_at: k -> unbiased pass@k.
        split: The split.
        mode: ``greedy`` or ``sampled``.
        problem_ids: The problems, in order.
        correct_PS: bool (P, S), correct answers by problem and sample; what paired comparisons are made from.
        valid_PS: bool (P, S), False where the verifier failed; such answers are left out.
        outcomes: Finding of the verifier -> how many of all P x S answers have it.
        truncated: How many of them spent the budget before their end token, whatever the finding.
        max_new_tokens: That budget, in tokens; None where nobody said.
        examples: Up to three answers, one of each finding first, in the order of the problems.
    """

    accuracy: float
    interval: tuple[float, float]
    pass_at: dict[int, float]
    split: str
    mode: str
    problem_ids: tuple[str, ...] = field(repr=False)
    correct_PS: np.ndarray = field(repr=False)
    valid_PS: np.ndarray = field(repr=False)
    outcomes: Mapping[Outcome, int] = field(default_factory=dict)
    truncated: int = 0
    max_new_tokens: int | None = None
    examples: tuple[Answer, ...] = field(default=(), repr=False)

    def to_config(self) -> dict[str, Any]:
        """Return the numbers as plain data."""
        return {
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "pass_at": {str(k): v for k, v in self.pass_at.items()},
            "split": self.split,
            "mode": self.mode,
            "problems": len(self.problem_ids),
            "samples": self.correct_PS.shape[1],
            "outcomes": {str(outcome): count for outcome, count in self.outcomes.items()},
            "truncated": self.truncated,
            "examples": [asdict(answer) for answer in self.examples],
        }


def evaluate(
    policy: SamplingPolicy,
    envs: Any,
    *,
    split: str = "test",
    problems: int = 256,
    mode: str = "greedy",
    k: Sequence[int] = (1,),
    samples: int | None = None,
    seed: int = 0,
    context: ContextRule | None = None,
    progress: Report | None = None,
) -> Evaluation:
    """Return the accuracy of a policy on distinct problems of a split, without guidance.

    Args:
        policy: The policy.
        envs: Any environment of the task; a new one is built on its task, ``envs`` itself is not touched.
        split: ``train``, ``validation``, ``test`` or ``warmstart``.
        problems: Number of distinct problems (fewer if the split holds fewer).
        mode: ``greedy`` or ``sampled``.
        k: Values of k for pass@k; greedy answers are one per problem, so only k = 1.
        samples: Samples per problem in sampled mode, >= max(k); None gives max(k).
        seed: Chooses the problems and the samples.
        context: Tokens that answers start from in the place of the prompt; None for the prompt.
        progress: Told after each step of the answers how much is done; the total is what answers of full length take.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """
    if mode not in MODES:
        raise ConfigurationError(f"mode={mode!r} must be one of {', '.join(MODES)}")
    if samples is not None and (samples < 1 or mode == "greedy"):
        raise ConfigurationError(f"samples={samples} must be at least 1 in mode 'sampled' and None in mode 'greedy'")
    tries = 1 if mode == "greedy" else samples or max(k, default=1)
    if not k or min(k) < 1 or max(k) > tries:
        raise ConfigurationError(f"k={tuple(k)} must lie in [1, {tries}], the answers per problem in mode {mode!r}")
    task = envs.unwrapped.task.with_split(split)
    ids = distinct_ids(task.source, problems, seed)
    per_batch = max(1, min(LANES // tries, len(ids)))
    env = TokenVectorEnv(task, per_batch * tries, group_size=tries, autoreset_mode="DISABLED", copy=False)
    start_of = {} if context is None else encode_contexts(context, env, ids)
    correct = np.zeros((len(ids), tries), bool)
    valid = np.zeros((len(ids), tries), bool)
    answers: list[Episode] = []
    # Groups are numbered from 0, as problems are: what a problem's samples are does not depend on the others.
    env.load_state_dict({"root": int(seed), "counter": 0, "open": {}})
    told = StepReport(progress, -(-len(ids) // per_batch), task.max_new_tokens)
    for number, start in enumerate(range(0, len(ids), per_batch)):
        chunk = ids[start : start + per_batch]
        # The last batch is filled up with repeats, which are not counted.
        padded = chunk + chunk[-1:] * (per_batch - len(chunk))
        lanes = np.repeat(np.array(padded, dtype=object), tries)
        options: dict[str, Any] = {"problem": lanes}
        if start_of:
            options["prefix"] = [start_of[problem_id] for problem_id in lanes]
            options["prefix_roles"] = [np.full(len(tokens_T), Role.PROMPT, np.int8) for tokens_T in options["prefix"]]
        groups = collect(policy, env, greedy=mode == "greedy", options=options, on_step=told.of(number))
        for row, group in zip(range(start, start + len(chunk)), groups, strict=False):
            correct[row] = [e.correct for e in group.episodes]
            valid[row] = [e.valid for e in group.episodes]
            answers += group.episodes
    found = summarise(correct, valid, k, split, mode, tuple(ids))
    return replace(
        found,
        outcomes=count_outcomes(answers),
        truncated=sum(e.truncated for e in answers),
        max_new_tokens=task.max_new_tokens,
        examples=tuple(read_answer(e, task) for e in choose_examples(answers)),
    )


def count_outcomes(answers: Sequence[Episode]) -> dict[Outcome, int]:
    """Return every finding of a verifier and how many of some answers have it."""
    return {outcome: sum(e.verdict.outcome is outcome for e in answers) for outcome in Outcome}


def choose_examples(answers: Sequence[Episode], count: int = EXAMPLES) -> list[Episode]:
    """Return up to ``count`` answers: the first one of each finding, then the first ones of all."""
    firsts = {e.verdict.outcome: number for number, e in reversed(list(enumerate(answers)))}
    order = [*sorted(firsts.values()), *(n for n in range(len(answers)) if n not in firsts.values())]
    return [answers[number] for number in sorted(order[:count])]


def read_answer(episode: Episode, task: Task) -> Answer:
    """Return an episode as an answer that people can read."""
    sampled_T = episode.tokens_T[episode.sampled_T]
    written_T = sampled_T[sampled_T != task.eos_token_id]
    verdict = episode.verdict
    return Answer(
        episode.problem_id, decode(task.tokenizer, written_T), verdict.answer, verdict.outcome, episode.truncated
    )


def explain_unread(unanswered: int, truncated: int, answers: int, max_new_tokens: int | None = None) -> str | None:
    """Return why a success near 0 may say nothing about skill, and what to do; None where most answers can be graded.

    Args:
        unanswered: Answers in which the verifier found no final answer.
        truncated: Answers that spent the budget before their end token.
        answers: All answers.
        max_new_tokens: That budget.

    >>> print(explain_unread(22, 20, 24, 256))
    22 of 24 answers hold no final answer that the verifier can read, and 20 of 24 were cut off at max_new_tokens=256: \
this measures the form of the answers more than skill. Read some of them; give a prompt that asks for the form the \
verifier reads (option template, where the task has one), or show it by a warm start; raise max_new_tokens
    >>> explain_unread(3, 4, 24)
    """
    budget = "the budget" if max_new_tokens is None else f"max_new_tokens={max_new_tokens}"
    found, advice = [], []
    if 2 * unanswered > answers:
        found.append(f"{unanswered} of {answers} answers hold no final answer that the verifier can read")
        advice.append(
            "give a prompt that asks for the form the verifier reads (option template, where the task has one), "
            "or show it by a warm start"
        )
    if 2 * truncated > answers:
        found.append(f"{truncated} of {answers}{'' if found else ' answers'} were cut off at {budget}")
        advice.append("raise max_new_tokens")
    if not found:
        return None
    return (
        f"{', and '.join(found)}: this measures the form of the answers more than skill. "
        f"Read some of them; {'; '.join(advice)}"
    )


class UnreadWatch:
    """Callback of a training loop that says once if most answers of an update cannot be graded.

    Args:
        say: Called with what :func:`explain_unread` says.
        max_new_tokens: Budget of an answer, in tokens.
    """

    def __init__(self, say: Callable[[str], object], max_new_tokens: int | None = None) -> None:
        self.say, self.max_new_tokens = say, max_new_tokens
        self.has_said = False

    def __call__(self, metrics: Mapping[str, Any], seconds: float) -> None:
        """Look at the metrics of one update."""
        answers, shares = metrics.get("episodes"), [metrics.get(name) for name in ("no_answer", "truncated")]
        if self.has_said or not answers or None in shares:
            return
        unanswered, truncated = (round(float(share or 0) * answers) for share in shares)
        text = explain_unread(unanswered, truncated, answers, self.max_new_tokens)
        if text is not None:
            self.has_said = True
            self.say(f"Update {metrics['update']}: {text}")


class StepReport:
    """Turns the steps of several rollouts, one after the other, into a :data:`~g2rpo_env.agents.progress.Report`.

    Args:
        progress: The report; None for none.
        rollouts: Their number.
        steps: The most steps of each.
    """

    def __init__(self, progress: Report | None, rollouts: int, steps: int) -> None:
        self.progress, self.rollouts, self.steps = progress, rollouts, steps

    def of(self, number: int) -> Callable[[int], None] | None:
        """Return what a rollout tells its steps to, the rollouts numbered from 0."""
        report = self.progress
        if report is None:
            return None
        report(number, self.rollouts)  # answers that ended early leave a gap, which this closes
        return lambda steps: report(number + min(1.0, steps / self.steps), self.rollouts)


def encode_contexts(context: ContextRule, env: TokenVectorEnv, ids: Sequence[str]) -> dict[str, np.ndarray]:
    """Return problem_id -> the tokens that answers start from, and make room for them in the environment."""
    task = env.task
    start_of = {problem_id: np.asarray(context(task, problem_id), np.int32) for problem_id in ids}
    env.make_room(max(len(start_of[problem_id]) - len(task.lookup(problem_id).prompt_T) for problem_id in ids))
    return start_of


def summarise(
    correct_PS: np.ndarray, valid_PS: np.ndarray, k: Sequence[int], split: str, mode: str, ids: tuple[str, ...]
) -> Evaluation:
    """Return accuracy, interval and pass@k of answers; problems without a valid answer are left out."""
    counted = valid_PS.any(axis=1)
    totals = valid_PS[counted].sum(axis=1)
    hits = (correct_PS & valid_PS)[counted].sum(axis=1)
    if not counted.any():
        return Evaluation(math.nan, (math.nan, math.nan), {}, split, mode, ids, correct_PS, valid_PS)
    share_P = hits / totals
    pass_at = {}
    for n in k:
        values = [pass_at_k(int(t), int(c), n) for t, c in zip(totals, hits, strict=True) if t >= n]
        pass_at[int(n)] = float(np.mean(values)) if values else math.nan
    return Evaluation(float(share_P.mean()), interval95(share_P), pass_at, split, mode, ids, correct_PS, valid_PS)


def interval95(share_P: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of a mean over problems, whose bounds never fall when a share rises.

    A bootstrap over problems, kept between two of Wilson's intervals: that of the problems which were always solved,
    and that of those which were ever solved. Where every share is 0 or 1 both are Wilson's interval itself. Near 0 and
    1 the bootstrap knows too little: one success among many samples would narrow the interval of none.
    """
    solved = (share_P >= 1).sum(), (share_P > 0).sum()
    always, ever = (_wilson95(int(number), len(share_P)) for number in solved)
    low, high = (
        min(max(value, least), most) for value, least, most in zip(bootstrap95(share_P), always, ever, strict=True)
    )
    return low, high


def _wilson95(successes: int, trials: int) -> tuple[float, float]:
    from scipy import stats

    bounds = stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    return float(bounds.low), float(bounds.high)


def bootstrap95(value_P: np.ndarray) -> tuple[float, float]:
    """Return the 95 % percentile interval of a mean over problems (2,000 resamples, seeded)."""
    picks = np.random.default_rng(0).integers(len(value_P), size=(2000, len(value_P)))
    low, high = np.percentile(value_P[picks].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def paired_difference(one: Evaluation, other: Evaluation) -> tuple[float, tuple[float, float]]:
    """Return accuracy(one) - accuracy(other) with its 95 % interval, paired over the same problems.

    A bootstrap over problems. Answers whose verifier failed are left out, and problems without a valid answer on
    either side.

    Raises:
        ConfigurationError: the evaluations are not of the same problems.
    """
    if one.problem_ids != other.problem_ids:
        raise ConfigurationError("paired_difference needs two evaluations of the same problems in the same order")
    counted = np.logical_and(one.valid_PS.any(axis=1), other.valid_PS.any(axis=1))
    if not counted.any():
        return math.nan, (math.nan, math.nan)
    difference_P = _shares(one, counted) - _shares(other, counted)
    return float(difference_P.mean()), bootstrap95(difference_P)


def mean_over_seeds(evaluations: Sequence[Evaluation]) -> tuple[float, tuple[float, float]]:
    """Return the mean accuracy of several training seeds with a 95 % interval.

    A bootstrap in two stages, first seeds and then problems (2,000 resamples, seeded). With three seeds it is too
    narrow to prove anything by itself: read the seeds one by one as well.

    Args:
        evaluations: One per seed, each with at least one valid answer.
    """
    shares = [_shares(evaluation, np.any(evaluation.valid_PS, axis=1)) for evaluation in evaluations]
    rng = np.random.default_rng(0)
    means = np.empty(2000)
    for number in range(len(means)):
        seeds = rng.integers(len(shares), size=len(shares))
        means[number] = np.mean([rng.choice(shares[seed], len(shares[seed])).mean() for seed in seeds])
    low, high = np.percentile(means, [2.5, 97.5])
    return float(np.mean([share_P.mean() for share_P in shares])), (float(low), float(high))


def _shares(evaluation: Evaluation, problems: np.ndarray) -> np.ndarray:
    """Return the share of correct answers among the valid ones of each chosen problem."""
    valid_PS = evaluation.valid_PS[problems]
    return (evaluation.correct_PS[problems] & valid_PS).sum(axis=1) / valid_PS.sum(axis=1)
