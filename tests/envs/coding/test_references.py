"""Objects of programs in tests: what plain Python says of honest ones, and that no lie of a hostile one passes."""

import json
import textwrap
from typing import Any

import pytest
from opening import opened

from g2rpo_env.envs.coding import CodeCheck, CodeVerdict, Sandbox


@pytest.fixture(scope="module")
def box() -> Any:
    with opened(timeout=5.0) as box:
        yield box


def verdict(box: Sandbox, program: str, body: str, entry: str = "f", before: str = "") -> CodeVerdict:
    """Return the verdict on a program whose ``check(candidate)`` has this body."""
    test = f"{before}\ndef check(candidate):\n" + textwrap.indent(textwrap.dedent(body).strip(), "    ") + "\n"
    return box.check([CodeCheck(program, entry_point=entry, test=test)])[0]


STACK = '''
class Empty(LookupError):
    def __init__(self, text, code=7):
        super().__init__(text)
        self.code = code
class Stack:
    """A stack."""
    kind = "lifo"
    def __init__(self, items=()): self.items = list(items)
    def push(self, x):
        self.items.append(x)
        return self
    def pop(self):
        if not self.items: raise Empty("nothing")
        return self.items.pop()
    def __len__(self): return len(self.items)
    def __iter__(self): return iter(self.items)
    def __contains__(self, x): return x in self.items
    def __getitem__(self, i): return self.items[i]
    def __setitem__(self, i, v): self.items[i] = v
    def __repr__(self): return f"Stack({self.items})"
    def __eq__(self, other): return isinstance(other, Stack) and self.items == other.items
    def __add__(self, other): return Stack(self.items + other.items)
    def __enter__(self): return self
    def __exit__(self, *a): self.items.clear()
    @property
    def top(self): return self.items[-1]
    @top.setter
    def top(self, v): self.items[-1] = v
    @classmethod
    def of(cls, *xs): return cls(xs)
class Sub(Stack):
    def push(self, x): return super().push(-x)
def f(x): return Stack(x)
'''
OBJECTS = {
    "methods and attributes": (
        "s = candidate()\ns.push(1).push(2)\nassert s.pop() == 2 and s.items == [1] and len(s) == 1"
    ),
    "protocols": (
        "s = candidate([1, 2])\nassert [*s] == [1, 2] and 2 in s and s[0] == 1\ns[0] = 5\n"
        "assert repr(s) == 'Stack([5, 2])'"
    ),
    "own equality": "assert candidate([1]) + candidate([2]) == candidate([1, 2]) != candidate([2])",
    "with": "with candidate([1]) as s:\n    assert len(s) == 1\nassert len(s) == 0",
    "properties": (
        "s = candidate([1, 2])\ns.top = 9\nassert s.top == 9 and s.items == [1, 9]\ns.more = 3\nassert s.more == 3"
    ),
    "class": "assert candidate.of(1).items == [1] and candidate.kind == 'lifo' and candidate.__doc__ == 'A stack.'",
    "isinstance": "assert isinstance(Sub(), candidate) and issubclass(Sub, Stack) and type(Sub()).__name__ == 'Sub'",
    "subclass of the test": (
        "class Mine(candidate):\n    def push(self, x):\n        return super().push(10 * x)\nm = Mine()\n"
        "m.push(2)\nassert m.items == [20] and isinstance(m, Stack)"
    ),
    "own exception": (
        "try:\n    candidate().pop()\n    assert False\nexcept Empty as e:\n"
        "    assert e.code == 7 and str(e) == 'nothing'"
    ),
    "state that is shared": (
        "s = candidate()\nh = s.items\ns.push(1)\nh.append(2)\nassert h == [1, 2] and s.pop() == 2 and h is s.items"
    ),
    "copies": (
        "import copy\ns = candidate([1])\nt = copy.deepcopy(s)\nt.push(2)\n"
        "assert s.items == [1] and vars(t) == {'items': [1, 2]}"
    ),
}


@pytest.mark.parametrize("what", OBJECTS)
def test_objects_of_a_class_behave_as_in_plain_python(box: Sandbox, what: str) -> None:
    found = verdict(box, STACK, OBJECTS[what], "Stack")
    assert found.correct, found


