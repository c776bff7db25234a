"""The gRPC server that every service here runs on: registration, errors, reflection, health.

Services are registered from their descriptors, and it is there, once per method and not once per call, that errors are
translated: an OrcError becomes a rich status, anything else INTERNAL, which only the log explains. There, too, a call
gets its id, and one that fails its line in the log (`core.traces`); health and reflection leave none.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health, health_pb2

from jac_orc.core import traces
from jac_orc.core.draining import CUT_SECONDS, Group, OpenCalls, Waiting
from jac_orc.core.failures import LastLine, last_line_of, logged, status_of
from jac_orc.core.fronts import new_front
from jac_orc.core.liveness import LIVENESS
from jac_orc.core.methods import Context, Finish, Method
from jac_orc.core.traces import Trace
from jac_orc.errors import OrcError, error

if TYPE_CHECKING:
    from jac_orc.core.queue_server import QueueServer

MAX_MESSAGE_BYTES = 64 * 1024 * 1024 + 64 * 1024
_MAX_PENDING_REQUESTS = 10_000
_FLUSH_SECONDS = 0.2
_NEAR_DEADLINE = 0.05  # a client that gives up at its deadline is heard a moment before the server's own timer
_REFLECTION = ("grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection")

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
Behaviour = Callable[[Any, Context], AsyncGenerator[Any]]


def _nothing() -> None:
    pass


class Server:
    """A gRPC server with health and reflection for all that is registered on it."""

    def __init__(self, health_servicer: health.aio.HealthServicer | None = None) -> None:
        self._front: QueueServer | grpc.aio.Server | None = None
        self._methods: dict[str, Method] = {}
        self._open = OpenCalls()
        self.health = health_servicer or health.aio.HealthServicer()
        self._services: list[str] = []

    def register(
        self, service: ServiceDescriptor, servicer: object, *, raw: bool = False, only: Collection[str] | None = None,
        waiting: Waiting = "call",
    ) -> None:  # fmt: skip
        """Register every method of the service, or only those named.

        The servicer has a coroutine or async generator for each. With `raw` these take and give the messages' bytes,
        and a method may be a function that gets a Reply. If `waiting` is "request", methods that stream their answers
        are watches.
        """
        methods = {}
        for method in service.methods:
            if only is None or method.name in only:
                is_watch = waiting == "request" and method.server_streaming
                calls = self._open.groups["watch" if is_watch else waiting]
                methods[method.name] = _method(method, getattr(servicer, method.name), calls, raw=raw)
        self._add(service, methods)

    def add_streams(self, service: ServiceDescriptor, behaviours: Mapping[str, Behaviour]) -> None:
        """Register behaviours by the names of the service's methods; each gets the iterator of messages' bytes."""
        methods = {}
        for name, behaviour in behaviours.items():
            method = service.methods_by_name.get(name)
            kind = method.input_type if method is not None else None
            traced = _Traced(name, kind, self._open.groups["call"], last_line=last_line_of(method, raw=True))
            methods[name] = Method(_translated(behaviour, traced), takes_one=False)
        self._add(service, methods)

    def _add(self, service: ServiceDescriptor, methods: Mapping[str, Method]) -> None:
        self._methods.update({f"/{service.full_name}/{name}": method for name, method in methods.items()})
        self._services.append(service.full_name)

    async def start(self, address: str) -> int:
        """Binds, starts and answers the port; health is NOT_SERVING until `set_serving`.

        Raises OSError where the address can't be bound.
        """
        service = health_pb2.DESCRIPTOR.services_by_name["Health"]
        calls = self._open.groups["watch"]
        methods = {
            method.name: _method(method, getattr(self.health, method.name), calls, quiet=True)
            for method in service.methods
        }
        self._add(service, methods)
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
        """Refuse new calls, and return when those in flight have ended, after `grace` seconds by being reset."""
        if self._front is not None:
            await self._front.stop(grace)

    async def set_serving(self, serving: bool, *, impaired: Collection[str] = ()) -> None:
        """Set the health of the server as a whole and of each service; impaired services are NOT_SERVING anyway."""
        for service in ["", *self._services]:
            serves = serving and service not in impaired
            status = health_pb2.HealthCheckResponse.SERVING if serves else health_pb2.HealthCheckResponse.NOT_SERVING
            await self.health.set(service, status)

    async def lame_duck(self, seconds: float, at_most: float, hurry: asyncio.Event) -> None:
        """Report NOT_SERVING and go on taking calls, so that clients and proxies turn to other servers.

        Returns after `seconds`. While new calls come it goes on for longer, for `at_most` seconds, since gRPC loses the
        calls that arrive just after a server has stopped to take them.
        """
        await self.health.enter_graceful_shutdown()
        await self._open.quiet(seconds, at_most, hurry)

    async def drain(
        self, grace: float, request_grace: float = math.inf, *, hurry: asyncio.Event | None = None,
        before_cut: Callable[[], None] = _nothing,
    ) -> None:  # fmt: skip
        """Refuse new calls, and stop when those in flight have ended.

        After `grace` seconds, or once `hurry` is set, those that are left end with POD_STOPPING; `before_cut` is called
        first. Requests have `request_grace`. Watches end with the last call, and connections delay nothing.
        """
        stopping = asyncio.ensure_future(self.stop(grace + 10 * CUT_SECONDS))
        await self._open.wait_for("request", stopping, min(grace, request_grace), hurry)
        self._open.end("request")
        await self._open.wait_for("call", stopping, grace, hurry)
        before_cut()
        for _ in range(2):
            self._open.end()
            await self._open.wait_for(None, stopping, CUT_SECONDS)
        await asyncio.wait([stopping], timeout=_FLUSH_SECONDS)  # the last answers are on their way
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

        traced = _Traced("ServerReflectionInfo", None, self._open.groups["watch"], quiet=True)
        method = Method(_translated(reflect, traced), takes_one=False)
        self._methods.update({f"/{name}/ServerReflectionInfo": method for name in _REFLECTION})


def _unknown(path: str) -> Method:
    """Answers calls of a method that no service has, which gRPC's library would refuse without reason or trace."""

    async def refuse(requests: AsyncIterator[bytes], context: Context) -> bytes:
        raise error("NOT_IMPLEMENTED", f"there is no method {traces.shown(path)}")

    return Method(_translated(_yielding(refuse), _Traced(path.rpartition("/")[2], None)), takes_one=False)


