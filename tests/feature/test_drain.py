"""A server that stops: what runs may end within a time, and what can't says so on every face."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from jac_orc.client.async_connection import AsyncConnection
from jac_orc.client.connection import Connection
from jac_orc.core.deadlines import NOT_BEGUN
from jac_orc.errors import OrcError, UnavailableError
from jac_orc.pod_manager.xds.resources import Endpoint
from jac_orc.v1 import module_pb2
from tests.feature.conftest import Start
from tests.feature.module_servers import ModuleServer, failure, failure_of, http_body, value, wait_until
from tests.feature.test_health import not_serving
from tests.feature.xds_front import Front, running_front

MODULE = "orc_feature_waits"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    yield from running_front(tmp_path_factory.mktemp("front"))


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(20) as pool:
        yield pool


def address(server: ModuleServer) -> str:
    return f"127.0.0.1:{server.port}"


def stop(server: ModuleServer) -> None:
    server.process.send_signal(signal.SIGTERM)


def last_line(stub: Any, file: str) -> Any:
    """How a REST stream ends."""
    request = module_pb2.StreamJsonRequest(body=http_body({"method": "items", "args": [file]}))
    *_, last = [json.loads(line.body.data) for line in stub.StreamJson(request, timeout=20)]
    return last["error"]["details"][0]["reason"]


def faces(server: ModuleServer, module: Connection, path: Path) -> dict[str, Callable[[], Any]]:
    """Calls of every kind that wait for a file, by name; each returns the reason of its failure."""
    stub = server.stub
    named = module_pb2.CallNamedRequest(method_name="until", body=http_body({"file": str(path / "named")}))
    in_json = module_pb2.CallJsonRequest(body=http_body({"method": "until", "args": [str(path / "json")]}))
    run = module_pb2.RunModuleRequest(method_name="until", body=http_body({"args": [str(path / "run")], "kwargs": {}}))
    stream = module_pb2.StreamRequest(method="items", args=[value(str(path / "stream"))])
    batch = module.batch(goes_on=True)
    batch.call("pid")
    batch.call("until", str(path / "batch"))
    return {
        "value": lambda: failure(server.call, "until", str(path / "value")).error,
        "coroutine": lambda: failure(server.call, "rest", str(path / "coroutine")).error,
        "named": lambda: failure(stub.CallNamed, named, timeout=20).error,
        "json": lambda: failure(stub.CallJson, in_json, timeout=20).error,
        "run": lambda: failure(stub.RunModule, run, timeout=20).error,
        "stream": lambda: failure(lambda: list(stub.Stream(stream, timeout=20))).error,
        "REST stream": lambda: last_line(stub, str(path / "lines")),
        "python": lambda: raised(module.call, "until", str(path / "python")),
        "items": lambda: raised(list, module.stream("items", [str(path / "items")])),
        "batch": lambda: raised(batch.run),
        "upload": lambda: failure(stub.PutValue, unfinished(path / "upload"), timeout=20).error,
    }


def raised(function: Callable[..., Any], *args: Any) -> OrcError:
    with pytest.raises(UnavailableError) as caught:
        function(*args)
    return caught.value


def unfinished(begun: Path) -> Iterator[module_pb2.PutValueRequest]:
    yield module_pb2.PutValueRequest(size=10, data=b"1")
    begun.with_suffix(".begun").touch()
    time.sleep(3)


@pytest.mark.parametrize("grpc_server", ["queue", "aio"])
def test_what_outlasts_the_drain_says_so_on_every_face(
    start_server: Start, tmp_path: Path, threads: ThreadPoolExecutor, grpc_server: str
) -> None:
    server = start_server(MODULE, max_drain=0.4, timeout=20, grpc_server=grpc_server).serving()
    with Connection(address(server)) as module:
        module.call("note_the_end", str(tmp_path / "end"))
        calls = {name: threads.submit(call) for name, call in faces(server, module, tmp_path).items()}
        wait_until(lambda: len(list(tmp_path.glob("*.begun"))) == len(calls))
        begin = time.monotonic()
        stop(server)
        told = {name: call.result(10) for name, call in calls.items()}
        assert time.monotonic() - begin < 2
    assert told.pop("REST stream") == "POD_STOPPING"
    assert {name: (each.reason, each.metadata.get("begun")) for name, each in told.items()} == dict.fromkeys(
        told, ("POD_STOPPING", "true")
    )
    assert server.close() == 0
    assert (tmp_path / "end").exists(), "calls that can be interrupted leave the guest to end as an interpreter ends"


def test_what_ends_within_the_drain_succeeds(start_server: Start, tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    """Queued calls too, as do those that come just after the signal over a connection of their own."""
    server = start_server(MODULE, max_concurrency=1, workers=2, lame_duck=0.3).serving()
    with Connection(address(server)) as module:
        running = threads.submit(list, module.stream("items", [str(tmp_path / "go")]))
        queued = threads.submit(module.call, "until", str(tmp_path / "go"))
        wait_until(lambda: not running.done())
        stop(server)
        with Connection(address(server)) as late:
            arriving = threads.submit(late.call, "until", str(tmp_path / "go"))
            time.sleep(0.1)
            (tmp_path / "go").touch()
            assert (running.result(5), queued.result(5), arriving.result(5)) == (["begun", "done"], "done", "done")
    assert server.close() == 0


def test_the_modules_own_timeout_bounds_the_drain_and_a_signal_more_ends_it(
    start_server: Start, tmp_path: Path, threads: ThreadPoolExecutor
) -> None:
    bounded = start_server(MODULE, timeout=0.3, max_drain=86_400).serving()
    call = bounded.begin("until", str(tmp_path / "a"), timeout=60)
    hurried = start_server(MODULE, timeout=86_400, max_drain=60).serving()
    other = hurried.begin("until", str(tmp_path / "b"), timeout=60)
    wait_until(lambda: (tmp_path / "a.begun").exists() and (tmp_path / "b.begun").exists())
    for server in (bounded, hurried):
        stop(server)
    wait_until(lambda: not_serving(hurried))
    assert failure_of(call.exception(5)).error.reason == "POD_STOPPING"
    assert not other.done()
    stop(hurried)
    assert failure_of(other.exception(5)).error.reason == "POD_STOPPING"
    assert (bounded.close(), hurried.close()) == (0, 0)


def test_a_call_that_cannot_be_interrupted_delays_nothing(start_server: Start, tmp_path: Path) -> None:
    server = start_server(MODULE, max_drain=0.3, exit_grace=0.5).serving()
    call = server.begin("hold_the_interpreter", str(tmp_path / "begun"), timeout=60)
    wait_until((tmp_path / "begun").exists)
    begin = time.monotonic()
    stop(server)
    assert failure_of(call.exception(5)).error.reason == "POD_STOPPING"
    assert time.monotonic() - begin < 2
    assert server.close() == 0
    assert time.monotonic() - begin < 0.3 + 0.5 + 2, "the drain, the guest's grace and a margin"


async def test_idle_clients_delay_nothing(start_server: Start) -> None:
    server = start_server(MODULE).serving()
    with Connection(address(server)) as module:
        async with (
            AsyncConnection(address(server)) as other,
            grpc.aio.insecure_channel(address(server)) as channel,
            httpx.AsyncClient(http1=False, http2=False, trust_env=False) as http,
        ):
            assert await asyncio.to_thread(module.call, "pid") == await other.call("pid")
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
            await reflection.write(reflection_pb2.ServerReflectionRequest(list_services=""))
            await reflection.read()
            nothing: Any = channel.stream_stream("/jac_orc.v1.ModuleService/Call")()
            with contextlib.suppress(httpx.HTTPError):
                await http.get(f"http://{address(server)}/")  # a client that speaks no gRPC
            begin = time.monotonic()
            assert await asyncio.to_thread(server.stop) == 0
            assert time.monotonic() - begin < 1
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            for call in (watch, reflection, nothing):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call.read()
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
                if call is not nothing or os.environ.get("GRPC_SERVER") != "aio":  # which ends it by itself
                    assert "ancelling" not in str(caught.value.details())


async def test_clients_go_on_when_a_server_is_back(start_server: Start, tmp_path: Path) -> None:
    server = start_server(MODULE).serving()
    with Connection(address(server)) as module:
        async with AsyncConnection(address(server)) as other:
            before = module.call("pid"), await other.call("pid")
            for file in ("", "a"):  # idle, then busy
                calls: list[Any] = []
                path = tmp_path / f"go{file}"
                if file:
                    calls = [asyncio.to_thread(module.call, "until", str(path)), other.call("until", str(path))]
                running = asyncio.gather(*calls)
                await asyncio.sleep(0.05)
                stop(server)
                await asyncio.sleep(0.05)
                path.touch()
                assert await running == ["done"] * len(calls)
                assert await asyncio.to_thread(server.close) == 0
                server = await asyncio.to_thread(start_server(MODULE, port=server.port).serving)
                after = module.call("pid"), await other.call("pid")
                assert not set(before) & set(after)


# --- through Envoy ---


def streamed(front: Front, *args: Any, method: str = "items") -> list[Any]:
    """The lines of a REST stream, which must be complete."""
    body = {"method": method, "args": args}
    with front.http.stream("POST", f"/v1/modules/{MODULE}:stream", json=body, timeout=20) as response:
        assert response.status_code == 200
        return [json.loads(line) for line in response.iter_lines()]


def called(front: Front, method: str, *args: Any) -> httpx.Response:
    return front.http.post(f"/v1/modules/{MODULE}:call", json={"method": method, "args": args}, timeout=20)


def endpoint(server: ModuleServer, *, draining: bool = False) -> Endpoint:
    return Endpoint("127.0.0.1", server.port, draining)


def is_served_by(front: Front, server: ModuleServer) -> bool:
    response = called(front, "pid")
    return response.status_code == 200 and response.json().get("result") in server.guests()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL, "guest"], ids=["SIGTERM", "SIGKILL", "guest"])
def test_a_stream_that_is_cut_never_looks_complete(
    front: Front, start_server: Start, tmp_path: Path, threads: ThreadPoolExecutor, end: Any
) -> None:
    server = start_server(MODULE, max_drain=0.3).serving()
    front.put(MODULE, endpoint(server))
    wait_until(lambda: is_served_by(front, server))
    stream = threads.submit(streamed, front, str(tmp_path / "a"))
    call = threads.submit(called, front, "until", str(tmp_path / "b"))
    wait_until(lambda: len(list(tmp_path.glob("*.begun"))) == 2)
    if end == "guest":
        for pid in server.guests():
            os.kill(pid, signal.SIGKILL)
    else:
        server.process.send_signal(end)
    reason = {"guest": "GUEST_DIED", signal.SIGTERM: "POD_STOPPING", signal.SIGKILL: "MODULE_UNAVAILABLE"}[end]
    answer = call.result(10)
    assert (answer.status_code, answer.json()["details"][0]["reason"]) == (503, reason)
    assert "ancelling" not in answer.text
    if end is signal.SIGKILL:
        assert isinstance(stream.exception(10), httpx.RemoteProtocolError)
        server.process.wait()
    else:
        first, last = stream.result(10)
        assert (first, last["error"]["details"][0]["reason"]) == ({"result": "begun"}, reason)


def test_a_stream_that_nobody_reads_is_reset(front: Front, start_server: Start) -> None:
    server = start_server("orc_feature_streams", max_drain=0.2).serving()
    front.put("orc_feature_streams", endpoint(server))
    body = {"method": "large", "args": [100_000, 10_000]}
    wait_until(lambda: front.http.post("/modules/orc_feature_streams/text", json={}).status_code == 200)
    with front.http.stream("POST", "/v1/modules/orc_feature_streams:stream", json=body, timeout=20) as response:
        lines = response.iter_lines()
        next(lines)
        begin = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begin < 4
        with pytest.raises(httpx.RemoteProtocolError):
            list(lines)


def test_a_call_that_never_began_goes_to_another_pod_and_one_that_began_never(
    front: Front, start_server: Start, tmp_path: Path, threads: ThreadPoolExecutor
) -> None:
    old = start_server(MODULE, max_concurrency=1, max_drain=0.5).serving()
    new = start_server(MODULE).serving()
    front.put(MODULE, endpoint(old))
    wait_until(lambda: is_served_by(front, old))
    running = threads.submit(called, front, "until", str(tmp_path / "never"))
    wait_until((tmp_path / "never.begun").exists)
    (tmp_path / "never.begun").unlink()
    queued: list[Future[Any]] = [threads.submit(called, front, "pid") for _ in range(3)]
    direct = old.begin("pid")
    time.sleep(0.2)
    front.put(MODULE, dataclasses.replace(endpoint(old), draining=True), endpoint(new))
    stop(old)
    assert {call.result(10).json()["result"] for call in queued} <= new.guests()
    assert running.result(10).json()["details"][0]["metadata"]["begun"] == "true"
    assert not (tmp_path / "never.begun").exists()
    refused = direct.exception(5)
    assert failure_of(refused).error.metadata["begun"] == "false"
    assert dict(refused.trailing_metadata())[NOT_BEGUN] == "1"


def test_calls_go_on_while_their_pod_is_no_endpoint_any_more(
    front: Front, start_server: Start, tmp_path: Path, threads: ThreadPoolExecutor
) -> None:
    """As after an update, or while a module is deleted."""
    server = start_server(MODULE).serving()
    front.put(MODULE, endpoint(server))
    wait_until(lambda: is_served_by(front, server))
    stream = threads.submit(streamed, front, str(tmp_path / "a"))
    call = threads.submit(called, front, "until", str(tmp_path / "b"))
    wait_until(lambda: len(list(tmp_path.glob("*.begun"))) == 2)
    stop(server)
    front.put(MODULE, front.pod_manager.endpoint)
    wait_until(lambda: front.server_of(MODULE) == "podmgr")
    front.drop(MODULE)
    wait_until(lambda: not_serving(server))
    assert not call.done()
    for file in ("a", "b"):
        (tmp_path / file).touch()
    assert call.result(10).json() == {"result": "done"}
    assert stream.result(10) == [{"result": "begun"}, {"result": "done"}]
    assert server.close() == 0