def test_wrong_classes_fail(box: Sandbox) -> None:
    wrong = STACK.replace("return self.items.pop()", "return self.items[0]").replace(
        "self.items + other.items", "self.items"
    )
    for what in ("methods and attributes", "own equality"):
        assert verdict(box, wrong, OBJECTS[what], "Stack").outcome == "wrong"


FUNCTIONS: dict[str, tuple[str, ...]] = {
    "closure": (
        "def f(n):\n    return lambda x: x + n",
        "assert candidate(1)(2) == 3",
    ),
    "generator": (
        "def f(n):\n    yield from range(n)",
        "g = candidate(3)\nassert next(g) == 0 and list(g) == [1, 2]",
    ),
    "endless generator": (
        "def f():\n    n = 0\n    while True:\n        yield n\n        n += 1",
        "import itertools\nassert list(itertools.islice(candidate(), 3)) == [0, 1, 2]",
    ),
    "iterator of the test": (
        "def f(items): return [next(items), next(items)]",
        "import itertools\nc = itertools.count(5)\nassert candidate(c) == [5, 6] and next(c) == 7",
    ),
    "function of the test": (
        "def f(g, xs): return [g(x) for x in xs]",
        (
            "import math\nassert candidate(lambda x: x + 1, [1]) == [2]\n"
            "assert candidate(math.sqrt, [4]) == [2]\n"
            "assert candidate(str.upper, ['a']) == ['A'] and candidate(int, ['7']) == [7]"
        ),
    ),
    "decorator": (
        (
            "def f(g):\n    memo = {}\n    def inner(n):\n        if n not in memo: memo[n] = g(n)\n"
            "        return memo[n]\n    return inner"
        ),
        ("@candidate\ndef fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)\nassert fib(30) == 832040"),
    ),
    "exception of a callback": (
        "def f(g):\n    try:\n        return g()\n    except ValueError as e:\n        return str(e)",
        (
            "class Mine(Exception): pass\ndef bad(): raise ValueError('no')\ndef worse(): raise Mine('x')\n"
            "assert candidate(bad) == 'no'\ntry:\n    candidate(worse)\n    assert False\nexcept Mine as e:\n"
            "    assert str(e) == 'x'"
        ),
    ),
    "coroutine": (
        "import asyncio\nasync def f(x):\n    await asyncio.sleep(0)\n    return 2 * x",
        (
            "import asyncio\nasync def main():\n    return await asyncio.gather(candidate(1), candidate(2))\n"
            "assert asyncio.run(main()) == [2, 4] and asyncio.run(candidate(3)) == 6"
        ),
    ),
    "namedtuple": (
        "from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(): return P(1, 2)",
        ("p = candidate()\nassert p == (1, 2) and p.x == 1 and isinstance(p, P) and p._asdict() == {'x': 1, 'y': 2}"),
    ),
    "dataclass": (
        (
            "from dataclasses import dataclass\n@dataclass(order=True, frozen=True)\nclass P:\n    x: int\n"
            "def f(x): return P(x)"
        ),
        (
            "assert candidate(1) == P(1) != P(2) and P(1) < P(2) and {P(1): 5}[candidate(1)] == 5\n"
            "assert repr(candidate(1)) == 'P(x=1)'"
        ),
    ),
    "enum": (
        "from enum import Enum\nclass C(Enum):\n    RED = 1\n    BLUE = 2\ndef f(n): return C(n)",
        "assert candidate(1) is C.RED and C.RED.value == 1 and [c.name for c in C] == ['RED', 'BLUE']",
    ),
    "list subclass": (
        "class L(list):\n    def total(self): return sum(self)\ndef f(x): return L(x)",
        "l = candidate([1, 2])\nl.append(3)\nassert l == [1, 2, 3] and l.total() == 6 and isinstance(l, list)",
    ),
    "match": (
        "import re\ndef f(s): return re.search('(a)(b)', s)",
        "m = candidate('xab')\nassert m.group(2) == 'b' and m.span() == (1, 3)",
    ),
    "counter": (
        "from collections import Counter\ndef f(s): return Counter(s)",
        "assert candidate('aab').most_common(1) == [('a', 2)]",
    ),
    "array": (
        "import numpy as np\ndef f(x): return np.array(x) * 2",
        "import numpy as np\nassert np.allclose(candidate([1.0]), [2.0])",
    ),
    "array of the test": (
        "def f(a): a *= 2",
        "import numpy as np\na = np.array([1, 2])\ncandidate(a)\nassert a.tolist() == [2, 4]",
    ),
    "constants": (
        "LIMIT = 3\ncount = 0\ndef f():\n    global count\n    count += 1",
        "candidate()\nassert LIMIT == 3 and count == 1",
    ),
    "printing": (
        "def f(x): print('hi', x)",
        (
            "import io, contextlib\no = io.StringIO()\nwith contextlib.redirect_stdout(o):\n    candidate(3)\n"
            "assert o.getvalue() == 'hi 3\\n'"
        ),
    ),
    "patched input": (
        "def f(): return input()",
        ("from unittest.mock import patch\nwith patch('builtins.input', lambda: 'a'):\n    assert candidate() == 'a'"),
    ),
    "name and signature": (
        "def f(a, b=2):\n    '''Does it.'''",
        (
            "import inspect\nassert candidate.__name__ == 'f' and candidate.__doc__ == 'Does it.'\n"
            "assert str(inspect.signature(candidate)) == '(a, b=2)'"
        ),
    ),
    "own exit": (
        "def f(): raise SystemExit(3)",
        "try:\n    candidate()\n    assert False\nexcept SystemExit:\n    pass",
    ),
    "errors of the system": (
        "def f(): return open('/none')",
        "try:\n    candidate()\n    assert False\nexcept OSError as e:\n    assert e.errno == 2",
    ),
}

