"""One session: many calls in flight on one stream, whose answers go out as they come.

The messages are not taken apart here more than is needed to admit calls, to end them in time and to keep either side
from being flooded: calls go to the guest, and what it sends goes to the client, as the bytes that they are. Nothing
more is read while too many answers wait for a client that doesn't read them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from google.protobuf import duration_pb2
from google.protobuf.message import DecodeError

from jac_orc.core import traces
from jac_orc.core.traces import Trace
from jac_orc.errors import OrcError, error, to_status
from jac_orc.guest import wire
from jac_orc.guest.calls import OF_CLIENT
from jac_orc.guest.protowire import Malformed, fields, key, sized
from jac_orc.guest.wire import CREDIT_AT_FIRST
from jac_orc.module_server.calls import Call, Calls
from jac_orc.module_server.frames import FrameError
from jac_orc.module_server.guest_errors import ObjectElsewhere
from jac_orc.module_server.guest_process import Guest
from jac_orc.module_server.peers import address_in
from jac_orc.v1 import module_pb2

logger = logging.getLogger(__name__)

STYLE = wire.STYLES.index("Session")
_CALL, _CANCEL, _CHUNK, _CREDIT, _RELEASE, _BATCH = range(1, 7)
_CALL_TYPE = module_pb2.SessionCall.DESCRIPTOR
_RESPONSE = key(1)
_ANSWERS = key(5)
_MOST_WAITING = 1000
_MOST_WAITING_BYTES = 64 * 1024 * 1024
_MOST_BATCHED = 256 * 1024
_CREDIT_STEP = CREDIT_AT_FIRST // 4
_numbers = itertools.count(1)

Relay = Callable[[str, AsyncIterator[bytes]], AsyncGenerator[bytes]]
"""Sends messages of a session to the pod that holds an object, and gives what it answers."""


class Session:
    """A session; `responses` are the messages for the client."""

    def __init__(self, calls: Calls, timeout: float, relay: Relay, session_id: str = "") -> None:
        """Ids of calls begin with `session_id`, the id of the session itself."""
        self._id = session_id
        self._calls = calls
        self._timeout = timeout
        self._relay = relay
        self._number = next(_numbers)
        self._guest: Guest | None = None
        self._running: dict[int, _SessionCall] = {}
        self._peers: dict[str, Peer] = {}
        self._out: deque[tuple[bytes, _SessionCall | None]] = deque()
        self._come = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._batches = False
        self._failure: BaseException | None = None
        self._has_ended = False

    def end_when_idle(self) -> None:
        """Ends the session as soon as none of its calls is in flight, as if the client had sent its last message."""
        self._has_ended = True
        self._come.set()

    async def responses(self, requests: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """What goes to the client, until it has sent its last message and all calls have ended."""
        reading = asyncio.create_task(self._read(requests))
        try:
            while True:
                while self._out:
                    yield self._next()
                    self._room.set()
                if self._failure is not None:
                    raise self._failure
                if self._has_ended and not self._running:
                    return
                self._come.clear()
                await self._come.wait()
        finally:
            reading.cancel()
            if not self._running and self._failure is None:
                traces.forgive()  # a client that needs no more calls may cancel its session
            for call in list(self._running.values()):
                call.give_up()
            for peer in self._peers.values():
                peer.close()
            self._calls.end_session(self._number)
            await asyncio.gather(reading, *(peer.ended for peer in self._peers.values()), return_exceptions=True)

    def _next(self) -> bytes:
        """The next message, or several in one."""
        message, call = self._out.popleft()
        if call is not None:
            call.was_sent()
        if not self._batches or not self._out:
            return message
        parts, size = [sized(_RESPONSE, message)], len(message)
        while self._out and size + len(self._out[0][0]) < _MOST_BATCHED:
            message, call = self._out.popleft()
            if call is not None:
                call.was_sent()
            size += len(message)
            parts.append(sized(_RESPONSE, message))
        return sized(_ANSWERS, b"".join(parts)) if len(parts) > 1 else message_of(parts[0])

    async def _read(self, requests: AsyncIterator[bytes]) -> None:
        try:
            async for message in requests:
                self._take(message)
                if len(self._out) > _MOST_WAITING:
                    self._room.clear()
                    await self._room.wait()
                if self._guest is not None:
                    await self._guest.writable()
                for peer in list(self._peers.values()):
                    await peer.writable()
        except (Malformed, DecodeError) as failure:
            self._failure = error("MALFORMED_REQUEST", f"the message is malformed: {failure}")
        except Exception as failure:  # noqa: BLE001 - whoever sends the responses raises it
            self._failure = failure
        self._has_ended = True
        self._come.set()

    # --- what the client sends ---

    def _take(self, message: bytes) -> None:
        for kind, body in fields(message):
            if not isinstance(body, memoryview):
                raise Malformed("a field of another kind")
            if kind == _CALL:
                self._start(body)
            elif kind == _CHUNK:
                self._pass_chunk(body)
            elif kind == _BATCH:
                self._batches = True
                for number, inner in fields(body):
                    if number == 1 and _BATCH not in dict(fields(inner)):
                        self._take(inner)
            elif kind == _CANCEL:
                call = self._running.get(module_pb2.SessionCancel.FromString(bytes(body)).call_id)
                if call is not None:
                    call.cancel()
            elif kind == _CREDIT:
                credit = module_pb2.SessionCredit.FromString(bytes(body))
                call = self._running.get(credit.call_id)
                if call is not None and credit.items:
                    call.add_credit(credit.items)
            elif kind == _RELEASE:
                guest = self._choose()
                if guest is not None:  # else there is nothing to forget
                    guest.send(wire.RELEASE, self._number, bytes(body))
                for peer in self._peers.values():
                    peer.send(message_of_kind(_RELEASE, bytes(body)))

    def _pass_chunk(self, message: memoryview) -> None:
        chunk_id, data, last, total = 0, memoryview(b""), 0, 0
        for number, value in fields(message):
            if isinstance(value, memoryview) != (number == 2):
                raise Malformed("a field of another kind")
            if number == 1:
                chunk_id = value
            elif number == 2:
                data = value
            elif number == 3:
                last = value
            elif number == 4:
                total = value
        guest = self._choose()
        if guest is not None:  # else whoever uses the chunks is told that they are gone
            guest.send_chunk(self._number, chunk_id, total, data, last=bool(last))

    def _choose(self) -> Guest | None:
        """The session's guest: always the same, while it lives; None while none does, and calls wait for one."""
        if self._guest is None or not self._guest.alive:
            self._guest = self._calls.guest_for_session()
        return self._guest

    def _start(self, body: memoryview) -> None:
        call_id, timeout, streams = 0, self._timeout, False
        for number, value in fields(body):
            if number == 1 and isinstance(value, int):
                call_id = value
            elif number == 7:
                timeout = _seconds(value)
            elif number == 8:
                streams = bool(value)
        if not call_id or call_id in self._running:
            raise Malformed(f"a call with the id {call_id}, which is 0 or in use")
        trace = Trace(f"{self._id}.{call_id}", "Session", _CALL_TYPE, message := bytes(body))
        call = self._running[call_id] = _SessionCall(self, call_id, message, streams, trace)
        try:
            if timeout <= 0:
                raise error("DEADLINE_EXCEEDED", "the deadline passed before the call began")
            call.begin(self._calls, self._number, self._choose(), timeout)
        except OrcError as failure:
            call.set_exception(failure)

    # --- what goes to the client ---

    def put(self, message: bytes, call: _SessionCall | None = None) -> None:
        """Queues a message."""
        self._out.append((message, call))
        self._come.set()

    def end(self, call_id: int) -> None:
        """A call has ended."""
        self._running.pop(call_id, None)
        self._come.set()

    def peer(self, obj_id: str) -> Peer:
        """The session with the pod that holds an object."""
        address = address_in(obj_id)
        peer = self._peers.get(address)
        if peer is None or peer.ended.done():
            peer = self._peers[address] = Peer(self, self._relay, obj_id)
        return peer


