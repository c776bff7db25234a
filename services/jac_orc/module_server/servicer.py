"""ModuleService: its messages pass through as bytes, to a guest or to the pod that holds the object that they name.

A call with one answer takes no coroutine: the guest's answer goes straight to the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import weakref
from collections.abc import AsyncGenerator, AsyncIterator

from google.api import httpbody_pb2
from google.protobuf import json_format

from jac_orc.core import traces
from jac_orc.core.deadlines import stream_timeout
from jac_orc.core.methods import Context
from jac_orc.core.server import Reply
from jac_orc.core.tasks import Tasks
from jac_orc.errors import OrcError, error, to_status
from jac_orc.guest.wire import STYLES
from jac_orc.module_server.calls import Calls, deadline_exceeded, objects_apart
from jac_orc.module_server.frames import FrameError
from jac_orc.module_server.guest_errors import ObjectElsewhere
from jac_orc.module_server.peers import SENT_ON, Peers
from jac_orc.module_server.session import Session
from jac_orc.v1 import module_pb2

SERVICE = module_pb2.DESCRIPTOR.services_by_name["ModuleService"]


class ModuleServicer:
    """Answers the calls of one module; every method takes and gives bytes."""

    def __init__(self, calls: Calls, peers: Peers, timeout: float) -> None:
        self._calls = calls
        self._peers = peers
        self._timeout = timeout
        self._tasks = Tasks()
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()

    async def stop(self) -> None:
        """Ends what it does in the background."""
        await self._tasks.cancel()

    def end_idle_sessions(self) -> None:
        """Ends each session as soon as none of its calls is in flight."""
        for session in list(self._sessions):
            session.end_when_idle()

    def Call(self, request: bytes, reply: Reply) -> None:
        self._begin("Call", request, reply)

    def RunModule(self, request: bytes, reply: Reply) -> None:
        self._begin("RunModule", request, reply)

    def CallJson(self, request: bytes, reply: Reply) -> None:
        self._begin("CallJson", request, reply)

    def CallNamed(self, request: bytes, reply: Reply) -> None:
        self._begin("CallNamed", request, reply)

    def Describe(self, request: bytes, reply: Reply) -> None:
        self._begin("Describe", request, reply)

    def ReleaseObject(self, request: bytes, reply: Reply) -> None:
        self._begin("ReleaseObject", request, reply)

    def RenewObject(self, request: bytes, reply: Reply) -> None:
        self._begin("RenewObject", request, reply)

    async def Stream(self, request: bytes, context: Context) -> AsyncGenerator[bytes]:
        async with contextlib.aclosing(self._messages("Stream", request, context)) as messages:
            async for message in messages:
                yield message

    async def StreamJson(self, request: bytes, context: Context) -> AsyncGenerator[bytes]:
        timeout = stream_timeout(context.invocation_metadata() or ())
        remaining = context.time_remaining() if timeout is None else timeout
        messages = self._messages("StreamJson", request, context)
        async with contextlib.aclosing(self._lines(messages, remaining)) as lines:
            async for line in lines:
                yield line

    async def Session(self, requests: AsyncIterator[bytes], context: Context) -> AsyncGenerator[bytes]:
        def relay(obj_id: str, messages: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
            self._check_not_sent_on(context)
            return self._peers.stream(_path("Session"), messages, obj_id, None)

        await context.send_initial_metadata(())  # proxies bound the wait for it, and a first call may take hours
        session = Session(self._calls, self._timeout, relay, traces.call_id())
        self._sessions.add(session)
        async with contextlib.aclosing(session.responses(requests)) as responses:
            async for response in responses:
                yield response

    async def GetOpenApi(self, request: bytes, context: Context) -> bytes:
        raise _not_implemented("GetOpenApi")

    async def GetProto(self, request: bytes, context: Context) -> bytes:
        raise _not_implemented("GetProto")

    def _begin(self, method: str, request: bytes, reply: Reply) -> None:
        """Starts a call that has one answer."""
        remaining = reply.time_remaining()
        timeout = self._timeout if remaining is None else remaining
        call = self._calls.begin(_Answer(self, method, request, reply), _STYLES[method], request, timeout)
        reply.give_up = call.abandon

    def send_on(self, method: str, request: bytes, reply: Reply, obj_id: str) -> None:
        """Has another pod, which has the object, answer the call; raises OrcError where it came from one."""
        self._check_not_sent_on(reply)

        async def relay() -> None:
            traces.current.set(reply.trace)
            try:
                reply.set_result(await self._peers.call(_path(method), request, obj_id, reply.time_remaining()))
            except Exception as fault:  # noqa: BLE001 - told to the caller
                reply.set_exception(fault)

        reply.give_up = self._tasks.start(relay()).cancel

    async def _messages(self, method: str, request: bytes, context: Context) -> AsyncGenerator[bytes]:
        try:
            async with contextlib.aclosing(self._calls.stream(_STYLES[method], request)) as messages:
                async for message in messages:
                    yield message
        except ObjectElsewhere as elsewhere:  # before the first message: the call has not run
            self._check_not_sent_on(context)
            relayed = self._peers.stream(_path(method), _only(request), elsewhere.obj_id, context.time_remaining())
            async with contextlib.aclosing(relayed) as messages:
                async for message in messages:
                    yield message

    async def _lines(self, messages: AsyncGenerator[bytes], remaining: float | None) -> AsyncGenerator[bytes]:
        """The messages; a failure after the first is the last line, as the status has been sent by then."""
        begun = False
        loop = asyncio.get_running_loop()
        end = None if remaining is None else loop.time() + remaining
        async with contextlib.aclosing(messages):
            try:
                while True:
                    try:
                        async with asyncio.timeout_at(end):
                            message = await anext(messages, None)
                    except TimeoutError:
                        raise deadline_exceeded(remaining or 0) from None
                    if end is not None and loop.time() >= end:  # a generator that is always ahead never waits
                        raise deadline_exceeded(remaining or 0)
                    if message is None:
                        return
                    begun = True
                    yield message
            except OrcError as failure:
                if not begun:
                    raise
                if trace := traces.current.get():
                    trace.fail(failure)
                yield _last_line(failure, traces.call_id())

    def _check_not_sent_on(self, context: Context | Reply) -> None:
        """Raises OrcError for a call that has been sent on already: its objects are in more than one process."""
        if any(name == SENT_ON for name, _ in context.invocation_metadata() or ()):
            raise objects_apart()


class _Answer:
    """Passes the guest's answer to the caller; where another pod has the object, that pod's."""

    __slots__ = ("_method", "_reply", "_request", "_servicer", "call_id")

    def __init__(self, servicer: ModuleServicer, method: str, request: bytes, reply: Reply) -> None:
        self._servicer = servicer
        self._method = method
        self._request = request
        self._reply = reply
        self.call_id = reply.trace.call_id

    def add(self, body: bytes) -> None:
        raise FrameError("an item of no stream")

    def set_result(self, body: bytes) -> None:
        self._reply.set_result(body)

    def set_exception(self, failure: OrcError) -> None:
        try:
            if not isinstance(failure, ObjectElsewhere):
                raise failure
            self._servicer.send_on(self._method, self._request, self._reply, failure.obj_id)
        except OrcError as told:
            self._reply.set_exception(told)


_STYLES = {name: number for number, name in enumerate(STYLES)}


def _path(method: str) -> str:
    return f"/{SERVICE.full_name}/{method}"


async def _only(request: bytes) -> AsyncIterator[bytes]:
    yield request


def _last_line(failure: OrcError, call_id: str) -> bytes:
    status = json_format.MessageToDict(to_status(failure, call_id), preserving_proto_field_name=True)
    line = json.dumps({"error": status}, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    body = httpbody_pb2.HttpBody(content_type="application/json", data=line)
    return module_pb2.StreamJsonResponse(body=body).SerializeToString()


def _not_implemented(method: str) -> OrcError:
    return error("NOT_IMPLEMENTED", f"{method} is not implemented yet")
