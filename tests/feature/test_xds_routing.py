"""Where the front proxy sends a request: to the pod manager, or straight to a module's pods."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import grpc
import httpx
import pytest

from jac_orc.pod_manager.backends.fake import FakeBackend
from jac_orc.pod_manager.model import ModuleSpec
from jac_orc.pod_manager.publisher import Publisher
from jac_orc.v1 import module_pb2, module_pb2_grpc, pod_manager_pb2, pod_manager_pb2_grpc
from tests.feature.conftest import Start
from tests.feature.xds_front import JSON, Front, eventually, failure, running_front

ROUTE = (404, 5, "ROUTE_NOT_FOUND")


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    yield from running_front(tmp_path_factory.mktemp("front"))


@pytest.mark.parametrize(
    ("method", "path", "server", "rpc"),
    [
        ("POST", "/create_pod/numpy", "podmgr", "CreatePod"),
        ("DELETE", "/delete_pod/numpy", "podmgr", "DeletePod"),
        ("GET", "/v1/modules", "podmgr", "RestListModules"),
        ("GET", "/v1/modules?page_size=3&timeout=3S", "podmgr", "RestListModules"),
        ("POST", "/v1/modules", "podmgr", "RestCreateModule"),
        ("GET", "/v1/modules/numpy", "podmgr", "RestGetModule"),
        ("PATCH", "/v1/modules/numpy", "podmgr", "RestUpdateModule"),
        ("DELETE", "/v1/modules/numpy", "podmgr", "RestDeleteModule"),
        ("POST", "/v1/modules/numpy:scale", "podmgr", "RestScaleModule"),
        ("POST", "/v1/modules:plan", "podmgr", "RestPlanModule"),
        ("POST", "/run_module?module_name=numpy&method_name=f", "numpy-1", "RunModule"),
        ("POST", "/v1/modules/numpy:call", "numpy-1", "CallJson"),
        ("POST", "/modules/numpy/linalg.norm", "numpy-1", "CallNamed"),
        ("GET", "/v1/modules/numpy/openapi.json", "numpy-1", "GetOpenApi"),
        ("GET", "/v1/modules/numpy/proto", "numpy-1", "GetProto"),
        # Not deployed, or not to be seen from outside the body: the pod manager takes it on.
        ("POST", "/run_module?module_name=pandas&method_name=f", "podmgr", "RunModule"),
        ("POST", "/run_module", "podmgr", "RunModule"),
        ("POST", "/v1/modules/pandas:call", "podmgr", "CallJson"),
        ("POST", "/modules/pandas/f", "podmgr", "CallNamed"),
        ("POST", "/modules/nu%6Dpy/f", "podmgr", "CallNamed"),
        ("POST", "/modules/h%C3%A9/f", "podmgr", "CallNamed"),
    ],
)
@pytest.mark.parametrize("http2", [False, True])
def test_routes(front: Front, method: str, path: str, server: str, rpc: str, http2: bool) -> None:
    if http2:
        answer = curl_http2(front, method, path)
    else:
        answer = front.http.request(method, path, headers=JSON, content=b'{"a":1}').json()
    assert (answer["server"], answer["rpc"]) == (server, rpc)


def curl_http2(front: Front, method: str, path: str) -> dict[str, str]:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("there is no curl, and no other HTTP/2 client is needed here")
    url = f"http://127.0.0.1:{front.port}{path}"
    command = [curl, "-sS", "--noproxy", "*", "--http2-prior-knowledge", "-X", method, "-d", "{}", "-H"]
    output = subprocess.run([*command, "Content-Type: application/json", url], check=True, capture_output=True).stdout
    answer: dict[str, str] = json.loads(output)
    return answer


def test_describe_is_plain_json(front: Front) -> None:
    answer = front.http.get("/v1/modules/numpy:describe?timeout=3S")
    assert answer.json() == {"module_name": "numpy", "version": "numpy-1", "documentation": "", "members": []}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/nowhere"),
        ("PUT", "/v1/modules"),
        ("GET", "/v1/modules/numpy:call"),
        ("POST", "/modules/numpy"),
        ("POST", "/v1/modules/numpy:what"),
        ("POST", "/create%5Fpod/x"),
        ("POST", "//create_pod/x"),
        ("GET", "/create_pod/x"),
        ("OPTIONS", "/v1/modules"),
    ],
)
def test_no_such_route(front: Front, method: str, path: str) -> None:
    url = httpx.URL(f"http://127.0.0.1:{front.port}").copy_with(raw_path=path.encode())
    headers = {**JSON, "x-module": "numpy"}
    response = front.http.request(method, url, headers=headers)
    assert failure(response) == ROUTE
    assert response.json()["message"] == f"no such route: {method} {path}"


def test_bodies_pass_as_they_are(front: Front) -> None:
    body = b'{"b": 9007199254740993, "a": NaN, "b":1}\n'
    answer = front.http.post("/modules/numpy/f", content=body, headers={"content-type": "application/json; x=y"}).json()
    assert (answer["body"].encode(), answer["content_type"]) == (body, "application/json; x=y")
    answer = front.http.post("/modules/numpy/f", headers=JSON).json()
    assert answer["body"] == ""
    binary = front.http.post("/modules/numpy/binary", headers=JSON)
    assert (binary.content, binary.headers["content-type"]) == (b"\x00\xff{", "application/x-raw")
    assert len(front.http.post("/modules/numpy/big", content=b" " * 5_000_000, headers=JSON).content) == 6_000_000


def test_queries_and_paths_become_fields(front: Front) -> None:
    path = "/run_module?module_name=numpy&method_name=linalg.n%6Frm&obj_id=a%2Fb"
    fields = front.http.post(path, headers=JSON).json()["request"]
    assert fields == {"module_name": "numpy", "method_name": "linalg.norm", "obj_id": "a/b"}
    assert front.http.post("/create_pod/a.b_C?wait=false").json()["request"] == {"module_name": "a.b_C", "wait": False}


def test_the_clients_header_wins_but_not_over_the_pod_managers_routes(front: Front) -> None:
    numpy = {**JSON, "x-module": "numpy"}
    assert front.http.post("/run_module?module_name=pandas", headers=numpy).json()["server"] == "numpy-1"
    assert front.http.post("/run_module", headers=numpy).json()["server"] == "numpy-1"
    for method, path in [
        ("POST", "/create_pod/x"),
        ("DELETE", "/delete_pod/x"),
        ("GET", "/v1/modules"),
        ("GET", "/v1/modules/x"),
        ("GET", "/v1/modules/x:y"),
        ("POST", "/v1/modules/x:scale"),
    ]:
        assert front.http.request(method, path, headers=numpy).json()["server"] == "podmgr"
    stub = pod_manager_pb2_grpc.PodManagerServiceStub(front.channel)
    before = len(front.pods[0].echo.calls)
    stub.GetModule(pod_manager_pb2.GetModuleRequest(), metadata=(("x-module", "numpy"),))
    assert front.pods[0].echo.calls[before:] == ["GetModule"]


@pytest.mark.parametrize(
    "name", ["a/b", "numpy ", "podmgr", "xds", "mod:numpy", "..", "é", "a" * 10_000, "numpy,numpy"]
)
def test_names_of_no_module_reach_the_pod_manager(front: Front, name: str) -> None:
    answer = front.http.post(f"/run_module?module_name={quote(name)}", headers=JSON).json()
    assert (answer["server"], answer["request"]["module_name"]) == ("podmgr", name)


def test_long_names_in_paths(front: Front) -> None:
    name = "n" * 10_000
    assert front.http.post(f"/modules/{name}/f", headers=JSON).json()["request"]["module_name"] == name
    assert front.http.get(f"/v1/modules/{name}").json()["request"]["module_name"] == name


@pytest.mark.parametrize("name", ["numpy%0d%0ax-evil:%201", "numpy%0ax-evil:1", "numpy%00"])
def test_names_inject_no_headers(front: Front, name: str) -> None:
    response = front.http.post(f"/run_module?module_name={name}", headers=JSON)
    assert failure(response) == (400, 3, "MALFORMED_REQUEST")
    metadata = front.http.post(f"/modules/{name}/f", headers=JSON).json()["metadata"]
    assert "x-evil" not in metadata


def test_two_modules_in_headers(front: Front) -> None:
    headers = [("x-module", "numpy"), ("x-module", "pandas"), *JSON.items()]
    assert front.http.post("/run_module", headers=headers).json()["server"] == "podmgr"


def test_clients_cannot_steer_envoy(front: Front) -> None:
    headers = {**JSON, "x-forwarded-for": "10.0.0.1", "x-envoy-upstream-rq-timeout-ms": "1", "x-envoy-retry-on": "5xx"}
    metadata = front.http.post("/modules/numpy/f", headers={**headers, "x-envoy-original-path": "/x"}).json()[
        "metadata"
    ]
    assert not {"x-envoy-upstream-rq-timeout-ms", "x-envoy-retry-on"} & set(metadata)
    assert metadata["x-envoy-original-path"] == "/modules/numpy/f"  # the transcoder's


def test_a_path_names_its_module_in_spite_of_the_host(front: Front) -> None:
    for path in ("/modules/numpy/f", "/v1/modules/numpy:call"):
        answer = front.http.post(path, json={}, headers={"host": "pandas.modules.local"}).json()
        assert answer["server"].startswith("numpy"), path


@pytest.mark.parametrize("authority", ["numpy.modules.local", "numpy.modules.local:8080"])
def test_grpc_by_authority(front: Front, authority: str) -> None:
    options = [("grpc.default_authority", authority)]
    with grpc.insecure_channel(f"localhost:{front.port}", options=options) as channel:
        answer = module_pb2_grpc.ModuleServiceStub(channel).Call(module_pb2.CallRequest())
    assert answer.result.string_value == "numpy-1"


def test_grpc_by_metadata(front: Front) -> None:
    stub = module_pb2_grpc.ModuleServiceStub(front.channel)
    for module, server in [("numpy", "numpy-1"), ("pandas", "podmgr"), ("num-py", "podmgr")]:
        answer = stub.Call(module_pb2.CallRequest(), metadata=(("x-module", module),))
        assert answer.result.string_value == server
    assert stub.Call(module_pb2.CallRequest()).result.string_value == "podmgr"
    items = stub.Stream(module_pb2.StreamRequest(), metadata=(("x-module", "numpy"),))
    assert [item.result.number_value for item in items] == [0, 1, 2]


@pytest.mark.parametrize("route", [["-H", "x-module: numpy"], ["-authority", "numpy.modules.local"]])
def test_grpcurl_with_reflection(front: Front, route: list[str]) -> None:
    grpcurl = shutil.which("grpcurl") or shutil.which("grpcurl", path=str(Path(sys.executable).parent))
    if grpcurl is None:
        pytest.skip("there is no grpcurl")
    address, method = f"localhost:{front.port}", "jac_orc.v1.ModuleService/Call"
    done = subprocess.run([grpcurl, "-plaintext", *route, "-d", "{}", address, method], capture_output=True, check=True)
    assert json.loads(done.stdout) == {"result": "numpy-1"}


@pytest.mark.parametrize("text", [False, True])
def test_grpc_web(front: Front, text: bool) -> None:
    frame = b"\0\0\0\0\0"
    headers = {"content-type": "application/grpc-web" + ("-text" if text else "+proto"), "x-module": "numpy"}
    content = base64.b64encode(frame) if text else frame
    answer = front.http.post("/jac_orc.v1.ModuleService/Call", content=content, headers=headers)
    assert answer.status_code == 200
    assert b"numpy-1" in answer.content
    assert b"grpc-status:0" in answer.content


def test_streams_arrive_item_by_item(front: Front) -> None:
    go_on = front.pods[-1].echo.go_on
    try:
        with front.http.stream("POST", "/v1/modules/numpy:stream", content=b"{}", headers=JSON) as answer:
            assert answer.headers["content-type"] == "application/x-ndjson"
            chunks = answer.iter_raw()
            first = next(chunks)
            assert json.loads(first)["first"]["server"] == "numpy-1"
            time.sleep(0.1)
            go_on.set()
            assert b"".join(chunks) == b'{"second":1}\n{"third":1}\n'
    finally:
        go_on.clear()


def test_an_empty_first_message_brings_the_headers_of_a_stream(front: Front) -> None:
    """The transcoder holds them back until the first message, which tells the content type."""
    go_on = front.pods[0].echo.go_on
    try:
        with front.http.stream("GET", "/v1/modules:watch") as answer:
            assert answer.headers["content-type"] == "application/x-ndjson"
            go_on.set()
            assert b"".join(answer.iter_raw()) == b'{"second":1}\n{"third":1}\n'
    finally:
        go_on.clear()


def test_a_pod_with_an_ipv6_address_is_called(front: Front, start_server: Start) -> None:
    pod = start_server("orc_feature_objects", host="::1").serving()
    backend = FakeBackend(f"[::1]:{pod.port}")
    front.loop.run(backend.apply(ModuleSpec("orc_feature_objects")))
    front.loop.call(Publisher(backend, front.snapshot, ("127.0.0.1", front.pod_manager.port)).publish_all)
    url = "/modules/orc_feature_objects/Counter"
    eventually(lambda: "server" not in front.http.post(url, json={}).json())
    created = front.http.post(url, json={"start": 5}).json()["result"]
    assert f"-__1-{pod.port}-" in created["obj_id"]
    body = {"obj_id": created["obj_id"], "method": "add", "args": [2]}
    assert front.http.post("/v1/modules/orc_feature_objects:call", json=body).json() == {"result": 7}
    assert front.http.delete(f"/v1/objects/{created['obj_id']}").status_code == 200
    front.drop("orc_feature_objects")