def _seconds(message: object) -> float:
    if not isinstance(message, memoryview):
        raise Malformed("a timeout of another kind")
    timeout = duration_pb2.Duration.FromString(bytes(message))
    return timeout.seconds + timeout.nanos / 1e9


def message_of(part: bytes) -> bytes:
    """The message in a batch's part."""
    return next(bytes(value) for _, value in fields(part))


def message_of_kind(kind: int, body: bytes) -> bytes:
    """A SessionRequest with this in it."""
    return sized(key(kind), body)


class _SessionCall:
    """A call of a session: receives from the guest, or from the pod to which the call has been sent on."""

    def __init__(self, session: Session, number: int, body: bytes, streams: bool, trace: Trace) -> None:
        self._session = session
        self._number = number
        self._trace = trace
        self.call_id = trace.call_id
        self._body = body
        self._streams = streams
        self._call: Call | None = None
        self._peer: Peer | None = None
        self._unsent = 0
        self._sent = 0

    def begin(self, calls: Calls, session: int, guest: Guest | None, timeout: float) -> None:
        self._call = calls.begin(self, STYLE, self._body, timeout, session, guest)

    def cancel(self) -> None:
        """The client gives it up."""
        self.abandon()
        self._fail(error("CANCELLED", "the call was cancelled"))

    def give_up(self) -> None:
        """The session has ended before it."""
        self.abandon()
        self._trace.fail(error("CANCELLED", "its session has ended"))

    def abandon(self) -> None:
        if self._peer is not None:
            self._peer.cancel(self._number)
        elif self._call is not None:
            self._call.abandon()

    def add_credit(self, items: int) -> None:
        """The client wants more items."""
        if self._peer is not None:
            message = module_pb2.SessionCredit(call_id=self._number, items=items)
            self._peer.send(message_of_kind(_CREDIT, message.SerializeToString()))
        elif self._call is not None:
            self._call.add_credit(items, OF_CLIENT)
            self._prolong()

    def _prolong(self) -> None:
        """Each item of a stream may take as long as a call may."""
        if self._streams and self._call is not None and self._call.seconds:
            self._call.limit(self._call.seconds)

    def was_sent(self) -> None:
        """One of its messages has gone out: the guest may send more."""
        self._unsent -= 1
        self._sent += 1
        if self._sent % _CREDIT_STEP == 0 and self._call is not None:
            self._call.add_credit(_CREDIT_STEP)

    def add(self, body: bytes) -> None:
        self._unsent += 1
        if self._unsent > CREDIT_AT_FIRST:
            raise FrameError("more items than it has credit for")
        self._session.put(body, self)
        self._prolong()

    def set_result(self, body: bytes) -> None:
        self._session.put(body)
        self._session.end(self._number)

    def set_exception(self, failure: OrcError) -> None:
        if isinstance(failure, ObjectElsewhere) and self._peer is None:
            self._peer = self._session.peer(failure.obj_id)
            self._peer.start(self, self._number, self._body)
        else:
            self._fail(failure)

    def _fail(self, failure: OrcError) -> None:
        self._trace.fail(failure)
        told = module_pb2.SessionError(call_id=self._number, status=to_status(failure, self.call_id))
        self._session.put(module_pb2.SessionResponse(error=told).SerializeToString())
        self._session.end(self._number)


