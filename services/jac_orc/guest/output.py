"""What the module's code prints: whole lines on this process's own pipes, each with the call that it is of.

A line is `RS call-id RS text LF` (RS: the byte 0x1e) where it was printed during a call, else the text alone. The
server reads the pipes and logs; nothing printed gets near the wire. The pipes are duplicates, so that closing the
descriptors 1 and 2 closes nothing of this.
"""

from __future__ import annotations

import contextlib
import contextvars
import io
import os
import sys
from typing import Any

from .own import Lock, get_ident, write

MARK = b"\x1e"
_LONGEST_LINE = 63 * 1024  # longer ones are cut; with its mark it is one line to the server too

current: contextvars.ContextVar[int] = contextvars.ContextVar("call", default=0)
"""The id of the call that runs here; 0: none. Coroutines take it along, threads that the code starts don't."""


class Lines(io.RawIOBase):
    """A binary stream that passes on whole lines."""

    def __init__(self, descriptor: int, name: str) -> None:
        super().__init__()
        self.name, self.mode = name, "w"
        self._descriptor = descriptor
        self._pipe = os.dup(descriptor)
        self._begun: dict[int, bytes] = {}
        self._unlock()
        os.register_at_fork(after_in_child=self._unlock)

    def _unlock(self) -> None:
        self._lock = Lock()
        self._printing = 0  # the thread that has the lock

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        """Stays open: one call's code may close it, and the next one's prints."""

    def write(self, data: Any) -> int:
        call_id = current.get()
        *lines, rest = (self._begun.pop(call_id, b"") + bytes(data)).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            lines, rest = [*lines, rest], b""
        if rest:
            self._begun[call_id] = rest
        self._put(call_id, lines)
        return len(data)

    def finish(self, call_id: int) -> None:
        """Passes on the last line of a call, which nothing has ended."""
        rest = self._begun.pop(call_id, b"")
        if rest:
            self._put(call_id, [rest])

    def _put(self, call_id: int, lines: list[bytes]) -> None:
        mark = b"%b%d%b" % (MARK, call_id, MARK) if call_id else b""
        parts = [
            mark + line[start : start + _LONGEST_LINE] + b"\n"
            for line in lines
            for start in range(0, len(line) or 1, _LONGEST_LINE)
        ]
        data = memoryview(b"".join(parts))
        me = get_ident()
        if self._printing == me:  # a signal's handler prints where its thread is printing
            self._write(data)
            return
        with self._lock:  # as a full pipe takes large data in pieces, and what other threads print between them
            self._printing = me
            try:
                self._write(data)
            finally:
                self._printing = 0

    def _write(self, data: memoryview) -> None:
        with contextlib.suppress(OSError):  # the reader is gone; printing must not fail
            while data:
                data = data[write(self._pipe, data) :]


class Output:
    """Puts `Lines` in the place of standard output and standard error."""

    def __init__(self) -> None:
        self._streams = []
        for descriptor, name in ((1, "stdout"), (2, "stderr")):
            lines = Lines(descriptor, "<%s>" % name)
            text = io.TextIOWrapper(lines, encoding="utf-8", errors="backslashreplace", write_through=True)
            for each in (name, "__%s__" % name):
                setattr(sys, each, text)
            self._streams.append(lines)

    def finish(self, call_id: int) -> None:
        """Called when a call has ended."""
        for stream in self._streams:
            if stream._begun:
                stream.finish(call_id)
