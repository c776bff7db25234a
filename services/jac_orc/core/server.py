"""The gRPC server that every service here runs on: registration, errors, reflection, health.

Services are registered from their descriptors, and it is there, once per method and not once per call, that errors are
translated: an OrcError becomes a rich status, anything else INTERNAL, which only the log explains. There, too, a call
gets its id, and one that fails its line in the log (`core.traces`); health and reflection leave none.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from jac_orc.core import traces
from jac_orc.core.liveness import LIVENESS
from jac_orc.core.traces import Trace
from jac_orc.errors import OrcError, error, to_status

MAX_MESSAGE_BYTES = 64 * 1024 * 1024 + 64 * 1024
_MAX_PENDING_REQUESTS = 10_000
_FLUSH_SECONDS = 0.2
_NEAR_DEADLINE = 0.05  # a client that gives up at its deadline is heard a moment before the server's own timer
_FULL = (errno.ENOSPC, errno.EDQUOT)
_STATUS_BY_NUMBER = {status.value[0]: status for status in grpc.StatusCode}

Context = grpc.aio.ServicerContext[Any, Any]

SERVER_OPTIONS: Sequence[tuple[str, Any]] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Envoy sends what clients name: a long name shall reach us and get a clear answer.
    ("grpc.max_metadata_size", 64 * 1024),
    ("grpc.absolute_max_metadata_size", 96 * 1024),
    # Of a burst that no loop can accept at once, gRPC drops calls from 1,000 on, as CANCELLED and without a reason.
    ("grpc.server.max_pending_requests", _MAX_PENDING_REQUESTS),
    ("grpc.server.max_pending_requests_hard_limit", _MAX_PENDING_REQUESTS),
    ("grpc.so_reuseport", 0),
    # It pings the peer at each burst of data to learn how much may be in flight: on one machine that is time lost.
    ("grpc.http2.bdp_probe", 0),
    # What it would have learnt: how much may be in flight on one stream.
    ("grpc.http2.lookahead_bytes", 4 * 1024 * 1024),
    # Clients ping while calls are under way; by default gRPC takes that for an attack.
    ("grpc.http2.min_ping_interval_without_data_ms", 5000),
)
CHANNEL_OPTIONS: Sequence[tuple[str, Any]] = (
    *SERVER_OPTIONS,
    # So that calls to a server whose host has gone fail, whatever deadline they have.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
)
"""The options of channels to such servers."""


class Server:
    """A grpc.aio server with health and reflection for all that is registered on it."""

    def __init__(self, health_servicer: health.aio.HealthServicer | None = None) -> None:
        self.grpc = grpc.aio.server(options=SERVER_OPTIONS)
        self.health = health_servicer or health.aio.HealthServicer()
        self._services: list[str] = []
        self._open = _OpenCalls()

    def register(
        self, service: ServiceDescriptor, servicer: object, *, raw: bool = False, only: Collection[str] | None = None
    ) -> None:
        """Register every method of the service, or only those named; the servicer has a coroutine or async generator
        for each.

        With `raw` these take and give the messages' bytes.
        """
        handlers = {
            method.name: _handler(method, getattr(servicer, method.name), self._open, raw=raw)
            for method in service.methods
            if only is None or method.name in only
        }
        self.add_handler(service, grpc.method_handlers_generic_handler(service.full_name, handlers))

    def add_handler(self, service: ServiceDescriptor, handler: grpc.GenericRpcHandler) -> None:
        """Has one handler take all calls of the service, which it answers as it likes."""
        self.grpc.add_generic_rpc_handlers((handler,))
        self._services.append(service.full_name)

    async def start(self, address: str) -> int:
        """Binds, starts and answers the port; health is NOT_SERVING until `set_serving`.

        Raises OSError where the address can't be bound.
        """
        service = health_pb2.DESCRIPTOR.services_by_name["Health"]
        handlers = {method.name: _handler(method, getattr(self.health, method.name)) for method in service.methods}
        self.add_handler(service, grpc.method_handlers_generic_handler(service.full_name, handlers))
        self._add_reflection()
        self.grpc.add_generic_rpc_handlers((_Unknown(),))
        try:
            port = self.grpc.add_insecure_port(address)
        except RuntimeError as failure:
            raise OSError(f"can't listen on {address}: {failure}") from failure
        await self.set_serving(False)
        await self.health.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
        await self.grpc.start()
        return port

    async def set_serving(self, serving: bool, *, impaired: Collection[str] = ()) -> None:
        """Set the health of the server as a whole and of each service; impaired services are NOT_SERVING anyway."""
        for service in ["", *self._services]:
            serves = serving and service not in impaired
            status = health_pb2.HealthCheckResponse.SERVING if serves else health_pb2.HealthCheckResponse.NOT_SERVING
            await self.health.set(service, status)

    async def drain(self, grace: float) -> None:
        """Stops: refuses new calls, and returns when those in flight have ended, or after `grace` seconds.

        Clients that stay connected are disconnected then, and what watches health is no call in flight.
        """
        stopping = asyncio.ensure_future(self.grpc.stop(grace + 1))
        idle = asyncio.create_task(self._open.idle.wait())
        await asyncio.wait([stopping, idle], timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        idle.cancel()
        if self._open.idle.is_set():
            await asyncio.wait([stopping], timeout=_FLUSH_SECONDS)  # the last answers are on their way
        self._open.are_cut = True
        await self.grpc.stop(None)
        await stopping

    def _add_reflection(self) -> None:
        """Serves reflection in both its versions, which differ in nothing but the package's name.

        The v1 descriptor is made from v1alpha's: the messages keep their names, so that one servicer answers both.
        """
        alpha = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
        pool = descriptor_pool.Default()
        v1 = pool.AddSerializedFile(_reflection_v1_file(alpha)).services_by_name["ServerReflection"]
        names = [*self._services, alpha.full_name, v1.full_name]
        servicer = reflection.aio.ReflectionServicer(names, pool)
        for service in (alpha, v1):
            method = service.methods[0]
            handler = _handler(method, servicer.ServerReflectionInfo, request=reflection_pb2.ServerReflectionRequest)
            self.add_handler(service, grpc.method_handlers_generic_handler(service.full_name, {method.name: handler}))


def _reflection_v1_file(alpha: ServiceDescriptor) -> bytes:
    """The file descriptor of `grpc.reflection.v1`, which the Python package doesn't have."""
    file = descriptor_pb2.FileDescriptorProto()
    file.ParseFromString(alpha.file.serialized_pb)
    old, new = f".{file.package}.", ".grpc.reflection.v1."
    file.name, file.package = "grpc/reflection/v1/reflection.proto", "grpc.reflection.v1"
    for message in file.message_type:
        for field in filter(lambda field: field.type_name, message.field):
            field.type_name = field.type_name.replace(old, new)
    for method in file.service[0].method:
        method.input_type = method.input_type.replace(old, new)
        method.output_type = method.output_type.replace(old, new)
    return file.SerializeToString()


