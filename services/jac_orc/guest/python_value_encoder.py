"""Writes Python values as PythonValue messages (`python_values`).

The type of a plain value finds its writer in one look-up. Any other value is asked for its form: a text, an array or a
record. It goes by reference where it has none, where its own code fails while it is read, where it lies within itself,
and where it is too deep.
"""

from __future__ import annotations

import array
import enum
import sys
from typing import TYPE_CHECKING, Any

from .failures import qualified_name
from .protowire import FIXED64, VARINT, flag, key, packed_double, sized, string, varint
from .python_value_arrays import tensor_of
from .python_value_records import Record, fields_of
from .python_value_texts import name_of_class, text_of
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
    RECORD,
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

CHUNK_FROM = 128 * 1024
"""Arrays of as many bytes travel apart from their message, in chunks."""

_NONE, _FALSE, _TRUE = key(NONE, VARINT) + b"\x01", key(BOOL, VARINT) + b"\x00", key(BOOL, VARINT) + b"\x01"
_INT, _FLOAT, _STRING = key(INT, VARINT), key(FLOAT, FIXED64), key(STRING)
_KEYS = {kind: key(kind) for kind in range(1, 21)}
_FIRST, _SECOND, _THIRD = key(1), key(2), key(3)
_LEAST, _MOST = -(2**63), 2**63 - 1


class Encoder:
    """Writes values as PythonValue messages."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._parents: set[int] = set()

    def encode(self, value: Any) -> bytes:
        """The message's bytes; raises what the context raises for a value without an exact form."""
        writer = _WRITERS.get(type(value))
        if writer is not None:
            return writer(self, value)
        try:
            form = _form_of(value)
        except Exception:  # NoForm, or the value's own code fails while it is read
            return self._context.refer(value)
        if form[0] != RECORD:
            return self._tensor(*form[1]) if form[0] == TENSOR else _text(*form[1])
        if not self._enter(value):
            return self._context.refer(value)
        try:
            return self.record(*form[1])
        finally:
            self._parents.discard(id(value))

    def _enter(self, value: Any) -> bool:
        """Whether the value is to be written here: it isn't within itself, nor too deep within others."""
        if id(value) in self._parents or len(self._parents) >= MAX_DEPTH:
            return False
        self._parents.add(id(value))
        return True

    def _container(self, value: Any) -> bytes:
        if not self._enter(value):
            return self._context.refer(value)
        try:
            if type(value) is dict:
                return self._dict(value)
            return sized(_KEYS[_SEQUENCES[type(value)]], self._sequence(value))
        finally:
            self._parents.discard(id(value))

    def _sequence(self, items: Any) -> bytes:
        kinds = set(map(type, items))
        if len(kinds) == 1 and len(items) > 1:
            if kinds == {float}:
                return sized(_SECOND, _packed("d", items))
            if kinds == {int}:
                try:
                    return sized(_THIRD, _packed("q", items))
                except OverflowError:
                    pass
        parts: list[bytes] = []
        for item in items:
            data = self.encode(item)
            parts += (_FIRST, varint(len(data)), data)
        return b"".join(parts)

    def _dict(self, value: dict[Any, Any]) -> bytes:
        return sized(_KEYS[DICT], b"".join([self._entry(name, item) for name, item in value.items()]))

    def _entry(self, name: Any, item: Any) -> bytes:
        return sized(_FIRST, sized(_FIRST, self.encode(name)) + sized(_SECOND, self.encode(item)))

    def _int(self, value: int) -> bytes:
        if _LEAST <= value <= _MOST:
            return _INT + varint(value << 1 if value >= 0 else (-value << 1) - 1)
        return sized(_KEYS[BIG_INT], value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))

    def _string(self, value: str) -> bytes:
        try:
            return sized(_STRING, value.encode())
        except UnicodeEncodeError:
            return sized(_KEYS[SURROGATES], value.encode("utf-8", "surrogatepass"))

    def record(self, name: str, values: dict[str, Any]) -> bytes:
        """A RecordValue."""
        parts = [
            sized(_SECOND, string(1, field) + sized(_SECOND, self.encode(value))) for field, value in values.items()
        ]
        return sized(_KEYS[RECORD], string(1, name) + b"".join(parts))

    def _tensor(self, kind: str, dtype: str, shape: Any, fortran: bool, data: memoryview) -> bytes:
        chunk_id = self._context.send_apart(data) if len(data) >= CHUNK_FROM else 0
        sizes = b"".join(map(varint, shape))
        parts = [
            string(1, dtype),
            sized(_SECOND, sizes) if shape else b"",
            flag(3, fortran),
            b"" if chunk_id or not len(data) else sized(key(4), data),
            key(5, VARINT) + varint(chunk_id) if chunk_id else b"",
            string(6, kind),
        ]
        return sized(_KEYS[TENSOR], b"".join(parts))


def _form_of(value: Any) -> tuple[int, tuple[Any, ...]]:
    """TEXT, TENSOR or RECORD, with what these are made of; raises NoForm, or whatever the value's own code raises."""
    kind = type(value)
    if isinstance(value, enum.Enum):
        return RECORD, (qualified_name(kind), {"value": value.value})
    told = text_of(value)
    if told is not None:
        return TEXT, told
    if isinstance(value, type):
        return TEXT, ("builtins.type", name_of_class(value))
    tensor = tensor_of(value)
    if tensor is not None:
        return TENSOR, tensor
    if kind is Record:
        return RECORD, (value._type_name, dict(vars(value)))
    return RECORD, (qualified_name(kind), fields_of(value))


def _text(name: str, shown: str) -> bytes:
    return sized(_KEYS[TEXT], string(1, name) + string(2, shown))


def _packed(code: str, items: Any) -> bytes:
    numbers = array.array(code, items)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


_SEQUENCES: dict[Any, int] = {list: LIST, tuple: TUPLE, set: SET, frozenset: FROZENSET}
_WRITERS: dict[Any, Callable[[Encoder, Any], bytes]] = {
    type(None): lambda self, value: _NONE,
    bool: lambda self, value: _TRUE if value else _FALSE,
    int: Encoder._int,
    float: lambda self, value: _FLOAT + packed_double(value),
    str: Encoder._string,
    bytes: lambda self, value: sized(_KEYS[BYTES], value),
    bytearray: lambda self, value: sized(_KEYS[BYTEARRAY], value),
    complex: lambda self, value: sized(
        _KEYS[COMPLEX],
        key(1, FIXED64) + packed_double(value.real) + key(2, FIXED64) + packed_double(value.imag),
    ),
    **dict.fromkeys((list, tuple, set, frozenset, dict), Encoder._container),
}
