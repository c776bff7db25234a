"""Converters of single values, and what all converters share.

A converter takes a JSON value and gives what an annotation says. Python doesn't enforce annotations, so a value that
JSON and Python share (a string for an `int`) arrives as it is. What JSON can't write (a date, a set of UUIDs) is made
from what stands for it, or refused. A union needs to know which of its types fits: its converters are strict.
"""

from __future__ import annotations

import base64
import functools
import math
import re
import sys
from typing import TYPE_CHECKING, Any

from .json_values import MAX_DIGITS
from .python_values import TEXT_CLASSES, loaded_class

if TYPE_CHECKING:
    from collections.abc import Callable

    Apply = Callable[[Any, "How"], Any]

JSON_TYPES = frozenset((str, int, float, bool, list, dict, type(None)))


class ConversionError(ValueError):
    """An argument that can't be what its parameter is annotated with; says what it must be, or has."""


class Exact:
    """The texts of a body's numbers, for parameters that are exact: a float is known by its identity.

    In place of one that no float can be there is a NaN until an exact parameter takes it; `huge` has those left.
    """

    def __init__(self) -> None:
        self._kept: dict[int, tuple[float, str]] = {}
        self.huge: set[int] = set()

    def read(self, text: str) -> float:
        """Return a number as JSON has it, and keep its text."""
        number = float(text)
        if math.isinf(number):
            number = float("nan")
            self.huge.add(id(number))
        self._kept[id(number)] = number, text  # which keeps it, so that its id stays its own
        return number

    def text(self, number: float) -> str:
        """Return the text of a number, which is exact."""
        self.huge.discard(id(number))
        return self._kept[id(number)][1] if id(number) in self._kept else repr(number)


class How:
    """How values are converted: whether they must fit, and what their numbers were written as."""

    __slots__ = ("exact", "is_strict", "strict")

    def __init__(self, exact: Exact | None, *, is_strict: bool = False) -> None:
        self.exact = exact
        self.is_strict = is_strict
        self.strict: How = self if is_strict else How(exact, is_strict=True)


AS_WRITTEN = How(None)


class Converter:
    """Converts values.

    One that `is_plain` leaves each as it is, though in a union it refuses what doesn't fit; one that `is_exact` needs
    numbers as they were written.
    """

    __slots__ = ("apply", "is_exact", "is_plain")

    def __init__(self, apply: Apply, *, is_plain: bool = False) -> None:
        self.apply = apply
        self.is_plain = is_plain
        self.is_exact = False


ANY = Converter(lambda value, how: value, is_plain=True)


def applied(converter: Converter, value: Any, how: How) -> Any:
    """Return the value converted; what isn't JSON's (an object, bytes) is never touched."""
    return converter.apply(value, how) if type(value) in JSON_TYPES else value


def unfit(value: Any, how: How, what: str) -> Any:
    """Return a value that isn't what the annotation says as it is; raises ConversionError where it must be that."""
    if how.is_strict:
        raise _wrong(value, what)
    return value


def want(value: Any, kinds: Any, what: str) -> Any:
    """Return the value; raises ConversionError if it isn't of these classes."""
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise _wrong(value, what)
    return value


def _wrong(value: Any, what: str) -> ConversionError:
    return ConversionError("must be %s, not %s" % (what, "null" if value is None else type(value).__name__))


# --- what Python and JSON share ---------------------------------------------------------------------------------------


def _plain(kind: Any, what: str) -> Converter:
    return Converter(lambda value, how: value if type(value) is kind else unfit(value, how, what), is_plain=True)


def _float(value: Any, how: How) -> Any:
    if type(value) is float:
        return value
    if type(value) is int:
        return float(value)
    if type(value) is str and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    return unfit(value, how, "a number")


def _int(value: Any, how: How) -> Any:
    if type(value) is int:
        return value
    return int(value) if type(value) is float and value.is_integer() else unfit(value, how, "an integer")


_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
FLOAT, INT = Converter(_float), Converter(_int)


# --- what only Python has ---------------------------------------------------------------------------------------------


def _bytes(value: Any, how: How) -> bytes:
    try:
        return base64.b64decode(want(value, str, "a base64 string"), validate=True)
    except ConversionError:
        raise
    except ValueError as failure:
        raise ConversionError("is not base64: %s" % failure) from None


def _complex(value: Any, how: How) -> Any:
    if isinstance(value, list) and len(value) == 2:
        return complex(*(want(_float(part, how), (int, float), "a number") for part in value))
    return complex(want(value, (int, float), "[real, imaginary] or a number"))


def _datetime(kind: Any, value: Any, how: How) -> Any:
    """From ISO 8601; Pythons before 3.11 don't know its Z."""
    text = want(value, str, "a string in ISO 8601")
    return kind.fromisoformat(text[:-1] + "+00:00" if text[-1:] in "zZ" and len(text) > 10 else text)


def _fractions(text: str, decimals: int) -> int:
    """The fractions of a second in a duration as results have it, of so many decimals."""
    found = re.match(r"(-?)(\d{1,15})(?:\.(\d{1,%d}))?s\Z" % decimals, text)
    if not found:
        raise ConversionError('must be a duration in seconds like "3.5s", with at most %d decimals' % decimals)
    whole = int(found.group(2) + (found.group(3) or "").ljust(decimals, "0"))
    return -whole if found.group(1) else whole


