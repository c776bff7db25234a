"""The wire between a module server and its guest: frames over a socket pair.

A frame is a head of fixed size and a body; all numbers are big-endian:

    u8 kind | u8 style | u64 id | u32 size of the body | body

| to the guest | id | body |
|---|---|---|
| LOAD | - | JSON: the module to import, see `process.load` |
| SERVE | - | JSON: how to serve it, see `process.load` |
| CALL | the call's | the request's message, which one says `style` |
| CANCEL | the call's | - |
| CREDIT | the call's | u32: how many more ITEMs may come |
| PART | the upload's | u64: the size of a value that comes in parts, and the next part of it |
| DROP | the upload's | - (the upload has ended or was abandoned) |

| from the guest | id | body |
|---|---|---|
| LOADED | - | JSON |
| FAILED | - | JSON, an error |
| ITEM | the call's | a message of a stream |
| CALL_ERROR | the batch's | u32: the place of a call in it that has failed, and an error as in ERROR |
| ANSWER | the call's | the response's message; empty at the end of a stream |
| ERROR | the call's | JSON, an error |
| HEARD | the call's | - (its CANCEL has been read) |

An error is `{"reason", "message", "metadata"}`, for an exception of the module's code also `"exception"`, `"mro"` and
`"log"`, the traceback for the module's log (see `failures`). Each call has one ANSWER or ERROR. A guest sends at most
as many ITEMs of a call as it has credit for; it begins with `CREDIT_AT_FIRST`. End of file ends the guest.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from .own import Lock, exit_now

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from typing import Any

    Frame = tuple[int, int, int, Any]

HEAD = struct.Struct("!BBQI")
COUNT = struct.Struct("!I")
TOTAL = struct.Struct("!Q")

LOAD, CALL, CANCEL, CREDIT, PART, DROP, SERVE = range(1, 8)
LOADED, FAILED, ITEM, ANSWER, ERROR, HEARD, CALL_ERROR = range(11, 18)

# What a CALL's body is, and its answer's: the messages of that method of jac_orc.v1.ModuleService.
STYLES = (
    "Call", "RunModule", "CallJson", "CallNamed", "Stream", "StreamJson", "Describe", "ReleaseObject", "RenewObject",
    "CallPython", "StreamPython", "CallBatch", "PutValue", "GetValue",
)  # fmt: skip
CREDIT_AT_FIRST = 32

_READ_SIZE = 256 * 1024
_JOINED = 64 * 1024
_MOST_PARTS = 1000  # the kernel takes 1024 at a time


def frame(kind: int, style: int = 0, number: int = 0, body: bytes | memoryview = b"") -> bytes:
    """One frame."""
    return HEAD.pack(kind, style, number, len(body)) + body


class Part:
    """The body of a PART: `size` of `total` bytes, which are to be read, once, to where they belong."""

    def __init__(self, wire: Wire, total: int, size: int) -> None:
        self._wire = wire
        self.total = total
        self.size = size

    def read_into(self, place: memoryview) -> None:
        """Reads them into a place of this size."""
        self._wire.read_into(place)


class Wire:
    """The guest's end. Any thread may send, one at a time receives.

    What the receiving thread sends while more frames wait to be read goes out in one write with what follows.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._lock = Lock()
        self._is_fork = False
        os.register_at_fork(after_in_child=self._forked)
        self._buffer = memoryview(bytearray(_READ_SIZE))
        self._data = memoryview(b"")
        self._held: list[bytes] = []

    def receive(self) -> Frame:
        """The next frame as kind, style, id and body, a memoryview or a Part; raises EOFError at the end."""
        if len(self._data) < HEAD.size:
            self._fill(HEAD.size)
        kind, style, number, size = HEAD.unpack_from(self._data)
        if kind == PART:
            self._data = self._data[HEAD.size :]
            total = bytearray(TOTAL.size)
            self.read_into(memoryview(total))
            return kind, style, number, Part(self, TOTAL.unpack(total)[0], size - TOTAL.size)
        end = HEAD.size + size
        if len(self._data) < end:
            return kind, style, number, self._large(size)
        body, self._data = self._data[HEAD.size : end], self._data[end:]
        return kind, style, number, body

    def send(self, *parts: bytes | memoryview) -> None:
        """Sends frames, or one in parts, now."""
        self._own()
        with self._lock:
            held, self._held = self._held, []
            self._write([*held, *parts])

    def reply(self, data: bytes) -> None:
        """Sends a frame from the receiving thread: now, or with the next ones if more is read already."""
        if len(self._data) < HEAD.size:
            self.send(data)
        else:
            self._own()
            with self._lock:
                self._held.append(data)

    def flush(self) -> None:
        """Sends what has been held back."""
        if self._held:
            with self._lock:
                held, self._held = self._held, []
                if held:
                    self._write(held)

    def leave_open(self) -> None:
        """Keep the socket open after this object is gone."""
        self._socket.detach()

    def _write(self, parts: Sequence[bytes | memoryview]) -> None:
        if len(parts) == 1:
            self._socket.sendall(parts[0])
        elif len(parts) > _MOST_PARTS or sum(map(len, parts)) < _JOINED:
            self._socket.sendall(b"".join(parts))
        else:  # too large to be copied once more
            sent = self._socket.sendmsg(parts)
            for part in parts:
                if sent < len(part):
                    self._socket.sendall(memoryview(part)[sent:])
                sent = max(sent - len(part), 0)

    def _forked(self) -> None:
        self._is_fork = True

    def _own(self) -> None:
        if self._is_fork:
            exit_now(0)  # the module's code has forked and the child went on: the answer is its parent's to give

    def _fill(self, size: int) -> None:
        """Reads until there are so many bytes; what was held back goes out before this waits."""
        self.flush()
        while len(self._data) < size:
            # Into one buffer, as a new one of this size would be mapped, and unmapped, each time.
            count = self._socket.recv_into(self._buffer)
            if not count:
                raise EOFError
            self._data = memoryview(b"".join((self._data, self._buffer[:count])))

    def _large(self, size: int) -> memoryview:
        """A body that has not come as a whole yet; read into its place, so that it is copied once."""
        self._data = self._data[HEAD.size :]
        body = memoryview(bytearray(size))
        self.read_into(body)
        return body

    def read_into(self, place: memoryview) -> None:
        """Reads as many bytes as the place has; what was held back goes out before this waits."""
        ready = self._data[: len(place)]
        done = len(ready)
        place[:done] = ready
        self._data = self._data[done:]
        if done < len(place):
            self.flush()
        while done < len(place):
            count = self._socket.recv_into(place[done:])
            if not count:
                raise EOFError
            done += count
