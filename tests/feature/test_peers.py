"""Calls that are sent on to other pods of the module: none hangs, and nothing piles up."""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from jac_orc.core.server import Server
from jac_orc.errors import OrcError, error
from jac_orc.module_server.peers import Peers, place_of
from jac_orc.module_server.session import Peer, Session
from jac_orc.pod_manager.backends.fake import FakeBackend
from jac_orc.pod_manager.model import ModuleSpec
from jac_orc.v1 import module_pb2
from tests.feature.pod_managers import MODULE_SERVICE, running_pod_manager

NOTHING: list[bytes] = []


class Waiting:
    """A call of a session."""

    def __init__(self) -> None:
        self.failure: asyncio.Future[OrcError] = asyncio.get_running_loop().create_future()

    def set_exception(self, failure: OrcError) -> None:
        self.failure.set_result(failure)


async def ends(_: str, messages: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    await anext(messages)
    for nothing in NOTHING:
        yield nothing


async def raises(_: str, messages: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    await anext(messages)
    for nothing in NOTHING:
        yield nothing
    raise RuntimeError("a fault of ours")


async def refuses(_: str, messages: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    for nothing in NOTHING:
        yield nothing
    raise error("OBJECT_LOST", "it is gone")


async def sends_garbage(_: str, messages: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    await anext(messages)
    yield b"\xff\xff"


async def never_reads(_: str, messages: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    await asyncio.Event().wait()
    yield b""


@pytest.mark.parametrize(
    ("relay", "reason"),
    [(ends, "MODULE_UNAVAILABLE"), (raises, "INTERNAL"), (refuses, "OBJECT_LOST"), (sends_garbage, "INTERNAL")],
)
async def test_a_session_with_a_peer_that_ends_fails_its_calls(no_task_left: None, relay: Any, reason: str) -> None:
    session: Any = None
    peer = Peer(session, relay, "math-127.0.0.1-1-1-abc")
    calls: list[Any] = [Waiting(), Waiting()]
    for number, call in enumerate(calls):
        peer.start(call, number, b"")
    failures = await asyncio.wait_for(asyncio.gather(*(call.failure for call in calls)), 5)
    assert [failure.reason for failure in failures] == [reason, reason]
    await peer.ended


async def test_what_waits_for_a_peer_that_doesnt_read_is_bounded(no_task_left: None) -> None:
    session: Any = None
    peer = Peer(session, never_reads, "math-127.0.0.1-1-1-abc")
    calls: list[Any] = [Waiting() for _ in range(1001)]
    for number, call in enumerate(calls):
        peer.start(call, number, b"")
    assert calls[-1].failure.result().reason == "QUEUE_FULL" and not calls[-2].failure.done()
    peer.close()
    large: list[Any] = [Waiting() for _ in range(3)]
    other = Peer(session, never_reads, "math-127.0.0.1-1-1-abc")
    for number, call in enumerate(large):
        other.start(call, number, bytes(40_000_000))
    assert [call.failure.done() for call in large] == [False, False, True]
    other.close()
    await asyncio.gather(peer.ended, other.ended, return_exceptions=True)


async def test_no_more_is_read_while_too_much_waits_for_a_peer(no_task_left: None) -> None:
    """Calls are refused instead, and each may be cancelled: neither keeps the session's other calls waiting."""
    read, goes_on = 0, asyncio.Event()

    async def releases() -> AsyncIterator[bytes]:
        nonlocal read
        for read in range(1, 5001):  # noqa: B007 - the test looks at it
            yield module_pb2.SessionRequest(release=module_pb2.SessionRelease(obj_ids=["x"])).SerializeToString()

    async def reads_late(_: str, messages: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        await goes_on.wait()
        async for _message in messages:
            for nothing in NOTHING:
                yield nothing

    no_guest: Any = types.SimpleNamespace(guest_for_session=lambda: None, end_session=lambda _: None)
    session = Session(no_guest, 10, reads_late)
    session.peer("math-127.0.0.1-1-1-abc")
    answers = asyncio.create_task(anext(session.responses(releases()), None))
    for _ in range(20_000):
        await asyncio.sleep(0)
    assert 1000 < read < 2100
    goes_on.set()
    async with asyncio.timeout(5):
        await answers
    assert read == 5000


async def test_what_waits_for_a_peer_that_ends_keeps_nothing_waiting(no_task_left: None) -> None:
    session: Any = None
    peer = Peer(session, never_reads, "math-127.0.0.1-1-1-abc")
    for _ in range(3):
        peer.send(bytes(60_000_000))
    waiting = asyncio.create_task(peer.writable())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not waiting.done()
    peer.close()
    await asyncio.wait_for(waiting, 5)


class Holder:
    """A pod that has every object."""

    def __init__(self) -> None:
        self.waiting = 0

    async def Call(self, request: module_pb2.CallRequest, context: Any) -> module_pb2.CallResponse:
        if request.method == "wait":
            self.waiting += 1
            await asyncio.Event().wait()
        return module_pb2.CallResponse()

    async def Session(self, requests: Any, context: Any) -> AsyncIterator[module_pb2.SessionResponse]:
        self.waiting += 1
        await asyncio.Event().wait()
        yield module_pb2.SessionResponse()

    def __getattr__(self, name: str) -> Any:
        async def unused(request: Any, context: Any) -> None:
            raise error("NOT_IMPLEMENTED", name)

        return unused


async def test_connections_to_pods_that_are_no_longer_listed_are_closed(no_task_left: None) -> None:
    servers, ports = [Server(), Server()], []
    for server in servers:
        server.register(MODULE_SERVICE, Holder())
        ports.append(await server.start("127.0.0.1:0"))
    current = ports[0]
    backend = FakeBackend(lambda _: f"127.0.0.1:{current}")
    method = f"/{MODULE_SERVICE.full_name}/Call"
    async with running_pod_manager(backend) as manager:
        await backend.apply(ModuleSpec("math"))
        peers = Peers("math", manager.address)
        await peers.call(method, b"", place_of("math", "127.0.0.1", ports[0]) + "-1-abc", 5)
        await backend.delete("math")
        current = ports[1]
        await backend.apply(ModuleSpec("math"))
        await peers.call(method, b"", place_of("math", "127.0.0.1", ports[1]) + "-1-abc", 5)
        assert peers.connections == [f"127.0.0.1:{ports[1]}"]
        with pytest.raises(OrcError) as caught:
            await peers.call(method, b"", place_of("math", "127.0.0.1", ports[0]) + "-1-abc", 5)
        assert caught.value.reason == "OBJECT_LOST"
        await peers.stop()
    for server in servers:
        await server.stop(0)


async def test_calls_to_a_peer_whose_connection_is_closed_fail_with_a_reason(no_task_left: None) -> None:
    server, holder = Server(), Holder()
    server.register(MODULE_SERVICE, holder)
    port = await server.start("127.0.0.1:0")
    backend = FakeBackend(f"127.0.0.1:{port}")
    obj_id = place_of("math", "127.0.0.1", port) + "-1-abc"
    path = f"/{MODULE_SERVICE.full_name}"
    async with running_pod_manager(backend) as manager:
        await backend.apply(ModuleSpec("math"))
        peers = Peers("math", manager.address)

        async def nothing() -> AsyncIterator[bytes]:
            await asyncio.Event().wait()
            yield b""

        request = module_pb2.CallRequest(method="wait").SerializeToString()
        call = asyncio.create_task(peers.call(f"{path}/Call", request, obj_id, 10))
        given_up = asyncio.create_task(peers.call(f"{path}/Call", request, obj_id, 10))
        session = asyncio.create_task(anext(peers.stream(f"{path}/Session", nothing(), obj_id, 10), b""))
        async with asyncio.timeout(5):
            while holder.waiting < 3:
                await asyncio.sleep(0.01)
        given_up.cancel()
        await peers.stop()
        ends = await asyncio.gather(call, session, given_up, return_exceptions=True)
        assert [getattr(end, "reason", type(end)) for end in ends] == [
            "MODULE_UNAVAILABLE", "MODULE_UNAVAILABLE", asyncio.CancelledError,
        ]  # fmt: skip
    await server.stop(0)
