"""The program in a completion, and solutions cut at logical lines."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2rpo_env.envs.coding.programs import CodeProblem, fenced_block, logical_lines, steps_and_final

HEAD = "import math\n\ndef f(x):\n    '''Doc.'''\n"
PROBLEM = CodeProblem("p", HEAD, (), "r", "r", head=HEAD, entry_point="f", test="def check(candidate): pass")


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("no block", None),
        ("```\na\n```", "a\n"),
        ("```python\na\n```\nor\n```py\nb\n```\n", "b\n"),
        ("```\na\n```\n```text\nb\n```", "a\n"),  # another language is no answer
        ("```\na\n```\n```\nopen", "a\n"),
        ("```\nopen", None),
        ("~~~\n```\n~~~", "```\n"),
        ("````\n```\n````", "```\n"),
        ("```python\r\na\r\n```\r\n", "a\n"),
        ("```\n```", ""),
        ("x ``` a\n```", None),
    ],
)
def test_the_last_complete_block_counts(text: str, block: str | None) -> None:
    assert fenced_block(text) == block


@given(st.text(alphabet="`~\n pyx", max_size=60))
def test_any_text_gives_a_block_or_none(text: str) -> None:
    block = fenced_block(text)
    assert block is None or all(line in text for line in block.split("\n"))


def test_a_completion_goes_on_with_the_head_and_a_whole_function_replaces_it() -> None:
    assert PROBLEM.program("    return x\n") == HEAD + "    return x\n"
    assert PROBLEM.program("```\n    return x\n```") == HEAD + "    return x\n"
    assert PROBLEM.program("```\ndef f(x):\n    return 1\n```") == HEAD + "\ndef f(x):\n    return 1\n"
    assert PROBLEM.program("```\ndef f2(x):\n    return 1\n```") == HEAD + "def f2(x):\n    return 1\n"
    bare = CodeProblem("p", "q", (), "r", "r", head="def f(x):\n", entry_point="f", test="def check(candidate): pass")
    assert bare.program("```\ndef f(x): return 1\n```") == "def f(x): return 1\n"  # the head alone is no program


def test_cuts_by_hand() -> None:
    code = "    a = '''x\n\n y'''\n    # why\n    if a: b = (1,\n      2)\n    c = 1 + \\\n 2\n    return a  # end\n\n"
    assert logical_lines(code, HEAD) == (
        "    a = '''x\n\n y'''\n", "    # why\n    if a: b = (1,\n      2)\n", "    c = 1 + \\\n 2\n",
        "    return a  # end\n\n",
    )  # fmt: skip
    assert steps_and_final("x = 1") == ((), "x = 1")
    assert steps_and_final("((") == ((), "((")
    assert steps_and_final("a\r\nb\r\n") == (("a\r\n",), "b\r\n")


@given(st.text(alphabet="ab=()'\"\\\n #:", max_size=40))
def test_the_parts_joined_are_the_code(code: str) -> None:
    parts = logical_lines(code, "def f():\n")
    assert "".join(parts) == code and len(parts) >= 1


def test_reference_solutions_are_cut_and_lose_nothing(data_folder: Path) -> None:
    lines = (data_folder / "MBPP/mbpp.jsonl").read_text(encoding="utf-8").splitlines()
    for code in (json.loads(line)["code"] for line in lines):
        steps, final = steps_and_final(code)
        assert "".join(steps) + final == code and steps and final.strip()
        assert len(logical_lines(code)) <= len(code.split("\n"))
