"""Creating is a right, and calling is not a way around it: modules that give access to the host, on every face."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from jac_orc.client.connection import Connection
from jac_orc.v1 import module_pb2, module_pb2_grpc
from jac_orc.v1 import pod_manager_pb2 as pb
from jac_orc.v1.pod_manager_pb2_grpc import PodManagerServiceStub
from tests.e2e.commands import run
from tests.e2e.system import System, reason
from tests.feature.module_servers import failure_of


@pytest.fixture
def module(request: pytest.FixtureRequest, system: System) -> Iterator[str]:
    """A module that no call deploys."""
    name: str = request.param
    response = system.try_call(name, "getcwd")
    assert (response.status_code, reason(response)) == (403, "MODULE_REFUSED")
    message = response.json()["message"]
    assert f"jac-orc create {name}" in message and f"POST /create_pod/{name}" in message
    assert system.left(name) == []
    yield name
    system.remove(name)


@pytest.mark.parametrize("module", ["os"], indirect=True)
def test_the_command_creates_it(system: System, module: str) -> None:
    url = f"http://127.0.0.1:{system.port}"
    created = run("create", module, "--url", url)
    assert created.returncode == 0, created.stderr
    assert f"{url}/v1/modules/os:describe" in created.stdout, "no call that does something is proposed"
    assert system.call(module, "path.join", "a", "b") == "a/b"
    assert system.call(module, "getcwd").startswith("/")


@pytest.mark.parametrize("module", ["glob"], indirect=True)
def test_rest_creates_it(system: System, module: str) -> None:
    planned = system.post("/v1/modules:plan", {"module_name": module})
    assert planned.status_code == 200 and system.left(module) == []
    assert system.post(f"/create_pod/{module}", b"").status_code == 200
    assert system.call(module, "escape", "*") == "[*]"


@pytest.mark.parametrize("module", ["urllib.request"], indirect=True)
def test_grpc_and_the_stubs_create_it(system: System, module: str) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{system.port}") as channel:
        calls = module_pb2_grpc.ModuleServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            calls.Call(module_pb2.CallRequest(method="urlopen"), metadata=(("x-module", module),), timeout=60)
        assert failure_of(caught.value).error.reason == "MODULE_REFUSED"
        created = PodManagerServiceStub(channel).CreateModule(
            pb.CreateModuleRequest(spec=pb.ModuleSpec(module_name=module)), timeout=60
        )
        assert created.module.status.phase == pb.MODULE_PHASE_READY
    with Connection(f"127.0.0.1:{system.port}", module) as connection:
        assert connection.call("pathname2url", "a b") == "a%20b"


def test_a_package_that_a_call_deploys_is_no_way_around(system: System) -> None:
    assert system.call("urllib", "parse.quote", "a b") == "a%20b"
    response = system.try_call("urllib", "request.urlopen", "file:///etc/hostname")
    assert (response.status_code, reason(response)) == (403, "NAME_NOT_EXPOSED")
    assert "create the module urllib.request to call it" in response.json()["message"]
