"""The program in a completion, and solutions cut at logical lines."""

import gc
import json
from pathlib import Path
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2rpo_env.envs.coding.programs import CodeProblem, fenced_block, logical_lines, steps_and_final

HEAD = "import math\n\ndef f(x):\n    '''Doc.'''\n"
PROBLEM = CodeProblem("p", HEAD, (), "r", "r", head=HEAD, entry_point="f", test="def check(candidate): pass")


F = "def f(x):\n    return x\n"


def indented(text: str, first: str, rest: str) -> str:
    """Put a text into a container: its first line behind ``first``, the others behind ``rest``."""
    return "\n".join((rest if n else first) + line for n, line in enumerate(text.split("\n")))


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
        ("````\na\n`````", "a\n"),
        ("```\n~~~\na\n```", "~~~\na\n"),
        ("```python\r\na\r\n```\r\n", "a\n"),
        ("```python\ra\r```", "a\n"),
        ("```\n```", ""),
        (f"```python\n{F}```\nIt prints:\n```\n3\n```", F),  # what it prints is no program
        (f"```python\ndraft\n```\nNow:\n```\n{F}```", F),
        ("```\na\n```\n```\nb\n```", "b\n"),
        ("x ``` a\n```", None),
        (f"Sure:\n```python\n{F}```\nDone.", F),  # between two paragraphs, without blank lines
        (f"## Code\n```python\n{F}```", F),
        *((f"{' ' * n}```python\n{indented(F, ' ' * n, ' ' * n)}```\n", F) for n in range(4)),
        (f"  ```python\n{F}  ```\n", "def f(x):\n  return x\n"),  # at most as much as the fence has is taken off
        (f"    ```python\n{F}    ```\n", None),  # indented code
        (f"```python\n{F}    ```\n", None),  # no closing fence
        (f"```python\n{F}    ```\n```\n", f"{F}    ```\n"),
        (f"```python\n{F}```  \t\n", F),
        (f"```python\n{F}``` end\n", None),
        *(
            (indented(f"Code:\n\n```python\n{F}```\n", mark, " " * len(mark)), F)
            for mark in ("- ", "* ", "1. ", "12) ", "-   ", "- 1. ", "- - - ")
        ),
        (indented(f"```python\n{F}```", "10.  ", "     "), F),
        (indented(f"Code:\n```python\n{F}```", "> ", "> "), F),
        (indented(f"```python\n{F}```", "> 1. ", ">    "), F),
        (f"1. Code:\n   ```python\n{indented(F, '   ', '   ')}```\n2. Text", F),  # the item ends before the fence
        (f"- Code:\n  ```python\n{indented(F, '  ', '  ')}\nText", f"{F}\n"),
        (f"- Code:\n  ```python\n{indented(F, '  ', '  ')}", None),  # the text ends
        (f"> ```python\n{indented(F, '> ', '> ')}", None),
        ("1.\t```python\n\tdef f(x):\n\t\treturn x\n\t```", "def f(x):\n\treturn x\n"),
        (f"<details>\n```python\n{F}```\n</details>", F),
    ],
)
def test_the_last_complete_block_counts(text: str, block: str | None) -> None:
    assert fenced_block(text) == block


@pytest.mark.parametrize(
    "info",
    ["python", "Python3", "py", " python", 'python title="a.py"', "{.python}", "{.python #id n='1'}", "{#id .py}"]
    + ["{python}", "{n=1}", "python3.11", "python{1,2}", "python:a.py", "python,ignore", "language-python", "ipython"],
)
def test_attributes_may_follow_the_language(info: str) -> None:
    assert fenced_block(f"```{info}\n{F}```") == fenced_block(f"~~~{info}\n{F}~~~") == F


@pytest.mark.parametrize("info", ["text", "c", "pycon", "python-repl", "javascript python", "{.cpp .python}", "{r}"])
def test_another_language_is_no_answer(info: str) -> None:
    assert fenced_block(f"```{info}\n{F}```") is None


