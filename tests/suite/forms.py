"""What a Python value must look like to a caller, by the contract's rules and none of the product's code.

`as_json` gives a value as REST shows it, `as_value` as `google.protobuf.Value` does, and `same` tells whether a
connection has brought the very value.
"""

from __future__ import annotations

import array
import base64
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import ipaddress
import json
import math
import pathlib
import re
import struct
import sys
import time
import types
import uuid
import zoneinfo
from collections.abc import Mapping
from typing import Any

from jac_orc.client.messages import Remote
from jac_orc.guest.python_value_records import Record

_TEXTS = (
    decimal.Decimal, fractions.Fraction, uuid.UUID, pathlib.PurePath, ipaddress.IPv4Address, ipaddress.IPv6Address,
    ipaddress.IPv4Network, ipaddress.IPv6Network, zoneinfo.ZoneInfo,
)  # fmt: skip
_ARRAYS: Any = (
    list, tuple, range, collections.deque, collections.UserList, type({}.keys()), type({}.values()), type({}.items()),
)  # fmt: skip
_ADDRESS = re.compile(r"(?<=0x)[0-9a-fA-F]{6,}")
_MOST_SHOWN = 1024


@dataclasses.dataclass(frozen=True)
class Reference:
    """An object as an answer tells it; addresses in its repr are left out."""

    type: str
    repr: str
    is_callable: bool


def reference(value: Any) -> Reference:
    """How an object must be told."""
    shown = repr(value)
    shown = shown if len(shown) <= _MOST_SHOWN else f"{shown[: _MOST_SHOWN - 1]}…"
    return Reference(_name(type(value)), without_addresses(shown), callable(value))


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def without_addresses(shown: str) -> str:
    return _ADDRESS.sub("…", shown)


# --- JSON -------------------------------------------------------------------------------------------------------------


def as_json(value: Any) -> Any:
    """The value as JSON, with a Reference for each object."""
    for convert in (_scalar_as_json, _numpy_as_json, _container_as_json):
        found = convert(value)
        if found is not None:
            return found[0]
    return reference(value)


