"""The tests' side of a trial: objects of the program appear as stand-ins that ask where the object is.

A class of the program appears as a class of the same name, bases and methods, whose methods ask; so ``isinstance``,
``except`` and ``type(x).__name__`` mean what they say, and nothing of the program is executed here. What comes back is
plain data or another stand-in.

An answer of the program's own code about a value that the test gave it, such as its own ``__eq__`` against an expected
number, is a *doubt*: a trial that fails in spite of it has failed, and one that passes has proved nothing.
Standard library only.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import importlib
import inspect
import operator
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any, cast
from weakref import WeakValueDictionary

from g2rpo_env.envs.coding import wire
from g2rpo_env.envs.coding.exceptions import (
    EXITS,
    Control,
    NeedsLibraries,
    Obstacle,
    build_error,
    exception_class,
    exception_of,
    name_missing,
    standard_class,
)
from g2rpo_env.envs.coding.links import Links, base_of, is_array
from g2rpo_env.envs.coding.stand_ins import (
    BASES,
    COMPARED,
    ORDERED,
    REAL,
    Absent,
    Comparing,
    Doubt,
    Method,
    Named,
    Reference,
    RemoteType,
    await_there,
    forward,
    has_ours,
    is_forwarded,
    is_of_data,
    is_stand_in,
    number_of,
    raise_there,
    refuse_module,
    run_there,
)

MAX_NESTED = 150
"""Questions within questions, as functions of the tests that call the program again."""
MAX_TOLD = 32 << 20
"""Bytes of messages with classes in them that one program may send."""
_PATCHABLE = ("input", "print", "open")
_PATCHED = operator.attrgetter(*_PATCHABLE)
_ORIGINAL = _PATCHED(builtins)


class Session(wire.Peer):
    """What the tests' side knows of one program.

    Args:
        exchange: Sends a message to the program's side and returns the next one from there.
        copies: Give the program copies of what the tests pass: changes that it makes stay there.
        libraries: Whether the program's side has numpy loaded.

    Attributes:
        answers: Questions that were answered.
        doubts: What the program alone decided.
        changed: Whether a call that returned something changed an argument in place.
    """

    def __init__(self, exchange: Callable[[bytes], bytes], copies: bool = False, libraries: bool = True) -> None:
        self.exchange, self.libraries = exchange, libraries
        self.links = Links(0, enabled=not copies)
        self.answers = 0
        self.doubts: list[Doubt] = []
        self.changed = False
        self.modules: set[str] = set()
        """Modules that the tests may use unimported."""
        self.objects_wanted = False
        """Whether the tests name a class of the program."""
        self.own_classes: frozenset[str] = frozenset()
        """Names of classes that the tests define."""
        self.scope: dict[str, Any] = {}
        """The names of the tests."""
        self.entry_point = ""
        self.giving = False
        """Whether functions that are read now are asked for as such, and not as a method of what should be data."""
        self.catches_stop = False
        """Whether the tests name StopIteration."""
        self.ended: Control | None = None
        self.classes: dict[tuple[int, bool], Any] = {}
        self.described: dict[int, Any] = {}
        self.told = 0
        self.stand_ins: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self.functions: dict[int, Any] = {}
        self.function_numbers: dict[int, int] = {}
        self.thrown: list[BaseException] = []
        self.depth = 0
        self.reading = False
        self.stdout, self.stderr = sys.stdout, sys.stderr
        self.lock = threading.RLock()
        """Held from question to answer: tests may have threads."""

    # -- questions ---------------------------------------------------------------------------------------------------

    def ask(self, operation: str, target: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        """Return the answer to a question: the value, or raise the exception that it raised there."""
        with self.lock:
            return self._ask(operation, target, args, kwargs or {})

    def _ask(self, operation: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.ended is not None:
            raise self.ended
        if self.reading:
            raise wire.WireError("a question within an answer")
        if self.depth >= MAX_NESTED:
            self.end(Obstacle(f"calls are nested deeper than {MAX_NESTED} across the boundary"))
        self.depth += 1
        try:
            data = self._exchange(self._request(operation, target, args, kwargs))
            while data.startswith(b'["callback"'):
                data = self._exchange(self._call_back(data))
            return self._result(data, operation, args[0] if args else None)
        except wire.WireError as error:
            self.end(self.refuse(str(error)))
        finally:
            self.depth -= 1

    def refuse(self, message: str) -> Control:
        """Return what ends a trial whose program broke the rules of the wire; the worker has its own."""
        return Obstacle(message)

    def end(self, error: Control) -> Any:
        """End the trial for good."""
        self.ended = self.ended or error
        raise self.ended

    def _exchange(self, message: bytes) -> bytes:
        try:
            return self.exchange(message)
        except Control as error:
            self.ended = self.ended or error
            raise

    def call(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the result of a call of an object of the program, or of the function of that name."""
        return self.ask("call", target, args, kwargs)

    def get(self, target: Any, name: str) -> Any:
        """Return an attribute."""
        return self.ask("get", target, (name,))

    def special(self, target: Any, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Return what a special method of an object's class returns."""
        return self.ask("special", target, (name, *args), kwargs)

    def judge(self, target: Any, name: str, *args: Any) -> Any:
        """Return what an operator gives; where the other operand is the test's, it decides nothing for sure."""
        found = self.special(target, name, *args)
        if has_ours(args) and found is not NotImplemented and found is not False:
            if not is_stand_in(found) or not getattr(target, "_g2rpo_made", False):
                self.doubts.append(Doubt(f"{type(target).__name__}.{name}", type(target)._g2rpo_real is None))
        return found

    def call_method(self, target: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what a method returns; that of an object which the test has not made may say what it likes."""
        found = self.ask("method", target, (name, *args), kwargs)
        made = isinstance(target, RemoteType | Named) or target._g2rpo_made or hasattr(target._g2rpo_real, name)
        if not made and not is_stand_in(found) and found not in (None, False) and has_ours((*args, *kwargs.values())):
            self.doubts.append(Doubt(f"{type(target).__name__}.{name}", is_of_data(name)))
        return found

    def call_object(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what a call of an object returns, such as of a function that a function returned."""
        found = self.call(target, args, kwargs)
        if not target._g2rpo_given and not is_stand_in(found) and found not in (None, False) and has_ours(args):
            self.doubts.append(Doubt(f"{type(target).__name__}.__call__", True))
        return found

    # -- messages ----------------------------------------------------------------------------------------------------

    def _request(self, operation: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        budget = wire.new_budget(self)
        more: dict[str, Any] = {}
        if self.links.objects or args or kwargs:
            more = self.links.news((*args, *kwargs.values()) if kwargs else args, budget)
        if sys.stdout is not self.stdout or sys.stderr is not self.stderr:
            more["output"] = True
        if (now := _PATCHED(builtins)) != _ORIGINAL:
            more["builtins"] = {
                name: self.write_function(new)
                for name, new, old in zip(_PATCHABLE, now, _ORIGINAL, strict=True)
                if new is not old
            }
        try:
            trees = [wire.tree_of(part, 0, budget) for part in (target, list(args), kwargs)]
            if more:
                self.links.drop(more.get("dropped", ()))
            return wire.pack([operation, *trees, more] if more else [operation, *trees])
        except wire.WireError as error:
            return self.end(Obstacle(f"an argument cannot be passed to the program: {error}"))

    def _result(self, data: bytes, operation: str, name: Any) -> Any:
        self.giving = operation != "get" or not is_of_data(name)
        kind, parts, more = self._read(data, ("ok", "error", "refused"))
        self.answers += 1
        if kind == "refused":
            self.end(self.refuse(str(parts[-1]) if parts else ""))
        if kind == "error":
            error = self._exception(parts, more)
            ends = operation == "special" or (operation == "method" and name in ("send", "throw", "__next__"))
            if isinstance(error, NameError) and self._is_ours(name_missing(str(error))):
                self.end(Obstacle(f"the program needs a name of the tests: {error}"))
            if isinstance(error, StopIteration) and not ends:
                self.doubts.append(
                    Doubt("StopIteration", plain=not self.catches_stop)
                )  # in a loop over calls it would end the test
            raise error
        (value,) = parts or (None,)
        if operation in ("call", "name") and is_stand_in(value):
            object.__setattr__(value, "_g2rpo_given", True)
        return value

    def _is_ours(self, name: str) -> bool:
        """Whether plain Python, where program and tests share their names, would find one among those of the tests."""
        known = name != self.entry_point and name in self.scope and type(self.scope[name]) is not Named
        return known or name in self.own_classes

    def _read(self, data: bytes, kinds: tuple[str, ...]) -> tuple[str, list[Any], dict[str, Any]]:
        """Return kind, values and extras of a message of the program's side."""
        self.reading = True
        try:
            message = wire.unpack(data)
            if type(message) is not list or not message or message[0] not in kinds:
                raise wire.WireError("malformed answer")
            more: dict[str, Any] = message.pop() if len(message) > 1 and _is_extras(message[-1]) else {}
            budget = [wire.MAX_NODES, self]
            numbers = self._learn(data, more, budget) if more else []
            parts = [wire.value_of(part, 0, budget) for part in message[1:]]
            if more:
                if "raised" in more:
                    more["raised"] = wire.value_of(more["raised"], 0, budget)
                self.links.drop(more.get("dropped", ()))
            self.links.settle(self)
        except wire.MALFORMED as error:
            raise wire.WireError(f"malformed answer: {type(error).__name__}") from None
        finally:
            self.reading = False
        if any(number % 2 == 0 for number in numbers) and (message[0] != "ok" or parts != [None]):
            self.changed = True
        if "printed" in more:
            for stream, text in zip((sys.stdout, sys.stderr), more["printed"], strict=False):
                if type(text) is str and text:
                    stream.write(text)
        return message[0], parts, more

    def _learn(self, data: bytes, more: dict[str, Any], budget: list[Any]) -> list[int]:
        """Take in the classes and changes that come with a message, and return the numbers of what changed."""
        if classes := more.get("classes", ()):
            self.told += len(data)
            if self.told > MAX_TOLD:
                raise wire.WireError("too much is told about classes")
            for entry in classes:
                self.described.setdefault(entry[0], entry)
        return self.links.read_changes(more.get("changes", ()), budget)

    def _exception(self, parts: list[Any], more: dict[str, Any]) -> BaseException:
        thrown = more.get("thrown")
        if type(thrown) is int and 0 <= thrown < len(self.thrown):
            return self.thrown[thrown]
        found = more.get("raised")
        return found if isinstance(found, BaseException) else exception_of(parts)

    # -- functions of the tests --------------------------------------------------------------------------------------

    def _call_back(self, data: bytes) -> bytes:
        """Call a function of the tests for the program, and return the message that answers."""
        self.giving = True
        _, parts, _ = self._read(data, ("callback",))
        try:
            number, args, kwargs = parts
            if type(number) is not int or type(args) is not list or type(kwargs) is not dict:
                raise wire.WireError("malformed callback")
            function = self.functions[number]
        except (ValueError, KeyError):
            raise wire.WireError("a callback that there is not") from None
        parts.clear()
        try:
            box = [function(*args, **kwargs)]
            args.clear()
            kind = "return"
        except Control:
            raise
        except BaseException as error:
            box, kind = [error], "raise"
        budget = wire.new_budget(self)
        more = self.links.news(box, budget)
        try:
            tree = self._thrown(box[0]) if kind == "raise" else wire.tree_of(box[0], 0, budget)
            self.links.drop(more.get("dropped", ()))
            return wire.pack([kind, tree, more])
        except wire.WireError as error:
            return self.end(Obstacle(f"a result cannot be passed to the program: {error}"))

    def _thrown(self, error: BaseException) -> Any:
        self.thrown.append(error)
        kinds = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"]
        plain = all(type(part) in (int, str, float, bool, type(None)) for part in error.args)
        args = list(error.args) if plain else [str(error)[:300]]
        return {"thrown": [len(self.thrown) - 1, type(error).__name__, kinds[0], args]}

    def write_function(self, function: Any) -> Any:
        """Return the tag of a function of the tests."""
        return {"callback": [self._number_of(function, function), *_describe_function(function)]}

    def _number_of(self, value: Any, function: Any) -> int:
        number = self.function_numbers.get(id(value))
        if number is None:
            number = self.function_numbers[id(value)] = len(self.functions)
            self.functions[number] = function
            if function is not value:
                function.__self_value__ = value  # the id is taken as long as the number lives
        return number

    # -- values that are no plain data -------------------------------------------------------------------------------

    def write(self, value: Any, kind: type, depth: int, budget: list[Any]) -> Any:
        """See wire.Peer."""
        if kind is Named:
            return {"ref": value._g2rpo_name}
        if kind is Method:
            return {"attribute": [wire.tree_of(value._g2rpo_owner, depth, budget), value._g2rpo_name]}
        if isinstance(kind, RemoteType) or isinstance(value, RemoteType):
            return {"ref": number_of(value)}
        if is_array(kind) and value.dtype.kind in "biufcSU":
            if not self.libraries:
                self.end(NeedsLibraries())
            return {"ndarray": [value.dtype.str, list(value.shape), value.tobytes().hex()]}
        if kind.__module__ in sys.stdlib_module_names and base_of(kind) is not None:
            return None
        return self._write_function(value, kind)

    def _write_function(self, value: Any, kind: type) -> Any:
        if kind is types.ModuleType:
            return {"global": [value.__name__, ""]}
        if callable(value) and (name := _public_name(value)):
            return {"global": name}
        if isinstance(value, _FUNCTIONS):
            return self.write_function(value)
        if isinstance(value, Iterator) and kind.__module__ in ("builtins", "itertools"):
            return {"generator": self._number_of(value, _Next(value))}
        self.end(Obstacle(f"a {kind.__name__} of the tests cannot be passed to the program"))

    def read(self, tag: str, inner: Any, depth: int, budget: list[Any]) -> Any:
        """See wire.Peer; whatever the tag says, what it gives is plain data, a stand-in, or harmless."""
        if tag == "link":
            return self.links.read(inner, depth, budget)
        if tag == "class":
            return self.class_of(inner)
        if tag in ("valued", "twin"):
            number, kind, *trees = inner
            make = self._valued if tag == "valued" else self._twin
            return make(number, self.class_of(kind), trees, depth, budget)
        return _READERS[tag](self, *inner)

    def _global(self, module: Any, name: Any) -> Any:
        if (found := wire.find_global(module, name)) is None:
            raise LookupError(name)
        return found

    def _module(self, name: Any, number: Any, kind: Any) -> Any:
        if name == "numpy":
            with contextlib.suppress(ImportError):
                return importlib.import_module(name)
        return sys.modules[name] if name in wire.HARMLESS and name in sys.modules else self._object(number, kind)

    def _array(self, number: Any, kind: Any, dtype: Any, shape: Any, data: Any) -> Any:
        try:
            numpy = importlib.import_module("numpy")
        except ImportError:
            return self._object(number, kind)
        return numpy.frombuffer(bytearray.fromhex(data), _dtype(dtype)).reshape(*map(int, shape))

    def _scalar(self, dtype: Any, data: Any) -> Any:
        numpy = importlib.import_module("numpy")
        (found,) = numpy.frombuffer(bytes.fromhex(data), _dtype(dtype))
        return found

    def write_scalar(self, value: Any) -> Any:
        """See wire.Peer; a program without libraries gets a number of Python."""
        return super().write_scalar(value) if self.libraries else None

    def _valued(self, number: Any, cls: Any, trees: list[Any], depth: int, budget: list[Any]) -> Any:
        (content,) = (wire.value_of(tree, depth + 1, budget) for tree in trees)
        base: Any = type(content)
        if base not in (int, float, complex, str, bytes, tuple, frozenset) or not issubclass(cls, base):
            raise wire.WireError("a value that is none of its class")
        return self._mark(base.__new__(cls, content), number)

    def _object(self, number: Any, kind: Any, hashed: Any = None) -> Any:
        found = self.stand_ins.get(number)
        if found is None:
            cls = self.class_of(kind, real=False)
            if base_of(cls) is not None or issubclass(cls, BaseException):
                raise wire.WireError("an object that is none of its class")
            found = self._mark(object.__new__(cls), number)
            object.__setattr__(found, "_g2rpo_hash", hashed if type(hashed) is int else None)
            self.stand_ins[number] = found
        if self.giving and found._g2rpo_real in _FUNCTIONS:
            object.__setattr__(found, "_g2rpo_given", True)
        object.__setattr__(found, "_g2rpo_made", False)  # whoever made it sets it; what comes back may be another's
        return found

    def _twin(self, number: Any, cls: Any, trees: list[Any], depth: int, budget: list[Any]) -> Any:
        if not trees:
            return self.links.objects[number]
        base: Any = base_of(cls)
        if not isinstance(cls, RemoteType) or base is None:
            raise wire.WireError("a container that is none of its class")
        value = self._mark(base.__new__(cls), number)
        self.links.learn(number, value, trees[0], depth, budget)
        return value

    def _raised(
        self, number: Any, kind: Any, message: Any, args: Any, named: Any = (), cause: Any = None
    ) -> BaseException:
        args, *named = (wire.value_of(part, 0, [5000, None]) for part in (args, *named))
        error = self._error(number, kind, message, args)
        if not is_stand_in(error):  # which asks
            for name, value in named:
                if type(name) is str and (name[:1] != "_" or name == "__notes__"):
                    with contextlib.suppress(AttributeError, TypeError):
                        setattr(error, name, value)
        found = wire.value_of(cause, 0, [5000, self])
        error.__cause__ = found if isinstance(found, BaseException) else None
        return error

    def _error(self, number: Any, kind: Any, message: Any, args: Any) -> BaseException:
        cls = self.class_of(kind)
        if not issubclass(cls, BaseException):
            raise wire.WireError("an exception that is none")
        if issubclass(cls, BaseExceptionGroup):
            self.end(Obstacle("groups of exceptions cannot be taken apart here"))
        message = str(message)[:400]
        if isinstance(cls, RemoteType):
            error: BaseException = self._mark(cast(Any, BaseException).__new__(cls), number)
            object.__setattr__(error, "_g2rpo_message", message)
            BaseException.args.__set__(error, tuple(args))  # type: ignore[attr-defined]
            return error
        return build_error(cls, message, args)

    def _mark(self, value: Any, number: Any) -> Any:
        if type(number) is not int:
            raise wire.WireError("a reference whose number is none")
        object.__setattr__(value, "_g2rpo_number", number)
        return value

    def class_of(self, number: Any, real: bool = True) -> Any:
        """Return the class with a number: where ``real``, that of the standard library if it is harmless."""
        found = self.classes.get((number, real))
        if found is None:
            _, name, bases, names, module, text, own = self.described[number]
            if (
                len(self.classes) > 5000
                or not all(type(part) is str for part in (name, module))
                or type(number) is not int
            ):
                raise wire.WireError("malformed class, or too many")
            known = (EXITS.get(own[1]) or wire.find_global(*own)) if own else exception_class(module, name)
            found = known if known and real else self._make_class(number, name, bases, names, module, text, known)
            self.classes.update({(number, real): found} if known else {(number, True): found, (number, False): found})
        return found

    def _bases(self, bases: Any) -> list[Any]:
        """Return the bases of a stand-in's class: stand-ins' classes, builtin ones, and what makes it one itself."""
        above: list[Any] = []
        for base in bases:
            found = self.class_of(base) if type(base) is int else wire.find_global(*base) or EXITS[base[1]]
            if type(base) is int and not (found in BASES or issubclass(found, BaseException)):
                found = self.class_of(base, real=False)
            if isinstance(found, RemoteType) or found in BASES or issubclass(found, BaseException):
                above.append(found)
        if not any(issubclass(base, Reference) for base in above):
            builtin = any(issubclass(base, (*BASES, BaseException)) for base in above)
            above.insert(0, Reference if builtin else Comparing)
        return above

    def _make_class(self, number: int, name: str, bases: Any, names: Any, module: str, text: Any, known: Any) -> Any:
        above = self._bases(bases)
        plain = not any(issubclass(base, (*BASES, BaseException)) for base in above)
        own = {str(key): str(what) for key, what in names} if known is not object else {}
        body = {key: forward(key, what) for key, what in own.items() if is_forwarded(key)}
        if plain:
            body = {key: part for key, part in body.items() if key not in COMPARED}
        else:
            body = {key: part for key, part in body.items() if key not in (*COMPARED, "__hash__", *ORDERED)}
        inherited = set().union(*(getattr(base, "_g2rpo_own", ()) for base in above))
        body |= {"_g2rpo_own": frozenset(inherited | set(own)), "_g2rpo_number": number, "_g2rpo_session": self}
        body |= {"__module__": module, "__doc__": text if type(text) is str else None, "__qualname__": name}
        body["_g2rpo_real"] = real = known or REAL.get(name) or standard_class(module, name)
        if real:
            body["__class__"] = property(lambda self: real)
        if name == "module":
            body["__getattr__"] = refuse_module
        if name in REAL:
            body["__doc__"] = property(lambda self: self._g2rpo_session.get(self, "__doc__"))
            body["__module__"] = property(lambda self: self._g2rpo_session.get(self, "__module__"))
        if name == "coroutine":
            body |= {"send": run_there, "__await__": await_there, "throw": raise_there, "close": lambda self: None}
        if "__await__" in own:
            body["__await__"] = await_there
        if "__next__" in own and "__copy__" not in own:
            body["__copy__"] = Absent()
        if "__hash__" in body and own["__hash__"] == "none":
            body["__hash__"] = None
        try:
            return RemoteType(name, tuple(above), body, made_here=True)
        except TypeError:  # bases that do not go together here, such as those of a metaclass of its own
            return RemoteType(name, (Comparing,), body, made_here=True)


_FUNCTIONS = (
    types.FunctionType, types.MethodType, types.BuiltinFunctionType, types.MethodWrapperType, functools.partial,
    functools._lru_cache_wrapper, operator.itemgetter, operator.attrgetter, operator.methodcaller,
)  # fmt: skip
"""What the program may get as a function that asks back; other objects are more than what they do when called."""


_READERS: dict[str, Callable[..., Any]] = {
    "global": Session._global, "module": Session._module, "ndarray": Session._array, "object": Session._object,
    "exception": Session._raised, "scalar": Session._scalar,
}  # fmt: skip
"""How what a program sends is read, by tag."""


def _is_extras(part: Any) -> bool:
    return type(part) is dict and (not part or bool(set(part) & _EXTRAS)) and set(part) <= _EXTRAS


_EXTRAS = {"changes", "dropped", "classes", "printed", "raised", "thrown"}


def _public_name(value: Any) -> list[str] | None:
    """Return module and name of a function or type of an installed module, for the program's side to import."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if module is None and hasattr(value, "__objclass__"):
        module = value.__objclass__.__module__
    if module is None and isinstance(value, types.BuiltinFunctionType) and isinstance(value.__self__, type):
        module = value.__self__.__module__
    if (
        type(module) is not str
        or type(name) is not str
        or module.split(".")[0] not in {*sys.stdlib_module_names, "numpy"}
    ):
        return None
    found = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return [module, name] if found is value or found == value else None


def _describe_function(function: Any) -> list[Any]:
    """Return name, parameters (name, kind, whether it has a default) and docstring of a function of the tests."""
    name = getattr(function, "__name__", "function")
    text = function.__doc__ if isinstance(function, types.FunctionType) else None
    parameters = []
    if isinstance(function, types.FunctionType | types.MethodType):
        with contextlib.suppress(ValueError, TypeError):
            for p in inspect.signature(function).parameters.values():
                parameters.append([p.name, int(p.kind), p.default is not p.empty])
            return [str(name), parameters, text]
    return [str(name), [["args", 2, False], ["kwargs", 4, False]], text]


class _Next:
    """An iterator of the tests as a function that gives its next item: (ended, item)."""

    __self_value__: Any = None

    def __init__(self, iterator: Any) -> None:
        self.iterator = iterator

    def __call__(self) -> tuple[bool, Any]:
        try:
            return False, next(self.iterator)
        except StopIteration:
            return True, None


def _dtype(text: Any) -> str:
    """Return the name of a type of numpy that holds numbers or text."""
    if type(text) is not str or text[:1] not in "<>|=" or text[1:2] not in "biufcSU" or not text[2:].isdigit():
        raise wire.WireError("an array of no known type")
    return text
