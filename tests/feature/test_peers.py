"""Calls that are sent on to other pods of the module: none hangs, and nothing piles up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from jac_orc.core.server import Server
from jac_orc.errors import OrcError, error
from jac_orc.module_server.peers import Peers, place_of
from jac_orc.pod_manager.backends.fake import FakeBackend
from jac_orc.pod_manager.model import ModuleSpec
from jac_orc.v1 import module_pb2
from tests.feature.pod_managers import MODULE_SERVICE, running_pod_manager
from tests.support import eventually

PATH = f"/{MODULE_SERVICE.full_name}"
ITEM_BYTES = 100_000


class Holder:
    """A pod that has every object."""

    def __init__(self) -> None:
        self.waiting = 0
        self.written = 0

    async def Call(self, request: module_pb2.CallRequest, context: Any) -> module_pb2.CallResponse:
        if request.method == "wait":
            await self._wait()
        return module_pb2.CallResponse()

    async def GetValue(self, request: module_pb2.GetValueRequest, context: Any) -> AsyncIterator[Any]:
        await self._wait()
        yield module_pb2.GetValueResponse()

    async def StreamPython(self, request: module_pb2.StreamPythonRequest, context: Any) -> AsyncIterator[Any]:
        self.waiting += 1
        try:
            while True:
                yield module_pb2.StreamPythonResponse(result={"bytes_value": bytes(ITEM_BYTES)})
                self.written += 1
        finally:
            self.waiting -= 1

    async def _wait(self) -> None:
        self.waiting += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.waiting -= 1

    def __getattr__(self, name: str) -> Any:
        async def unused(request: Any, context: Any) -> None:
            raise error("NOT_IMPLEMENTED", name)

        return unused


class Relaying:
    """A pod, what sends calls on to it, and the id of an object of it."""

    def __init__(self, holder: Holder, peers: Peers, obj_id: str) -> None:
        self.holder = holder
        self.peers = peers
        self._obj_id = obj_id

    def call(self, method: str = "") -> asyncio.Task[bytes]:
        request = module_pb2.CallRequest(method=method).SerializeToString()
        return asyncio.create_task(self.peers.call(f"{PATH}/Call", request, self._obj_id, 10))

    def stream(self, method: str) -> AsyncGenerator[bytes]:
        return self.peers.stream(f"{PATH}/{method}", b"", self._obj_id, 10)

    async def waiting(self, count: int) -> None:
        """Returns when so many calls wait there."""
        await eventually(lambda: self.holder.waiting == count)


@pytest.fixture
async def relaying(no_task_left: None) -> AsyncIterator[Relaying]:
    server, holder = Server(), Holder()
    server.register(MODULE_SERVICE, holder)
    port = await server.start("127.0.0.1:0")
    backend = FakeBackend(f"127.0.0.1:{port}")
    async with running_pod_manager(backend) as manager:
        await backend.apply(ModuleSpec("math"))
        peers = Peers("math", manager.address)
        yield Relaying(holder, peers, place_of("math", "127.0.0.1", port) + "-1-abc")
        await peers.stop()
    await server.stop(0)


async def test_who_gives_up_frees_the_other_pod(relaying: Relaying) -> None:
    calls = [relaying.call("wait") for _ in range(10)]
    await relaying.waiting(10)
    for call in calls:
        call.cancel()
    await relaying.waiting(0)
    for read in (0, 1, 50):
        async with aclosing(relaying.stream("StreamPython")) as items:
            await anext(items)
            for _ in range(read):
                await anext(items)
            await relaying.waiting(1)
        await relaying.waiting(0)
    assert await relaying.call() == b""


async def test_what_waits_for_a_reader_that_does_not_read_is_bounded(relaying: Relaying) -> None:
    readers = [relaying.stream("StreamPython") for _ in range(5)]
    for reader in readers:
        await anext(reader)
    written = -1
    while written != relaying.holder.written:
        written = relaying.holder.written
        await asyncio.sleep(0.3)
    assert written * ITEM_BYTES < len(readers) * 16 * 1024 * 1024
    assert await relaying.call() == b""
    for reader in readers:
        await reader.aclose()


async def test_connections_to_pods_that_are_no_longer_listed_are_closed(no_task_left: None) -> None:
    servers, ports = [Server(), Server()], []
    for server in servers:
        server.register(MODULE_SERVICE, Holder())
        ports.append(await server.start("127.0.0.1:0"))
    current = ports[0]
    backend = FakeBackend(lambda _: f"127.0.0.1:{current}")
    method = f"{PATH}/Call"
    async with running_pod_manager(backend) as manager:
        await backend.apply(ModuleSpec("math"))
        peers = Peers("math", manager.address)
        await peers.call(method, b"", place_of("math", "127.0.0.1", ports[0]) + "-1-abc", 5)
        await backend.delete("math")
        current = ports[1]
        await backend.apply(ModuleSpec("math"))
        await peers.call(method, b"", place_of("math", "127.0.0.1", ports[1]) + "-1-abc", 5)
        assert list(peers.channels) == [f"127.0.0.1:{ports[1]}"]
        with pytest.raises(OrcError) as caught:
            await peers.call(method, b"", place_of("math", "127.0.0.1", ports[0]) + "-1-abc", 5)
        assert caught.value.reason == "OBJECT_LOST"
        await peers.stop()
    for server in servers:
        await server.stop(0)


async def test_calls_to_a_peer_whose_connection_is_closed_fail_with_a_reason(relaying: Relaying) -> None:
    call, given_up = relaying.call("wait"), relaying.call("wait")
    stream = asyncio.ensure_future(anext(relaying.stream("GetValue")))
    await relaying.waiting(3)
    given_up.cancel()
    await relaying.peers.stop()
    ends = await asyncio.gather(call, stream, given_up, return_exceptions=True)
    assert [getattr(end, "reason", type(end)) for end in ends] == [
        "MODULE_UNAVAILABLE", "MODULE_UNAVAILABLE", asyncio.CancelledError,
    ]  # fmt: skip
