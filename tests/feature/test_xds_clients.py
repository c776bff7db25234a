"""Old, slow and stubborn HTTP clients at the front port."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from jac_orc.pod_manager.xds.listener import listener
from jac_orc.v1 import module_pb2, module_pb2_grpc
from tests.feature.xds_front import Front, eventually, running_front

MIB = 1024 * 1024
CALL = b"POST /modules/numpy/f HTTP/1.1\r\n"
HOST = b"Host: localhost\r\n"
JSON = HOST + b"Content-Type: application/json\r\n"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    yield from running_front(tmp_path_factory.mktemp("front"))


def test_a_connection_outlives_the_streams_that_it_resets(front: Front) -> None:
    """By default Envoy closes it after 1,000, and all its other calls fail."""
    stub: Any = module_pb2_grpc.ModuleServiceStub(front.channel)

    def begun() -> Any:
        stream = stub.StreamJson(module_pb2.StreamJsonRequest(), metadata=[("x-module", "numpy")])
        next(stream)
        return stream

    other = begun()
    for _ in range(15):
        for stream in [begun() for _ in range(100)]:
            stream.cancel()
    front.pods[-1].echo.go_on.set()
    assert list(other)
    front.pods[-1].echo.go_on.clear()


def connected(front: Front) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", front.port), timeout=15)
    # Small, so that the kernel can't hold what Envoy doesn't read.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    return connection


def answer_of(connection: socket.socket) -> bytes:
    """Read until the server closes the connection, or a whole JSON object has come."""
    answer = b""
    while not answer.endswith((b"}\n", b"}")) and (more := connection.recv(65536)):
        answer += more
    return answer


def send_first(front: Front, head: bytes, size: int, *, chunked: bool = False) -> bytes:
    """Send a whole request before reading anything of the answer."""
    with connected(front) as connection:
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
        connection.sendall(head + framing + b"\r\n\r\n")
        for _ in range(size // MIB):
            connection.sendall(b"%x\r\n%b\r\n" % (MIB, bytes(MIB)) if chunked else bytes(MIB))
        if chunked:
            connection.sendall(b"0\r\n\r\n")
        return answer_of(connection)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [65, 100])
def test_a_body_over_the_limit_gets_its_answer(front: Front, size: int, chunked: bool) -> None:
    answer = send_first(front, CALL + JSON, size * MIB, chunked=chunked)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"TOO_LARGE" in answer and str(64 * MIB).encode() in answer


def test_a_client_that_asks_first(front: Front) -> None:
    answer = send_first(front, CALL + JSON + b"Expect: 100-continue\r\n", 65 * MIB)
    assert b"HTTP/1.1 413 " in answer


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (CALL + HOST + b"Content-Type: text/plain\r\n", b"415"),
        (b"POST /nowhere HTTP/1.1\r\n" + JSON, b"404"),
        (b"POST /modules/numpy/f?timeout=abc HTTP/1.1\r\n" + JSON, b"400"),
        (b"POST /modules/numpy/f?bogus=1 HTTP/1.1\r\n" + JSON, b"400"),
        (b"POST /modules/dead/f HTTP/1.1\r\n" + JSON, b"503"),
    ],
)
def test_other_refusals_of_large_bodies(front: Front, head: bytes, status: bytes) -> None:
    assert send_first(front, head, 20 * MIB).startswith(b"HTTP/1.1 " + status)


def test_an_endless_body_is_cut_off(front: Front) -> None:
    with pytest.raises(ConnectionError):
        send_first(front, CALL + JSON, 4096 * MIB, chunked=True)


def test_web_pages_of_other_sites_are_refused_before_their_body_has_come(front: Front) -> None:
    with connected(front) as connection:
        connection.sendall(CALL + JSON + b"Origin: http://evil.example\r\nContent-Length: 1000000\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("line", [b"", b"Connection: close\r\n"])
def test_http_1_0(front: Front, line: bytes) -> None:
    with connected(front) as connection:
        connection.sendall(b"GET /v1/modules HTTP/1.0\r\n" + HOST + line + b"\r\n")
        answer = answer_of(connection)
        assert answer.startswith(b"HTTP/1.0 200 ") and b"RestListModules" in answer
        assert b"connection: close" in answer and connection.recv(1) == b""


def test_http_1_0_with_keep_alive(front: Front) -> None:
    with connected(front) as connection:
        for _ in range(2):
            connection.sendall(b"GET /v1/modules HTTP/1.0\r\nConnection: keep-alive\r\n" + HOST + b"\r\n")
            assert b"connection: keep-alive" in answer_of(connection)


def test_a_stream_over_http_1_0_ends_with_its_connection(front: Front) -> None:
    front.pods[-1].echo.go_on.set()
    with connected(front) as connection:
        connection.sendall(b"POST /v1/modules/numpy:stream HTTP/1.0\r\n" + JSON + b"Content-Length: 2\r\n\r\n{}")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b"chunked" not in answer
    assert answer.endswith(b'{"second":1}\n{"third":1}\n')


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"", b"400"),
        (b"Host:\r\n", b"403"),
        (b"Host: evil.example\r\n", b"403"),
        (HOST + b"Origin: http://evil.example\r\n", b"403"),
        (HOST + b"Sec-Fetch-Site: cross-site\r\n", b"403"),
    ],
)
def test_http_1_0_is_no_way_past_the_guards(front: Front, lines: bytes, status: bytes) -> None:
    with connected(front) as connection:
        connection.sendall(b"GET /v1/modules HTTP/1.0\r\n" + lines + b"\r\n")
        assert answer_of(connection).startswith(b"HTTP/1.0 " + status)


# --- silence ---


def with_timeouts(front: Front, **timeouts: float) -> Listener:
    """Return the front's listener with other timeouts."""
    changed = listener("127.0.0.1", front.port)
    packed = changed.filter_chains[0].filters[0].typed_config
    manager = HttpConnectionManager()
    packed.Unpack(manager)
    for name, seconds in timeouts.items():
        assert getattr(manager, name).seconds > seconds, f"{name} is not set"
        getattr(manager, name).FromMilliseconds(int(seconds * 1000))
    packed.Pack(manager)
    return changed


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A front that waits only 0.5 s for a request or for a reader, and as long as always for a response."""
    front = Front(tmp_path_factory.mktemp("hasty"))
    front.listeners = [with_timeouts(front, request_timeout=0.5, stream_flush_timeout=0.5)]
    try:
        front.start()
        front.put("numpy", front.pod("numpy-1").endpoint)
        eventually(lambda: front.server_of("numpy") == "numpy-1")
        yield front
    finally:
        front.close()


def test_silence_of_a_call_is_no_reason_to_end_it(front: Front) -> None:
    """It could last 24 h. What else could end it is not set, so that it isn't in force."""
    manager = HttpConnectionManager()
    front.listeners[0].filter_chains[0].filters[0].typed_config.Unpack(manager)
    assert manager.stream_idle_timeout.seconds > 24 * 3600
    assert not manager.common_http_protocol_options.HasField("max_stream_duration")
    assert not manager.common_http_protocol_options.HasField("max_connection_duration")