def _scalar_as_json(value: Any) -> tuple[Any] | None:
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, (numpy.generic, numpy.ndarray)):
        return None
    if value is None or isinstance(value, bool):
        return (value,)
    if isinstance(value, enum.Enum):
        return (as_json(value.value),)
    if isinstance(value, float):
        return (_float_as_json(float(value)),)
    if isinstance(value, complex):
        return ([_float_as_json(value.real), _float_as_json(value.imag)],)
    if isinstance(value, (int, str)):
        return (int(value) if isinstance(value, int) else str.__str__(value),)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return (base64.b64encode(value).decode(),)
    if isinstance(value, (datetime.date, datetime.time)):
        return (value.isoformat(),)
    if isinstance(value, datetime.timedelta) and not getattr(value, "nanoseconds", 0):
        seconds = decimal.Decimal(value // datetime.timedelta(microseconds=1)).scaleb(-6)
        return (f"{seconds.normalize():f}s",)
    if isinstance(value, array.array) and value.typecode in "uw":
        return (value.tounicode(),)
    if isinstance(value, getattr(sys.modules.get("pandas"), "Period", ())):
        return (str(value),)
    return (str(value),) if isinstance(value, _TEXTS) else None


def _float_as_json(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _numpy_as_json(value: Any) -> tuple[Any] | None:
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, (numpy.generic, numpy.ndarray)):
        return None
    if isinstance(value, numpy.ma.MaskedArray):
        return (None if value is numpy.ma.masked else reference(value),)
    if value.dtype.kind == "M":
        return (_dates_as_json(value),)
    if value.dtype.kind == "m" and numpy.datetime_data(value.dtype)[0] in "YM":
        return (reference(value),)
    return (_items_as_json(numpy.asarray(value)),)


def _items_as_json(value: Any) -> Any:
    if value.dtype.kind in "biuUSO":
        return as_json(value.tolist())
    if value.shape:
        return [_items_as_json(item) for item in value]
    item = value[()]
    kind, size = item.dtype.kind, item.dtype.itemsize
    if kind == "m":
        return _duration_as_json(item)
    if item.dtype.names is not None:
        return {name: as_json(item[name]) for name in item.dtype.names}
    if kind == "c" and size > 16:
        return [_items_as_json(item.real), _items_as_json(item.imag)]
    if kind == "f" and size > 8 and float(item) != item and not math.isnan(item):
        return str(item)
    return as_json(item.tobytes() if kind == "V" else float(item) if kind == "f" else item.item())


def _dates_as_json(value: Any) -> Any:
    """As Python's own dates and times, or else all of them as NumPy writes them."""
    items, numpy = value.tolist(), sys.modules["numpy"]
    own = numpy.ravel(numpy.array(items, dtype=object))
    is_own = all(isinstance(item, datetime.date) for item in own)
    return as_json(items if is_own else numpy.datetime_as_string(value).tolist())


def _duration_as_json(value: Any) -> Any:
    numpy = sys.modules["numpy"]
    unit, count = numpy.datetime_data(value.dtype)
    if numpy.isnat(value):
        return "NaT"
    seconds = {"W": "604800", "D": "86400", "h": "3600", "m": "60", "s": "1", "ms": "1e-3", "us": "1e-6", "ns": "1e-9",
               "ps": "1e-12", "fs": "1e-15", "as": "1e-18", "generic": "1"}  # fmt: skip
    with decimal.localcontext(prec=60):
        number = int(value.astype("int64")) * count * decimal.Decimal(seconds[unit])
        if unit == "generic":
            return int(number)
        return f"{number:f}".rstrip("0").rstrip(".") + "s" if number % 1 else f"{int(number)}s"


def _container_as_json(value: Any) -> tuple[Any] | None:
    items: Any = value
    if isinstance(value, array.array):
        items = value.tolist()
    if isinstance(value, (dict, types.MappingProxyType, collections.UserDict)):
        return (_dict_as_json(value),)
    if isinstance(value, types.SimpleNamespace):
        return (_dict_as_json(vars(value)),)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        names: Any = value._fields
        return ({name: as_json(getattr(value, name)) for name in names},)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return ({one.name: as_json(getattr(value, one.name)) for one in dataclasses.fields(value)},)
    if isinstance(value, (set, frozenset)):
        try:
            items = sorted(value)
        except TypeError:
            items = list(value)
    if isinstance(items, _ARRAYS):
        return ([as_json(item) for item in items],)
    return None


def _dict_as_json(value: Mapping[Any, Any]) -> Any:
    keys = []
    for key in value:
        if isinstance(key, (str, int, float, type(None))) and not (isinstance(key, float) and not math.isfinite(key)):
            keys.append(next(iter(json.loads(json.dumps({key: 0})))))
    if len(set(keys)) < len(value):
        return [[as_json(key), as_json(item)] for key, item in value.items()]
    return dict(zip(keys, map(as_json, value.values()), strict=True))


def read_json(answer: Any) -> Any:
    """A JSON answer with a Reference for each object."""
    if isinstance(answer, dict):
        if answer.keys() == {"obj_id", "type", "repr", "is_callable"}:
            assert isinstance(answer["obj_id"], str) and answer["obj_id"], answer
            return Reference(answer["type"], without_addresses(answer["repr"]), answer["is_callable"])
        return {name: read_json(item) for name, item in answer.items()}
    return [read_json(item) for item in answer] if isinstance(answer, list) else answer


def as_value(plain: Any) -> Any:
    """What `as_json` gives, as a Value holds it: numbers are doubles, and one that no double holds is an object."""
    if isinstance(plain, dict):
        return {name: as_value(item) for name, item in plain.items()}
    if isinstance(plain, list):
        return [as_value(item) for item in plain]
    if isinstance(plain, int) and not isinstance(plain, bool):
        try:
            exact = int(float(plain)) == plain
        except OverflowError:
            exact = False
        return float(plain) if exact else reference(plain)
    return plain


def equal(expected: Any, got: Any, *, ordered: bool) -> bool:
    """Whether two of these are the same, ints no floats, and names in the same order if that counts."""
    if type(expected) is not type(got):
        return False
    if isinstance(expected, dict):
        names = list(expected) == list(got) if ordered else expected.keys() == got.keys()
        return names and all(equal(item, got[name], ordered=ordered) for name, item in expected.items())
    if isinstance(expected, list):
        pairs = zip(expected, got, strict=False)
        return len(expected) == len(got) and all(equal(*pair, ordered=ordered) for pair in pairs)
    return bool(repr(expected) == repr(got))


# --- Python's own values ----------------------------------------------------------------------------------------------

_VALUES: tuple[type, ...] = (
    type(None), bool, int, float, complex, str, bytes, bytearray, memoryview, list, tuple, set, frozenset, dict, range,
    slice, collections.deque, collections.Counter, collections.OrderedDict, datetime.date, datetime.time,
    datetime.datetime, datetime.timedelta, decimal.Decimal, fractions.Fraction, uuid.UUID, pathlib.PosixPath,
    ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Network, time.struct_time,
)  # fmt: skip


def same(expected: Any, got: Any) -> bool:
    """Whether a connection has brought that very value, to the type and the bit.

    What they don't carry must come as an object, told as REST tells it.
    """
    if isinstance(got, Remote):
        told = reference(expected)
        shown = without_addresses(repr(got)) == f"<remote {told.type}: {told.repr}>"
        return not _is_carried(expected) and shown and got.is_callable == told.is_callable
    if _is_number(expected) and _is_number(got):
        return bool(expected.dtype == got.dtype) and _raw(expected) == _raw(got)
    if type(expected) is not type(got):
        return isinstance(got, Record) and _is_record(expected, got)
    if isinstance(expected, type):
        return expected is got
    if isinstance(expected, memoryview):
        return (expected.format, expected.shape, bytes(expected)) == (got.format, got.shape, bytes(got))
    if isinstance(expected, (list, tuple, collections.deque)):
        return len(expected) == len(got) and all(map(same, expected, got))
    if isinstance(expected, dict):
        return same(list(expected.items()), list(got.items()))
    if isinstance(expected, (set, frozenset)):
        return same(sorted(expected, key=repr), sorted(got, key=repr))
    if type(expected) in (float, complex):
        return _bits(expected) == _bits(got)
    if dataclasses.is_dataclass(expected) and not isinstance(expected, type):
        names = [one.name for one in dataclasses.fields(expected)]
        return all(same(getattr(expected, name), getattr(got, name)) for name in names)
    return repr(expected) == repr(got)


def _is_record(expected: Any, got: Record) -> bool:
    """Whether the fields are there of a named tuple whose class is not to be found by its name."""
    kind = type(expected)
    found = getattr(sys.modules.get(kind.__module__), kind.__name__, None) is kind
    return not found and repr(got).startswith(_name(kind)) and same(expected._asdict(), vars(got))


def _is_number(value: Any) -> bool:
    """Whether it is a plain array of NumPy's, or a scalar; of two classes of the same dtype each may be the other."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and (type(value) in (numpy.ndarray, numpy.memmap) or isinstance(value, numpy.generic))


def _raw(numbers: Any) -> tuple[str, Any, Any]:
    """Its kind, its shape and its bytes; of numbers that have unused bytes, the text."""
    kind = "scalar" if isinstance(numbers, sys.modules["numpy"].generic) else "array"
    return kind, numbers.shape, repr(numbers.tolist()) if numbers.dtype.char in "gG" else numbers.tobytes()


def _is_carried(value: Any) -> bool:
    """Whether connections must carry the value itself."""
    if _is_number(value):
        return value.dtype.kind not in "OV"
    if isinstance(value, array.array):
        return value.typecode != "u"
    return type(value) in _VALUES


def _bits(number: float | complex) -> bytes:
    parts = (number.real, number.imag)
    return struct.pack("dd", *(abs(part) if math.isnan(part) else part for part in parts))


# --- random results ---------------------------------------------------------------------------------------------------


def shape(value: Any) -> Any:
    """What stays the same in a random value: kinds, sizes of containers, and what is no digit or letter in a text."""
    if isinstance(value, (list, tuple)):
        return [shape(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"[0-9A-Za-z_+/=-]+", "x", value)
    return (type(value).__name__, len(value) if hasattr(value, "__len__") else 0)
