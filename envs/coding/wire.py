"""Plain data over a pipe: what an untrusted process may say, with caps, and nothing that runs when it is read.

A frame is a 4-byte length (little-endian) and JSON. Lists, texts, small integers, floats, booleans and None are
themselves; everything else is an object with one key, its tag: ``{"tuple": [...]}``. Reading checks tag by tag and
builds only types of the standard library that are plain data. What has no such form is left to a :class:`Peer`, which
writes and reads references; without one it arrives as an :class:`Opaque`, which equals nothing. Standard library only:
the process that holds untrusted code loads this module.
"""

from __future__ import annotations

import array
import datetime
import importlib
import json
import socket
import struct
import sys
import time
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import count, islice
from typing import Any, Protocol

MAX_FRAME = 4 << 20
"""Bytes of a frame from an untrusted process."""
MAX_DEPTH = 100
MAX_NODES = 500_000
MAX_COLLISIONS = 64
"""Keys of one set or dict that may share their hash with another; more make building it quadratic."""
MAX_ITEMS = 100_000
"""Items that are taken from an iterator."""
_SMALL = 1 << 256  # integers up to here travel in decimal; larger ones in hexadecimal, which takes linear time


class WireError(Exception):
    """A frame or a value that breaks the rules of the wire."""


class OpaqueUse(TypeError, AttributeError):
    """Something was asked of a value that could not travel."""


class Opaque:
    """A value that cannot travel: it equals nothing, not even itself, and knows only its type and its truth."""

    __slots__ = ("kind", "truth")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, kind: str, truth: bool) -> None:
        self.kind, self.truth = kind, truth

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True

    def __bool__(self) -> bool:
        return self.truth

    def __repr__(self) -> str:
        return f"<{self.kind}>"

    def __getattr__(self, name: str) -> Any:
        raise OpaqueUse(f"{self.kind} is no plain data: its {name} is not known here")

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise OpaqueUse(f"{self.kind} is no plain data and cannot be used here")

    __call__ = __iter__ = __getitem__ = __len__ = __contains__ = _refuse


class Peer:
    """One side's knowledge of what the two sides share beyond plain data: see links.py and references.py."""

    links: Any
    """Containers that both sides hold, or None."""

    def write(self, value: Any, kind: type, depth: int, budget: list[Any]) -> Any:
        """Return the tag of a value that is no plain data, or None if this side has none for it."""
        raise NotImplementedError

    def write_scalar(self, value: Any) -> Any:
        """Return the tag of a scalar of numpy, or None if it becomes one of Python."""
        return {"scalar": [value.dtype.str, value.tobytes().hex()]} if value.dtype.kind in "biufc" else None

    def read(self, tag: str, inner: Any, depth: int, budget: list[Any]) -> Any:
        """Return the value of a tag that is not one of plain data; raises LookupError for others."""
        raise NotImplementedError


# -- frames -----------------------------------------------------------------------------------------------------------


class Stream(Protocol):
    """What frames go through: a socket, or something that looks at more than the socket while it waits."""

    def recv(self, size: int, /) -> bytes:
        """Return at least one byte and at most ``size``, none at the end."""
        ...

    def sendall(self, data: bytes, /) -> None:
        """Send bytes."""
        ...


def send_frame(sock: socket.socket | Stream, data: bytes, deadline: float | None = None) -> None:
    """Send one frame; raises TimeoutError at the deadline (of time.monotonic)."""
    _arm(sock, deadline)
    sock.sendall(struct.pack("<I", len(data)) + data)


def receive_frame(sock: socket.socket | Stream, deadline: float | None = None, most: int = MAX_FRAME) -> bytes:
    """Return one frame.

    Raises:
        WireError: the frame is longer than ``most`` bytes.
        EOFError: the other side is gone.
        TimeoutError: the deadline passed.
    """
    (length,) = struct.unpack("<I", _receive(sock, 4, deadline))
    if length > most:
        raise WireError(f"a frame of {length} bytes is longer than {most}")
    return bytes(_receive(sock, length, deadline))


def _receive(sock: socket.socket | Stream, length: int, deadline: float | None) -> bytes | bytearray:
    _arm(sock, deadline)
    data = sock.recv(min(length, 1 << 16))
    if len(data) == length:
        return data
    whole = bytearray(data)
    while len(whole) < length:
        if not data:
            raise EOFError("the other side closed the connection")
        _arm(sock, deadline)
        data = sock.recv(min(length - len(whole), 1 << 16))
        whole += data
    return whole


