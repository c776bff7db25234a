"""Values of every kind that `PythonValue` has: how to generate them, and when two are the same."""

from __future__ import annotations

import array
import collections
import datetime
import decimal
import enum
import pathlib
import struct
import zoneinfo
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, NamedTuple

from hypothesis import strategies as st

from jac_orc.guest.python_value_decoder import Decoder
from jac_orc.guest.python_value_encoder import Encoder
from jac_orc.guest.python_values import Context


class Point(NamedTuple):
    x: Any
    y: Any = None


@dataclass
class Order:
    name: Any
    items: Any = None


@dataclass(frozen=True)
class Frozen:
    value: Any


@dataclass(slots=True)
class Slotted:
    value: Any


@dataclass(frozen=True, slots=True)
class Both:
    value: Any


class Colour(enum.Enum):
    RED = "r"
    PAIR = (1, (2, "a"))
    NOTHING = None


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    YES = "yes"


class Mode(enum.Flag):
    A = 1
    B = 2


def round_trip(value: Any, context: Context | None = None) -> Any:
    context = context or Context()
    return Decoder(context).decode(Encoder(context).encode(value))


def same(left: Any, right: Any) -> bool:
    """Whether two values can't be told apart, NaNs, signs of zeros and zones included."""
    kind = type(left)
    if kind is not type(right):
        return False
    if kind is float:
        return struct.pack("<d", left) == struct.pack("<d", right)
    if kind is complex:
        return same(left.real, right.real) and same(left.imag, right.imag)
    if kind in (list, tuple, collections.deque) or isinstance(left, tuple):
        limits = getattr(left, "maxlen", None), getattr(right, "maxlen", None)
        return limits[0] == limits[1] and len(left) == len(right) and all(map(same, left, right))
    if kind in (set, frozenset):
        return len(left) == len(right) and all(any(same(one, other) for other in right) for one in left)
    if isinstance(left, dict):
        return same(list(left.items()), list(right.items()))
    if kind in (datetime.datetime, datetime.time):
        return left.isoformat() == right.isoformat() and left.fold == right.fold and _same_zone(left, right)
    if kind in (array.array, memoryview):
        layouts = [getattr(one, "typecode", None) or one.format for one in (left, right)]
        return layouts[0] == layouts[1] and left.tobytes() == right.tobytes()
    if kind is slice:
        return same([left.start, left.stop, left.step], [right.start, right.stop, right.step])
    if isinstance(left, enum.Enum):
        return left is right
    if is_dataclass(left):
        return all(same(getattr(left, field.name), getattr(right, field.name)) for field in fields(left))
    if kind is decimal.Decimal:
        return bool(left.as_tuple() == right.as_tuple())
    return bool(left == right)


def _same_zone(left: Any, right: Any) -> bool:
    zones = left.tzinfo, right.tzinfo
    return zones[0] is zones[1] if isinstance(zones[0], zoneinfo.ZoneInfo) else zones[0] == zones[1]


texts = st.text(max_size=20) | st.text(st.characters(exclude_categories=()), max_size=5) | st.just("\ud800\udfff")
edges = st.sampled_from([0, 2**53, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 255, 256, -128, -129, 10**500])
ints = edges | st.integers() | st.integers(-(2**300), 2**300)
zones = (
    st.none()
    | st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Pacific/Chatham"]).map(zoneinfo.ZoneInfo)
    | st.integers(-86399, 86399).map(lambda seconds: datetime.timezone(datetime.timedelta(seconds=seconds)))
    | st.just(datetime.UTC)
)
folds = st.integers(0, 1)
times = st.builds(lambda time, zone, fold: time.replace(tzinfo=zone, fold=fold), st.times(), zones, folds)
moments = st.builds(
    lambda moment, zone, fold: moment.replace(tzinfo=zone, fold=fold),
    # The zones' offsets reach beyond the first and the last year.
    st.datetimes(datetime.datetime(2, 1, 1), datetime.datetime(9998, 12, 31)), zones, folds,  # noqa: DTZ001
)  # fmt: skip
optional_ints = st.none() | ints

told_by_text = (
    moments
    | times
    | st.dates()
    | st.timedeltas()
    | st.decimals(allow_nan=True).filter(lambda number: not number.is_snan())  # which has no hash
    | st.sampled_from(["-0", "1E+1000", "0E-50", "NaN7", "-Infinity", "1.10"]).map(decimal.Decimal)
    | st.fractions()
    | st.uuids(allow_nil=True)
    | st.ip_addresses()
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9).map(pathlib.PurePosixPath)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9).map(pathlib.PureWindowsPath)
)
plain_keys = (
    st.none()
    | st.booleans()
    | ints
    | st.floats()
    | texts
    | st.binary(max_size=20)
    | st.complex_numbers()
    | told_by_text
)
members = st.sampled_from([*Colour, *Level, *Word, *Mode, Mode.A | Mode.B, Mode(0)])
codes = st.sampled_from("bBhHiIlLqQfd")


@st.composite
def arrays(draw: Any) -> Any:
    code = draw(codes)
    made = array.array(code)
    size = draw(st.integers(0, 5)) * made.itemsize
    made.frombytes(draw(st.binary(min_size=size, max_size=size)))
    return made


view: Any = memoryview
buffers: st.SearchStrategy[Any] = arrays() | arrays().map(view) | st.binary(max_size=20).map(view)


def _keys(inner: Any) -> Any:
    return (
        st.lists(inner, max_size=3).map(tuple)
        | st.frozensets(inner, max_size=3)
        | st.builds(Point, inner, inner)
        | st.builds(Frozen, inner)
        | st.builds(Both, inner)
    )


keys = st.recursive(plain_keys | members, _keys, max_leaves=5)
"""Whatever can be hashed."""
ranges = st.builds(range, ints, ints, ints.filter(bool))
leaves = (
    keys
    | buffers
    | ranges
    | st.binary(max_size=20).map(bytearray)
    | st.sampled_from([..., NotImplemented, int, type(None)])
)


def _containers(inner: Any) -> Any:
    lists = st.lists(inner, max_size=4)
    return (
        lists
        | lists.map(tuple)
        | st.lists(keys, max_size=3).map(set)
        | st.dictionaries(keys, inner, max_size=3)
        | st.dictionaries(keys, inner, max_size=3).map(collections.OrderedDict)
        | st.dictionaries(keys, st.integers(), max_size=3).map(collections.Counter)
        | st.builds(collections.deque, lists, st.none() | st.integers(0, 5))
        | st.builds(slice, inner, inner, inner)
        | st.builds(Point, inner, inner)
        | st.builds(Order, inner, inner)
        | st.builds(Slotted, inner)
    )


flat_lists = (
    st.lists(st.floats(), max_size=6)
    | st.lists(st.integers(-(2**63), 2**63 - 1), max_size=6)
    | st.lists(ints, max_size=6)
    | st.lists(st.booleans() | st.integers(), max_size=6)
)
values = st.recursive(leaves | flat_lists, _containers, max_leaves=8)
"""Values of all kinds."""
