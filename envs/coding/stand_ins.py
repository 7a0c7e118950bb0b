"""Stand-ins: what the tests hold in place of objects, classes and functions of the program.

A stand-in has a number and a :class:`~g2rpo_env.envs.coding.references.Session`, which it asks for all that it is to
do. Standard library only.
"""

from __future__ import annotations

import copy
import inspect
import operator
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from g2rpo_env.envs.coding import wire
from g2rpo_env.envs.coding.exceptions import Obstacle


@dataclass(frozen=True)
class Doubt:
    """An answer that only the program's own code gave: what was asked, and whether of what should be plain data."""

    asked: str
    plain: bool


BASES: tuple[Any, ...] = (
    int, float, complex, str, bytes, tuple, frozenset, list, dict, set, bytearray, deque, OrderedDict, Counter,
    defaultdict,
)  # fmt: skip
COMPARED = ("__eq__", "__ne__")
ORDERED = ("__lt__", "__le__", "__gt__", "__ge__")
_ARITHMETIC = tuple(
    f"__{prefix}{name}__"
    for name in "add sub mul truediv floordiv mod divmod pow matmul lshift rshift and or xor".split()
    for prefix in ("", "r", "i")
    if (prefix, name) != ("i", "divmod")
)
_SPECIAL = frozenset(
    "__call__ __len__ __length_hint__ __getitem__ __setitem__ __delitem__ __contains__ __iter__ __next__ __reversed__ "
    "__enter__ __exit__ __aiter__ __anext__ __aenter__ __aexit__ "
    "__int__ __float__ __complex__ __index__ __bool__ __abs__ __neg__ __pos__ __invert__ __round__ "
    "__trunc__ __floor__ __ceil__ __repr__ __str__ __format__ __bytes__ __hash__ __missing__".split()
)
_READABLE = frozenset(
    "__name__ __qualname__ __doc__ __module__ __dict__ __annotations__ __defaults__ __kwdefaults__ __wrapped__ "
    "__code__ __self__ __func__ __closure__ __slots__ __members__ __match_args__ __version__ __all__ __notes__ "
    "__cause__ __isabstractmethod__ __abstractmethods__ __post_init__ __init__ "
    "__mro__ __bases__".split()
)
REAL: dict[str, Any] = {
    "function": types.FunctionType, "generator": types.GeneratorType, "coroutine": types.CoroutineType,
    "method": types.MethodType, "builtin_function_or_method": types.BuiltinFunctionType, "module": types.ModuleType,
}  # fmt: skip


def is_forwarded(name: str) -> bool:
    """Return whether a name in the body of a program's class is one that a stand-in's class has, too."""
    special = name.startswith("__") and name.endswith("__")
    return not name.startswith("_g2rpo") and (not special or name in (*_SPECIAL, *_ARITHMETIC, *ORDERED, *COMPARED))


def forward(name: str, what: str) -> Any:
    """Return what stands in a stand-in's class for a name in the body of the program's class."""
    if name in _ARITHMETIC or name in ORDERED:
        return lambda self, *args: self._g2rpo_session.judge(self, name, *args)
    if name == "__contains__":
        return _contains
    if name == "__call__":
        return lambda self, /, *args, **kwargs: self._g2rpo_session.call_object(self, args, kwargs)
    if name == "__hash__":
        return _hash
    if name in _SPECIAL:
        return lambda self, /, *args, **kwargs: self._g2rpo_session.special(self, name, *args, **kwargs)
    return Forward(name, what)


def _contains(self: Any, item: Any) -> Any:
    session = self._g2rpo_session
    return (
        session.special(self, "__contains__", item) if self._g2rpo_made else session.judge(self, "__contains__", item)
    )


def _hash(self: Any) -> int:
    if type(self._g2rpo_hash) is int:
        return int(self._g2rpo_hash)
    return int(self._g2rpo_session.special(self, "__hash__"))


def run_there(self: Any, value: Any) -> Any:
    """Run a coroutine of the program to its end, as ``send`` does."""
    raise StopIteration(self._g2rpo_session.ask("run", self))


def await_there(self: Any) -> Any:
    """Run what the program made awaitable to its end, as ``__await__`` does."""
    return self._g2rpo_session.ask("run", self)
    yield


def raise_there(self: Any, *error: Any) -> Any:
    """Raise an exception where a coroutine is, as ``throw`` does."""
    raise error[0]


def refuse_module(self: Any, name: str) -> Any:
    """Raise Obstacle for an attribute of a module that the tests have not imported."""
    raise Obstacle(f"the tests use {name!r} of a module that only the program has imported")


def is_stand_in(value: Any) -> bool:
    """Return whether a value is an object of the program."""
    return isinstance(type(value), RemoteType)


