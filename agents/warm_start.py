"""Supervised warm start: a weak base policy, stopped by its measured success and not by a number of steps.

Seeds differ: the same number of supervised steps leaves one seed ten times weaker than another. A base is therefore
stopped when its sampled success on validation problems first lies in a given range.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from g2rpo_env._version import __version__
from g2rpo_env.agents.batch import make_batch
from g2rpo_env.agents.evaluation import ContextRule, evaluate
from g2rpo_env.agents.loop import run_updates
from g2rpo_env.agents.parts.losses.surrogate import LogLikelihood
from g2rpo_env.agents.parts.token_weights.means import TokenMean
from g2rpo_env.agents.policy.causal_lm import CausalLMPolicy
from g2rpo_env.episode import Episode, Role
from g2rpo_env.errors import BudgetError, ConfigurationError, WarmStartError
from g2rpo_env.problem import distinct_ids
from g2rpo_env.streams import Seed, stream
from g2rpo_env.task import Task
from g2rpo_env.verdict import Outcome, Verdict


@dataclass(frozen=True)
class WarmStart:
    """Options of a warm start.

    Args:
        success: Range (low, high) of sampled success to stop in, 0 <= low < high <= 1.
        learning_rate: Of AdamW, > 0.
        warmup: Steps over which the learning rate rises linearly, >= 0; without them some seeds start out badly.
        batch_size: Solutions per step, fewer where they are long, see ``batch_tokens``.
        batch_tokens: A step takes no further solution once it holds so many tokens, prompts included.
        problems: Distinct solutions to learn from, epoch after epoch; None for no limit but that of the split. A policy
            that has seen few is confidently wrong on new problems, and sampling more will not help it.
        max_steps: Give up after so many steps; the policy is then the last one, and the result says so. It also ends
            where nothing is left to learn, see :data:`LEARNT`.
        max_tokens: Give up after so many tokens, likewise.
        check_every: Steps between checks; halved each time a check finds the success above the range.
        samples: Sampled answers per check, on distinct validation problems where there are as many, else several on
            each.
        seed: Of the order of the solutions and of the samples.
    """

    success: tuple[float, float] = (0.01, 0.03)
    learning_rate: float = 2e-3
    warmup: int = 50
    batch_size: int = 64
    batch_tokens: int = 8192
    problems: int | None = None
    max_steps: int = 2000
    max_tokens: int = 3_000_000
    check_every: int = 20
    samples: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        low, high = self.success
        if not 0 <= low < high <= 1:
            raise ConfigurationError(f"success={self.success} must be a range (low, high) within [0, 1]")
        if not self.learning_rate > 0:
            raise ConfigurationError(f"learning_rate={self.learning_rate} must be above 0")
        if self.problems is not None and self.problems < 1:
            raise ConfigurationError(f"problems={self.problems} must be None or at least 1")
        if self.warmup < 0:
            raise ConfigurationError(f"warmup={self.warmup} must be at least 0")
        for name in ("batch_size", "batch_tokens", "max_steps", "max_tokens", "check_every", "samples"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name}={getattr(self, name)} must be at least 1")


@dataclass(frozen=True)
class WarmStartResult:
    """Result of a warm start.

    Attributes:
        steps: Supervised steps taken.
        success: Sampled success at the last check, in [0, 1].
        reached: Whether it lies in the range that was asked for.
        reason: Why it ended elsewhere; empty where it was reached.
    """

    steps: int
    success: float
    reached: bool
    reason: str = ""


def warm_start(
    policy: CausalLMPolicy,
    envs: Any,
    options: WarmStart | None = None,
    *,
    progress: Callable[[int, float], None] | None = None,
    context: ContextRule | None = None,
) -> WarmStartResult:
    """Train a policy in place on ground-truth solutions of the ``warmstart`` split until its success is in range.

    A policy whose success lies in or above the range already takes no step. Where a later check finds the success above
    the range, training goes back to the check before and looks twice as often; where it looks at every single step
    already, it halves the learning rate.

    Args:
        policy: The policy.
        envs: Any environment of the task; it is not touched.
        options: See :class:`WarmStart`.
        progress: Called after each check with (steps, success), the first one before any step.
        context: Tokens that stand in the place of the prompt, in training and in the checks; None for the prompt.
            Methods that put something new there need a base that has seen it, see :func:`find_context`.

    Raises:
        BudgetError: no solution fits into ``max_new_tokens``.
        ConfigurationError: no share of the sampled answers lies in the range.
    """
    options = options or WarmStart()
    low, high = options.success
    policy.check_fits(envs)
    check_range(options, on_split(envs.unwrapped.task, "validation"))
    trainer = _Trainer(policy, on_split(envs.unwrapped.task, "warmstart"), options, context)
    measure = partial(screen_success, policy, envs, options.samples, options.seed, low, context)
    checks = _Checks(trainer, options, measure, progress)
    if checks.first():
        reached = checks.success <= high
        return WarmStartResult(0, checks.success, reached, "" if reached else "it was above from the start")
    run_updates(trainer.step, lambda: not trainer.exhausted, [checks.after_step])
    reached = low <= checks.success <= high
    return WarmStartResult(trainer.steps, checks.success, reached, "" if reached else checks.reason)


def find_context(strategy: Any) -> ContextRule | None:
    """Return the context that a base must be warm-started under, or it has never seen what a strategy begins from.

    Args:
        strategy: A part of the slot ``strategy``, or None.

    Returns:
        Its ``warm_context``, else its ``context``; None where it begins from the prompt.
    """
    for name in ("warm_context", "context"):
        found: ContextRule | None = getattr(strategy, name, None)
        if found is not None:
            return found
    return None


def check_range(options: WarmStart, task: Task) -> None:
    """Raise ConfigurationError where no share of the answers of a check lies in the range of success."""
    low, high = options.success
    problems, tries = count_samples(task, options.samples, options.seed)
    answers = problems * tries
    if math.ceil(low * answers - 1e-9) > high * answers + 1e-9:
        fewest = math.ceil(1 / (high - low) - 1e-9)
        raise ConfigurationError(
            f"samples={options.samples} must be at least {fewest}: a check samples {answers} "
            f"answers ({problems} problems, {tries} each), and no share of these lies in success={options.success}"
        )


def check_base(result: WarmStartResult, options: WarmStart) -> None:
    """Raise WarmStartError where a warm start ended without a right answer, though it was asked for some."""
    low, high = options.success
    if low > 0 and result.success == 0:
        reason = f", because {result.reason}" if result.reason else ""
        raise WarmStartError(
            f"warm start: no sampled answer is right after {result.steps} steps{reason}; "
            f"success={options.success} was asked for, and training has no reward to learn from at 0. Give it more "
            "problems or easier ones, other warm options, or a policy that solves some"
        )


LEARNT = 0.005
"""Loss of the warm start, in nats per token, below which its solutions are known by heart and teach nothing more."""
MAX_HALVINGS = 12
"""Halvings of the learning rate after which no step is taken to be small enough to land in the range."""


class _Checks:
    """Measures the success every so many steps and says when to stop; goes back where it is above the range."""

    def __init__(
        self,
        trainer: _Trainer,
        options: WarmStart,
        measure: Callable[[], float],
        progress: Callable[[int, float], None] | None,
    ) -> None:
        self.trainer, self.measure, self.progress = trainer, measure, progress
        self.low, self.high = options.success
        self.every, self.since, self.success = options.check_every, 0, 0.0
        self.loss, self.halvings = 0.0, 0
        self.snapshot, self.success_there = trainer.state_dict(), 0.0
        self.reason = f"max_steps={options.max_steps} or max_tokens={options.max_tokens} is spent"

    def _check(self) -> None:
        self.success = self.measure()
        if self.progress is not None:
            self.progress(self.trainer.steps, self.success)

    def first(self) -> bool:
        """Check before any step and return whether no step is needed: above the range there is no way back."""
        self._check()
        self.success_there = self.success
        return self.success >= self.low

    def after_step(self, metrics: dict[str, Any], seconds: float) -> bool | None:
        """Check where a check is due; return False where the success lies in the range."""
        self.since, self.loss = self.since + 1, self.loss + metrics["loss"]
        if self.since < self.every and not self.trainer.exhausted:
            return None
        loss = self.loss / self.since
        self.since, self.loss = 0, 0.0
        self._check()
        if self.success > self.high:
            self.trainer.load_state_dict(self.snapshot)
            if self.every == 1:
                self.trainer.halve_learning_rate()
                self.halvings += 1
            self.every = max(1, self.every // 2)
            if self.halvings < MAX_HALVINGS:
                return None
            self.success = self.success_there  # of the policy that it went back to
            self.reason = "success jumps over the range, however small a step is"
            return False
        self.snapshot, self.success_there = self.trainer.state_dict(), self.success
        if self.success < self.low and loss < LEARNT:
            self.reason = f"the solutions are learnt by heart, at a loss of {loss:.4f} per token"
            return False
        return self.success < self.low


SCREEN = 128
"""Samples of the first look at a check."""


def screen_success(
    policy: CausalLMPolicy, envs: Any, samples: int, seed: int, low: float = 0.0, context: ContextRule | None = None
) -> float:
    """Return the sampled success, from a first look of :data:`SCREEN` samples where it is far below ``low``.

    That is where the first look finds nothing, or less than a quarter of ``low``, as most do. A policy in the range
    passes it: at a success of 1 % with ``low=0.01`` in 72 % of cases, at 2 % in 92 %, at 8 % with ``low=0.08`` in 99 %.
    """
    first = measure_success(policy, envs, min(samples, SCREEN), seed, context)
    far_below = first == 0 or first < low / 4
    return first if far_below or samples <= SCREEN else measure_success(policy, envs, samples, seed, context)


def measure_success(
    policy: CausalLMPolicy, envs: Any, samples: int, seed: int, context: ContextRule | None = None
) -> float:
    """Return the share of correct answers among sampled ones on validation problems, unguided."""
    task = on_split(envs.unwrapped.task, "validation")
    problems, tries = count_samples(task, samples, seed)
    return evaluate(
        policy,
        envs,
        split=task.source.split,
        problems=problems,
        mode="sampled",
        samples=tries,
        seed=seed,
        context=context,
    ).accuracy


def count_samples(task: Task, samples: int, seed: int) -> tuple[int, int]:
    """Return (distinct problems, samples of each) that are at least so many samples on the split of a task."""
    known = len(distinct_ids(task.source, samples, seed))  # a generated split says None, and may hold few
    tries = -(-samples // known)
    return -(-samples // tries), tries


def on_split(task: Task, split: str) -> Task:
    """Return a task on a split, or as it is if its source has no other, such as a single file of rows."""
    try:
        return task.with_split(split)
    except ConfigurationError:
        return task


class _Trainer:
    """Supervised steps on ground-truth solutions; what step n does depends on (seed, n) and the weights alone."""

    def __init__(
        self, policy: CausalLMPolicy, task: Task, options: WarmStart, context: ContextRule | None = None
    ) -> None:
        self.policy, self.task, self.options, self.context = policy, task, options, context
        self.optimizer = torch.optim.AdamW(
            policy.model.parameters(), lr=options.learning_rate, weight_decay=0.0, betas=(0.9, 0.99)
        )
        self.learning_rate = options.learning_rate
        self.pool = None if options.problems is None else distinct_ids(task.source, options.problems, options.seed)
        self.steps = self.drawn = self.tokens = 0

    @property
    def exhausted(self) -> bool:
        """Whether the steps or the tokens are spent."""
        return self.steps >= self.options.max_steps or self.tokens >= self.options.max_tokens

    def step(self) -> dict[str, Any]:
        """Take one step and return its loss, in nats per token."""
        episodes = self._next_batch()
        weights = [TokenMean()(episode) for episode in episodes]
        batch = make_batch(episodes, np.ones(len(episodes)), weights, self.policy.device)
        count, loss = batch.weight_NT.sum(), 0.0
        for part in batch.minibatches(_part_size(episodes)):
            result = LogLikelihood()(self.policy.token_log_probs(part.tokens_NT, part.mask_NT), part)
            (result.total / count).backward()
            loss += float(result.total.detach() / count)
        torch.nn.utils.clip_grad_norm_(self.policy.model.parameters(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * min(1.0, (self.steps + 1) / max(1, self.options.warmup))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        self.tokens += sum(len(episode.tokens_T) for episode in episodes)
        return {"loss": loss}

    def _next_batch(self) -> list[Episode]:
        episodes: list[Episode] = []
        room = self.options.batch_tokens
        while len(episodes) < self.options.batch_size and room > 0:
            episodes.append(self._next_solution())
            room -= len(episodes[-1].tokens_T)
        return episodes

    def _next_solution(self) -> Episode:
        for _ in range(1000):
            problem_id = self._next_problem()
            episode = solution_episode(self.task, problem_id, self.options.seed, self.context)
            if episode.sampled_T.sum() <= self.task.max_new_tokens:
                return episode
        raise BudgetError(
            f"max_new_tokens={self.task.max_new_tokens} is smaller than 1000 solutions in a row: no ground truth fits "
            "into the budget, so nothing could be learnt from it"
        )

    def _next_problem(self) -> str:
        index, self.drawn = self.drawn, self.drawn + 1
        if self.pool is None:
            return self.task.source.draw(self.options.seed, index)
        epoch, position = divmod(index, len(self.pool))
        return self.pool[stream(self.options.seed, "warm start", epoch).permutation(len(self.pool))[position]]

    def halve_learning_rate(self) -> None:
        self.learning_rate /= 2

    def state_dict(self) -> dict[str, Any]:
        return copy.deepcopy(
            {
                "model": self.policy.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "counts": (self.steps, self.drawn, self.tokens),
            }
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.policy.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self.steps, self.drawn, self.tokens = state["counts"]


PARTS = 4
"""Parts that a batch is split into by length where padding it to its longest solution would waste a lot."""


def _part_size(episodes: list[Episode]) -> int | None:
    lengths = [len(episode.tokens_T) for episode in episodes]
    wasteful = sum(lengths) < 0.8 * len(lengths) * max(lengths)
    return max(1, len(episodes) // PARTS) if wasteful else None


def solution_episode(task: Task, problem_id: str, seed: Seed, context: ContextRule | None = None) -> Episode:
    """Return a problem with its ground-truth solution and end token as an episode of role "sampled"."""
    problem = task.source.get(problem_id)
    encoded = task.encode(problem)
    prompt_T = encoded.prompt_T if context is None else np.asarray(context(task, problem_id), np.int32)
    answer_T = np.append(encoded.solution_T, np.int32(task.eos_token_id))
    tokens_T = np.concatenate([prompt_T, answer_T]).astype(np.int32)
    role_T = np.full(len(tokens_T), Role.SAMPLED, np.int8)
    role_T[: len(prompt_T)] = Role.PROMPT
    return Episode(
        tokens_T=tokens_T,
        role_T=role_T,
        logprob_T=np.zeros(len(tokens_T), np.float32),
        problem_id=problem_id,
        group=0,
        member=0,
        seed=seed,
        reveal=0,
        reward=1.0,
        verdict=Verdict(Outcome.CORRECT, problem.answer),
    )


# -- cache ------------------------------------------------------------------------------------------------------------


def cache_folder() -> Path:
    """Return where warm-started policies are kept: $G2RPO_CACHE, or g2rpo-env in the user's cache folder."""
    if os.environ.get("G2RPO_CACHE"):
        return Path(os.environ["G2RPO_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "g2rpo-env"


def load_or_warm_start(
    make_policy: Callable[[], CausalLMPolicy],
    envs: Any,
    options: WarmStart,
    *,
    progress: Callable[[int, float], None] | None = None,
    context: ContextRule | None = None,
) -> tuple[CausalLMPolicy, WarmStartResult]:
    """Return a warm-started policy, from the cache if one of this configuration is there.

    The key hashes everything the result depends on: initial weights, model configuration, tokenizer, problems,
    verifier, options and versions.
    """
    policy = make_policy()
    folder = cache_folder() / f"warm-{_key(policy, envs, options, context)}"
    if (folder / "result.json").is_file():
        result = WarmStartResult(**json.loads((folder / "result.json").read_text()))
        dtype = str(policy.model.dtype).removeprefix("torch.")
        loaded = CausalLMPolicy.from_pretrained(
            folder, temperature=policy.temperature, device=str(policy.device), dtype=dtype
        )
        return loaded, result
    result = warm_start(policy, envs, options, progress=progress, context=context)
    folder.mkdir(parents=True, exist_ok=True)
    policy.save_pretrained(folder)
    (folder / "result.json").write_text(json.dumps(asdict(result)) + "\n")  # last: its presence says "complete"
    return policy, result


def _key(policy: CausalLMPolicy, envs: Any, options: WarmStart, context: ContextRule | None = None) -> str:
    task = on_split(envs.unwrapped.task, "warmstart")
    digest = hashlib.sha256()
    digest.update(json.dumps([asdict(options), __version__, torch.__version__, torch.get_num_threads()]).encode())
    config = {k: v for k, v in policy.model.config.to_dict().items() if k != "_name_or_path"}
    digest.update(json.dumps(config, sort_keys=True, default=str).encode())
    verifier = task.verifier if hasattr(task.verifier, "__qualname__") else type(task.verifier)
    digest.update(f"{verifier.__module__}.{verifier.__qualname__}".encode())
    digest.update(policy.tokenizer.backend_tokenizer.to_str().encode())
    digest.update(json.dumps([policy.temperature, task.max_new_tokens, task.stop_strings]).encode())
    digest.update(repr([part.tolist() if isinstance(part, np.ndarray) else part for part in task.frame]).encode())
    for name, weight in policy.model.state_dict().items():
        digest.update(name.encode())
        digest.update(weight.detach().cpu().float().numpy().tobytes())
    for index in range(256):  # the problems themselves, so that options of the task need not be known here
        problem = task.source.get(task.source.draw(options.seed, index))
        digest.update(repr((problem.prompt, problem.solution)).encode())
        if context is not None:
            digest.update(np.asarray(context(task, problem.problem_id), np.int32).tobytes())
    return digest.hexdigest()[:16]
