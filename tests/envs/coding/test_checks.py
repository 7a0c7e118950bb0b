"""Checks say which argument is wrong; verdicts know what they say."""

import pytest

from g2rpo_env.envs.coding import CodeCheck, CodeOutcome, CodeVerdict
from g2rpo_env.errors import ConfigurationError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one of test, asserts and cases"),
        ({"asserts": ["assert f()"], "cases": [("", "")]}, "exactly one"),
        ({"test": "def check(c): pass"}, "entry_point=None"),
        ({"test": "def check(c): pass", "entry_point": "a b"}, "entry_point='a b'"),
        ({"asserts": "assert f()"}, "must be a list of texts"),
        ({"cases": [("", "")], "compare": "fuzzy"}, "compare='fuzzy' must be one of exact"),
        ({"cases": [("", "")], "tolerance": -1.0}, "tolerance=-1.0"),
        ({"cases": [("", "")], "tolerance": float("nan")}, "tolerance=nan"),
        ({"program": None, "asserts": ["assert f()"]}, "program must be a text or bytes, got NoneType"),
    ],
)
def test_bad_arguments_are_named(options: dict, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        CodeCheck(**{"program": "", **options})


def test_the_problem_is_named_in_messages() -> None:
    with pytest.raises(ConfigurationError, match="HumanEval/7: "):
        CodeCheck("", name="HumanEval/7")


def test_a_program_travels_as_bytes_whatever_it_holds() -> None:
    check = CodeCheck("é\ud800", asserts=["assert f()"])
    assert check.source == b"\xc3\xa9\xed\xa0\x80"
    assert check.request()["program"].encode("latin-1") == check.source
    assert CodeCheck(b"\xff\x00", asserts=["assert f()"]).source == b"\xff\x00"


def test_only_a_sandbox_error_is_invalid() -> None:
    for outcome in CodeOutcome:
        verdict = CodeVerdict(outcome)
        assert verdict.valid == (outcome != "sandbox_error")
        assert verdict.correct == (outcome == "passed")
    assert CodeVerdict(CodeOutcome.WRONG, seconds=1.0) == CodeVerdict(CodeOutcome.WRONG, seconds=2.0)
