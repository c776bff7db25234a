"""Values as JSON in the guest (contract: JSON values): what results become."""

from __future__ import annotations

import array
import base64
import collections
import datetime
import decimal
import enum
import fractions
import ipaddress
import itertools
import json
import math
import pathlib
import types
import uuid
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypedDict

import pytest
from hypothesis import given

from jac_orc.guest.json_values import MAX_DIGITS, encode_result
from tests.unit.guest_parts import Shelf, documents, nested, refusal

pytestmark = pytest.mark.usefixtures("digits_as_in_the_guest")
MOST = 64 * 1024 * 1024


class Point(NamedTuple):
    x: int
    y: Any


@dataclass
class Order:
    name: str
    items: list[Any] = field(default_factory=list)


class Film(TypedDict):
    title: str


class Colour(enum.Enum):
    RED = "r"
    ALL = (1, 2)


class Level(enum.IntEnum):
    LOW = 1


class Mode(enum.Flag):
    A = 1
    B = 2


class Word(str):
    def __str__(self) -> str:
        return "a lie"


class Number(int):
    def __str__(self) -> str:
        return "a lie"


class Measure(float):
    def __repr__(self) -> str:
        return "a lie"


class Bag(list[Any]):
    pass


def text_of(value: Any) -> str:
    return encode_result(value, Shelf().keep, MOST).decode()


def result(value: Any, shelf: Shelf | None = None) -> Any:
    document = json.loads(encode_result(value, (shelf or Shelf()).keep, MOST))
    assert list(document) == ["result"]
    return document["result"]


def reference(number: int) -> dict[str, Any]:
    return {"obj_id": f"shelf-{number}", "type": "a.B", "repr": "…", "is_callable": False}


BIG = 10**5000 + 7
VALUES: list[tuple[Any, Any]] = [
    (None, None), (True, True), ("é\n\0", "é\n\0"), (0, 0), (-5, -5), (2**64 + 1, 2**64 + 1), (BIG, BIG),
    (1.5, 1.5), (0.1, 0.1), (1e300, 1e300), (5e-324, 5e-324),
    (math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity"),
    ([math.nan, [math.inf]], ["NaN", ["Infinity"]]),
    ([1, [2.5, "a"]], [1, [2.5, "a"]]), ((1, (2,)), [1, [2]]), ([], []), ((), []), ({}, {}),
    ({3, 1, 2}, [1, 2, 3]), (frozenset("ba"), ["a", "b"]), (set(), []),
    ({"b": 1, "a": 2}.keys(), ["b", "a"]), ({"b": 1}.values(), [1]), ({"b": 1}.items(), [["b", 1]]),
    (collections.OrderedDict(b=1).keys(), ["b"]), (range(3), [0, 1, 2]), (collections.deque([1, 2], 5), [1, 2]),
    ({"b": 1, "a": [2]}, {"b": 1, "a": [2]}),
    ({None: 1, False: 2, 1.5: 3, -7: 4}, {"null": 1, "false": 2, "1.5": 3, "-7": 4}),
    ({1: "int", "1": "str"}, [[1, "int"], ["1", "str"]]), ({"null": 1, None: 2}, [["null", 1], [None, 2]]),
    ({(1, 2): "a"}, [[[1, 2], "a"]]), ({b"k": 1}, [["aw==", 1]]), ({10**100: 1}, {str(10**100): 1}),
    ({Colour.RED: 1}, [["r", 1]]), ({uuid.UUID(int=1): 2}, [["00000000-0000-0000-0000-000000000001", 2]]),
    (Point(1, [2]), {"x": 1, "y": [2]}), (Order("a", [Point(1, 2)]), {"name": "a", "items": [{"x": 1, "y": 2}]}),
    (Film(title="M"), {"title": "M"}), (collections.Counter("aab"), {"a": 2, "b": 1}),
    (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}), (collections.defaultdict(list, a=[1]), {"a": [1]}),
    (b"\0\xff", "AP8="), (bytearray(b"a"), "YQ=="), (memoryview(b"abcd"), "YWJjZA=="), (b"", ""),
    (memoryview(b"abcd")[::2], base64.b64encode(b"ac").decode()),
    (datetime.date(2024, 2, 29), "2024-02-29"), (datetime.time(1, 2, 3, 4), "01:02:03.000004"),
    (datetime.datetime(2024, 1, 2, 3, tzinfo=datetime.UTC), "2024-01-02T03:00:00+00:00"),
    (datetime.timedelta(seconds=3.5), "3.5s"), (datetime.timedelta(0), "0s"), (datetime.timedelta(days=1), "86400s"),
    (datetime.timedelta(microseconds=-1), "-0.000001s"), (datetime.timedelta.max, "86399999999999.999999s"),
    (decimal.Decimal("1.10"), "1.10"), (decimal.Decimal("NaN"), "NaN"), (fractions.Fraction(1, 3), "1/3"),
    (uuid.UUID(int=0), "00000000-0000-0000-0000-000000000000"), (pathlib.PurePosixPath("/a/b"), "/a/b"),
    (pathlib.Path("a"), "a"), (pathlib.PureWindowsPath("a\\b"), "a\\b"),
    (ipaddress.ip_address("::1"), "::1"), (ipaddress.ip_network("10.0.0.0/8"), "10.0.0.0/8"),
    (ipaddress.ip_interface("10.0.0.1/8"), "10.0.0.1/8"),
    (Colour.RED, "r"), (Colour.ALL, [1, 2]), (Level.LOW, 1), (Mode.A | Mode.B, 3),
    (1 + 2j, [1.0, 2.0]), (complex(math.nan, -math.inf), ["NaN", "-Infinity"]),
    (Word("é"), "é"), (Number(7), 7), (Measure(1.5), 1.5), (Measure("nan"), "NaN"), (Bag([1]), [1]),
    ([Word("a"), Number(1)], ["a", 1]), ({Word("k"): 1}, {"k": 1}), ({Number(5): 1}, {"5": 1}),
    ({Measure(1.5): 1}, {"1.5": 1}), ({math.inf: 1, math.nan: 2}, [["Infinity", 1], ["NaN", 2]]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), VALUES, ids=lambda value: str(type(value).__name__))
