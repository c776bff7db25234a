"""A failed call leaves one line in the log; the caller, the line, the output and the traceback name the same call."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from jac_orc.client.connection import Connection
from jac_orc.core.traces import Trace
from jac_orc.errors import OrcError, UnavailableError
from jac_orc.guest.protowire import key, sized
from jac_orc.pod_manager.backends.fake import FakeBackend
from jac_orc.v1 import module_pb2, pod_manager_pb2
from tests.feature.conftest import Start
from tests.feature.module_servers import SERVICE, ModuleServer, failure, failure_of, http_body, value, wait_until
from tests.feature.pod_managers import PodManager, running_pod_manager

MODULE = "orc_feature_failing"
SECRET = "swordfish"
LINE = {"time", "level", "stream", "text", "call_id", "module", "pod", "method", "function", "reason", "code"}
MADE = re.compile("[0-9a-f]{32}")

Line = dict[str, Any]


@pytest.fixture(scope="module")
def server(guest_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleServer]:
    running = ModuleServer(MODULE, guest_python, tmp_path_factory.mktemp("traces"), pod_name="pod-1").serving()
    yield running
    assert running.stop() == 0


@pytest.fixture
def own(start_server: Start) -> ModuleServer:
    return start_server(MODULE).serving()


def traces(server: ModuleServer, call_id: str) -> list[Line]:
    """The lines of a call that failed."""
    return [line for line in server.log() if line.get("call_id") == call_id and "method" in line]


def trace(server: ModuleServer, call_id: str) -> Line:
    """The only line of a call that failed."""
    wait_until(lambda: traces(server, call_id))
    (line,) = traces(server, call_id)
    return line


def json_stream(server: ModuleServer, document: Any) -> list[Any]:
    request = module_pb2.StreamJsonRequest(body=http_body(document))
    return [json.loads(answer.body.data) for answer in server.stub.StreamJson(request, timeout=10)]


def unknown_method(server: ModuleServer) -> Any:
    call: Any = server.channel.unary_unary(f"/{SERVICE}/Nope")
    return call(b"x", timeout=5)


FACES: dict[str, tuple[str, Callable[[ModuleServer], Any]]] = {
    "Call": ("nothing", lambda server: server.call("nothing", SECRET)),
    "CallJson": ("nothing", lambda server: server.call_json({"args": [{"method": SECRET}], "method": "nothing"})),
    "CallNamed": ("nothing", lambda server: server.call_named("nothing", {"x": SECRET})),
    "RunModule": ("nothing", lambda server: server.run("nothing", {"args": [SECRET]})),
    "Stream": ("items", lambda server: list(server.stub.Stream(module_pb2.StreamRequest(method="items")))),
    "StreamJson": ("nothing", lambda server: json_stream(server, {"method": "nothing"})),
    "Describe": ("", lambda server: server.stub.Describe(module_pb2.DescribeRequest(module_name="math"))),
    "ReleaseObject": ("", lambda server: server.stub.ReleaseObject(module_pb2.ReleaseObjectRequest(obj_id=SECRET))),
    "RenewObject": ("", lambda server: server.stub.RenewObject(module_pb2.RenewObjectRequest(obj_id="a-b-1-c-d"))),
    "GetProto": ("", lambda server: server.stub.GetProto(module_pb2.GetProtoRequest())),
    "Nope": ("", unknown_method),
}  # fmt: skip


@pytest.mark.parametrize("face", FACES)
def test_one_line_for_a_failed_call(server: ModuleServer, face: str) -> None:
    function, call = FACES[face]
    told = failure(call, server)
    assert MADE.fullmatch(told.call_id)
    line = trace(server, told.call_id)
    assert set(line) == LINE | {"duration"}
    assert (line["module"], line["pod"], line["method"], line["function"]) == (MODULE, "pod-1", face, function)
    assert (line["reason"], line["code"], line["stream"]) == (told.error.reason, told.code.name, "server")
    assert line["level"] in ("info", "warning") and 0 < line["duration"] < 10_000
    assert told.error.reason in line["text"] and function in line["text"]
    assert SECRET not in json.dumps(line)


def test_failed_calls_of_a_connection(server: ModuleServer) -> None:
    with Connection(f"127.0.0.1:{server.port}") as connection:
        caught = []
        for call in (lambda: connection.call("dependent", "S1"), lambda: connection.call("nothing", SECRET)):
            with pytest.raises(OrcError) as failed:
                call()
            caught.append(failed.value)
        with pytest.raises(OrcError) as failed:
            list(connection.stream("items", [2]))
        caught.append(failed.value)
        account = connection.call("Account")
        with pytest.raises(OrcError) as failed:
            connection.invoke("withdraw", [1], target=account)
        caught.append(failed.value)
    lines = [trace(server, error.metadata["call_id"]) for error in caught]
    assert [line["function"] for line in lines] == ["dependent", "nothing", "items", "withdraw"]
    assert {line["method"] for line in lines} == {"CallPython", "StreamPython"}
    assert [line["reason"] for line in lines] == [error.reason for error in caught]


def test_a_stream_that_fails_after_its_first_item(server: ModuleServer) -> None:
    *items, last = json_stream(server, {"method": "items", "args": [2]})
    assert items == [{"result": 0}, {"result": 1}]
    info = last["error"]["details"][0]
    line = trace(server, info["metadata"]["call_id"])
    assert (line["method"], line["function"], line["reason"]) == ("StreamJson", "items", "EXCEPTION_RAISED")


def test_calls_that_succeed_leave_no_line_and_still_have_an_id(server: ModuleServer) -> None:
    call = server.begin("says", "fine")
    assert call.result()
    call_id = dict(call.trailing_metadata())["x-request-id"]
    (line,) = wait_until(lambda: [each for each in server.log() if each.get("call_id") == call_id])
    assert (line["text"], line["stream"]) == ("fine", "stdout")


@pytest.mark.parametrize("kind", [module_pb2.CallRequest, module_pb2.CallJsonRequest, module_pb2.CallNamedRequest])
def test_a_large_request_is_not_searched_for_its_function(kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The search would block the server's loop."""
    many = b"\x78\x01" * 2_000_000
    body = kind.DESCRIPTOR.fields_by_name.get("body")
    requests = [many] if body is None else [many, sized(key(body.number), many)]
    begun = time.process_time()
    for request in requests:
        Trace("large", "Call", kind.DESCRIPTOR, request).fail(UnavailableError("MODULE_UNAVAILABLE", "gone"))
    assert time.process_time() - begun < 0.2
    assert caplog.text.count("Call failed: MODULE_UNAVAILABLE") == len(requests)