def test_a_silent_call_outlasts_the_time_for_a_request(hasty: Front) -> None:
    stub = module_pb2_grpc.ModuleServiceStub(hasty.channel)
    request, module = module_pb2.RunModuleRequest(method_name="sleep"), (("x-module", "numpy"),)
    call = stub.RunModule.future(request, metadata=module)
    with connected(hasty) as rest:
        rest.sendall(b"POST /modules/numpy/sleep HTTP/1.1\r\n" + JSON + b"Content-Length: 2\r\n\r\n{}")
        rest.settimeout(1.5)
        with pytest.raises(TimeoutError):
            rest.recv(1)
    assert not call.done()
    call.cancel()


def requests(front: Front, which: str) -> int:
    """How many requests the front has, `active`, or has had, `total`."""
    text = httpx.get(f"http://127.0.0.1:{front.status_port}/stats/prometheus", trust_env=False).text
    (line,) = re.findall(rf'envoy_http_downstream_rq_{which}{{envoy_http_conn_manager_prefix="front"}} (\d+)', text)
    return int(line)


def test_a_reader_that_stops_is_cut_off(hasty: Front) -> None:
    before = requests(hasty, "total")
    with connected(hasty) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"POST /modules/numpy/big HTTP/1.1\r\n" + JSON + b"Content-Length: 2\r\n\r\n{}")
        # It may have ended by the time of the first look, but not have begun.
        eventually(lambda: requests(hasty, "total") > before)
        eventually(lambda: requests(hasty, "active") == 0)


@pytest.mark.parametrize("rest", [b"Content-Length: 9\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"])
def test_a_request_that_does_not_come_to_its_end(hasty: Front, rest: bytes) -> None:
    with connected(hasty) as connection:
        began = time.monotonic()
        connection.sendall(CALL + JSON + rest)
        answer = answer_of(connection)
        assert answer.startswith(b"HTTP/1.1 408 ") and b"DEADLINE_EXCEEDED" in answer
        assert 0.4 < time.monotonic() - began < 5
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["details"][0]["metadata"]["call_id"]


def test_a_stream_that_is_answered_may_stay_open_in_silence(hasty: Front) -> None:
    """A stream of a gRPC client has no end until it is closed."""
    go_on = threading.Event()

    def questions() -> Iterator[Any]:
        yield reflection()
        go_on.wait(10)
        yield reflection()

    stub = reflection_pb2_grpc.ServerReflectionStub(hasty.channel)
    answers = stub.ServerReflectionInfo(questions(), metadata=(("x-module", "numpy"),))
    assert next(answers)
    time.sleep(1.5)
    go_on.set()
    assert next(answers)
    assert answers.code() in (None, grpc.StatusCode.OK)


def reflection() -> reflection_pb2.ServerReflectionRequest:
    return reflection_pb2.ServerReflectionRequest(list_services="")