def is_of_data(name: Any) -> bool:
    """Return whether numbers, texts or containers have an attribute of that name."""
    return any(hasattr(kind, str(name)) for kind in BASES)


def has_ours(values: Iterable[Any]) -> bool:
    """Return whether some values are of the tests."""
    return any(not is_stand_in(value) for value in values)


def number_of(value: Any) -> int:
    """Return the number of a stand-in, or of a class of stand-ins."""
    number: int = type.__getattribute__(value, "_g2rpo_number") if isinstance(value, type) else value._g2rpo_number
    return number


class Forward:
    """A name in the body of the program's class: it is looked up where the object is."""

    def __init__(self, name: str, what: str) -> None:
        self.name, self.what = name, what

    def __get__(self, value: Any, owner: Any) -> Any:
        target = owner if value is None else value
        session = owner._g2rpo_session
        return Method(session, target, self.name) if self.what == "method" else session.get(target, self.name)

    def __set__(self, value: Any, new: Any) -> None:
        value._g2rpo_session.ask("set", value, (self.name, new))

    def __delete__(self, value: Any) -> None:
        value._g2rpo_session.ask("delete", value, (self.name,))


class Absent:
    """A method that an object lacks although a base of its class has it."""

    def __get__(self, value: Any, owner: Any) -> None:
        if value is not None:
            raise AttributeError("no such method")


class RemoteType(type):
    """The class of classes of the program."""

    def __new__(
        mcs, name: str, bases: tuple[Any, ...], body: dict[str, Any], made_here: bool = False, **_: Any
    ) -> RemoteType:
        if not made_here:
            raise Obstacle(f"a class of the tests derives from one of the program: {name}")
        return super().__new__(mcs, name, bases, body)

    def __init__(cls, name: str, bases: tuple[Any, ...], body: dict[str, Any], **_: Any) -> None:
        super().__init__(name, bases, body)

    def __call__(cls, /, *args: Any, **kwargs: Any) -> Any:
        made = cls._g2rpo_session.call(cls, args, kwargs)
        if isinstance(type(made), RemoteType):
            object.__setattr__(made, "_g2rpo_made", True)
        return made

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("_g2rpo") or (name.startswith("__") and name not in _READABLE):
            _refuse_fields(name)
            raise AttributeError(f"type object {cls.__name__!r} has no attribute {name!r}")
        return cls._g2rpo_session.get(cls, name)

    def __setattr__(cls, name: str, value: Any) -> None:
        if name.startswith("__") or name.startswith("_abc"):
            super().__setattr__(name, value)
        else:
            cls._g2rpo_session.ask("set", cls, (name, value))

    def __iter__(cls) -> Any:
        return cls._g2rpo_session.call(iter, (cls,), {})

    def __len__(cls) -> int:
        return int(cls._g2rpo_session.call(len, (cls,), {}))

    def __bool__(cls) -> bool:
        return True

    def __getitem__(cls, key: Any) -> Any:
        return cls._g2rpo_session.call(operator.getitem, (cls, key), {})

    def __contains__(cls, item: Any) -> bool:
        return bool(cls._g2rpo_session.judge(cls, "__contains__", item))

    def __instancecheck__(cls, value: Any) -> bool:
        if type.__instancecheck__(cls, value) or not is_stand_in(value) or cls._g2rpo_session.reading:
            return type.__instancecheck__(cls, value)
        return cls._g2rpo_session.call(isinstance, (value, cls), {}) is True  # a protocol, or registered

    @property
    def __mro__(cls) -> tuple[type, ...]:
        return tuple(base for base in type.__dict__["__mro__"].__get__(cls) if base not in (Comparing, Reference))


def _refuse_fields(name: str) -> None:
    if name == "__dataclass_fields__":
        raise Obstacle("dataclasses of the program cannot be taken apart here")