def _duration(kind: Any, value: Any, how: How) -> Any:
    if isinstance(value, str):
        return kind(microseconds=_fractions(value, 6))
    return kind(seconds=want(value, (int, float), "a number of seconds"))


def _fine_duration(kind: Any, value: Any, how: How) -> Any:
    """To a Timedelta of pandas or a timedelta64, which know nanoseconds."""
    if value == "NaT":
        return kind("NaT")
    if isinstance(value, str):
        return kind(_fractions(value, 9), "ns")
    return kind(round(want(value, (int, float), "a number of seconds") * 10**9), "ns")


def _number_text(value: Any, how: How) -> str:
    """The digits of a number as they were written."""
    if type(value) is float and how.exact is not None:
        return how.exact.text(value)
    return str(want(value, (str, int, float), "a number or a string"))


def _decimal(kind: Any, value: Any, how: How) -> Any:
    try:
        return kind(_number_text(value, how))
    except ArithmeticError:
        raise ConversionError("is no decimal number") from None


def _fraction(kind: Any, value: Any, how: How) -> Any:
    text = _number_text(value, how)
    exponent = re.search(r"[eE]([-+]?\d+)", text[:MAX_DIGITS])
    if exponent and (len(exponent.group(1)) > 6 or abs(int(exponent.group(1))) > MAX_DIGITS):
        raise ConversionError("has an exponent beyond %d" % MAX_DIGITS)  # its digits would take forever
    return kind(text)


def _from_text(kind: Any, value: Any, how: How) -> Any:
    return kind(want(value, str, "a string"))


def _from_iso(what: str) -> Callable[[Any, Any, How], Any]:
    return lambda kind, value, how: kind.fromisoformat(want(value, str, what))


def _zone(kind: Any, value: Any, how: How) -> Any:
    import zoneinfo

    return zoneinfo.ZoneInfo(want(value, str, "the name of a time zone"))


def _path(kind: Any, value: Any, how: How) -> Any:
    import pathlib

    return pathlib.Path(want(value, str, "a string"))


def _table(kind: Any, value: Any, how: How) -> Any:
    """A DataFrame from its rows, objects or arrays, or from an object of its columns; a Series from its items."""
    return kind(want(value, (list, dict), "an array or an object"))


def _items(kind: Any, value: Any, how: How) -> Any:
    return kind(want(value, list, "an array"))


BYTES = Converter(_bytes)
SIMPLE: dict[Any, Converter] = {
    str: _plain(str, "a string"),
    bool: _plain(bool, "a boolean"),
    type(None): _plain(type(None), "null"),
    None: _plain(type(None), "null"),
    float: FLOAT,
    int: INT,
    bytes: BYTES,
    bytearray: Converter(lambda value, how: bytearray(_bytes(value, how))),
    memoryview: Converter(lambda value, how: memoryview(_bytes(value, how))),
    complex: Converter(_complex),
}
_LIBRARY: dict[str, Callable[[Any, Any, How], Any]] = {
    **dict.fromkeys((*TEXT_CLASSES, "pathlib.Path", "pathlib.PurePath"), _from_text),
    "decimal.Decimal": _decimal,
    "fractions.Fraction": _fraction,
    "datetime.datetime": _datetime,
    "datetime.date": _from_iso("a date like 2026-01-31"),
    "datetime.time": _from_iso("a time like 10:30:00"),
    "datetime.timedelta": _duration,
    "datetime.tzinfo": _zone,
    "zoneinfo.ZoneInfo": _zone,
    "os.PathLike": _path,
    "re.Pattern": lambda kind, value, how: re.compile(want(value, str, "a regular expression")),
    **dict.fromkeys(
        ("collections.abc.ByteString", "collections.abc.Buffer", "typing_extensions.Buffer"),
        lambda kind, value, how: _bytes(value, how),
    ),
    **dict.fromkeys(("pandas.DataFrame", "pandas.Series", "polars.DataFrame"), _table),
    **dict.fromkeys(("pandas.Index", "polars.Series"), _items),
    **dict.fromkeys(("pandas.Timestamp", "pandas.Period"), _from_text),
    **dict.fromkeys(("pandas.Timedelta", "numpy.timedelta64"), _fine_duration),
}
EXACT_CLASSES = ("decimal.Decimal", "fractions.Fraction")
"""Those that a JSON number is exact for."""


def of_library(hint: Any) -> tuple[str, Converter] | None:
    """Return the name of a class of a library and its converter. Who annotates with a class has loaded its module."""
    for name, convert in _LIBRARY.items():
        if loaded_class(name) is hint:
            return name, Converter(functools.partial(convert, hint))
    numpy: Any = sys.modules.get("numpy")
    if isinstance(hint, type) and issubclass(hint, getattr(numpy, "generic", ())) and hint in numpy.sctypeDict.values():
        return hint.__name__, Converter(functools.partial(_numpy_scalar, hint, numpy.dtype(hint).kind))
    return None


def _numpy_scalar(kind: Any, letter: str, value: Any, how: How) -> Any:
    if letter in "SV":
        return kind(_bytes(value, how))
    if letter in "biufc":
        made = kind(value if type(value) is (bool if letter == "b" else int) else _float(value, how.strict))
        if letter in "biu" and made != value:
            raise ConversionError("must be what a %s can be" % kind.__name__)
        return made
    return kind(want(value, str, "a string"))