def test_a_value_becomes_its_json(value: Any, expected: Any) -> None:
    got = result(value)
    assert got == expected and type(got) is type(expected)
    if isinstance(expected, dict):
        assert list(got) == list(expected), "the order is kept"


def test_types_are_kept_within_containers() -> None:
    assert text_of([True, 1, 1.0, -0.0, "1", None]) == '{"result":[true,1,1.0,-0.0,"1",null]}'


def test_a_set_that_has_no_order_is_an_array_all_the_same() -> None:
    assert sorted(result({1, "a"}), key=str) == [1, "a"]


def test_a_lone_surrogate_is_escaped() -> None:
    assert encode_result(["é\ud800"], Shelf().keep, MOST) == b'{"result":["\\u00e9\\ud800"]}'
    assert result({"\udfff": 1}) == {"\udfff": 1}
    assert result("\ud800") == "\ud800"


@given(documents)
def test_json_comes_back_as_it_went(document: Any) -> None:
    assert result(document) == document


# --- what becomes an object -------------------------------------------------------------------------------------------


class Opaque:
    pass


class Careless:
    """Its comparison raises what sorting doesn't expect."""

    def __lt__(self, other: object) -> bool:
        raise ZeroDivisionError


@dataclass
class Unfinished:
    name: str = field(init=False)