class Peer:
    """A session with another pod of the module, for the calls that name its objects."""

    def __init__(self, session: Session, relay: Relay, obj_id: str) -> None:
        self._session = session
        self._requests: asyncio.Queue[bytes] = asyncio.Queue()
        self._waiting_bytes = 0  # of what has not been sent yet
        self._calls: dict[int, _SessionCall] = {}
        self._room = asyncio.Event()
        self.ended = asyncio.create_task(self._run(relay, obj_id))
        self.ended.add_done_callback(lambda _: self._room.set())

    def start(self, call: _SessionCall, call_id: int, body: bytes) -> None:
        """Send a call on, unless too much waits to be sent already."""
        if self._requests.qsize() >= _MOST_WAITING or self._waiting_bytes >= _MOST_WAITING_BYTES:
            text = "too many calls wait to be sent to the pod that holds the object"
            call.set_exception(error("QUEUE_FULL", text, {"queue": str(_MOST_WAITING)}))
            return
        self._calls[call_id] = call
        self.send(message_of_kind(_CALL, body))

    def send(self, message: bytes) -> None:
        self._waiting_bytes += len(message)
        self._requests.put_nowait(message)

    async def writable(self) -> None:
        """Wait while too much waits to be sent: more than the calls that `start` admits, and as many cancellations."""
        most, most_bytes = 2 * _MOST_WAITING, 2 * _MOST_WAITING_BYTES
        while (self._requests.qsize() > most or self._waiting_bytes > most_bytes) and not self.ended.done():
            self._room.clear()
            await self._room.wait()

    def cancel(self, call_id: int) -> None:
        """Gives a call up."""
        if self._calls.pop(call_id, None) is not None:
            cancel = module_pb2.SessionCancel(call_id=call_id)
            self.send(message_of_kind(_CANCEL, cancel.SerializeToString()))

    def close(self) -> None:
        self.ended.cancel()

    async def _run(self, relay: Relay, obj_id: str) -> None:
        failure = error("MODULE_UNAVAILABLE", "the pod that holds the object has ended the session")
        try:
            async with contextlib.aclosing(relay(obj_id, self._sent())) as messages:
                async for message in messages:
                    self._take(message)
        except OrcError as told:
            failure = told
        except Exception:
            logger.exception("a session with another pod failed")
            failure = error("INTERNAL", "the session with the pod that holds the object failed; the log says why")
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.set_exception(failure)

    async def _sent(self) -> AsyncIterator[bytes]:
        while True:
            message = await self._requests.get()
            self._waiting_bytes -= len(message)
            self._room.set()
            yield message

    def _take(self, message: bytes) -> None:
        """Passes a message on; the peer has not been sent a batch, so it sends none."""
        for kind, body in fields(message):
            call_id = dict(fields(body)).get(1, 0)
            if kind in (1, 3):
                call = self._calls.pop(call_id, None)
                if call is not None:
                    call.set_result(message)
            elif kind == 4 or call_id in self._calls:
                self._session.put(message)
