"""Reads PythonValue messages (`python_values`).

They come from the other end and may be anything: whatever isn't a value raises Malformed, before it takes
much memory or time. The kinds that are met most often are read at once, the others by their reader.
"""

from __future__ import annotations

import array
import mmap
import sys
from typing import TYPE_CHECKING, Any

from .protowire import Malformed, double, fields, last_field, text
from .python_value_arrays import array_of
from .python_value_records import CONTAINERS, container_of, record_of
from .python_value_texts import value_of_text
from .python_values import (
    BIG_INT,
    BOOL,
    BYTEARRAY,
    BYTES,
    COMPLEX,
    DICT,
    FLOAT,
    FROZENSET,
    INT,
    LIST,
    MAX_DEPTH,
    NONE,
    OBJECT,
    RECORD,
    RESULT,
    SET,
    STRING,
    SURROGATES,
    TENSOR,
    TEXT,
    TUPLE,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from .python_values import Context

    Buffer = bytes | bytearray | memoryview


class Decoder:
    """Reads PythonValue messages; raises Malformed for what is none."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def decode(self, message: Buffer, depth: int = 0) -> Any:
        """The value."""
        kind, data = last_field(message)
        try:
            if kind == INT:
                return (data >> 1) ^ -(data & 1)
            if kind == STRING:
                return text(data)
            if kind == FLOAT:
                return double(data)
            if kind in (NONE, BOOL):
                return bool(data) if kind == BOOL else None
            if isinstance(data, memoryview):
                reader = _READERS.get(kind)
                if reader is not None:
                    return reader(self, data, depth)
        except (AttributeError, RecursionError, TypeError, UnicodeDecodeError) as failure:
            # an unhashable member or key, or a field of another kind
            raise Malformed("a value that can't be made: %s" % failure) from None
        raise Malformed("a value of an unknown kind" if kind else "an empty value")

    def _items(self, data: memoryview, depth: int) -> list[Any]:
        if depth > 3 * MAX_DEPTH:
            raise Malformed("the value is nested deeper than %d levels" % MAX_DEPTH)
        items: list[Any] = []
        for number, value in fields(data):
            if number == 1:
                items.append(self.decode(value, depth + 1))
            elif number in (2, 3):
                numbers = array.array("d" if number == 2 else "q", _whole(value, 8))
                if sys.byteorder == "big":
                    numbers.byteswap()
                items += numbers.tolist()
        return items

    def _dict(self, data: memoryview, depth: int) -> dict[Any, Any]:
        if depth > 3 * MAX_DEPTH:
            raise Malformed("the value is nested deeper than %d levels" % MAX_DEPTH)
        made: dict[Any, Any] = {}
        for number, value in fields(data):
            if number == 1:
                parts = dict(fields(value))
                name = self.decode(parts.get(1, b""), depth + 1)
                made[name] = self.decode(parts.get(2, b""), depth + 1)
        return made

    def _complex(self, data: memoryview, depth: int) -> complex:
        parts = dict(fields(data))
        return complex(*(double(parts[number]) if number in parts else 0.0 for number in (1, 2)))

    def _text(self, data: memoryview, depth: int) -> Any:
        parts = dict(fields(data))
        return value_of_text(text(parts.get(1, b"")), text(parts.get(2, b"")))

    def _record(self, data: memoryview, depth: int) -> Any:
        if depth > 3 * MAX_DEPTH:
            raise Malformed("the value is nested deeper than %d levels" % MAX_DEPTH)
        name, values = "", {}
        for number, value in fields(data):
            if number == 1:
                name = text(value)
            elif number == 2:
                parts = dict(fields(value))
                values[text(parts.get(1, b""))] = self.decode(parts.get(2, b""), depth + 1)
        if name in CONTAINERS:
            return container_of(name, values)
        return record_of(self._context.find_class(name), name, values)

    def _tensor(self, data: memoryview, depth: int) -> Any:
        shape: list[int] = []
        shown, kind, fortran, content = "", "", False, memoryview(b"")
        for number, value in fields(data):
            if number == 1:
                shown = text(value)
            elif number == 2:
                shape += varints(value) if isinstance(value, memoryview) else [value]
            elif number == 3:
                fortran = bool(value)
            elif number == 4:
                content = value
            elif number == 5:
                kind = text(value)
        return array_of(kind, shown, shape, fortran, _own(content))

    def _result(self, data: memoryview, depth: int) -> Any:
        return self._context.result(dict(fields(data)).get(1, 0))


def _own(content: memoryview) -> Any:
    """Bytes for an array of its own: those of the message, if that may be written to and is hardly larger."""
    buffer = content.obj
    if content.readonly or not isinstance(buffer, (bytearray, mmap.mmap)) or 2 * len(content) < len(buffer):
        return bytearray(content)
    return content


def _whole(data: Any, size: int) -> bytes:
    if len(data) % size:
        raise Malformed("numbers that are cut off")
    return bytes(data)


def varints(data: memoryview) -> list[int]:
    """The numbers of a packed field; raises Malformed."""
    numbers, number, shift = [], 0, 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if shift > 70:
            raise Malformed("a number without its end")
        if byte < 0x80:
            numbers.append(number)
            number = shift = 0
    if shift:
        raise Malformed("a number without its end")
    return numbers


_READERS: dict[int, Callable[[Decoder, memoryview, int], Any]] = {
    BIG_INT: lambda self, data, depth: int.from_bytes(data, "big", signed=True),
    BYTES: lambda self, data, depth: bytes(data),
    BYTEARRAY: lambda self, data, depth: bytearray(data),
    COMPLEX: Decoder._complex,
    LIST: Decoder._items,
    TUPLE: lambda self, data, depth: tuple(self._items(data, depth)),
    SET: lambda self, data, depth: set(self._items(data, depth)),
    FROZENSET: lambda self, data, depth: frozenset(self._items(data, depth)),
    DICT: Decoder._dict,
    TEXT: Decoder._text,
    RECORD: Decoder._record,
    TENSOR: Decoder._tensor,
    OBJECT: lambda self, data, depth: self._context.resolve(data),
    RESULT: Decoder._result,
    SURROGATES: lambda self, data, depth: str(data, "utf-8", "surrogatepass"),
}
