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
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health, health_pb2

from jac_orc.core import traces
from jac_orc.core.fronts import new_front
from jac_orc.core.liveness import LIVENESS
from jac_orc.core.methods import STATUSES, Context, Finish, Method
from jac_orc.core.traces import Trace
from jac_orc.errors import OrcError, error, to_status

if TYPE_CHECKING:
    from jac_orc.core.queue_server import QueueServer

MAX_MESSAGE_BYTES = 64 * 1024 * 1024 + 64 * 1024
_MAX_PENDING_REQUESTS = 10_000
_FLUSH_SECONDS = 0.2
_LOOK_SECONDS = 0.02
_NEAR_DEADLINE = 0.05  # a client that gives up at its deadline is heard a moment before the server's own timer
_REFLECTION = ("grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection")
_FULL = (errno.ENOSPC, errno.EDQUOT)

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
    """A gRPC server with health and reflection for all that is registered on it."""

    def __init__(self, health_servicer: health.aio.HealthServicer | None = None) -> None:
        self._front: QueueServer | grpc.aio.Server | None = None
        self._methods: dict[str, Method] = {}
        self.health = health_servicer or health.aio.HealthServicer()
        self._services: list[str] = []
        self._open = _OpenCalls()

    def register(
        self, service: ServiceDescriptor, servicer: object, *, raw: bool = False, only: Collection[str] | None = None
    ) -> None:
        """Register every method of the service, or only those named.

        The servicer has a coroutine or async generator for each. With `raw` these take and give the messages' bytes,
        and a method may be a function that gets a Reply.
        """
        methods = {
            method.name: _method(method, getattr(servicer, method.name), self._open, raw=raw)
            for method in service.methods
            if only is None or method.name in only
        }
        self.add_methods(service, methods)

    def add_methods(self, service: ServiceDescriptor, methods: Mapping[str, Method]) -> None:
        """Register methods of the service, by name, that answer as they like."""
        self._methods.update({f"/{service.full_name}/{name}": method for name, method in methods.items()})
        self._services.append(service.full_name)

    async def start(self, address: str) -> int:
        """Binds, starts and answers the port; health is NOT_SERVING until `set_serving`.

        Raises OSError where the address can't be bound.
        """
        service = health_pb2.DESCRIPTOR.services_by_name["Health"]
        methods = {method.name: _method(method, getattr(self.health, method.name)) for method in service.methods}
        self.add_methods(service, methods)
        self._add_reflection()
        front = await new_front(SERVER_OPTIONS, self._methods, _unknown)
        try:
            port = front.add_insecure_port(address)
        except RuntimeError as failure:
            raise OSError(f"can't listen on {address}: {failure}") from failure
        self._front = front
        await self.set_serving(False)
        await self.health.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
        await front.start()
        return port

    async def stop(self, grace: float) -> None:
        """Refuse new calls, and return when those in flight have ended, after `grace` seconds by being cancelled."""
        if self._front is not None:
            await self._front.stop(grace)

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
        stopping = asyncio.ensure_future(self.stop(grace + 1))
        loop = asyncio.get_running_loop()
        end = loop.time() + grace
        while self._open.calls and not stopping.done() and loop.time() < end:
            await asyncio.wait([stopping], timeout=min(_LOOK_SECONDS, end - loop.time()))
        if not self._open.calls:
            await asyncio.wait([stopping], timeout=_FLUSH_SECONDS)  # the last answers are on their way
        self._open.are_cut = True
        await self.stop(0)
        await stopping

    def _add_reflection(self) -> None:
        """Serve reflection in both its versions; what that takes is imported when a client asks."""
        names = self._services = [*self._services, *_REFLECTION]

        async def reflect(requests: AsyncIterator[bytes], context: Context) -> AsyncGenerator[bytes]:
            from jac_orc.core import reflection  # noqa: PLC0415 - takes 2 ms, and is seldom needed

            messages = _parsed(_parser(reflection.Request), requests)
            async for answer in reflection.servicer(names).ServerReflectionInfo(messages, context):
                yield answer.SerializeToString()

        method = Method(_translated(reflect, _Traced("ServerReflectionInfo", None, quiet=True)), takes_one=False)
        self._methods.update({f"/{name}/ServerReflectionInfo": method for name in _REFLECTION})


class _OpenCalls:
    """The calls that have not ended, which includes that their answer is sent."""

    def __init__(self) -> None:
        self.are_cut = False
        """Whether the server stops, and cancels those that are left."""
        self.calls: set[Any] = set()

    def add(self, context: Context) -> None:
        self.calls.add(context)
        context.add_done_callback(self.calls.discard)


def _unknown(path: str) -> Method:
    """Answers calls of a method that no service has, which gRPC's library would refuse without reason or trace."""

    async def refuse(requests: AsyncIterator[bytes], context: Context) -> bytes:
        raise error("NOT_IMPLEMENTED", f"there is no method {traces.shown(path)}")

    return translated_stream(_yielding(refuse), path.rpartition("/")[2])


