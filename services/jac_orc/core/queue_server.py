"""A gRPC server for asyncio on grpcio's own completion queue: what `grpc.aio.Server` does, at a fraction of its cost.

HTTP/2, limits, keepalive and GOAWAY are grpc-core's, as they are below `grpc.aio`. What differs is how the event loop
hears of calls: one thread polls the queue, asks for each call's first message by itself, and wakes the loop once for
all that has come. The loop answers with one batch of operations. A method with `begin` costs no coroutine either.

It rests on `grpc._cython.cygrpc`, which is private to grpcio. grpcio's synchronous server uses it in the same way
(`grpc/_server.py`); `core.fronts` tries it before anything relies on it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from jac_orc.core.methods import Method

logger = logging.getLogger(__name__)

EOF = grpc.aio.EOF
_ASKED = 64
"""How many calls the queue can hand over before the thread asks for more."""
_NEVER = 4e9
"""Seconds since 1970 from which on a deadline is grpc-core's word for none."""
_EARLY_SECONDS = 0.2
"""How long the status of a call waits for its first message: clients lose a status that comes while they send that."""
_AHEAD_MESSAGES, _AHEAD_BYTES = 16, 32 * 1024
"""How much a handler may be ahead of what is sent: the thread sends on, without a turn of the loop for each message."""
_STOP_SECONDS, _PAUSE = 5.0, 0.1
_CALL, _DOWN = object(), object()
_OPENED, _CLOSED, _RECEIVED, _STARTED, _SENT, _FINISHED = range(6)


class _Tag:
    """What the queue gives back when an operation of a call is done."""

    __slots__ = ("kind", "rpc")

    def __init__(self, kind: int, rpc: Rpc) -> None:
        self.kind = kind
        self.rpc = rpc


