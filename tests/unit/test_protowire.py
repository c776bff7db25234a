"""Protobuf's wire format as the guest reads and writes it, beside protobuf's own."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, empty_pb2, wrappers_pb2
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given
from hypothesis import strategies as st

from jac_orc.guest import protowire
from jac_orc.guest.protowire import FIXED32, FIXED64, LENGTH, VARINT, Malformed
from jac_orc.v1 import module_pb2, value_pb2

_GROUP = 3
_MOST_FIELD = 2**29 - 1

numbers = st.integers(1, 20) | st.integers(1, _MOST_FIELD)
unsigned = st.integers(0, 300) | st.integers(0, 2**64 - 1)
pieces = st.lists(
    st.tuples(numbers, st.just(VARINT), unsigned)
    | st.tuples(numbers, st.just(FIXED64), unsigned)
    | st.tuples(numbers, st.just(FIXED32), st.integers(0, 2**32 - 1))
    | st.tuples(numbers, st.just(LENGTH), st.binary(max_size=300)),
    max_size=8,
)


def written(parts: list[tuple[int, int, Any]]) -> bytes:
    """The message of these fields, as the guest writes it."""
    data = b""
    for number, kind, value in parts:
        if kind == LENGTH:
            data += protowire.sized(protowire.key(number), value)
        else:
            rest = {
                VARINT: protowire.varint, FIXED64: struct.Struct("<Q").pack, FIXED32: struct.Struct("<I").pack,
            }[kind](value)  # fmt: skip
            data += protowire.key(number, kind) + rest
    return data


def seen(data: bytes) -> list[tuple[int, Any]]:
    """The fields, the bytes as bytes."""
    return [
        (number, bytes(value) if isinstance(value, memoryview) else value) for number, value in protowire.fields(data)
    ]


def seen_by_protobuf(data: bytes) -> list[tuple[int, Any]] | None:
    """The fields as protobuf sees them; None for a message with a group, which nothing writes any more."""
    found: list[tuple[int, Any]] = []
    unknown: Any = UnknownFieldSet(empty_pb2.Empty.FromString(data))
    for field in unknown:
        if field.wire_type == _GROUP:
            return None
        value = field.data
        if field.wire_type in (FIXED32, FIXED64):
            value = value.to_bytes(4 if field.wire_type == FIXED32 else 8, "little")
        found.append((field.field_number, value))
    return found


def told(data: bytes) -> list[tuple[int, Any]] | None:
    """The fields, None where the bytes are malformed."""
    try:
        return seen(data)
    except Malformed:
        return None


def told_by_protobuf(data: bytes) -> list[tuple[int, Any]] | None:
    try:
        return seen_by_protobuf(data)
    except DecodeError:
        return None


@given(pieces)
def test_fields_are_what_protobuf_sees(parts: list[tuple[int, int, Any]]) -> None:
    data = written(parts)
    assert seen(data) == seen_by_protobuf(data)


@given(pieces)
def test_a_message_that_is_cut_is_malformed_where_protobuf_says_so(parts: list[tuple[int, int, Any]]) -> None:
    data = written(parts)
    for end in range(max(0, len(data) - 40), len(data)):
        assert told(data[:end]) == told_by_protobuf(data[:end])


@given(st.binary(max_size=40))
def test_junk_is_malformed_or_what_protobuf_sees(data: bytes) -> None:
    theirs = told_by_protobuf(data)
    if theirs is not None:
        assert told(data) == theirs
    else:
        told(data)  # which raises nothing else


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_read(kind: Any) -> None:
    assert seen(kind(b"\x08\x01\x12\x01a")) == [(1, 1), (2, b"a")]


@pytest.mark.parametrize(
    "message",
    [
        descriptor_pb2.FileDescriptorProto.FromString(value_pb2.DESCRIPTOR.serialized_pb),
        value_pb2.TensorValue(dtype="<f8", shape=[1, 2**63, 3], fortran_order=True, data=b"\0" * 200, type="x"),
        module_pb2.CallPythonRequest(method="é", args=[value_pb2.PythonValue(int_value=-(2**63))], keep=True),
        wrappers_pb2.FloatValue(value=1.5),
    ],
    ids=lambda message: type(message).__name__,
)  # fmt: skip
def test_real_messages_are_read(message: Any) -> None:
    data = message.SerializeToString()
    assert seen(data) == seen_by_protobuf(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00", b"\x07\x00", b"\x80\x00\x01", b"\x08", b"\x08\x80", b"\x08" + b"\x80" * 10 + b"\x01",
        b"\xff" * 100_000, b"\x0a", b"\x0a\x01", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a" + b"\xff" * 9 + b"\x01",
        b"\x09" + b"\0" * 7,
        b"\x0d" + b"\0" * 3, b"\x0b", b"\x0c", b"\x0e", b"\x0f",
    ],
    ids=lambda data: data[:12].hex(),
)  # fmt: skip
def test_what_is_no_message_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        list(protowire.fields(data))
    with pytest.raises(Malformed):
        list(protowire.fields(b"\x08\x01" + data))


@pytest.mark.parametrize("data", [5, None, "text", 1.5])
def test_what_is_no_buffer_is_malformed(data: Any) -> None:
    """A field that holds a number where a message is expected."""
    with pytest.raises(Malformed):
        list(protowire.fields(data))


@given(unsigned)
def test_a_number_is_written_as_protobuf_writes_it(number: int) -> None:
    expected = wrappers_pb2.UInt64Value(value=number or 1).SerializeToString()
    assert protowire.key(1, VARINT) + protowire.varint(number or 1) == expected
    assert seen(protowire.key(1, VARINT) + protowire.varint(number)) == [(1, number)]


@given(st.text(), st.text(), st.booleans())
def test_strings_and_flags_are_written_as_protobuf_writes_them(obj_id: str, name: str, is_callable: bool) -> None:
    message = value_pb2.ObjectReference(obj_id=obj_id, type=name, is_callable=is_callable)
    data = protowire.string(1, obj_id) + protowire.string(2, name) + protowire.flag(4, is_callable)
    assert data == message.SerializeToString()


@given(st.floats())
def test_a_double_is_written_and_read_as_protobuf_does(number: float) -> None:
    data = protowire.key(1, FIXED64) + protowire.packed_double(number)
    message = wrappers_pb2.DoubleValue.FromString(data)
    assert struct.pack("<d", message.value) == struct.pack("<d", number)
    ((_, value),) = protowire.fields(data)
    assert struct.pack("<d", protowire.double(value)) == struct.pack("<d", number)


def test_a_lone_surrogate_in_a_text_is_written_as_an_escape() -> None:
    assert protowire.string(1, "a\udc80") == protowire.string(1, "a\\udc80")


@pytest.mark.parametrize("value", [b"\xff", b"\xed\xa0\x80", b"\xc0\x80", 5, None])
def test_what_is_no_text_is_malformed(value: Any) -> None:
    with pytest.raises(Malformed):
        protowire.text(value)


@pytest.mark.parametrize("value", [b"", b"\0" * 7, b"\0" * 9, 5, None])
def test_what_is_no_double_is_malformed(value: Any) -> None:
    with pytest.raises(Malformed):
        protowire.double(value)
