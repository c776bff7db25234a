"""A real Envoy that lets in only who has an API key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from jac_orc.pod_manager.xds.listener import listener
from jac_orc.v1 import module_pb2, module_pb2_grpc
from tests.e2e.commands import run
from tests.feature.front_files import COMPONENTS, Mounted, api_keys
from tests.feature.module_servers import failure_of
from tests.feature.xds_front import Front, eventually, failure

EXAMPLE = COMPONENTS / "api-keys" / "example.yaml"
ALICE, BOB = "a" * 32, "b" * 32


@pytest.fixture
def keys(tmp_path: Path) -> Mounted:
    """The Secret, with a key of Alice's."""
    keys = Mounted(tmp_path / "keys")
    keys.put(keys_yaml=api_keys(alice=ALICE))
    return keys


@pytest.fixture
def front(tmp_path: Path, keys: Mounted) -> Iterator[Front]:
    """It serves the module `numpy` to Alice."""
    front = Front(tmp_path)
    front.listeners = [listener("127.0.0.1", front.port, api_keys=str(keys.folder / "keys.yaml"))]
    try:
        front.start()
        front.put("numpy", front.pod("numpy-1").endpoint)
        eventually(lambda: call(front, {"x-api-key": ALICE}).status_code == 200)
        yield front
        assert not front.rejected
    finally:
        front.close()


def call(front: Front, headers: dict[str, str], path: str = "/modules/numpy/f") -> httpx.Response:
    return front.http.post(path, json={}, headers=headers)


@pytest.mark.parametrize("headers", [{"x-api-key": ALICE}, {"authorization": f"Bearer {ALICE}"}], ids=["own", "bearer"])
def test_who_has_a_key(front: Front, headers: dict[str, str]) -> None:
    """The module learns whose it is, whatever the caller says of that, and not the key."""
    seen = call(front, headers | {"x-client-id": "root"}).json()
    assert seen["metadata"]["x-client-id"] == "alice"
    assert ALICE not in str(seen)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": ""},
        {"x-api-key": BOB},
        {"x-api-key": ALICE[:-1]},
        {"x-api-key": f"{ALICE},{BOB}"},
        {"authorization": f"Basic {ALICE}"},
        {"x-client-id": "alice"},
        {"cookie": f"x-api-key={ALICE}"},
    ],
)
def test_who_has_none(front: Front, headers: dict[str, str]) -> None:
    before = len(front.pod_manager.echo.calls)
    for path in ("/modules/numpy/f", "/modules/not_there/f", f"/run_module?module_name=other&x-api-key={ALICE}"):
        assert failure(call(front, headers, path)) == (401, 16, "UNAUTHENTICATED")
    assert len(front.pod_manager.echo.calls) == before, "strangers get to what deploys"


def test_by_grpc(front: Front) -> None:
    stub = module_pb2_grpc.ModuleServiceStub(front.channel)
    request, to = module_pb2.CallRequest(method="f"), ("x-module", "numpy")
    assert stub.Call(request, metadata=(to, ("x-api-key", ALICE)), timeout=5).result.string_value == "numpy-1"
    with pytest.raises(grpc.RpcError) as caught:
        stub.Call(request, metadata=(to,), timeout=5)
    told = failure_of(caught.value)
    assert (told.code, told.error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
    assert "x-api-key" in told.error.message
    questions = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    with pytest.raises(grpc.RpcError) as caught:
        list(reflection_pb2_grpc.ServerReflectionStub(front.channel).ServerReflectionInfo(questions, timeout=5))
    assert failure_of(caught.value).error.reason == "UNAUTHENTICATED"


def test_by_grpc_web(front: Front) -> None:
    message = module_pb2.CallRequest(method="f").SerializeToString()
    body = b"\0" + len(message).to_bytes(4) + message
    headers = {"content-type": "application/grpc-web+proto", "x-module": "numpy"}
    path = "/jac_orc.v1.ModuleService/Call"
    refused = front.http.post(path, content=body, headers=headers)
    assert (refused.status_code, refused.headers["grpc-status"]) == (401, "16")
    answered = front.http.post(path, content=body, headers=headers | {"x-api-key": ALICE})
    assert b"numpy-1" in answered.content and b"grpc-status:0" in answered.content


def test_keys_come_and_go(front: Front, keys: Mounted) -> None:
    def status(key: str) -> int:
        return call(front, {"x-api-key": key}).status_code

    keys.put(keys_yaml=api_keys(alice=ALICE, bob=BOB))
    eventually(lambda: status(BOB) == 200)
    assert status(ALICE) == 200
    keys.put(keys_yaml=api_keys(bob=BOB))
    eventually(lambda: status(ALICE) == 401)
    assert status(BOB) == 200
    keys.put(keys_yaml=api_keys(bob=BOB, carol=BOB))
    eventually(lambda: "uplicate" in front.log.read_text())
    assert status(BOB) == 200, "it goes on with what it has"
    keys.put(keys_yaml=api_keys())
    eventually(lambda: status(BOB) == 401)


def test_the_commands(front: Front) -> None:
    url = f"http://127.0.0.1:{front.port}"
    refused = run("list", "--url", url)
    assert refused.returncode == 1
    assert "no API key, or an unknown one" in refused.stderr and "JAC_ORC_API_KEY" in refused.stderr
    assert run("list", "--url", url, JAC_ORC_API_KEY=BOB).returncode == 1
    listed = run("list", "--url", url, JAC_ORC_API_KEY=ALICE)
    assert listed.returncode == 0 and "no module is deployed" in listed.stderr
    assert run("list", "--url", url, JAC_ORC_API_KEY="ä").returncode == 2
    made = run("create", "numpy", "--url", url, JAC_ORC_API_KEY=ALICE)
    assert made.returncode == 0, made.stderr
    found = run("doctor", "--url", url, "-o", "json")
    assert any("takes only who has an API key" in check["found"] for check in json.loads(found.stdout)["checks"])


@pytest.mark.parametrize("content", ["", "resources: []", "[", EXAMPLE.read_text()], ids=["", "none", "odd", "example"])
def test_a_file_without_keys_lets_nobody_in(tmp_path: Path, content: str) -> None:
    keys = Mounted(tmp_path / "keys")
    keys.put(keys_yaml=content)
    front = Front(tmp_path)
    front.listeners = [listener("127.0.0.1", front.port, api_keys=str(keys.folder / "keys.yaml"))]
    try:
        front.start()
        for key in ("", "KEY", ALICE):
            assert call(front, {"x-api-key": key}).status_code in (401, 500)
        assert not front.pod_manager.echo.calls
        keys.put(keys_yaml=api_keys(alice=ALICE))
        eventually(lambda: call(front, {"x-api-key": ALICE}).status_code == 200)
    finally:
        front.close()
