"""The sample's side of a trial: requests on the program's objects, answered with plain data and references.

Objects that are no plain data stay here and get a number; the tests' side asks with that number. Callables and
iterators of the tests are known here as functions that ask back. Nothing here is trusted: it runs beside the program.
Standard library only.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import importlib
import io
import json
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

from g2rpo_env.envs.coding import wire
from g2rpo_env.envs.coding.links import Links, base_of, is_array

MAX_PRINTED = 1 << 20
"""Characters of a call's output that are passed on to a test that captures it."""
BUILT_FROM = (int, float, complex, str, bytes, tuple, frozenset)
"""Immutable builtin types whose subclasses' content travels with the reference."""


class Server(wire.Peer):
    """Answers requests about one program.

    Args:
        namespace: The names of the program.
        ask: Sends a message to the tests' side and returns its answer; None where callbacks cannot be.
    """

    def __init__(self, namespace: dict[str, Any], ask: Callable[[bytes], bytes] | None = None) -> None:
        self.namespace, self.ask_back = namespace, ask
        self.links = Links(1)
        self.objects: dict[int, Any] = {}
        self.numbers: dict[int, int] = {}
        self.described: list[Any] = []
        self.known: set[int] = set()
        self.proxies: dict[int, Any] = {}
        self.operations: dict[str, Callable[..., Any]] = {
            "call": lambda target, /, *args, **kwargs: target(*args, **kwargs),
            "method": lambda target, name, /, *args, **kwargs: getattr(target, name)(*args, **kwargs),
            "special": lambda target, name, /, *args, **kwargs: getattr(type(target), name)(target, *args, **kwargs),
            "get": getattr,
            "set": setattr,
            "delete": delattr,
            "name": self.find,
            "exec": self.execute,
            "eval": lambda text: eval(text, self.namespace),
            "same": self.compare,
            "signature": signature_of,
            "run": run_coroutine,
        }

    # -- requests ----------------------------------------------------------------------------------------------------

    def answer(self, request: bytes) -> bytes:
        """Return the answer to one request: ``[operation, target, args, kwargs]``, and extras after them."""
        box: list[Any] = []
        extras: dict[str, Any] = {}
        try:
            self.perform(wire.unpack(request), box, extras)
            return self.write_message("ok", box, extras)
        except BaseException as error:
            return self.failure(error, extras)

    def perform(self, parts: list[Any], box: list[Any], extras: dict[str, Any]) -> None:
        """Put the result of a request into ``box``, and what it printed into ``extras`` if that was asked for."""
        defaults: list[Any] = [[], {"dict": []}, {}]
        operation, target, args, kwargs, more = parts + defaults[len(parts) - 2 :]
        function = self.operations[operation]
        given = self.read_message([target, args, kwargs], more)
        if operation == "call" and type(given[0]) is str:
            given[0] = self.find(given[0])
        with self.patched(more, extras) if more else contextlib.nullcontext():
            box.append(function(given[0], *given.pop(1), **given.pop()))

    def find(self, name: str) -> Any:
        """Return what the program calls by a name."""
        if name not in self.namespace:
            raise NameError(f"name {name!r} is not defined: the program defines no {name!r}")
        return self.namespace[name]

    def execute(self, text: str, /, **names: Any) -> None:
        """Execute statements in the program's namespace, with some more names."""
        self.namespace.update(names)
        exec(text, self.namespace)

    @contextlib.contextmanager
    def patched(self, more: dict[str, Any], extras: dict[str, Any]) -> Iterator[None]:
        """Replace builtin functions that the tests have replaced, and keep what is printed if they capture it."""
        replaced = {name: wire.value_of(tree, 0, [100, self]) for name, tree in more.get("builtins", {}).items()}
        before = {name: getattr(builtins, name) for name in replaced}
        out, err = sys.stdout, sys.stderr
        vars(builtins).update(replaced)
        if more.get("output"):
            sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
        try:
            yield
        finally:
            vars(builtins).update(before)
            if more.get("output"):
                streams = (sys.stdout, sys.stderr)
                sys.stdout, sys.stderr = out, err
                extras["printed"] = [s.getvalue()[:MAX_PRINTED] if type(s) is io.StringIO else "" for s in streams]

    # -- messages ----------------------------------------------------------------------------------------------------

    def write_message(self, kind: str, box: list[Any], extras: dict[str, Any]) -> bytes:
        """Return a message of a kind with the values in ``box``, preceded by what changed since the last one."""
        budget = wire.new_budget(self)
        extras.update(self.links.news(box, budget))
        trees = [wire.tree_of(value, 0, budget) for value in box]
        if extras:
            self.links.drop(extras.get("dropped", ()))
        if self.described:
            extras["classes"], self.described = self.described, []
        return wire.pack([kind, *trees, extras] if extras else [kind, *trees])

    def read_message(self, trees: list[Any], extras: dict[str, Any]) -> list[Any]:
        """Return the values of a message, after what changed on the other side."""
        budget = [wire.MAX_NODES, self]
        if extras:
            self.links.read_changes(extras.get("changes", ()), budget)
        values = [wire.value_of(tree, 0, budget) for tree in trees]
        if extras:
            self.links.drop(extras.get("dropped", ()))
        self.links.settle(self)
        return values

    def failure(self, error: BaseException, extras: dict[str, Any]) -> bytes:
        """Return the answer that tells of an exception, with a reference to it."""
        plain = describe_failure(error)
        if plain[0] == "refused" or self.ask_back is None:
            return json.dumps(plain).encode()
        thrown = getattr(error, "__thrown__", None)
        try:
            if type(thrown) is int:
                extras["thrown"] = thrown
                return self.write_message("error", plain[1:], extras)
            extras["raised"] = wire.tree_of(error, 0, wire.new_budget(self))
            return self.write_message("error", plain[1:], extras)
        except BaseException:
            return json.dumps(plain).encode()

    # -- values that are no plain data -------------------------------------------------------------------------------

    def write(self, value: Any, kind: type, depth: int, budget: list[Any]) -> Any:
        """See wire.Peer: a known function or type by its name, else a reference."""
        if is_array(kind) and value.dtype.kind in "biufcSU":
            number = self.number_of(value)
            return {"ndarray": [number, self.describe(kind), value.dtype.str, list(value.shape), value.tobytes().hex()]}
        if kind is types.ModuleType:
            return {"module": [str(value.__name__), self.number_of(value), self.describe(kind)]}
        if isinstance(value, type):
            name = wire.global_name(value)
            return {"global": name} if name else {"class": self.describe(value)}
        if callable(value) and (name := wire.global_name(value)):
            return {"global": name}
        number = self.number_of(value)
        tag = [number, self.describe(kind)]
        if isinstance(value, BaseException):
            cause = wire.tree_of(value.__cause__, depth + 1, budget)
            return {"exception": [*tag, describe_failure(value)[-1], *content_of_error(value), cause]}
        if base_of(kind) is not None:
            if number in self.links.objects:
                return {"twin": tag}
            self.links.add(value, number)
            return {"twin": [*tag, self.links.first_tree(number, depth, budget)]}
        if isinstance(value, BUILT_FROM):
            return {"valued": [*tag, wire.tree_of(wire.flatten(value), depth + 1, budget)]}
        return {"object": [*tag, hash_of(value)]}

    def number_of(self, value: Any) -> int:
        """Return the number of an object that stays here; odd, as those of links are."""
        number = self.numbers.get(id(value))
        if number is None:
            number, self.links.next = self.links.next, self.links.next + 2
            self.objects[number], self.numbers[id(value)] = value, number
        return number

    def describe(self, kind: type) -> int:
        """Return the number of a class, which is told about once: its name, bases and what its body defines."""
        number = self.number_of(kind)
        if number not in self.known:
            self.known.add(number)
            bases = [wire.global_name(base) if is_known(base) else self.describe(base) for base in kind.__bases__]
            names = [[name, what_is(part)] for name, part in list(vars(kind).items())[:1000]]
            text = kind.__doc__ if isinstance(kind.__doc__, str) and kind.__module__ != "builtins" else ""
            own = wire.global_name(kind)
            self.described.append([number, kind.__name__, bases, names, str(kind.__module__), text[:4000], own])
        return number

    def read(self, tag: str, inner: Any, depth: int, budget: list[Any]) -> Any:
        """See wire.Peer."""
        if tag == "link":
            return self.links.read(inner, depth, budget)
        if tag == "attribute":
            target, name = inner
            return getattr(wire.value_of(target, depth, budget), name)
        if tag == "ref":
            if type(inner) is str:
                return self.find(inner)
            return self.objects[inner] if inner in self.objects else self.links.objects[inner]
        if tag == "generator":
            return self.proxies.setdefault(inner, self.items_of(inner))
        return _READERS[tag](self, *inner)

    def proxy(self, number: int, name: str, parameters: list[Any], text: str | None = None) -> Any:
        """Return the function that stands for one of the tests."""
        if number not in self.proxies:
            self.proxies[number] = make_proxy(lambda *a, **k: self.call_back(number, a, k), name, parameters)
            self.proxies[number].__doc__ = text
        return self.proxies[number]

    # -- asking back -------------------------------------------------------------------------------------------------

    def call_back(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what a function of the tests returns."""
        if self.ask_back is None:
            raise RuntimeError("the tests cannot be asked now")
        box = [number, list(args), dict(kwargs)]
        del args, kwargs
        message = self.write_message("callback", box, {})
        del box
        kind, tree, more = [*json.loads(self.ask_back(message)), {}][:3]
        (value,) = self.read_message([tree], more)
        if kind == "raise":
            raise value
        return value

    def items_of(self, number: int) -> Iterator[Any]:
        """Yield the items of an iterator of the tests, each when it is asked for."""
        while True:
            ended, item = self.call_back(number, (), {})
            if ended:
                return
            yield item

    # -- comparisons -------------------------------------------------------------------------------------------------

    def compare(self, left: Any, right: Any) -> tuple[bool, Any, Any]:
        """Return whether the program says that two objects are equal, and what each of them holds."""
        same = bool(left == right)
        if same and left is not right:
            with contextlib.suppress(Exception):  # an honest one may not like it
                same = not bool(left == Unequal())  # or it would equal anything
        return same, state_of(left, {}, 0), state_of(right, {}, 0)


def import_global(server: Server, module: str, name: str) -> Any:
    """Return what a module calls by a name."""
    found = importlib.import_module(module)
    for part in name.split(".") if name else ():
        found = getattr(found, part)
    return found


def make_array(server: Server, dtype: str, shape: list[int], data: str) -> Any:
    """Return an array of numpy."""
    return importlib.import_module("numpy").frombuffer(bytearray.fromhex(data), dtype).reshape(shape)


class Unequal:
    """What no object of a program has a reason to equal."""


def hash_of(value: Any) -> int | None:
    """Return the hash of an object by its class, None where it has none of its own."""
    if type(value).__hash__ in (object.__hash__, None):
        return None
    try:
        return hash(value)
    except Exception:
        return None


_FUNCTIONS = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType)
_PLAIN = (int, float, complex, bool, str, bytes, type(None))


def state_of(value: Any, seen: dict[int, int], depth: int) -> Any:
    """Return what an object holds as plain data: two objects that hold the same have equal states."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if id(value) in seen or depth > 40:
        return ("seen", seen.get(id(value), -1))
    seen[id(value)] = len(seen)

    def below(part: Any) -> Any:
        return state_of(part, seen, depth + 1)

    parts: list[Any] = []
    bare = wire.flatten(value)
    if isinstance(bare, dict):
        parts += [(below(key), below(part)) for key, part in bare.items()]
        parts = parts if kind.__name__ == "OrderedDict" else sorted(parts, key=repr)
    elif isinstance(bare, set | frozenset):
        parts += sorted(map(below, bare), key=repr)
    elif isinstance(bare, list | tuple) or kind.__name__ == "deque":
        parts += map(below, bare)
    elif bare is not value:
        parts.append(bare)
    if not isinstance(value, _FUNCTIONS) and kind.__module__ not in ("builtins", "collections"):
        names = {name for base in kind.__mro__ for name in base.__dict__.get("__slots__", ())}
        inside = {name: getattr(value, name) for name in names if hasattr(value, name)} | getattr(value, "__dict__", {})
        parts += [(name, below(inside[name])) for name in sorted(inside)]
    return (kind.__name__, parts)


def is_known(kind: type) -> bool:
    """Whether the tests' side knows a base of a class by its name: a builtin type or a container."""
    return wire.global_name(kind) is not None and (kind.__module__ == "builtins" or base_of(kind) is not None)


def content_of_error(error: BaseException) -> tuple[Any, Any]:
    """Return the arguments and the attributes of an exception, as far as they are plain data."""

    def tree(part: Any) -> list[Any]:
        with contextlib.suppress(Exception):
            return [wire.tree_of(part, 0, [1000, wire.MAX_FRAME, True, None])]
        return []

    given = (*error.args, error.filename) if isinstance(error, OSError) and error.filename else error.args
    args = [found for part in given for found in tree(part)]
    named = [[name, *found] for name, part in list(vars(error).items())[:100] if (found := tree(part))]
    return args if len(args) == len(given) else [], named


def what_is(part: Any) -> str:
    """Return ``method`` for what is called through an object, ``none`` for None, ``other`` for the rest."""
    if part is None:
        return "none"
    kinds = (types.FunctionType, classmethod, staticmethod, types.MethodDescriptorType, types.WrapperDescriptorType)
    return "method" if isinstance(part, kinds) or type(part).__name__ == "builtin_function_or_method" else "other"


def describe_failure(error: BaseException) -> list[str]:
    """Return ``error`` or ``refused``, the class of an exception, its nearest builtin class, and its message."""
    kinds = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"]
    try:
        message = str(error)[:300]
    except BaseException:
        message = ""
    return ["refused" if isinstance(error, wire.WireError) else "error", type(error).__name__, kinds[0], message]


@functools.cache
def event_loop() -> Any:
    """Return the one event loop: an asynchronous generator lives in it from item to item."""
    import asyncio  # the rare case pays

    return asyncio.new_event_loop()


def run_coroutine(coroutine: Any) -> Any:
    """Return the result of a coroutine."""

    async def wait() -> Any:
        return await coroutine

    return event_loop().run_until_complete(wait())


def signature_of(function: Any) -> list[Any]:
    """Return name, kind and default of each parameter of a function."""
    import inspect  # the rare case pays

    empty = inspect.Parameter.empty
    return [
        (p.name, int(p.kind), p.default is not empty, None if p.default is empty else p.default)
        for p in inspect.signature(function).parameters.values()
    ]


def make_proxy(call: Callable[..., Any], name: str, parameters: list[Any]) -> Any:
    """Return a function with a name and parameters that calls ``call``; parameters that are not given are left out."""
    try:
        head, body = [], []
        missing = object()
        star = False
        for parameter, kind, has_default in parameters:
            if kind == 3 and not star:
                head.append("*")
                star = True
            star = star or kind == 2
            mark = "*" * (kind == 2) + "**" * (kind == 4)
            head.append(f"{mark}{parameter}" + ("=__missing__" if has_default else ""))
            if kind in (0, 1):
                body.append(f"*(({parameter},) if {parameter} is not __missing__ else ())")
            elif kind == 3:
                body.append(f"**({{{parameter!r}: {parameter}}} if {parameter} is not __missing__ else {{}})")
            else:
                body.append(f"{mark}{parameter}")
        scope = {"__call__": call, "__missing__": missing}
        exec(f"def proxy({', '.join(head)}):\n    return __call__({', '.join(body)})", scope)
        proxy: Any = scope["proxy"]
        proxy.__name__ = proxy.__qualname__ = name
        defaults = proxy.__defaults__
        proxy.__defaults__ = defaults and tuple(defaults)
    except Exception:

        def proxy(*args: Any, **kwargs: Any) -> Any:
            return call(*args, **kwargs)

    return proxy


def make_thrown(server: Server, number: int, name: str, kind: str, args: list[Any]) -> BaseException:
    """Return an exception that stands for one of the tests' own."""
    try:
        error = type(name, (getattr(builtins, kind, Exception),), {"__thrown__": number})(*args)
    except TypeError:
        error = type(name, (Exception,), {"__thrown__": number})(*args)
    return error


_READERS: dict[str, Callable[..., Any]] = {
    "global": import_global, "callback": Server.proxy, "ndarray": make_array, "thrown": make_thrown,
    "scalar": lambda server, dtype, data: make_array(server, dtype, [1], data)[0],
}  # fmt: skip


class Turns:
    """The socket to the tests' side, on which exactly one side has the word.

    Args:
        sock: The socket.
        receive, send: How frames are read from it and written to it.
    """

    def __init__(self, receive: Callable[[], bytes], send: Callable[[bytes], None], token: int) -> None:
        self.receive, self.send, self.size = receive, send, token
        self.token = b""
        self.lock = threading.RLock()
        self.server: Server | None = None

    def take(self) -> bytes:
        """Return the next message of the other side."""
        data = self.receive()
        self.token = data[: self.size]
        return data[self.size :]

    def give(self, data: bytes) -> None:
        """Answer the last message."""
        with self.lock:
            self.send(self.token + data)

    def ask(self, data: bytes) -> bytes:
        """Ask the other side in the middle of its own question, and return its answer; what it asks is answered."""
        with self.lock:
            self.give(data)
            while True:
                message = self.take()
                if message.startswith((b'["return"', b'["raise"')):
                    return message
                assert self.server is not None
                self.give(self.server.answer(message))
