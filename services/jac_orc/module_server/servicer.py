"""ModuleService: its messages pass through as bytes, to a guest or to the pod that holds the object that they name.

A call with one answer takes no coroutine: the guest's answer goes straight to the server.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial, partialmethod

from jac_orc.core import traces
from jac_orc.core.deadlines import stream_timeout
from jac_orc.core.methods import Context
from jac_orc.core.server import MAX_MESSAGE_BYTES, Reply
from jac_orc.core.tasks import Tasks
from jac_orc.errors import OrcError, error, to_status
from jac_orc.guest.wire import STYLES
from jac_orc.module_server.calls import Calls, objects_apart
from jac_orc.module_server.frames import FrameError
from jac_orc.module_server.guest_errors import ObjectElsewhere
from jac_orc.module_server.peers import SENT_ON, Peers
from jac_orc.module_server.settings import Settings
from jac_orc.module_server.uploads import Upload, Uploads, in_time
from jac_orc.v1 import module_pb2

SERVICE = module_pb2.DESCRIPTOR.services_by_name["ModuleService"]
POD_SERVICE = module_pb2.DESCRIPTOR.services_by_name["PodService"]


class ModuleServicer:
    """Answers the calls of one module; every method takes and gives bytes."""

    def __init__(self, calls: Calls, peers: Peers, settings: Settings) -> None:
        self._calls = calls
        self._peers = peers
        self._timeout = settings.timeout
        self._uploads = Uploads(calls, settings)
        self._tasks = Tasks()

    async def stop(self) -> None:
        """Ends what it does in the background."""
        await self._tasks.cancel()

    async def PutValue(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        async with contextlib.aclosing(Upload(self._uploads)) as upload:
            async for request in in_time(requests, self._seconds_for(context)):
                try:
                    await upload.add(request)
                except ObjectElsewhere as elsewhere:  # of the first one
                    self._check_not_sent_on(context)
                    whole = _before(request, requests)
                    return await self._peers.call(_path("PutValue"), whole, elsewhere.obj_id, context.time_remaining())
            return await upload.finish(self._seconds_for(context))

    async def GetOpenApi(self, request: bytes, context: Context) -> bytes:
        raise error("NOT_IMPLEMENTED", "GetOpenApi is not implemented yet")

    async def GetProto(self, request: bytes, context: Context) -> bytes:
        raise error("NOT_IMPLEMENTED", "GetProto is not implemented yet")

    def _begin(self, method: str, request: bytes, reply: Reply) -> None:
        """Starts a call that has one answer."""
        answer = _Answer(self, method, request, reply)
        reply.give_up = self._calls.begin(answer, _STYLES[method], request, self._seconds_for(reply.context)).abandon

    def _seconds_for(self, context: Context) -> float:
        remaining = context.time_remaining()
        return self._timeout if remaining is None else remaining

    def send_on(self, method: str, request: bytes, reply: Reply, obj_id: str) -> None:
        """Has another pod, which has the object, answer the call; raises OrcError where it came from one."""
        self._check_not_sent_on(reply.context)

        async def relay() -> None:
            traces.current.set(reply.trace)
            try:
                reply.set_result(await self._peers.call(_path(method), request, obj_id, reply.context.time_remaining()))
            except Exception as fault:  # noqa: BLE001 - told to the caller
                reply.set_exception(fault)

        reply.give_up = self._tasks.start(relay()).cancel

    async def _messages(self, method: str, request: bytes, context: Context) -> AsyncGenerator[bytes]:
        limit = stream_timeout(context.invocation_metadata() or ())
        seconds = context.time_remaining() if limit is None else limit
        begun = time.monotonic()
        try:
            async with contextlib.aclosing(self._calls.stream(_STYLES[method], request, seconds)) as messages:
                async for message in messages:
                    yield message
        except ObjectElsewhere as elsewhere:  # before the first message: the call has not run
            self._check_not_sent_on(context)
            left = None if limit is None else limit - (time.monotonic() - begun)
            relayed = self._peers.stream(_path(method), request, elsewhere.obj_id, context.time_remaining(), left)
            async with contextlib.aclosing(relayed) as messages:
                async for message in messages:
                    yield message

    # Methods that know their name, which comes before the request.
    _unary, _stream = partial(partialmethod, _begin), partial(partialmethod, _messages)
    Call, RunModule, CallJson, CallNamed = map(_unary, ("Call", "RunModule", "CallJson", "CallNamed"))
    Describe, ReleaseObject, RenewObject = map(_unary, ("Describe", "ReleaseObject", "RenewObject"))
    CallPython, CallBatch = map(_unary, ("CallPython", "CallBatch"))
    Stream, StreamPython, StreamJson, GetValue = map(_stream, ("Stream", "StreamPython", "StreamJson", "GetValue"))

    def _check_not_sent_on(self, context: Context) -> None:
        """Raises OrcError for a call that has been sent on already: its objects are in more than one process."""
        if any(name == SENT_ON for name, _ in context.invocation_metadata() or ()):
            raise objects_apart()


class PodServicer:
    """Reports on the guests of this pod."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def GetPodStatus(
        self, request: module_pb2.GetPodStatusRequest, context: Context
    ) -> module_pb2.GetPodStatusResponse:
        replacements = {cause: count for cause, count in self._calls.replacements.items() if count}
        return module_pb2.GetPodStatusResponse(stuck_calls=self._calls.stuck, guest_replacements=replacements)


class _Answer:
    """Passes the guest's answer to the caller; where another pod has the object, that pod's."""

    __slots__ = ("_failures", "_method", "_reply", "_request", "_room", "_servicer", "call_id")

    def __init__(self, servicer: ModuleServicer, method: str, request: bytes, reply: Reply) -> None:
        self._servicer = servicer
        self._method = method
        self._request = request
        self._reply = reply
        self._failures: list[bytes] = []
        self._room = MAX_MESSAGE_BYTES
        self.call_id = reply.trace.call_id

    def add(self, body: bytes) -> None:
        raise FrameError("an item of no stream")

    def add_failure(self, index: int, failure: OrcError) -> None:
        if self._method != "CallBatch":
            raise FrameError("a failure in no batch")
        told = objects_apart() if isinstance(failure, ObjectElsewhere) else failure
        result = module_pb2.BatchResult(index=index, status=to_status(told, self.call_id))
        data = module_pb2.CallBatchResponse(results=[result]).SerializeToString()
        self._room -= len(data)
        if self._room < 0:
            raise FrameError("more failures than a message has room for")
        self._failures.append(data)

    def set_result(self, body: bytes) -> None:
        self._reply.set_result(b"".join((body, *self._failures)) if self._failures else body)

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


async def _before(first: bytes, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for request in requests:
        yield request
