"""Objects: values that have no exact form stay in the pod, and later calls use them by their names."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from jac_orc.v1 import module_pb2
from tests.feature.conftest import Start
from tests.feature.module_servers import ModuleServer, failure, failure_of, http_body, value, wait_until

MODULE = "orc_feature_objects"


@pytest.fixture(scope="module")
def server(guest_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleServer]:
    directory: Path = tmp_path_factory.mktemp("objects")
    running = ModuleServer(MODULE, guest_python, directory, object_lease=600).serving()
    yield running
    assert running.stop() == 0


def result(server: ModuleServer, method: str, *args: Any, **fields: Any) -> Any:
    """The result of a call over JSON; `fields` are others of the body."""
    return json.loads(server.call_json({"method": method, "args": list(args), **fields}))["result"]


def counter(server: ModuleServer, start: int = 0) -> str:
    return str(result(server, "Counter", start)["obj_id"])


def test_an_object_is_told_by_its_name_type_and_text(server: ModuleServer) -> None:
    answer = result(server, "Counter", 5)
    assert answer.pop("obj_id").startswith(f"{MODULE}-127.0.0.1-{server.port}-1-")
    assert answer == {"type": f"{MODULE}.Counter", "repr": "Counter(5)", "is_callable": True}


def test_names_of_objects_differ(server: ModuleServer) -> None:
    names = {counter(server) for _ in range(50)}
    assert len(names) == 50
    assert len({name.rpartition("-")[2] for name in names}) == 50
    assert all(len(name.rpartition("-")[2]) == 32 for name in names)


def test_methods_attributes_and_the_object_itself(server: ModuleServer) -> None:
    name = counter(server, 5)
    assert result(server, "add", 2, obj_id=name) == 7
    assert result(server, "value", obj_id=name) == 7
    assert result(server, "", 3, obj_id=name) == 21
    assert result(server, "later", obj_id=name) == 7
    assert server.call("value_of", {"obj_id": name}) == 7
    assert server.stub.Call(module_pb2.CallRequest(method="add", obj_id=name)).result.number_value == 8
    run = module_pb2.RunModuleRequest(method_name="add", obj_id=name, body=http_body({"args": [2]}))
    assert json.loads(server.stub.RunModule(run).body.data) == {"result": 10}


def test_special_names(server: ModuleServer) -> None:
    name = counter(server, 3)
    assert result(server, "__len__", obj_id=name) == 3
    assert result(server, "__getitem__", 2, obj_id=name) == 20
    assert result(server, "__contains__", 10, obj_id=name) is True
    assert result(server, "__enter__", obj_id=name)["type"].endswith("Counter")
    assert result(server, "entered", obj_id=name) == 1
    result(server, "__exit__", None, None, None, obj_id=name)
    assert result(server, "entered", obj_id=name) == 0
    assert result(server, "__add__", {"obj_id": name}, obj_id=name)["repr"] == "Counter(6)"
    assert result(server, "__str__", obj_id=name) == "Counter(3)"


@pytest.mark.parametrize(
    "method", ["_secret", "__class__", "__dict__", "__init__", "__getattribute__", "same.__dict__"]
)
def test_other_private_names_stay_private(server: ModuleServer, method: str) -> None:
    told = failure(server.call_json, {"method": method, "obj_id": counter(server)})
    assert told.error.reason == "NAME_NOT_EXPOSED"


@pytest.mark.parametrize("method", ["module", "frame", "evaluator"])
def test_what_hands_out_the_machine_is_no_object(server: ModuleServer, method: str) -> None:
    refusing = failure(server.call_json, {"method": method})
    assert refusing.error.reason == "NAME_NOT_EXPOSED"


def test_a_generators_frame_is_out_of_reach(server: ModuleServer) -> None:
    name = result(server, "generator", 3)["obj_id"]
    for method in ("gi_frame", "gi_frame.f_builtins", "gi_code"):
        assert failure(server.call_json, {"method": method, "obj_id": name}).error.reason == "NAME_NOT_EXPOSED"


def test_an_answer_can_be_pasted_back(server: ModuleServer) -> None:
    answer = result(server, "Counter", 4)
    assert result(server, "value_of", answer) == 4
    assert result(server, "total", answer, {"obj_id": answer["obj_id"]}) == 8
    assert server.call_named("value_of", {"counter": answer}) == 4
    assert result(server, "same", {"$value": {"obj_id": "x"}}) == {"obj_id": "x"}
    assert result(server, "same", {"obj_id": "x", "other": 1}) == {"obj_id": "x", "other": 1}


def test_objects_within_values(server: ModuleServer) -> None:
    answer = result(server, "nested")
    assert (answer["b"], answer["a"][1], answer["a"][0]["type"]) == (3, 2, f"{MODULE}.Counter")
    assert result(server, "value", obj_id=answer["a"][0]["obj_id"]) == 1


def test_cycles_and_depths_become_objects(server: ModuleServer) -> None:
    loop = result(server, "cycle")
    assert loop[0] == 1
    assert loop[1]["type"] == "builtins.list"
    deep = result(server, "deep", 150)
    for _ in range(100):
        assert isinstance(deep, list)
        (deep,) = deep
    assert deep["type"] == "builtins.list"
    by_value = server.call("deep", 150)
    for _ in range(30):
        (by_value,) = by_value
    assert by_value["type"] == "builtins.list"


def test_functions_and_generators_are_objects(server: ModuleServer) -> None:
    name = result(server, "function")["obj_id"]
    assert result(server, "", {"obj_id": counter(server, 9)}, obj_id=name) == 9
    name = result(server, "generator", 3)["obj_id"]
    assert [result(server, "__next__", obj_id=name) for _ in range(3)] == [0, 1, 2]
    told = failure(server.call_json, {"method": "__next__", "obj_id": name})
    assert told.exception.type == "builtins.StopIteration"


@pytest.mark.parametrize("method", ["generator", "async_generator"])
@pytest.mark.parametrize("path", ["", "__iter__"])
def test_an_objects_items_stream(server: ModuleServer, method: str, path: str) -> None:
    if method == "async_generator" and path:
        path = "__aiter__"
    name = result(server, method, 3)["obj_id"]
    request = module_pb2.StreamRequest(method=path, obj_id=name)
    assert [answer.result.number_value for answer in server.stub.Stream(request, timeout=5)] == [0, 1, 2]


def test_a_method_that_generates_streams(server: ModuleServer) -> None:
    body = http_body({"method": "numbers", "obj_id": counter(server, 2)})
    answers = server.stub.StreamJson(module_pb2.StreamJsonRequest(body=body), timeout=5)
    assert b"".join(answer.body.data for answer in answers) == b'{"result":0}\n{"result":1}\n'


def test_a_released_object_is_lost(server: ModuleServer) -> None:
    name, before = counter(server), result(server, "alive")
    server.stub.ReleaseObject(module_pb2.ReleaseObjectRequest(obj_id=name))
    assert result(server, "alive") == before - 1
    for told in (
        failure(server.call_json, {"method": "add", "obj_id": name}),
        failure(server.call, "value_of", {"obj_id": name}),
        failure(server.stub.ReleaseObject, module_pb2.ReleaseObjectRequest(obj_id=name)),
        failure(server.stub.RenewObject, module_pb2.RenewObjectRequest(obj_id=name)),
    ):
        assert (told.code.name, told.error.reason) == ("NOT_FOUND", "OBJECT_LOST")


@pytest.mark.parametrize(
    "name",
    ["x", "-", "----", "a-b-c-d-e", "\x00", "é" * 300, f"{MODULE}-127.0.0.1-1-1-00",
     f"{MODULE}-127.0.0.1-{{port}}-1-00", f"{MODULE}-127.0.0.1-{{port}}-9-00", f"{MODULE}-169.254.169.254-80-1-00"],
)  # fmt: skip
def test_names_that_nobody_gave_are_lost(server: ModuleServer, name: str) -> None:
    told = failure(server.call, "value_of", {"obj_id": name.format(port=server.port)})
    assert told.error.reason == "OBJECT_LOST"


def test_a_lease_ends(start_server: Start) -> None:
    server = start_server(MODULE, object_lease=1.2).serving()
    used, unused = counter(server), counter(server)
    for _ in range(5):
        time.sleep(0.3)
        assert result(server, "value", obj_id=used) == 0
    assert failure(server.call_json, {"method": "value", "obj_id": unused}).error.reason == "OBJECT_LOST"
    wait_until(lambda: result(server, "alive") == 0)


def test_a_lease_can_be_renewed_for_longer_or_less(start_server: Start) -> None:
    server = start_server(MODULE, object_lease=0.4).serving()
    name = counter(server)
    request = module_pb2.RenewObjectRequest(obj_id=name)
    request.lease.FromMilliseconds(60_500)
    assert server.stub.RenewObject(request).lease.ToMilliseconds() == 60_500
    time.sleep(0.6)
    assert result(server, "value", obj_id=name) == 0
    for faulty in (-1, 0, 10**10):
        request.lease.FromSeconds(faulty)
        assert failure(server.stub.RenewObject, request).error.reason == "MALFORMED_REQUEST"
    request.lease.FromMilliseconds(100)
    assert server.stub.RenewObject(request).lease.ToMilliseconds() == 100
    time.sleep(0.2)
    assert failure(server.call_json, {"method": "value", "obj_id": name}).error.reason == "OBJECT_LOST"


def test_there_is_a_limit_on_their_number(start_server: Start) -> None:
    server = start_server(MODULE, max_objects=5).serving()
    names = [counter(server) for _ in range(5)]
    told = failure(server.call, "Counter")
    assert (told.code.name, told.error.reason) == ("RESOURCE_EXHAUSTED", "OBJECT_LIMIT")
    assert told.error.metadata == {"setting": "MAX_OBJECTS", "limit": "5"}
    server.stub.ReleaseObject(module_pb2.ReleaseObjectRequest(obj_id=names[0]))
    assert result(server, "value", obj_id=counter(server)) == 0
    assert result(server, "value", obj_id=names[1]) == 0


def test_there_is_a_limit_on_their_bytes(start_server: Start) -> None:
    server = start_server(MODULE, max_object_bytes=1_000_000).serving()
    result(server, "Blob", 600_000)
    told = failure(server.call, "Blob", 600_000)
    assert (told.error.reason, told.error.metadata["setting"]) == ("OBJECT_LIMIT", "MAX_OBJECT_BYTES")
    result(server, "Blob", 300_000)


def test_a_refused_answer_leaves_no_objects(start_server: Start) -> None:
    server = start_server(MODULE, max_objects=10).serving()
    assert failure(server.call, "many", 20).error.reason == "OBJECT_LIMIT"
    assert len(result(server, "many", 10)) == 10


def test_a_class_named_like_a_builtin_one_shows_itself(server: ModuleServer) -> None:
    assert result(server, "array")["repr"] == "mine"


def test_a_repr_that_fails_does_no_harm(server: ModuleServer) -> None:
    answer = result(server, "BadRepr")
    assert answer["repr"] == "<its repr() raised ValueError>"


def test_with_several_guests_a_call_goes_to_the_one_that_has_the_object(start_server: Start, tmp_path: Path) -> None:
    server = start_server(MODULE, workers=2, max_concurrency=4).serving()
    busy = server.begin("until", str(tmp_path / "gate"))
    wait_until((tmp_path / "gate.begun").exists)
    names = [counter(server, number) for number in range(2)]  # in the guest that is not busy
    (tmp_path / "gate").touch()
    busy.result()
    names += [counter(server, number) for number in (2, 3)]
    assert {name.split("-")[3] for name in names} == {"1", "2"}
    for number, name in enumerate(names):
        assert [result(server, "value", obj_id=name) for _ in range(5)] == [number] * 5
        assert result(server, "value_of", {"obj_id": name}) == number
    first, second = (next(name for name in names if name.split("-")[3] == guest) for guest in "12")
    told = failure(server.call, "total", {"obj_id": first}, {"obj_id": second})
    assert (told.code.name, told.error.reason) == ("FAILED_PRECONDITION", "OBJECTS_APART")


def test_a_guests_objects_are_lost_with_it(start_server: Start) -> None:
    server = start_server(MODULE).serving()
    name = counter(server)
    with pytest.raises(grpc.RpcError):
        server.call("slow", 60, timeout=1)
    assert not failure_reason(server, name), "a call that is given up costs others nothing"
    for guest in server.guests():
        os.kill(guest, signal.SIGKILL)
    wait_until(lambda: failure_reason(server, name) == "OBJECT_LOST")
    assert result(server, "value", obj_id=counter(server)) == 0


def failure_reason(server: ModuleServer, name: str) -> str:
    try:
        server.call_json({"method": "value", "obj_id": name})
    except grpc.RpcError as failed:
        return failure_of(failed).error.reason
    return ""


@pytest.mark.parametrize(
    ("method", "kwargs", "expected"),
    [
        (
            "kinds",
            {"raw": "AP8=", "when": "2026-01-31T10:00:00Z", "colour": "r"},
            ["bytes", "datetime", "Colour", "NoneType"],
        ),
        (
            "kinds",
            {"raw": {"$bytes": "AP8="}, "when": "2026-01-31", "colour": "RED", "more": 1.5},
            ["bytes", "datetime", "Colour", "Decimal"],
        ),
        (
            "order",
            {"given": {"day": "2026-01-31", "price": "1.10", "items": [{"x": 1}, [1, 2]]}},
            ["Order", "2026-01-31", "1.10", ["Point", "Point"]],
        ),
    ],
)
def test_arguments_become_what_they_are_annotated_with(
    server: ModuleServer, method: str, kwargs: dict[str, Any], expected: Any
) -> None:
    assert server.call_named(method, kwargs) == expected
    assert result(server, method, *kwargs.values()) == expected
    assert server.call(method, **kwargs) == expected


@pytest.mark.parametrize(
    ("kwargs", "parameter"),
    [
        ({"raw": "!", "when": "2026-01-31", "colour": "r"}, "raw"),
        ({"raw": "AA==", "when": "yesterday", "colour": "r"}, "when"),
        ({"raw": "AA==", "when": "2026-01-31", "colour": "blue"}, "colour"),
        ({"raw": 5, "when": "2026-01-31", "colour": "r"}, "raw"),
    ],
)
def test_arguments_that_can_not_be_converted_are_named(
    server: ModuleServer, kwargs: dict[str, Any], parameter: str
) -> None:
    for told in (failure(server.call_named, "kinds", kwargs), failure(server.call, "kinds", *kwargs.values())):
        assert (told.code.name, told.error.reason) == ("INVALID_ARGUMENT", "ARGUMENT_NOT_CONVERTIBLE")
        assert told.error.metadata == {"parameter": parameter}


def test_a_dict_that_looks_like_an_escape_is_escaped(server: ModuleServer) -> None:
    assert server.call("same", {"$value": {"$bytes": "x"}}) == {"$bytes": "x"}
    assert value({"a": 1})  # what the helper makes is a Value
