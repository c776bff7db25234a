"""The port at which module servers ask for their module's pods: that, and nothing else, can be done there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from jac_orc.pod_manager.backends.fake import FakeBackend
from jac_orc.pod_manager.model import ModuleSpec
from jac_orc.pod_manager.modules import Modules
from jac_orc.pod_manager.peers import peers_server
from jac_orc.pod_manager.policy import Policy
from jac_orc.v1 import module_pb2, pod_manager_pb2, rest_pb2

SERVICES = [
    (service, method)
    for file, service in ((pod_manager_pb2, "PodManagerService"), (rest_pb2, "PodManagerRestService"),
                          (module_pb2, "ModuleService"))
    for method in file.DESCRIPTOR.services_by_name[service].methods_by_name
    if method != "GetModule"
]  # fmt: skip


@pytest.fixture
async def channel(no_task_left: None) -> AsyncIterator[grpc.aio.Channel]:
    backend = FakeBackend()
    await backend.apply(ModuleSpec("math", replicas=2, env={"PASSWORD": "secret"}))
    server = peers_server(Modules(backend, Policy(), auto_deploy=True))
    port = await server.start("127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(0)


async def call(channel: grpc.aio.Channel, service: str, method: str, request: Any) -> bytes:
    answers: Any = channel.stream_stream(f"/jac_orc.v1.{service}/{method}")(iter([request.SerializeToString()]))
    return b"".join([answer async for answer in answers])


async def test_it_tells_where_a_modules_pods_are(channel: grpc.aio.Channel) -> None:
    request = pod_manager_pb2.GetModuleRequest(module_name="math")
    data = await call(channel, "PodManagerService", "GetModule", request)
    module = pod_manager_pb2.GetModuleResponse.FromString(data).module
    assert (module.name, [pod.address for pod in module.status.pods]) == ("math", ["127.0.0.1:1"] * 2)
    assert not module.HasField("spec") and b"secret" not in data


@pytest.mark.parametrize(("service", "method"), SERVICES)
async def test_it_does_nothing_else(channel: grpc.aio.Channel, service: str, method: str) -> None:
    # Without a message: to write one after the refusal is an error of the client's library.
    refused: Any = channel.stream_stream(f"/jac_orc.v1.{service}/{method}")()
    assert await refused.code() is grpc.StatusCode.UNIMPLEMENTED
