"""PythonValue out of bytes that nobody has written so: malformed, promptly, whatever they are."""

from __future__ import annotations

import random
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jac_orc.guest.protowire import FIXED64, VARINT, Malformed, key, sized, string, varint, varints
from jac_orc.guest.python_value_decoder import Decoder
from jac_orc.guest.python_value_encoder import Encoder
from jac_orc.guest.python_value_records import Record
from jac_orc.guest.python_values import Context, Kind
from jac_orc.v1 import value_pb2
from tests.unit.python_value_kinds import values

_NONE = b"\x08\x01"


def decoded(data: bytes) -> Any:
    return Decoder(Context()).decode(data)


def told(data: bytes) -> str:
    """What became of the bytes; anything but a value or Malformed fails the test."""
    try:
        decoded(data)
    except Malformed as failure:
        return str(failure)
    return ""


def text(name: str, shown: str) -> bytes:
    return sized(key(Kind.TEXT), string(1, name) + string(2, shown))


def encoded(value: Any) -> bytes:
    return Encoder(Context()).encode(value)


def record(name: str, /, **fields: bytes) -> bytes:
    parts = [sized(key(2), string(1, field) + sized(key(2), data)) for field, data in fields.items()]
    return sized(key(Kind.RECORD), string(1, name) + b"".join(parts))


def tensor(kind: str, dtype: str, data: bytes = b"", shape: bytes = b"") -> bytes:
    parts = [string(1, dtype), sized(key(2), shape), sized(key(4), data)]
    return sized(key(Kind.TENSOR), b"".join(parts) + string(5, kind))


@given(st.binary(max_size=60))
def test_junk_is_malformed(data: bytes) -> None:
    told(data)
    for kind in range(1, 21):
        told(sized(key(kind), data))


