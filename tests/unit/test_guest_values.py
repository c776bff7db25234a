"""The guest's JSON: what values become (contract: JSON values), and what arguments are."""

from __future__ import annotations

import base64
import collections
import datetime
import decimal
import enum
import fractions
import ipaddress
import json
import math
import pathlib
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.loaded_guest import guest


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


@pytest.fixture(autouse=True)
def digits_as_in_the_guest() -> Iterator[None]:
    """The limit that the guest's process sets."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(guest.MAX_DIGITS)
    yield
    sys.set_int_max_str_digits(limit)


def text_of(value: Any) -> str:
    return str(guest.encode_result(value).decode())


def result(value: Any) -> Any:
    document = json.loads(guest.encode_result(value))
    assert list(document) == ["result"]
    return document["result"]


def reason(value: Any) -> str:
    with pytest.raises(guest.Refusal) as caught:
        guest.encode_result(value)
    return str(caught.value.error["reason"])


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
    assert guest.encode_result(["é\ud800"]) == b'{"result":["\\u00e9\\ud800"]}'
    assert result({"\udfff": 1}) == {"\udfff": 1}


class Opaque:
    pass


class Careless:
    """Its comparison raises what sorting doesn't expect."""

    def __init__(self, value: str) -> None:
        self.value = value

    def __lt__(self, other: object) -> bool:
        raise ZeroDivisionError


@dataclass
class Unfinished:
    name: str = field(init=False)


@pytest.mark.parametrize(
    "value",
    [Opaque(), object, len, iter([]), (n for n in range(0)), json, [Opaque()], {"a": Opaque()}, {Opaque(): 1}, Point,
     Order, Unfinished(), {Careless("a"), Careless("b")}],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_has_no_exact_form_is_refused(value: Any) -> None:
    assert reason(value) == "VALUE_NOT_REPRESENTABLE"


def test_cycles_are_refused() -> None:
    inner: list[Any] = []
    inner.append({"a": (inner,)})
    assert reason(inner) == "VALUE_NOT_REPRESENTABLE"
    order = Order("a")
    order.items.append(order)
    assert reason(order) == "VALUE_NOT_REPRESENTABLE"
    own: dict[str, Any] = {}
    own["a"] = own.values()
    assert reason(own) == "VALUE_NOT_REPRESENTABLE"


def test_the_same_value_twice_is_no_cycle() -> None:
    twice = [1]
    assert result([twice, twice, {"a": twice}]) == [[1], [1], {"a": [1]}]


def nested(depth: int, leaf: Any, kind: type) -> Any:
    for _ in range(depth):
        leaf = {"a": leaf} if kind is dict else kind([leaf])
    return leaf


@pytest.mark.parametrize("kind", [list, tuple, dict])
@pytest.mark.parametrize("leaf", [1, 1.5, decimal.Decimal(1)])
def test_nesting_is_taken_up_to_100_levels(kind: type, leaf: Any) -> None:
    result(nested(99, leaf, kind))
    result(nested(100, 1, kind))
    for depth in (102, 150, 5000):
        assert reason(nested(depth, leaf, kind)) == "VALUE_NOT_REPRESENTABLE"


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)


@given(documents)
def test_json_comes_back_as_it_went(document: Any) -> None:
    assert result(document) == document


def escaped(document: Any) -> Any:
    """The document as an argument: an object that reads as one of the escapes is written as the value it is."""
    if isinstance(document, list):
        return [escaped(item) for item in document]
    if not isinstance(document, dict):
        return document
    plain = {name: escaped(item) for name, item in document.items()}
    return {"$value": plain} if {"$bytes", "$value", "obj_id"} & set(document) else plain


names = st.text() | st.sampled_from(["$bytes", "$value", "obj_id"])
arguments = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4), max_leaves=20
)


@given(arguments)
def test_arguments_arrive_as_they_are(argument: Any) -> None:
    body = guest.parse_body(json.dumps({"args": [escaped(argument)]}).encode())
    assert guest._arguments(body, "f") == ("f", [argument], {})


@given(st.binary())
def test_bytes_arrive_exactly(data: bytes) -> None:
    assert guest.decode({"$bytes": base64.b64encode(data).decode()}) == data


