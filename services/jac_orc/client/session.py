"""A session with one module: calls with Python's own values, any number in flight, on one stream.

    with Session("127.0.0.1:8080", "statistics") as session:
        session.call("mean", [Decimal("1.5"), 2])

The stream is read by whichever thread waits for an answer, so that a call costs no thread of its own. A session may be
used by many threads at a time.
"""

from __future__ import annotations

import itertools
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, cast

import grpc
from google.rpc import status_pb2

from jac_orc.errors import OrcError, error, from_status
from jac_orc.guest.protowire import VARINT, Malformed, fields, flag, key, sized, string, text, varint
from jac_orc.guest.python_value_decoder import Decoder
from jac_orc.guest.python_value_encoder import Encoder
from jac_orc.guest.python_values import OBJECT, RESULT, Context
from jac_orc.v1 import module_pb2

_METHOD = f"/{module_pb2.DESCRIPTOR.services_by_name['ModuleService'].full_name}/Session"
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024 + 64 * 1024
_OPTIONS = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.http2.bdp_probe", 0),  # as in the server: time lost where both are near each other
    ("grpc.http2.lookahead_bytes", 4 * 1024 * 1024),
)
_CHUNK_BYTES = 1024 * 1024
_ITEMS_AHEAD = 64
_MOST_RELEASED = 100  # before they are sent even though no call is
_CALL, _CANCEL, _CHUNK, _CREDIT, _RELEASE, _BATCH = (key(number) for number in range(1, 7))
_ID, _METHOD_FIELD, _ARG, _KWARG, _TARGET, _TIMEOUT = key(1, VARINT), key(2), key(3), key(4), key(5), key(7)
_FIRST, _SECOND = key(1), key(2)
_ABSENT: Any = object()


class RemoteObject:
    """A value that stays in the pod that made it. The pod forgets it when this is forgotten here."""

    def __init__(self, session: Session, obj_id: str, type_name: str, shown: str, *, is_callable: bool) -> None:
        self._session = session
        self.obj_id = obj_id
        self.type_name = type_name
        self.is_callable = is_callable
        self._shown = shown
        self._finalizer = weakref.finalize(self, session._release, (obj_id,), ())

    def __repr__(self) -> str:
        return f"<remote {self.type_name}: {self._shown}>"

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Calls a method, or tells an attribute; an empty name calls the object itself."""
        return self._session.begin(method, args, kwargs, target=self).result()

    def release(self) -> None:
        """Has the pod forget it now."""
        self._finalizer()


class Pending:
    """A call that has been sent. It may stand for its result in later calls, which need not wait for it."""

    def __init__(self, session: Session, call_id: int, *, is_held: bool) -> None:
        self._session = session
        self.call_id = call_id
        self.is_held = is_held
        self._value: Any = None
        self._failure: OrcError | None = None
        self._is_done = False
        if is_held:
            weakref.finalize(self, session._release, (), (call_id,))

    def result(self) -> Any:
        """What the call returned, awaited; raises OrcError. Of a held result it is fetched."""
        self._session._wait(lambda: self._is_done)
        if self._failure is not None:
            raise self._failure
        return self._session.begin("", (), {}, target=self).result() if self.is_held else self._value

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Calls a method of the result."""
        return self._session.begin(method, args, kwargs, target=self).result()

    def cancel(self) -> None:
        """Gives the call up."""
        self._session._send(sized(_CANCEL, _ID + varint(self.call_id)))

    def _settle(self, value: Any, failure: OrcError | None) -> None:
        self._value, self._failure, self._is_done = value, failure, True


