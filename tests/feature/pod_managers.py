"""The pod manager's services on a real server in this process, over the fake backend."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from google.api import httpbody_pb2

from jac_orc.core.server import Server
from jac_orc.pod_manager.activator import Activator
from jac_orc.pod_manager.backends.base import Backend
from jac_orc.pod_manager.held_calls import HeldLimits
from jac_orc.pod_manager.modules import Modules
from jac_orc.pod_manager.policy import Policy
from jac_orc.pod_manager.rest import RestServicer
from jac_orc.pod_manager.servicer import PodManagerServicer
from jac_orc.pod_manager.sources import Sources
from jac_orc.v1 import module_pb2, module_pb2_grpc, pod_manager_pb2, pod_manager_pb2_grpc, rest_pb2, rest_pb2_grpc
from tests.feature.module_servers import Failure, failure_of

MODULE_SERVICE = module_pb2.DESCRIPTOR.services_by_name["ModuleService"]
NATIVE = pod_manager_pb2.DESCRIPTOR.services_by_name["PodManagerService"]
REST = rest_pb2.DESCRIPTOR.services_by_name["PodManagerRestService"]


class PodManager:
    """Stubs of a running pod manager, and its modules."""

    def __init__(
        self, channel: grpc.aio.Channel, modules: Modules, activator: Activator, address: str, server: Server
    ) -> None:
        self.server = server
        self.address = address
        self.channel = channel
        self.activator = activator
        self.modules = modules
        self.native: Any = pod_manager_pb2_grpc.PodManagerServiceStub(channel)
        self.rest_stub: Any = rest_pb2_grpc.PodManagerRestServiceStub(channel)
        self.module: Any = module_pb2_grpc.ModuleServiceStub(channel)

    async def rest(self, method: str, body: Any = b"", **fields: Any) -> Any:
        """The JSON answer of a REST face."""
        descriptor = REST.methods_by_name[method]
        request = getattr(rest_pb2, descriptor.input_type.name)(**fields)
        if "body" in descriptor.input_type.fields_by_name:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            request.body.CopyFrom(httpbody_pb2.HttpBody(content_type="application/json", data=data))
        answer = await getattr(self.rest_stub, method)(request, timeout=5)
        assert answer.body.content_type == "application/json"
        return json.loads(answer.body.data)


@asynccontextmanager
async def running_pod_manager(
    backend: Backend, *, auto_deploy: bool = True, policy: Policy | None = None, limits: HeldLimits | None = None
) -> AsyncIterator[PodManager]:
    modules = Modules(backend, policy or Policy(), auto_deploy=auto_deploy)
    activator = Activator(MODULE_SERVICE, modules, limits)
    server = Server()
    directory = tempfile.TemporaryDirectory()
    native = PodManagerServicer(modules, Sources(Path(directory.name)))
    server.register(NATIVE, native, waiting="request")
    server.register(REST, RestServicer(native, modules), waiting="request")
    server.add_streams(MODULE_SERVICE, activator.behaviours())
    port = await server.start("127.0.0.1:0")
    await modules.start()
    following = asyncio.create_task(activator.follow())
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield PodManager(channel, modules, activator, f"127.0.0.1:{port}", server)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await activator.stop()
        await modules.stop()
        await server.stop(0)
        directory.cleanup()


async def failure(call: Awaitable[Any]) -> Failure:
    """How the call fails."""
    try:
        result = await call
    except grpc.aio.AioRpcError as error:
        return failure_of(error)
    raise AssertionError(f"the call succeeded: {result}")
