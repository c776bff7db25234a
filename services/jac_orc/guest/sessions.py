"""Sessions: calls with Python's own values, results that later calls refer to, and arrays in chunks.

What is sent here is written as whole SessionResponse messages, which the server passes on as they are.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any

from . import wire
from .calls import Promise, Unfinished
from .failures import Refusal
from .json_values import too_large
from .protowire import Malformed, fields, flag, key, sized, string, text, varint
from .python_value_decoder import Decoder, varints
from .python_value_encoder import Encoder
from .python_values import OBJECT, Context, loaded_class

if TYPE_CHECKING:
    from collections.abc import Callable

    from .calls import Call
    from .invoking import Invoker
    from .names import Names
    from .objects import Objects
    from .wire import Frame, Part

CHUNK_BYTES = 1024 * 1024
_MOST_ASSEMBLIES = 1000
_CALL_ID = key(1, 0)
_VALUE = key(2)
_RESULT, _ITEM, _CHUNK = key(1), key(2), key(4)
_OBJECT_VALUE = key(OBJECT)
_LAST = flag(3, True)
_ABSENT = object()


class Assembly:
    """A large value that comes in chunks; one that is larger than it said, or than is allowed, is only counted."""

    def __init__(self, total: int) -> None:
        self.data = bytearray(total)
        self.filled = 0
        self.is_whole = False


class Session:
    """What one session has here."""

    def __init__(self) -> None:
        self.promises: dict[int, Promise] = {}
        self.chunks: dict[int, Assembly] = {}
        self.pending_bytes = 0
        self.last_chunk_id = 0


class Sessions:
    """The sessions of one guest."""

    def __init__(self, invoker: Invoker, names: Names, objects: Objects, limits: dict[str, int]) -> None:
        self._invoker = invoker
        self._names = names
        self._objects = objects
        self._max_answer = limits["max_answer"]
        self._max_array = limits["max_array"]
        self._sessions: dict[int, Session] = {}
        self._unlock()
        os.register_at_fork(after_in_child=self._unlock)

    def _unlock(self) -> None:
        self._lock = threading.Lock()  # a fork gets a new one, as in `Calls`

    def control(self, incoming: Frame) -> None:
        """Takes a chunk, a release, or the end of a session."""
        kind, style, number, chunk_id, body = incoming
        if kind == wire.CHUNK:
            self._take_chunk(self._session(number), chunk_id, body, last=bool(style))
        elif kind == wire.RELEASE:
            self._release(number, body)
        elif kind == wire.END:
            session = self._sessions.pop(number, None)
            if session is not None:
                for call_id in list(session.promises):
                    self._forget(session, call_id)

    def _session(self, number: int) -> Session:
        with self._lock:
            return self._sessions.setdefault(number, Session())

    def _take_chunk(self, session: Session, chunk_id: int, part: Part, *, last: bool) -> None:
        assembly = session.chunks.get(chunk_id)
        if assembly is None:
            assembly = self._new_assembly(session, part.total)
            if len(session.chunks) < _MOST_ASSEMBLIES:  # else whoever refers to it is told that it has not come
                session.chunks[chunk_id] = assembly
        end = assembly.filled + part.size
        if end <= len(assembly.data):
            part.read_into(memoryview(assembly.data)[assembly.filled : end])
        else:
            part.read_into(memoryview(bytearray(part.size)))
        assembly.filled = end
        assembly.is_whole = assembly.is_whole or last

    def _new_assembly(self, session: Session, total: int) -> Assembly:
        """An empty one where so much is not allowed."""
        with self._lock:
            if total + session.pending_bytes <= self._max_array and len(session.chunks) < _MOST_ASSEMBLIES:
                with contextlib.suppress(MemoryError):
                    assembly = Assembly(total)
                    session.pending_bytes += total
                    return assembly
        return Assembly(0)

    def _release(self, number: int, message: Any) -> None:
        for field, value in fields(message):
            if field == 1:
                try:
                    self._objects.release(text(value))
                except Refusal:  # already gone, which is what is asked for
                    continue
            elif field == 2 and number in self._sessions:
                for call_id in [value] if isinstance(value, int) else varints(value):
                    self._forget(self._sessions[number], call_id)

    def _forget(self, session: Session, call_id: int) -> None:
        with self._lock:
            promise = session.promises.pop(call_id, None)
            if promise is not None:
                self._empty(promise)

    def _empty(self, promise: Promise) -> None:
        if promise.size:
            self._objects.dismiss(promise.size)
        # The traceback of a failure leads to frames that hold this promise: a circle, which ends here.
        promise.value, promise.failure, promise.size = None, None, 0

    def _hold(self, session: Session, call_id: int, promise: Promise, value: Any) -> None:
        self._names.check_result(value)
        size = self._objects.admit(value)
        with self._lock:
            promise.value, promise.size = value, size
            if session.promises.get(call_id) is not promise:  # forgotten before it was there
                self._empty(promise)

    # --- calls ---

    def perform(self, call: Call, number: int, message: Any) -> bytes:
        """Runs a SessionCall; answers a SessionResponse, nothing for one that only sends items."""
        session = self._session(number)
        call_id, method, args, kwargs, target, keep, credit, hold = 0, "", [], [], None, False, 0, False
        for field, value in fields(message):
            if field == 1:
                call_id = value
            elif field == 2:
                method = text(value)
            elif field == 3:
                args.append(value)
            elif field == 4:
                kwargs.append(value)
            elif field == 5:
                target = value
            elif field == 6:
                keep = bool(value)
            elif field == 8:
                credit = value
            elif field == 9:
                hold = bool(value)
        if any(not isinstance(number, int) for number in (call_id, credit)):
            raise Malformed("a number of another kind")
        if hold:
            call.promise = session.promises.setdefault(call_id, Promise())
        context = _CallContext(self, session, call)
        try:
            owner, given, named = self._decoded(Decoder(context), target, args, kwargs)
        except Unfinished:
            context.give_back()
            raise
        result = self._result(call, method, owner, given, named)
        if credit:
            call.add_credit(credit, of_client=True)
            return self._stream(call, call_id, context, result)
        if call.promise is not None:
            self._hold(session, call_id, call.promise, result)
            return sized(_RESULT, _CALL_ID + varint(call_id))
        value = context.refer(result) if keep else context.encoded(result, self._max_answer)
        return sized(_RESULT, _CALL_ID + varint(call_id) + sized(_VALUE, value))

    def _decoded(self, decoder: Decoder, target: Any, args: Any, kwargs: Any) -> tuple[Any, list[Any], dict[str, Any]]:
        owner = _ABSENT if target is None else decoder.decode(target)
        named = {}
        for entry in kwargs:
            parts = dict(fields(entry))
            named[text(parts.get(1, b""))] = decoder.decode(parts.get(2, b""))
        return owner, [decoder.decode(arg) for arg in args], named

    def _result(self, call: Call, method: str, owner: Any, args: Any, kwargs: Any) -> Any:
        invoker = self._invoker
        if owner is _ABSENT:
            target = invoker.target(method)
        elif not method and not callable(owner):
            target = owner  # to have what has been held, or its items
        else:
            target = invoker.target(method, owner)
        if not callable(target):
            return invoker.constant(target, method, args, kwargs)
        return invoker.run(call, target, method, args, kwargs)

    def _stream(self, call: Call, call_id: int, context: _CallContext, result: Any) -> bytes:
        """Sends items as the client gives credit for them."""
        head = _CALL_ID + varint(call_id)

        def send(item: Any) -> None:
            value = context.encoded(item, self._max_answer)
            call.take_credit()
            call.send(sized(_ITEM, head + sized(_VALUE, value)))

        self._invoker.stream(call, result, send)
        return sized(_RESULT, head)


class _CallContext(Context):
    """What the values of one call refer to."""

    def __init__(self, sessions: Sessions, session: Session, call: Call) -> None:
        self._sessions = sessions
        self._session = session
        self._call = call
        self._keep: Callable[[Any], dict[str, Any]] = sessions._objects.keep
        self._taken: dict[int, Assembly] = {}
        self._apart: list[tuple[int, memoryview]] = []

    def encoded(self, value: Any, max_bytes: int) -> bytes:
        """The value's message, its large arrays sent before it."""
        with self._sessions._objects.made() as self._keep:
            data = Encoder(self).encode(value)
            if len(data) > max_bytes:
                raise too_large(max_bytes)
        apart, self._apart = self._apart, []
        if sum(len(content) for _, content in apart) > self._sessions._max_array:
            limit = self._sessions._max_array
            text = "the answer has arrays of more than the %d bytes that the setting MAX_ARRAY_BYTES allows" % limit
            raise Refusal("TOO_LARGE", text, limit=str(limit), setting="MAX_ARRAY_BYTES")
        for chunk_id, content in apart:
            self._send_chunks(chunk_id, content)
        return data

    def _send_chunks(self, chunk_id: int, content: memoryview) -> None:
        head = key(1, 0) + varint(chunk_id)
        for start in range(0, len(content), CHUNK_BYTES):
            part = content[start : start + CHUNK_BYTES]
            end = _LAST if start + CHUNK_BYTES >= len(content) else b""
            end += key(4, 0) + varint(len(content)) if not start else b""
            before = head + key(2) + varint(len(part))
            size = varint(len(before) + len(part) + len(end))
            self._call.send(_CHUNK + size + before, part, end)

    def give_back(self) -> None:
        """Has the call, which is tried again later, find its chunks then."""
        self._session.chunks.update(self._taken)
        with self._sessions._lock:
            self._session.pending_bytes += sum(len(assembly.data) for assembly in self._taken.values())

    def refer(self, value: Any) -> bytes:
        reference = self._keep(value)
        parts = [string(1, reference["obj_id"]), string(2, reference["type"]), string(3, reference["repr"])]
        return sized(_OBJECT_VALUE, b"".join(parts) + flag(4, reference["is_callable"]))

    def resolve(self, reference: Any) -> Any:
        return self._sessions._objects.get(text(dict(fields(reference)).get(1, b"")))

    def result(self, call_id: int) -> Any:
        promise = self._session.promises.get(call_id)
        if promise is None:
            text = "the result of call %d is not held: it has been released, or `hold` was not set" % call_id
            raise Refusal("OBJECT_LOST", text, call_id=str(call_id))
        if promise.waiting is not None:
            if promise is self._call.promise:
                raise Malformed("a call that waits for its own result")
            raise Unfinished(promise)
        if promise.failure is not None:
            raise promise.failure
        return promise.value

    def send_apart(self, data: memoryview) -> int:
        with self._sessions._lock:
            self._session.last_chunk_id += 1
            chunk_id = self._session.last_chunk_id
        self._apart.append((chunk_id, data))
        return chunk_id

    def take_apart(self, chunk_id: int) -> Any:
        assembly = self._session.chunks.pop(chunk_id, None)
        if assembly is None or not assembly.is_whole:
            raise Malformed("an array whose chunks have not come")
        self._taken[chunk_id] = assembly
        with self._sessions._lock:
            self._session.pending_bytes -= len(assembly.data)
        if assembly.filled != len(assembly.data):
            limit = self._sessions._max_array
            text = (
                "an array of %d bytes: more than it says, or more than the %d that the setting MAX_ARRAY_BYTES allows"
            )
            raise Refusal("TOO_LARGE", text % (assembly.filled, limit), limit=str(limit), setting="MAX_ARRAY_BYTES")
        return assembly.data

    def find_class(self, name: str) -> Any:
        """Only classes of the module's own package are made here."""
        return loaded_class(name) if name.partition(".")[0] == self._sessions._names.name.partition(".")[0] else None
