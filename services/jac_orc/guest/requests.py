"""What a call asks for and how it is answered: the messages of jac_orc.v1.ModuleService, each method's in one function.

Here the codecs meet the module: a request's bytes become a function and its arguments, a result becomes the bytes of
the response. The numbers are those of the fields in `module.proto`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import describe, proto_values, wire
from .binding import Parameters, binds_as_one_list, positional_only
from .failures import Refusal, quote
from .invoking import NOTHING, Invoker
from .json_values import decode, encode_result, json_kind, parse_body
from .large_values import stored
from .protowire import Malformed, fields, key, sized, text, varint
from .python_calls import Asked, PythonCalls

if TYPE_CHECKING:
    from collections.abc import Callable

    from .calls import Call
    from .coroutines import Loop
    from .names import Names
    from .objects import Objects
    from .wire import Frame

    Document = dict[str, Any]

_FIRST, _SECOND = key(1), key(2)
_JSON = sized(_FIRST, b"application/json") + _SECOND  # before the data of a google.api.HttpBody
_NO_ARGUMENTS: list[Any] = []


class Request:
    """A request's fields by number; those that a message may have several of are lists."""

    __slots__ = ("fields", "lists")

    def __init__(self, message: Any, repeated: tuple[int, ...] = ()) -> None:
        self.fields: dict[int, Any] = {}
        self.lists: dict[int, list[Any]] = {number: [] for number in repeated}
        for number, value in fields(message):
            if number in self.lists:
                self.lists[number].append(value)
            else:
                self.fields[number] = value

    def text(self, number: int) -> str:
        """A string field, empty where unset."""
        value = self.fields.get(number)
        return "" if value is None else text(value)