FUNCTIONS |= {
    "keywords of any name": (
        "def f(target, name, self=0, text=0): return [target, name, self, text]",
        "assert candidate(target=1, name=2, self=3, text=4) == [1, 2, 3, 4]",
    ),
    "kinds of functions": (
        "async def f(): return 1",
        "import asyncio, inspect\nassert inspect.isfunction(candidate) and asyncio.iscoroutinefunction(candidate)",
    ),
    "asynchronous generator": (
        "async def f(n):\n    for i in range(n): yield i",
        "import asyncio\nasync def go(): return [x async for x in candidate(3)]\nassert asyncio.run(go()) == [0, 1, 2]",
    ),
    "asynchronous with": (
        "class f:\n    async def __aenter__(self): return 5\n    async def __aexit__(self, *a): return None",
        "import asyncio\nasync def go():\n    async with candidate() as x: return x\nassert asyncio.run(go()) == 5",
    ),
    "iterators that are split": (
        "def f(n): yield from range(n)",
        "import itertools\na, b = itertools.tee(candidate(2))\nassert [*a] == [*b] == [0, 1]",
    ),
    "classes of the standard library": (
        "import re\ndef f(): return re.compile('a')",
        "import re\nassert isinstance(candidate(), re.Pattern) and not isinstance(candidate(), re.Match)",
    ),
    "the ellipsis": ("def f(x): return x", "assert candidate(...) is ... and candidate((..., 1)) == (..., 1)"),
    "functions in containers, attributes and arguments": (
        "fs = [lambda x, i=i: x + i for i in range(2)]\ndef f(g): return fs\n"
        "class A:\n    def __init__(self): self.on = fs[1]\ndef call(g): return g(lambda n: n * 2)",
        "a, b = candidate(0)\nassert a(1) == 1 and b(1) == 2 == A().on(1) and call(lambda h: h(3)) == 6",
    ),
    "exceptions with more than a text": (
        "def f():\n    e = ValueError([1], {'a': (2,)})\n    e.code = 5\n    e.add_note('n')\n    raise e",
        "try:\n    candidate()\nexcept ValueError as e:\n"
        "    assert e.args == ([1], {'a': (2,)}) and e.code == 5 and e.__notes__ == ['n']",
    ),
    "generic classes and protocols": (
        "import typing\nclass f(typing.Generic[typing.TypeVar('T')]):\n    def x(self): return 1\n"
        "@typing.runtime_checkable\nclass P(typing.Protocol):\n    def x(self): ...\n"
        "@typing.runtime_checkable\nclass Q(typing.Protocol):\n    def y(self): ...",
        "a = candidate[int]()\nassert a.x() == 1 and isinstance(a, P) and not isinstance(a, Q)\n"
        "assert [c.__name__ for c in candidate.__mro__] == ['f', 'Generic', 'object']",
    ),
    "an order that was changed": (
        "import collections\ndef f():\n    d = collections.OrderedDict(a=1, b=2)\n    d.move_to_end('a')\n    return d",
        "assert list(candidate()) == ['b', 'a'] and candidate() == {'a': 1, 'b': 2}",
    ),
    "threads of the test": (
        "def f(x): return x + 1",
        "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(4) as pool:\n"
        "    assert list(pool.map(candidate, range(50))) == list(range(1, 51))",
    ),
    "exceptions of the test": (
        "def f(g):\n    try: g()\n    except Exception as e: return type(e).__name__, e.args",
        "class Own(Exception): pass\ndef own(): raise Own('a', 1)\n"
        "assert candidate(own) == ('Own', ('a', 1)) and candidate(lambda: {}['k']) == ('KeyError', ('k',))",
    ),
    "documented functions of the test": (
        "import functools\ndef f(g): return functools.wraps(g)(lambda: g() + 1)",
        "def one():\n    'One.'\n    return 1\ntwo = candidate(one)\nassert two() == 2 and two.__doc__ == 'One.'",
    ),
    "causes": (
        "def f():\n    try: 1 / 0\n    except ZeroDivisionError as e: raise RuntimeError('a') from e",
        "try:\n    candidate()\nexcept RuntimeError as e:\n    assert isinstance(e.__cause__, ZeroDivisionError)",
    ),
    "names of files in errors": (
        "def f(): return open('/none')",
        "try:\n    candidate()\nexcept OSError as e:\n    assert e.filename == '/none' and '/none' in str(e)",
    ),
}


