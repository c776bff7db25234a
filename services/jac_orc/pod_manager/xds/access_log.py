"""Envoy's access log: one JSON line per request, in the schema of `jac_orc.core.logs`."""

from __future__ import annotations

from typing import Any, Literal

import envoy.extensions.access_loggers.stream.v3.stream_pb2  # noqa: F401
from google.rpc.code_pb2 import Code

from .messages import cel_filter, typed

AccessLog = Literal["off", "failures", "all"]

# The transcoder replaces the path, and leaves the client's in this header.
_PATH = "('x-envoy-original-path' in request.headers ? request.headers['x-envoy-original-path'] : request.path)"
_OBJECT_ID = "^([^?]*-[0-9A-Fa-f._]+-[0-9]+-[0-9]+-)[A-Za-z0-9_-]+([^?]*).*$"
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
        failed = cel_filter(_FAILED)
        logger["filter"] = {"or_filter": {"filters": [failed, {"response_flag_filter": {"flags": _BROKEN_FLAGS}}]}}
    return [logger]


# Envoy would infer one from the HTTP status of what was transcoded to REST.
_STATUSES = [name for _, name in sorted((number, name) for name, number in Code.items())]
_GRPC_STATUS = (
    f"'grpc-status' in response.trailers || 'grpc-status' in response.headers ? {_STATUSES}[response.grpc_status] : ''"
)
_MODULE_PATH = "^/(?:(?:v1/)?modules/([A-Za-z0-9_.]+)[/:]|v1/objects/([A-Za-z0-9_.]+)-).*$"


def _found(pattern: str, rewritten: str) -> str:
    """CEL for what the pattern finds in the client's path; if that is nothing, an error, which leaves the field out."""
    return f"re.extract({_PATH}, '{pattern}', '{rewritten}')"


_MODULE = (  # as the route finds it (`routes`)
    "'x-module' in request.headers ? request.headers['x-module'] : " + _found(_MODULE_PATH, r"\\1\\2")
)
# A pattern takes up to 40 µs, so each is tried only where it may fit.
_IS_OBJECT = f"{_PATH}.contains('-') && {_PATH}.matches('{_OBJECT_ID}')"
_MASKED = _found(_OBJECT_ID, r"\\1***\\2")
_UNQUERIED = f"{_PATH}.contains('?') ? " + _found("^([^?]*).*$", r"\\1") + f" : {_PATH}"
_ENCODED = f"{_PATH}.startsWith('{_OBJECTS}') ? '{_OBJECTS}***'"
_LOGGED_PATH = f"%CEL({_IS_OBJECT} ? {_MASKED} : {_ENCODED} : {_UNQUERIED}):500%"
_FIELDS = {
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3f+00:00)%",
    "level": f"%CEL({_FAILED} ? 'warning' : 'info')%",
    "stream": "access",
    "text": f"%REQ(:METHOD):20% {_LOGGED_PATH} %RESPONSE_CODE% %RESPONSE_CODE_DETAILS%",
    "call_id": "%REQ(X-REQUEST-ID)%",
    "module": f"%CEL({_MODULE}):255%",
    "method": "%REQ(:METHOD):20%",
    "path": _LOGGED_PATH,
    "code": "%RESPONSE_CODE%",
    "grpc_status": f"%CEL({_GRPC_STATUS})%",
    "duration": "%DURATION%",
    "pod": "%UPSTREAM_HOST%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
}
