"""The module's other pods: calls that name an object of theirs are sent on to them.

An object's id tells the address of its pod. It is believed only if the pod manager lists that address among the
module's pods, so that no id makes this server talk to anything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import grpc

from jac_orc.core import addresses, traces
from jac_orc.core.deadlines import STREAM_TIMEOUT, timeout_text
from jac_orc.core.server import CHANNEL_OPTIONS
from jac_orc.core.tasks import Tasks, is_cancelled
from jac_orc.errors import OrcError, error, from_call

SENT_ON = "x-jac-orc-sent-on"
"""Metadata of a call that another pod has sent on: it is not sent on once more."""

_PAUSES = (0.0, 0.1, 0.4)
_QUESTION_TIMEOUT = 5.0
_CONNECT_TIMEOUT = 1.0
_KNOWN_SECONDS = 30.0  # then an address may be another module's
_CLOSE_GRACE = 86_400.0  # the pod itself bounds how long its calls go on


class Peers:
    """The pods of one module, as the pod manager lists them; connections to others are closed."""

    def __init__(self, module_name: str, pod_manager: str | None) -> None:
        self._module_name = module_name
        self._pod_manager = pod_manager
        self._known: frozenset[str] = frozenset()
        self._asked = -_KNOWN_SECONDS
        self._lock = asyncio.Lock()
        self.channels: dict[str, grpc.aio.Channel] = {}
        """The connections to other pods, by address."""
        self._closing = Tasks()

    async def stop(self) -> None:
        """Close all connections."""
        await self._closing.cancel()
        for channel in self.channels.values():
            await channel.close(None)

    async def call(
        self, method: str, request: bytes | AsyncIterator[bytes], obj_id: str, timeout: float | None
    ) -> bytes:
        """The one answer of the pod that holds the object; raises OrcError."""
        channel = self._channel(await self._find(obj_id))
        make: Any = channel.unary_unary if isinstance(request, bytes) else channel.stream_unary
        async with self._failures_of(obj_id):
            answer: bytes = await make(method)(request, timeout=timeout, metadata=_metadata())
        return answer

    async def stream(
        self, method: str, request: bytes, obj_id: str, timeout: float | None, stream_timeout: float | None = None
    ) -> AsyncGenerator[bytes]:
        """Yield the answers of the pod that holds the object; raises OrcError.

        `stream_timeout` is the deadline that a JSON stream has instead of gRPC's own (`core.deadlines`).
        """
        channel = self._channel(await self._find(obj_id))
        multi_callable: Any = channel.unary_stream(method)
        limit = () if stream_timeout is None else ((STREAM_TIMEOUT, timeout_text(stream_timeout)),)
        call = multi_callable(request, timeout=timeout, metadata=(*_metadata(), *limit))
        try:
            async with self._failures_of(obj_id):
                async for answer in call:
                    yield answer
        finally:
            call.cancel()

    @contextlib.asynccontextmanager
    async def _failures_of(self, obj_id: str) -> AsyncIterator[None]:
        """Raise OrcError for what makes a call of the object's pod fail."""
        try:
            yield
        except grpc.aio.AioRpcError as failure:
            raise await self._told(failure, obj_id) from failure
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            text = "the pod that holds the object is gone, and its connection was closed"
            raise error("MODULE_UNAVAILABLE", text, {"obj_id": obj_id[:200]}) from None

    async def _find(self, obj_id: str) -> str:
        """The address of the object's pod; raises OrcError where it is gone, or can't be asked for."""
        address = address_in(obj_id)
        if not address or not obj_id.startswith(f"{self._module_name}-"):
            text = f"{obj_id[:200]!r} is not the id of an object of {self._module_name}"
            raise error("OBJECT_LOST", text, {"obj_id": obj_id[:200]})
        is_known = address in self._known and time.monotonic() - self._asked < _KNOWN_SECONDS
        if not is_known and not await self._is_listed(address):
            raise _lost(obj_id)
        return address

    async def _is_listed(self, address: str) -> bool:
        """Whether the pod manager lists the address, as it does now; those who ask at a time share one question."""
        wanted = time.monotonic()
        async with self._lock:
            if self._asked < wanted:
                asked = time.monotonic()
                self._known = await self._ask()
                self._asked = asked
                for gone in self.channels.keys() - self._known:
                    self._closing.start(self.channels.pop(gone).close(_CLOSE_GRACE))
        return address in self._known

    async def _ask(self) -> frozenset[str]:
        if self._pod_manager is None:
            return frozenset()
        from jac_orc.v1 import pod_manager_pb2, pod_manager_pb2_grpc  # noqa: PLC0415 - most servers never ask

        async with grpc.aio.insecure_channel(self._pod_manager) as channel:
            stub = pod_manager_pb2_grpc.PodManagerServiceStub(channel)
            request = pod_manager_pb2.GetModuleRequest(module_name=self._module_name, ask_pods=False)
            try:
                answer = await stub.GetModule(request, timeout=_QUESTION_TIMEOUT, metadata=_metadata())
            except grpc.aio.AioRpcError as failure:
                text = f"the pod manager, which knows where the object is, can't be asked: {failure.details()}"
                raise error("MODULE_UNAVAILABLE", text) from failure
        return frozenset(pod.address for pod in answer.module.status.pods if pod.address)

    async def _told(self, failure: grpc.aio.AioRpcError, obj_id: str) -> OrcError:
        """The failure as the other pod has told it, or that it is gone, which the pod manager may just be learning."""
        if reported := from_call(failure):
            return reported
        address = address_in(obj_id)
        for pause in _PAUSES:
            await asyncio.sleep(pause)
            if await _has_no_server(address) or not await self._is_listed(address):
                return _lost(obj_id)
        text = f"the pod that holds the object can't be reached: {failure.details()}"
        return error("MODULE_UNAVAILABLE", text, {"obj_id": obj_id})

    def _channel(self, address: str) -> grpc.aio.Channel:
        channel = self.channels.get(address)
        if channel is None:
            channel = self.channels[address] = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        return channel


async def _has_no_server(address: str) -> bool:
    """Whether the pod is there and its server has ended, which may be started anew: one that runs listens."""
    host, port = addresses.split(address)
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT):
            _, writer = await asyncio.open_connection(host, port)
    except ConnectionRefusedError:
        return True
    except OSError:  # a timeout, too
        return False
    writer.close()
    return False


def _metadata() -> tuple[tuple[str, str], ...]:
    return (SENT_ON, "1"), (traces.REQUEST_ID, traces.call_id())


def _lost(obj_id: str) -> OrcError:
    return error("OBJECT_LOST", f"the pod that held the object {obj_id[:200]!r} is gone", {"obj_id": obj_id[:200]})


def place_of(module_name: str, ip_address: str, port: int) -> str:
    """What the ids of a pod's objects begin with; IPv6 addresses have `_` for `:`, which means something in URLs."""
    return f"{module_name}-{ip_address.replace(':', '_')}-{port}"


def address_in(obj_id: str) -> str:
    """The address that an id tells, `127.0.0.1:50051`; empty where it tells none."""
    parts = obj_id.split("-", 4)
    if len(parts) < 5 or not parts[2].isdecimal():
        return ""
    host = parts[1].replace("_", ":")
    return addresses.join(host, parts[2])
