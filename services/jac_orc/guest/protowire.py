"""Protobuf's wire format (protobuf.dev/programming-guides/encoding), as far as the messages of a call need it.

The guest has nothing but the standard library, and the messages that it reads and writes are few and fixed. Writing
them here saves the server from looking into calls at all: requests and answers pass through it as bytes.
"""

from __future__ import annotations

import array
import struct
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    Buffer = bytes | bytearray | memoryview

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_DOUBLE = struct.Struct("<d")
_MAX_VARINT_BYTES = 10


class Malformed(ValueError):
    """The bytes are no message."""


def fields(data: Buffer) -> Iterator[tuple[int, Any]]:
    """The fields of a message as (number, value), in order; raises Malformed.

    A value is an int for a varint and a memoryview of the bytes for everything else.
    """
    try:
        view, position, end = memoryview(data), 0, len(data)
    except TypeError:
        raise Malformed("a number in the place of a message") from None
    while position < end:
        key = view[position]
        position += 1
        if key >= 0x80:
            key, position = _varint(view, position - 1, end)
        if key < 8:
            raise Malformed("a field without a number")
        kind = key & 7
        if kind == LENGTH:
            if position >= end:
                raise Malformed("a field without its length")
            size = view[position]
            position += 1
            if size >= 0x80:
                size, position = _varint(view, position - 1, end)
        elif kind == VARINT:
            value, position = _varint(view, position, end)
            yield key >> 3, value
            continue
        elif kind == FIXED64:
            size = 8
        elif kind == FIXED32:
            size = 4
        else:
            raise Malformed("a field of an unknown kind")
        start, position = position, position + size
        if position > end:
            raise Malformed("a field that is longer than its message")
        yield key >> 3, view[start:position]


def by_number(message: Buffer, repeated: tuple[int, ...] = (), shift: int = 0) -> dict[int, Any]:
    """The fields by their number plus `shift`, those that are `repeated` as lists; raises Malformed."""
    found: dict[int, Any] = {number: [] for number in repeated}
    for number, value in fields(message):
        number += shift  # noqa: PLW2901 - this runs for each field of each call
        if number in repeated:
            found[number].append(value)
        else:
            found[number] = value
    return found


def last_field(message: Buffer) -> tuple[int, Any]:
    """The last field, which of the members of a `oneof` is the one that counts; (0, None) where there is none."""
    found: tuple[int, Any] = (0, None)
    for found in fields(message):  # noqa: B007 - it is the last one that is wanted
        pass
    return found


def _varint(view: memoryview, position: int, end: int) -> tuple[int, int]:
    """The varint at a position, and the position behind it."""
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        if position + index >= end:
            break
        byte = view[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position + index + 1
    raise Malformed("a number without its end")


def text(value: Any) -> str:
    """The string in a field; raises Malformed."""
    try:
        return str(value, "utf-8")
    except (UnicodeDecodeError, TypeError):
        raise Malformed("a text that is not UTF-8") from None


def double(value: Any) -> float:
    """The double in a field; raises Malformed."""
    try:
        number: float = _DOUBLE.unpack(value)[0]
    except (struct.error, TypeError):
        raise Malformed("a double of another size") from None
    return number


def varint(number: int) -> bytes:
    """A number from 0 to 2^64 - 1."""
    if number < 0x80:
        return _SMALL[number]
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


_SMALL = [bytes((number,)) for number in range(0x80)]


def key(number: int, kind: int = LENGTH) -> bytes:
    """What stands before a field's value."""
    return varint(number << 3 | kind)


def sized(start: bytes, data: Buffer) -> bytes:
    """A field of bytes, a string or a message; `start` is its key."""
    return b"".join((start, varint(len(data)), data))


def string(number: int, value: str) -> bytes:
    """A field of a string; nothing for an empty one. Lone surrogates are written as escapes."""
    return sized(key(number), value.encode("utf-8", "backslashreplace")) if value else b""


def flag(number: int, value: object) -> bytes:
    """A field of a bool; nothing for a false one."""
    return key(number, VARINT) + b"\x01" if value else b""


packed_double = _DOUBLE.pack
"""A double's eight bytes."""


def varints(data: memoryview) -> list[int]:
    """The numbers of a packed field; raises Malformed."""
    numbers, position = [], 0
    while position < len(data):
        number, position = _varint(data, position, len(data))
        numbers.append(number)
    return numbers


def packed(code: str, numbers: Any) -> bytes:
    """Numbers of a type of the module `array`, one behind the other; raises OverflowError."""
    found = array.array(code, numbers)
    if sys.byteorder == "big":
        found.byteswap()
    return found.tobytes()


def unpacked(code: str, data: Buffer) -> list[Any]:
    """Such numbers out of their bytes; raises Malformed."""
    found = array.array(code)
    try:
        found.frombytes(data)
    except ValueError:
        raise Malformed("numbers that are cut off") from None
    if sys.byteorder == "big":
        found.byteswap()
    return found.tolist()
