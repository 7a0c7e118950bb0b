"""CodeDataset: asserts, checks and scripts by any field names, reasoning as steps, and rows that lack something."""

import json
from pathlib import Path
from typing import Any

import pytest
from opening import opened

from g2rpo_env.envs.coding.codedata import CodeDataset, Rows
from g2rpo_env.errors import ConfigurationError, DataError

ADD_ONE = "def f(x):\n    y = x + 1\n    return y\n"
ASSERTS = {"prompt": "Add one.", "solution": ADD_ONE, "asserts": ["assert f(1) == 2"]}
CHECK = {
    "prompt": "def f(x):\n", "canonical_solution": "    y = x + 1\n    return y\n", "entry_point": "f",
    "test": "def check(candidate):\n    assert candidate(1) == 2\n",
}  # fmt: skip
SCRIPT = {
    "question": "Sum.", "solutions": ["a, b = map(int, input().split())\nprint(a + b)\n", "pass"],
    "input_output": json.dumps({"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]}),
}  # fmt: skip
THOUGHT = {**ASSERTS, "reasoning": "Take x.\n\nAdd 1 to it.\n", "solution": f"```python\n{ASSERTS['solution']}```\n"}


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_all_kinds_in_one_file_verify(tmp_path: Path) -> None:
    opened().close()
    task = CodeDataset(written(tmp_path, ASSERTS, CHECK, SCRIPT, THOUGHT))
    problems = list(task.source.longest())
    assert [p.problem_id for p in problems] == [f"rows/{i}" for i in range(4)]
    assert [p.prompt for p in problems] == ["Add one.\n", "def f(x):\n", "Sum.\n", "Add one.\n"]
    assert all(v.correct for v in task.verifier(problems, [p.solution for p in problems]))
    wrong = ["def f(x): return x", "    return x", "print(3)", "```\ndef f(x): return x\n```"]
    assert not any(v.correct for v in task.verifier(problems, wrong))
    share = CodeDataset(tmp_path / "rows.jsonl", reward="share").verifier(problems[2:3], ["print(3)"])
    assert share[0].reward == 0.5  # one of the two cases


def test_reasoning_comes_before_the_code_line_by_line(tmp_path: Path) -> None:
    problem = Rows(written(tmp_path, THOUGHT)).load("train").get("rows/0")
    assert problem.steps == (
        "Take x.\n", "\n", "Add 1 to it.\n", "```python\n", "def f(x):\n", "    y = x + 1\n",
    )  # fmt: skip
    assert problem.final == "    return y\n```\n"


def test_fields_of_other_names_are_mapped(tmp_path: Path) -> None:
    row = {"q": "Add one.", "answer_code": ASSERTS["solution"], "checks": ["assert f(1) == 2"]}
    fields = ("prompt=q", "solution=answer_code", "asserts=checks")
    problem = Rows(written(tmp_path, row), fields=fields, template="Q: {prompt}\n").load("train").get("rows/0")
    assert problem.prompt == "Q: Add one.\n" and problem.asserts == ("assert f(1) == 2",)
    with pytest.raises(ConfigurationError, match="fields: 'promt=q' must read ROLE=FIELD, with a role of prompt"):
        Rows("x.jsonl", fields=("promt=q",))


def test_rows_without_a_solution_can_be_tested_on(tmp_path: Path) -> None:
    row = {k: v for k, v in SCRIPT.items() if k != "solutions"}
    problem = Rows(written(tmp_path, row)).load("train").get("rows/0")
    assert problem.steps == () and problem.final == "# no solution is known\n"


def test_mistakes_are_named(tmp_path: Path) -> None:
    for row, message in (
        ({"solution": "x", "asserts": ["a"]}, "line 1: no field for the prompt"),
        ({"prompt": "x", "solution": "y"}, "line 1: no tests among"),
        ({k: v for k, v in CHECK.items() if k != "entry_point"}, "line 1: field 'test' needs 'entry_point'"),
        ({**CHECK, "entry_point": "f()"}, r"line 1: field 'test': entry_point='f\(\)' must be the name of a function"),
    ):
        with pytest.raises(DataError, match=message):
            CodeDataset(written(tmp_path, row))
    path = written(tmp_path, ASSERTS)
    for options, message in (
        ({}, "data must be given"),
        ({"data": path, "compare": "near"}, "compare='near' must be one of exact"),
        ({"data": path, "split": "dev"}, "split='dev' must be one of"),
        ({"data": path, "template": "x"}, "must hold '{prompt}' exactly once"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            CodeDataset(**options)
    with pytest.raises(DataError, match="line 1: no field 'texxt' among"):
        CodeDataset(path, fields=("prompt=texxt",))
    with pytest.raises(ConfigurationError, match=r"split='test' of .* is empty; there are train \(1\).*test_fraction"):
        CodeDataset(path).with_split("test")


# -- splits ---------------------------------------------------------------------------------------------------------


def numbered(count: int) -> list[dict[str, Any]]:
    return [{**ASSERTS, "prompt": f"Add one, {n}."} for n in range(count)]


def test_no_problem_is_in_two_splits(tmp_path: Path) -> None:
    path = written(tmp_path, *numbered(40))
    task = CodeDataset(path, test_fraction=0.3, validation_fraction=0.2)
    found = {
        split: {p.prompt for p in task.with_split(split).source.longest()} for split in ("train", "validation", "test")
    }
    assert sum(map(len, found.values())) == len(set.union(*found.values())) == 40 and all(found.values())
    assert task.with_split("warmstart").source.num_problems == len(found["train"])
    assert CodeDataset(path).source.num_problems == 40
    assert CodeDataset(path, split="test", test_fraction=1.0).source.num_problems == 40
    for split in ("validation", "test"):
        with pytest.raises(ConfigurationError, match=f"split='{split}' of .* is empty"):
            CodeDataset(path, split=split)


def test_a_file_is_the_split_of_its_name_and_a_folder_has_several(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in numbered(3)))
    assert CodeDataset(tmp_path / "test.jsonl", split="test").source.get("test/2").prompt == "Add one, 2.\n"
    with pytest.raises(ConfigurationError, match=r"split='train' of .* is empty; there are test \(3\)"):
        CodeDataset(tmp_path / "test.jsonl")
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in numbered(5)))
    task = CodeDataset(tmp_path)
    assert [p.problem_id for p in task.source.longest()] == ["train/3", "train/4"]  # the others are in test too
    assert task.with_split("test").source.num_problems == 3 and task.source.rows.left_out == 3


def test_rows_that_cannot_be_used_are_left_out_on_request(tmp_path: Path) -> None:
    path = written(tmp_path, ASSERTS, {"prompt": "x", "solution": "y"}, {**ASSERTS, "prompt": "z"})
    with pytest.warns(UserWarning, match="1 of 3 rows of .* are left out; .*line 2: no tests among"):
        task = CodeDataset(path, skip_bad=True)
    assert [p.problem_id for p in task.source.longest()] == ["rows/0", "rows/2"]


# -- public code sets, a row as each has it: its own solution passes its own tests ------------------------------------

DOUBLE = "n = int(input())\nprint(n * 2)\n"
IO = {"inputs": ["3\n", "5\n"], "outputs": ["6\n", "10\n"]}
PAIRS = [{"input": a, "output": b} for a, b in zip(IO["inputs"], IO["outputs"], strict=True)]
STARTER = "class Solution:\n    def twice(self, nums: List[int]) -> List[int]:\n        "
METHOD = "class Solution:\n    def twice(self, nums: List[int]) -> List[int]:\n        return [2 * n for n in nums]\n"
CALLS = {"fn_name": "twice", "inputs": [[[1, 2]], [[]]], "outputs": [[2, 4], []]}
SYSTEM = [{"role": "system", "content": "Think first."}, {"role": "user", "content": "Print twice n."}]
PUBLIC: dict[str, dict[str, Any]] = {
    "APPS": {
        "problem_id": 0, "question": "Print twice n.", "solutions": json.dumps([DOUBLE, "pass"]), "starter_code": "",
        "input_output": json.dumps(IO), "difficulty": "introductory", "url": "",
    },
    "APPS, a Python 2 solution first": {
        "question": "Print twice n.", "solutions": json.dumps(["print 2 * input()", DOUBLE]),
        "input_output": json.dumps(IO),
    },
    "APPS, the entry point in the second": {
        "question": "Double.", "solutions": json.dumps(["def double(nums): pass", METHOD]), "starter_code": "",
        "input_output": json.dumps(CALLS),
    },
    "APPS, lines": {
        "question": "Print twice n.", "solutions": json.dumps([DOUBLE]),
        "input_output": json.dumps({"inputs": [["3"], ["5"]], "outputs": [["6"], ["10"]]}),
    },
    "APPS, calls": {
        "question": "Double.", "solutions": json.dumps([METHOD]), "starter_code": STARTER,
        "input_output": json.dumps({**CALLS, "outputs": [[[2, 4]], [[]]]}),
    },
    "TACO, calls of a function": {
        "question": "Double.", "solutions": json.dumps(["def twice(nums):\n\treturn tuple(2 * n for n in nums)"]),
        "starter_code": "def twice(nums):\n\t", "input_output": json.dumps(CALLS),
    },
    "CodeContests": {
        "description": "Print twice n.", "public_tests": {"input": ["3\n"], "output": ["6\n"]},
        "private_tests": {"input": ["5\n"], "output": ["10\n"]}, "generated_tests": {"input": [], "output": []},
        "solutions": {"language": [2, 1, 3], "solution": ["int main() {}", "print 2 * input()", DOUBLE]},
    },
    "LiveCodeBench": {
        "question_content": "Print twice n.", "starter_code": "", "metadata": "{}", "code": DOUBLE,
        "public_test_cases": json.dumps([{**case, "testtype": "stdin"} for case in PAIRS[:1]]),
        "private_test_cases": json.dumps([{**case, "testtype": "stdin"} for case in PAIRS[1:]]),
    },
    "LiveCodeBench, calls": {
        "question_content": "Double.", "starter_code": STARTER, "metadata": json.dumps({"func_name": "twice"}),
        "public_test_cases": json.dumps([{"input": "[1, 2]", "output": "[2, 4]", "testtype": "functional"}]),
        "private_test_cases": json.dumps([{"input": "[]", "output": "[]", "testtype": "functional"}]), "code": METHOD,
    },
    "Codeforces": {
        "description": "Print twice n.", "official_tests": PAIRS, "examples": PAIRS[:1], "code": DOUBLE,
        "generated_checker": None, "interaction_format": None, "input_mode": "stdio",
    },
    "Eurus": {
        "prompt": SYSTEM, "reward_model": {"ground_truth": json.dumps(IO), "style": "rule"}, "ability": "code",
        "solution": f"```python\n{DOUBLE}```",
    },
    "verifiable coding": {
        "prompt": "Print twice n.", "gold_standard_solution": f"```python\n{DOUBLE}```",
        "verification_info": json.dumps(
            {"language": "python", "test_cases": [{**case, "type": "stdin_stdout", "fn_name": None} for case in PAIRS]}
        ),
    },
    "DeepCoder": {
        "problem": "Double.", "solutions": [METHOD],
        "tests": json.dumps([{"type": "function_call", "fn_name": "twice", "input": [[1]], "output": [2]}]),
    },
    "KodCode": {
        "question": "Add one.", "solution": ADD_ONE, "style": "instruct",
        "test": "from solution import f\n\ndef test_a():\n    assert f(1) == 2\ndef test_b():\n    assert f(3) == 4\n",
    },
    "AceCode": {"question": "Add one.", "test_cases": ["assert f(1) == 2", "assert f(2) == 3"], "solution": ADD_ONE},
    "OpenCodeInstruct": {
        "input": "Add one.", "output": f"Sure:\n```python\n{ADD_ONE}```\nDone.",
        "unit_tests": json.dumps(["\nassert f(1) == 2", "\nassert f(2) == 3"]),
    },
    "MBPP, sanitised": {
        "prompt": "Round up.", "code": "import math\ndef f(x):\n  return math.ceil(x)", "task_id": 2,
        "test_imports": ["import math"], "test_list": ["assert f(1.5) == math.ceil(1.5)"],
    },
    "MBPP+": {
        "prompt": "Add one.", "code": ADD_ONE, "test_imports": [], "test_list": ["assert f(1) == 2"],
        "test": "inputs = [[1]]\nfor one in inputs:\n    assert f(*one) == 2\n",
    },
    "LeetCode": {
        "prompt": "Double the list.", "completion": METHOD, "entry_point": "Solution().twice", "starter_code": STARTER,
        "test": "def check(candidate):\n    assert candidate(nums=[1, 2]) == [2, 4]\n",
    },
    "LeetCodeDataset": {
        "prompt": "from typing import *\n\ndef same(a, b):\n    return a == b\n\nclass ListNode:\n    pass\n",
        "problem_description": "Double the list.", "query": "You are an expert.", "entry_point": "Solution().twice",
        "completion": METHOD, "starter_code": STARTER,
        "test": "def check(candidate):\n    assert same(candidate(nums=[1, 2]), [2, 4])\n",
    },
    "PrimeIntellect": {
        "problem_statement": "Print twice n.", "gold_standard_solution": f"```python\n{DOUBLE}```",
        "verification_info": {"language": "python", "test_cases": [{**PAIRS[0], "type": "stdin_stdout"}]},
    },
    "HumanEval": CHECK,
}  # fmt: skip


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> CodeDataset:
    opened().close()
    return CodeDataset(written(tmp_path_factory.mktemp("public"), *PUBLIC.values()), workers=1, timeout=20)


@pytest.mark.parametrize("name", PUBLIC)
def test_the_solution_of_a_row_passes_its_tests_alone_and_in_a_fence(public: CodeDataset, name: str) -> None:
    problem = public.source.get(f"rows/{list(PUBLIC).index(name)}")
    texts = [problem.solution, f"So:\n```python\n{problem.solution.rstrip()}\n```\n"]
    verdicts = public.verifier([problem] * 2, texts)
    assert [v.correct for v in verdicts] == [True, True], [v.message for v in verdicts]
    wrong = public.verifier([problem], ["print(7)\ndef f(x): return 7\ndef twice(nums): return [7]\n"])[0]
    assert wrong.valid and not wrong.correct


def test_prompts_show_the_signature_and_messages_are_one_text(public: CodeDataset) -> None:
    prompts = {name: public.source.get(f"rows/{n}").prompt for n, name in enumerate(PUBLIC)}
    assert prompts["LiveCodeBench, calls"] == f"Double.\n\n{STARTER.rstrip()}\n\n"
    assert prompts["Eurus"] == "Think first.\n\nPrint twice n.\n"
    assert prompts["HumanEval"] == "def f(x):\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"private_test_cases": "eJxrYJmayMgABhHR04z8ygOlqQqOiXkpAB3MBUY="},
            "'private_test_cases' is packed .*unpickling",
        ),
        ({"private_test_cases": "[1"}, "'private_test_cases' is not valid JSON"),
        ({"generated_checker": "def check(): ..."}, "a program of its own judges the answers"),
        ({"input_mode": "file"}, "the program reads and writes files"),
        ({"interaction_format": "Ask."}, "the program talks with another one"),
        ({"solution": "['a', 'b']"}, "is a list in the spelling of Python"),
        ({"solution": "int main() {}"}, "must hold a program of Python 3, alone or as the rest"),
        ({"solution": "return 2 * n"}, "must hold a program of Python 3"),
        ({"solution": DOUBLE, "entry_point": "f", "test": "def check(c): assert c(1) == 2"}, "must define 'f'"),
        ({"solution": [1]}, "must be a text or a list of texts"),
        ({"test": "import unittest\nclass A(unittest.TestCase): pass", "entry_point": "f"}, "holds classes of tests"),
        (
            {"test": "def test_a(): assert f(1)\nclass TestB: pass", "entry_point": "f"},
            "holds 'TestB': classes of tests",
        ),
        (
            {"prompt": "class N: pass\ndef n(): return N()", "query": "Do it.", "entry_point": "f", "solution": ADD_ONE}
            | {"test": "def check(candidate):\n    assert candidate(n()) == 1\n"},
            "pass objects of 'N' to the program",
        ),
        ({"test": "import pytest\ndef test_a(): pass", "entry_point": "f"}, "needs pytest, which does not run"),
        ({"starter_code": STARTER}, "the tests give standard input, and the starter code begins a function"),
    ],
)
def test_rows_that_would_be_graded_wrong_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    row = {"prompt": "Print twice n.", "public_test_cases": PAIRS, "solution": DOUBLE, **changes}
    with pytest.raises(DataError, match=f"line 1: .*{message}"):
        Rows(written(tmp_path, row)).load("train")


