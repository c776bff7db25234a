"""The suite's own rules: the forms that the contract names, and that what differs is told apart."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import ipaddress
import math
import pathlib
import uuid
from typing import Any

import pytest

from tests.suite import forms
from tests.suite.tables import Entry, Table, read


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    y: int
    x: int


Named = collections.namedtuple("Named", "second first")

FORMS: list[tuple[Any, Any]] = [
    ([None, True, 2**70, 0.5, "é"], [None, True, 2**70, 0.5, "é"]),
    ((math.nan, math.inf, -math.inf), ["NaN", "Infinity", "-Infinity"]),
    ([{3, 1}, frozenset("b"), range(2), collections.deque([1]), {"a": 1}.keys()], [[1, 3], ["b"], [0, 1], [1], ["a"]]),
    ({"b": 1, "a": 2}, {"b": 1, "a": 2}),
    ({2: 0, None: 0, True: 0, 0.5: 0}, {"2": 0, "null": 0, "true": 0, "0.5": 0}),
    ({(1, 2): 3}, [[[1, 2], 3]]),
    ({1: "int", "1": "str"}, [[1, "int"], ["1", "str"]]),
    (
        [Point(2, 1), Named(2, 1), collections.Counter("aab")],
        [{"y": 2, "x": 1}, {"second": 2, "first": 1}, {"a": 2, "b": 1}],
    ),
    ([b"\0\xff", bytearray(b"ab"), memoryview(b"cd")], ["AP8=", "YWI=", "Y2Q="]),
    ([datetime.date(2026, 1, 2), datetime.time(3, 4)], ["2026-01-02", "03:04:00"]),
    ([datetime.timedelta(seconds=3.5), datetime.timedelta(days=-1), datetime.timedelta(0)], ["3.5s", "-86400s", "0s"]),
    ([decimal.Decimal("1.10"), fractions.Fraction(1, 3)], ["1.10", "1/3"]),
    ([uuid.UUID(int=1), pathlib.Path("/a")], ["00000000-0000-0000-0000-000000000001", "/a"]),
    (ipaddress.ip_network("10.0.0.0/8"), "10.0.0.0/8"),
    ([Color.RED, 1 + 2j], ["red", [1.0, 2.0]]),
    (object, forms.Reference("builtins.type", "<class 'object'>", True)),
]
DIFFERENT: list[tuple[Any, Any]] = [
    (1, 1.0), (1, True), (0.0, -0.0), ([1], (1,)), ({1}, {2}), ({"a": 1, "b": 2}, {"b": 2, "a": 1}), (b"", bytearray()),
    (decimal.Decimal("1.0"), decimal.Decimal("1.00")), (Named(1, 2), (1, 2)), ([1, {"a": 0.1}], [1, {"a": 0.2}]),
    (range(3), range(4)), (Point(1, 2), Point(1, 3)), (int, float), (datetime.time(1), datetime.time(1, fold=1)),
]  # fmt: skip


@pytest.mark.parametrize(("value", "form"), FORMS)
def test_forms(value: Any, form: Any) -> None:
    assert forms.equal(form, forms.as_json(value), ordered=True)


def test_a_value_has_doubles_only() -> None:
    expected = [1.0, True, 2.0**60, forms.Reference("builtins.int", str(2**60 + 1), False)]
    assert forms.equal(expected, forms.as_value([1, True, 2**60, 2**60 + 1]), ordered=False)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_differs_is_told_apart(one: Any, other: Any) -> None:
    assert forms.same(one, one)
    assert not forms.same(one, other)


@pytest.mark.parametrize(
    ("one", "other"), [(1, 1.0), (1, True), ([1], [2]), ({"a": 1}, {"a": 1, "b": 2}), ("NaN", None)]
)
def test_json_that_differs_is_told_apart(one: Any, other: Any) -> None:
    assert not forms.equal(one, other, ordered=False)


def test_the_order_of_names_counts_in_json() -> None:
    one, other = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    assert forms.equal(one, other, ordered=False)
    assert not forms.equal(one, other, ordered=True)


def test_tables_are_read(tmp_path: Any) -> None:
    file = tmp_path / "some.txt"
    file.write_text(
        "# Some.\n== math ==\nevery .\ndata = [1, 2]\nsqrt(2); prod(data)\nValueError: sqrt(\n  -1)\n"
        "python: isnan(py.nan)\n3.99: random: later(1)\nwithout pow exp: a reason\n\n== cmath ==\nexp(1)\n"
    )
    first, second = read(file)
    texts = [
        Entry("sqrt(2)"),
        Entry("prod(data)"),
        Entry("sqrt( -1)", ("ValueError",)),
        Entry("isnan(py.nan)", ("python",)),
    ]
    assert first == Table(
        "math",
        [*texts, Entry("later(1)", ("3.99", "random"))],
        {"data": "[1, 2]"},
        ["."],
        dict.fromkeys(["pow", "exp"], "a reason"),
    )
    assert first.called() == {"sqrt", "prod"}
    assert [entry.raises for entry in first.entries] == ["", "", "ValueError", "", ""]
    assert (second.module, second.namespaces) == ("cmath", ["."])