@given(st.binary() | st.text().map(str.encode) | st.text(alphabet='[]{}",:0123456789.eE+-ntfalsru \\').map(str.encode))
def test_junk_is_refused_and_nothing_else(data: bytes) -> None:
    refusals = []
    try:
        assert isinstance(guest.parse_body(data), dict)
    except guest.Refusal as refusal:
        refusals.append(refusal.error["reason"])
    assert refusals in ([], ["MALFORMED_REQUEST"], ["TOO_DEEP"])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"\xff{}", "not UTF-8"), (b"{", "not JSON"), (b"[]", "an array"), (b'"a"', "a string"), (b"1", "a number"),
        (b"null", "null"), (b"true", "a boolean"), (b'{"a":NaN}', "NaN"), (b'{"a":-Infinity}', "Infinity"),
        (b'{"a":1,"a":2}', "twice"), (b'{"a":{"b":1,"b":1}}', "twice"), (b"{} {}", "not JSON"),
        ("\ufeff{}".encode(), "not JSON"), (b"{'a':1}", "not JSON"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_object_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(guest.Refusal) as caught:
        guest.parse_body(body)
    assert caught.value.error["reason"] == "MALFORMED_REQUEST"
    assert words in caught.value.error["message"]


@pytest.mark.parametrize("body", [b"", b" \n", b"{}"])
def test_an_empty_body_is_an_empty_object(body: bytes) -> None:
    assert guest.parse_body(body) == {}


def test_numbers_arrive_exactly() -> None:
    body = guest.parse_body(b'{"a":1,"b":1.0,"c":%d,"d":1e400}' % BIG)
    assert body["a"] == 1 and type(body["a"]) is int and type(body["b"]) is float
    assert body["c"] == BIG


def test_deep_bodies_and_arguments_are_refused() -> None:
    for body in (b"[" * 100_000, b'{"a":' * 100_000):
        with pytest.raises(guest.Refusal) as caught:
            guest.parse_body(body)
        assert caught.value.error["reason"] in ("TOO_DEEP", "MALFORMED_REQUEST")
    guest.decode(nested(100, 1, list))
    for kind in (list, dict):
        with pytest.raises(guest.Refusal) as caught:
            guest.decode(nested(101, 1, kind))
        assert caught.value.error == {
            "reason": "TOO_DEEP", "message": "the value is nested deeper than 100 levels", "metadata": {"limit": "100"},
        }  # fmt: skip


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ({"$bytes": ""}, b""), ({"$bytes": "AP8="}, b"\0\xff"), ([{"$bytes": "YQ=="}], [b"a"]),
        ({"$value": {"$bytes": "YQ=="}}, {"$bytes": "YQ=="}), ({"$value": {"$value": {"a": 1}}}, {"$value": {"a": 1}}),
        ({"$value": {"obj_id": "x"}}, {"obj_id": "x"}), ({"$value": {"a": {"$bytes": "YQ=="}}}, {"a": b"a"}),
        ({"$bytes": "YQ==", "a": 1}, {"$bytes": "YQ==", "a": 1}), ({"$value": 1}, {"$value": 1}),
        ({"a": [1, None, True, 1.5, "s"]}, {"a": [1, None, True, 1.5, "s"]}),
    ],
)  # fmt: skip
def test_the_escapes_of_arguments(argument: Any, value: Any) -> None:
    assert guest.decode(argument) == value


@pytest.mark.parametrize("text", ["a", "YQ", "YQ==\n", "Y Q==", "é", 1, None, [], {}])
def test_bytes_that_are_no_base64_are_refused(text: Any) -> None:
    with pytest.raises(guest.Refusal) as caught:
        guest.decode({"$bytes": text})
    assert caught.value.error["reason"] == "MALFORMED_REQUEST"


def test_an_object_as_an_argument_is_told_to_be_missing() -> None:
    with pytest.raises(guest.Refusal) as caught:
        guest.decode([{"obj_id": "x", "type": "a.B", "repr": "", "is_callable": False}])
    assert caught.value.error["reason"] == "NOT_IMPLEMENTED"


@pytest.mark.parametrize(
    ("body", "reason", "field"),
    [
        ({"method": "f", "args": {}}, "MALFORMED_REQUEST", "args"),
        ({"method": "f", "kwargs": []}, "MALFORMED_REQUEST", "kwargs"),
        ({"method": "f", "args": None}, "MALFORMED_REQUEST", "args"), ({"method": 5}, "MALFORMED_REQUEST", "method"),
        ({}, "MALFORMED_REQUEST", "method"), ({"method": "f", "extra": 1}, "UNKNOWN_FIELD", "extra"),
        ({"method": "f", "Args": []}, "UNKNOWN_FIELD", "Args"),
    ],
)  # fmt: skip
def test_calls_of_the_wrong_shape_are_refused(body: Any, reason: str, field: str) -> None:
    with pytest.raises(guest.Refusal) as caught:
        guest._arguments(body, None)
    assert caught.value.error["reason"] == reason
    assert caught.value.error["metadata"]["field"] == field


@pytest.mark.parametrize(
    "value", [range(10**12), [0] * 1000, ["x" * 1000], {str(i): i for i in range(1000)}, "x" * 1001], ids=type
)
def test_an_answer_that_cannot_fit_is_refused_before_it_is_made(value: Any) -> None:
    with pytest.raises(guest.Refusal) as caught:
        guest.encode_result(value, 1000)
    assert caught.value.error["reason"] == "TOO_LARGE"
    assert caught.value.error["metadata"]["limit"] == "1000"


def test_ints_have_a_limit_of_digits_both_ways() -> None:
    digits = "9" * guest.MAX_DIGITS
    assert guest.parse_body(b'{"args":[%s]}' % digits.encode())["args"] == [int(digits)]
    assert result(int(digits)) == int(digits)
    with pytest.raises(guest.Refusal) as caught:
        guest.parse_body(b'{"args":[%s9]}' % digits.encode())
    assert caught.value.error["reason"] == "TOO_LARGE"
    assert reason(10**guest.MAX_DIGITS) == "TOO_LARGE"


def test_a_number_that_no_float_holds_is_no_argument() -> None:
    with pytest.raises(guest.Refusal, match="larger than a float"):
        guest.decode(guest.parse_body(b'{"args":[[1e400]]}')["args"])
