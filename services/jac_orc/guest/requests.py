"""What a call asks for and how it is answered: the messages of jac_orc.v1.ModuleService, each method's in one function.

Here the codecs meet the module: a request's bytes become a function and its arguments, a result becomes the bytes of
the response. The numbers are those of the fields in `module.proto`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from . import describe, proto_values, wire
from .binding import Parameters, binds_as_one_list, positional_only
from .conversion_scalars import Exact
from .failures import Refusal, quote
from .invoking import NOTHING, Invoker
from .json_values import decode, encode_result, exact_parser, json_kind, not_finite, parse_body
from .protowire import Malformed, by_number, fields, key, sized, text, varint
from .python_calls import PythonCalls

if TYPE_CHECKING:
    from collections.abc import Callable

    from .calls import Call
    from .coroutines import Loop
    from .names import Names
    from .objects import Objects
    from .wire import Frame

    Document = dict[str, Any]
    Message = dict[int, Any]

_FIRST, _SECOND = key(1), key(2)
_JSON = sized(_FIRST, b"application/json") + _SECOND  # before the data of a google.api.HttpBody
_NO_ARGUMENTS: list[Any] = []


# Methods by what of their requests has other numbers: the field of the module's name, and the repeated fields.
_NUMBERS: dict[str, tuple[int, tuple[int, ...]]] = {
    **dict.fromkeys(("Call", "Stream", "CallPython", "StreamPython"), (1, (3, 4))),
    "CallBatch": (1, (2,)),
    "ReleaseObject": (3, (4,)),
    "RenewObject": (4, ()),
    "PutValue": (2, ()),  # the server's own message: an upload's number in the first field
}


class Requests:
    """Performs calls on one module."""

    def __init__(self, names: Names, objects: Objects, loop: Loop, limits: dict[str, int]) -> None:
        self._names = names
        self._objects = objects
        self._max_answer = limits["max_answer"]
        self._parameters = Parameters()
        self._invoker = Invoker(names, loop)
        self._python = PythonCalls(self._invoker, names, objects, limits)
        self._by_style = [
            (getattr(self, "_" + name, None) or getattr(self._python, name), *_NUMBERS.get(name, (1, ())))
            for name in wire.STYLES
        ]

    def perform(self, call: Call, style: int, body: Any) -> bytes:
        """Does what the call asks for and answers the response's bytes."""
        method, module, repeated = self._by_style[style]
        try:
            request = by_number(body, repeated)
            named = text(request.get(module, b""))
            if named and named != self._names.name:
                message = "this is the server of %s, and the request names %s" % (self._names.name, quote(named))
                raise Refusal("MODULE_MISMATCH", message, module=self._names.name)
            answer: bytes = method(call, request)
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

    # --- methods of the service; `PythonCalls` has the others ---

    def _Call(self, call: Call, request: Message) -> bytes:
        return self._value(self._by_value(call, request))

    def _Stream(self, call: Call, request: Message) -> bytes:
        return self._invoker.stream(call, self._by_value(call, request, streams=True), self._value)

    def _RunModule(self, call: Call, request: Message) -> bytes:
        obj_id, method = text(request.get(3, b"")), text(request.get(2, b""))
        data = _body(request, 5)
        _, args, kwargs = self._arguments(parse_body(data), ("args", "kwargs"))
        return self._json(self._invoke(call, obj_id, method, args, kwargs, data, packs=True))

    def _CallJson(self, call: Call, request: Message) -> bytes:
        return self._json(self._by_json(call, request))

    def _StreamJson(self, call: Call, request: Message) -> bytes:
        result = self._by_json(call, request, streams=True)
        return self._invoker.stream(call, result, lambda item: self._json(item, b"\n"))

    def _CallNamed(self, call: Call, request: Message) -> bytes:
        data = _body(request, 4)
        method, kwargs = text(request.get(2, b"")), parse_body(data)
        return self._json(self._invoke(call, "", method, _NO_ARGUMENTS, kwargs, data, named=True))

    def _Describe(self, call: Call, request: Message) -> bytes:
        return describe.describe(self._names)

    def _ReleaseObject(self, call: Call, request: Message) -> bytes:
        self._objects.release(text(request.get(1, b"")), *map(text, request[4]))
        return b""

    def _RenewObject(self, call: Call, request: Message) -> bytes:
        lease = request.get(2)
        seconds = self._objects.renew(text(request.get(1, b"")), None if lease is None else duration(lease))
        whole = int(seconds)
        nanos = round((seconds - whole) * 1e9)
        return sized(_FIRST, key(1, 0) + varint(whole) + (key(2, 0) + varint(nanos) if nanos else b""))

    # --- what they have in common ---

    def _by_value(self, call: Call, request: Message, *, streams: bool = False) -> Any:
        args, named = list(map(proto_values.plain, request[3])), request[4]
        kwargs = dict(map(proto_values.entry, named)) if named else {}
        return self._invoke(call, text(request.get(5, b"")), text(request.get(2, b"")), args, kwargs, streams=streams)

    def _by_json(self, call: Call, request: Message, *, streams: bool = False) -> Any:
        data = _body(request, 3)
        body = parse_body(data)
        obj_id = body.get("obj_id") or ""
        if not isinstance(obj_id, str):
            raise Refusal("MALFORMED_REQUEST", "the field 'obj_id' must be a string", field="obj_id")
        method, args, kwargs = self._arguments(body, ("args", "kwargs", "obj_id", "method"))
        return self._invoke(call, obj_id, method, args, kwargs, data, streams=streams)

    def _arguments(self, body: Document, known: tuple[str, ...]) -> tuple[str, list[Any], Document]:
        """The method's path and the arguments, not decoded, out of `{"method":…,"args":…,"kwargs":…}`."""
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
        return method, args, kwargs

    def _value(self, result: Any) -> bytes:
        return sized(_FIRST, self._encoded(proto_values.encode_value, result))

    def _json(self, result: Any, end: bytes = b"") -> bytes:
        data = self._encoded(encode_result, result) + end
        return sized(_FIRST, _JSON + varint(len(data)) + data)

    def _encoded(self, encode: Callable[..., bytes], value: Any) -> bytes:
        """The value's bytes; where these are refused, no object that was made for them is left."""
        made: list[str] = []
        try:
            return encode(value, partial(self._objects.keep, made=made), self._max_answer)
        except BaseException:
            self._objects.discard(made)
            raise

    def _invoke(
        self, call: Call, obj_id: str, method: str, args: list[Any], kwargs: Document, data: Any = None, *,
        packs: bool = False, named: bool = False, streams: bool = False,
    ) -> Any:  # fmt: skip
        """The result of a call whose arguments are JSON's, converted to what the parameters are annotated with.

        `data` is the body that they are from; for exact parameters its numbers are read again, as they were written.
        """
        find = self._objects.get
        target = self._invoker.target(method, find(obj_id) if obj_id else NOTHING, streams=streams)
        if not callable(target):
            return self._invoker.constant(call, target, method, args, kwargs)
        converters, exact = self._parameters.converters(target) if args or kwargs else None, None
        if converters is not None and converters.is_exact and data is not None:
            exact = Exact()
            body = parse_body(data, exact_parser(exact.read))
            args, kwargs = (args, body) if named else (body.get("args", args), body.get("kwargs", kwargs))
        args = [decode(arg, find) for arg in args]
        if kwargs:
            kwargs = {name: decode(kwargs[name], find) for name in kwargs}
        if packs and not kwargs and len(args) > 1 and binds_as_one_list(target, args):
            args = [args]
        if converters is not None:
            args, kwargs = converters.convert(args, kwargs, exact)
            if exact is not None and exact.huge:
                raise not_finite()
        if named:
            args, kwargs = positional_only(target, kwargs)
        return self._invoker.run(call, target, method, args, kwargs)


def _body(request: Message, number: int) -> Any:
    """The bytes of a field that is a google.api.HttpBody."""
    return dict(fields(request.get(number, b""))).get(2, b"")


def duration(message: Any) -> float:
    """Return the seconds of a google.protobuf.Duration. A negative one is read as unsigned, so it exceeds any lease."""
    parts = dict(fields(message))
    seconds, nanos = parts.get(1, 0), parts.get(2, 0)
    if not isinstance(seconds, int) or not isinstance(nanos, int):
        raise Malformed("a duration of another form")
    return seconds + nanos / 1e9
