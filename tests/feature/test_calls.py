"""Calls of a module's functions, in each of the ways that a module server takes them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jac_orc.v1 import module_pb2
from tests.feature.conftest import Start
from tests.feature.module_servers import ModuleServer, failure, value, wait_until


def test_a_call_by_value(plain: ModuleServer) -> None:
    assert plain.call("add", 9) == 11
    assert plain.call("add", 9, b=1.5) == 10.5
    assert plain.call("nothing") is None
    assert plain.call("LIMIT") == 10
    assert plain.call("Shape.count", 4) == 4
    assert plain.call("echo", None, True, "é", [1, {"a": []}], k={"x": 1.5}) == [
        [None, True, "é", [1, {"a": []}]], {"k": {"x": 1.5}},
    ]  # fmt: skip


def test_whole_numbers_are_ints(plain: ModuleServer) -> None:
    assert [plain.call("type_of", number) for number in (9, 9.5)] == ["int", "float"]


def test_a_coroutine_is_awaited(plain: ModuleServer) -> None:
    assert plain.call("async_add", 1, 2) == 3


def test_the_module_may_be_named(plain: ModuleServer) -> None:
    request = module_pb2.CallRequest(module_name="orc_feature_plain", method="add", args=[value(1)])
    assert plain.stub.Call(request).result.number_value == 3
    request.module_name = "numpy"
    told = failure(plain.stub.Call, request)
    assert (told.error.reason, told.error.metadata) == ("MODULE_MISMATCH", {"module": "orc_feature_plain"})


def test_json_answers_are_exact(plain: ModuleServer) -> None:
    assert plain.call_json({"method": "big_int", "args": [30]}) == b'{"result":%d}' % (10**30 + 1)
    assert plain.call_json({"method": "nan"}) == b'{"result":"NaN"}'
    assert plain.call_json({"method": "ordered"}) == b'{"result":{"b":1,"a":2}}'
    assert (
        plain.call_json({"method": "echo", "args": [1.0, 10**40, "é"]})
        == f'{{"result":[[1.0,{10**40},"é"],{{}}]}}'.encode()
    )
    assert plain.call_json({"method": "type_of", "args": [{"$bytes": "YQ=="}]}) == b'{"result":"bytes"}'


def test_an_int_that_value_does_not_hold_is_an_object(plain: ModuleServer) -> None:
    """It is never rounded."""
    for digits in (30, 400, 5000):
        answer = plain.call("big_int", digits)
        assert (answer["type"], answer["repr"][:3]) == ("builtins.int", "100")
        assert plain.call("type_of", {"obj_id": answer["obj_id"]}) == "int"


@pytest.mark.parametrize(
    ("method", "document", "result"),
    [
        ("add", {"a": 1, "b": 5}, 6), ("add", {"a": 1}, 3), ("nothing", {}, None), ("nothing", b"", None),
        ("positional", {"a": 1, "b": 2}, [1, 2]), ("positional", {"b": 2, "a": 1}, [1, 2]),
        ("only_named", {"a": [1]}, [1]), ("total", {"numbers": [1, 2]}, 3),
        ("echo", {"args": [1], "method": "x", "module_name": "m"}, [[], {"args": [1], "method": "x",
        "module_name": "m"}]),
        ("type_of", {"value": {"$bytes": "YQ=="}}, "bytes"), ("find", {"obj_id": "a"}, "found a"),
        ("echo", {"$bytes": "YQ=="}, [[], {"$bytes": "YQ=="}]),
        ("echo", {"$value": {"a": 1}}, [[], {"$value": {"a": 1}}]),
    ],
)  # fmt: skip
def test_a_call_with_named_arguments(plain: ModuleServer, method: str, document: Any, result: Any) -> None:
    """The body's names are parameters, whatever they are called; what they stand for may be an escape."""
    assert plain.call_named(method, document) == result


@pytest.mark.parametrize(
    ("method", "document", "result"),
    [
        ("add", {"args": [1, 2]}, 3), ("total", {"args": [1, 2, 3], "kwargs": {}}, 6), ("total", {"args": [[1, 2]]}, 3),
        ("echo", {"args": [1, 2]}, [[1, 2], {}]), ("nothing", b"", None),
    ],
)  # fmt: skip
def test_the_original_route_packs_a_list_where_only_that_binds(
    plain: ModuleServer, method: str, document: Any, result: Any
) -> None:
    assert plain.run(method, document) == result


