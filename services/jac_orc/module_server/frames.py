"""Frames, the unit of the wire between a module server and its guests; the layout stands in `guest.py`.

What a guest sends is not trusted: the first byte that can't be of a frame is an error, whatever follows.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from jac_orc.core.server import MAX_MESSAGE_BYTES

_HEAD = struct.Struct("!II")
_SIZE = struct.Struct("!Q")
_MAX_CONTROL_BYTES = 1024 * 1024
_MAX_ATTACHMENTS = 1024


class FrameError(Exception):
    """The guest sent something that is no frame."""


class FrameParser:
    """Cuts a stream of bytes into frames; raises FrameError at the first byte that can't be of one."""

    def __init__(self, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._buffer = bytearray()
        self._max_bytes = max_bytes
        self._needed = _HEAD.size

    def feed(self, data: bytes) -> list[tuple[dict[str, Any], list[bytes]]]:
        """The frames that are complete now, as control document and attachments."""
        self._buffer += data
        frames = []
        while len(self._buffer) >= self._needed:
            frame = self._next()
            if frame is not None:
                frames.append(frame)
        return frames

    def _next(self) -> tuple[dict[str, Any], list[bytes]] | None:
        """The first frame, or None and how many bytes are needed to say more in `_needed`."""
        length, count = _HEAD.unpack_from(self._buffer)
        if length > _MAX_CONTROL_BYTES or count > _MAX_ATTACHMENTS:
            raise FrameError(f"a frame of {length} bytes and {count} attachments")
        start = _HEAD.size + count * _SIZE.size
        if len(self._buffer) < start:
            self._needed = start
            return None
        sizes = [_SIZE.unpack_from(self._buffer, _HEAD.size + i * _SIZE.size)[0] for i in range(count)]
        if sum(sizes) > self._max_bytes:
            raise FrameError(f"attachments of {sum(sizes)} bytes")
        self._needed = start + length + sum(sizes)
        if len(self._buffer) < self._needed:
            return None
        end = start + length
        control = _control(bytes(self._buffer[start:end]))
        attachments = []
        for size in sizes:
            attachments.append(bytes(self._buffer[end : end + size]))
            end += size
        del self._buffer[:end]
        self._needed = _HEAD.size
        return control, attachments


def _control(document: bytes) -> dict[str, Any]:
    try:
        control = json.loads(document)
    except (ValueError, RecursionError) as failure:
        raise FrameError("a control document that is no JSON") from failure
    if not isinstance(control, dict):
        raise FrameError("a control document that is no object")
    return control


def frame(control: Mapping[str, Any], attachments: Sequence[bytes] = ()) -> bytes:
    """The frame of a control document and its attachments."""
    document = json.dumps(control, separators=(",", ":")).encode()
    sizes = b"".join(_SIZE.pack(len(part)) for part in attachments)
    return b"".join([_HEAD.pack(len(document), len(attachments)), sizes, document, *attachments])
