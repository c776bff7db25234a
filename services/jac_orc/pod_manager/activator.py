"""The activator: takes calls of modules that have no pod ready, deploys or awaits them, and forwards the call.

Envoy sends a call here when it has no cluster for the module, or when the module's endpoint is this very process
because none of its pods is ready. Messages are forwarded as bytes, so any method of any module service passes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from functools import partial
from typing import Any

import grpc
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError

from jac_orc.core import traces
from jac_orc.core.deadlines import STREAM_TIMEOUT, stream_timeout, timeout_text
from jac_orc.core.methods import Context
from jac_orc.core.server import CHANNEL_OPTIONS, Behaviour
from jac_orc.core.tasks import Tasks, is_cancelled, report_working
from jac_orc.errors import OrcError, error, from_call
from jac_orc.pod_manager.held_calls import HeldCalls, HeldLimits
from jac_orc.pod_manager.model import Module
from jac_orc.pod_manager.modules import Modules

_Field = descriptor_pb2.FieldDescriptorProto
_State = grpc.ChannelConnectivity
_CONNECT_TIMEOUT = 2.0
_REACH_SECONDS = 2.0
_PAUSE = 0.1
_CLOSE_GRACE = 86_400.0  # the pod itself bounds how long its calls go on

# Headers of one connection that mean nothing on the next, and the call's id, which is added as the trace has it.
_NOT_FORWARDED = frozenset(("user-agent", "te", "content-type", "host", traces.REQUEST_ID))


class _Link:
    """A connection to a pod, with the number of calls that use it."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        self.calls = 0

    async def is_connected(self) -> bool:
        """Return whether the pod accepts connections; nothing is sent to it yet."""
        try:
            state = self.channel.get_state(try_to_connect=True)
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                while state not in (_State.READY, _State.TRANSIENT_FAILURE, _State.SHUTDOWN):
                    await self.channel.wait_for_state_change(state)
                    state = self.channel.get_state(try_to_connect=True)
        except (TimeoutError, grpc.aio.UsageError, grpc.aio.InternalError):  # the latter: closed in the meantime
            return False
        return state is _State.READY


