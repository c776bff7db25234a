"""The activator: takes calls of modules that have no pod ready, deploys or awaits them, and forwards the call.

Envoy sends a call here when it has no cluster for the module, or when the module's endpoint is this very process
because none of its pods is ready. Messages are forwarded as bytes, so any method of any module service passes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial
from typing import Any

import grpc
from google.api import annotations_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError

from jac_orc.core.deadlines import STREAM_TIMEOUT, stream_timeout, timeout_text
from jac_orc.core.server import SERVER_OPTIONS, Context, translated_stream
from jac_orc.errors import OrcError, error
from jac_orc.pod_manager.modules import Modules

# Headers of one connection that mean nothing on the next.
_NOT_FORWARDED = frozenset(("grpc-timeout", "grpc-accept-encoding", "user-agent", "te", "content-type", "host"))


class Activator(grpc.GenericRpcHandler):
    """Handles every method of a service that modules have."""

    def __init__(self, service: ServiceDescriptor, modules: Modules) -> None:
        self._service = service
        self._modules = modules
        self._channels: dict[str, grpc.aio.Channel] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a call; None for another service's."""
        service, _, method = handler_call_details.method.strip("/").rpartition("/")
        if service != self._service.full_name or method not in self._service.methods_by_name:
            return None
        forward = partial(self._forward, handler_call_details.method)
        return grpc.stream_stream_rpc_method_handler(translated_stream(forward))

    async def follow(self) -> None:
        """Closes the channels to pods that are gone."""
        addresses: dict[str, set[str]] = {}
        async for module, gone in self._modules.backend.watch():
            now = set() if gone else {pod.address for pod in module.pods if pod.address}
            for address in addresses.get(module.name, set()) - now:
                if channel := self._channels.pop(address, None):
                    await channel.close(grace=10)
            addresses[module.name] = now

    async def stop(self) -> None:
        """Closes all channels."""
        for channel in self._channels.values():
            await channel.close(None)

    async def _forward(self, method: str, requests: AsyncIterator[bytes], context: Context) -> AsyncGenerator[bytes]:
        messages = aiter(requests)
        first = await anext(messages, None)
        if first is None:
            raise error("MALFORMED_REQUEST", "the call came without a message")
        call = await self._start(method, first, messages, context)
        begun = False
        try:
            async for response in call:
                if not begun:
                    await context.send_initial_metadata(await call.initial_metadata())
                    begun = True
                yield response
            context.set_trailing_metadata(tuple(await call.trailing_metadata()))
        except grpc.aio.AioRpcError as failure:
            trailing: Any = tuple(failure.trailing_metadata() or ())
            if failure.code() is grpc.StatusCode.UNAVAILABLE and not dict(trailing).get("grpc-status-details-bin"):
                text = f"the pod can't be reached: {failure.details()}"
                raise error("MODULE_UNAVAILABLE", text) from failure
            await context.abort(failure.code(), failure.details() or "", trailing)
        finally:
            call.cancel()

    async def _start(self, method: str, first: bytes, rest: AsyncIterator[bytes], context: Context) -> Any:
        """The call to a ready pod of the module; raises OrcError where there can't be one."""
        metadata = [pair for pair in context.invocation_metadata() or () if _is_forwarded(*pair)]
        request = self._parsed(method, first)
        name = str(dict(metadata).get("x-module") or self._named_in(request))
        obj_id = getattr(request, "obj_id", "")
        loop = asyncio.get_running_loop()
        limit, begin = stream_timeout(metadata), loop.time()
        try:
            async with asyncio.timeout(limit):
                module = await self._modules.ready(name, deploy=not obj_id and not self._is_safe(method))
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
        multi_callable: Any = self._channel(module.ready[0].address).stream_stream(method)
        return multi_callable(_chained(first, rest), metadata=metadata, timeout=context.time_remaining())

    def _is_safe(self, method: str) -> bool:
        """Whether the method is a GET over REST, which is to change nothing (RFC 9110, section 9.2.1)."""
        options = self._service.methods_by_name[method.rpartition("/")[2]].GetOptions()
        rule: Any = options.Extensions[annotations_pb2.http]  # type: ignore[index]
        return bool(rule.get)

    def _parsed(self, method: str, first: bytes) -> Any:
        request = message_factory.GetMessageClass(self._service.methods_by_name[method.rpartition("/")[2]].input_type)()
        try:
            request.ParseFromString(first)
        except DecodeError as failure:
            raise error("MALFORMED_REQUEST", "the request can't be parsed") from failure
        return request

    def _named_in(self, request: Any) -> str:
        """The module that the message names; raises OrcError if it names none."""
        named: str = getattr(request, "module_name", "") or getattr(request, "obj_id", "").partition("-")[0]
        if named:
            return named
        text = "no module is named: send the metadata `x-module`, or call MODULE.modules.local, or set `module_name`"
        raise error("MODULE_NAME_INVALID", text)

    def _channel(self, address: str) -> grpc.aio.Channel:
        channel = self._channels.get(address)
        if channel is None:
            channel = self._channels[address] = grpc.aio.insecure_channel(address, options=SERVER_OPTIONS)
        return channel


def _is_forwarded(key: str, value: str | bytes) -> bool:
    """Whether the header means something to the next server, and gRPC's library sends it at all."""
    if key.startswith((":", "grpc-")) or key in _NOT_FORWARDED:
        return False
    return isinstance(value, bytes) or (value.isascii() and value.isprintable())


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for message in rest:
        yield message
