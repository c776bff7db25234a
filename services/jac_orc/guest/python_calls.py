"""Calls with Python's own values: one, a stream, or a batch whose calls use the results of earlier ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .failures import Cancelled, Refusal, error_body
from .invoking import NOTHING
from .json_values import too_large
from .large_values import LARGE_BYTES, Uploads, parts_of, stored
from .protowire import VARINT, Malformed, by_number, fields, flag, key, sized, string, text, varint
from .python_value_decoder import Decoder
from .python_value_encoder import Encoder
from .python_values import Context, Kind, TooLong, loaded_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .calls import Call
    from .invoking import Invoker
    from .names import Names
    from .objects import Objects

    Message = dict[int, Any]

_FIRST, _INDEX, _RESULT = key(1), key(1, VARINT), key(2)
_OBJECT_VALUE = key(Kind.OBJECT)
# The fields of what one call asks for: a CallPythonRequest, or a BatchCall with its numbers raised by one.
_METHOD, _ARGS, _KWARGS, _TARGET, _KEEP, _SILENT = range(2, 8)


class PythonCalls:
    """Makes such calls of one module; its methods are those of the service, as in `requests`."""

    def __init__(self, invoker: Invoker, names: Names, objects: Objects, limits: dict[str, int]) -> None:
        self._invoker = invoker
        self._names = names
        self._objects = objects
        self._max_answer = limits["max_answer"]
        self._max_large = limits["max_value"]
        self._max_whole = min(self._max_answer, LARGE_BYTES)
        self.uploads = Uploads()

    def CallPython(self, call: Call, asked: Message) -> bytes:
        """Return the result, or a reference to it if it is large or `keep` is set."""
        values = _Values(self._names, self._objects)
        result = self._result(call, asked, values)
        return sized(_FIRST, values.refer(result)) if asked.get(_KEEP) else self._response(values, result)

    def StreamPython(self, call: Call, asked: Message) -> bytes:
        """Sends each item's response; one that is too large for it is kept. Answers the empty end."""
        values = _Values(self._names, self._objects)
        result = self._result(call, asked, values, streams=True)
        return self._invoker.stream(call, result, lambda item: self._response(values, item))

    def PutValue(self, call: Call, request: Message) -> bytes:
        """Make an object of an upload; the request is the server's own message with the upload's number."""
        values = _Values(self._names, self._objects)
        return stored(values.refer(Decoder(values).decode(self.uploads.value(request.get(1, 0)))))

    def GetValue(self, call: Call, request: Message) -> bytes:
        """Sends an object's value in parts; answers the empty end."""
        values = _Values(self._names, self._objects)
        for parts in parts_of(values.parts(self._objects.get(text(request.get(2, b""))), self._max_large)):
            call.send(*parts)
        return b""

    def CallBatch(self, call: Call, request: Message) -> bytes:
        """Answers what was returned; the failures go before it.

        Where the first call names an object that isn't here, the whole batch was meant for another pod.
        """
        results: list[Any] = []
        try:
            return self._batch(call, request[2], results, goes_on=bool(request.get(3)))
        finally:
            results.clear()  # else they live as long as the tracebacks of failures, which lead to them

    def _batch(self, call: Call, calls: Sequence[Any], results: list[Any], *, goes_on: bool) -> bytes:
        told: list[bytes] = []
        room = self._max_answer
        for index, message in enumerate(calls):
            values = _Values(self._names, self._objects, results)
            try:
                asked = by_number(message, (_ARGS, _KWARGS), shift=1)
                result = self._result(call, asked, values)
                value = b""
                if asked.get(_SILENT):
                    self._names.check_result(result)  # as later calls may have its attributes
                else:
                    value = values.refer(result) if asked.get(_KEEP) else values.encoded(result, room)
            except Cancelled:
                raise
            except BaseException as raised:
                failure: Any = raised
                kind: Any = type(raised)  # its `__class__` may be code that fails
                if not index and issubclass(kind, Refusal) and failure.error["reason"] == "OBJECT_ELSEWHERE":
                    raise
                if issubclass(kind, _Failed):
                    failure = failure.failure
                elif issubclass(kind, Malformed):
                    failure = Refusal("MALFORMED_REQUEST", "the call is malformed: %s" % raised)
                body = error_body(failure)
                if len(body) > room:
                    failure = too_large(self._max_answer)
                    body = error_body(failure)
                room -= len(body)
                call.send_error(index, body)
                results.append(_Failed(failure))
                if not goes_on or room < 0:
                    break
                continue
            results.append(result)
            answer = _INDEX + varint(index) + (sized(_RESULT, value) if value else b"")
            told.append(sized(_FIRST, answer))
            room -= len(answer)
        return b"".join(told)

    def _result(self, call: Call, asked: Message, values: _Values, *, streams: bool = False) -> Any:
        decode, invoker = Decoder(values).decode, self._invoker
        owner = decode(asked[_TARGET]) if _TARGET in asked else NOTHING
        method = text(asked.get(_METHOD, b""))
        args = [decode(arg) for arg in asked[_ARGS]]
        kwargs = {}
        for entry in asked[_KWARGS]:
            parts = dict(fields(entry))
            kwargs[text(parts.get(1, b""))] = decode(parts.get(2, b""))
        if owner is not NOTHING and not method and not callable(owner):
            target = owner  # to have an object's value, or its items
        else:
            target = invoker.target(method, owner, streams=streams)
        if not callable(target):
            return invoker.constant(call, target, method, args, kwargs)
        return invoker.run(call, target, method, args, kwargs)

    def _response(self, values: _Values, value: Any) -> bytes:
        """The value in a message or, if it is large, a reference to it."""
        try:
            return sized(_FIRST, values.encoded(value, self._max_whole))
        except Refusal as refusal:
            if refusal.error["reason"] != "TOO_LARGE":
                raise
        try:
            return sized(_FIRST, values.refer(value)) + flag(2, True)
        except Refusal:  # no object can be kept
            if self._max_whole == self._max_answer:
                raise
        return sized(_FIRST, values.encoded(value, self._max_answer))