# --- ids ---


@pytest.mark.parametrize("given", ["order-7", "5fd39a5c-9f36-4b5e-8b5c-5d5a2f7d0e11", '%n%s{}\\"', "x" * 128])
def test_the_callers_id_is_taken_over(server: ModuleServer, given: str) -> None:
    call = server.stub.Call.future(server.request("dependent", given), metadata=(("x-request-id", given),))
    told = failure_of(call.exception())
    assert told.call_id == given == dict(call.trailing_metadata())["x-request-id"]
    assert trace(server, given)["function"] == "dependent"

    def printed() -> list[Line]:
        return [line for line in server.log() if line["stream"] == "stdout" and line["text"] == given]

    (line,) = wait_until(printed)
    assert line["call_id"] == given


@pytest.mark.parametrize("given", ["x" * 129, "x" * 10_000, "", "a b"])
def test_another_id_is_replaced(server: ModuleServer, given: str) -> None:
    call = server.stub.Call.future(server.request("nothing"), metadata=(("x-request-id", given),))
    told = failure_of(call.exception())
    assert MADE.fullmatch(told.call_id)
    assert trace(server, told.call_id)


@pytest.mark.parametrize("name", ["a\nb\x1b[31m\u2028\udcff", "ü" * 5000, "%n%s"])
def test_a_hostile_name_is_cut_and_escaped(server: ModuleServer, name: str) -> None:
    name = name.encode("utf-8", "ignore").decode()
    line = trace(server, failure(server.call, name).call_id)
    assert line["function"].isprintable() and line["text"].isprintable()
    assert len(line["function"]) <= 300 and line["function"][:1] == name[0]


