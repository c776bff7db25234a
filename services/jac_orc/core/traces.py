"""A trace of every call that fails: an id that is unique everywhere, and one line in the log.

Each server logs the failures that it answers with. A call that fails behind several servers leaves a line in each, all
with the same id: it is the caller's `x-request-id`, or one made by the first server, and is passed on with the call.
No line contains a value of an argument. It may be secret.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import time
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

from google.protobuf.message import Message
from google.rpc import code_pb2

from jac_orc.errors import OrcError
from jac_orc.guest.protowire import fields

logger = logging.getLogger(__name__)

REQUEST_ID = "x-request-id"
"""The metadata and the HTTP header with the call's id, in requests and in responses."""

_WELL_FORMED = re.compile(r"[!-~]{1,128}")  # as Envoy's configuration has it
_MAX_NAME_CHARS = 200
_MAX_BODY_BYTES = 256 * 1024  # a larger body isn't parsed only to log the function that it names
_MOST_FIELDS = 32  # a request names its function early; looking for it must not take long
# What callers do wrong, and may do often. The rest, and what the module raises, is for the operator to see.
_OF_CALLERS = frozenset((
    code_pb2.CANCELLED, code_pb2.INVALID_ARGUMENT, code_pb2.NOT_FOUND, code_pb2.ALREADY_EXISTS, code_pb2.OUT_OF_RANGE,
    code_pb2.PERMISSION_DENIED, code_pb2.UNAUTHENTICATED, code_pb2.UNIMPLEMENTED,
))  # fmt: skip
# Codes whose messages describe this system, and never what the caller sent.
_SPEAKING = frozenset((code_pb2.UNAVAILABLE, code_pb2.RESOURCE_EXHAUSTED, code_pb2.FAILED_PRECONDITION))

_process = os.urandom(10).hex()
_numbers = itertools.count(1)


class Trace:
    """One call: its id, and what its line says if it fails.

    `request` is the request as a message, or as bytes with their descriptor as `kind`. It is inspected only after a
    failure.
    """

    __slots__ = ("_begun", "_kind", "_method", "call_id", "is_logged", "module", "request")

    def __init__(self, call_id: str, method: str, kind: Any, request: object = None, *, quiet: bool = False) -> None:
        self.call_id = call_id
        self.module = ""
        self.request = request
        self._method = method
        self._kind = kind
        self._begun = time.monotonic()
        self.is_logged = quiet

    def fail(self, failure: OrcError, fault: BaseException | None = None) -> None:
        """Log the failure, once; `fault` is the unexpected exception behind it, whose traceback is logged with it."""
        is_raised = failure.reason == "EXCEPTION_RAISED"
        level = logging.INFO if failure.code in _OF_CALLERS and not is_raised else logging.WARNING
        level = logging.ERROR if fault is not None else level
        if self.is_logged or not logger.isEnabledFor(level):
            return
        self.is_logged = True
        duration = round((time.monotonic() - self._begun) * 1000, 3)
        function, code = function_in(self.request, self._kind), code_pb2.Code.Name(failure.code)
        details = {
            "method": self._method, "function": function, "reason": failure.reason, "code": code, "duration": duration,
        }  # fmt: skip
        if module := self.module or _module_in(self.request):
            details["module"] = shown(module)
        text = f"{self._method} {function}".strip() + f" failed: {failure.reason} after {duration:.1f} ms"
        if failure.code in _SPEAKING and not is_raised:
            text += f": {failure.message[:1000]}"
        logger.log(level, "%s", text, exc_info=fault, extra={"call_id": self.call_id, "fields": details})


current: ContextVar[Trace | None] = ContextVar("trace", default=None)
"""The trace of the call that this task answers."""


def call_id() -> str:
    """Return the id of the call that this task answers; empty outside of calls."""
    trace = current.get()
    return "" if trace is None else trace.call_id


def response_metadata(call_id: str) -> tuple[tuple[str, str], ...]:
    """Return the response's metadata: an id that was made here; its caller knows another one."""
    return ((REQUEST_ID, call_id),) if call_id.startswith(_process) else ()


def set_request(request: bytes, module: str = "") -> None:
    """Add to this task's trace the request of a call that is passed on as bytes, and the module that it is for.

    A large one isn't kept: the call may be long.
    """
    if trace := current.get():
        trace.request, trace.module = request if len(request) <= _MAX_BODY_BYTES else b"", module


def set_module(name: str) -> None:
    """Add to this task's trace the module that the call is about, where its request has the name in a body."""
    if (trace := current.get()) and name:
        trace.module = name


def id_from(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Return the caller's id if it is 1 to 128 printable ASCII characters without spaces, else a new one."""
    for key, value in metadata:
        if key == REQUEST_ID and isinstance(value, str) and _WELL_FORMED.fullmatch(value):
            return value
    return f"{_process}{next(_numbers):012x}"


def shown(name: str) -> str:
    """Return a name that a client sent as logs show it: cut, and without control characters."""
    name = name[:_MAX_NAME_CHARS]
    return name if name.isprintable() else name.encode("unicode_escape").decode()


def function_in(request: Any, kind: Any) -> str:
    """Return the function that the bytes of a request of this type name, as logs show it; empty if they name none."""
    try:
        return shown(_function_in(request, kind))
    except (ValueError, RecursionError):  # malformed, as a request that fails may be
        return ""


def _function_in(request: Any, kind: Any) -> str:
    """Return the function that the bytes of a request name; empty if they name none. Raises ValueError."""
    if kind is None or not isinstance(request, (bytes, memoryview)):
        return ""
    numbers = {field.number: field.name for field in kind.fields if field.name in ("method", "method_name", "body")}
    body: Any = b""
    for number, value in itertools.islice(fields(request), _MOST_FIELDS):
        name = numbers.get(number)
        if name == "body":
            parts = itertools.islice(fields(value), _MOST_FIELDS)
            body = next((data for inner, data in parts if inner == 2), b"")
        elif name is not None and not isinstance(value, int):
            return bytes(value[: 4 * _MAX_NAME_CHARS]).decode("utf-8", "backslashreplace")
    if "method_name" in numbers.values() or isinstance(body, int) or not 0 < len(body) <= _MAX_BODY_BYTES:
        return ""
    document = json.loads(bytes(body))
    method = document.get("method", "") if isinstance(document, dict) else ""
    return method if isinstance(method, str) else ""


def _module_in(request: Any) -> str:
    """Return the module that a message names, itself or in its spec; empty if it names none."""
    if not isinstance(request, Message):
        return ""
    spec = getattr(request, "spec", None)
    return str(getattr(request, "module_name", "") or getattr(spec, "module_name", ""))
