"""Frames as the server reads them; the layout stands in `guest.wire`.

What a guest sends is not trusted: the first byte that can't be of a frame is an error, whatever follows.
"""

from __future__ import annotations

from jac_orc.guest.wire import ANSWER, CALL_ERROR, ERROR, FAILED, HEAD, HEARD, ITEM, LOADED

MAX_DOCUMENT_BYTES = 1024 * 1024

Frame = tuple[int, int, bytes]
"""Kind, id, body."""


class FrameError(Exception):
    """The guest sent something that is no frame."""


class FrameParser:
    """Cuts a stream of bytes into frames; raises FrameError at the first byte that can't be of one."""

    def __init__(self, max_bytes: int) -> None:
        documents = dict.fromkeys((LOADED, FAILED, ERROR, CALL_ERROR), MAX_DOCUMENT_BYTES)
        self._limits = {**documents, **dict.fromkeys((ITEM, ANSWER), max_bytes), HEARD: 0}
        self._rest = b""  # of a head
        self._open = (0, 0)  # the kind and id of the frame whose body is still coming
        self._parts: list[bytes] = []
        self._missing = 0

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete now."""
        frames: list[Frame] = []
        position = 0
        if self._missing:
            if len(data) < self._missing:
                self._parts.append(data)
                self._missing -= len(data)
                return frames
            position, self._missing = self._missing, 0
            self._parts.append(data[:position])
            frames.append((*self._open, b"".join(self._parts)))
            self._parts.clear()
        elif self._rest:
            data, self._rest = self._rest + data, b""
        end = len(data)
        while end - position >= HEAD.size:
            kind, _, number, size = HEAD.unpack_from(data, position)
            limit = self._limits.get(kind)
            if limit is None or size > limit:
                raise FrameError(f"a frame of the kind {kind} and {size} bytes")
            start = position + HEAD.size
            position = start + size
            if position > end:  # the body is kept apart, so that it is put together without being copied once more
                self._open, self._missing = (kind, number), position - end
                self._parts.append(data[start:])
                return frames
            frames.append((kind, number, data[start:position]))
        self._rest = data[position:]
        return frames
