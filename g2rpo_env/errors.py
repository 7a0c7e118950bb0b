"""Every exception the library raises on purpose, in one place.

Each class is also the builtin (or Gymnasium) class that a caller would expect, so that ``except ValueError`` works
for those who do not know this module. The command line prints a :class:`G2RPOError` as one line; anything else keeps
its traceback, because it is a defect and not a mistake of the user.
"""

from typing import Any

from gymnasium import error as gym_error


class G2RPOError(Exception):
    """Base class of all errors of this library."""


class ConfigurationError(G2RPOError, ValueError):
    """An argument has a value that breaks a stated rule."""


class MissingGuidanceError(ConfigurationError):
    """A controller was given, but no guidance wrapper that could follow it."""


class VocabularyMismatchError(ConfigurationError):
    """The policy and the environment do not speak the same tokens."""


class TokenizerError(G2RPOError, ValueError):
    """A tokenizer that cannot be used: no end token, or no exact round trip."""


class DataError(G2RPOError, ValueError):
    """A data file that cannot be read as problems; the message names the file and the line."""


class BudgetError(G2RPOError, ValueError):
    """A context that does not fit into the token budget of the environment or the model."""


class UnknownProblemError(G2RPOError, LookupError):
    """A problem id that the source does not know."""


class ResetNeededError(G2RPOError, gym_error.ResetNeeded):
    """``step`` was called while no episode was running."""


class InvalidActionError(G2RPOError, gym_error.InvalidAction, ValueError):
    """An action that is no token id of the vocabulary."""


class NonFiniteError(G2RPOError, ArithmeticError):
    """A reward, a log-probability or a loss that is NaN or infinite."""


class OutOfMemoryError(G2RPOError, MemoryError):
    """An update that does not fit into memory; the message names the options that make it smaller."""


class GenerationError(G2RPOError, RuntimeError):
    """Answers of another generator that do not fit: too few, unfinished, or not from the policy's distribution."""


class RunExistsError(G2RPOError, FileExistsError):
    """A run folder that already holds a run; nothing is ever overwritten."""


class ResumeError(G2RPOError, RuntimeError):
    """A checkpoint that does not belong to what it is loaded into."""


class ComparisonError(G2RPOError, RuntimeError):
    """Arms of a comparison that failed; the message names each with its seed, all others are kept.

    Attributes:
        found: The :class:`~g2rpo_env.experiments.comparison.Comparison` of the arms that are done, or None.
    """

    def __init__(self, message: str, found: Any = None) -> None:
        super().__init__(message)
        self.found = found


class WarmStartError(G2RPOError, RuntimeError):
    """A warm start that ended without a single right answer: nothing could be learnt from what its policy samples."""


class StorageError(G2RPOError, OSError):
    """A file that could not be written, most often because the disk is full; what was there before is whole."""


class StudyError(G2RPOError, RuntimeError):
    """Runs of a study that failed; the message holds what the first one said, all others are kept."""


class ConformanceError(G2RPOError, AssertionError):
    """An environment, a task, a source or a verifier that breaks the contract; the message says what to fix."""


class SandboxUnavailableError(G2RPOError, OSError):
    """This system cannot isolate untrusted programs well enough; the message says what it lacks and what to do."""


class MissingDependencyError(G2RPOError, gym_error.DependencyNotInstalled, ImportError):
    """An optional package is missing; the message names the extra that installs it."""
