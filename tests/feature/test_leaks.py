"""Whatever clients do and leave undone, the server and its guest are afterwards what they were before."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from jac_orc.client.session import Session
from jac_orc.errors import OrcError
from jac_orc.v1 import module_pb2, module_pb2_grpc, value_pb2
from tests.feature.footprints import Watched
from tests.feature.module_servers import SERVICE, ModuleServer, failure_of, http_body, value, wait_until
from tests.support import SERVICES

Request = module_pb2.SessionRequest
FEW_MB = 6 * 1024


@pytest.fixture(scope="module")
def server(guest_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleServer]:
    running = ModuleServer(
        "orc_feature_objects", guest_python, tmp_path_factory.mktemp("leaks"),
        max_concurrency=8, queue=20, cancel_grace=3,  # on a busy machine, too, a guest that obeys is kept
    ).serving()  # fmt: skip
    warm_up(running)
    yield running
    errors = [line["text"] for line in running.log() if line["level"] == "error" and line["stream"] == "server"]
    # The gRPC library's, of a caller who goes away just when the answer is sent.
    assert not [text for text in errors if not text.startswith("ExecuteBatchError raised in core")]
    assert running.stop() == 0


def warm_up(server: ModuleServer) -> None:
    """Has everything there that stays: threads for slow calls, caches, imported modules."""
    calls = [server.begin("slow", 0.1) for _ in range(8)]
    assert all(call.result() for call in calls)
    with Session(f"127.0.0.1:{server.port}") as session:
        assert list(session.stream("generator", 100)) == list(range(100))
        assert session.hold("Counter", 1).call("add", 1) == 2
    for _ in range(300):
        server.call("same", 1)


@pytest.fixture
def watched(server: ModuleServer) -> Iterator[Watched]:
    """Checks files, threads and children after the test, and that all places for calls are free."""
    before = Watched(server)
    yield before
    assert all(call.result() for call in [server.begin("meet", 8) for _ in range(8)])
    before.check(threads=10)


def steady(watched: Watched, repeat: Callable[[], Any], times: int, memory: int = FEW_MB) -> None:
    """Fails if memory grows while something is done again and again."""
    for _ in range(times // 5):
        repeat()
    second = Watched(watched.server)
    for _ in range(times):
        repeat()
    second.check(memory=memory, threads=10)


def test_calls(watched: Watched, server: ModuleServer) -> None:
    body = module_pb2.CallJsonRequest(body=http_body({"method": "same", "args": [{"a": [1, 2, 3]}]}))

    def repeat() -> None:
        server.call("same", [1, "a"])
        server.stub.CallJson(body, timeout=5)
        with pytest.raises(grpc.RpcError):
            server.call("fails", "x")
        with pytest.raises(grpc.RpcError):
            server.call("no_such_function")

    steady(watched, repeat, 1000)


def test_calls_that_are_cancelled(watched: Watched, server: ModuleServer) -> None:
    def repeat() -> None:
        calls = [server.begin("slow", 0.01) for _ in range(8)]
        for call in calls[::2]:
            call.cancel()
        for call in calls[1::2]:
            call.result()

    steady(watched, repeat, 150)


def test_calls_that_are_cancelled_in_their_loops(watched: Watched, server: ModuleServer) -> None:
    calls = [server.begin("spins") for _ in range(3)]
    time.sleep(0.1)
    for call in calls:
        call.cancel()
    for _ in range(5):
        with pytest.raises(grpc.RpcError):
            server.call("spins", timeout=0.05)


def test_streams_whose_readers_leave(watched: Watched, server: ModuleServer) -> None:
    def repeat() -> None:
        requests = (
            (server.stub.Stream, module_pb2.StreamRequest(method="generator", args=[value(10**6)])),
            (server.stub.Stream, module_pb2.StreamRequest(method="async_generator", args=[value(10**6)])),
            (
                server.stub.StreamJson,
                module_pb2.StreamJsonRequest(body=http_body({"method": "generator", "args": [10**6]})),
            ),
        )
        streams = [method(request, timeout=30) for method, request in requests]
        for count, stream in enumerate(streams):
            for _ in range(count * 20):
                next(stream)
            stream.cancel()

    steady(watched, repeat, 100)


def test_calls_at_a_full_queue(watched: Watched, server: ModuleServer, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    def repeat() -> None:
        gate.unlink(missing_ok=True)
        calls = [server.begin("until", str(gate)) for _ in range(60)]
        refused = wait_until(lambda: len(done := [call for call in calls if call.done()]) == 60 - 8 - 20 and done)
        assert {failure_of(call.exception()).error.reason for call in refused} == {"QUEUE_FULL"}
        gate.touch()
        assert sum(call.exception() is None for call in calls) == 8 + 20

    steady(watched, repeat, 30)


def test_calls_that_are_given_up_in_the_queue(watched: Watched, server: ModuleServer) -> None:
    def repeat() -> None:
        calls = [server.begin("slow", 0.02) for _ in range(25)]
        for call in calls:
            call.cancel()

    steady(watched, repeat, 60, memory=6 * FEW_MB)  # what so many at once need is kept by gRPC
    wait_until(lambda: server.call("same", 1) == 1)


def test_objects_that_are_made_and_released(watched: Watched, server: ModuleServer) -> None:
    def repeat() -> None:
        obj_id = server.call("Counter", 3)["obj_id"]
        server.stub.Call(module_pb2.CallRequest(method="add", obj_id=obj_id), timeout=5)
        server.stub.ReleaseObject(module_pb2.ReleaseObjectRequest(obj_id=obj_id), timeout=5)

    steady(watched, repeat, 1000)
    assert server.call("alive") == 0


def test_sessions_that_end(watched: Watched, server: ModuleServer) -> None:
    def repeat() -> None:
        with Session(server.channel) as session:
            counter = session.call("Counter", 1)
            held = session.hold("Counter", counter.call("add", 1))
            assert held.call("add", 1) == 3
            with pytest.raises(OrcError):
                session.call("fails", "x")
            counter.release()
            session.call("same", 1)  # with which the release goes out

    steady(watched, repeat, 300)
    wait_until(lambda: server.call("alive") == 0)


def test_sessions_that_are_cut(watched: Watched, server: ModuleServer) -> None:
    """In the middle of everything: slow calls, held results, streams without credit, chunks that never end."""
    numbers = [value_pb2.PythonValue(int_value=10**6)]
    short = [value_pb2.PythonValue(float_value=0.1)]
    first = value_pb2.PythonValue(result_value=value_pb2.ResultReference(call_id=1))
    messages = [
        Request(call=module_pb2.SessionCall(call_id=1, method="slow", args=short, hold=True)),
        Request(call=module_pb2.SessionCall(call_id=2, method="same", args=[first])),
        Request(call=module_pb2.SessionCall(call_id=3, method="generator", args=numbers, credit=5)),
        Request(call=module_pb2.SessionCall(call_id=4, method="Counter", hold=True)),
        Request(call=module_pb2.SessionCall(call_id=5, method="async_generator", args=numbers, credit=5)),
        Request(chunk=module_pb2.SessionChunk(chunk_id=1, data=b"x" * 1000, total=100_000)),
    ]

    def repeat() -> None:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
            never = threading.Event()

            def requests() -> Iterator[bytes]:
                yield from (message.SerializeToString() for message in messages)
                never.wait(10)

            call: Any = channel.stream_stream(f"/{SERVICE}/Session")
            next(call(requests()))
        never.set()

    steady(watched, repeat, 40)
    wait_until(lambda: server.call("alive") == 0)


def test_clients_that_are_killed(watched: Watched, server: ModuleServer) -> None:
    client = f"""if True:
        import sys
        sys.path.insert(0, {str(SERVICES)!r})
        from jac_orc.client.session import Session
        session = Session("127.0.0.1:{server.port}")
        held = [session.hold("Counter", 1) for _ in range(10)]
        items = session.stream("generator", 10**6)
        spinning = [session.submit("spins") for _ in range(2)]
        print(next(items), flush=True)
        spinning[0].result()
    """
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", client], stdout=subprocess.PIPE)
        with process:
            assert process.stdout is not None and process.stdout.readline() == b"0\n"
            process.kill()
    wait_until(lambda: server.call("alive") == 0)


def test_connections_that_end(watched: Watched, server: ModuleServer) -> None:
    def repeat() -> None:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub: Any = module_pb2_grpc.ModuleServiceStub(channel)
            stub.Call.future(ModuleServer.request("slow", 0.05), timeout=5)
            stub.Call(ModuleServer.request("same", 1), timeout=5)

    steady(watched, repeat, 60)


def test_guests_that_die(guest_python: str, tmp_path: Path) -> None:
    server = ModuleServer("orc_feature_crashes", guest_python, tmp_path).serving()
    try:
        _die(server)
        files, threads = _count(server)
        for _ in range(6):
            _die(server)
        wait_until(lambda: len(server.guests()) == 1)
        now = _count(server)
        assert now[0] <= files + 2 and now[1] <= threads + 2
    finally:
        assert server.stop() == 0


def _die(server: ModuleServer) -> None:
    with pytest.raises(grpc.RpcError):
        server.call("leave", 3)
    wait_until(lambda: server.call("pid", timeout=15))


def _count(server: ModuleServer) -> tuple[int, int]:
    now = Watched(server).before["server"]
    return now.files, now.threads
