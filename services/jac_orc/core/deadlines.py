"""The deadline of a JSON stream, which its server keeps by itself.

gRPC's own deadline cuts a stream off, whatever its reader has yet to read. Envoy therefore hands the caller's deadline
on in a header of this system, of the form that `grpc-timeout` has (gRPC over HTTP/2, "Timeout").
"""

from __future__ import annotations

import re
from collections.abc import Iterable

STREAM_TIMEOUT = "x-stream-timeout"
"""The header."""
NOT_BEGUN = "x-jac-orc-not-begun"
"""Metadata of a failure: the call has not begun, so Envoy sends it to another pod."""

_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_TOO_LONG = 10**8
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")


def stream_timeout(metadata: Iterable[tuple[str, str | bytes]]) -> float | None:
    """The seconds that the header allows; None where it isn't there or isn't of its form."""
    for key, value in metadata:
        if key == STREAM_TIMEOUT and isinstance(value, str) and (match := _TIMEOUT.fullmatch(value)):
            return int(match[1]) * _UNITS[match[2]]
    return None


def timeout_text(seconds: float) -> str:
    """Return the seconds as the header's value: in milliseconds, at least one, or in seconds if it has no room."""
    milliseconds = max(1, round(seconds * 1000))
    return f"{milliseconds}m" if milliseconds < _TOO_LONG else f"{min(milliseconds // 1000, _TOO_LONG - 1)}S"