class Rpc:
    """A call, which is its handler's context and the iterator of its messages as well.

    Only the event loop may use its fields, except `_call` and `_unsent`: while `_is_sending`, the thread that polls
    sends the messages in `_unsent`, and tells the loop when there are none. Each batch needs new operations: grpc-core
    owns them until the batch is done.
    """

    __slots__ = (
        "_ahead", "_call", "_deadline", "_has_begun", "_has_sent", "_is_receiving", "_is_sending", "_last", "_may_end",
        "_message", "_metadata", "_on_cancel", "_on_done", "_reader", "_server", "_task", "_trailing",
        "_unsent", "_writer", "has_ended", "method", "path",
    )  # fmt: skip

    def __init__(self, server: QueueServer, event: Any) -> None:
        details = event.call_details
        self._server = server
        self._call = event.call
        self._deadline: float = details.deadline
        self._metadata = event.invocation_metadata
        self.path: str = details.method.decode("utf-8", "replace")
        self.method: Method | None = server.methods.get(self.path)
        self._message: Any = None
        self._is_receiving = True
        self._may_end = False
        self._last: tuple[Any, ...] = ()
        self._has_begun = self._has_sent = self.has_ended = False
        self._reader: asyncio.Future[Any] | None = None
        self._unsent: deque[bytes] = deque()
        self._ahead = 0
        self._is_sending = False
        self._writer: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._on_cancel: Callable[[], None] | None = None
        self._on_done: Callable[[Any], None] | None = None
        self._trailing: Any = ()

    # --- the context ---

    def invocation_metadata(self) -> Any:
        return self._metadata

    def time_remaining(self) -> float | None:
        return None if self._deadline > _NEVER else max(0.0, self._deadline - time.time())

    async def read(self) -> Any:
        if self._message is None:
            self._reader = self._server.loop.create_future()
            if not self._is_receiving:
                self._is_receiving = True
                self._start((cygrpc.ReceiveMessageOperation(0),), _RECEIVED)
            self._message = await self._reader
        message = self._message
        if message is not EOF:
            self._message = None
        return message

    def __aiter__(self) -> Rpc:
        return self

    async def __anext__(self) -> Any:
        message = await self.read()
        if message is EOF:
            raise StopAsyncIteration
        return message

    async def write(self, message: Any) -> None:
        if self.has_ended:
            raise asyncio.CancelledError
        assert self.method is not None
        if self.method.response_serializer is not None:
            message = self.method.response_serializer(message)
        if not self._is_sending:
            self._is_sending = True
            self._start((*self._initial_metadata(), cygrpc.SendMessageOperation(message, 0)), _SENT)
            return
        self._unsent.append(message)
        self._ahead += len(message)
        if len(self._unsent) >= _AHEAD_MESSAGES or self._ahead >= _AHEAD_BYTES:
            self._writer = self._server.loop.create_future()
            await self._writer

    def send_next(self) -> bool:
        """Send the next of the messages that wait; return whether there was one. For the thread that polls."""
        try:
            message = self._unsent.popleft()
        except IndexError:
            return False
        flags = cygrpc.WriteFlag.buffer_hint if self._unsent else 0  # one write to the socket for all that wait
        self._start((cygrpc.SendMessageOperation(message, flags),), _SENT)
        return True

    async def send_initial_metadata(self, metadata: Any) -> None:
        if not self.has_ended:
            self._start(self._initial_metadata(metadata), _STARTED)

    def set_trailing_metadata(self, metadata: Any) -> None:
        self._trailing = tuple(metadata)

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> Any:
        self.finish(code.value[0], details, trailing_metadata)
        raise grpc.aio.AbortError

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._on_done = callback

    def finish(self, code: int = 0, details: str = "", trailing: Any = (), message: bytes | None = None) -> None:
        if self.has_ended:
            return
        self.has_ended = True
        status = cygrpc.SendStatusFromServerOperation(tuple(trailing) or self._trailing, code, details.encode(), 0)
        sent = () if message is None else (cygrpc.SendMessageOperation(message, 0),)
        self._last = (*self._initial_metadata(), *sent, status)
        if not self._may_end:
            self._server.loop.call_later(_EARLY_SECONDS, self._let_end)
        self._send_last()

    def _let_end(self) -> None:
        self._may_end = True
        self._send_last()

    def _send_last(self) -> None:
        if self._last and self._may_end and not self._is_sending:
            last, self._last = self._last, ()
            self._start(last, _FINISHED)

    def _initial_metadata(self, metadata: Any = ()) -> tuple[Any, ...]:
        if self._has_sent:
            return ()
        self._has_sent = True
        return (cygrpc.SendInitialMetadataOperation(tuple(metadata), 0),)

    def _start(self, operations: tuple[Any, ...], kind: int) -> None:
        if self._server.is_down:  # grpc-core aborts a process that uses a queue which is shut down
            return
        fault = self._call.start_server_batch(operations, _Tag(kind, self))
        if fault:  # no event comes of it
            raise RuntimeError(f"gRPC refuses operations of a call: error {fault}")

    # --- what becomes of it ---

    def listen(self) -> None:
        """Has the queue tell of the call's end and its first message."""
        self._server.unbegun.add(self)
        self._start((cygrpc.ReceiveCloseOnServerOperation(0),), _CLOSED)
        self._start((cygrpc.ReceiveMessageOperation(0),), _RECEIVED)

    def take(self, kind: int, value: Any) -> None:
        """Takes what the queue has told, on the event loop."""
        if kind == _RECEIVED:
            self._is_receiving = False
            self._let_end()
            if not self._has_begun:
                self._begin(value)
            elif self._reader is not None and not self._reader.done():
                self._reader.set_result(value)
            else:
                self._message = value
        elif kind == _SENT:
            if not self.send_next():  # nothing has come since the thread looked
                self._is_sending = False
                self._ahead = 0
                if self._writer is not None and not self._writer.done():
                    self._writer.set_result(None)
                self._send_last()
        elif kind == _OPENED:
            if not self._has_begun:
                self._begin(None)
        else:
            self._cancel()

    def _begin(self, message: Any) -> None:
        self._server.unbegun.discard(self)
        if self.has_ended:
            return
        self._has_begun = True
        method = self.method or self._server.unknown(self.path)
        if method.begin is not None:
            self._on_cancel = method.begin(message, self, self.finish)
        else:
            self._message = message
            self.method = method
            self._task = self._server.loop.create_task(self._run(method))
            self._server.keep(self._task)

    async def _run(self, method: Method) -> None:
        try:
            assert method.stream_stream is not None
            async for answer in method.stream_stream(self, self):
                await self.write(answer)
            self.finish()
        except grpc.aio.AbortError:
            pass
        except asyncio.CancelledError:
            self.finish(grpc.StatusCode.CANCELLED.value[0], "the call was cancelled")
        except Exception as fault:
            logger.exception("internal error in a call of %s", self.path)
            self.finish(grpc.StatusCode.UNKNOWN.value[0], f"internal error: {type(fault).__name__}")

    def reset(self) -> None:
        """End a call that can't be answered, as its client sends or reads nothing."""
        self._call.cancel(grpc.StatusCode.UNAVAILABLE.value[0], "the server stopped before the call had ended")

    def _cancel(self) -> None:
        self._server.unbegun.discard(self)
        has_ended, self.has_ended = self.has_ended, True
        self._unsent.clear()
        if self._task is not None:
            self._task.cancel()
        if has_ended:
            return
        if self._on_cancel is not None:
            self._on_cancel()
        self.done()

    def done(self) -> None:
        """Tells that nothing more is sent; in any thread."""
        callback, self._on_done = self._on_done, None
        if callback is not None:
            callback(self)


