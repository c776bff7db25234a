"""Envoy's access log: one JSON line per request, in the schema of `jac_orc.core.logs`."""

from __future__ import annotations

from typing import Any, Literal

import envoy.extensions.access_loggers.filters.cel.v3.cel_pb2
import envoy.extensions.access_loggers.stream.v3.stream_pb2
import envoy.extensions.filters.http.set_filter_state.v3.set_filter_state_pb2  # noqa: F401
from google.rpc.code_pb2 import Code

from .messages import typed

AccessLog = Literal["off", "failures", "all"]

_PATH = "jac_orc.path"
"""The filter state that holds the client's path; the transcoder replaces the header."""
_OBJECT_ID = "^(.*-[0-9A-Fa-f._]+-[0-9]+-[0-9]+-)[A-Za-z0-9_-]+(.*)$"
"""An object's id anywhere in a path: whoever knows its last part may use the object."""
_OBJECTS = "/v1/objects/"
"""Begins paths whose next part is an id, even if it is percent-encoded beyond recognition."""
_FAILED = "response.code >= 400 || response.grpc_status > 0"
# What is wrong with a response that began well. A client that hangs up (DC) is none of these.
_BROKEN_FLAGS = ["UF", "UC", "UR", "LR", "UT", "UPE", "OM", "DPE", "SI"]


def access_log(which: AccessLog) -> list[dict[str, Any]]:
    """Return the HttpConnectionManager's `access_log`.

    `failures` are requests that end with an HTTP status of 400 or more, with a gRPC status that is not OK, or in the
    middle of a response.
    """
    if which == "off":
        return []
    logger = typed(
        "access",
        "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
        log_format={"json_format": _FIELDS, "omit_empty_values": True},
    )
    if which == "failures":
        logger["filter"] = {"or_filter": {"filters": [_failed(), {"response_flag_filter": {"flags": _BROKEN_FLAGS}}]}}
    return [logger]


def path_recorder() -> dict[str, Any]:
    """Return the HTTP filter that records the path for the log: without its query and without an object's secret."""
    path = "request.url_path"
    shortened = f"re.extract({path}, '{_OBJECT_ID}', '\\\\1***\\\\2')"
    encoded = f"{path}.startsWith('{_OBJECTS}') ? '{_OBJECTS}***' : {path}"
    value = f"%CEL({path}.matches('{_OBJECT_ID}') ? {shortened} : {encoded})%"
    return typed(
        "path",
        "envoy.extensions.filters.http.set_filter_state.v3.Config",
        on_request_headers=[
            {
                "object_key": _PATH,
                "factory_key": "envoy.string",
                "format_string": {"text_format_source": {"inline_string": value}},
            }
        ],
    )


def _failed() -> dict[str, Any]:
    expression = "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
    return {"extension_filter": typed("cel", expression, expression=_FAILED)}


# Envoy would infer one from the HTTP status of what was transcoded to REST.
_STATUSES = [name for _, name in sorted((number, name) for name, number in Code.items())]
_GRPC_STATUS = (
    f"'grpc-status' in response.trailers || 'grpc-status' in response.headers ? {_STATUSES}[response.grpc_status] : ''"
)
_LOGGED_PATH = f"%FILTER_STATE({_PATH}:PLAIN):500%"
_FIELDS = {
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3f+00:00)%",
    "level": f"%CEL({_FAILED} ? 'warning' : 'info')%",
    "stream": "access",
    "text": f"%REQ(:METHOD):20% {_LOGGED_PATH} %RESPONSE_CODE% %RESPONSE_CODE_DETAILS%",
    "call_id": "%REQ(X-REQUEST-ID)%",
    "module": "%REQ(X-MODULE):255%",
    "method": "%REQ(:METHOD):20%",
    "path": _LOGGED_PATH,
    "code": "%RESPONSE_CODE%",
    "grpc_status": f"%CEL({_GRPC_STATUS})%",
    "duration": "%DURATION%",
    "pod": "%UPSTREAM_HOST%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
}