def test_other_routes_never_pack_and_nothing_runs_twice(plain: ModuleServer) -> None:
    before = len(plain.call("calls"))
    told = failure(plain.call_json, {"method": "total", "args": [1, 2, 3]})
    assert (told.error.reason, told.error.metadata["parameter"]) == ("ARGUMENTS_DO_NOT_BIND", "numbers")
    assert failure(plain.run, "add", {"args": [1, "a"]}).error.reason == "EXCEPTION_RAISED"
    assert (
        failure(plain.run, "positional", {"args": [1, 2], "kwargs": {"c": 1}}).error.reason == "ARGUMENTS_DO_NOT_BIND"
    )
    assert plain.call("calls")[before:] == ["add"]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"{", "MALFORMED_REQUEST"), (b"[]", "MALFORMED_REQUEST"), (b"\xff", "MALFORMED_REQUEST"),
        ({}, "MALFORMED_REQUEST"), ({"method": ""}, "MALFORMED_REQUEST"),
        ({"method": "add", "arg": []}, "UNKNOWN_FIELD"),
        ({"method": "add", "args": {}}, "MALFORMED_REQUEST"), ({"method": "add", "kwargs": []}, "MALFORMED_REQUEST"),
        (b'{"method":"add","args":[%s]}' % (b"[" * 200 + b"]" * 200), "TOO_DEEP"),
        (b'{"method":"add","args":' + b"[" * 200_000, "TOO_DEEP"),
        (b'{"method":"add","method":"add"}', "MALFORMED_REQUEST"),
        (b'{"method":"add","args":[NaN]}', "MALFORMED_REQUEST"),
        (b'{"method":"\\ud800"}', "FUNCTION_NOT_FOUND"), (b'{"method":"add","\\ud800":1}', "UNKNOWN_FIELD"),
        (b'{"method":"add","kwargs":{"\\ud800":1}}', "ARGUMENTS_DO_NOT_BIND"),
        ({"method": "add", "obj_id": "x"}, "OBJECT_LOST"), ({"method": "add", "obj_id": 5}, "MALFORMED_REQUEST"),
        ({"method": "add", "args": [{"obj_id": "x"}]}, "OBJECT_LOST"),
        ({"method": "add", "args": [{"obj_id": 5}]}, "MALFORMED_REQUEST"),
        ({"method": "LIMIT", "args": [3]}, "NOT_CALLABLE"),
        ({"method": "sys"}, "NAME_NOT_EXPOSED"), ({"method": "_calls"}, "NAME_NOT_EXPOSED"),
        ({"method": "../x"}, "FUNCTION_NOT_FOUND"), ({"method": "x" * 10_000}, "FUNCTION_NOT_FOUND"),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_bad_calls_are_refused(plain: ModuleServer, document: Any, reason: str) -> None:
    assert failure(plain.call_json, document).error.reason == reason
    assert plain.call("add", 1) == 3


@pytest.mark.parametrize("document", [{"kwargs": {"x" * 2_000_000: 1}}, {"x" * 2_000_000: 1}], ids=["kwarg", "field"])
def test_huge_names_do_no_harm(plain: ModuleServer, document: Any) -> None:
    guest = plain.call("pid")
    told = failure(plain.call_json, {"method": "add", "args": [1], **document})
    assert told.error.reason in ("ARGUMENTS_DO_NOT_BIND", "UNKNOWN_FIELD")
    assert plain.call("pid") == guest, "the guest was killed"


def test_a_method_must_be_named(plain: ModuleServer) -> None:
    for told in (failure(plain.call, ""), failure(plain.run, "", {}), failure(plain.call_named, "", {})):
        assert (told.error.reason, told.error.metadata) == ("MALFORMED_REQUEST", {"field": "method"})


def test_an_answer_of_some_megabytes_is_whole(plain: ModuleServer) -> None:
    answer = plain.call_json({"method": "text", "args": [3_000_000]})
    assert len(json.loads(answer)["result"]) == 3_000_000


def test_an_answer_that_is_too_large_is_refused(plain: ModuleServer) -> None:
    guest = plain.call("pid")
    told = failure(plain.call_json, {"method": "text", "args": [66 * 1024 * 1024]}, timeout=20)
    assert told.error.reason == "TOO_LARGE"
    assert plain.call("pid") == guest, "the guest was killed"


def test_what_the_module_prints_is_logged(plain: ModuleServer) -> None:
    plain.call("says", "hello é\u2028there")
    plain.call("says", "y" * 200_000)
    wait_until(lambda: {"stdout", "stderr"} <= {line["stream"] for line in plain.log()})
    wait_until(lambda: "hello é\u2028there" in [line["text"] for line in plain.log() if line["stream"] == "stdout"])
    wait_until(lambda: "HELLO É\u2028THERE" in [line["text"] for line in plain.log() if line["stream"] == "stderr"])
    wait_until(lambda: sum(line["text"].count("y") for line in plain.log() if line["stream"] == "stdout") >= 200_000)


def test_the_guest_sees_its_own_variables_and_no_setting(start_server: Start) -> None:
    server = start_server("orc_feature_plain", module_env_price="5", module_env_Path_x="a").serving()
    assert server.call("variable", "PRICE") == "5"
    for name in ("MODULE_NAME", "GUEST_PYTHON", "PYTHONPATH", "NOTIFY_FD", "MODULE_ENV_PRICE"):
        assert server.call("variable", name) is None
    assert server.call("variable", "PATH") is not None


def test_several_guests_share_the_calls(start_server: Start) -> None:
    server = start_server("orc_feature_waits", workers=2, max_concurrency=4).serving()
    first, second = (server.begin("pid_after", 0.3) for _ in range(2))
    assert first.result().result.number_value != second.result().result.number_value


@pytest.mark.parametrize("method", ["GetOpenApi", "GetProto"])
def test_what_is_to_come_says_so(plain: ModuleServer, method: str) -> None:
    descriptor = module_pb2.DESCRIPTOR.services_by_name["ModuleService"].methods_by_name[method]
    request = getattr(module_pb2, descriptor.input_type.name)()
    assert failure(getattr(plain.stub, method), request, timeout=5).error.reason == "NOT_IMPLEMENTED"
