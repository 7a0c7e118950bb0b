"""The wire: plain data comes back equal and of its own type, everything else is capped, refused or opaque."""

import collections
import enum
import itertools
import json
import random
import socket
import struct
import time
import uuid
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2rpo_env.envs.coding import wire

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.complex_numbers(allow_nan=False),
    st.fractions(),
    st.decimals(allow_nan=False),
    st.integers(min_value=10**90, max_value=10**120),
    st.text(alphabet=st.characters(categories=["Cs"])),
)
HASHABLE = st.recursive(SCALARS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=4), max_leaves=6)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(HASHABLE, inner, max_size=4)
    | st.sets(HASHABLE, max_size=4) | st.tuples(inner, inner),
    max_leaves=20,
)  # fmt: skip


def there_and_back(value: Any) -> Any:
    return wire.loads(wire.dumps(value))


@given(VALUES)
def test_plain_data_comes_back(value: Any) -> None:
    found = there_and_back(value)
    assert found == value and type(found) is type(value) and repr(sorted_sets(found)) == repr(sorted_sets(value))


def sorted_sets(value: Any) -> Any:
    """Replace sets by lists in one order, so that repr tells types of parts apart."""
    if isinstance(value, set | frozenset):
        return sorted(map(repr, map(sorted_sets, value)))
    if isinstance(value, list | tuple):
        return [sorted_sets(item) for item in value]
    if isinstance(value, dict):
        return [(sorted_sets(k), sorted_sets(v)) for k, v in value.items()]
    return value


def test_other_builtin_values_come_back() -> None:
    assert there_and_back(range(3, 9, 2)) == range(3, 9, 2)
    assert there_and_back(bytearray(b"a")) == bytearray(b"a")
    assert there_and_back(collections.deque([1])) == collections.deque([1])
    assert there_and_back({1: 2}.keys()) == {1: 0}.keys()
    assert list(there_and_back(x for x in "ab")) == ["a", "b"]
    assert list(there_and_back(map(abs, [-1]))) == [1]
    assert repr(there_and_back(-0.0)) == "-0.0" and repr(there_and_back(float("nan"))) == "nan"


class Colour(enum.IntEnum):
    RED = 3


class Liar(list):
    """Equal to everything, by every method that could be asked."""

    def __eq__(self, other: object) -> bool:
        return True

    def __iter__(self) -> Any:
        return iter([3])

    def __len__(self) -> int:
        return 1


class Pretender:
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return int

    def __eq__(self, other: object) -> bool:
        return True


def test_subclasses_are_flattened_to_what_they_hold() -> None:
    point = collections.namedtuple("point", "x y")(1, 2)
    values = [Colour.RED, point, collections.Counter("aab"), collections.OrderedDict(a=1), np.int64(3), np.float64(0.5)]
    assert there_and_back(values) == [3, (1, 2), {"a": 2, "b": 1}, {"a": 1}, 3, 0.5]
    assert there_and_back(Liar([7, 8])) == [7, 8] and there_and_back(Liar()) == []


OTHERS = [object(), Pretender(), len, lambda: 0, type, np.ones(3), itertools]


@pytest.mark.parametrize("value", OTHERS, ids=lambda value: type(value).__name__)  # an address is no name
def test_other_values_equal_nothing(value: Any) -> None:
    found = there_and_back(value)
    assert isinstance(found, wire.Opaque) and found
    assert not found == found and found != value and not found == 3 and found not in [found.kind]
    with pytest.raises(wire.WireError, match="no plain data"):
        wire.dumps([value], strict=True)


def test_what_has_no_end_is_cut_off() -> None:
    loop: list = []
    loop.append(loop)
    with pytest.raises(wire.WireError, match="nested deeper"):
        wire.dumps(loop)
    for value in ("x" * (wire.MAX_FRAME + 1), b"x" * wire.MAX_FRAME, 1 << (8 * wire.MAX_FRAME)):
        with pytest.raises(wire.WireError, match="longer than"):
            wire.dumps(value)
    with pytest.raises(wire.WireError, match="parts"):
        wire.dumps([0] * (wire.MAX_NODES + 1))
    assert isinstance(there_and_back(itertools.count()), wire.Opaque)
    assert isinstance(there_and_back(range(10**12)), wire.Opaque)


