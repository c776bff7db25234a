"""NumPy's scalars and arrays in JSON: the nested lists of what Python has for their items, or of their exact texts."""

from __future__ import annotations

import math
import sys
from typing import Any

from .python_values import NoForm

# How many of a unit of NumPy's are in a second, as a power of ten; and how many seconds are in a larger unit.
_FRACTIONS = {"s": 0, "ms": 3, "us": 6, "ns": 9, "ps": 12, "fs": 15, "as": 18}
_MULTIPLES = {"W": 604800, "D": 86400, "h": 3600, "m": 60}
_PYTHON_UNITS = [(unit, 1) for unit in ("D", "h", "m", "s", "ms", "us")]
"""Units that Python's own dates and times hold exactly."""


def kind_of(value: Any) -> str | None:
    """The kind letter of a NumPy scalar's or array's dtype; None for anything else."""
    numpy = sys.modules.get("numpy")
    classes: Any = (getattr(numpy, "ndarray", ()), getattr(numpy, "generic", ()))
    return str(value.dtype.kind) if isinstance(value, classes) else None


def plain(value: Any) -> Any:
    """Return a scalar, or an array's items in nested lists, exactly; raises NoForm if that is impossible."""
    numpy: Any = sys.modules["numpy"]
    kind, dtype = value.dtype.kind, value.dtype
    if isinstance(value, getattr(sys.modules.get("numpy.ma"), "MaskedArray", ())):
        if value is numpy.ma.masked:
            return None
        raise NoForm  # what is behind the mask would be lost
    value = numpy.asarray(value)  # the rows of a matrix are matrices
    if kind == "M":
        return _dates(value)
    if kind == "m":
        return _each(value, duration)
    if dtype.names is not None:
        return _each(value, lambda item: {name: item[name] for name in dtype.names})
    if kind == "V":
        return _each(value, lambda item: item.tobytes())
    if kind in "fc" and dtype.itemsize > (8 if kind == "f" else 16):
        return _each(value, _long)
    if kind not in "biuSUOfc":
        raise NoForm
    return value.tolist()


def _each(value: Any, form: Any) -> Any:
    if not value.shape:
        return form(value[()])
    return [_each(item, form) for item in value]


def _dates(value: Any) -> Any:
    """In ISO 8601, as Python's own dates and times where they are exact."""
    numpy: Any = sys.modules["numpy"]
    if numpy.datetime_data(value.dtype) in _PYTHON_UNITS and not numpy.isnat(value).any():
        objects = value.astype(object)  # ints where they are beyond Python's years
        if int not in set(map(type, numpy.ravel(objects))):
            return value.tolist()
    return numpy.datetime_as_string(value).tolist()


def duration(value: Any) -> Any:
    """Seconds with as many decimals as needed, exactly; `"NaT"`; a number where there is no unit.

    Raises NoForm for months and years, which no number of seconds is.
    """
    numpy: Any = sys.modules["numpy"]
    unit, count = numpy.datetime_data(value.dtype)
    if numpy.isnat(value):
        return "NaT"
    number = int(value.astype("int64")) * count
    if unit in _MULTIPLES:
        return seconds(number * _MULTIPLES[unit], 0)
    if unit in _FRACTIONS:
        return seconds(number, _FRACTIONS[unit])
    if unit == "generic":
        return number
    raise NoForm


def seconds(number: int, decimals: int) -> str:
    """A number of the given decimal fractions of a second as a text: `"3.5s"`."""
    whole, rest = divmod(abs(number), 10**decimals)
    fraction = ("%0*d" % (decimals, rest)).rstrip("0") if rest else ""
    return "%s%d%ss" % ("-" if number < 0 else "", whole, "." + fraction if fraction else "")


def _long(value: Any) -> Any:
    """A long double as a number where that is exact, else as its text."""
    if value.dtype.kind == "c":
        return [_long(value.real), _long(value.imag)]
    number = float(value)
    return number if number == value or math.isnan(number) else str(value)
