"""Reads PythonValue messages (`python_values`).

They come from the other end and may be anything: whatever isn't a value raises Malformed, before it takes
much memory or time.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

from .protowire import Malformed, by_number, double, fields, last_field, text, unpacked, varints
from .python_value_arrays import array_of
from .python_value_records import CONTAINERS, container_of, record_of
from .python_value_texts import value_of_text
from .python_values import MAX_DEPTH, Kind

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
            scalar = _SCALARS.get(kind)
            if scalar is not None:
                return scalar(data)
            reader = _READERS.get(kind)
            if reader is not None and isinstance(data, memoryview):
                if depth > 3 * MAX_DEPTH:
                    raise Malformed("the value is nested deeper than %d levels" % MAX_DEPTH)
                return reader(self, data, depth + 1)
        except Malformed:
            raise
        except (AttributeError, RecursionError, TypeError, ValueError) as failure:
            # an unhashable member or key, or a field of another kind
            raise Malformed("a value that can't be made: %s" % failure) from None
        raise Malformed("a value of an unknown kind" if kind else "an empty value")

    def _items(self, data: memoryview, depth: int) -> list[Any]:
        items: list[Any] = []
        for number, value in fields(data):
            if number == 1:
                items.append(self.decode(value, depth))
            elif number in (2, 3):
                items += unpacked("d" if number == 2 else "q", value)
        return items

    def _dict(self, data: memoryview, depth: int) -> dict[Any, Any]:
        made: dict[Any, Any] = {}
        for entry in by_number(data, (1,))[1]:
            parts = dict(fields(entry))
            name = self.decode(parts.get(1, b""), depth)
            made[name] = self.decode(parts.get(2, b""), depth)
        return made

    def _record(self, data: memoryview, depth: int) -> Any:
        told = by_number(data, (2,))
        name, values = text(told.get(1, b"")), {}
        for entry in told[2]:
            parts = dict(fields(entry))
            values[text(parts.get(1, b""))] = self.decode(parts.get(2, b""), depth)
        if name in CONTAINERS:
            return container_of(name, values)
        return record_of(self._context.find_class(name), name, values)

    def _tensor(self, data: memoryview, depth: int) -> Any:
        told = by_number(data, (2,))
        shape: list[int] = []
        for sizes in told[2]:
            shape += varints(sizes) if isinstance(sizes, memoryview) else [sizes]
        content = _own(told.get(4, memoryview(b"")))
        return array_of(text(told.get(5, b"")), text(told.get(1, b"")), shape, bool(told.get(3)), content)


def _own(content: memoryview) -> Any:
    """Bytes for an array of its own: those of the message, if that may be written to and is hardly larger."""
    buffer = content.obj
    if content.readonly or not isinstance(buffer, (bytearray, mmap.mmap)) or 2 * len(content) < len(buffer):
        return bytearray(content)
    return content


def _complex(data: memoryview) -> complex:
    parts = dict(fields(data))
    return complex(*(double(parts[number]) if number in parts else 0.0 for number in (1, 2)))


def _text(data: memoryview) -> Any:
    parts = dict(fields(data))
    return value_of_text(text(parts.get(1, b"")), text(parts.get(2, b"")))


# A number in the place of bytes has no memoryview; `bytes` would make as many of it.
_SCALARS: dict[int, Callable[[Any], Any]] = {
    Kind.NONE: lambda data: None,
    Kind.BOOL: bool,
    Kind.INT: lambda data: (data >> 1) ^ -(data & 1),
    Kind.BIG_INT: lambda data: int.from_bytes(memoryview(data), "big", signed=True),
    Kind.FLOAT: double,
    Kind.STRING: text,
    Kind.SURROGATES: lambda data: str(data, "utf-8", "surrogatepass"),
    Kind.BYTES: lambda data: bytes(memoryview(data)),
    Kind.BYTEARRAY: lambda data: bytearray(memoryview(data)),
    Kind.COMPLEX: _complex,
    Kind.TEXT: _text,
}
_READERS: dict[int, Callable[[Decoder, memoryview, int], Any]] = {
    Kind.LIST: Decoder._items,
    Kind.TUPLE: lambda self, data, depth: tuple(self._items(data, depth)),
    Kind.SET: lambda self, data, depth: set(self._items(data, depth)),
    Kind.FROZENSET: lambda self, data, depth: frozenset(self._items(data, depth)),
    Kind.DICT: Decoder._dict,
    Kind.RECORD: Decoder._record,
    Kind.TENSOR: Decoder._tensor,
    Kind.OBJECT: lambda self, data, depth: self._context.resolve(data),
    Kind.RESULT: lambda self, data, depth: self._context.result(dict(fields(data)).get(1, 0)),
}