class Reference:
    """An object of the program, as the tests see it."""

    _g2rpo_number: int
    _g2rpo_session: Any
    _g2rpo_own: frozenset[str] = frozenset()
    _g2rpo_hash: int | None = None
    _g2rpo_made = False
    """Whether a test has made it, by calling its class."""
    _g2rpo_given = False
    """Whether a call returned it."""
    _g2rpo_real: Any = None
    """The class of the standard library that its class says to be."""
    _g2rpo_message = ""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_g2rpo") or (name.startswith("__") and name.endswith("__") and name not in _READABLE):
            if name == "__signature__":
                return _signature(self)
            if "__dataclass_fields__" == name:
                if "__dataclass_fields__" in type(self)._g2rpo_own:
                    raise Obstacle("dataclasses of the program cannot be taken apart here")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self._g2rpo_session.get(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__") or (name == "args" and isinstance(self, BaseException)):
            object.__setattr__(self, name, value)
        else:
            self._g2rpo_session.ask("set", self, (name, value))

    def __delattr__(self, name: str) -> None:
        self._g2rpo_session.ask("delete", self, (name,))

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        return self._g2rpo_session.get(self, "__dict__")

    def __dir__(self) -> list[str]:
        return [str(name) for name in self._g2rpo_session.call(dir, (self,), {})]

    def __copy__(self) -> Any:
        return self._g2rpo_session.call(copy.copy, (self,), {})

    def __deepcopy__(self, memo: Any) -> Any:
        return self._g2rpo_session.call(copy.deepcopy, (self,), {})

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise Obstacle("objects of the program cannot be pickled here")

    def __str__(self) -> str:
        if isinstance(self, BaseException):
            return self._g2rpo_message
        if {"__str__", "__repr__"} & self._g2rpo_own:
            return str(self._g2rpo_session.call(str, (self,), {}))
        return repr(self) if type(self).__repr__ is object.__repr__ else super().__str__()

    def __repr__(self) -> str:
        if "__repr__" in self._g2rpo_own and self._g2rpo_session.ended is None:
            return str(self._g2rpo_session.call(repr, (self,), {}))
        return str(super().__repr__())

    def __format__(self, text: str) -> str:
        return str(self._g2rpo_session.call(format, (self, text), {}))


class Comparing(Reference):
    """An object that is no builtin one: equal to what it is, or to another of the program that holds the same."""

    def __eq__(self, other: Any) -> Any:
        session = self._g2rpo_session
        if self is other:
            return True
        if session.reading:
            return False
        if not isinstance(type(other), RemoteType):
            return session.judge(self, "__eq__", other) if "__eq__" in self._g2rpo_own else NotImplemented
        if "__eq__" not in self._g2rpo_own and "__eq__" not in other._g2rpo_own:
            return False
        if not isinstance(other, Comparing):
            return session.judge(self, "__eq__", wire.flatten(other))
        same, mine, theirs = session.ask("same", self, (other,))
        if same is not True:
            return False
        if mine != theirs or not mine[1]:
            session.doubts.append(Doubt(f"{type(self).__name__}.__eq__", plain=False))
        return True

    def __ne__(self, other: Any) -> Any:
        found = self.__eq__(other)
        return found if found is NotImplemented else not found

    def __hash__(self) -> int:
        return hash(self._g2rpo_number)


def _signature(target: Any) -> inspect.Signature:
    empty = inspect.Parameter.empty
    return inspect.Signature([
        inspect.Parameter(str(name), inspect._ParameterKind(kind), default=default if given else empty)
        for name, kind, given, default in target._g2rpo_session.ask("signature", target)
    ])  # fmt: skip


class Named:
    """Something of the program that the tests call by its name, looked up there at each use."""

    def __init__(self, session: Any, name: str) -> None:
        self._g2rpo_session, self._g2rpo_name = session, name

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._g2rpo_session.call(self._g2rpo_name, args, kwargs)

    def __getattribute__(self, name: str) -> Any:
        return self.__getattr__(name) if name == "__doc__" else object.__getattribute__(self, name)

    def __getattr__(self, name: str) -> Any:
        if name == "__signature__":
            return _signature(self)
        if name.startswith("__") and name not in _READABLE and name != "__doc__":
            raise AttributeError(name)
        return self._g2rpo_session.get(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_g2rpo"):
            object.__setattr__(self, name, value)
        else:
            self._g2rpo_session.ask("set", self, (name, value))

    def _found(self) -> Any:
        return self._g2rpo_session.ask("name", self._g2rpo_name)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return self._found().__class__

    def __getitem__(self, key: Any) -> Any:
        return self._g2rpo_session.call(operator.getitem, (self, key), {})

    def __mro_entries__(self, bases: Any) -> tuple[Any, ...]:
        return (self._found(),)

    def __instancecheck__(self, value: Any) -> bool:
        return isinstance(value, self._found())


class Method(Named):
    """A method of an object or a class of the program, before it is called."""

    def __init__(self, session: Any, owner: Any, name: str) -> None:
        super().__init__(session, name)
        self._g2rpo_owner = owner

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._g2rpo_session.call_method(self._g2rpo_owner, self._g2rpo_name, args, kwargs)

    def _found(self) -> Any:
        return self._g2rpo_session.get(self._g2rpo_owner, self._g2rpo_name)

    def __eq__(self, other: object) -> bool:
        return type(other) is Method and (self._g2rpo_owner, self._g2rpo_name) == (
            other._g2rpo_owner,
            other._g2rpo_name,
        )

    def __hash__(self) -> int:
        return hash(self._g2rpo_name)
