"""Errors: each is also what a caller would expect who does not know this library."""

import pytest
from gymnasium import error as gym_error

from g2rpo_env import errors

CLASSES = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, Exception)]

EXPECTED = {
    errors.ConfigurationError: ValueError,
    errors.MissingGuidanceError: ValueError,
    errors.VocabularyMismatchError: ValueError,
    errors.TokenizerError: ValueError,
    errors.DataError: ValueError,
    errors.BudgetError: ValueError,
    errors.UnknownProblemError: LookupError,
    errors.ResetNeededError: gym_error.ResetNeeded,
    errors.InvalidActionError: gym_error.InvalidAction,
    errors.NonFiniteError: ArithmeticError,
    errors.OutOfMemoryError: MemoryError,
    errors.GenerationError: RuntimeError,
    errors.RunExistsError: FileExistsError,
    errors.ResumeError: RuntimeError,
    errors.ComparisonError: RuntimeError,
    errors.WarmStartError: RuntimeError,
    errors.StorageError: OSError,
    errors.StudyError: RuntimeError,
    errors.ConformanceError: AssertionError,
    errors.SandboxUnavailableError: OSError,
    errors.MissingDependencyError: gym_error.DependencyNotInstalled,
}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_all_errors_are_caught_as_one_and_print_their_message(cls: type[Exception]) -> None:
    with pytest.raises(errors.G2RPOError) as caught:
        raise cls("length=-1 must be at least 0")
    # KeyError, say, would print its message in quotes; the command line prints it as it is
    assert str(caught.value) == "length=-1 must be at least 0"


@pytest.mark.parametrize("cls,base", EXPECTED.items(), ids=lambda cls: cls.__name__)
def test_errors_are_what_callers_catch(cls: type, base: type) -> None:
    assert issubclass(cls, base)


def test_no_error_is_missing_above() -> None:
    assert set(CLASSES) - {errors.G2RPOError} == set(EXPECTED)
