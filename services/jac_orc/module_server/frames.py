"""Frames as the server reads them; the layout stands in `guest.wire`.

What a guest sends is not trusted: the first byte that can't be of a frame is an error, whatever follows.
"""

from __future__ import annotations

from jac_orc.guest.wire import ANSWER, ERROR, FAILED, HEAD, ITEM, LOADED

MAX_DOCUMENT_BYTES = 1024 * 1024

Frame = tuple[int, int, bytes]
"""Kind, id, body."""


class FrameError(Exception):
    """The guest sent something that is no frame."""


class FrameParser:
    """Cuts a stream of bytes into frames; raises FrameError at the first byte that can't be of one."""

    def __init__(self, max_bytes: int) -> None:
        documents = dict.fromkeys((LOADED, FAILED, ERROR), MAX_DOCUMENT_BYTES)
        self._limits = {**documents, **dict.fromkeys((ITEM, ANSWER), max_bytes)}
        self._parts: list[bytes] = []
        self._size = 0
        self._needed = HEAD.size

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete now."""
        if self._parts:
            self._parts.append(data)
            self._size += len(data)
            if self._size < self._needed:
                return []
            data = b"".join(self._parts)
            self._parts.clear()
        frames: list[Frame] = []
        position, end = 0, len(data)
        self._needed = HEAD.size
        while end - position >= HEAD.size:
            kind, _, _, number, size = HEAD.unpack_from(data, position)
            limit = self._limits.get(kind)
            if limit is None or size > limit:
                raise FrameError(f"a frame of the kind {kind} and {size} bytes")
            stop = position + HEAD.size + size
            if stop > end:
                self._needed = HEAD.size + size
                break
            frames.append((kind, number, data[position + HEAD.size : stop]))
            position = stop
        if position < end:
            self._parts.append(data[position:])
        self._size = end - position
        return frames