@given(values, st.randoms(use_true_random=False))
def test_values_that_are_damaged_are_malformed(value: Any, chance: random.Random) -> None:
    whole = encoded(value)
    for _ in range(10):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            place = chance.randrange(len(data) + 1)
            data[place : place + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        told(bytes(data))
    for end in range(min(len(whole), 40)):
        told(whole[:end])


@given(st.recursive(st.binary(max_size=12), lambda inner: st.lists(inner, max_size=4), max_leaves=10), st.data())
@example([], None)
def test_messages_within_messages_are_malformed(shape: Any, data: Any) -> None:
    """Well-formed messages of fields that make no sense."""

    def built(part: Any) -> bytes:
        if isinstance(part, bytes):
            return part
        return b"".join(sized(key(data.draw(st.integers(1, 21))), built(inner)) for inner in part)

    told(built(shape))


messages = st.builds(
    value_pb2.TensorValue, dtype=st.sampled_from(["d", "B", "q", "u", "<f8", "O", "", "é"]),
    shape=st.lists(st.integers(0, 2**64 - 1), max_size=3), data=st.binary(max_size=20),
    type=st.sampled_from(["", "array.array", "builtins.memoryview", "numpy.generic", "other"]),
)  # fmt: skip
names = st.sampled_from(
    """
    datetime.datetime datetime.time datetime.date datetime.timedelta decimal.Decimal fractions.Fraction uuid.UUID
    pathlib.PosixPath pathlib.WindowsPath pathlib.PureWindowsPath ipaddress.IPv4Address ipaddress.IPv6Network
    ipaddress.IPv6Interface builtins.constant builtins.type numpy.dtype os.system
    """.split()
)
shown = st.text(max_size=12) | st.text("0123456789-+:.TZ/[]!eE ",
max_size=20) | st.from_regex(r"[0-9]{4}-[01][0-9]-[0-3][0-9](T.{0,9})?(\[.{0,5}\])?(!fold)?")  # fmt: skip


@given(messages)
def test_arrays_that_make_no_sense_are_malformed(message: value_pb2.TensorValue) -> None:
    told(value_pb2.PythonValue(tensor_value=message).SerializeToString())


@given(names, shown)
def test_texts_that_make_no_sense_are_malformed(name: str, shown: str) -> None:
    told(text(name, shown))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"), (b"\xa8\x01\x01", "unknown kind"), (key(Kind.LIST, VARINT) + b"\x01", "unknown kind"),
        (sized(key(Kind.SURROGATES), b"\xff"), "can't be made"), (sized(key(6), b"\xff"), "UTF-8"),
        (key(5, VARINT) + b"\x01", "double"), (sized(key(3), b"a"), "can't be made"),
        (sized(key(9), b"\x08\x01"), "double"), (sized(key(9), sized(key(1), b"1234567")), "double"),
        (sized(key(Kind.LIST), b"\x08\x01"), "number"), (sized(key(Kind.LIST), b"\x10\x01"), "can't be made"),
        (sized(key(Kind.LIST), sized(key(2), b"1234567")), "cut off"),
        (sized(key(Kind.LIST), sized(key(3), b"1")), "cut off"),
        (sized(key(Kind.SET), sized(key(1), encoded([1]))), "unhashable"),
        (sized(key(Kind.FROZENSET), sized(key(1), encoded({}))), "unhashable"),
        (sized(key(Kind.SET), sized(key(1), tensor("builtins.memoryview", "B", b"x", b"\x01"))), "can't be made"),
        (sized(key(Kind.DICT), sized(key(1), sized(key(1), encoded(bytearray())) + sized(key(2), _NONE))),
         "unhashable"),
        (sized(key(Kind.DICT), b"\x08\x01"), "number"), (sized(key(Kind.DICT), sized(key(1), b"\x08\x01")), "number"),
        (sized(key(Kind.RECORD), b"\x08\x01"), "UTF-8"), (sized(key(Kind.RECORD), b"\x10\x01"), "number"),
        (sized(key(Kind.RECORD), sized(key(2), sized(key(1), b"\xff") + sized(key(2), _NONE))), "UTF-8"),
        (sized(key(Kind.TEXT), b"\x08\x01"), "UTF-8"),
        (sized(key(18), b""), "no meaning"), (sized(key(19), b"\x08\x01"), "no meaning"),
        (sized(key(Kind.TENSOR), b"\x08\x01"), "UTF-8"),
        (tensor("array.array", "d", b"1234567"), "can't be made"), (tensor("array.array", "O"), "can't be made"),
        (tensor("array.array", ""), "can't be made"), (tensor("array.array", "dd"), "can't be made"),
        (tensor("builtins.memoryview", "O"), "format"), (tensor("builtins.memoryview", "d", b"1"), "can't be made"),
        (tensor("array.array", "d", shape=b"\x80"), "without its end"),
        (text("datetime.datetime", "2026-01-01[Europe/Nowhere]"), "can't be made"),
        (text("datetime.datetime", "2026-01-01[../../../etc/passwd]"), "can't be made"),
        (text("datetime.datetime", "2026-01-01[/etc/passwd]"), "can't be made"),
        (text("datetime.datetime", "2026-01-01[]"), "can't be made"), (text("datetime.time", "25:00"), "can't be made"),
        (text("datetime.date", ""), "can't be made"), (text("datetime.timedelta", "1 2"), "can't be made"),
        (text("datetime.timedelta", "999999999999 0 0"), "can't be made"),
        (text("decimal.Decimal", "x"), "can't be made"),
        (text("fractions.Fraction", "1/0"), "can't be made"), (text("fractions.Fraction", "1e5"), "another form"),
        (text("fractions.Fraction", "9" * 200_000), "can't be made"), (text("uuid.UUID", "x"), "can't be made"),
        (text("ipaddress.IPv4Address", "1"), "can't be made"), (text("ipaddress.IPv4Network", "10.0.0.1/8"), "can't"),
        (text("builtins.constant", "None"), "can't be made"), (text("builtins.type", "builtins.eval"), "unknown type"),
        (text("builtins.type", "subprocess.Popen"), "unknown type"), (text("builtins.type", ""), "unknown type"),
        (text("builtins.type", "builtins.memoryview"), "unknown type"), (text("os.system", "id"), "unknown type"),
        (record("a.B", __annotations__=_NONE), "the special name '__annotations__'"),
        (record("tests.unit.python_value_kinds.Point", x=_NONE, y=_NONE, __wrapped__=_NONE), "special name"),
        (record("tests.unit.python_value_kinds.Order", ____=_NONE), "special name"),
        (text("", ""), "unknown type"), (text("pathlib.Path", "/"), "unknown type"),
    ],
)  # fmt: skip
def test_what_is_malformed_says_why(data: bytes, words: str) -> None:
    assert words in told(data)
    for kind in (Kind.LIST, Kind.TUPLE):
        assert words in told(sized(key(kind), sized(key(1), data)))
    assert words in told(record("a.B", a=data))


