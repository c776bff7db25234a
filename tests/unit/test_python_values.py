"""PythonValue: what goes comes back, nothing lost."""

from __future__ import annotations

import array
import collections
import datetime
import decimal
import ipaddress
import pathlib
import time
import types
import uuid
import zoneinfo
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given

from jac_orc.guest.python_value_decoder import Decoder
from jac_orc.guest.python_value_encoder import Encoder
from jac_orc.guest.python_values import Context
from jac_orc.v1 import value_pb2
from tests.unit.python_value_kinds import (
    Both,
    Colour,
    Frozen,
    Level,
    Mode,
    Order,
    Point,
    Slotted,
    Word,
    keys,
    round_trip,
    same,
    values,
)


@given(values)
def test_any_value_comes_back_as_it_went(value: Any) -> None:
    assert same(round_trip(value), value)


@given(values)
def test_protobuf_reads_and_writes_the_same_messages(value: Any) -> None:
    message = value_pb2.PythonValue.FromString(Encoder(Context()).encode(value))
    assert message.WhichOneof("kind")
    assert same(Decoder(Context()).decode(message.SerializeToString()), value)


@given(keys)
def test_anything_that_can_be_hashed_is_a_key_and_a_member(key: Any) -> None:
    assert same(round_trip({key: 1}), {key: 1})
    assert same(round_trip({key}), {key})


zone = zoneinfo.ZoneInfo("Europe/Berlin")
TABLE: list[tuple[Any, str]] = [
    (None, "none_value"), (True, "bool_value"), (False, "bool_value"), (0, "int_value"), (-1, "int_value"),
    (2**63 - 1, "int_value"), (-(2**63), "int_value"), (2**63, "big_int_value"), (-(2**63) - 1, "big_int_value"),
    (-(2**64), "big_int_value"), (10**5000, "big_int_value"), (0.0, "float_value"), (-0.0, "float_value"),
    (float("nan"), "float_value"), (float("-inf"), "float_value"), (5e-324, "float_value"), ("", "string_value"),
    ("é\0", "string_value"), ("\ud800", "surrogate_string_value"), ("a\udcff", "surrogate_string_value"),
    (b"", "bytes_value"), (b"\0\xff", "bytes_value"), (bytearray(b""), "bytearray_value"),
    (complex("-nan-infj"), "complex_value"), (-0.0j, "complex_value"), ([], "list_value"), ((), "tuple_value"),
    (set(), "set_value"), (frozenset(), "frozenset_value"), ({}, "dict_value"), ([1], "list_value"),
    ([1.5, 2.5], "list_value"), ([1, 2], "list_value"), ([2**63, 1], "list_value"), ([True, False], "list_value"),
    ([1, 2.5], "list_value"), ((1, 2), "tuple_value"), ({1, 2}, "set_value"),
    (frozenset({1.5, 2.5}), "frozenset_value"),
    ({None: 1, (1, (2,)): [2], b"k": {}}, "dict_value"), ({1: "a", "1": "b"}, "dict_value"),
    (decimal.Decimal("-0E+7"), "text_value"), (decimal.Decimal("-sNaN7"), "text_value"),
    (Fraction(-1, 3), "text_value"), (uuid.UUID(int=1), "text_value"),
    (pathlib.Path("/a/é"), "text_value"), (pathlib.PureWindowsPath("c:\\a"), "text_value"),
    (ipaddress.ip_address("fe80::1%eth0"), "text_value"), (ipaddress.ip_network("10.0.0.0/8"), "text_value"),
    (ipaddress.ip_interface("10.0.0.1/8"), "text_value"), (ipaddress.ip_interface("::1/64"), "text_value"),
    (datetime.date.min, "text_value"), (datetime.timedelta.min, "text_value"), (datetime.timedelta.max, "text_value"),
    (datetime.datetime.max, "text_value"),  # noqa: DTZ901
    (datetime.time(23, 59, fold=1), "text_value"),
    (datetime.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=zone), "text_value"),
    (datetime.datetime(2026, 10, 25, 2, 30, tzinfo=zone), "text_value"),
    (datetime.datetime(2026, 3, 29, 2, 30, tzinfo=zone), "text_value"),  # a time that never is
    (datetime.datetime(1, 1, 1, tzinfo=zone), "text_value"), (datetime.time(1, 2, 3, 4, tzinfo=zone), "text_value"),
    (datetime.datetime(9, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(seconds=-1))), "text_value"),
    (datetime.time(1, tzinfo=datetime.timezone(datetime.timedelta(hours=-23, minutes=-59))), "text_value"),
    (..., "text_value"), (NotImplemented, "text_value"), (int, "text_value"), (type(None), "text_value"),
    (range(10**30, 0, -7), "record_value"), (range(0), "record_value"), (slice(None), "record_value"),
    (slice("a", [1], {}), "record_value"), (collections.deque([1, 2], 2), "record_value"),
    (collections.deque(maxlen=0), "record_value"), (collections.OrderedDict(b=1, a=2), "record_value"),
    (collections.Counter({"b": -1, "a": 2}), "record_value"), (collections.UserDict({1: [2]}), "record_value"),
    (collections.UserList([1, (2,)]), "record_value"), (types.MappingProxyType({"a": {1}}), "record_value"),
    (types.SimpleNamespace(b=1, a=[None]), "record_value"), (collections.defaultdict(list, a=[1]), "record_value"),
    (collections.defaultdict(None, {1: 2}), "record_value"), (time.gmtime(0), "record_value"),
    (Point(1, [2]), "record_value"), (Order("a", {1}), "record_value"), (Frozen({1: 2}), "record_value"),
    (Slotted(None), "record_value"), (Both(1.5), "record_value"), (Colour.PAIR, "record_value"),
    (Colour.NOTHING, "record_value"), (Level.LOW, "record_value"), (Word.YES, "record_value"),
    (Mode.A | Mode.B, "record_value"), (Mode(0), "record_value"), (array.array("d"), "tensor_value"),
    (array.array("H", [1, 65535]), "tensor_value"), (memoryview(b""), "tensor_value"),
    (memoryview(b"abc"), "tensor_value"), (memoryview(array.array("q", [-1])), "tensor_value"),
    (memoryview(b"abcd").cast("c"), "tensor_value"), (memoryview(b"\0\1").cast("?"), "tensor_value"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "kind"), TABLE, ids=[f"{type(value).__name__}-{kind}" for value, kind in TABLE])