def _method(
    method: MethodDescriptor, behaviour: Callable[..., Any], calls: _OpenCalls | None = None, *, raw: bool = False
) -> Method:
    """One method; `calls` has its calls while they are open, without, they leave no trace."""
    traced = _Traced(method.name, method.input_type, calls, quiet=calls is None)
    if raw and not method.server_streaming and not inspect.iscoroutinefunction(behaviour):
        return Method(begin=partial(_begin, behaviour, traced))
    takes_one = not method.client_streaming
    answers = _yielding(behaviour, method.server_streaming) if inspect.iscoroutinefunction(behaviour) else behaviour
    if raw:
        return Method(_translated(answers, traced, takes_one=takes_one), takes_one=takes_one)
    request, response = map(message_factory.GetMessageClass, (method.input_type, method.output_type))
    call = _translated(answers, traced, _parser(request), takes_one=takes_one)
    return Method(call, response.SerializeToString, takes_one=takes_one)


def _yielding(
    behaviour: Callable[[Any, Context], Awaitable[Any]], has_written: bool = False
) -> Callable[[Any, Context], AsyncGenerator[Any]]:
    """The behaviour as one that yields its answer, unless it writes its answers itself."""

    async def answers(request: Any, context: Context) -> AsyncGenerator[Any]:
        answer = await behaviour(request, context)
        if not has_written:
            yield answer

    return answers


class _Traced:
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
        if metadata := traces.response_metadata(trace.call_id):
            context.set_trailing_metadata(metadata)
        if self._calls is not None:
            self._calls.add(context)
        return trace

    async def fail(self, trace: Trace, context: Context, fault: BaseException) -> None:
        """Logs the failure and ends the call with its status; returns if none can be sent, as the call is gone."""
        if isinstance(fault, Exception) and not isinstance(fault, grpc.aio.AbortError):
            code, details, metadata = _told(trace, fault)
            await context.abort(STATUSES[code], details, metadata)
        else:
            trace.fail(self.cancellation(context))

    def cancellation(self, context: Context) -> OrcError:
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


def _one(request: Any) -> Any:
    """Return the request of a method that takes one; raises OrcError if the call came without."""
    if request is grpc.aio.EOF:
        raise error("MALFORMED_REQUEST", "the call came without a message")
    return request


async def _parsed(parse: Callable[[bytes], Any], requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    async for data in requests:
        yield parse(data)


def _translated(
    behaviour: Callable[[Any, Context], AsyncGenerator[Any]],
    method: _Traced,
    parse: Callable[[bytes], Any] | None = None,
    *,
    takes_one: bool = False,
) -> Callable[[AsyncIterator[bytes], Context], AsyncIterator[Any]]:
    """The behaviour with its errors translated, those of `parse`, which reads requests, included."""

    async def call(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
        trace = method.begin(context)
        traces.current.set(trace)
        try:
            message: Any = requests
            if takes_one:
                message = _one(await context.read())  # cheaper than to begin an iteration that is never ended
            if parse is not None:
                message = parse(message) if takes_one else _parsed(parse, requests)
            trace.request = message
            async with contextlib.aclosing(behaviour(message, context)) as responses:
                async for response in responses:
                    yield response
        except BaseException as fault:
            await method.fail(trace, context, fault)
            raise

    return call


def translated_stream(
    behaviour: Callable[[Any, Context], AsyncGenerator[Any]], method: str, kind: Descriptor | None = None
) -> Method:
    """Make a method that gets the iterator of messages; its errors are reported like those of all methods here.

    `kind` is the type of its requests, whose bytes the behaviour may give to its trace.
    """
    return Method(_translated(behaviour, _Traced(method, kind)), takes_one=False)


class Reply:
    """Where a method that is no coroutine gives its answer: once, by `set_result` or `set_exception`."""

    __slots__ = ("_finish", "context", "give_up", "trace")

    def __init__(self, context: Context, finish: Finish, trace: Trace) -> None:
        self.context = context
        self._finish = finish
        self.trace = trace
        self.give_up: Callable[[], object] = _nothing
        """What the method wants to be called if the caller no longer waits."""

    def set_result(self, message: bytes) -> None:
        """Send the answer."""
        self._finish(message=message)

    def set_exception(self, fault: Exception) -> None:
        """Send the failure."""
        code, details, metadata = _told(self.trace, fault)
        self._finish(code, details, metadata)


def _nothing() -> None:
    pass


def _begin(
    behaviour: Callable[[bytes, Reply], None], method: _Traced, request: Any, context: Context, finish: Finish
) -> Callable[[], None]:
    """Start a call that no coroutine answers; return what is to be called if its caller gives up."""
    trace = method.begin(context)
    reply = Reply(context, finish, trace)

    def give_up() -> None:
        trace.fail(method.cancellation(context))
        reply.give_up()

    try:
        trace.request = _one(request)
        behaviour(request, reply)
    except Exception as fault:  # noqa: BLE001 - told to the caller, and logged
        reply.set_exception(fault)
    return give_up


def _told(trace: Trace, fault: Exception) -> tuple[int, str, tuple[tuple[str, str | bytes], ...]]:
    """Log a failure; return its status: code, message and metadata."""
    if isinstance(fault, OrcError):
        failure = fault
        trace.fail(failure)
    else:
        text = f"internal error {trace.call_id}; the server's log has the details"
        if isinstance(fault, OSError) and fault.errno in _FULL:  # of which the log may have no details
            text = f"internal error {trace.call_id}: no space is left on the server's disk"
        failure = error("INTERNAL", text, {"id": trace.call_id})
        trace.fail(failure, fault)
    status = to_status(failure, trace.call_id)
    metadata = (("grpc-status-details-bin", status.SerializeToString()), (traces.REQUEST_ID, trace.call_id))
    return failure.code, status.message, metadata
