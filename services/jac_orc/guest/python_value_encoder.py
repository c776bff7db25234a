"""Writes Python values as PythonValue messages (`python_values`).

The type of a plain value finds its writer in one look-up. Any other value is asked for its form: a text, an array or a
record. It goes by reference where it has none, where its own code fails while it is read, where it lies within itself,
and where it is too deep.
"""

from __future__ import annotations

import contextlib
import enum
import math
from typing import TYPE_CHECKING, Any

from .failures import qualified_name
from .protowire import FIXED64, VARINT, flag, key, packed, packed_double, sized, string, varint
from .python_value_arrays import tensor_of
from .python_value_records import Record, fields_of
from .python_value_texts import name_of_class, text_of
from .python_values import MAX_DEPTH, Kind, TooLong

if TYPE_CHECKING:
    from collections.abc import Callable

    from .python_values import Context

_NONE = key(Kind.NONE, VARINT) + b"\x01"
_FALSE, _TRUE = key(Kind.BOOL, VARINT) + b"\x00", key(Kind.BOOL, VARINT) + b"\x01"
_INT, _FLOAT, _STRING, _BYTES = key(Kind.INT, VARINT), key(Kind.FLOAT, FIXED64), key(Kind.STRING), key(Kind.BYTES)
_BIG_INT, _SURROGATES = key(Kind.BIG_INT), key(Kind.SURROGATES)
_DICT, _TEXT, _RECORD, _TENSOR = key(Kind.DICT), key(Kind.TEXT), key(Kind.RECORD), key(Kind.TENSOR)
_FIRST, _SECOND, _THIRD, _FOURTH = key(1), key(2), key(3), key(4)
_LEAST, _MOST = -(2**63), 2**63 - 1
_LARGE = 64 * 1024


class Encoder:
    """Writes values as PythonValue messages, from their end to their beginning, as a size goes before what has it.

    So each byte is copied once, however deep it lies.
    """

    def __init__(self, context: Context, max_bytes: float = math.inf) -> None:
        self._context = context
        self._left = max_bytes
        self._parents: set[int] = set()
        self._parts: list[Any] = []  # the last one first

    def encode(self, value: Any) -> bytes:
        """The message's bytes; raises what the context raises for a value without an exact form."""
        writer = _SCALARS.get(type(value))
        return b"".join(self.parts(value)) if writer is None else writer(value)

    def parts(self, value: Any) -> list[Any]:
        """The message's bytes in several parts, arrays and large bytes as they lie in memory; raises TooLong.

        A small value may have a long message: each place in it that leads to the same list has that list's items.
        """
        self._parts = []
        self._write(value)
        parts, self._parts = self._parts[::-1], []
        return parts

    def _write(self, value: Any) -> int:
        """Writes a message before what is written already; answers its size."""
        kind = type(value)
        writer = _SCALARS.get(kind)
        if writer is not None:
            if kind is bytes and len(value) >= _LARGE:  # which is not copied
                return self._head(_BYTES, self._put(value))
            return self._put(writer(value))
        if kind in _CONTAINERS:
            return self._nested(value, self._container)
        try:
            form = _form_of(value)
        except Exception:  # NoForm, or the value's own code fails while it is read
            return self._put(self._context.refer(value))
        if form[0] is _TEXT:
            return self._put(_text(*form[1]))
        if form[0] is _TENSOR:
            return self._tensor(*form[1])
        return self._nested(value, lambda _: self._record(*form[1]))

    def _nested(self, value: Any, write: Callable[[Any], int]) -> int:
        """Writes it here unless it is within itself, or too deep within others."""
        if id(value) in self._parents or len(self._parents) >= MAX_DEPTH:
            return self._put(self._context.refer(value))
        self._parents.add(id(value))
        try:
            return write(value)
        finally:
            self._parents.discard(id(value))

    def _put(self, data: Any) -> int:
        size = len(data)
        self._left -= size
        if self._left < 0:
            raise TooLong
        self._parts.append(data)
        return size

    def _head(self, start: bytes, size: int) -> int:
        """Writes what goes before a field of this size; answers the size of both."""
        return size + self._put(start + varint(size))

    def _field(self, start: bytes, value: Any) -> int:
        return self._head(start, self._write(value))

    def _container(self, value: Any) -> int:
        kind = type(value)
        if kind is dict:
            size = 0
            for name, item in reversed(list(value.items())):
                size += self._head(_FIRST, self._field(_SECOND, item) + self._field(_FIRST, name))
            return self._head(_DICT, size)
        return self._head(_CONTAINERS[kind], self._items(value))

    def _items(self, items: Any) -> int:
        kinds = set(map(type, items))
        if len(kinds) == 1 and len(items) > 1:
            if kinds == {float}:
                return self._head(_SECOND, self._put(packed("d", items)))
            if kinds == {int}:
                with contextlib.suppress(OverflowError):
                    return self._head(_THIRD, self._put(packed("q", items)))
        return sum([self._field(_FIRST, item) for item in reversed(list(items))])

    def _record(self, name: str, values: dict[str, Any]) -> int:
        """A RecordValue."""
        size = 0
        for field, value in reversed(list(values.items())):
            size += self._head(_SECOND, self._field(_SECOND, value) + self._put(string(1, field)))
        return self._head(_RECORD, size + self._put(string(1, name)))

    def _tensor(self, kind: str, dtype: str, shape: Any, fortran: bool, data: memoryview) -> int:
        """A TensorValue, whose bytes come last: see `large_values.room_for`."""
        size = self._head(_FOURTH, self._put(data)) if len(data) else 0
        sizes = sized(_SECOND, b"".join(map(varint, shape))) if shape else b""
        size += self._put(string(1, dtype) + sizes + flag(3, fortran) + string(5, kind))
        return self._head(_TENSOR, size)


