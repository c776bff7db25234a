"""google.protobuf.Value in the guest, beside protobuf's own: exact, or an object."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import math
from typing import Any

import pytest
from google.protobuf import json_format, struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from jac_orc.guest.failures import Refusal
from jac_orc.guest.json_values import decode
from jac_orc.guest.proto_values import MAX_DEPTH, encode_value, entry, plain, plain_map
from jac_orc.guest.protowire import Malformed, key, sized
from jac_orc.v1 import module_pb2
from tests.unit.guest_parts import Shelf, nested, refusal

MOST = 1_000_000
EXACT = 2**53

exact_ints = st.integers(min_value=-EXACT, max_value=EXACT)
scalars = st.none() | st.booleans() | exact_ints | st.floats(allow_nan=False, allow_infinity=False) | st.text()
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)


def message(document: Any) -> struct_pb2.Value:
    """The Value as protobuf makes it."""
    return json_format.ParseDict(document, struct_pb2.Value())


def answer(value: Any, shelf: Shelf | None = None, most: int = MOST) -> struct_pb2.Value:
    """The Value that the guest makes, as protobuf reads it, from within an answer."""
    data = encode_value(value, (shelf or Shelf()).keep, most)
    response = module_pb2.CallResponse.FromString(sized(key(1), data))
    assert response.HasField("result")
    return response.result


def read(document: Any) -> Any:
    return json_format.MessageToDict(document)


def reference(number: int) -> dict[str, Any]:
    return {"obj_id": f"shelf-{number}", "type": "a.B", "repr": "…", "is_callable": False}


@given(documents)
def test_results_are_what_protobuf_makes_of_them(document: Any) -> None:
    assert read(answer(document)) == document
    assert answer(document) == message(document)


@given(documents)
def test_arguments_are_what_protobuf_has_written(document: Any) -> None:
    got = plain(message(document).SerializeToString())
    assert got == document
    assert plain(encode_value(document, Shelf().keep, MOST)) == document


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | exact_ints.map(float), min_size=1))
def test_lists_of_nothing_but_numbers_are_read_and_written_alike(numbers: list[float]) -> None:
    """They have a way of their own through the codec."""
    assert answer(numbers) == message(numbers)
    got = plain(message(numbers).SerializeToString())
    assert got == numbers
    assert [type(number) for number in got] == [type(plain(message(number).SerializeToString())) for number in numbers]


@given(st.dictionaries(st.text(), documents, max_size=4))
def test_named_arguments_are_a_map(kwargs: dict[str, Any]) -> None:
    request = module_pb2.CallRequest(kwargs={name: message(value) for name, value in kwargs.items()})
    assert plain_map(request.SerializeToString(), 4) == kwargs


def test_a_number_without_a_fraction_is_an_int_to_python() -> None:
    numbers = [9, 9.5, -0.0, 2.0**53, 2.0**60, 1e300, -3]
    got = plain(message(numbers).SerializeToString())
    assert [type(number) for number in got] == [int, float, float, int, float, float, int]
    assert got == numbers and math.copysign(1, got[2]) == -1
    assert type(plain(message(9).SerializeToString())) is int


@pytest.mark.parametrize("number", [EXACT, -EXACT, EXACT + 2, 2**60, 10**22, 0])
def test_an_int_that_a_double_holds_is_answered(number: int) -> None:
    assert int(answer(number).number_value) == number
    assert int(answer([number, "a"]).list_value[0]) == number  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "number",
    [EXACT + 1, -EXACT - 1, 10**23, 10**400, 10**6000],
    ids=["2^53+1", "-2^53-1", "10^23", "10^400", "10^6000"],
)
@pytest.mark.parametrize("wrapped", [lambda n: n, lambda n: [1.5, n], lambda n: {"a": n}], ids=["bare", "list", "dict"])
def test_an_int_that_a_double_does_not_hold_becomes_an_object(number: int, wrapped: Any) -> None:
    shelf = Shelf()
    assert read(answer(wrapped(number), shelf)) == wrapped(reference(0))
    assert shelf.kept == [number]


@pytest.mark.parametrize("value", ["\ud800", ["a", "\ud800"], {"a": "\udfff"}])
def test_a_text_with_lone_surrogates_becomes_an_object(value: Any) -> None:
    shelf = Shelf()
    answer(value, shelf)
    assert shelf.kept[0] in ("\ud800", "\udfff")


def test_a_dict_whose_keys_have_lone_surrogates_becomes_an_object() -> None:
    shelf = Shelf()
    assert read(answer([{"\ud800": 1, "b": [1]}, {"a": 1}], shelf)) == [reference(0), {"a": 1}]
    assert shelf.kept == [{"\ud800": 1, "b": [1]}]


@pytest.mark.parametrize(("number", "shown"), [(math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity")])
def test_numbers_that_json_lacks_are_texts(number: float, shown: str) -> None:
    assert read(answer(number)) == shown
    assert read(answer([1.5, number])) == [1.5, shown]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_are_refused_as_arguments(number: float) -> None:
    alone = struct_pb2.Value(number_value=number)
    for given_ in (alone, struct_pb2.Value(list_value=struct_pb2.ListValue(values=[alone, alone]))):
        assert refusal(plain, given_.SerializeToString())["reason"] == "MALFORMED_REQUEST"


def test_a_value_with_nothing_in_it_is_refused() -> None:
    empty = struct_pb2.Value()
    in_list = struct_pb2.Value(list_value=struct_pb2.ListValue(values=[empty]))
    in_dict = struct_pb2.Value(struct_value=struct_pb2.Struct(fields={"a": empty}))
    for given_ in (empty, in_list, in_dict):
        assert "null_value" in refusal(plain, given_.SerializeToString())["message"]
    assert refusal(entry, b"\x0a\x01a")["reason"] == "MALFORMED_REQUEST"


def test_empty_containers_stay_containers() -> None:
    empty: list[Any] = [[], {}, None, "", 0, False]
    assert [answer(value).WhichOneof("kind") for value in empty] == [
        "list_value", "struct_value", "null_value", "string_value", "number_value", "bool_value",
    ]  # fmt: skip
    assert [plain(message(value).SerializeToString()) for value in empty[:4]] == empty[:4]


@dataclasses.dataclass
class Point:
    x: int
    y: Any


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Point(1, [2.5]), {"x": 1, "y": [2.5]}), ((1, (2,)), [1, [2]]), ({3, 1}, [1, 3]), (b"\0\xff", "AP8="),
        (1 + 2j, [1, 2]), ({1: "a"}, {"1": "a"}), ({(1,): "a"}, [[[1], "a"]]), (range(3), [0, 1, 2]),
        (collections.Counter("aab"), {"a": 2, "b": 1}), (object, reference(0)), ([len, 1], [reference(0), 1]),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_other_values_become_what_they_are_in_json(value: Any, expected: Any) -> None:
    assert read(answer(value)) == expected


@pytest.mark.parametrize("kind", [list, dict, tuple])
@pytest.mark.parametrize("depth", [1, MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, MAX_DEPTH + 70, 2000])
@pytest.mark.parametrize("leaf", [1.5, len], ids=["number", "object"])
def test_what_is_too_deep_for_protobuf_becomes_an_object(kind: type, depth: int, leaf: Any) -> None:
    """Its parsers refuse more than 100 levels of messages, so no answer has more."""
    shelf = Shelf()
    answer(nested(depth, leaf, kind), shelf)
    kept = depth > MAX_DEPTH or leaf is len
    assert len(shelf.kept) == kept
    if kept and leaf is len:
        assert (shelf.kept[0] is len) == (depth <= MAX_DEPTH)


def test_cycles_become_objects() -> None:
    inner: list[Any] = [1]
    inner.append({"a": inner})
    shelf = Shelf()
    assert read(answer(inner, shelf)) == [1, {"a": reference(0)}]
    assert shelf.kept == [inner]


def in_list(data: bytes) -> bytes:
    return sized(b"\x32", sized(b"\x0a", data))


def in_dict(data: bytes) -> bytes:
    return sized(b"\x2a", sized(b"\x0a", sized(b"\x0a", b"a") + sized(b"\x12", data)))


@pytest.mark.parametrize(("wrap", "kind"), [(in_list, list), (in_dict, dict)])
@pytest.mark.parametrize("depth", [20, 100, 101, 102, 3000])
def test_arguments_are_taken_as_deep_as_json_s(wrap: Any, kind: type, depth: int) -> None:
    data = b"\x08\x00"
    for _ in range(depth):
        data = wrap(data)
    if depth <= 100:
        assert decode(plain(data), Shelf().find) == nested(depth, None, kind)
    else:
        assert refusal(lambda: decode(plain(data), Shelf().find))["reason"] == "TOO_DEEP"


@pytest.mark.parametrize(
    "value", ["x" * 1000, ["x" * 1000], [0.5] * 1000, range(10**12), {str(i): i for i in range(1000)}, [1] * 400],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_an_answer_that_does_not_fit_is_refused(value: Any) -> None:
    error = refusal(encode_value, value, Shelf().keep, 1000)
    assert (error["reason"], error["metadata"]) == ("TOO_LARGE", {"limit": "1000", "setting": "MAX_ANSWER_BYTES"})


@pytest.mark.parametrize(
    "data",
    [
        b"\x30\x01", b"\x28\x01", b"\x32\x02\x08\x01", b"\x2a\x02\x08\x01", b"\x2a\x04\x0a\x02\x08\x01", b"\x10\x01",
        b"\x18\x01", b"\x1a\x01\xff", b"\x11\0", b"\x12\x01a", b"\x32\x05", b"\x32\x0b\x0a\x09\x12" + b"\0" * 8,
        b"\x2a\x05\x0a\x03\x0a\x01\xff",
    ],
    ids=lambda data: data.hex(),
)  # fmt: skip
def test_fields_of_another_kind_are_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        plain(data)


@given(st.binary(max_size=60), documents, st.randoms(use_true_random=False))
def test_junk_is_malformed_or_refused_and_nothing_else(junk: bytes, document: Any, chance: Any) -> None:
    whole = bytearray(message(document).SerializeToString())
    for _ in range(3):
        if whole:
            whole[chance.randrange(len(whole))] = chance.randrange(256)
    for data in (junk, bytes(whole), bytes(whole[: chance.randrange(len(whole) + 1)])):
        for function in (plain, entry, lambda taken: plain_map(taken, 4)):
            with contextlib.suppress(Malformed, Refusal):
                function(data)


class Surrogate:
    def __repr__(self) -> str:
        return "\ud800"


def test_a_reference_is_one_whatever_the_object_shows_of_itself() -> None:
    def keep(value: Any) -> dict[str, Any]:
        return {"obj_id": "x", "type": "a.B", "repr": repr(value), "is_callable": False}

    shown = json_format.MessageToDict(struct_pb2.Value.FromString(encode_value(Surrogate(), keep, MOST)))
    assert shown["repr"] == "\\ud800"
