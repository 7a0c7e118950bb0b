"""Question and answer of the sandbox: a program with its tests, and the verdict on it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from g2rpo_env.errors import ConfigurationError

RULES = ("exact", "whitespace", "numeric")
"""How the output of a script is compared with the expected one; see outputs.py."""
MAX_MESSAGE = 400  # characters


class CodeOutcome(StrEnum):
    """The fate of a program. Only ``SANDBOX_ERROR`` says nothing about it."""

    PASSED = "passed"
    WRONG = "wrong"
    """A test failed, or a call raised an exception."""
    TIMEOUT = "timeout"
    CRASH = "crash"
    """The program could not be loaded, or its process ended before it had answered."""
    REFUSED = "refused"
    """It broke a limit of the sandbox: too long, too many files, an answer that is too large."""
    SANDBOX_ERROR = "sandbox_error"
    """The tests or the sandbox failed; never to be scored as a wrong program."""


@dataclass(frozen=True)
class CodeCheck:
    """A program and one of three kinds of tests: ``test`` (HumanEval), ``asserts`` (MBPP) or ``cases`` (scripts).

    Tests and setup run as trusted code in a process of the sandbox that never holds the program: they come with the
    data set, never from a policy.

    Attributes:
        program: Untrusted source; bytes are taken as they are.
        entry_point: With ``test``: the function that ``check`` is given.
        test: Source that defines ``check(candidate)``.
        asserts: Statements such as ``"assert add(1, 2) == 3"``.
        setup: Trusted source that runs before the tests, such as the prompt of HumanEval, whose helpers tests use.
        cases: Pairs of standard input and expected standard output.
        compare: Rule for ``cases``: ``exact``, ``whitespace`` (the same words line by line, empty lines at the end
            aside) or ``numeric`` (the same words, numbers within ``tolerance``).
        tolerance: Largest absolute or relative difference of numbers under ``numeric``.
        name: Name of the problem in messages, such as ``"HumanEval/7"``.

    Raises:
        ConfigurationError: the kinds are mixed or none is given, or a value breaks its rule.
    """

    program: str | bytes
    entry_point: str | None = None
    test: str | None = None
    asserts: tuple[str, ...] | list[str] = ()
    setup: str = ""
    cases: tuple[tuple[str, str], ...] | list[tuple[str, str]] = ()
    compare: str = "whitespace"
    tolerance: float = 1e-6
    name: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.program, str | bytes):
            raise ConfigurationError(f"program must be a text or bytes, got {type(self.program).__name__}")
        kinds = [bool(self.test), bool(self.asserts), bool(self.cases)]
        if sum(kinds) != 1:
            raise ConfigurationError(f"{self._prefix}exactly one of test, asserts and cases must be given")
        if self.test and not (self.entry_point or "").isidentifier():
            raise ConfigurationError(f"{self._prefix}entry_point={self.entry_point!r} must be the name of a function")
        if isinstance(self.asserts, str):
            raise ConfigurationError(f"{self._prefix}asserts must be a list of texts, not one text")
        if self.compare not in RULES:
            raise ConfigurationError(f"{self._prefix}compare={self.compare!r} must be one of {', '.join(RULES)}")
        if not self.tolerance >= 0:
            raise ConfigurationError(f"{self._prefix}tolerance={self.tolerance} must be at least 0")

    @property
    def _prefix(self) -> str:
        return f"{self.name}: " if self.name else ""

    @property
    def source(self) -> bytes:
        """The program as bytes; half characters become bytes that no Python source may hold."""
        return self.program if isinstance(self.program, bytes) else self.program.encode("utf-8", "surrogatepass")

    def request(self) -> dict[str, Any]:
        """Return the check as JSON can write it."""
        return {**asdict(self), "program": self.source.decode("latin-1")}


@dataclass(frozen=True)
class CodeVerdict:
    """The verdict of the sandbox on one program.

    Attributes:
        outcome: See :class:`CodeOutcome`.
        share: Share of the cases that passed, in [0, 1].
        message: The first failure, in printable ASCII, at most 400 characters.
        level: Isolation it ran under: ``namespaces+landlock+seccomp``, ``landlock+seccomp`` or ``none``.
        seconds: Wall-clock time; left out of equality, like ``memory_mb``.
        memory_mb: Peak resident memory of the program's process.
    """

    outcome: CodeOutcome
    share: float = 0.0
    message: str = ""
    level: str = ""
    seconds: float = field(default=0.0, compare=False)
    memory_mb: float = field(default=0.0, compare=False)

    @property
    def correct(self) -> bool:
        """Whether every test passed."""
        return self.outcome is CodeOutcome.PASSED

    @property
    def valid(self) -> bool:
        """Whether the verdict says something about the program (False: tests or sandbox failed)."""
        return self.outcome is not CodeOutcome.SANDBOX_ERROR
