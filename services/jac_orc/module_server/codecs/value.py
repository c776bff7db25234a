"""`google.protobuf.Value`, the natural form for grpcurl and clients in any language, to the guest's JSON and back.

A Value's number is a double. On the way in, one without a fraction is an int to Python, as its writer meant; on the
way out, an int that a double can't hold exactly is refused and never rounded.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import struct_pb2

from jac_orc.errors import error

_EXACT = 2**53
_MAX_DIGITS = 308  # the largest double has 309
# A list or object in a Value costs three levels of messages, of which protobuf's parsers take 100 by default.
_MAX_DEPTH = 30


def body(args: Iterable[struct_pb2.Value], kwargs: Mapping[str, struct_pb2.Value]) -> bytes:
    """The JSON body of a call; raises OrcError for a Value that JSON doesn't have."""
    document = {"args": [_plain(arg) for arg in args], "kwargs": {name: _plain(arg) for name, arg in kwargs.items()}}
    return json.dumps(document, allow_nan=False).encode()


def _plain(value: struct_pb2.Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        return _number(value.number_value)
    if kind == "list_value":
        return [_plain(item) for item in value.list_value.values]
    if kind == "struct_value":
        return {name: _plain(item) for name, item in value.struct_value.fields.items()}
    if kind is None:
        raise error("MALFORMED_REQUEST", "an argument is a Value with nothing in it; null is null_value")
    return None if kind == "null_value" else getattr(value, kind)


def _number(number: float) -> float | int:
    if not math.isfinite(number):
        raise error("MALFORMED_REQUEST", f"a Value can't hold {number}; send it as a string")
    return int(number) if number.is_integer() and abs(number) <= _EXACT else number


def result(answer: bytes) -> struct_pb2.Value:
    """The Value of a guest's answer; raises OrcError where it can't be exact."""
    value = struct_pb2.Value()
    _fill(value, json.loads(answer, parse_int=_exact)["result"], 0)
    return value


def _fill(value: struct_pb2.Value, plain: Any, depth: int) -> None:
    if depth > _MAX_DEPTH:
        message = f"the result is nested deeper than {_MAX_DEPTH} levels, which google.protobuf.Value doesn't carry"
        raise error("VALUE_NOT_REPRESENTABLE", message)
    if plain is None:
        value.null_value = struct_pb2.NULL_VALUE
    elif isinstance(plain, bool):
        value.bool_value = plain
    elif isinstance(plain, float):
        value.number_value = plain
    elif isinstance(plain, str):
        value.string_value = _utf8(plain)
    elif isinstance(plain, list):
        items = value.list_value.values
        for item in plain:
            _fill(items.add(), item, depth + 1)
        value.list_value.SetInParent()
    else:
        fields = value.struct_value.fields
        for name, item in plain.items():
            _fill(fields[_utf8(name)], item, depth + 1)
        value.struct_value.SetInParent()


def _exact(digits: str) -> float:
    """The double of an int; raises OrcError where there is none that is equal."""
    if len(digits) <= _MAX_DIGITS and int(double := float(digits)) == int(digits):
        return double
    message = "the result has an int that google.protobuf.Value, a double, can't hold exactly; call over REST"
    raise error("VALUE_NOT_REPRESENTABLE", message, {"type": "builtins.int"})


def _utf8(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise error("VALUE_NOT_REPRESENTABLE", "the result has a string with a lone surrogate") from None
    return text