def _arm(sock: Any, deadline: float | None) -> None:
    if deadline is not None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline passed")
        sock.settimeout(left)


# -- writing ----------------------------------------------------------------------------------------------------------


def dumps(value: Any, strict: bool = False) -> bytes:
    """Return a value as bytes.

    Args:
        value: The value to send.
        strict: Refuse values that would arrive as Opaque.

    Raises:
        WireError: it has more than MAX_NODES parts, is nested deeper than MAX_DEPTH or is longer than MAX_FRAME.
    """
    return pack(tree_of(value, 0, new_budget(None, strict)))


def new_budget(peer: Peer | None, strict: bool = False) -> list[Any]:
    """Return what one frame may take: parts, bytes; whether Opaque is refused; who writes what is no plain data."""
    return [MAX_NODES, MAX_FRAME, strict, peer]


def pack(tree: Any) -> bytes:
    """Return a tree (see tree_of) as bytes; raises WireError if it is longer than MAX_FRAME."""
    data = _JSON.encode(tree).encode()
    if len(data) > MAX_FRAME:
        raise WireError(f"a value of {len(data)} bytes is longer than {MAX_FRAME}")
    return data


_JSON = json.JSONEncoder(check_circular=False)  # trees end: see MAX_DEPTH
_DECODER = json.JSONDecoder()


def unpack(data: bytes) -> Any:
    """Return the tree of a frame; raises ValueError if it is no JSON."""
    text = data.decode()
    tree, end = _DECODER.raw_decode(text)
    if end != len(text):
        raise ValueError("something follows the value of a frame")
    return tree


_SEQUENCES: dict[type, str] = {tuple: "tuple", set: "set", frozenset: "frozenset", deque: "deque"}
_ENDLESS: tuple[Any, ...] = (
    iter([]), iter(()), iter(""), iter({}), iter({}.values()), iter({}.items()), iter(set()), iter(range(0)),
    reversed([]), (_ for _ in ()), map(str, ()), filter(None, ()), zip(), enumerate(()), islice((), 0), count(),
)  # fmt: skip
_ITERATORS = tuple(type(value) for value in _ENDLESS)


def tree_of(value: Any, depth: int, budget: list[Any]) -> Any:
    """Return the form of a value that JSON can write; ``type()`` cannot be lied to, unlike ``isinstance``."""
    budget[0] -= 1
    if budget[0] < 0 or depth > MAX_DEPTH:
        raise WireError(f"a value has more than {MAX_NODES} parts or is nested deeper than {MAX_DEPTH}")
    kind = type(value)
    if value is None or kind is bool or kind is float:
        return value
    if kind is int:
        return value if -_SMALL < value < _SMALL else {"int": _hex(value, budget)}
    if kind is str:
        _spend(len(value), budget)
        return value if value.isascii() else _text(value)
    if (peer := budget[3]) is not None and peer.links.numbers and id(value) in peer.links.numbers:
        return peer.links.write(value, depth, budget)
    return container_of(value, kind, depth, budget)


def container_of(value: Any, kind: type, depth: int, budget: list[Any]) -> Any:
    """Return the form of a value that is no scalar, taken as one of type ``kind``."""
    if kind is list:
        return [tree_of(item, depth + 1, budget) for item in value]
    if kind is dict:
        return {"dict": _pairs(value, depth, budget)}
    if kind in _SEQUENCES and (kind is not deque or value.maxlen is None):
        return {_SEQUENCES[kind]: [tree_of(item, depth + 1, budget) for item in value]}
    return _tag(value, kind, depth, budget)


def _pairs(value: Any, depth: int, budget: list[Any]) -> list[Any]:
    return [[tree_of(part, depth + 1, budget) for part in pair] for pair in _items_of(value)]


def _items_of(value: Any) -> Any:
    """Return the items of a dict in its order, which an OrderedDict keeps beside that of a dict."""
    return OrderedDict.items(value) if issubclass(type(value), OrderedDict) else dict.items(value)


def _text(value: str) -> Any:
    try:
        value.encode()
    except UnicodeEncodeError:  # JSON would join two halves of a character
        return {"text": value.encode("utf-8", "surrogatepass").hex()}
    return value