class Items(Iterator[Any]):
    """The items of a generator in the pod, which is at most a few ahead of who reads this."""

    def __init__(self, session: Session, call_id: int) -> None:
        self._session = session
        self._call_id = call_id
        self._items: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._taken = 0
        self._failure: OrcError | None = None
        self._is_done = False

    def __next__(self) -> Any:
        self._session._wait(lambda: self._is_done or not self._items.empty())
        if self._items.empty():
            if self._failure is not None:
                raise self._failure
            raise StopIteration
        self._taken += 1
        if self._taken % (_ITEMS_AHEAD // 2) == 0 and not self._is_done:
            more = key(2, VARINT) + varint(_ITEMS_AHEAD // 2)
            self._session._send(sized(_CREDIT, _ID + varint(self._call_id) + more))
        return self._items.get()

    def close(self) -> None:
        """Closes the generator."""
        if not self._is_done:
            self._session._send(sized(_CANCEL, _ID + varint(self._call_id)))

    def _add(self, item: Any) -> None:
        self._items.put(item)

    def _settle(self, value: Any, failure: OrcError | None) -> None:
        self._failure, self._is_done = failure, True


class Session:
    """A session with a module, behind a front proxy or at a module server's own address."""

    def __init__(self, target: str | grpc.Channel, module: str = "", metadata: Sequence[tuple[str, str]] = ()) -> None:
        self._own_channel = grpc.insecure_channel(target, options=_OPTIONS) if isinstance(target, str) else None
        channel: Any = self._own_channel or target
        if module:
            metadata = (*metadata, ("x-module", module))
        self._outgoing: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._held_back: list[bytes] = []
        self._released: deque[bytes] = deque()
        self._calls: dict[int, Pending | Items] = {}
        self._chunks: dict[int, _Assembly] = {}
        self._numbers = itertools.count(1)
        self._chunk_numbers = itertools.count(1)
        self._reader = threading.Lock()
        self._changed = threading.Condition()
        self._waiting = 0  # threads in wait_for
        self._lock = threading.Lock()
        self._failure: OrcError | None = None
        self._context = _SessionContext(self)
        self._decoder = Decoder(self._context)
        self._responses = channel.stream_stream(_METHOD)(self._requests(), metadata=tuple(metadata))

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the session; calls in flight are cancelled."""
        if self._failure is None:
            self._failure = error("CANCELLED", "the session has been closed")
        self._outgoing.put(None)
        self._responses.cancel()
        if self._own_channel is not None:
            self._own_channel.close()

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """What the function returns; raises OrcError."""
        return self.begin(method, args, kwargs).result()

    def submit(self, method: str, /, *args: Any, **kwargs: Any) -> Pending:
        """Starts a call."""
        return self.begin(method, args, kwargs)

    def hold(self, method: str, /, *args: Any, **kwargs: Any) -> Pending:
        """Starts a call whose result stays in the pod, for later calls to use.

        It is sent together with the next call that is not held, or once its result is asked for.
        """
        return self.begin(method, args, kwargs, hold=True)

    def stream(self, method: str, /, *args: Any, **kwargs: Any) -> Items:
        """The items of a generator function, as they are made."""
        items: Items = self._begin(Items, method, args, kwargs, None, key(8, VARINT) + varint(_ITEMS_AHEAD))
        return items

    def begin(
        self, method: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, *,
        target: RemoteObject | Pending | None = None, hold: bool = False, keep: bool = False,
        timeout: float | None = None,
    ) -> Pending:  # fmt: skip
        """Starts a call of a function, or of a method of `target`; raises TypeError for a value that can't be sent.

        `hold` leaves the result in the pod for calls of this session, `keep` answers with a RemoteObject whatever it
        is. `timeout` is in seconds; None: as long as the module allows.
        """
        options = flag(6, keep) + flag(9, hold)
        if timeout is not None:
            seconds, nanos = divmod(round(timeout * 1e9), 1_000_000_000)
            duration = key(1, VARINT) + varint(seconds) + key(2, VARINT) + varint(nanos)
            options += sized(_TIMEOUT, duration)

        def made(session: Session, call_id: int) -> Pending:
            return Pending(session, call_id, is_held=hold)

        pending: Pending = self._begin(made, method, args, kwargs or {}, target, options, hold)
        return pending

    def _begin(
        self, make: Callable[[Session, int], Any], method: str, args: Sequence[Any], kwargs: Mapping[str, Any],
        target: Any, options: bytes, waits: bool = False,
    ) -> Any:  # fmt: skip
        if self._failure is not None:
            raise self._failure
        encoder = Encoder(self._context)
        parts = [string(2, method)]
        parts += [sized(_ARG, encoder.encode(arg)) for arg in args]
        for name, value in kwargs.items():
            parts.append(sized(_KWARG, string(1, name) + sized(_SECOND, encoder.encode(value))))
        if target is not None:
            parts.append(sized(_TARGET, encoder.encode(target)))
        call_id = next(self._numbers)
        message = sized(_CALL, _ID + varint(call_id) + b"".join(parts) + options)
        pending = make(self, call_id)
        self._calls[call_id] = pending
        if waits:
            with self._lock:
                self._held_back.append(message)
        else:
            self._send(message)
        return pending

    # --- sending ---

    def _send(self, message: bytes) -> None:
        """Sends a message, behind those that have been held back."""
        with self._lock:
            held, self._held_back = self._held_back, []
            self._outgoing.put([*held, message] if held else message)

    def _send_held(self) -> None:
        with self._lock:
            if self._held_back:
                held, self._held_back = self._held_back, []
                self._outgoing.put(held)

    def _release(self, obj_ids: Sequence[str], call_ids: Sequence[int]) -> None:
        """Has the pod forget objects and results; goes out with the next call. May run in any thread, at any time."""
        if self._failure is None:
            body = b"".join([sized(_FIRST, obj_id.encode()) for obj_id in obj_ids])
            body += b"".join([key(2, VARINT) + varint(call_id) for call_id in call_ids])
            self._released.append(body)
            if len(self._released) > _MOST_RELEASED:
                self._outgoing.put([])

    def _requests(self) -> Iterator[bytes]:
        """The messages that go out; those that wait at a time go in one."""
        while (first := self._outgoing.get()) is not None:
            if isinstance(first, _Chunk):
                yield first.message()
                continue
            batch = list(first) if isinstance(first, list) else [first]
            if self._released:
                batch.append(sized(_RELEASE, b"".join([self._released.popleft() for _ in range(len(self._released))])))
            if batch:
                yield batch[0] if len(batch) == 1 else sized(_BATCH, b"".join([sized(_FIRST, part) for part in batch]))

    # --- receiving ---

    def _wait(self, condition: Callable[[], bool]) -> None:
        """Returns once the condition is true; reads the stream meanwhile, unless another thread does."""
        if condition():
            return
        self._send_held()
        while not condition():
            if self._reader.acquire(blocking=False):
                try:
                    while not condition():
                        self._receive()
                finally:
                    self._reader.release()
                    with self._changed:
                        self._changed.notify_all()
            else:
                with self._changed:
                    self._waiting += 1
                    try:
                        self._changed.wait_for(lambda: condition() or not self._reader.locked(), timeout=1)
                    finally:
                        self._waiting -= 1

    def _receive(self) -> None:
        """Takes one message from the stream; its end fails all calls."""
        try:
            message = next(self._responses)
        except (grpc.RpcError, StopIteration) as failure:
            self._failure = self._failure or _told(failure)
            calls, self._calls = self._calls, {}
            for call in calls.values():
                call._settle(None, self._failure)
        else:
            self._take(message)
        if self._waiting:
            with self._changed:
                self._changed.notify_all()

    def _take(self, message: Any) -> None:
        for kind, body in fields(message):
            if kind == 5:
                for _, inner in fields(body):
                    self._take(inner)
            elif kind == 4:
                self._take_chunk(body)
            else:
                self._settle(kind, body)

    def _settle(self, kind: int, body: Any) -> None:
        call_id, value = 0, cast(Any, None)
        for number, found in fields(body):
            if number == 1:
                call_id = found
            elif number == 2:
                value = found
        call = self._calls.get(call_id)
        if call is None:
            return
        if kind == 3:
            del self._calls[call_id]
            call._settle(None, from_status(status_pb2.Status.FromString(bytes(value or b""))))
            return
        try:
            decoded = None if value is None else self._decoder.decode(value)
        except Malformed as failure:
            del self._calls[call_id]
            if isinstance(call, Items):
                call.close()
            call._settle(None, error("VALUE_NOT_REPRESENTABLE", f"what came can't be made a value here: {failure}"))
            return
        if kind == 2:
            if isinstance(call, Items):
                call._add(decoded)
        else:
            del self._calls[call_id]
            call._settle(decoded, None)

    def _take_chunk(self, body: Any) -> None:
        chunk_id, data, total = 0, b"", 0
        for number, value in fields(body):
            if number == 1:
                chunk_id = value
            elif number == 2:
                data = value
            elif number == 4:
                total = value
        assembly = self._chunks.get(chunk_id)
        if assembly is None:
            assembly = self._chunks[chunk_id] = _Assembly(total)
        assembly.add(data)


class _Chunk:
    """A part of an array, made into a message when its turn comes."""

    def __init__(self, head: bytes, part: memoryview, end: bytes) -> None:
        self._head, self._part, self._end = head, part, end

    def message(self) -> bytes:
        before = self._head + key(2) + varint(len(self._part))
        size = varint(len(before) + len(self._part) + len(self._end))
        return b"".join((_CHUNK, size, before, self._part, self._end))


class _Assembly:
    """An array that comes in chunks."""

    def __init__(self, total: int) -> None:
        self.data = bytearray(total)
        self._filled = 0

    def add(self, data: Any) -> None:
        end = self._filled + len(data)
        self.data[self._filled : end] = data
        self._filled = end


class _SessionContext(Context):
    """What references stand for on this side."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def refer(self, value: Any) -> bytes:
        if isinstance(value, RemoteObject):
            return sized(key(OBJECT), string(1, value.obj_id))
        if isinstance(value, Pending):
            if not value.is_held:
                raise TypeError("only a result that is held can be used in later calls: start its call with `hold`")
            return sized(key(RESULT), _ID + varint(value.call_id))
        raise TypeError(f"a {type(value).__module__}.{type(value).__qualname__} has no form in which it can be sent")

    def resolve(self, reference: Any) -> RemoteObject:
        parts = dict(fields(reference))
        obj_id, type_name, shown = (text(parts.get(number, b"")) for number in (1, 2, 3))
        return RemoteObject(self._session, obj_id, type_name, shown, is_callable=bool(parts.get(4)))

    def send_apart(self, data: memoryview) -> int:
        chunk_id = next(self._session._chunk_numbers)
        head = _ID + varint(chunk_id)
        for start in range(0, len(data), _CHUNK_BYTES):
            end = flag(3, start + _CHUNK_BYTES >= len(data)) + (b"" if start else key(4, VARINT) + varint(len(data)))
            self._session._outgoing.put(_Chunk(head, data[start : start + _CHUNK_BYTES], end))
        return chunk_id

    def take_apart(self, chunk_id: int) -> bytearray:
        return self._session._chunks.pop(chunk_id).data


def _told(failure: BaseException) -> OrcError:
    """Why the stream has ended."""
    if isinstance(failure, grpc.Call):
        for name, value in failure.trailing_metadata() or ():
            if name == "grpc-status-details-bin" and isinstance(value, bytes):
                return from_status(status_pb2.Status.FromString(value))
        return error("MODULE_UNAVAILABLE", f"the session has ended: {failure.details()}")
    return error("MODULE_UNAVAILABLE", "the session has ended")
