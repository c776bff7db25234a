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

from jac_orc.client.connection import Connection
from jac_orc.client.messages import Remote
from jac_orc.errors import OrcError
from jac_orc.v1 import module_pb2, module_pb2_grpc
from jac_orc.v1.value_pb2 import PythonValue
from tests.feature.conftest import Start
from tests.feature.footprints import Watched
from tests.feature.module_servers import ModuleServer, failure_of, http_body, value, wait_until
from tests.support import SERVICES

MODULE = "orc_feature_objects"
MANY = 10_000
FEW_MB = 6 * 1024


@pytest.fixture(scope="module")
def server(guest_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleServer]:
    running = ModuleServer(
        MODULE, guest_python, tmp_path_factory.mktemp("leaks"),
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
    with Connection(f"127.0.0.1:{server.port}") as connection:
        assert list(connection.stream("generator", [100])) == list(range(100))
        assert connection.invoke("add", [1], target=connection.call("Counter", 1)) == 2
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


def test_python_calls(watched: Watched, server: ModuleServer) -> None:
    def repeat() -> None:
        with Connection(server.channel) as connection:
            counter = connection.call("Counter", 1)
            batch = connection.batch(goes_on=True)
            held = batch.call("Counter", batch.invoke("add", [1], target=counter, silent=True))
            batch.call("fails", "x")
            batch.invoke("add", [1], target=held)
            first, made, failure, last = batch.run()
            assert (first, isinstance(made, Remote), isinstance(failure, OrcError), last) == (None, True, True, 3)
            with pytest.raises(OrcError):
                connection.call("fails", "x")
            assert list(connection.stream("numbers", target=counter)) == [0, 1]
            counter.release()
            made.release()

    steady(watched, repeat, 200)
    wait_until(lambda: server.call("alive") == 0)


def test_values_in_parts(watched: Watched, server: ModuleServer) -> None:
    value = bytes(3_000_000)

    def repeat() -> None:
        with Connection(server.channel) as connection:
            assert connection.get(connection.put(value)) == value

    steady(watched, repeat, 40, memory=4 * FEW_MB)


def test_values_that_stop_half_way(watched: Watched, server: ModuleServer) -> None:
    """By themselves, with their client, or as they are longer than they say, or than is allowed."""
    part = module_pb2.PutValueRequest(size=1_000_000, data=bytes(100_000))
    more = module_pb2.PutValueRequest(data=bytes(100_000))

    def reason(*parts: module_pb2.PutValueRequest) -> str:
        with pytest.raises(grpc.RpcError) as caught:
            server.stub.PutValue(iter(parts), timeout=10)
        return failure_of(caught.value).error.reason

    def repeat() -> None:
        leaves = threading.Event()

        def parts() -> Iterator[module_pb2.PutValueRequest]:
            yield part
            yield more
            leaves.wait(10)

        call = server.stub.PutValue.future(parts(), timeout=10)
        assert reason(part, more) == "MALFORMED_REQUEST"
        assert reason(part, *[more] * 10) == "MALFORMED_REQUEST"
        assert reason(module_pb2.PutValueRequest(size=2**40, data=bytes(100))) == "TOO_LARGE"
        call.cancel()
        leaves.set()

    steady(watched, repeat, 40, memory=4 * FEW_MB)
    with Connection(server.channel) as connection:  # nothing is left of what may come at a time
        assert len(connection.get(connection.put(bytes(20_000_000)))) == 20_000_000


def test_connections_that_are_cut(watched: Watched, server: ModuleServer) -> None:
    """In the middle of everything: slow calls and batches, streams and values that are not read, or not all sent."""
    number, short = [PythonValue(int_value=10**6)], [PythonValue(float_value=0.1)]
    slow = module_pb2.BatchCall(method="slow", args=short)
    with Connection(server.channel) as connection:
        large = connection.put(bytes(2_000_000))

        def repeat() -> None:
            leaves = threading.Event()

            def parts() -> Iterator[module_pb2.PutValueRequest]:
                yield module_pb2.PutValueRequest(size=100_000, data=bytes(1000))
                leaves.wait(10)

            with grpc.insecure_channel(f"127.0.0.1:{server.port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
                stub: Any = module_pb2_grpc.ModuleServiceStub(channel)
                stub.CallPython.future(module_pb2.CallPythonRequest(method="slow", args=short))
                stub.CallBatch.future(module_pb2.CallBatchRequest(calls=[slow, module_pb2.BatchCall(method="spins")]))
                stub.PutValue.future(parts())
                streams = [
                    stub.GetValue(module_pb2.GetValueRequest(obj_id=large.obj_id)),
                    stub.StreamPython(module_pb2.StreamPythonRequest(method="async_generator", args=number)),
                    stub.StreamPython(module_pb2.StreamPythonRequest(method="generator", args=number)),
                ]
                next(streams[-1])
            leaves.set()

        steady(watched, repeat, 40, memory=4 * FEW_MB)


def test_streams_that_nobody_reads(watched: Watched, server: ModuleServer) -> None:
    """So many run as there are places, so many wait as the queue takes, the others are refused, and it goes on."""
    request = module_pb2.StreamPythonRequest(method="generator", args=[PythonValue(int_value=10**9)])

    def repeat() -> None:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub: Any = module_pb2_grpc.ModuleServiceStub(channel)
            streams = [stub.StreamPython(request, timeout=100) for _ in range(MANY)]
            wait_until(lambda: sum(stream.done() for stream in streams) == MANY - 8 - 20, 60)
            assert server.health() == "SERVING"

    repeat()
    second = Watched(server)
    repeat()
    second.check(memory=3 * FEW_MB, threads=10)  # 1.8 KiB for each


def test_clients_that_are_killed(start_server: Start) -> None:
    server = start_server(MODULE, max_concurrency=3, cancel_grace=3, object_lease=1).serving()
    client = f"""if True:
        import sys, threading
        sys.path.insert(0, {str(SERVICES)!r})
        from jac_orc.client.connection import Connection
        connection = Connection("127.0.0.1:{server.port}")
        held = [connection.call("Counter", 1) for _ in range(10)]
        items = connection.stream("generator", [10**6])
        spinning = [threading.Thread(target=connection.call, args=["spins"]) for _ in range(2)]
        for thread in spinning:
            thread.start()
        print(next(items), flush=True)
    """
    assert all(call.result() for call in [server.begin("meet", 3) for _ in range(3)])
    watched = Watched(server)
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", client], stdout=subprocess.PIPE)
        with process:
            assert process.stdout is not None and process.stdout.readline() == b"0\n"
            process.kill()
    assert all(call.result() for call in [server.begin("meet", 3) for _ in range(3)])
    wait_until(lambda: server.call("alive") == 0)
    watched.check()


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