def _spend(size: int, budget: list[Any]) -> None:
    budget[1] -= size
    if budget[1] < 0:
        raise WireError(f"a value is longer than {MAX_FRAME} bytes")


def _hex(value: int, budget: list[Any]) -> str:
    _spend(value.bit_length() // 4, budget)
    return hex(value)


def _tag(value: Any, kind: type, depth: int, budget: list[Any]) -> Any:
    if kind is bytes or kind is bytearray or kind is memoryview:
        _spend(2 * (value.nbytes if kind is memoryview else len(value)), budget)
        return {kind.__name__: value.hex()}
    if kind is complex:
        return {"complex": [value.real, value.imag]}
    if kind is range and len(value) <= MAX_ITEMS:
        return {"range": [tree_of(part, depth, budget) for part in (value.start, value.stop, value.step)]}
    if kind is Decimal or kind is Fraction:
        text = str(value) if kind is Decimal else f"{_hex(value.numerator, budget)}/{_hex(value.denominator, budget)}"
        _spend(len(text), budget)
        return {kind.__name__: text}
    return _standard(value, kind, depth, budget)


def _standard(value: Any, kind: type, depth: int, budget: list[Any]) -> Any:
    if kind in _DICTS:
        return {_DICTS[kind]: _pairs(value, depth, budget)}
    if kind is defaultdict:
        return {"defaultdict": [tree_of(value.default_factory, depth + 1, budget), _pairs(value, depth, budget)]}
    if kind in _STANDARD and getattr(value, "tzinfo", None).__class__ in _ZONES:
        name, parts = _STANDARD[kind]
        return {name: [tree_of(part, depth + 1, budget) for part in parts(value)]}
    if kind.__module__ == "uuid" and kind is getattr(sys.modules.get("uuid"), "UUID", None):
        return {"UUID": [tree_of(value.int, depth + 1, budget)]}
    if kind in _ITERATORS and budget[3] is None:
        return _items(value, depth, budget)
    return _foreign(value, kind, depth, budget)


def _foreign(value: Any, kind: type, depth: int, budget: list[Any]) -> Any:
    bare = _scalar(value, kind)
    if budget[3] is not None:
        tag = budget[3].write(value, kind, depth, budget) if bare is value else budget[3].write_scalar(value)
        if tag is not None:
            return tag
    bare = flatten(bare)
    if bare is not value:
        return tree_of(bare, depth, budget)
    if budget[2]:
        raise WireError(f"a value of type {kind.__name__} is no plain data")
    return {"opaque": [str(kind.__name__)[:80], _truth(value)]}


_DICTS: dict[type, str] = {OrderedDict: "OrderedDict", Counter: "Counter"}
_STANDARD: dict[type, tuple[str, Any]] = {
    type({}.keys()): ("keys", list),
    type({}.values()): ("values", list),
    type({}.items()): ("items", list),
    deque: ("bounded", lambda v: [v.maxlen, *v]),
    datetime.date: ("date", lambda v: [v.year, v.month, v.day]),
    datetime.timedelta: ("timedelta", lambda v: [v.days, v.seconds, v.microseconds]),
    datetime.timezone: ("timezone", lambda v: v.__getinitargs__()),
    datetime.time: ("time", lambda v: [v.hour, v.minute, v.second, v.microsecond, v.tzinfo, v.fold]),
    datetime.datetime: (
        "datetime",
        lambda v: [v.year, v.month, v.day, v.hour, v.minute, v.second, v.microsecond, v.tzinfo, v.fold],
    ),
    slice: ("slice", lambda v: [v.start, v.stop, v.step]),
    array.array: ("array", lambda v: [v.typecode, *v]),
    type(NotImplemented): ("NotImplemented", lambda v: []),
    type(...): ("Ellipsis", lambda v: []),
}
_ZONES = (type(None), datetime.timezone)
"""Types of the standard library that are made from parts: their tag, and what gives the parts."""


def _items(value: Iterator[Any], depth: int, budget: list[Any]) -> Any:
    items = list(islice(value, MAX_ITEMS + 1))
    if len(items) > MAX_ITEMS:
        return {"opaque": ["iterator", True]}
    return {"iterator": [tree_of(item, depth + 1, budget) for item in items]}


_BASES: tuple[tuple[type, Any], ...] = (
    (int, lambda v: int.__add__(v, 0)),
    (float, lambda v: float.__add__(v, 0.0) if float.__ne__(v, 0.0) else float.__abs__(v)),
    (str, lambda v: str.__getitem__(v, slice(None))),
    (list, lambda v: list(list.__iter__(v))),
    (tuple, lambda v: tuple(tuple.__iter__(v))),
    (dict, lambda v: dict(_items_of(v))),
    (set, lambda v: set(set.__iter__(v))),
    (frozenset, lambda v: frozenset(frozenset.__iter__(v))),
    (bytes, lambda v: bytes.__getitem__(v, slice(None))),
)


def _scalar(value: Any, kind: type) -> Any:
    """Return a scalar of numpy as Python's own, else the value itself."""
    if type(kind) is type and kind.__module__ == "numpy" and hasattr(kind, "tolist") and getattr(value, "ndim", 1) == 0:
        return value.tolist()
    return value


def flatten(value: Any) -> Any:
    """Return the content of a subclass of a builtin type, else the value itself."""
    kind = type(value)
    for base, bare in _BASES:
        if kind is not base and issubclass(kind, base):
            return bare(value)
    return value


def _truth(value: Any) -> bool:
    try:
        return bool(value)
    except Exception:
        return True


# -- functions and types by name ---------------------------------------------------------------------------------------

HARMLESS = frozenset(
    "builtins collections datetime decimal fractions math cmath itertools functools _functools statistics string heapq "
    "_heapq bisect _bisect copy uuid json.decoder".split()
)
"""Modules whose functions and types a program may name to the tests' side."""
_NOT_HARMLESS = frozenset(
    "eval exec compile open input print __import__ breakpoint exit quit help globals locals vars dir getattr setattr "
    "delattr super memoryview copyright credits license BaseException KeyboardInterrupt GeneratorExit".split()
)


def global_name(value: Any) -> list[str] | None:
    """Return module and name of a harmless function or type of the standard library, None for anything else."""
    module, name = module_of(value), getattr(value, "__qualname__", None)
    if type(module) is str and type(name) is str and find_global(module, name) is value:
        return [module, name]
    return None


def module_of(value: Any) -> Any:
    """Return the name of the module of a function or type; that of its type for a method such as ``str.upper``."""
    module = getattr(value, "__module__", None)
    return getattr(getattr(value, "__objclass__", None), "__module__", None) if module is None else module


def find_global(module: str, name: str) -> Any:
    """Return the harmless function or type of that name, None if it is none."""
    if module not in HARMLESS or module not in sys.modules or (module == "builtins" and name in _NOT_HARMLESS):
        return None
    if (module, name) == ("builtins", "NoneType"):
        return type(None)
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = None if part.startswith("_") else vars(found).get(part) if hasattr(found, "__dict__") else None
    # What a module has only imported, such as another module, is none of its own.
    mine = callable(found) and module_of(found) == module and getattr(found, "__qualname__", None) == name
    return found if mine else None


# -- reading ----------------------------------------------------------------------------------------------------------


MALFORMED = (ValueError, TypeError, RecursionError, ArithmeticError, LookupError, MemoryError, AttributeError)
"""What reading a frame that breaks the rules can raise."""


def loads(data: bytes) -> Any:
    """Return the value of a frame.

    Raises:
        WireError: the frame is malformed, or breaks a cap.
    """
    try:
        return value_of(unpack(data), 0, [MAX_NODES, None])
    except MALFORMED as error:
        raise WireError(f"malformed frame: {type(error).__name__}") from None


def value_of(part: Any, depth: int, budget: list[Any]) -> Any:
    """Return the value of a tree; ``budget`` holds the parts that are left and the Peer that reads references."""
    budget[0] -= 1
    if budget[0] < 0 or depth > 2 * MAX_DEPTH + 2:
        raise WireError("too many parts, or nested too deep")
    kind = type(part)
    if kind is list:
        return [value_of(item, depth + 1, budget) for item in part]
    if kind is not dict:
        return part
    ((tag, inner),) = part.items()
    if tag in _CONTAINERS:
        return _CONTAINERS[tag]([value_of(item, depth + 1, budget) for item in _list(inner)])
    if tag in _SCALARS:
        return _SCALARS[tag](inner)
    return budget[1].read(tag, inner, depth, budget)


def _list(inner: Any) -> list[Any]:
    if type(inner) is not list:
        raise WireError("a container that is no list")
    return inner


def _distinct(keys: Iterable[Any]) -> list[Any]:
    """Return keys, unless too many of them share their hash: a table of such keys takes quadratic time."""
    keys = list(keys)
    if len({hash(key) for key in keys}) < len(keys) - MAX_COLLISIONS:
        raise WireError("too many keys share their hash")
    return keys


def _dict(pairs: list[Any]) -> dict[Any, Any]:
    _distinct(key for key, _ in pairs)
    return {key: value for key, value in pairs}


def _integer(text: Any) -> int:
    if type(text) is not str:
        raise WireError("an integer that is no text")
    return int(text, 16)


def _decimal(text: Any) -> Decimal:
    if type(text) is not str:
        raise WireError("a decimal that is no text")
    return Decimal(text)


def _fraction(text: Any) -> Fraction:
    if len(text) > 10_000:  # the greatest common divisor takes quadratic time
        raise WireError("a fraction that is too long")
    above, below = text.split("/")
    return Fraction(_integer(above), _integer(below))


def _complex(parts: Any) -> complex:
    real, imaginary = parts
    return complex(float(real), float(imaginary))


def _range(parts: Any) -> range:
    whole = range(*(value_of(part, 0, [8, None]) for part in parts))
    if len(whole) > MAX_ITEMS:  # list(range(10**9)) in a test would cost the checking process its memory
        raise WireError("a range that is too long")
    return whole


def _defaultdict(parts: list[Any]) -> defaultdict[Any, Any]:
    factory, pairs = parts
    if factory is not None and not callable(factory):
        raise WireError("a default_factory that cannot be called")
    return defaultdict(factory, _dict(pairs))


def _bounded(parts: list[Any]) -> deque[Any]:
    most, *items = parts
    return deque(items, maxlen=_int(most))


def _int(value: Any) -> int:
    if type(value) is not int:
        raise WireError("a number that is no integer")
    return value


def _time(parts: list[Any]) -> datetime.time:
    *start, zone, fold = parts
    hour, minute, second, part = map(_int, start)
    return datetime.time(hour, minute, second, part, zone, fold=fold)


def _datetime(parts: list[Any]) -> datetime.datetime:
    *start, zone, fold = parts
    year, month, day, hour, minute, second, part = map(_int, start)
    return datetime.datetime(year, month, day, hour, minute, second, part, zone, fold=fold)


def _array(parts: list[Any]) -> array.array[Any]:
    code, *items = parts
    return array.array(code, items)


def _opaque(parts: Any) -> Opaque:
    kind, truth = parts
    return Opaque(str(kind)[:80], truth is True)


_CONTAINERS: dict[str, Any] = {
    "tuple": tuple,
    "set": lambda items: set(_distinct(items)),
    "frozenset": lambda items: frozenset(_distinct(items)),
    "deque": deque,
    "dict": _dict,
    "keys": lambda items: dict.fromkeys(_distinct(items)).keys(),
    "iterator": iter,
    "values": lambda items: dict(enumerate(items)).values(),
    "items": lambda items: _dict(items).items(),
    "OrderedDict": lambda items: OrderedDict(_dict(items)),
    "Counter": lambda items: Counter(_dict(items)),
    "defaultdict": _defaultdict,
    "bounded": _bounded,
    "date": lambda parts: datetime.date(*map(_int, parts)),
    "time": _time,
    "datetime": _datetime,
    "timedelta": lambda parts: datetime.timedelta(*map(_int, parts)),
    "timezone": lambda parts: datetime.timezone(*parts),
    "UUID": lambda parts: importlib.import_module("uuid").UUID(int=_int(*parts)),  # it loads a library
    "slice": lambda parts: slice(*parts),
    "array": _array,
    "NotImplemented": lambda parts: NotImplemented,
    "Ellipsis": lambda parts: ...,
}
_SCALARS: dict[str, Any] = {
    "int": _integer,
    "text": lambda text: bytes.fromhex(text).decode("utf-8", "surrogatepass"),
    "bytes": lambda text: bytes.fromhex(text),
    "bytearray": lambda text: bytearray.fromhex(text),
    "memoryview": lambda text: memoryview(bytes.fromhex(text)),
    "complex": _complex,
    "range": _range,
    "Decimal": _decimal,
    "Fraction": _fraction,
    "opaque": _opaque,
}