def test_a_thought_is_no_answer() -> None:
    draft, answer = "```python\ndraft\n```\n", f"```python\n{F}```\n"
    assert fenced_block(f"<think>\n{draft}</think>\n{answer}") == F
    assert fenced_block(f"<think>\n{draft}</think>\n{F}") is None
    assert fenced_block(f"Well, ```python\nopen\n</think>\n\n{answer}") == F  # the opening tag is in the prompt
    assert fenced_block("```\ns = '</think>'\n```") == "s = '</think>'\n"
    assert PROBLEM.program(f"<think>\n{draft}</think>\n\n    return x\n") == f"{HEAD}\n\n    return x\n"


@pytest.mark.parametrize(
    "text",
    [">" * 20_000, "> " * 20 + "a\n" * 200, "- " * 20_000, "1. a\n" * 400, "```\n~~~\n" * 500, "- ```\n" * 400]
    + ["`" * 50_000, "a" * 50_000, "\t" * 50_000, "".join(" " * (2 * (n % 99)) + "- a\n" for n in range(300))]
    + ["</think" * 20_000, "<think>" + " \t" * 50_000, "{" * 50_000, "\n".join("`" * n for n in range(300))],
)
def test_hostile_texts_take_no_more_time_than_their_length(text: str) -> None:
    def cost(times: int) -> float:
        found = []
        for _ in range(2):
            gc.collect()
            start = process_time()
            fenced_block((text + "\n") * times + "```{" + "." * 1000)
            found.append(process_time() - start)
        return min(found)

    assert cost(4) < 12 * max(cost(1), 0.005)  # four times as long: a square would be sixteen times the cost


@given(st.text(alphabet="`~\n pyx", max_size=60))
def test_any_text_gives_a_block_or_none(text: str) -> None:
    block = fenced_block(text)
    assert block is None or all(line in text for line in block.split("\n"))


def test_a_completion_goes_on_with_the_head_and_a_whole_function_replaces_it() -> None:
    assert PROBLEM.program("    return x\n") == HEAD + "    return x\n"
    assert PROBLEM.program("```\n    return x\n```") == HEAD + "    return x\n"
    assert PROBLEM.program("```\ndef f(x):\n    return 1\n```") == "import math\n\n\ndef f(x):\n    return 1\n"
    assert PROBLEM.program("```\ndef f2(x):\n    return 1\n```") == HEAD + "\ndef f2(x):\n    return 1\n"
    bare = CodeProblem("p", "q", (), "r", "r", head="def f(x):\n", entry_point="f", test="def check(candidate): pass")
    assert bare.program("```\ndef f(x): return 1\n```") == "def f(x): return 1\n"  # the head alone is no program
    assert bare.program("def f(x): return 1\n") == "def f(x): return 1\n"
    again = "    return 1\n\ndef f(x):\n    return 2\n"  # it goes on, and then begins anew
    assert bare.program(again) == "def f(x):\n" + again


def test_imports_from_the_future_stay_first() -> None:
    for names in ("annotations", "(\n    annotations,\n)"):
        whole = f"from __future__ import {names}\ndef f(x: T):\n    return x\n"
        compile(PROBLEM.program(f"```python\n{whole}```"), "-", "exec")
    whole = "from __future__ import annotations\ndef f(x: T):\n    return x\n"
    program = PROBLEM.program(f"```python\n{whole}```")
    assert program.startswith("from __future__ import annotations\nimport math\n") and program.count("__future__") == 1


def test_of_a_head_that_is_replaced_stays_what_can_stand_alone() -> None:
    head = "from typing import List\n\n@cache\nclass Solution:\n    def f(self, x: List):\n"
    problem = CodeProblem("p", "q", (), "r", "r", head=head, tail="f = Solution().f", entry_point="f", test="-")
    whole = "class Solution:\n    def f(self, x: List):\n        return x\n"
    assert problem.program(f"```\n{whole}```") == f"from typing import List\n\n\n{whole}\nf = Solution().f"
    assert problem.program("        return x\n") == f"{head}        return x\n\nf = Solution().f"
    assert problem.program(f"def f(x): pass\n{whole}").startswith("from typing import List\n\n\ndef f(x)")


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
