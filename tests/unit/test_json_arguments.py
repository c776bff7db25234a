"""JSON as the guest reads it: bodies, and the arguments in them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jac_orc.guest.failures import Refusal
from jac_orc.guest.json_values import MAX_DIGITS, decode, decode_bytes, encode_result, json_kind, parse_body
from tests.unit.guest_parts import Shelf, documents, nested, refusal, scalars

pytestmark = pytest.mark.usefixtures("digits_as_in_the_guest")
BIG = 10**5000 + 7


def plain(value: Any) -> Any:
    """The argument where there are no objects."""
    return decode(value, Shelf().find)


def escaped(document: Any) -> Any:
    """The document as an argument: an object that reads as one of the escapes is written as the value it is."""
    if isinstance(document, list):
        return [escaped(item) for item in document]
    if not isinstance(document, dict):
        return document
    values = {name: escaped(item) for name, item in document.items()}
    return {"$value": values} if {"$bytes", "$value", "obj_id"} & set(document) else values


names = st.text() | st.sampled_from(["$bytes", "$value", "obj_id", "type"])
arguments = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4), max_leaves=20
)


@given(arguments)
def test_arguments_arrive_as_they_are(argument: Any) -> None:
    body = parse_body(json.dumps({"args": [escaped(argument)]}).encode())
    assert plain(body["args"][0]) == argument


@given(documents)
def test_a_result_can_be_sent_back_as_an_argument(document: Any) -> None:
    sent = parse_body(encode_result(document, Shelf().keep, 10**6))["result"]
    got = plain(escaped(sent))
    assert got == document and type(got) is type(document)


def test_an_answer_with_objects_can_be_sent_back_as_an_argument() -> None:
    shelf, one, two = Shelf(), object(), object()
    answer = parse_body(encode_result([one, {"a": (two, 1.5)}, {two}], shelf.keep, 10**6))["result"]
    got = decode(answer, shelf.find)
    assert got == [one, {"a": [two, 1.5]}, [two]]


@given(st.binary())
def test_bytes_arrive_exactly(data: bytes) -> None:
    assert plain({"$bytes": base64.b64encode(data).decode()}) == data


@given(st.binary() | st.text().map(str.encode) | st.text(alphabet='[]{}",:0123456789.eE+-ntfalsru \\').map(str.encode))
def test_junk_is_refused_and_nothing_else(data: bytes) -> None:
    reasons = []
    try:
        assert isinstance(parse_body(data), dict)
    except Refusal as failure:
        reasons.append(failure.error["reason"])
    assert reasons in ([], ["MALFORMED_REQUEST"], ["TOO_DEEP"])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"\xff{}", "not UTF-8"), (b"{", "not JSON"), (b"[]", "an array"), (b'"a"', "a string"), (b"1", "a number"),
        (b"null", "null"), (b"true", "a boolean"), (b'{"a":NaN}', "NaN"), (b'{"a":-Infinity}', "Infinity"),
        (b'{"a":1,"a":2}', "twice"), (b'{"a":{"b":1,"b":1}}', "twice"), (b"{} {}", "not JSON"),
        ("\ufeff{}".encode(), "not JSON"), (b"{'a':1}", "not JSON"), (b"\0", "not JSON"), (b"{}\0", "not JSON"),
        (b'{"a":"\n"}', "not JSON"), (b'{"a":01}', "not JSON"), (b'{"a":1,}', "not JSON"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_object_is_refused(body: bytes, words: str) -> None:
    for given_ in (body, memoryview(body)):
        error = refusal(parse_body, given_)
        assert error["reason"] == "MALFORMED_REQUEST" and words in error["message"]


@pytest.mark.parametrize("body", [b"", b" \n", b"{}", memoryview(b"")])
def test_an_empty_body_is_an_empty_object(body: Any) -> None:
    assert parse_body(body) == {}


def test_numbers_arrive_exactly() -> None:
    body = parse_body(b'{"a":1,"b":1.0,"c":%d,"d":1e400}' % BIG)
    assert body["a"] == 1 and type(body["a"]) is int and type(body["b"]) is float
    assert body["c"] == BIG


@pytest.mark.parametrize(
    "argument", [1e400, -1e400, [1e400], [1, -1e400], ["a", {"b": 1e400}], {"$value": {"a": 1e400}}]
)
def test_a_number_that_no_float_holds_is_no_argument(argument: Any) -> None:
    assert "larger than a float" in refusal(plain, argument)["message"]


def test_ints_have_a_limit_of_digits() -> None:
    digits = "9" * MAX_DIGITS
    assert parse_body(b'{"args":[%s]}' % digits.encode())["args"] == [int(digits)]
    error = refusal(parse_body, b'{"args":[%s9]}' % digits.encode())
    assert (error["reason"], error["metadata"]) == ("TOO_LARGE", {"limit": str(MAX_DIGITS)})


def test_deep_bodies_and_arguments_are_refused() -> None:
    for body in (b"[" * 100_000, b'{"a":' * 100_000):
        assert refusal(parse_body, body)["reason"] in ("TOO_DEEP", "MALFORMED_REQUEST")
    plain(nested(100, 1, list))
    for kind in (list, dict):
        assert refusal(plain, nested(101, 1, kind)) == {
            "reason": "TOO_DEEP", "message": "the value is nested deeper than 100 levels", "metadata": {"limit": "100"},
        }  # fmt: skip


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ({"$bytes": ""}, b""), ({"$bytes": "AP8="}, b"\0\xff"), ([{"$bytes": "YQ=="}], [b"a"]),
        ({"$value": {"$bytes": "YQ=="}}, {"$bytes": "YQ=="}), ({"$value": {"$value": {"a": 1}}}, {"$value": {"a": 1}}),
        ({"$value": {"obj_id": "x"}}, {"obj_id": "x"}), ({"$value": {"a": {"$bytes": "YQ=="}}}, {"a": b"a"}),
        ({"$value": {"a": {"$value": {"b": 1}}}}, {"a": {"b": 1}}), ({"$value": {}}, {}),
        ({"$bytes": "YQ==", "a": 1}, {"$bytes": "YQ==", "a": 1}), ({"$value": 1}, {"$value": 1}),
        ({"a": [1, None, True, 1.5, "s"]}, {"a": [1, None, True, 1.5, "s"]}),
        ({"obj_id": "x", "more": 1}, {"obj_id": "x", "more": 1}), ({"obj_id": 5, "more": 1}, {"obj_id": 5, "more": 1}),
        ([], []), ({}, {}), ([[]], [[]]),
    ],
)  # fmt: skip
def test_the_escapes_of_arguments(argument: Any, value: Any) -> None:
    assert plain(argument) == value


@pytest.mark.parametrize("text", ["a", "YQ", "YQ==\n", "Y Q==", "é", 1, None, [], {}, "YQ=", "YQ==YQ=="])
def test_bytes_that_are_no_base64_are_refused(text: Any) -> None:
    assert refusal(plain, {"$bytes": text})["reason"] == "MALFORMED_REQUEST"
    assert "the field" in refusal(decode_bytes, text, "the field")["message"]


@pytest.mark.parametrize(
    "argument",
    [{"obj_id": "shelf-0"}, {"obj_id": "shelf-0", "type": "a.B", "repr": "…", "is_callable": False},
     {"obj_id": "shelf-0", "repr": None}],
)  # fmt: skip
def test_an_object_is_found(argument: Any) -> None:
    shelf, one = Shelf(), object()
    shelf.keep(one)
    assert decode(argument, shelf.find) is one
    assert decode([1.5, {"a": argument}], shelf.find) == [1.5, {"a": one}]


@pytest.mark.parametrize("obj_id", [5, None, [], {}, 1.5, True])
def test_an_object_s_id_is_a_string(obj_id: Any) -> None:
    error = refusal(plain, {"obj_id": obj_id})
    assert error["reason"] == "MALFORMED_REQUEST" and error["metadata"]["field"] == "obj_id"


def test_what_finds_an_object_may_refuse() -> None:
    def find(obj_id: str) -> Any:
        raise Refusal("OBJECT_LOST", obj_id)

    assert refusal(decode, [{"obj_id": "x"}], find)["reason"] == "OBJECT_LOST"


def test_json_values_have_names() -> None:
    values: list[Any] = [[], {}, "", True, None, 1, 1.5]
    kinds = [json_kind(value) for value in values]
    assert kinds == ["an array", "an object", "a string", "a boolean", "null", "a number", "a number"]