@pytest.mark.parametrize("what", FUNCTIONS)
def test_what_functions_give_and_take_behaves_as_in_plain_python(box: Sandbox, what: str) -> None:
    found = verdict(box, *FUNCTIONS[what])
    assert found.correct, found


SHARED: dict[str, tuple[str, ...]] = {
    "nested": (
        "def f(m):\n    for row in m: row.reverse()",
        "m = [[1, 2]]\nrow = m[0]\ncandidate(m)\nassert row == [2, 1] and m[0] is row",
    ),
    "kinds": (
        "def f(s, b, d):\n    s.add(3)\n    b.append(1)\n    d['a'].append(1)",
        (
            "import collections\ns, b, d = {1}, bytearray(b'a'), collections.defaultdict(list)\n"
            "candidate(s, b, d)\nassert s == {1, 3} and b == b'a\\x01' and d == {'a': [1]} and d['z'] == []"
        ),
    ),
    "kept": (
        "kept = []\ndef f(a): kept.append(a)\ndef g(): kept[0].append(9)",
        "x = [1]\ncandidate(x)\ng()\nx.append(2)\nassert x == [1, 9, 2] == kept[0]",
    ),
    "holding itself": (
        "def f(a): a.append(a)",
        "x = [1]\ncandidate(x)\nassert x[1] is x",
    ),
    "an order": (
        "def f(d): d.move_to_end('a')",
        "import collections\nd = collections.OrderedDict(a=1, b=2)\ncandidate(d)\nassert list(d) == ['b', 'a']",
    ),
    "in a tuple": (
        "def f(t): t[1][0].append(t[0])",
        "t = (1, ([],))\ncandidate(t)\ncandidate(t)\nassert t == (1, ([1, 1],))",
    ),
    "a default": (
        "def f(x, acc=[]):\n    acc.append(x)\n    return acc",
        "a = candidate(1)\nassert candidate(2) is a and a == [1, 2]",
    ),
}


@pytest.mark.parametrize("what", SHARED)
def test_containers_are_shared_as_in_plain_python(box: Sandbox, what: str) -> None:
    found = verdict(box, *SHARED[what])
    assert found.correct, found


def test_an_argument_that_must_not_change_and_does_is_wrong(box: Sandbox) -> None:
    body = "x = [2, 1]\nassert candidate(x) == [1, 2]\nassert x == [2, 1]"
    assert verdict(box, "def f(a): return sorted(a)", body).correct
    assert verdict(box, "def f(a):\n    a.sort()\n    return a", body).outcome == "wrong"


