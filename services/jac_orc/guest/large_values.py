"""Values that are larger than a message: they come and go in parts, as the bytes of one PythonValue."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

from .failures import Refusal
from .protowire import VARINT, Malformed, key, sized, varint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .wire import Part

LARGE_BYTES = 4 * 1024 * 1024
"""From this size on, values go in parts: a message is written, sent, taken apart and read one after the other."""
PART_BYTES = 1024 * 1024
_ALIGNMENT = 64
_SIZE, _DATA = key(1, VARINT), key(2)


def room_for(size: int) -> memoryview:
    """Return memory for a message; raises MemoryError.

    Its end is aligned: an array's bytes are the last of a message, and become an array without a copy. Its pages are
    large, because faults of small pages take longer than everything else.
    """
    start = -size % _ALIGNMENT
    try:
        memory = mmap.mmap(-1, start + size or 1, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError):
        raise MemoryError("there is no memory for a value of %d bytes" % size) from None
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(memory)[start : start + size]


class _Upload:
    """A value that comes; where memory for it is short, its bytes are only counted."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.filled = 0
        try:
            self.data = room_for(size)
        except MemoryError:
            self.data = memoryview(b"")


class Uploads:
    """The values that come, by number, as many and as large as the server lets them be."""

    def __init__(self) -> None:
        self._uploads: dict[int, _Upload] = {}

    def take(self, number: int, part: Part) -> None:
        """Reads the next part to where it belongs."""
        upload = self._uploads.get(number)
        if upload is None:
            upload = self._uploads[number] = _Upload(part.total)
        end = upload.filled + part.size
        fits = end <= len(upload.data)
        part.read_into(upload.data[upload.filled : end] if fits else memoryview(bytearray(part.size)))
        upload.filled = end

    def drop(self, number: int) -> None:
        """Forgets one."""
        self._uploads.pop(number, None)

    def value(self, number: int) -> memoryview:
        """The bytes of a value that has come as a whole, which may be written to; raises Malformed or Refusal."""
        upload = self._uploads.pop(number, None)
        if upload is None or upload.filled != upload.size:
            raise Malformed("a value that has not come as a whole")
        if len(upload.data) < upload.size:
            raise Refusal("OBJECT_LIMIT", "there is no memory for a value of %d bytes" % upload.size)
        return upload.data


def parts_of(pieces: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """The bytes in the pieces as GetValueResponses or PutValueRequests, each in buffers that are not copied."""
    views = [memoryview(piece) for piece in pieces]
    size = sum(map(len, views))
    head = _SIZE + varint(size)
    found: list[memoryview] = []
    room = PART_BYTES
    for view in views:
        start = 0
        while start < len(view):
            found.append(view[start : start + room])
            start += len(found[-1])
            room -= len(found[-1])
            if not room:
                yield (head + _DATA + varint(PART_BYTES), *found)
                head, found, room = b"", [], PART_BYTES
    if found or head:
        yield (head + _DATA + varint(PART_BYTES - room), *found)


def stored(reference: bytes) -> bytes:
    """A PutValueResponse."""
    return sized(key(1), reference)