class _Failed(Exception):
    """The result of a failed call. It is raised when a later call uses it, whatever the class of the failure."""

    def __init__(self, failure: BaseException) -> None:
        self.failure = failure


class _Values(Context):
    """What the values of one call refer to."""

    def __init__(self, names: Names, objects: Objects, results: Sequence[Any] = ()) -> None:
        self._names = names
        self._objects = objects
        self._results = results
        self._made: list[str] = []

    def encoded(self, value: Any, max_bytes: int) -> bytes:
        """The value's message; where that is refused, no object that was made for it is left."""
        return b"".join(self.parts(value, max_bytes))

    def parts(self, value: Any, max_bytes: int) -> list[Any]:
        """The same in parts."""
        self._made = []
        try:
            return Encoder(self, max_bytes).parts(value)
        except BaseException as failure:
            self._objects.discard(self._made)
            if issubclass(type(failure), TooLong):
                raise too_large(max_bytes) from None
            raise

    def refer(self, value: Any) -> bytes:
        reference = self._objects.keep(value, self._made)
        parts = [string(1, reference["obj_id"]), string(2, reference["type"]), string(3, reference["repr"])]
        return sized(_OBJECT_VALUE, b"".join(parts) + flag(4, reference["is_callable"]))

    def resolve(self, reference: Any) -> Any:
        return self._objects.get(text(dict(fields(reference)).get(1, b"")))

    def result(self, index: int) -> Any:
        if index >= len(self._results):
            raise Malformed("it uses the result of call %s, which is not an earlier one" % index)
        result = self._results[index]
        if isinstance(result, _Failed):
            raise _Failed(result.failure)
        return result

    def find_class(self, name: str) -> Any:
        """Only classes of the module's own package are made here."""
        return loaded_class(name) if name.partition(".")[0] == self._names.name.partition(".")[0] else None
