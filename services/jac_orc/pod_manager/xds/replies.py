"""What Envoy itself answers when no server does: one table, in the shape of every other error.

A REST client gets `{"code":…,"message":…,"details":[…]}` as the body. A gRPC client gets `grpc-status`, a plain
`grpc-message` and, in `grpc-status-details-bin`, the same once more with the details. Clients check that both messages
are equal, and Envoy can't format the latter: what a gRPC client reads is a fixed text.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jac_orc.errors import DOMAIN, REASONS, error, to_status

from .messages import cel_filter

MAX_BODY_BYTES = 64 * 1024 * 1024
"""How large a request's or an answer's body may be where REST is turned into gRPC."""
MAX_HEADERS_KIB = 60
"""How large a request's headers may be together."""

_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_GRPC = "application/grpc"
_TRANSCODED = "x-envoy-original-method"
"""A header that the transcoder gives to requests that it has made gRPC of REST."""
_CALL_ID = "%CEL('x-request-id' in request.headers ? request.headers['x-request-id'] : '')%"
"""Empty where the request could not be read."""
_BODY = "%LOCAL_REPLY_BODY%"
"""What Envoy would have answered."""


@dataclass(frozen=True)
class Reply:
    """One line of the table: which of Envoy's own replies it is about, and what a client reads."""

    reason: str
    """A name of the closed list of reasons."""
    message: str
    """A fixed text, true for every such reply."""
    rest_message: str | None = None
    """What REST clients read instead; an Envoy format string."""
    status: int | None = None
    """The HTTP status that Envoy has chosen; None: any."""
    cause: str | None = None
    """A regular expression for what Envoy's access log calls RESPONSE_CODE_DETAILS; None: any."""
    rest_status: int | None = None
    """The HTTP status that REST clients get; None: the one that Envoy has chosen."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the reason promises to tell besides."""


# The first line that fits counts. Envoy tells an unknown query parameter from a malformed one only in the body, by
# which no line can be chosen: both are MALFORMED_REQUEST, and the message tells.
REPLIES = (
    Reply("DEADLINE_EXCEEDED", "the deadline passed before the answer", cause="max_duration_timeout", rest_status=504),
    Reply(
        "MALFORMED_REQUEST",
        "the module's name or the timeout can't be sent in a header",
        cause="filter_removed_required_request_headers.*",
        rest_status=400,
    ),
    Reply("MALFORMED_REQUEST", "the request has no Host header", cause="missing_host_header"),
    Reply(
        "TOO_LARGE",
        "the answer is too large",
        cause="response_payload_too_large",
        rest_status=429,
        metadata={"limit": str(MAX_BODY_BYTES)},
    ),
    Reply("MALFORMED_REQUEST", "the path is malformed", cause="path_normalization_failed"),
    Reply("MALFORMED_REQUEST", "a QUERY needs a content type", cause="query_missing_content_type"),
    Reply("MALFORMED_REQUEST", "the request is malformed", _BODY, status=400),
    Reply("MALFORMED_REQUEST", "no other protocol is spoken here", cause="upgrade_failed", rest_status=400),
    Reply("UNAUTHENTICATED", "no API key, or an unknown one, in `x-api-key` or `authorization: Bearer`", status=401),
    Reply("HOST_NOT_ALLOWED", "the host or the origin is not let in", _BODY, status=403),
    Reply("ROUTE_NOT_FOUND", "no such route", "no such route: %REQ(:METHOD)% %REQ(:PATH):200%", status=404),
    Reply("DEADLINE_EXCEEDED", "the request came too slowly, or nothing moved for too long", status=408),
    Reply("TOO_LARGE", "the request's body is too large", status=413, metadata={"limit": str(MAX_BODY_BYTES)}),
    Reply("CONTENT_TYPE_NOT_SUPPORTED", "the content type is not supported", _BODY, status=415),
    Reply(
        "TOO_LARGE",
        "the request's headers are too large",
        status=431,
        metadata={"limit": str(MAX_HEADERS_KIB * 1024)},
    ),
    Reply(
        "MODULE_UNAVAILABLE",
        "no server could take the call, or the one that took it is gone",
        f"no server could take the call, or the one that took it is gone: {_BODY}",
        status=503,
    ),
    Reply("DEADLINE_EXCEEDED", "the deadline passed before the answer", status=504),
    Reply("MALFORMED_REQUEST", "the transfer coding is not supported", status=501, rest_status=400),
    Reply("INTERNAL", "the front proxy failed", f"the front proxy failed: {_BODY} (%RESPONSE_CODE_DETAILS%)"),
)


def local_reply_config() -> dict[str, Any]:
    """The HttpConnectionManager's `local_reply_config`: a mapper per line for gRPC, then one for REST."""
    mappers = [mapper for reply in REPLIES for mapper in (_grpc_mapper(reply), _rest_mapper(reply))]
    return {"mappers": mappers}


def _grpc_mapper(reply: Reply) -> dict[str, Any]:
    failure = error(reply.reason, reply.message, reply.metadata)
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
    metadata = {**reply.metadata, "call_id": _CALL_ID}
    body = {
        "code": REASONS[reply.reason].code,
        "message": reply.rest_message or reply.message,
        "details": [{"@type": _ERROR_INFO, "reason": reply.reason, "domain": DOMAIN, "metadata": metadata}],
    }
    status = {"status_code": reply.rest_status} if reply.rest_status else {}
    return {
        "filter": _all_of(_filters(reply)),
        "body_format_override": {"json_format": body, "content_type": "application/json"},
        **status,
    }


def _filters(reply: Reply) -> list[dict[str, Any]]:
    filters: list[dict[str, Any]] = []
    if reply.status is not None:
        filters.append({"status_code_filter": _comparison("EQ", reply.status)})
    if reply.cause is not None:
        filters.append(cel_filter(f"response.code_details.matches('^{reply.cause}$')"))
    return filters or [{"status_code_filter": _comparison("GE", 100)}]


def _comparison(operator: str, value: int) -> dict[str, Any]:
    # The runtime key can't be left out; nothing sets it.
    return {"comparison": {"op": operator, "value": {"default_value": value, "runtime_key": "unused"}}}


def _all_of(filters: list[dict[str, Any]]) -> dict[str, Any]:
    return filters[0] if len(filters) == 1 else {"and_filter": {"filters": filters}}