class Requests:
    """Performs calls on one module."""

    def __init__(self, names: Names, objects: Objects, loop: Loop, limits: dict[str, int]) -> None:
        self._names = names
        self._objects = objects
        self._max_answer = limits["max_answer"]
        self._parameters = Parameters()
        self._invoker = Invoker(names, loop)
        self._python = PythonCalls(self._invoker, names, objects, limits)
        self._by_style = [getattr(self, "_" + name) for name in wire.STYLES]

    def perform(self, call: Call, style: int, body: Any) -> bytes:
        """Does what the call asks for and answers the response's bytes."""
        try:
            answer: bytes = self._by_style[style](call, body)
        except Malformed as failure:
            raise Refusal("MALFORMED_REQUEST", "the request is malformed: %s" % failure) from None
        return answer

    def control(self, incoming: Frame) -> None:
        """Takes what is sent for no call: a part of a value, or that no more of it comes."""
        kind, _, number, body = incoming
        if kind == wire.PART:
            self._python.uploads.take(number, body)
        else:
            self._python.uploads.drop(number)

    # --- methods of the service ---

    def _Call(self, call: Call, message: Any) -> bytes:
        return sized(_FIRST, self._encoded(proto_values.encode_value, self._by_value(call, message)))

    def _Stream(self, call: Call, message: Any) -> bytes:
        def send(item: Any) -> None:
            call.send(sized(_FIRST, self._encoded(proto_values.encode_value, item)))

        return self._invoker.stream(call, self._by_value(call, message, streams=True), send)

    def _RunModule(self, call: Call, message: Any) -> bytes:
        request = Request(message)
        self._check_module(request.text(1))
        body = parse_body(_http_data(request.fields.get(5)))
        _, args, kwargs = self._arguments(body, ("args", "kwargs"))
        return self._json(self._invoke(call, request.text(3), request.text(2), args, kwargs, packs=True))

    def _CallJson(self, call: Call, message: Any) -> bytes:
        return self._json(self._by_json(call, message))

    def _StreamJson(self, call: Call, message: Any) -> bytes:
        def send(item: Any) -> None:
            line = self._encoded(encode_result, item) + b"\n"
            call.send(sized(_FIRST, _JSON + varint(len(line)) + line))

        return self._invoker.stream(call, self._by_json(call, message, streams=True), send)

    def _CallNamed(self, call: Call, message: Any) -> bytes:
        request = Request(message)
        self._check_module(request.text(1))
        body = parse_body(_http_data(request.fields.get(4)))
        kwargs = {name: decode(value, self._objects.get) for name, value in body.items()}
        return self._json(self._invoke(call, "", request.text(2), _NO_ARGUMENTS, kwargs, named=True))

    def _Describe(self, call: Call, message: Any) -> bytes:
        self._check_module(Request(message).text(1))
        return describe.describe(self._names)

    def _ReleaseObject(self, call: Call, message: Any) -> bytes:
        request = Request(message, repeated=(4,))
        self._check_module(request.text(3))
        self._objects.release(request.text(1), *map(text, request.lists[4]))
        return b""

    def _RenewObject(self, call: Call, message: Any) -> bytes:
        request = Request(message)
        self._check_module(request.text(4))
        lease = request.fields.get(2)
        seconds = self._objects.renew(request.text(1), None if lease is None else duration(lease))
        whole = int(seconds)
        nanos = round((seconds - whole) * 1e9)
        return sized(_FIRST, key(1, 0) + varint(whole) + (key(2, 0) + varint(nanos) if nanos else b""))

    def _CallPython(self, call: Call, message: Any) -> bytes:
        asked = Asked(message)
        self._check_module(asked.module)
        return self._python.call(call, asked)

    def _StreamPython(self, call: Call, message: Any) -> bytes:
        asked = Asked(message)
        self._check_module(asked.module)
        return self._python.stream(call, asked)

    def _CallBatch(self, call: Call, message: Any) -> bytes:
        request = Request(message, repeated=(2,))
        self._check_module(request.text(1))
        return self._python.batch(call, request.lists[2], goes_on=bool(request.fields.get(3)))

    def _PutValue(self, call: Call, message: Any) -> bytes:
        """The server's own message: an upload's number."""
        return stored(self._python.put(Request(message).fields.get(1, 0)))

    def _GetValue(self, call: Call, message: Any) -> bytes:
        request = Request(message)
        self._check_module(request.text(1))
        return self._python.get(call, request.text(2))

    # --- what they have in common ---

    def _by_value(self, call: Call, message: Any, *, streams: bool = False) -> Any:
        request = Request(message, repeated=(3, 4))
        self._check_module(request.text(1))
        args = [decode(proto_values.plain(arg), self._objects.get) for arg in request.lists[3]]
        named = [proto_values.entry(entry) for entry in request.lists[4]]
        kwargs = {name: decode(value, self._objects.get) for name, value in named}
        return self._invoke(call, request.text(5), request.text(2), args, kwargs, streams=streams)

    def _by_json(self, call: Call, message: Any, *, streams: bool = False) -> Any:
        request = Request(message)
        self._check_module(request.text(1))
        body = parse_body(_http_data(request.fields.get(3)))
        obj_id = body.get("obj_id") or ""
        if not isinstance(obj_id, str):
            raise Refusal("MALFORMED_REQUEST", "the field 'obj_id' must be a string", field="obj_id")
        method, args, kwargs = self._arguments(body, ("args", "kwargs", "obj_id", "method"))
        return self._invoke(call, obj_id, method, args, kwargs, streams=streams)

    def _arguments(self, body: Document, known: tuple[str, ...]) -> tuple[str, list[Any], Document]:
        """The method's path and the arguments out of `{"method":…,"args":…,"kwargs":…}`."""
        for name in body:
            if name not in known:
                message = "unknown field %s; known are %s" % (quote(name), ", ".join(known))
                raise Refusal("UNKNOWN_FIELD", message, field=name[:200])
        method, args, kwargs = body.get("method", ""), body.get("args", []), body.get("kwargs", {})
        if type(args) is not list or type(kwargs) is not dict or type(method) is not str:
            for name, value, kind, what in (
                ("method", method, str, "a string"),
                ("args", args, list, "an array"),
                ("kwargs", kwargs, dict, "an object"),
            ):
                if not isinstance(value, kind):
                    state = "must be %s, not %s" % (what, json_kind(value))
                    raise Refusal("MALFORMED_REQUEST", "the field %s %s" % (quote(name), state), field=name)
        find = self._objects.get
        return method, [decode(arg, find) for arg in args], {name: decode(kwargs[name], find) for name in kwargs}

    def _check_module(self, named: str) -> None:
        if named and named != self._names.name:
            message = "this is the server of %s, and the request names %s" % (self._names.name, quote(named))
            raise Refusal("MODULE_MISMATCH", message, module=self._names.name)

    def _json(self, result: Any) -> bytes:
        data = self._encoded(encode_result, result)
        return sized(_FIRST, _JSON + varint(len(data)) + data)

    def _encoded(self, encode: Callable[..., bytes], value: Any) -> bytes:
        """The value's bytes; where these are refused, no object that was made for them is left."""
        with self._objects.made() as keep:
            return encode(value, keep, self._max_answer)

    def _invoke(
        self, call: Call, obj_id: str, method: str, args: list[Any], kwargs: Document, *,
        packs: bool = False, named: bool = False, streams: bool = False,
    ) -> Any:  # fmt: skip
        """The result of a call whose arguments are JSON's, converted to what the parameters are annotated with."""
        owner = self._objects.get(obj_id) if obj_id else NOTHING
        target = self._invoker.target(method, owner, streams=streams)
        if not callable(target):
            return self._invoker.constant(target, method, args, kwargs)
        if named:
            args, kwargs = positional_only(target, kwargs)
        if packs and not kwargs and len(args) > 1 and binds_as_one_list(target, args):
            args = [args]
        args, kwargs = self._parameters.fitted(target, args, kwargs)
        return self._invoker.run(call, target, method, args, kwargs)


def _http_data(message: Any) -> Any:
    """The data of a google.api.HttpBody."""
    if message is not None:
        for number, value in fields(message):
            if number == 2:
                if isinstance(value, int):
                    raise Malformed("a number in the place of a body")
                return value
    return b""


def duration(message: Any) -> float:
    """The seconds of a google.protobuf.Duration."""
    parts = dict(fields(message))
    seconds, nanos = (_signed(parts.get(number, 0)) for number in (1, 2))
    return seconds + nanos / 1e9


def _signed(number: Any) -> int:
    if not isinstance(number, int):
        raise Malformed("a duration of another form")
    return number - 2**64 if number >= 2**63 else number
