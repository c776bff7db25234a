"""gRPC through the front port: grpcurl as the README has it, Python stubs, health, gRPC-Web."""

from __future__ import annotations

import json
import struct
import subprocess
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from jac_orc.v1 import module_pb2, module_pb2_grpc, pod_manager_pb2, pod_manager_pb2_grpc
from tests.e2e.system import System, tool


def grpcurl(system: System, *arguments: str, head: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """A run of grpcurl against the front port."""
    command = [tool("grpcurl"), "-plaintext", *head, f"127.0.0.1:{system.port}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_list_names_the_services(system: System) -> None:
    services = grpcurl(system, "list").stdout.split()
    assert {"jac_orc.v1.ModuleService", "jac_orc.v1.PodManagerService", "grpc.health.v1.Health"} <= set(services)


@pytest.mark.parametrize("service", ["ModuleService", "PodManagerService"])
def test_describe_shows_the_methods(system: System, service: str) -> None:
    shown = grpcurl(system, "describe", f"jac_orc.v1.{service}")
    assert shown.returncode == 0, shown.stderr
    assert "rpc Call (" in shown.stdout or "rpc CreateModule (" in shown.stdout


def test_describe_works_on_a_module_too(system: System) -> None:
    system.call("math", "sqrt", 9)
    shown = grpcurl(system, "describe", "jac_orc.v1.CallRequest", head=("-H", "x-module: math"))
    assert "string method = 2;" in shown.stdout, shown.stderr


@pytest.mark.parametrize(
    ("head", "request_"),
    [
        (("-H", "x-module: math"), {"method": "sqrt", "args": [9]}),
        (("-authority", "math.modules.local"), {"method": "sqrt", "args": [9]}),
        ((), {"module_name": "math", "method": "sqrt", "args": [9]}),
        (("-H", "x-module: math"), {"method": "pow", "args": [3, 1]}),
    ],
    ids=["metadata", "authority", "field", "two arguments"],
)
def test_call_answers_three(system: System, head: tuple[str, ...], request_: dict[str, Any]) -> None:
    answer = grpcurl(system, "jac_orc.v1.ModuleService/Call", head=(*head, "-d", json.dumps(request_)))
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == {"result": 3}


@pytest.mark.parametrize("head", [(), ("-H", "x-module: statistics")], ids=["pod manager", "module"])
def test_health_is_serving(system: System, head: tuple[str, ...]) -> None:
    system.call("statistics", "mean", [1])
    answer = grpcurl(system, "grpc.health.v1.Health/Check", head=head)
    assert json.loads(answer.stdout) == {"status": "SERVING"}, answer.stderr


def test_an_error_tells_its_reason(system: System) -> None:
    head = ("-H", "x-module: math", "-d", '{"method": "sqrtt"}')
    answer = grpcurl(system, "jac_orc.v1.ModuleService/Call", head=head)
    assert "NotFound" in answer.stderr
    assert "FUNCTION_NOT_FOUND" in answer.stderr


def test_python_stubs(system: System) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{system.port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        serving = health_pb2.HealthCheckResponse.SERVING
        nowhere = health.Check(health_pb2.HealthCheckRequest(), metadata=(("x-module", "not_deployed"),))
        assert nowhere.status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        service = health_pb2.HealthCheckRequest(service="jac_orc.v1.PodManagerService")
        assert health.Check(service).status == serving
        modules = pod_manager_pb2_grpc.PodManagerServiceStub(channel)
        spec = pod_manager_pb2.ModuleSpec(module_name="math")
        created = modules.CreateModule(pod_manager_pb2.CreateModuleRequest(spec=spec))
        assert created.module.status.ready_replicas == 1
        stub = module_pb2_grpc.ModuleServiceStub(channel)
        request = module_pb2.CallRequest(method="sqrt")
        request.args.add().number_value = 9
        assert stub.Call(request, metadata=(("x-module", "math"),)).result.number_value == 3
        request = module_pb2.CallRequest(method="rest", module_name="orc_guest_slow")
        request.args.add().number_value = 60
        with pytest.raises(grpc.RpcError) as failure:
            stub.Call(request, timeout=3)
        assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_result_that_a_value_cannot_hold_is_an_object(system: System) -> None:
    head = ("-H", "x-module: math", "-d", '{"method": "factorial", "args": [30]}')
    answer = grpcurl(system, "jac_orc.v1.ModuleService/Call", head=head)
    assert '"repr": "265252859812191058636308480000000"' in answer.stdout, answer.stderr


def test_python_values_by_hand(system: System) -> None:
    call = {"method": "sqrt", "args": [{"float_value": 81}]}
    answer = grpcurl(
        system, "jac_orc.v1.ModuleService/CallPython", head=("-H", "x-module: math", "-d", json.dumps(call))
    )
    assert json.loads(answer.stdout) == {"result": {"float_value": 9}}, answer.stderr
    dependent = {"method": "sqrt", "args": [{"result_value": {}}]}
    answer = grpcurl(
        system, "jac_orc.v1.ModuleService/CallBatch",
        head=("-H", "x-module: math", "-d", json.dumps({"calls": [call | {"silent": True}, dependent]})),
    )  # fmt: skip
    first, second = json.loads(answer.stdout)["results"]
    assert (first, second["result"]) == ({}, {"float_value": 3})


def test_grpc_web(system: System) -> None:
    request = module_pb2.CallRequest(method="sqrt")
    request.args.add().number_value = 9
    message = request.SerializeToString()
    headers = {"content-type": "application/grpc-web+proto", "x-module": "math", "x-grpc-web": "1"}
    frame = struct.pack("!BI", 0, len(message)) + message
    response = system.http.post("/jac_orc.v1.ModuleService/Call", content=frame, headers=headers)
    assert response.status_code == 200
    kind, length = struct.unpack("!BI", response.content[:5])
    assert kind == 0
    assert module_pb2.CallResponse.FromString(response.content[5 : 5 + length]).result.number_value == 3
    assert b"grpc-status:0" in response.content[5 + length :]