def _method(
    method: MethodDescriptor, behaviour: Callable[..., Any], calls: Group, *, raw: bool = False, quiet: bool = False
) -> Method:
    """One method; `calls` has its calls while they are open. With `quiet` they leave no trace."""
    traced = _Traced(method.name, method.input_type, calls, quiet=quiet, last_line=last_line_of(method, raw=raw))
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
        self, name: str, kind: Descriptor | None, calls: Group | None = None, *, quiet: bool = False,
        last_line: LastLine | None = None,
    ) -> None:  # fmt: skip
        self._name = name
        self._kind = kind
        self.calls = Group() if calls is None else calls
        self._quiet = quiet
        self.last_line = last_line

    def begin(self, context: Context) -> Trace:
        trace = Trace(traces.id_from(context.invocation_metadata() or ()), self._name, self._kind, quiet=self._quiet)
        if metadata := traces.response_metadata(trace.call_id):
            context.set_trailing_metadata(metadata)
        return trace

    def fail(self, trace: Trace, context: Context, fault: BaseException) -> OrcError | None:
        """Log the failure; return the error that its caller receives, or None if the call is gone."""
        if isinstance(fault, asyncio.CancelledError) and self.calls.failure is not None:
            fault = self.calls.failure
        if isinstance(fault, Exception) and not isinstance(fault, grpc.aio.AbortError):
            return logged(trace, fault)
        trace.fail(self.cancellation(context))
        return None

    def cancellation(self, context: Context) -> OrcError:
        """Why a call was cancelled before it had ended."""
        remaining: Any = context.time_remaining()
        if self.calls.failure is not None:
            return self.calls.failure
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
    behaviour: Behaviour,
    method: _Traced,
    parse: Callable[[bytes], Any] | None = None,
    *,
    takes_one: bool = False,
) -> Callable[[AsyncIterator[bytes], Context], AsyncIterator[Any]]:
    """The behaviour with its errors translated, those of `parse`, which reads requests, included."""

    async def call(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
        trace = method.begin(context)
        traces.current.set(trace)
        task = asyncio.current_task()
        assert task is not None
        is_waiting, has_begun, is_cut = True, False, False

        def end(_: OrcError) -> None:
            nonlocal is_cut
            if is_waiting:
                task.cancel()
            elif is_cut and method.last_line is None:  # its caller has not read for long
                getattr(context, "reset", _nothing)()
            is_cut = True

        method.calls.add(context, end)
        try:
            message: Any = requests
            if takes_one:
                message = _one(await context.read())  # cheaper than to begin an iteration that is never ended
            if parse is not None:
                message = parse(message) if takes_one else _parsed(parse, requests)
            trace.request = message
            async with contextlib.aclosing(behaviour(message, context)) as responses:
                async for response in responses:
                    is_waiting, has_begun = False, True
                    yield response
                    is_waiting = True
                    if is_cut:
                        raise asyncio.CancelledError
        except BaseException as fault:
            failure = method.fail(trace, context, fault)
            if failure is None:
                raise
            if method.last_line is None or not has_begun:
                await context.abort(*status_of(failure, trace.call_id))
                raise
            yield method.last_line(failure, trace.call_id)

    return call


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
        status, details, metadata = status_of(logged(self.trace, fault), self.trace.call_id)
        self._finish(status.value[0], details, metadata)

    def end(self, failure: OrcError) -> None:
        """Send the failure, and have the method give up."""
        self.set_exception(failure)
        give_up, self.give_up = self.give_up, _nothing
        give_up()


def _begin(
    behaviour: Callable[[bytes, Reply], None], method: _Traced, request: Any, context: Context, finish: Finish
) -> Callable[[], None]:
    """Start a call that no coroutine answers; return what is to be called if its caller gives up."""
    trace = method.begin(context)
    reply = Reply(context, finish, trace)
    method.calls.add(context, reply.end)

    def give_up() -> None:
        trace.fail(method.cancellation(context))
        reply.give_up()

    try:
        trace.request = _one(request)
        behaviour(request, reply)
    except Exception as fault:  # noqa: BLE001 - told to the caller, and logged
        reply.set_exception(fault)
    return give_up