def test_a_script_of_tests_and_asserts_count_together(tmp_path: Path) -> None:
    opened().close()
    task = CodeDataset(written(tmp_path, PUBLIC["MBPP+"] | {"test": "for n in (1, 5):\n    assert f(n) == n + 1\n"}))
    problems = [task.source.get("rows/0")] * 2
    assert [v.correct for v in task.verifier(problems, [ADD_ONE, "def f(x): return 2"])] == [True, False]


def test_public_cases_alone_are_taken_when_they_are_named(tmp_path: Path) -> None:
    row = {"prompt": "Print twice n.", "public_test_cases": PAIRS, "private_test_cases": "eJxrYJmayMgABhHR04z8ygOl"}
    problem = Rows(written(tmp_path, row), fields=("cases=public_test_cases",)).load("train").get("rows/0")
    assert problem.cases == (("3\n", "6\n"), ("5\n", "10\n"))


# -- prompts that show a signature ----------------------------------------------------------------------------------

BODY, WHOLE = "    return a + b\n", "def add(a, b):\n    return a + b\n"
TYPED = "from typing import List\n\n\ndef add(a: List, b: List) -> List:\n"


@pytest.mark.parametrize(
    ("prompt", "solutions"),
    [
        ("Add two numbers. Use this signature:\n\ndef add(a, b):\n\nReturn the whole function.", [WHOLE, BODY]),
        ('Complete:\n```python\ndef add(a, b):\n    """Sum."""\n```\n', [WHOLE, BODY]),
        ('Complete:\n```python\ndef add(a: List, b: T) -> T:\n    """Sum."""\n```\n', [WHOLE, TYPED + BODY]),
        ("1. Complete:\n\n   ```python\n   def add(a, b):\n   ```\n\nand print nothing.", [WHOLE, BODY]),
        (
            'def add(a, b):\n    """Sum."""\n',
            [WHOLE, BODY, "    x = a\n    return x + b\n\n\ndef other():\n    pass\n"],
        ),
        ("def add(a, b):\n", [WHOLE, BODY, "import math\n\n" + WHOLE, "add = lambda a, b: a + b\n"]),
        (TYPED, [BODY, TYPED + BODY, TYPED.split("\n\n\n")[1] + BODY]),
        (f"Finish this.\n\n{TYPED}\nThanks.", [BODY, TYPED + BODY, TYPED.split("\n\n\n")[1] + BODY]),
        (
            "import math\n\ndef half(x):\n    return x / 2\n\ndef add(a, b):\n    # sum\n",
            [WHOLE, BODY, "    return 2 * half(a + b)\n"],
        ),
        ("Add two numbers.", [WHOLE]),
        ("Write add(a, b).\n\ndef is a keyword of Python; default values are none.", [WHOLE]),
        ("Fix it:\n```python\ndef add(a, b):\n    return a - b\n```", [WHOLE, "```\n" + WHOLE + "```"]),
        ("Use the class:\n\nclass Box:\n    pass\n\nand write add.", [WHOLE]),
        ("def add(\n    a,\n    b,\n):\n    # your code\n", [BODY, WHOLE]),
    ],
)
def test_a_completion_goes_on_with_what_the_prompt_begins_or_is_whole(
    tmp_path: Path, prompt: str, solutions: list[str]
) -> None:
    opened().close()
    test = "def check(candidate):\n    assert candidate(1, 2) == 3\n"
    rows = [{"prompt": prompt, "solution": text, "entry_point": "add", "test": test} for text in solutions]
    task = CodeDataset(written(tmp_path, *rows), workers=1, timeout=20)
    problems = list(task.source.longest())
    texts = [p.solution for p in problems]
    fenced = [
        f"Here it is.\n\n1. Code:\n\n   ```python\n{'   '.join(['', *t.splitlines(True)])}   ```\n" for t in texts
    ]
    verdicts = task.verifier(problems * 2, texts + fenced)
    assert [v.correct for v in verdicts] == [True] * 2 * len(texts), [v.message for v in verdicts]


def test_asserts_may_come_with_a_prompt_that_begins_the_function(tmp_path: Path) -> None:
    opened().close()
    row = {"prompt": "def f(x):\n", "solution": "    return x + 1\n", "test_list": ["assert f(1) == 2"]}
    thought = {**row, "reasoning": "Add 1."}
    task = CodeDataset(written(tmp_path, row, thought), workers=1, timeout=20)
    problems = list(task.source.longest())
    assert all(v.correct for v in task.verifier(problems, [p.solution for p in problems]))
    assert problems[0].prompt == "def f(x):\n" and problems[1].prompt == "def f(x):\n\n"