def test_each_kind_has_its_own_field(value: Any, kind: str) -> None:
    data = Encoder(Context()).encode(value)
    message = value_pb2.PythonValue.FromString(data)
    assert message.WhichOneof("kind") == kind
    assert same(Decoder(Context()).decode(data), value)
    assert same(round_trip([value, (value,)]), [value, (value,)])


def test_all_kinds_of_the_message_are_covered() -> None:
    """Objects and results of calls mean something between the two ends of a connection only."""
    kinds = {field.name for field in value_pb2.PythonValue.DESCRIPTOR.fields}
    assert kinds - {kind for _, kind in TABLE} == {"object_value", "result_value"}


def test_numbers_of_one_kind_have_a_short_form() -> None:
    encoder = Encoder(Context())
    floats = value_pb2.PythonValue.FromString(encoder.encode([0.5, 1.5, -0.0])).list_value
    assert list(floats.floats) == [0.5, 1.5, 0.0] and not floats.items
    ints = value_pb2.PythonValue.FromString(encoder.encode((1, -(2**63)))).tuple_value
    assert list(ints.ints) == [1, -(2**63)] and not ints.items
    mixed = value_pb2.PythonValue.FromString(encoder.encode([1, True])).list_value
    assert len(mixed.items) == 2


def test_the_forms_may_be_mixed_by_other_writers() -> None:
    one = value_pb2.PythonValue(string_value="a")
    sequence = value_pb2.SequenceValue(items=[one, one], floats=[1.5, 2.5], ints=[3])
    message = value_pb2.PythonValue(list_value=sequence)
    assert Decoder(Context()).decode(message.SerializeToString()) == ["a", "a", 1.5, 2.5, 3]


def test_what_other_writers_leave_out_has_its_default() -> None:
    """A field of proto3 that has its default isn't written."""
    decode = Decoder(Context()).decode
    message = value_pb2.PythonValue
    assert decode(message(complex_value=value_pb2.ComplexValue(imaginary=2)).SerializeToString()) == 2j
    assert decode(message(complex_value=value_pb2.ComplexValue()).SerializeToString()) == 0
    assert decode(message(big_int_value=b"").SerializeToString()) == 0
    assert decode(message(big_int_value=b"\0\0\0\xff").SerializeToString()) == 255
    assert decode(message(none_value=False).SerializeToString()) is None
    assert decode(message(tuple_value=value_pb2.SequenceValue()).SerializeToString()) == ()


def test_order_is_kept() -> None:
    assert list(round_trip({"b": 1, "a": 2, 0: 3})) == ["b", "a", 0]
    assert list(round_trip(collections.OrderedDict([("b", 1), ("a", 2)]))) == ["b", "a"]


def test_the_same_value_twice_is_no_cycle() -> None:
    twice = [1]
    assert round_trip([twice, twice, {"a": twice}, Point(twice, twice)]) == [[1], [1], {"a": [1]}, ([1], [1])]


def test_arrays_can_be_written_to() -> None:
    """Those of an argument are the function's own."""
    for value in (array.array("d", [1.5]), memoryview(b"abc"), bytearray(b"abc")):
        back = round_trip(value)
        back[0] = back[0]
        assert not getattr(back, "readonly", False)
