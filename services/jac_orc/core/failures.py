"""Turns failures into what callers receive: a status or, within a REST stream, a last line."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from typing import Any

import grpc
from google.api import httpbody_pb2
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor

from jac_orc.core import traces
from jac_orc.core.deadlines import NOT_BEGUN
from jac_orc.core.methods import STATUSES
from jac_orc.core.traces import Trace
from jac_orc.errors import OrcError, error, to_status

LastLine = Callable[[OrcError, str], Any]
"""Makes the last message of a stream from a failure and the call's id."""

_FULL = (errno.ENOSPC, errno.EDQUOT)


def logged(trace: Trace, fault: Exception) -> OrcError:
    """Log a failure; return the error that its caller receives."""
    if isinstance(fault, OrcError):
        failure = fault
        trace.fail(failure)
    else:
        text = f"internal error {trace.call_id}; the server's log has the details"
        if isinstance(fault, OSError) and fault.errno in _FULL:  # the log may lack its details
            text = f"internal error {trace.call_id}: no space is left on the server's disk"
        failure = error("INTERNAL", text, {"id": trace.call_id})
        trace.fail(failure, fault)
    return failure


def status_of(failure: OrcError, call_id: str) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str | bytes], ...]]:
    """Return a failure as a call's status: code, message and metadata."""
    status = to_status(failure, call_id)
    not_begun = ((NOT_BEGUN, "1"),) if failure.metadata.get("begun") == "false" else ()
    details = status.SerializeToString()
    metadata = (("grpc-status-details-bin", details), (traces.REQUEST_ID, call_id), *not_begun)
    return STATUSES[failure.code], status.message, metadata


def last_line_of(method: MethodDescriptor | None, *, raw: bool) -> LastLine | None:
    """Return what makes the last line of a REST stream that has failed; None for other methods.

    The stream's status has been sent with its first message, and Envoy ends it alike whatever the trailers say.
    """
    if method is None or not method.server_streaming or "body" not in method.output_type.fields_by_name:
        return None
    kind = message_factory.GetMessageClass(method.output_type)

    def last_line(failure: OrcError, call_id: str) -> Any:
        status = json_format.MessageToDict(to_status(failure, call_id), preserving_proto_field_name=True)
        line = json.dumps({"error": status}, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        message = kind(body=httpbody_pb2.HttpBody(content_type="application/json", data=line))
        return message.SerializeToString() if raw else message

    return last_line
