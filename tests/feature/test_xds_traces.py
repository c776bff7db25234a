"""What Envoy leaves behind of a call: its id, a line in the access log, the module's statistics."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import grpc
import httpx
import pytest

from jac_orc.core import logs
from jac_orc.pod_manager.xds.access_log import AccessLog
from jac_orc.pod_manager.xds.listener import listener
from jac_orc.pod_manager.xds.resources import Endpoint
from jac_orc.v1 import module_pb2, module_pb2_grpc
from tests.feature.xds_front import JSON, Front, eventually, free_port, running_front

GENERATED = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SECRET = "s3cret_of-the-object00"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    yield from running_front(tmp_path_factory.mktemp("front"))


def call_by_grpc(front: Front, module: str, method: str, *metadata: tuple[str, str]) -> grpc.Call:
    stub = module_pb2_grpc.ModuleServiceStub(front.channel)
    request = module_pb2.RunModuleRequest(method_name=method)
    try:
        return stub.RunModule.with_call(request, metadata=(("x-module", module), *metadata), timeout=5)[1]
    except grpc.RpcError as failure:
        return cast(grpc.Call, failure)


def id_of(call: grpc.Call) -> str:
    (found,) = [value for key, value in (*call.initial_metadata(), *call.trailing_metadata()) if key == "x-request-id"]
    return str(found)


@pytest.mark.parametrize("given", ["mine", "a" * 128, 'q"\\', "01J-X.y:z/9+="])
def test_a_clients_own_request_id_is_kept(front: Front, given: str) -> None:
    answer = front.http.post("/modules/numpy/f", json={}, headers={"x-request-id": given})
    assert answer.headers["x-request-id"] == given
    assert answer.json()["metadata"]["x-request-id"] == given
    assert id_of(call_by_grpc(front, "numpy", "f", ("x-request-id", given))) == given


@pytest.mark.parametrize("given", [None, b"", b"a" * 129, b"x" * 30_000, "\u00e4".encode(), b"a b", b"\xff"])
def test_a_request_without_a_usable_id_gets_one(front: Front, given: bytes | None) -> None:
    headers = {} if given is None else {b"x-request-id": given}
    answers = [front.http.post("/modules/numpy/f", json={}, headers=headers) for _ in range(2)]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert ids[0] != ids[1]
    assert all(map(GENERATED.fullmatch, ids))
    assert answers[0].json()["metadata"]["x-request-id"] == ids[0]


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/modules/numpy/fail", JSON),
        ("/modules/dead/f", JSON),
        ("/nowhere", JSON),
        ("/modules/numpy/f", {"content-type": "text/plain"}),
        ("/modules/numpy/f", {**JSON, "host": "evil.example"}),
        ("/modules/numpy/f?bogus=1", JSON),
        ("/modules/numpy/sleep?timeout=50m", JSON),
    ],
)
def test_failures_have_the_id_too(front: Front, path: str, headers: dict[str, str]) -> None:
    answer = front.http.post(path, content=b"{}", headers={**headers, "x-request-id": "mine"})
    assert answer.status_code >= 400
    assert answer.headers["x-request-id"] == "mine"
    if "fail" not in path:  # it is the servers that fill in what they answer
        assert answer.json()["details"][0]["metadata"]["call_id"] == "mine"


def test_failures_of_grpc_and_grpc_web_calls_have_the_id(front: Front) -> None:
    for module, method in (("numpy", "fail"), ("dead", "f")):
        assert id_of(call_by_grpc(front, module, method, ("x-request-id", "mine"))) == "mine"
    headers = {"content-type": "application/grpc-web+proto", "x-module": "dead", "x-request-id": "mine"}
    answer = front.http.post("/jac_orc.v1.ModuleService/Call", content=b"\0\0\0\0\0", headers=headers)
    assert answer.headers["x-request-id"] == "mine"


def lines(front: Front) -> list[dict[str, Any]]:
    """Return the lines of the access log that are complete."""
    found = [json.loads(line) for line in front.log.read_text().splitlines() if line.endswith("}")]
    for line in found:
        assert logs.parse(json.dumps(line))["stream"] == "access"
    return found


def line_of(front: Front, call_id: str) -> dict[str, Any]:
    """Wait for the line of this call."""
    eventually(lambda: call_id in front.log.read_text())
    (line,) = [line for line in lines(front) if line.get("call_id") == call_id]
    return line


def test_a_failed_rest_call_is_logged(front: Front) -> None:
    call_id = front.http.post("/modules/numpy/fail?obj_id=x&key=hidden", json={}).headers["x-request-id"]
    front.http.post("/modules/numpy/fail", json={}, headers={"x-request-id": "rest"})
    line = line_of(front, "rest")
    assert (line["code"], line["grpc_status"], line["module"]) == (404, "", "numpy")
    assert (line["method"], line["path"], line["pod"]) == ("POST", "/modules/numpy/fail", f"127.0.0.1:{port(front)}")
    assert line["text"] == "POST /modules/numpy/fail 404 via_upstream"
    assert (line["level"], line["stream"]) == ("warning", "access")
    assert 0 <= line["duration"] < 5000
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])
    assert call_id in front.log.read_text() and "hidden" not in front.log.read_text()


def port(front: Front) -> int:
    return next(pod.port for pod in front.pods if pod.echo.name == "numpy-1")


def test_a_failed_grpc_call_is_logged_although_its_http_status_is_200(front: Front) -> None:
    call_by_grpc(front, "numpy", "fail", ("x-request-id", "native"))
    line = line_of(front, "native")
    assert (line["code"], line["grpc_status"], line["module"]) == (200, "NOT_FOUND", "numpy")
    assert line["path"] == "/jac_orc.v1.ModuleService/RunModule"


def test_what_succeeds_is_not_logged(front: Front) -> None:
    front.pods[-1].echo.go_on.set()
    front.http.post("/modules/numpy/f", json={}, headers={"x-request-id": "good-rest"})
    front.http.post("/v1/modules/numpy:stream", json={}, headers={"x-request-id": "good-stream"})
    call_by_grpc(front, "numpy", "f", ("x-request-id", "good-grpc"))
    front.http.post("/modules/dead/f", json={}, headers={"x-request-id": "after"})
    line_of(front, "after")
    assert "good" not in front.log.read_text()


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/v1/objects/numpy-127.0.0.1-50051-1-{}:no", "/v1/objects/numpy-127.0.0.1-50051-1-***:no"),
        ("/v1/objects/numpy%2D127.0.0.1%2D50051%2D1%2D{}", "/v1/objects/***"),
        ("/typo/numpy-10.0.0.7-5-12-{0}?x={0}", "/typo/numpy-10.0.0.7-5-12-***"),
        ("/v1/object/a.b_c-fd00__1-50051-2-{}/x", "/v1/object/a.b_c-fd00__1-50051-2-***/x"),
    ],
)
def test_an_objects_secret_is_not_logged(front: Front, path: str, logged: str) -> None:
    call_id = front.http.post(path.format(SECRET), json={}).headers["x-request-id"]
    assert line_of(front, call_id)["path"] == logged
    assert SECRET not in front.log.read_text()


@pytest.mark.parametrize("path", [b'/nowhere/%0a%00","level":"' + b"x" * 20_000, b"/\xff\xc3\xa4", b"/\x01\x1b[2J"])
def test_a_hostile_request_is_one_short_line(front: Front, path: bytes) -> None:
    before = front.log.read_text().count("\n")
    with socket.create_connection(("127.0.0.1", front.port), timeout=5) as connection:
        connection.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n")
        connection.sendall(b"x-module: " + b"\xffm" * 10_000 + b"\r\n\r\n")
        connection.recv(1000)
    eventually(lambda: front.log.read_text().count("\n") > before)
    (line,) = map(json.loads, front.log.read_text().splitlines()[before:])
    assert line["level"] == "warning"
    assert len(json.dumps(line)) < 5000


@pytest.mark.parametrize(("which", "expected"), [("off", []), ("all", [200, 404])])
def test_the_setting(tmp_path: Path, which: AccessLog, expected: list[int]) -> None:
    front = Front(tmp_path)
    front.listeners = [listener("127.0.0.1", front.port, log=which)]
    try:
        front.start()
        front.put("numpy", front.pod("numpy-1").endpoint)
        eventually(lambda: front.http.get("/v1/modules").status_code == 200)
        for path in ("/modules/numpy/f", "/modules/numpy/fail"):
            front.http.post(path, json={}, headers={"x-request-id": "here"})
        if expected:
            eventually(lambda: front.log.read_text().count("here") == len(expected))
        assert [line["code"] for line in lines(front) if line.get("call_id") == "here"] == expected
    finally:
        front.close()


def statistics(front: Front, module: str) -> dict[str, int]:
    """Return the gRPC counters of a module."""
    text = httpx.get(f"http://127.0.0.1:{front.status_port}/stats/prometheus", trust_env=False).text
    found = re.findall(rf'envoy_cluster_grpc_(\w+){{envoy_cluster_name="mod_{module}"}} (\d+)', text)
    return {name: int(value) for name, value in found}


@pytest.mark.parametrize("module", ["counted", "counted.inner"])
def test_statistics_count_failures_by_module(front: Front, module: str) -> None:
    front.put(module, Endpoint("127.0.0.1", port(front)))
    eventually(lambda: front.server_of(module) == "numpy-1")
    name = module.replace(".", "/")
    before = statistics(front, name)
    front.http.post(f"/modules/{module}/f", json={})
    front.http.post(f"/modules/{module}/fail", json={})
    call_by_grpc(front, module, "f")
    call_by_grpc(front, module, "fail")
    after = statistics(front, name)
    assert after["success"] - before["success"] == 2
    assert after["failure"] == after["5"] == 2


def test_statistics_are_bounded(front: Front) -> None:
    for number in range(20):
        front.http.post(f"/modules/numpy/f{number}", json={})
        with pytest.raises(grpc.RpcError):
            front.channel.unary_unary(f"/jac_orc.v1.ModuleService/M{number}", bytes, bytes)(
                b"", metadata=(("x-module", "numpy"),)
            )
    assert len(statistics(front, "numpy")) < 12


def test_a_pod_that_is_gone_is_a_failure_of_its_module(front: Front) -> None:
    front.put("gone", Endpoint("127.0.0.1", free_port()))
    eventually(lambda: front.http.post("/modules/gone/f", json={}).status_code == 503)
    call_by_grpc(front, "gone", "f")
    assert statistics(front, "gone")["failure"] == 1
    assert "success" not in statistics(front, "gone")
