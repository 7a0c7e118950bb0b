"""Exceptions across the boundary: which class they have here, and what they are built from."""

import pytest

from g2rpo_env.envs.coding.exceptions import CandidateError, ProgramExit, build_error, exception_of, name_missing


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        (["ValueError", "ValueError", "no"], ValueError),
        (["Own", "ValueError", "no"], CandidateError),  # its own class, which only claims to be builtin
        (["SystemExit", "SystemExit", "0"], CandidateError),
        (["UnicodeDecodeError", "UnicodeDecodeError", ""], CandidateError),  # takes five arguments
        (["eval", "eval", "1"], CandidateError),
        ([], CandidateError),
    ],
)
def test_exceptions_from_afar_are_builtin_or_ours(parts: list, kind: type) -> None:
    assert type(exception_of(parts)) is kind


def test_errors_are_built_from_their_arguments_or_their_message() -> None:
    assert build_error(KeyError, "'k'", ["k"]).args == ("k",)
    found = build_error(FileNotFoundError, "[Errno 2] no: 'f'", [2, "no"])
    assert isinstance(found, OSError) and found.errno == 2
    assert isinstance(build_error(UnicodeDecodeError, "bad", []), UnicodeDecodeError)
    assert issubclass(ProgramExit, SystemExit)


def test_a_name_error_says_which_name() -> None:
    with pytest.raises(NameError) as error:
        exec("nowhere")
    assert name_missing(str(error.value)) == "nowhere" and name_missing("no name") == ""
