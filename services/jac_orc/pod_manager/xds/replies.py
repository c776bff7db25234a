"""What Envoy itself answers when no server does: one table, in the shape of every other error.

REST requests get `{"code":…,"message":…,"details":[…]}` as the body. A request that is gRPC, also by the transcoder's
doing, gets `grpc-status`, a plain `grpc-message` and `grpc-status-details-bin`; of the latter three the transcoder makes
the same JSON for a REST client. The details carry the message a second time and a client checks that both are equal, so
messages of replies to gRPC are fixed texts.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import envoy.extensions.access_loggers.filters.cel.v3.cel_pb2  # noqa: F401  (named by an @type)

from jac_orc.errors import DOMAIN, REASONS, error, to_status

from .messages import typed

_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_GRPC = "application/grpc"
_TRANSCODED = "x-envoy-original-method"
"""A header that the transcoder gives to requests that it has made gRPC of REST."""
_CEL_FILTER = "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"


@dataclass(frozen=True)
class Reply:
    """One line of the table: which of Envoy's own replies it is about, and what a client reads."""

    status: int | None
    """The HTTP status that Envoy has chosen; None: any."""
    reason: str
    """A name of the closed list of reasons."""
    message: str
    """A fixed text, true for every such reply."""
    rest_message: str | None = None
    """What REST clients read instead; an Envoy format string."""
    only_if: str | None = None
    """A CEL condition that the reply meets besides."""


_BODY = "%LOCAL_REPLY_BODY% ## %RESPONSE_CODE_DETAILS%"

# The first line that matches counts.
REPLIES = (
    Reply(400, "MALFORMED_REQUEST", "the request is malformed", _BODY),
    Reply(403, "HOST_NOT_ALLOWED", "the host or the origin is not let in", _BODY),
    Reply(404, "ROUTE_NOT_FOUND", "no such route", "no such route: %REQ(:METHOD)% %REQ(:PATH):200%"),
    Reply(408, "DEADLINE_EXCEEDED", "the request came too slowly, or nothing moved for too long",_BODY),
    Reply(413, "TOO_LARGE", "the request's body is too large"),
    Reply(415, "CONTENT_TYPE_NOT_SUPPORTED", "the content type is not supported", _BODY),
    Reply(431, "TOO_LARGE", "the request's headers are too large"),
    Reply(503, "MODULE_UNAVAILABLE", "none of the module's pods can be reached now",_BODY),
    Reply(504, "DEADLINE_EXCEEDED", "the deadline passed before the answer", _BODY),
    Reply(None, "INTERNAL", "the front proxy failed", _BODY),
)


def local_reply_config() -> dict[str, Any]:
    """The HttpConnectionManager's `local_reply_config`: a mapper per line for gRPC, then one for REST."""
    mappers = [mapper for reply in REPLIES for mapper in (_grpc_mapper(reply), _rest_mapper(reply))]
    return {"mappers": mappers}


def _grpc_mapper(reply: Reply) -> dict[str, Any]:
    failure = error(reply.reason, reply.message)
    details = base64.b64encode(to_status(failure).SerializeToString(deterministic=True)).decode().rstrip("=")
    headers = {"grpc-status": str(failure.code), "grpc-status-details-bin": details}
    is_grpc = {"header_filter": {"header": {"name": "content-type", "string_match": {"prefix": _GRPC}}}}
    was_grpc = {"header_filter": {"header": {"name": _TRANSCODED, "present_match": False}}}
    return {
        "filter": _all_of([*_filters(reply), is_grpc, was_grpc]),
        "headers_to_add": [
            {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for key, value in headers.items()
        ],
        "body_format_override": {"text_format_source": {"inline_string": reply.message}},
    }


def _rest_mapper(reply: Reply) -> dict[str, Any]:
    body = {
        "code": REASONS[reply.reason].code,
        "message": reply.rest_message or reply.message,
        "details": [{"@type": _ERROR_INFO, "reason": reply.reason, "domain": DOMAIN, "metadata": {}}],
    }
    return {
        "filter": _all_of(_filters(reply)),
        "body_format_override": {"json_format": body, "content_type": "application/json"},
    }


def _filters(reply: Reply) -> list[dict[str, Any]]:
    filters: list[dict[str, Any]] = []
    if reply.status is not None:
        filters.append(_status_is(reply.status))
    if reply.only_if is not None:
        filters.append({"extension_filter": typed("cel", _CEL_FILTER, expression=reply.only_if)})
    return filters or [{"status_code_filter": _comparison("GE", 100)}]


def _status_is(status: int) -> dict[str, Any]:
    return {"status_code_filter": _comparison("EQ", status)}


def _comparison(operator: str, value: int) -> dict[str, Any]:
    # The runtime key can't be left out; nothing sets it.
    return {"comparison": {"op": operator, "value": {"default_value": value, "runtime_key": "unused"}}}


def _all_of(filters: list[dict[str, Any]]) -> dict[str, Any]:
    return filters[0] if len(filters) == 1 else {"and_filter": {"filters": filters}}
