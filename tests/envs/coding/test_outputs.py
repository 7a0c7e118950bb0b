"""Three rules for comparing outputs, each with what it forgives and what it does not."""

import pytest

from g2rpo_env.envs.coding.outputs import same_output


@pytest.mark.parametrize(
    ("found", "wanted", "exact", "whitespace", "numeric"),
    [
        (b"1 2\n", "1 2\n", True, True, True),
        (b"1 2", "1 2\n", False, True, True),
        (b"1  2 \r\n\n\n", "1 2", False, True, True),
        (b"1\n2", "1 2", False, False, False),
        (b"\n1", "1", False, False, False),  # an empty line before the end is a line
        (b"", "", True, True, True),
        (b"", "1", False, False, False),
        (b"1", "", False, False, False),
        (b"1 2 3", "1 2", False, False, False),  # a longer output is no prefix match
        (b"1 2", "1 2 3", False, False, False),
        (b"0.5000001", "0.5", False, False, True),  # off by 1e-7
        (b"0.50001", "0.5", False, False, False),  # off by 1e-5
        (b"1000001", "1000000", False, False, True),  # relative 1e-6
        (b"nan", "nan", True, True, True),  # the same word
        (b"nan", "0", False, False, False),
        (b"inf", "1e308", False, False, False),
        (b"1e0 yes", "1 yes", False, False, True),
        (b"yes", "no", False, False, False),
        (b"\xff", "\ufffd", False, True, True),  # bytes that are no text read as the replacement character
    ],
)
def test_rules(found: bytes, wanted: str, exact: bool, whitespace: bool, numeric: bool) -> None:
    got = [same_output(found, wanted, rule, 1e-6) for rule in ("exact", "whitespace", "numeric")]
    assert got == [exact, whitespace, numeric]