def test_a_pass_that_hangs_on_changed_arguments_of_a_call_with_a_result_is_not_believed(box: Sandbox) -> None:
    body = "x = [3, 1]\nassert candidate(x) == sorted(x)"
    assert verdict(box, "def f(a): return sorted(a)", body).correct
    assert verdict(box, "def f(a):\n    a.sort()\n    return a", body).correct  # right for a copy as well
    assert verdict(box, "def f(a):\n    a.clear()\n    return []", body).outcome == "sandbox_error"


OBSTACLES: dict[str, tuple[str, ...]] = {
    "an object of the test": (
        "def f(d): return d.name",
        "class D:\n    name = 'd'\nassert candidate(D()) == 'd'",
    ),
    "a class of the test": (
        "def f(): return Node()",
        "assert candidate().x == 1",
        "class Node:\n    x = 1",
    ),
    "a patched module": (
        "import random\ndef f(): return random.random()",
        ("from unittest.mock import patch\nwith patch('random.random', lambda: 4):\n    assert candidate() == 4"),
    ),
    "a seed": (
        "import random\ndef f(): return random.random()",
        "import random\nrandom.seed(1)\na = candidate()\nrandom.seed(1)\nassert candidate() == a",
    ),
    "a file": (
        "def f(p): return open(p).read()",
        (
            "import tempfile\nwith tempfile.NamedTemporaryFile('w') as t:\n    t.write('a')\n    t.flush()\n"
            "    assert candidate(t.name) == 'a'"
        ),
    ),
    "an exception class of the test": (
        "def f(g, kind):\n    try: g()\n    except kind: return 1",
        "def g(): raise Own\nassert candidate(g, Own) == 1",
        "class Own(Exception): pass",
    ),
    "a function of the test": ("def f(): return helper()", "assert candidate() == 1", "def helper(): return 1"),
    "a base of the program's class": (
        "class f(Base): pass",
        "assert candidate().x == 1",
        "class Base:\n    x = 1",
    ),
    "warnings": (
        "import warnings\ndef f(): warnings.warn('old')",
        "import warnings\nwith warnings.catch_warnings(record=True) as w:\n    candidate()\nassert len(w) == 1",
    ),
    "a group of exceptions": (
        "def f(): raise ExceptionGroup('g', [ValueError(1)])",
        "try:\n    candidate()\nexcept* ValueError:\n    pass",
    ),
    "a constant that the test changes": (
        "RATE = 2\ndef f(): return 3 * RATE",
        "assert candidate() == 15",
        "RATE = 5",
    ),
    "names of the module": ("def f(): return 1\ndef g(): return 2", "assert globals()['g']() == 2"),
    "a list by another class": (
        "import collections\nclass L(collections.UserList):\n    def total(self): return sum(self.data)\n"
        "def f(x): return L(x)",
        "a = L([1, 2])\na.append(3)\nassert a.total() == 6 and a[1:] == [2, 3] and len(candidate(a)) == 3",
    ),
    "the end of an iterator": (
        "def f(): raise StopIteration",
        "try:\n    candidate()\nexcept StopIteration:\n    pass",
    ),
    "hidden by the test": (
        "def f(d): return d.name",
        "class D:\n    name = 'd'\ntry:\n    candidate(D())\nexcept BaseException:\n    pass",
    ),
}


@pytest.mark.parametrize("what", OBSTACLES)
def test_what_cannot_cross_the_boundary_is_no_verdict(box: Sandbox, what: str) -> None:
    program, body, *before = OBSTACLES[what]
    found = verdict(box, program, body, before="\n".join(before))
    if what == "a base of the program's class":  # the setup stands before the program
        test = "def check(candidate):\n    assert candidate().x == 1\n"
        found = box.check([CodeCheck(program, entry_point="f", test=test, setup=before[0])])[0]
    assert found.outcome == "sandbox_error", found


def test_a_name_that_nobody_defines_is_a_fault_of_the_program(box: Sandbox) -> None:
    for program in ("def f(): return nowhere", "def g(): pass", "def f(): return g()", "nowhere"):
        assert verdict(box, program, "g = 1\nassert candidate() == 1", before="h = 1").outcome in ("wrong", "crash")


# -- hostile programs -------------------------------------------------------------------------------------------------