class Activator:
    """Answers every method of a service that modules have."""

    def __init__(self, service: ServiceDescriptor, modules: Modules, limits: HeldLimits | None = None) -> None:
        self._service = service
        self._targets = _targets_of(service)
        self._modules = modules
        self.held = HeldCalls(limits or HeldLimits())
        self._links: dict[str, dict[str, _Link]] = {}  # by module and address; `follow` closes those that are gone
        self._closing = Tasks()

    def behaviours(self) -> dict[str, Behaviour]:
        """Return what answers each method, by name."""
        return {
            method.name: partial(self._forward, f"/{self._service.full_name}/{method.name}")
            for method in self._service.methods
        }

    async def follow(self) -> None:
        """Close the connections to pods that are gone."""
        present = {module.name: module for module in self._modules.backend.modules()}
        for name in list(self._links):
            self._close_gone(name, present.get(name))
        report_working()
        async for module, gone in self._modules.backend.watch():
            self._close_gone(module.name, None if gone else module)

    def _close_gone(self, name: str, module: Module | None) -> None:
        links = self._links.get(name, {})
        for address in links.keys() - {pod.address for pod in (module.pods if module else ())}:
            self._closing.start(links.pop(address).channel.close(grace=_CLOSE_GRACE))
        if not links:
            self._links.pop(name, None)

    async def stop(self) -> None:
        """Close all connections."""
        await self._closing.cancel()
        for links in self._links.values():
            for link in links.values():
                await link.channel.close(None)

    async def _forward(self, method: str, requests: AsyncIterator[bytes], context: Context) -> AsyncGenerator[bytes]:
        messages = aiter(requests)
        first = await anext(messages, None)
        if first is None:
            raise error("MALFORMED_REQUEST", "the call came without a message")
        link, metadata = await self._ready_pod(method, first, context)
        call: Any = None
        begun = False
        try:
            multi_callable: Any = link.channel.stream_stream(method)
            call = multi_callable(_chained(first, messages), metadata=metadata, timeout=context.time_remaining())
            del first  # which may be large, while the call may be long
            async for response in call:
                if not begun:
                    await context.send_initial_metadata(await call.initial_metadata())
                    begun = True
                yield response
            metadata = traces.response_metadata(traces.call_id())
            context.set_trailing_metadata((*await call.trailing_metadata(), *metadata))
        except grpc.aio.AioRpcError as failure:
            raise _failure_of(failure) from failure
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            raise error("MODULE_UNAVAILABLE", "the pod is gone, and its connection was closed") from None
        finally:
            link.calls -= 1
            if call is not None:
                call.cancel()

    async def _ready_pod(self, method: str, first: bytes, context: Context) -> tuple[_Link, Any]:
        """Return a connection to a ready pod of the module, and the metadata to send; raises OrcError."""
        metadata = [pair for pair in context.invocation_metadata() or () if _is_forwarded(*pair)]
        traces.set_request(first)
        name, obj_id = self._target(method, first, metadata)
        traces.set_request(first, name)
        metadata.append((traces.REQUEST_ID, traces.call_id()))
        loop = asyncio.get_running_loop()
        limit, begin = stream_timeout(metadata), loop.time()
        try:
            with self.held.hold(name, len(first)):
                async with asyncio.timeout(limit):
                    link = await self._connected(name, deploy=not obj_id and not self._is_safe(method))
        except TimeoutError:
            raise error("DEADLINE_EXCEEDED", f"{name} was not ready within the {limit:g} s that the call has") from None
        except OrcError as failure:
            if obj_id and failure.reason in ("MODULE_NOT_FOUND", "MODULE_NAME_INVALID"):
                text = f"there is no object {obj_id[:200]!r}: its module is not deployed"
                raise error("OBJECT_LOST", text, {"obj_id": obj_id[:200]}) from failure
            raise
        if limit is not None:
            left = timeout_text(limit - (loop.time() - begin))
            metadata = [(key, left if key == STREAM_TIMEOUT else value) for key, value in metadata]
        return link, metadata

    async def _connected(self, name: str, *, deploy: bool) -> _Link:
        """Return the connection to the module's ready pod with the fewest calls, counted as one more.

        A pod that can't be connected to has not received the call, so the next one is tried.
        """
        loop = asyncio.get_running_loop()
        give_up = None
        while True:
            await self._modules.ready(name, deploy=deploy)
            give_up = give_up or loop.time() + _REACH_SECONDS
            untried = self._links_of(name)
            while untried:
                link = min(untried, key=lambda each: each.calls)
                untried.remove(link)
                link.calls += 1
                is_connected = False
                try:
                    is_connected = await link.is_connected()
                finally:
                    link.calls -= not is_connected
                if is_connected:
                    return link
            if loop.time() > give_up:
                raise error("MODULE_UNAVAILABLE", f"no ready pod of {name} can be reached", {"module": name})
            await asyncio.sleep(_PAUSE)

    def _links_of(self, name: str) -> list[_Link]:
        """Return the connections to the module's ready pods as they are now; `follow` hears of the end of each."""
        module = self._modules.backend.get(name)
        ready = module.ready if module is not None else ()
        links = self._links.setdefault(name, {}) if ready else {}
        for pod in ready:
            if pod.address not in links:
                links[pod.address] = _Link(pod.address)
        return [links[pod.address] for pod in ready]

    def _is_safe(self, method: str) -> bool:
        """Whether the method is a GET over REST, which is to change nothing (RFC 9110, section 9.2.1)."""
        options = self._service.methods_by_name[method.rpartition("/")[2]].GetOptions()
        rule: Any = options.Extensions[annotations_pb2.http]  # type: ignore[index]
        return bool(rule.get)

    def _target(self, method: str, first: bytes, metadata: Iterable[tuple[str, str | bytes]]) -> tuple[str, str]:
        """Return the names of the module and of the object that the call is for; raises OrcError."""
        try:
            request = self._targets[method.rpartition("/")[2]].FromString(first)
        except DecodeError as failure:
            raise error("MALFORMED_REQUEST", "the request can't be parsed") from failure
        obj_id = getattr(request, "obj_id", "")
        name = str(dict(metadata).get("x-module") or getattr(request, "module_name", "") or obj_id.partition("-")[0])
        if not name:
            text = "no module is named: send the metadata `x-module`, call MODULE.modules.local, or set `module_name`"
            raise error("MODULE_NAME_INVALID", text)
        return name, obj_id


def _failure_of(failure: grpc.aio.AioRpcError) -> OrcError:
    """The failure as the pod reports it, or why none has: gRPC's library has found it."""
    if reported := from_call(failure):
        return reported
    if failure.code() is grpc.StatusCode.CANCELLED:
        return error("CANCELLED", f"the pod gave the call up: {failure.details()}")
    # It may have run, so it isn't sent to another pod.
    return error("MODULE_UNAVAILABLE", f"the connection to the pod is lost: {failure.details()}")


def _targets_of(service: ServiceDescriptor) -> dict[str, Any]:
    """Return, by method, a message that has only the fields of its request that name the target.

    All others stay bytes: to parse a whole request of 64 MiB would hold the event loop for 0.7 s, this for 20 ms.
    """
    file = descriptor_pb2.FileDescriptorProto(name="targets.proto", package="targets", syntax="proto3")
    for method in service.methods:
        message = file.message_type.add(name=method.name)
        for field in method.input_type.fields:
            if field.name in ("module_name", "obj_id"):
                kind, label = _Field.TYPE_STRING, _Field.LABEL_OPTIONAL
                message.field.add(name=field.name, number=field.number, type=kind, label=label)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        method.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"targets.{method.name}"))
        for method in service.methods
    }


def _is_forwarded(key: str, value: str | bytes) -> bool:
    """Whether the header means something to the next server, and gRPC's library sends it at all."""
    if key.startswith((":", "grpc-")) or key in _NOT_FORWARDED:
        return False
    return isinstance(value, bytes) or (value.isascii() and value.isprintable())


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for message in rest:
        yield message