class QueueServer:
    """As much of `grpc.aio.Server` as is used here."""

    def __init__(
        self, options: Sequence[tuple[str, Any]], methods: Mapping[str, Method], unknown: Callable[[str], Method]
    ) -> None:
        """`methods` are those that there are, by path; `unknown` makes the method of another path."""
        self.methods = methods
        self.unknown = unknown
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._queue = cygrpc.CompletionQueue()
        self._server = cygrpc.Server(tuple((name.encode(), value) for name, value in options), False)
        self._server.register_completion_queue(self._queue)
        self._tasks: set[asyncio.Task[None]] = set()
        self.unbegun: set[Rpc] = set()  # their first message has not come
        self._come: deque[tuple[Rpc, int, Any]] = deque()
        self._is_woken = False
        self._is_stopping = False
        self.is_down = False
        """Whether all calls have ended. No operation may start then."""
        self._down: asyncio.Future[None] | None = None

    def add_insecure_port(self, address: str) -> int:
        """Bind the address, which serves calls from `start` on; return the port. Raises RuntimeError if that fails."""
        port = self._server.add_http2_port(address.encode())
        if not port:
            raise RuntimeError(f"the address {address} can't be bound")
        return int(port)

    async def start(self) -> None:
        """Takes calls from now on."""
        self._down = self.loop.create_future()
        self._server.start(backup_queue=False)
        for _ in range(_ASKED):
            self._server.request_call(self._queue, self._queue, _CALL)
        threading.Thread(target=self._poll, name="grpc", daemon=True).start()

    async def stop(self, grace: float | None) -> None:
        """Refuses new calls, and returns when those in flight have ended, after `grace` seconds by being cancelled."""
        if self._down is None:
            return
        if not self._is_stopping:
            self._is_stopping = True
            self._server.shutdown(self._queue, _DOWN)
        if grace:
            await asyncio.wait([self._down], timeout=grace)
        if not self._down.done():
            for rpc in list(self.unbegun):
                rpc.reset()
            self._server.cancel_all_calls()
            await asyncio.wait([self._down, *self._tasks], timeout=_STOP_SECONDS)
        if not self._down.done():
            logger.error("gRPC has not stopped within %g s", _STOP_SECONDS)

    def keep(self, task: asyncio.Task[None]) -> None:
        """Keeps a call's task alive."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- the thread that polls ---

    def _poll(self) -> None:
        while True:
            try:
                if self._has_ended(self._queue.poll()):
                    return
            except Exception:
                logger.exception("internal error in the thread that polls")
                time.sleep(_PAUSE)

    def _has_ended(self, event: Any) -> bool:
        """Takes an event, which mustn't be referred to when the queue is polled again; tells if it was the last."""
        tag = event.tag
        if tag is None:  # of the queue itself, once it has nothing more
            self._call_soon(self._set_down)
            return True
        if tag is _CALL:
            if event.success and event.call_details.method:  # else the server stops
                if not self._is_stopping:
                    self._server.request_call(self._queue, self._queue, _CALL)
                rpc = Rpc(self, event)
                rpc.listen()
                if rpc.method is None or not rpc.method.takes_one:
                    self._tell(rpc, _OPENED, None)
        elif tag is _DOWN:
            self.is_down = True  # for this thread; the loop may be about to start something
            self._call_soon(self._queue.shutdown)
        elif tag.kind == _FINISHED:
            tag.rpc.done()
        elif tag.kind == _RECEIVED:
            message = event.batch_operations[0].message()
            self._tell(tag.rpc, _RECEIVED, EOF if message is None else message)
        elif tag.kind == _SENT:
            if not tag.rpc.send_next():
                self._tell(tag.rpc, _SENT, None)
        elif tag.kind == _CLOSED and event.batch_operations[0].cancelled():
            self._tell(tag.rpc, _CLOSED, None)
        return False

    def _tell(self, rpc: Rpc, kind: int, value: Any) -> None:
        self._come.append((rpc, kind, value))
        if not self._is_woken:
            self._is_woken = True
            self._call_soon(self._take)

    def _call_soon(self, callback: Callable[[], None]) -> None:
        try:
            self.loop.call_soon_threadsafe(callback)
        except RuntimeError:  # the loop is closed, and starts no more operations
            logger.debug("the event loop is closed")
            if self.is_down:
                self._queue.shutdown()

    # --- on the event loop ---

    def _take(self) -> None:
        self._is_woken = False  # first, so that an event that arrives from here on wakes the loop again
        for _ in range(len(self._come)):  # what comes meanwhile waits for a turn, as other callbacks do
            rpc, kind, value = self._come.popleft()
            try:
                rpc.take(kind, value)
            except Exception:
                logger.exception("internal error in a call of %s", rpc.path)

    def _set_down(self) -> None:
        if self._down is not None and not self._down.done():
            self._down.set_result(None)