def test_ids_are_unique_over_pods_and_restarts(own: ModuleServer, start_server: Start) -> None:
    found = [failure(server.call, "nothing").call_id for server in (own, start_server(MODULE).serving()) for _ in "12"]
    failure(own.call, "leave", 3)
    found += [failure(own.call, "nothing", timeout=15).call_id for _ in "12"]
    found += [failure(start_server(MODULE).serving().call, "nothing").call_id for _ in "12"]
    assert len(set(found)) == 8


# --- exceptions ---


def traceback(server: ModuleServer, call_id: str) -> Line:
    def found() -> list[Line]:
        return [line for line in server.log() if line.get("call_id") == call_id and line["level"] == "error"]

    (line,) = wait_until(found)
    return line


def test_a_traceback_has_its_causes(server: ModuleServer) -> None:
    line = traceback(server, failure(server.call, "dependent", "text").call_id)
    assert line["stream"] == "stderr"
    text = line["text"]
    assert text.startswith("Traceback (most recent call last):\n") and text.endswith("ValueError: text")
    assert "KeyError: 'swordfish'" in text and "direct cause" in text and f"{MODULE}.py" in text
    assert "jac_orc/guest" not in text


def test_a_traceback_of_a_coroutine_and_of_a_group(server: ModuleServer) -> None:
    text = traceback(server, failure(server.call, "coroutine").call_id)["text"]
    assert "in coroutine" in text and text.endswith("RuntimeError: in a coroutine")
    text = traceback(server, failure(server.call, "group").call_id)["text"]
    assert "ValueError: first" in text and "ValueError: second" in text


def test_a_long_traceback_is_cut_in_its_middle(server: ModuleServer) -> None:
    text = traceback(server, failure(server.call, "deep", 60).call_id)["text"]
    assert "the first" in text and text.endswith("ü" * 100) and 30_000 < len(text) <= 32 * 1024


def test_a_refusal_has_no_traceback(server: ModuleServer) -> None:
    told = failure(server.call, "echo")
    assert trace(server, told.call_id)["reason"] == "ARGUMENTS_DO_NOT_BIND"
    assert not [line for line in server.log() if line.get("call_id") == told.call_id and line["level"] == "error"]


# --- calls that nobody answers ---


def test_a_call_that_its_caller_cancels(start_server: Start, tmp_path: Path) -> None:
    server = start_server("orc_feature_waits").serving()
    call = server.stub.Call.future(server.request("loop", str(tmp_path / "m")), metadata=(("x-request-id", "c"),))
    wait_until((tmp_path / "m.started").exists)
    call.cancel()
    line = trace(server, "c")
    assert (line["code"], line["reason"], line["level"]) == ("CANCELLED", "CANCELLED", "info")


def test_a_deadline(start_server: Start, tmp_path: Path) -> None:
    server = start_server("orc_feature_waits", max_concurrency=1).serving()
    calls = [
        server.stub.Call.future(
            server.request("loop", str(tmp_path / "m")), timeout=0.3, metadata=(("x-request-id", name),)
        )
        for name in ("runs", "waits")
    ]
    for call, name in zip(calls, ("runs", "waits"), strict=True):
        assert call.exception().code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert trace(server, name)["reason"] == "DEADLINE_EXCEEDED"


def test_a_stream_that_its_reader_abandons(start_server: Start) -> None:
    server = start_server("orc_feature_streams").serving()
    request = module_pb2.StreamRequest(method="count", args=[value(10**6)])
    answers = server.stub.Stream(request, metadata=(("x-request-id", "s"),))
    next(answers)
    answers.cancel()
    line = trace(server, "s")
    assert (line["code"], line["function"]) == ("CANCELLED", "count")


def test_a_call_that_the_servers_stop_cuts_off(start_server: Start, tmp_path: Path) -> None:
    server = start_server("orc_feature_waits", max_drain=0.2).serving()
    call = server.stub.Call.future(server.request("loop", str(tmp_path / "m")), metadata=(("x-request-id", "cut"),))
    wait_until((tmp_path / "m.started").exists)
    server.process.send_signal(signal.SIGTERM)
    assert call.exception() is not None
    assert server.close() == 0
    line = trace(server, "cut")
    assert (line["code"], line["reason"]) == ("UNAVAILABLE", "POD_STOPPING")


