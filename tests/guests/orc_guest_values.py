"""One function per kind of value."""

import builtins
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import ipaddress
import pathlib
import uuid
from typing import Any, NamedTuple


class Colour(enum.Enum):
    """An Enum."""

    RED = "red"


@dataclasses.dataclass
class Point:
    """A dataclass."""

    y: int
    x: int


class Pair(NamedTuple):
    """A named tuple."""

    second: int
    first: int


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def _cycle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


_VALUES: dict[str, Any] = {
    "none": None,
    "big": 2**100 + 1,
    "floats": [0.1, float("nan"), float("inf"), float("-inf")],
    "text": "naïve \U0001f40d \u2028",
    "tuple": (1, (2,)),
    "set": {3, 1, 2},
    "range": range(3),
    "deque": collections.deque([1, 2]),
    "views": [{"a": 1}.keys(), {"a": 1}.values()],
    "keys": {2: "int", None: "none", True: "bool", 0.5: "float"},
    "pairs": {(1, 2): "tuple"},
    "twins": {1: "int", "1": "str"},
    "dataclass": Point(2, 1),
    "named": Pair(2, 1),
    "counter": collections.Counter("aab"),
    "ordered": collections.OrderedDict([("z", 1), ("a", 2)]),
    "bytes": [b"\x00\xff", bytearray(b"ab"), memoryview(b"cd")],
    "dates": [
        datetime.date(2026, 1, 2),
        datetime.time(3, 4),
        datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=datetime.timezone.utc),
        datetime.timedelta(seconds=3.5),
    ],
    "texts": [
        decimal.Decimal("1.10"),
        fractions.Fraction(1, 3),
        uuid.UUID(int=1),
        pathlib.PurePosixPath("/a/b"),
        ipaddress.ip_address("127.0.0.1"),
    ],
    "enum": Colour.RED,
    "complex": 1 + 2j,
    "deepest": _nested(100),
    "too_deep": _nested(101),
    "cycle": _cycle(),
    "function": _nested,
    "iterator": iter([]),
}


def value(name: str) -> Any:
    """The value of that name."""
    return _VALUES[name]


def seen(argument: Any) -> str:
    """How Python sees the argument."""
    return repr(argument)


def raising(kind: str) -> None:
    """Raises that built-in exception."""
    raise getattr(builtins, kind)("for a reason")


def record(first: int, *, second: int = 2) -> list[int]:
    """Has a parameter that only takes a name."""
    return [first, second]
