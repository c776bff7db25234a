"""google.protobuf.Value to the guest's JSON and back: exact, or refused."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from google.protobuf import json_format, struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from jac_orc.errors import InvalidArgumentError, UnimplementedError
from jac_orc.module_server.codecs import value

exact_ints = st.integers(min_value=-(2**53), max_value=2**53)
scalars = st.none() | st.booleans() | exact_ints | st.floats(allow_nan=False, allow_infinity=False) | st.text()
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=10
)


def message(plain: Any) -> struct_pb2.Value:
    return json_format.ParseDict(plain, struct_pb2.Value())


def answer(plain: Any) -> struct_pb2.Value:
    return value.result(json.dumps({"result": plain}).encode())


@given(documents)
def test_a_document_comes_back_as_it_went(document: Any) -> None:
    sent = answer(document)
    body = json.loads(value.body([sent], {"a": sent}))
    assert body == {"args": [document], "kwargs": {"a": document}}


def test_a_number_without_a_fraction_is_an_int_to_python() -> None:
    numbers = [9, 9.5, -0.0, 2.0**53, 2.0**60, 1e300, -3]
    got = json.loads(value.body([message(number) for number in numbers], {}))["args"]
    assert [type(number) for number in got] == [int, float, int, int, float, float, int]
    assert got == numbers


@pytest.mark.parametrize("number", [2**53, -(2**53), 2**53 + 2, 2**60, 10**22, 0])
def test_an_int_that_a_double_holds_is_answered(number: int) -> None:
    assert int(answer(number).number_value) == number


@pytest.mark.parametrize("digits", [str(2**53 + 1), str(-(2**53) - 1), str(10**23), "1" + "0" * 400, "1" + "0" * 6000])
def test_an_int_that_a_double_does_not_hold_is_refused(digits: str) -> None:
    with pytest.raises(UnimplementedError) as caught:
        value.result(b'{"result":[%s]}' % digits.encode())
    assert caught.value.reason == "VALUE_NOT_REPRESENTABLE"


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_are_refused(number: float) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        value.body([struct_pb2.Value(number_value=number)], {})
    assert caught.value.reason == "MALFORMED_REQUEST"


def test_a_value_with_nothing_in_it_is_refused() -> None:
    for empty in ({"args": [struct_pb2.Value()]}, {"kwargs": {"a": struct_pb2.Value()}}):
        with pytest.raises(InvalidArgumentError, match="null_value"):
            value.body(empty.get("args", []), empty.get("kwargs", {}))  # type: ignore[arg-type]


def test_deep_results_are_refused_and_others_survive_the_wire() -> None:
    document: Any = 1
    for _ in range(30):
        document = [document]
    assert struct_pb2.Value.FromString(answer(document).SerializeToString()) == answer(document)
    for deep in ([document], [[document]]):
        with pytest.raises(UnimplementedError) as caught:
            answer(deep)
        assert caught.value.reason == "VALUE_NOT_REPRESENTABLE"


def test_lone_surrogates_are_refused() -> None:
    for document in ("\ud800", ["\ud800"], {"\ud800": 1}):
        with pytest.raises(UnimplementedError, match="surrogate"):
            answer(document)


def test_empty_containers_stay_containers() -> None:
    assert answer([]).WhichOneof("kind") == "list_value"
    assert answer({}).WhichOneof("kind") == "struct_value"
    assert answer(None).WhichOneof("kind") == "null_value"