def _form_of(value: Any) -> tuple[bytes, tuple[Any, ...]]:
    """The key of a text, tensor or record, and what that is made of; raises NoForm, or what the value's code raises."""
    kind = type(value)
    if isinstance(value, enum.Enum):
        return _RECORD, (qualified_name(kind), {"value": value.value})
    told = text_of(value)
    if told is not None:
        return _TEXT, told
    if isinstance(value, type):
        return _TEXT, ("builtins.type", name_of_class(value))
    tensor = tensor_of(value)
    if tensor is not None:
        return _TENSOR, tensor
    if kind is Record:
        return _RECORD, (value._type_name, dict(vars(value)))
    return _RECORD, (qualified_name(kind), fields_of(value))


def _int(value: int) -> bytes:
    if _LEAST <= value <= _MOST:
        return _INT + varint(value << 1 if value >= 0 else (-value << 1) - 1)
    return sized(_BIG_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _string(value: str) -> bytes:
    try:
        return sized(_STRING, value.encode())
    except UnicodeEncodeError:
        return sized(_SURROGATES, value.encode("utf-8", "surrogatepass"))


def _text(name: str, shown: str) -> bytes:
    return sized(_TEXT, string(1, name) + string(2, shown))


_CONTAINERS: dict[Any, bytes] = {
    list: key(Kind.LIST),
    tuple: key(Kind.TUPLE),
    set: key(Kind.SET),
    frozenset: key(Kind.FROZENSET),
    dict: _DICT,
}
_SCALARS: dict[Any, Callable[[Any], bytes]] = {
    type(None): lambda value: _NONE,
    bool: lambda value: _TRUE if value else _FALSE,
    int: _int,
    float: lambda value: _FLOAT + packed_double(value),
    str: _string,
    bytes: lambda value: sized(_BYTES, value),
    bytearray: lambda value: sized(key(Kind.BYTEARRAY), value),
    complex: lambda value: sized(
        key(Kind.COMPLEX),
        key(1, FIXED64) + packed_double(value.real) + key(2, FIXED64) + packed_double(value.imag),
    ),
}