class Masked:
    """Says that it is something else, and fails."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise ZeroDivisionError


class Vanishing(list[Any]):
    def __len__(self) -> int:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "value",
    [Opaque(), object, len, iter([]), (n for n in range(0)), json, Point, Order, Unfinished(), Vanishing([1]), decimal,
     lambda: 1],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_has_no_exact_form_becomes_an_object(value: Any) -> None:
    shelf = Shelf()
    assert result(value, shelf) == reference(0)
    assert len(shelf.kept) == 1 and shelf.kept[0] is value


def test_a_value_whose_own_code_fails_becomes_an_object() -> None:
    shelf, masked = Shelf(), Masked()
    assert result([masked, 1], shelf) == [reference(0), 1]
    assert shelf.kept[0] is masked


def test_objects_stand_within_other_values() -> None:
    first, second, shelf = Opaque(), Opaque(), Shelf()
    got = result([1, first, {"a": (second, 2.5)}, {first: 1}, Point(3, second), {"k": first}], shelf)
    assert got == [
        1, reference(0), {"a": [reference(1), 2.5]}, [[reference(2), 1]], {"x": 3, "y": reference(3)},
        {"k": reference(4)},
    ]  # fmt: skip
    assert shelf.kept == [first, second, first, second, first]


def test_a_set_that_cannot_be_sorted_is_an_array_of_objects() -> None:
    assert len(result({Careless(), Careless()})) == 2


def test_cycles_become_objects_where_they_close() -> None:
    inner: list[Any] = [1]
    inner.append({"a": (inner,)})
    shelf = Shelf()
    assert result(inner, shelf) == [1, {"a": [reference(0)]}]
    assert shelf.kept[0] is inner
    order = Order("a")
    order.items.append(order)
    assert result(order) == {"name": "a", "items": [reference(0)]}
    own: dict[str, Any] = {}
    own["a"] = own.values()
    assert result(own) == {"a": [reference(0)]}


def test_the_same_value_twice_is_no_cycle() -> None:
    twice = [1]
    assert result([twice, twice, {"a": twice}]) == [[1], [1], {"a": [1]}]


@pytest.mark.parametrize("kind", [list, tuple, dict])
@pytest.mark.parametrize("leaf", [1, 1.5, decimal.Decimal(1)])
def test_nesting_is_taken_up_to_100_levels(kind: type, leaf: Any) -> None:
    for depth in (1, 99, 100):
        shelf = Shelf()
        result(nested(depth, leaf, kind), shelf)
        assert shelf.kept == [] or (depth == 100 and type(leaf) is decimal.Decimal)
    for depth in (102, 150, 5000):
        shelf = Shelf()
        got = result(nested(depth, leaf, kind), shelf)
        for _ in range(100):
            got = got["a"] if kind is dict else got[0]
        assert got == reference(0) and len(shelf.kept) == 1


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [range(10**12), [0] * 1000, ["x" * 1000], {str(i): i for i in range(1000)}, "x" * 1001, b"x" * 1000,
     {1: "x" * 1000}, [["xx"] * 100] * 10, "é" * 600, ["é" * 600], "\ud800" * 400],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_an_answer_that_does_not_fit_is_refused(value: Any) -> None:
    error = refusal(encode_result, value, Shelf().keep, 1000)
    assert error["reason"] == "TOO_LARGE" and error["metadata"]["limit"] == "1000"


@pytest.mark.parametrize("value", ["x" * 987, ["x" * 985], 10**986])
def test_an_answer_that_just_fits_is_given(value: Any) -> None:
    assert len(encode_result(value, Shelf().keep, 1000)) == 1000 - (0 if isinstance(value, (str, list)) else 2)


def test_ints_have_a_limit_of_digits() -> None:
    assert result(10**MAX_DIGITS - 1) == 10**MAX_DIGITS - 1
    more = 10 ** (2 * MAX_DIGITS)  # from Python 3.12 on, a few digits more pass
    for value in (more, [more], {"a": -more}):
        error = refusal(encode_result, value, Shelf().keep, MOST)
        assert (error["reason"], error["metadata"]["limit"]) == ("TOO_LARGE", str(MAX_DIGITS))


def test_what_is_like_a_container_is_one() -> None:
    class Finer(datetime.timedelta):
        nanoseconds = 0

        def __eq__(self, other: object) -> bool:
            return not self.nanoseconds and datetime.timedelta.__eq__(self, other)

        __hash__ = datetime.timedelta.__hash__

    finer = Finer(seconds=1)
    finer.nanoseconds = 1
    for value, form in (
        (types.MappingProxyType({"a": (1,)}), {"a": [1]}), (collections.UserDict(a=1), {"a": 1}),
        (collections.UserList([1, {2}]), [1, [2]]),
        (types.SimpleNamespace(a=[None]), {"a": [None]}),
        (Finer(seconds=1.5), "1.5s"),
    ):  # fmt: skip
        assert result(value) == form
    assert "obj_id" in result(finer)


class Endless(list[Any]):
    """Says that it has three items, and gives more."""

    def __iter__(self) -> Iterator[Any]:
        return itertools.repeat(1)


class EndlessDict(dict[Any, Any]):
    def items(self) -> Any:
        return itertools.repeat((1, 2))


class EndlessSet(set[Any]):
    def __iter__(self) -> Iterator[Any]:
        return itertools.repeat(1)


@pytest.mark.parametrize("value", [Endless([1, 2, 3]), EndlessDict(a=1), EndlessSet({1})], ids=["list", "dict", "set"])
def test_items_without_end_make_an_object(value: Any) -> None:
    assert result([value]) == [reference(0)]


def test_arrays_and_zones_of_the_standard_library() -> None:
    assert result([array.array("d", [1, math.nan]), array.array("u", "aé"), zoneinfo.ZoneInfo("Europe/Berlin")]) == [
        [1.0, "NaN"], "aé", "Europe/Berlin",
    ]  # fmt: skip
