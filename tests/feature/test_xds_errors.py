"""What clients read when a call fails, above all when no server answers it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from jac_orc.v1 import module_pb2, module_pb2_grpc
from tests.feature.xds_front import JSON, Front, failure, running_front

UNAVAILABLE = (503, 14, "MODULE_UNAVAILABLE")
DEADLINE = (504, 4, "DEADLINE_EXCEEDED")
MALFORMED = (400, 3, "MALFORMED_REQUEST")


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    yield from running_front(tmp_path_factory.mktemp("front"))


def test_the_servers_errors_pass(front: Front) -> None:
    response = front.http.post("/modules/numpy/fail", headers=JSON)
    assert failure(response) == (404, 5, "FUNCTION_NOT_FOUND")
    told = response.json()["details"][0]["metadata"]
    assert told.pop("call_id") and told == {"near": "fall"}


@pytest.mark.parametrize("module", ["dead", "empty"])
@pytest.mark.parametrize("path", ["/modules/{}/f", "/v1/modules/{}:call", "/v1/modules/{}:stream"])
def test_no_pod_answers(front: Front, module: str, path: str) -> None:
    assert failure(front.http.post(path.format(module), json={})) == UNAVAILABLE


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/v1/modules?bogus=1", 'Could not find field "bogus"'),
        ("/v1/modules/numpy:describe?bogus=1", 'Could not find field "bogus"'),
        ("/v1/modules?page_size=x", "page_size: invalid value"),
        ("/v1/modules?page_token.bogus=1", "page_token"),
        ("/v1/modules/numpy:logs?follow=perhaps", "follow: invalid value"),
    ],
)
def test_unknown_and_malformed_query_parameters(front: Front, path: str, message: str) -> None:
    response = front.http.get(path)
    assert failure(response) == MALFORMED
    assert message in response.json()["message"]


@pytest.mark.parametrize(
    "path", ["/run_module?module_name=numpy&args=1", "/modules/numpy/f?x=1", "/create_pod/m?replicas=2"]
)
def test_unknown_query_parameters_of_calls_do_not_reach_the_server(front: Front, path: str) -> None:
    before = [len(pod.echo.calls) for pod in front.pods]
    assert failure(front.http.post(path, json={})) == MALFORMED
    assert [len(pod.echo.calls) for pod in front.pods] == before


def test_bodies_over_the_limit(front: Front) -> None:
    response = front.http.post("/modules/numpy/f", content=bytes(64 * 1024 * 1024 + 1), headers=JSON)
    assert failure(response) == (413, 8, "TOO_LARGE")
    assert response.json()["details"][0]["metadata"]["limit"] == str(64 * 1024 * 1024)


def test_deadlines_of_rest_clients(front: Front) -> None:
    for response in (
        front.http.post("/modules/numpy/sleep?timeout=100m", json={}),
        front.http.post("/modules/numpy/sleep", json={}, headers={"grpc-timeout": "100m"}),
        front.http.post("/modules/numpy/sleep?timeout=0m", json={}),
    ):
        assert failure(response) == DEADLINE


def test_the_server_sees_the_deadline_without_a_cap(front: Front) -> None:
    remaining = front.http.post("/modules/numpy/f?timeout=2H", json={}).json()["remaining"]
    assert 7190 < remaining <= 7200
    assert front.http.post("/modules/numpy/f", json={}).json()["remaining"] is None
    # The header wins over the query.
    headers = {"grpc-timeout": "100S"}
    assert front.http.post("/modules/numpy/f?timeout=2H", json={}, headers=headers).json()["remaining"] <= 100


@pytest.mark.parametrize(
    ("module", "method", "code", "reason"),
    [
        ("dead", "f", grpc.StatusCode.UNAVAILABLE, "MODULE_UNAVAILABLE"),
        ("empty", "f", grpc.StatusCode.UNAVAILABLE, "MODULE_UNAVAILABLE"),
        ("numpy", "fail", grpc.StatusCode.NOT_FOUND, "FUNCTION_NOT_FOUND"),
    ],
)
def test_grpc_clients_get_plain_messages_and_details(
    front: Front,
    module: str,
    method: str,
    code: grpc.StatusCode,
    reason: str,
) -> None:
    stub = module_pb2_grpc.ModuleServiceStub(front.channel)
    metadata = (("x-module", module),)
    with pytest.raises(grpc.RpcError) as caught:
        stub.RunModule(module_pb2.RunModuleRequest(method_name=method), metadata=metadata)
    assert caught.value.code() is code
    assert "{" not in (caught.value.details() or "")
    status = rpc_status.from_call(cast(grpc.Call, caught.value))
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == (reason, "jac_orc")


def test_deadlines_of_grpc_clients(front: Front) -> None:
    stub = module_pb2_grpc.ModuleServiceStub(front.channel)
    request = module_pb2.RunModuleRequest(method_name="sleep")
    # As metadata only, so that it is not this client's library that ends the call.
    metadata = (("x-module", "numpy"), ("grpc-timeout", "100m"))
    with pytest.raises(grpc.RpcError) as caught:
        stub.RunModule(request, metadata=metadata)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_grpc_web_clients_get_the_status(front: Front) -> None:
    headers = {"content-type": "application/grpc-web+proto", "x-module": "dead"}
    response = front.http.post("/jac_orc.v1.ModuleService/Call", content=b"\0\0\0\0\0", headers=headers)
    assert response.headers["grpc-status"] == "14"
    assert "{" not in response.headers["grpc-message"]


def test_unknown_grpc_methods(front: Front) -> None:
    for path in ("/nowhere.Service/Call", "/jac_orc.v1.ModuleService/Nothing"):
        with pytest.raises(grpc.RpcError) as caught:
            front.channel.unary_unary(path, bytes, bytes)(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