MODULUS = (1 << 61) - 1  # hash(n) = n mod this, in CPython


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"\xff", b"nope", b"[" * 100_000, b"[" * wire.MAX_FRAME, b"9" * 10_000, b'{"a":1,"b":2}', b"{}",
        b'{"unknown":[]}', b'{"int":5}', b'{"int":"xyz"}', b'{"tuple":5}', b'{"dict":[[1]]}', b'{"dict":[[[],1]]}',
        b'{"set":[[1]]}', b'{"complex":[1]}', b'{"complex":["1","2"]}' * 2, b'{"Fraction":"1/0"}', b'{"Decimal":"x"}',
        b'{"Fraction":5}', b'{"bytes":"zz"}', b'{"range":[0,1000000000,1]}', b'{"range":["a",1,1]}', b'{"opaque":1}',
        json.dumps({"Fraction": "0x" + "f" * 20_000 + "/0x1"}).encode(),
        json.dumps({"dict": [[MODULUS * i, 0] for i in range(1, 6000)]}).encode(),
        json.dumps({"set": [MODULUS * i for i in range(1, 6000)]}).encode(),
        json.dumps({"keys": [{"tuple": [MODULUS * i]} for i in range(1, 6000)]}).encode(),
        json.dumps([0] * (wire.MAX_NODES + 1)).encode(),
    ],
)  # fmt: skip
def test_malformed_frames_are_refused_quickly(frame: bytes) -> None:
    started = time.process_time()
    with pytest.raises(wire.WireError):
        wire.loads(frame)
    assert time.process_time() - started < 1.0


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_raise(data: bytes) -> None:
    try:
        wire.loads(data)
    except wire.WireError:
        pass


def test_noise_around_honest_frames_does_no_more_than_raise() -> None:
    honest = wire.dumps([(1, {2: {3}}), Decimal("1.5"), Fraction(1, 3), b"ab", 1 << 300])
    dice = random.Random(0)
    for _ in range(2000):
        data = bytearray(honest)
        for _ in range(dice.randrange(1, 4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        try:
            wire.loads(bytes(data))
        except wire.WireError:
            pass


def test_a_uuid_comes_back() -> None:
    value = uuid.UUID(int=2**127 + 5)
    assert wire.loads(wire.dumps(value)) == value and type(wire.loads(wire.dumps([value]))[0]) is uuid.UUID


def test_a_frame_holds_one_tree() -> None:
    assert wire.unpack(b'["ok", {"int": "0x1"}]') == ["ok", {"int": "0x1"}]
    for data in (b"[1] [2]", b"[1],", b"", b"\xff[]", b"[1"):
        with pytest.raises(ValueError):
            wire.unpack(data)


def test_frames_are_capped_timed_and_told_apart() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire.send_frame(theirs, b"one")
        wire.send_frame(theirs, b"")
        assert wire.receive_frame(ours) == b"one" and wire.receive_frame(ours) == b""
        theirs.sendall(struct.pack("<I", wire.MAX_FRAME + 1))
        with pytest.raises(wire.WireError, match="longer than"):
            wire.receive_frame(ours)
        theirs.sendall(struct.pack("<I", 10) + b"slow")
        with pytest.raises(TimeoutError):
            wire.receive_frame(ours, time.monotonic() + 0.05)
        with pytest.raises(TimeoutError):
            wire.receive_frame(ours, time.monotonic() - 1)
        theirs.sendall(struct.pack("<I", 10) + b"cut")
        theirs.close()
        with pytest.raises(EOFError):
            wire.receive_frame(ours, time.monotonic() + 1)