class _OpenCalls:
    """Counts the calls that have not ended, which includes that their answer is sent."""

    def __init__(self) -> None:
        self.are_cut = False
        """Whether the server stops, and cancels those that are left."""
        self.idle = asyncio.Event()
        self.idle.set()
        self._count = 0

    def add(self, context: Context) -> None:
        self._count += 1
        self.idle.clear()
        done: Any = self._end
        context.add_done_callback(done)

    def _end(self, _: Context) -> None:
        self._count -= 1
        if not self._count:
            self.idle.set()


class _Unknown(grpc.GenericRpcHandler):
    """Answers calls of methods that no service has, which gRPC's library would refuse without reason or trace."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        path = handler_call_details.method

        async def refuse(requests: AsyncIterator[bytes], context: Context) -> AsyncGenerator[bytes]:
            yield _refused(path)

        return grpc.stream_stream_rpc_method_handler(translated_stream(refuse, path.rpartition("/")[2]))


def _refused(path: str) -> bytes:
    raise error("NOT_IMPLEMENTED", f"there is no method {traces.shown(path)}")


def _handler(
    method: MethodDescriptor, behaviour: Callable[..., Any], calls: _OpenCalls | None = None,
    request: type[Message] | None = None, *, raw: bool = False,
) -> Any:  # fmt: skip
    """The gRPC handler of one method, with errors translated, those of reading the request included.

    A method that takes one message is registered as if it took a stream: on the wire they are alike, and grpc.aio never
    answers a unary call that comes without its message. `calls` counts its calls; without, they leave no trace.
    """
    parse = _as_it_is if raw else _parser(request or message_factory.GetMessageClass(method.input_type))
    read = partial(_all if method.client_streaming else _one, parse)
    traced = _Method(method.name, method.input_type, calls, quiet=calls is None)
    translated = _translated_stream if inspect.isasyncgenfunction(behaviour) else _translated
    kind = grpc.stream_stream_rpc_method_handler if method.server_streaming else grpc.stream_unary_rpc_method_handler
    return kind(translated(behaviour, read, traced), response_serializer=None if raw else _serialize)


class _Method:
    """One method: begins a trace for each of its calls, and ends the calls that fail."""

    def __init__(
        self, name: str, kind: Descriptor | None, calls: _OpenCalls | None = None, *, quiet: bool = False
    ) -> None:
        self._name = name
        self._kind = kind
        self._calls = calls
        self._quiet = quiet

    def begin(self, context: Context) -> Trace:
        trace = Trace(traces.id_from(context.invocation_metadata() or ()), self._name, self._kind, quiet=self._quiet)
        traces.current.set(trace)
        if metadata := traces.response_metadata(trace.call_id):
            context.set_trailing_metadata(metadata)
        if self._calls is not None:
            self._calls.add(context)
        return trace

    async def fail(self, trace: Trace, context: Context, fault: BaseException) -> None:
        """Logs the failure and ends the call with its status; returns if none can be sent, as the call is gone."""
        if isinstance(fault, OrcError):
            trace.fail(fault)
            await abort(context, fault, trace.call_id)
        elif isinstance(fault, Exception) and not isinstance(fault, grpc.aio.AbortError):
            text = f"internal error {trace.call_id}; the server's log has the details"
            if isinstance(fault, OSError) and fault.errno in _FULL:  # of which the log may have no details
                text = f"internal error {trace.call_id}: no space is left on the server's disk"
            failure = error("INTERNAL", text, {"id": trace.call_id})
            trace.fail(failure, fault)
            await abort(context, failure, trace.call_id)
        else:
            trace.fail(self._cancellation(context))

    def _cancellation(self, context: Context) -> OrcError:
        """Why a call was cancelled before it had ended."""
        remaining: Any = context.time_remaining()
        if self._calls is not None and self._calls.are_cut:
            return error("MODULE_UNAVAILABLE", "the server stops, and the call outlasted the grace that it had")
        if remaining is not None and remaining < _NEAR_DEADLINE:
            return error("DEADLINE_EXCEEDED", "the deadline passed before the answer")
        return error("CANCELLED", "the caller gave it up")


def _parser(kind: type[Message]) -> Callable[[bytes], Message]:
    def parse(data: bytes) -> Message:
        try:
            return kind.FromString(data)
        except DecodeError as failure:
            raise error("MALFORMED_REQUEST", f"the request is no {kind.DESCRIPTOR.full_name}: {failure}") from None

    return parse


def _as_it_is(request: Any) -> Any:
    return request


async def _one(parse: Callable[[bytes], Any], requests: AsyncIterator[bytes], context: Context) -> Any:
    data = await context.read()  # cheaper than to begin an iteration that is never ended
    if data is grpc.aio.EOF:
        raise error("MALFORMED_REQUEST", "the call came without a message")
    return parse(data)


async def _all(parse: Callable[[bytes], Any], requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
    async def messages() -> AsyncIterator[Any]:
        async for data in requests:
            yield parse(data)

    return messages()


async def _the_iterator(requests: Any, context: Context) -> Any:
    return requests


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _translated(
    behaviour: Callable[[Any, Context], Awaitable[Any]],
    read: Callable[[Any, Context], Awaitable[Any]],
    method: _Method,
) -> Callable[[Any, Context], Awaitable[Any]]:
    async def call(request: Any, context: Context) -> Any:
        trace = method.begin(context)
        try:
            trace.request = message = await read(request, context)
            return await behaviour(message, context)
        except BaseException as fault:
            await method.fail(trace, context, fault)
            raise

    return call


def _translated_stream(
    behaviour: Callable[[Any, Context], AsyncGenerator[Any]],
    read: Callable[[Any, Context], Awaitable[Any]],
    method: _Method,
) -> Callable[[Any, Context], AsyncIterator[Any]]:
    async def call(request: Any, context: Context) -> AsyncIterator[Any]:
        trace = method.begin(context)
        try:
            trace.request = message = await read(request, context)
            async with contextlib.aclosing(behaviour(message, context)) as responses:
                async for response in responses:
                    yield response
        except BaseException as fault:
            await method.fail(trace, context, fault)
            raise

    return call


def translated_stream(
    behaviour: Callable[[Any, Context], AsyncGenerator[Any]], method: str, kind: Descriptor | None = None
) -> Callable[[Any, Context], AsyncIterator[Any]]:
    """The behaviour with its errors told as every method here tells them.

    `kind` is the type of its requests, whose bytes the behaviour may give to its trace.
    """
    return _translated_stream(behaviour, _the_iterator, _Method(method, kind))


async def abort(context: Context, failure: OrcError, call_id: str) -> None:
    """Ends the call with the failure as a rich status; always raises."""
    status = to_status(failure, call_id)
    await context.abort(
        _STATUS_BY_NUMBER[failure.code],
        status.message,
        (("grpc-status-details-bin", status.SerializeToString()), (traces.REQUEST_ID, call_id)),
    )
