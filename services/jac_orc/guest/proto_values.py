"""Values as `google.protobuf.Value`, the natural form for grpcurl and clients in any language.

The same plain form as JSON's, but a number is a double. On the way in, one without a fraction is an int to Python, as
its writer meant; on the way out, an int that a double can't hold exactly becomes an object and is never rounded.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .failures import Refusal
from .json_values import Walk, encode, too_large
from .protowire import Malformed, double, fields, last_field, packed, packed_double, sized, text, unpacked, varint

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_DEPTH = 30  # a list or an object costs three levels of messages, of which protobuf's parsers take 100 by default
_MOST_NESTED = 100
_EXACT = 2**53
_ITEM = b"\x0a\x09\x11"  # before a number in a list: the item's key and size, the number's key
_ITEM_SIZE = len(_ITEM) + 8


# --- arguments --------------------------------------------------------------------------------------------------------


def plain(message: Any, depth: int = 0) -> Any:
    """The JSON-like value of a Value's bytes; raises Malformed, or Refusal for one that JSON doesn't have."""
    kind, value = last_field(message)
    if kind == 2:
        return _number(double(value))
    if kind == 3:
        return text(value)
    if kind == 4:
        return bool(value)
    if kind == 1:
        return None
    if isinstance(value, int):
        raise Malformed("a number in the place of a list or an object")
    if depth > _MOST_NESTED:
        raise Refusal("TOO_DEEP", "the value is nested deeper than %d levels" % _MOST_NESTED, limit=str(_MOST_NESTED))
    if kind == 6:
        return _numbers(value) or [plain(item, depth + 1) for number, item in fields(value) if number == 1]
    if kind == 5:
        return plain_map(value, 1, depth + 1)
    raise Refusal("MALFORMED_REQUEST", "an argument is a Value with nothing in it; null is null_value")


def plain_map(message: Any, number: int, depth: int = 0) -> dict[str, Any]:
    """The map of Values in a message's field."""
    return dict(entry(item, depth) for found, item in fields(message) if found == number)


def entry(message: Any, depth: int = 0) -> tuple[str, Any]:
    """The key and the JSON-like value of a map's entry."""
    parts = dict(fields(message))
    return text(parts.get(1, b"")), plain(parts.get(2, b""), depth)


def _number(number: float) -> float | int:
    if number.is_integer() and -_EXACT <= number <= _EXACT:
        return int(number) if number or math.copysign(1, number) > 0 else number  # no int is -0.0
    if not math.isfinite(number):
        raise Refusal("MALFORMED_REQUEST", "a Value can't hold %s; send it as a string" % number)
    return number


def _numbers(items: Any) -> list[Any] | None:
    """The items of a list of nothing but numbers, which all look alike and are taken apart at once."""
    count, rest = divmod(len(items), _ITEM_SIZE)
    if rest or not count:
        return None
    data = bytes(items)
    if any(data[place::_ITEM_SIZE] != _ITEM[place : place + 1] * count for place in range(len(_ITEM))):
        return None
    doubles = bytearray(8 * count)
    for place in range(8):
        doubles[place::8] = data[len(_ITEM) + place :: _ITEM_SIZE]
    return [_number(number) for number in unpacked("d", doubles)]


# --- results ----------------------------------------------------------------------------------------------------------


def encode_value(value: Any, keep: Callable[[Any], Any], max_bytes: int) -> bytes:
    """The Value's bytes of a result; raises Refusal for a larger one."""
    if type(value) is float and math.isfinite(value):
        return b"\x11" + packed_double(value)
    walk = Walk(keep, max_bytes, MAX_DEPTH)
    data = _message(encode(value, 0, walk), walk)
    if len(data) > max_bytes:
        raise too_large(max_bytes)
    return data


def _message(value: Any, walk: Walk) -> bytes:
    kind = type(value)
    if value is None:
        return b"\x08\x00"
    if kind is bool:
        return b"\x20\x01" if value else b"\x20\x00"
    if kind is float:
        return b"\x11" + packed_double(value)
    if kind is int:
        if -_EXACT <= value <= _EXACT or _is_exact(value):
            return b"\x11" + packed_double(value)
        return _message(walk.keep(value), walk)
    if kind is str:
        try:
            return sized(b"\x1a", value.encode())
        except UnicodeEncodeError:  # a lone surrogate
            return _message(walk.keep(value), walk)
    if kind is list:
        return sized(b"\x32", _items(value, walk))
    try:
        return sized(b"\x2a", b"".join([_entry(name, item, walk) for name, item in value.items()]))
    except UnicodeEncodeError:
        return _message(walk.keep(value), walk)


def _entry(name: str, item: Any, walk: Walk) -> bytes:
    return sized(b"\x0a", sized(b"\x0a", name.encode()) + sized(b"\x12", _message(item, walk)))


def _items(items: list[Any], walk: Walk) -> bytes:
    if set(map(type, items)) == {float}:
        data = bytearray(_ITEM_SIZE * len(items))
        doubles = packed("d", items)
        for place in range(len(_ITEM)):
            data[place::_ITEM_SIZE] = _ITEM[place : place + 1] * len(items)
        for place in range(8):
            data[len(_ITEM) + place :: _ITEM_SIZE] = doubles[place::8]
        return bytes(data)
    parts = [_message(item, walk) for item in items]
    return b"".join([part for data in parts for part in (b"\x0a", varint(len(data)), data)])


def _is_exact(number: int) -> bool:
    try:
        return int(float(number)) == number
    except OverflowError:
        return False
