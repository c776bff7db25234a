"""The least of HTTP/2 and HPACK that a gRPC load generator needs to write requests; `bench.load` reads the frames.

As with real clients, the first request of a connection adds its headers to the server's table, and the later ones are
indexes into it.
"""

from __future__ import annotations

import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM = ACK = 1
_END_HEADERS = 4
_INITIAL_WINDOW_SIZE = 4
WINDOW = 2**31 - 1


def frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    """Return one frame."""
    return len(body).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + body


def opening() -> bytes:
    """Return what a client sends first; streams and the connection get the largest windows."""
    return (
        PREFACE
        + frame(SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW_SIZE, WINDOW))
        + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WINDOW - 65535))
    )


class Request:
    """The frames of a unary request, without the number of their stream."""

    def __init__(self, path: str, message: bytes, metadata: dict[str, str]) -> None:
        fields = [(4, "", path), (1, "", "127.0.0.1"), (31, "", "application/grpc"), (0, "te", "trailers")]
        fields += [(0, name, value) for name, value in metadata.items()]
        post, http = b"\x83", b"\x86"
        self._first = post + http + b"".join(_added(*field) for field in fields)
        # The table's newest entry is 62.
        self._later = post + http + bytes(0x80 | 62 + index for index in reversed(range(len(fields))))
        self._data = b"\0" + struct.pack(">I", len(message)) + message

    def frames(self, first: bool) -> tuple[bytes, bytes, bytes]:
        """Return what goes before, between and after the two places of the stream's number."""
        headers = frame(HEADERS, _END_HEADERS, 0, self._first if first else self._later)
        data = frame(DATA, END_STREAM, 0, self._data)
        return headers[:5], headers[9:] + data[:5], data[9:]


def _added(index: int, name: str, value: str) -> bytes:
    """Return a literal header field that the server adds to its table; its name is an index or spelled out."""
    head = bytes([0x40 | index]) if index else b"\x40" + _string(name)
    return head + _string(value)


def _string(text: str) -> bytes:
    if len(text) > 126:
        raise ValueError(f"a header that is longer than 126 bytes: {text}")
    return bytes([len(text)]) + text.encode()