def test_of_several_kinds_the_last_one_counts() -> None:
    assert decoded(encoded(1) + encoded("a")) == "a"
    assert decoded(encoded([1]) + encoded(2.5)) == 2.5


def test_what_is_too_deep_is_malformed() -> None:
    for depth in (310, 5000):
        for wrap in (
            lambda data: sized(key(Kind.LIST), sized(key(1), data)),
            lambda data: sized(key(Kind.TUPLE), sized(key(1), data)),
            lambda data: sized(key(Kind.FROZENSET), sized(key(1), data)), lambda data: record("a.B", a=data),
            lambda data: sized(key(Kind.DICT), sized(key(1), sized(key(2), data))),
            lambda data: sized(key(Kind.DICT), sized(key(1), sized(key(1), data))),
            lambda data: record(
                "collections.OrderedDict", items=sized(key(Kind.DICT), sized(key(1), sized(key(2), data)))
            ),
        ):  # fmt: skip
            data = _NONE
            for _ in range(depth):
                data = wrap(data)
            assert told(data)


def endless(size: int) -> Any:
    """A small message that asks for a lot."""
    return record("builtins.range", start=encoded(0), stop=encoded(size), step=encoded(1))


BOMBS: dict[str, bytes] = {
    "deque of a range": record("collections.deque", items=endless(10**15), maxlen=_NONE),
    "dict of a range": record("collections.OrderedDict", items=endless(10**15)),
    "counter of a range": record("collections.Counter", items=endless(10**15)),
    "struct_time of a range": record("time.struct_time", items=endless(10**15), more=encoded({})),
    "named tuple of a range": record("tests.unit.python_value_kinds.Point", x=endless(10**15), y=endless(10**15)),
    "fraction": text("fractions.Fraction", "1e999999999"), "fraction below": text("fractions.Fraction", "1e-999999999"),
    "decimal": text("decimal.Decimal", "1e999999999999"), "timedelta": text("datetime.timedelta", "9" * 5000 + " 0 0"),
    "network": text("ipaddress.IPv6Network", "::/0"), "long number": text("decimal.Decimal", "9" * 1_000_000),
    "shape without an end": tensor("", "<f8", shape=b"\xff" * 1_000_000),
    "large shape": tensor("", "<f8", shape=varint(2**63) * 1000), "many fields": b"\x08\x01" * 300_000,
    "dotted name": record("a" + ".b" * 300_000), "dotted class": text("builtins.type", "numpy" + ".b" * 300_000),
    "long zone": text("datetime.datetime", "2026-01-01[" + "a/" * 100_000 + "]"),
    "length": b"\x52\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "big int": sized(key(Kind.BIG_INT), b"\x7f" * 1_000_000),
    "empty items": sized(key(Kind.LIST), b"\x0a\x00" * 300_000), "long text": text("uuid.UUID", "a" * 1_000_000),
}  # fmt: skip


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS)
def test_a_message_costs_no_more_than_its_size(data: bytes) -> None:
    """Neither time nor memory: what comes is bytes that a client has sent, not yet looked at."""
    tracemalloc.start()
    begun = time.process_time()
    try:
        told(data)
        assert time.process_time() - begun < 3
        assert tracemalloc.get_traced_memory()[1] < 20 * len(data) + 1_000_000
    finally:
        tracemalloc.stop()


def test_the_numbers_of_a_packed_field() -> None:
    numbers = [0, 1, 127, 128, 300, 2**32, 2**63, 2**64 - 1]
    assert varints(memoryview(b"".join(map(varint, numbers)))) == numbers
    assert varints(memoryview(b"")) == []
    for data in (b"\x80", b"\x01\xff", b"\x80" * 11 + b"\x01"):
        with pytest.raises(Malformed):
            varints(memoryview(data))


def test_what_other_kinds_of_fields_hold_is_not_mistaken() -> None:
    """A number of eight bytes in the place of bytes is taken for these, and nothing fails."""
    data = key(Kind.LIST, FIXED64) + b"\x0a\x02\x08\x01\x0a\x02\x08\x01"
    assert decoded(data) == [None, None]
    assert isinstance(decoded(key(Kind.RECORD, FIXED64) + b"\x0a\x06abcdef"), Record)