# --- a guest's end ---


@pytest.mark.parametrize(
    ("method", "args", "field"),
    [("leave", [3], ("exit_code", "3")), ("abort", [], ("signal", "SIGABRT")), ("kill", [9], ("signal", "SIGKILL"))],
)
def test_a_guests_end(own: ModuleServer, method: str, args: list[int], field: tuple[str, str]) -> None:
    pid = own.call("pid")
    told = failure(own.call, method, *args)
    assert trace(own, told.call_id)["reason"] == "GUEST_DIED"
    (line,) = [line for line in own.log() if line.get("pid") == pid]
    assert line[field[0]] == field[1] and field[1] in line["text"] and line["level"] == "warning"
    assert (line["calls"], line["call_ids"], line["module"]) == (1, [told.call_id], MODULE)
    assert told.call_id in line["text"] and line["uptime"] > 0


def test_a_second_guest_that_ends_and_a_module_that_cannot_be_imported_again(
    start_server: Start, tmp_path: Path
) -> None:
    (tmp_path / "code").mkdir()
    code_file, directory = tmp_path / "code" / "shop.py", tmp_path / "working"
    code_file.write_text("import os\ndef pid(): return os.getpid()\ndef leave(code): os._exit(code)\n")
    folders = {"source_folders": code_file.parent, "working_directory": directory}
    server = start_server("shop", workers=2, **folders).serving()
    (directory / "shop.py").write_text("raise LookupError('no price list')\n")
    for code in (4, 5):
        told = failure(server.call, "leave", code, timeout=15)
        assert [line for line in server.log() if line.get("call_ids") == [told.call_id]]

    def imports() -> list[Line]:
        return [line for line in server.log() if line["level"] == "error" and line["stream"] == "stderr"]

    assert "LookupError: no price list" in wait_until(imports)[0]["text"]
    told = failure(server.call, "pid")
    assert trace(server, told.call_id)["reason"] == "MODULE_UNAVAILABLE"


# --- the pod manager ---


async def test_calls_that_never_reach_a_module(manager: PodManager, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "jac_orc.core.traces")
    calls: dict[str, Any] = {
        "DeleteModule": lambda: manager.native.DeleteModule(pod_manager_pb2.DeleteModuleRequest(module_name="nope")),
        "RestGetModule": lambda: manager.rest("RestGetModule", module_name="nope"),
        "RestCreateModule": lambda: manager.rest("RestCreateModule", {"module_name": "nope", "env": {"1": SECRET}}),
        "Call": lambda: manager.module.Call(module_pb2.CallRequest(method="f"), metadata=(("x-module", "no pe"),)),
    }
    for method, call in calls.items():
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call()
        told = failure_of(caught.value)
        (record,) = caplog.records
        caplog.clear()
        fields = vars(record)["fields"]
        assert (vars(record)["call_id"], fields["method"], fields["reason"]) == (
            told.call_id, method, told.error.reason,
        )  # fmt: skip
        assert fields["module"] in ("nope", "no pe") and SECRET not in str(vars(record))


def test_a_forwarded_call_keeps_its_id(no_task_left: None, own: ModuleServer) -> None:
    async def forwarded() -> str:
        async with running_pod_manager(FakeBackend(f"127.0.0.1:{own.port}")) as manager:
            metadata = (("x-module", "math"),)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await manager.module.Call(module_pb2.CallRequest(method="nothing"), metadata=metadata)
            return failure_of(caught.value).call_id

    call_id = asyncio.run(forwarded())
    assert MADE.fullmatch(call_id) and trace(own, call_id)["function"] == "nothing"


# --- clients that stay connected ---


def test_idle_clients_do_not_delay_a_stop(own: ModuleServer) -> None:
    watch = health_pb2_grpc.HealthStub(own.channel).Watch(health_pb2.HealthCheckRequest())
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    with socket.create_connection(("127.0.0.1", own.port)), Connection(f"127.0.0.1:{own.port}") as connection:
        assert connection.call("echo", 1) == 1
        own.process.send_signal(signal.SIGTERM)
        assert own.process.wait(5) == 0