ANY = """
class Any:
    def __getattr__(self, name): return Any()
    def __call__(self, *a, **k): return Any()
    def _same(self, *a): return True
    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = _same
    def __ne__(self, o): return False
    def _me(self, *a): return self
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __mod__ = __pow__ = __getitem__ = _me
    def __abs__(self): return 0.0
    def __hash__(self): return hash(3)
    def __len__(self): return 1
    def __iter__(self): return iter([Any()])
    def __bool__(self): return True
    def __float__(self): return 0.0
    def __index__(self): return 0
    def startswith(self, *a): return True
    def count(self, *a): return 1
"""
SERVER = "import gc\nserver = next(o for o in gc.get_objects() if type(o).__name__ == 'Server')\n"
FORGED = """
def f(a, b):
    server.write_message = lambda *a: {!r}
"""
EQUAL = "assert candidate(1, 2) == 3"
CLASS = "assert candidate(1) + candidate(2) == candidate(3)\nassert candidate(3).n == 3"


def forge(message: list[Any]) -> str:
    """Return a program that answers each question with a message of its own making."""
    return SERVER + FORGED.format(json.dumps(message).encode())


HOSTILE: dict[str, tuple[str, ...]] = {
    "equal to anything": (
        ANY + "def f(a, b): return Any()",
        EQUAL,
    ),
    "anything in a list": (
        ANY + "def f(a, b): return [Any()]",
        "assert candidate(1, 2) == [3]",
    ),
    "anything as a key": (
        ANY + "def f(a, b): return {Any(): 1}",
        "assert candidate(1, 2) == {3: 1}",
    ),
    "anything in a set": (
        ANY + "def f(a, b): return {Any()}",
        "assert candidate(1, 2) == {3}",
    ),
    "anything in a tuple of right ones": (
        ANY + "def f(a, b): return Any()",
        "assert candidate(1, 2) in (3, 4)",
    ),
    "close to anything": (
        ANY + "def f(a, b): return Any()",
        "assert abs(candidate(1, 2) - 3.0) < 1e-6",
    ),
    "less than anything": (
        ANY + "def f(a, b): return Any()",
        "assert candidate(1, 2) < 5",
    ),
    "holding anything": (
        ANY + "def f(a, b): return Any()",
        "assert 3 in candidate(1, 2)",
    ),
    "a text that begins with anything": (
        ANY + "def f(a, b): return Any()",
        "assert candidate(1, 2).startswith('ab')",
    ),
    "a function with methods of a text": (
        "def f(a, b):\n    def g(): pass\n    g.startswith = lambda p: True\n    return g",
        "assert candidate(1, 2).startswith('ab')",
    ),
    "near in unittest": (
        ANY + "def f(a, b): return Any()",
        (
            "import unittest\nt = unittest.TestCase()\nt.assertAlmostEqual(candidate(1, 2), 3.0)\n"
            "t.assertIn(3, candidate(1, 2))"
        ),
    ),
    "near for numpy": (
        ANY + "def f(a, b): return Any()",
        "import numpy as np\nassert np.allclose(candidate(1, 2), [3.0])",
    ),
    "an array interface": (
        (
            "class A:\n"
            "    __array_interface__ = {'shape': (1,), 'typestr': '<f8', 'data': (0, False), 'version': 3}\n"
            "def f(a, b): return A()"
        ),
        "import numpy as np\nassert np.asarray(candidate(1, 2)).tolist() == [3.0]",
    ),
    "an int with its own minus": (
        (
            "class I(int):\n    def __sub__(s, o): return 0\n    __rsub__ = __sub__\n"
            "    def __eq__(s, o): return True\n    __hash__ = int.__hash__\ndef f(a, b): return I(9)"
        ),
        "assert abs(candidate(1, 2) - 3) < 1 and candidate(1, 2) == 3",
    ),
    "a class that pretends": (
        (
            "class P:\n    __class__ = property(lambda s: int)\n    def __eq__(s, o): return True\n"
            "def f(a, b): return P()"
        ),
        "assert isinstance(candidate(1, 2), int) and candidate(1, 2) == 3",
    ),
    "a metaclass": (
        (
            "class M(type):\n    def __eq__(c, o): return True\n    def __instancecheck__(c, o): return True\n"
            "    __hash__ = type.__hash__\nclass f(metaclass=M):\n    def __new__(c, a, b): return c"
        ),
        EQUAL,
    ),
    "an instance of the function's name": (
        ANY + "class f(Any):\n    def __init__(self, *a): pass",
        EQUAL,
    ),
    "reduce": (
        (
            "class R:\n    def __reduce__(self): return (eval, ('1/0',))\n    def __eq__(s, o): return True\n"
            "def f(a, b): return R()"
        ),
        "import copy, pickle\nassert copy.copy(candidate(1, 2)) == 3",
    ),
    "an endless iterator": (
        "class E:\n    def __iter__(s): return s\n    def __next__(s): return 3\ndef f(a, b): return E()",
        "assert list(candidate(1, 2)) == [3]",
    ),
    "an endless length": (
        ("class E:\n    def __len__(s): return 2**62\n    def __getitem__(s, i): return 3\ndef f(a, b): return E()"),
        "assert [*candidate(1, 2)] == [3]",
    ),
    "StopIteration in a map": (
        "def f(a): raise StopIteration",
        "for got, want in zip(map(candidate, [1, 2]), [1, 4]):\n    assert got == want",
    ),
    "an exit": (
        "def f(a, b): raise SystemExit(0)",
        EQUAL,
    ),
    "an exit in a text": (
        "class P:\n    def __repr__(self): raise SystemExit(0)\ndef f(a, b): return P()",
        "got = candidate(1, 2)\nif got != 3:\n    raise AssertionError((got, 3))",
    ),
    "threads that answer for each other": (
        "import threading\ndef f(a, b):\n    threading.Thread(target=f, args=(a, b)).start()\n    return 3",
        "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(3) as pool:\n"
        "    assert list(pool.map(candidate, [1, 2, 3], [2, 3, 4])) == [3, 5, 7]",
    ),
    "a class of its own that pretends to be one of the standard library": (
        ANY + "Any.__module__, Any.__name__ = 'fractions', 'Fraction'\ndef f(a, b): return Any()",
        "from fractions import Fraction\nassert isinstance(candidate(1, 2), Fraction) and candidate(1, 2) == 3",
    ),
    "an exit under unittest": (
        "def f(a, b): raise SystemExit(0)",
        (
            "import unittest\nclass T(unittest.TestCase):\n"
            "    def test(self): self.assertEqual(candidate(1, 2), 3)\nassert T('test').run().wasSuccessful()"
        ),
    ),
    "a skipped test": (
        "import unittest\ndef f(a, b): raise unittest.SkipTest('no')",
        (
            "import unittest\nclass T(unittest.TestCase):\n"
            "    def test(self): self.assertEqual(candidate(1, 2), 3)\n"
            "r = unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromTestCase(T))\n"
            "assert r.wasSuccessful() and not r.skipped"
        ),
    ),
    "a TypeError of its own": (
        "class TypeError(Exception): pass\ndef f(a, b): raise TypeError('no')",
        (
            "try:\n    candidate('a', 1)\nexcept TypeError:\n    pass\nelse:\n    raise AssertionError\n"
            "assert candidate(1, 2) == 3"
        ),
    ),
    "an AssertionError": (
        "def f(a, b): raise AssertionError",
        EQUAL,
    ),
    "a callback that never returns": (
        "def f(g):\n    while True: g(1)",
        "assert candidate(lambda x: x) == 3",
    ),
    "callbacks in callbacks": (
        "def f(g): return g()",
        "def again(): return candidate(again)\nassert candidate(again) == 3",
    ),
    "a callback after its call": (
        (
            "import threading, time\ndef late(g):\n    time.sleep(0.2)\n    g(3)\ndef f(g):\n"
            "    threading.Thread(target=late, args=(g,), daemon=True).start()\n"
            "def h(): import time; time.sleep(0.5)"
        ),
        "got = []\ncandidate(got.append)\nh()\nassert got == [1]",
    ),
    "changed arguments of a reference": (
        "def f(a):\n    a.clear()\n    return []",
        "x = [3, 1]\nassert candidate(x) == sorted(x)",
    ),
    "arguments that grow": (
        "def f(a):\n    while True: a.extend(a or [1])",
        "x = [1]\ncandidate(x)\nassert x == [3]",
    ),
    "an argument of another type": (
        SERVER
        + (
            "def f(a):\n    from g2rpo_env.envs.coding import links\n"
            "    links.Links.news = lambda s, i, b: {'changes': [[0, {'set': [3]}]]}"
        ),
        "x = [1]\ncandidate(x)\nassert x == [3]",
    ),
    "a link to nothing": (
        forge(["ok", {"link": [7]}]),
        EQUAL,
    ),
    "a link to itself": (
        forge(["ok", {"link": [7, [{"link": [7]}]]}]),
        EQUAL,
    ),
    "references to a function of the test": (
        forge(["ok", {"callback": [0, "x", []]}]),
        EQUAL,
    ),
    "a call of no function": (
        forge(["callback", 5, [], {"dict": []}]),
        EQUAL,
    ),
    "a dangerous global": (
        forge(["ok", {"global": ["uuid", "os.system"]}]),
        "assert candidate(1, 2)('true') == 0",
    ),
    "a hidden global": (
        forge(["ok", {"global": ["builtins", "eval"]}]),
        "assert candidate(1, 2)('3') == 3",
    ),
    "a class with poisoned names": (
        forge(
            [
                "ok",
                {"object": [9, 11, None]},
                {
                    "classes": [
                        [
                            11,
                            "int",
                            [["builtins", "object"]],
                            [
                                ["__eq__", "method"],
                                ["_g2rpo_session", "other"],
                                ["__getattribute__", "method"],
                                ["__class__", "other"],
                                ["__del__", "method"],
                            ],
                            "builtins",
                            "",
                            ["builtins", "int"],
                        ]
                    ]
                },
            ]
        ),
        EQUAL,
    ),
    "a class that holds itself": (
        forge(["ok", {"object": [9, 11, None]}, {"classes": [[11, "A", [11], [], "m", "", None]]}]),
        EQUAL,
    ),
    "a value of another class": (
        forge(["ok", {"valued": [9, 11, 3]}, {"classes": [[11, "A", [["builtins", "str"]], [], "m", "", None]]}]),
        EQUAL,
    ),
    "a bare truth instead of a comparison": (
        SERVER
        + ANY
        + "server.operations['same'] = lambda *a: True\nclass C(Any):\n    def __init__(self, n): self.n = 0",
        CLASS,
    ),
    "states that are forged": (
        ANY + "class C(Any):\n    def __init__(self, n): self.n = 0\n    def __add__(self, o): return self",
        CLASS,
    ),
    "equal to all of its class": (
        (
            "class C:\n    def __init__(self, n): pass\n    def __add__(self, o): return self\n"
            "    def __eq__(self, o): return type(o) is C"
        ),
        "assert candidate(1) + candidate(2) == candidate(3)",
    ),
    "a method that answers for a value": (
        ANY
        + (
            "class C:\n    def __init__(self, n): pass\n    def mean(self): return Any()\n"
            "    def text(self): return Any()"
        ),
        "assert abs(candidate(1).mean() - 2.5) < 1e-6\nassert candidate(1).text().startswith('a')",
    ),
    "itself instead of a value": (
        (
            "class C:\n    def __init__(self, n): pass\n    def items(self): return self\n"
            "    def __contains__(self, x): return True"
        ),
        "assert 3 in candidate(1).items()",
    ),
    "an array of objects": (
        forge(["ok", {"ndarray": [9, 11, "|O8", [1], "0000000000000000"]}]),
        "assert candidate(1, 2).tolist() == [3]",
    ),
    "a coroutine that answers for anything": (
        ANY + "async def f(a, b): return Any()",
        "import asyncio\nassert asyncio.run(candidate(1, 2)) == 3",
    ),
    "a default that answers": (
        ANY + "import collections\ndef f(a, b): return collections.defaultdict(Any)",
        "assert candidate(1, 2)['x'] == 3",
    ),
}


@pytest.fixture(scope="module")
def short() -> Any:
    with opened(timeout=1.0) as box:
        yield box


@pytest.mark.parametrize("what", HOSTILE)
def test_no_lie_of_a_hostile_program_passes(short: Sandbox, what: str) -> None:
    program, body = HOSTILE[what]
    found = verdict(short, program, body, "C" if "class C" in program else "f")
    assert not found.correct, found
    assert verdict(short, "def f(a, b): return a + b", EQUAL).correct
    if "class C" not in program and what not in INVALID:
        assert found.valid, found


INVALID = (
    "callbacks in callbacks", "changed arguments of a reference", "reduce",
    "a class of its own that pretends to be one of the standard library",
)  # fmt: skip
"""Lies that only tests allow which deal in more than plain data: no verdict on them rather than a wrong one."""
