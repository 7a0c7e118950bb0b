"""The verifier of programs and the task that it grades.

Everything that finishes together is one batch for the sandbox of this process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

from g2rpo_env.envs.coding.checks import CodeOutcome, CodeVerdict
from g2rpo_env.envs.coding.programs import CodeProblem, answer_part, fenced_block
from g2rpo_env.envs.coding.sandbox import Sandbox, shared_sandbox
from g2rpo_env.envs.options import CodeOptions, accept_options, task_options
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.machine import available_cores
from g2rpo_env.task import Task
from g2rpo_env.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from g2rpo_env.problem import Problem, ProblemSource

REWARDS = ("all", "share")
"""Ways to pay a reward: 1 if every test passes, or the share of the tests that pass."""


class ProgramVerifier:
    """Correct if every test passes, executed in isolation.

    It keeps no process: the sandbox is found by its options, is started at the first check, and is shared by all
    environments of a process, so that copies and pickles are cheap and a forked worker gets one of its own.

    Args:
        reward: ``all`` or ``share`` of the tests.
        format_reward: Share of the reward, in [0, 1), that is paid for a complete fenced block, right or wrong.
        timeout: Seconds for loading a program and all calls of its tests.
        workers: Programs checked at the same time; None takes as many as this process may use cores.
        memory_mb: Address space of a program in MiB.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    def __init__(
        self,
        reward: str = "all",
        format_reward: float = 0.0,
        timeout: float = 3.0,
        workers: int | None = None,
        memory_mb: int = 1024,
    ) -> None:
        if reward not in REWARDS:
            raise ConfigurationError(f"reward={reward!r} must be one of {', '.join(REWARDS)}")
        if not 0 <= format_reward < 1:
            raise ConfigurationError(f"format_reward={format_reward} must lie in [0, 1)")
        self.reward, self.format_reward = reward, format_reward
        workers = workers or available_cores()
        self.options: dict[str, Any] = {"timeout": timeout, "workers": workers, "memory_mb": memory_mb}
        Sandbox(**self.options)  # refuses bad options here, not in the middle of a training; starts nothing

    def __call__(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        """Return one verdict per completion, all checked in one call of the sandbox."""
        verdicts = [Verdict(Outcome.NO_ANSWER)] * len(problems)
        programs, checks = [], []
        for place, (problem, completion) in enumerate(zip(problems, completions, strict=True)):
            if not isinstance(problem, CodeProblem):
                raise ConfigurationError(f"problem {problem.problem_id!r} must be a CodeProblem, which has tests")
            block = fenced_block(completion)
            code = answer_part(completion) if block is None else block
            if code.strip():
                programs.append((place, code, block is not None))
                checks.append(problem.check(problem.join(code)))
        found = shared_sandbox(**self.options).check(checks)
        for (place, code, fenced), verdict in zip(programs, found, strict=True):
            verdicts[place] = self._verdict(verdict, code, fenced)
        return verdicts

    def _verdict(self, found: CodeVerdict, code: str, fenced: bool) -> Verdict:
        if not found.valid:
            return Verdict(Outcome.ERROR, message=f"{found.outcome}: {found.message}", seconds=found.seconds)
        score = None
        if self.reward == "share" or self.format_reward:
            passed = found.share if self.reward == "share" else float(found.correct)
            score = (1 - self.format_reward) * passed + self.format_reward * fenced
        return Verdict(
            Outcome.CORRECT if found.correct else Outcome.WRONG,
            code,
            "" if found.outcome is CodeOutcome.PASSED else f"{found.outcome}: {found.message}",
            score,
            found.seconds,
        )


class CodeTask(Task):
    """A task whose answers are programs, the base of them all: it follows the options that they share.

    Args:
        source: Where problems come from, each a CodeProblem.
        max_new_tokens: Budget of sampled tokens.
        options: See :class:`g2rpo_env.envs.options.CodeOptions`.

    Raises:
        ConfigurationError: an argument breaks its rule.
        BudgetError: a problem does not fit into ``max_length``.
    """

    @accept_options(CodeOptions)
    def __init__(self, source: ProblemSource, max_new_tokens: int, **options: Unpack[CodeOptions]) -> None:
        super().__init__(
            source,
            ProgramVerifier(options["reward"], options["format_reward"], options["timeout"], options["workers"]),
            max_new_tokens=max_new_tokens,
            **task_options(options),
        )
