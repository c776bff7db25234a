"""Results as JSON, byte by byte, and arguments as Python sees them."""

from __future__ import annotations

import json

import pytest

from tests.e2e.system import System, reason

RESULTS = {
    "none": "null",
    "big": "1267650600228229401496703205377",
    "floats": '[0.1,"NaN","Infinity","-Infinity"]',
    "text": '"naïve \U0001f40d \u2028"',
    "tuple": "[1,[2]]",
    "set": "[1,2,3]",
    "range": "[0,1,2]",
    "deque": "[1,2]",
    "views": '[["a"],[1]]',
    "keys": '{"2":"int","null":"none","true":"bool","0.5":"float"}',
    "pairs": '[[[1,2],"tuple"]]',
    "twins": '[[1,"int"],["1","str"]]',
    "dataclass": '{"y":2,"x":1}',
    "named": '{"second":2,"first":1}',
    "counter": '{"a":2,"b":1}',
    "ordered": '{"z":1,"a":2}',
    "bytes": '["AP8=","YWI=","Y2Q="]',
    "dates": '["2026-01-02","03:04:00","2026-01-02T03:04:05.000006+00:00","3.5s"]',
    "texts": '["1.10","1/3","00000000-0000-0000-0000-000000000001","/a/b","127.0.0.1"]',
    "enum": '"red"',
    "complex": "[1.0,2.0]",
    "deepest": "[" * 100 + "]" * 100,
}


@pytest.mark.parametrize(("name", "text"), RESULTS.items(), ids=RESULTS)
def test_results(system: System, name: str, text: str) -> None:
    response = system.try_call("orc_guest_values", "value", name)
    assert response.status_code == 200, response.text
    assert response.content.decode() == f'{{"result":{text}}}'


@pytest.mark.parametrize("name", ["too_deep", "cycle", "function", "iterator"])
def test_what_has_no_json_form_becomes_an_object(system: System, name: str) -> None:
    response = system.try_call("orc_guest_values", "value", name)
    assert response.status_code == 200, response.text
    address = system.module("orc_guest_values")["status"]["pods"][0]["address"]
    assert f'"obj_id":"orc_guest_values-{address.replace(":", "-")}-' in response.text


@pytest.mark.parametrize(
    ("method", "args", "result"),
    [
        ("arange", [3], "[0,1,2]"),
        ("float64", [0.1], "0.1"),
        ("float32", [0.5], "0.5"),
        ("int64", [2**62], str(2**62)),
        ("array", [[[1.5, 2.0], [3.0, 4.0]]], "[[1.5,2.0],[3.0,4.0]]"),
        ("array", [[True, False]], "[true,false]"),
        ("divide", [0.0, 1.0], "0.0"),
        ("log", [0.0], '"-Infinity"'),
        ("datetime64", ["2026-01-02"], '"2026-01-02"'),
        ("datetime64", ["2026-01-02T00:00:00.000000001"], '"2026-01-02T00:00:00.000000001"'),
        ("timedelta64", [5, "ns"], '"0.000000005s"'),
        ("void", [{"$bytes": "AP8="}], '"AP8="'),
    ],
)
def test_numpy(system: System, method: str, args: list[object], result: str) -> None:
    assert system.try_call("numpy", method, *args).content.decode() == f'{{"result":{result}}}'


def test_a_numpy_value_that_json_does_not_hold_is_an_object(system: System) -> None:
    answer = system.call("numpy", "timedelta64", 5, "Y")
    assert answer["type"] == "numpy.timedelta64"
    assert "10" in system.call("numpy", "add", {"obj_id": answer["obj_id"]}, {"obj_id": answer["obj_id"]})["repr"]


@pytest.mark.parametrize(
    ("argument", "seen"),
    [
        (2**100 + 1, "1267650600228229401496703205377"),
        ("NaN", "'NaN'"),
        ([1, 1.0, True, None, "é"], "[1, 1.0, True, None, 'é']"),
        ({"z": 1, "a": {"b": []}}, "{'z': 1, 'a': {'b': []}}"),
        ({"$bytes": "AP8="}, r"b'\x00\xff'"),
        ({"$value": {"$bytes": "AP8="}}, "{'$bytes': 'AP8='}"),
        ({"$value": {"obj_id": "x"}}, "{'obj_id': 'x'}"),
    ],
    ids=str,
)
def test_arguments(system: System, argument: object, seen: str) -> None:
    assert system.call("orc_guest_values", "seen", argument) == seen


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("ValueError", 400),
        ("TypeError", 400),
        ("UnicodeError", 400),
        ("ZeroDivisionError", 400),
        ("KeyError", 400),
        ("FileNotFoundError", 404),
        ("PermissionError", 403),
        ("NotImplementedError", 501),
        ("TimeoutError", 504),
        ("MemoryError", 429),
        ("RuntimeError", 500),
        ("OSError", 500),
        ("KeyboardInterrupt", 500),
        ("StopIteration", 500),
        ("GeneratorExit", 500),
    ],
)
def test_exceptions(system: System, kind: str, status: int) -> None:
    response = system.try_call("orc_guest_values", "raising", kind)
    assert (response.status_code, reason(response)) == (status, "EXCEPTION_RAISED"), response.text
    info, exception = response.json()["details"][:2]
    assert info["metadata"]["type"] == exception["type"] == f"builtins.{kind}"
    assert "for a reason" in exception["message"]
    assert "in raising" in exception["traceback"]
    assert "jac_orc/guest" not in exception["traceback"]


def test_a_large_answer(system: System) -> None:
    assert len(system.call("orc_guest_values", "seen", "x" * 5_000_000)) == 5_000_002
    assert len(json.loads(system.try_call("numpy", "arange", 300_000).content)["result"]) == 300_000
