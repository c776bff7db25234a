"""Who is let in by the front proxy: hosts, origins, content types."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import grpc
import pytest

from jac_orc.v1 import module_pb2, module_pb2_grpc
from tests.feature.xds_front import JSON, Front, failure, running_front

CALL = "/modules/numpy/f"
HOST = (403, 7, "HOST_NOT_ALLOWED")
CONTENT_TYPE = (415, 3, "CONTENT_TYPE_NOT_SUPPORTED")
MALFORMED = (400, 3, "MALFORMED_REQUEST")
JSON_BYTES = b"Content-Type: application/json\r\nContent-Length: 0\r\n\r\n"
MODULE_CALL = "/jac_orc.v1.ModuleService/Call"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    yield from running_front(tmp_path_factory.mktemp("front"))


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8080",
        "LOCALHOST",
        "127.0.0.1:1",
        "[::1]",
        "[::1]:9",
        "x.modules.local",
        "a.b.modules.local:7",
    ],
)
def test_allowed_hosts(front: Front, host: str) -> None:
    assert front.http.post(CALL, json={}, headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.", "modules.local", "localhost.evil.example", "127.0.0.2"])
def test_other_hosts(front: Front, host: str) -> None:
    response = front.http.post(CALL, json={}, headers={"host": host})
    assert failure(response) == HOST
    assert "*.modules.local" in response.json()["message"]


def test_paths_with_dots_lead_nowhere(front: Front) -> None:
    for path in (b"/x/../create_pod/x", b"/modules/numpy/../../create_pod/x"):
        assert b"ROUTE_NOT_FOUND" in raw(front, b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\n" + JSON_BYTES)


def test_the_target_of_the_request_counts_as_its_host(front: Front) -> None:
    assert b"HOST_NOT_ALLOWED" in raw(front, b"GET http://evil.example/v1/modules HTTP/1.1\r\nHost: localhost\r\n\r\n")


@pytest.mark.parametrize(
    "origin",
    ["http://localhost:3000", "https://localhost", "http://127.0.0.1:1", "http://[::1]:2", "http://a.modules.local"],
)
def test_allowed_origins(front: Front, origin: str) -> None:
    assert front.http.post(CALL, json={}, headers={"origin": origin}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://localhost.evil.example"},
        {"origin": "http://evil.example/.modules.local"},
        {"origin": "http://localhost@evil.example"},
        {"origin": "http://localhostx"},
        {"sec-fetch-site": "cross-site"},
    ],
)
@pytest.mark.parametrize("path", [CALL, "/create_pod/numpy", MODULE_CALL])
def test_web_pages_of_other_sites(front: Front, headers: dict[str, str], path: str) -> None:
    assert failure(front.http.post(path, json={}, headers=headers)) == HOST


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", "application/json ;x"])
def test_json_content_types(front: Front, content_type: str) -> None:
    assert front.http.post(CALL, content=b"{}", headers={"content-type": content_type}).status_code == 200


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonx",
        "text/plain; application/json",
        "application/json, text/plain",
    ],
)
@pytest.mark.parametrize("path", [CALL, "/create_pod/numpy", "/v1/modules", "/nowhere"])
def test_other_content_types(front: Front, content_type: str, path: str) -> None:
    response = front.http.post(path, content=b"{}", headers={"content-type": content_type})
    assert failure(response) == CONTENT_TYPE
    assert "-H 'Content-Type: application/json'" in response.json()["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", CALL),
        ("POST", "/run_module?module_name=numpy"),
        ("POST", "/v1/modules"),
        ("PATCH", "/v1/modules/numpy"),
    ],
)
def test_no_content_type(front: Front, method: str, path: str) -> None:
    for content in (b"", b"{}"):
        assert failure(front.http.request(method, path, content=content)) == CONTENT_TYPE


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/create_pod/numpy"),
        ("POST", "/v1/objects/o1:renew"),
        ("DELETE", "/v1/objects/o1"),
        ("DELETE", "/delete_pod/numpy"),
        ("GET", "/v1/modules"),
    ],
)
def test_no_content_type_where_the_body_is_optional(front: Front, method: str, path: str) -> None:
    assert front.http.request(method, path).status_code == 200


@pytest.mark.parametrize("timeout", ["abc", "5", "1s", "-1S", "123456789S", "1S1S"])
def test_timeouts_of_no_form(front: Front, timeout: str) -> None:
    assert failure(front.http.post(CALL, json={}, params={"timeout": timeout})) == MALFORMED
    assert failure(front.http.post(CALL, json={}, headers={"grpc-timeout": timeout})) == MALFORMED


@pytest.mark.parametrize("path", [CALL, "/v1/modules/numpy:call", "/run_module?module_name=numpy"])
def test_headers_of_grpc(front: Front, path: str) -> None:
    assert failure(front.http.post(path, json={}, headers={"grpc-encoding": "gzip"})) == MALFORMED
    assert failure(front.http.post(path, json={}, headers={"grpc-timeout": "0S"}))[0] == 504


def test_a_name_in_the_path_and_in_the_query(front: Front) -> None:
    for method, path in [
        ("POST", f"{CALL}?module_name=os"),
        ("POST", f"{CALL}?method_name=g"),
        ("POST", "/create_pod/numpy?module_name=os"),
        ("DELETE", "/delete_pod/numpy?wait=1&module_name=os"),
        ("GET", "/v1/modules/numpy?module_name=os"),
    ]:
        assert failure(front.http.request(method, path, headers=JSON)) == MALFORMED


def test_refused_grpc_clients_are_told_why(front: Front) -> None:
    options = [("grpc.default_authority", "evil.example")]
    with (
        grpc.insecure_channel(f"localhost:{front.port}", options=options) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        module_pb2_grpc.ModuleServiceStub(channel).Call(module_pb2.CallRequest())
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert caught.value.details() == "the host or the origin is not let in"


@pytest.mark.parametrize(
    ("request_bytes", "status", "reason"),
    [
        (b"garbage\r\n\r\n", b"400", b"MALFORMED_REQUEST"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400", b"MALFORMED_REQUEST"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nx: " + b"a" * 70_000 + b"\r\n\r\n", b"431", b"TOO_LARGE"),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", b"400", b"MALFORMED_REQUEST"),
    ],
)
def test_what_is_no_proper_http(front: Front, request_bytes: bytes, status: bytes, reason: bytes) -> None:
    answer = raw(front, request_bytes)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert reason in answer
    assert b"content-type: application/json" in answer


def raw(front: Front, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", front.port), timeout=5) as connection:
        connection.sendall(data)
        answer = connection.recv(65536)
        while b"}\n" not in answer:
            answer += connection.recv(65536)
        return answer
