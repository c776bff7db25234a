"""Growing log files that are rotated once they are large, read from their end."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from jac_orc.core.files import open_private

_MAX_LINE = 256 * 1024
_MAX_READ = 1024 * 1024
_FIRST_TAIL, _MAX_TAIL = 64 * 1024, 16 * 1024 * 1024


class LogFile:
    """One growing file that is renamed to `.1` and begun anew once it is large.

    However large it is, a read takes only so much of it into memory: `has_more` tells that more was there to read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._older = path.with_name(path.name + ".1")
        self._inode = 0
        self._offset = 0
        self.has_more = False

    def last_lines(self, count: int) -> list[str]:
        """Return the last lines, those of the file before the rotation included; `new_lines` goes on after them."""
        lines, self._offset, self._inode = _last(self._path, count)
        older = _last(self._older, count - len(lines))[0] if len(lines) < count else []
        return older + lines

    def new_lines(self) -> list[str]:
        """Return the whole lines added since the last look, or the first of them."""
        try:
            inode = self._path.stat().st_ino
        except FileNotFoundError:
            return []
        lines: list[str] = []
        if self._inode and inode != self._inode:
            lines, self._offset, self.has_more = _read(self._older, self._offset)
            if self.has_more:
                return lines
            self._offset = 0
        self._inode = inode
        added, self._offset, self.has_more = _read(self._path, self._offset)
        return lines + added

    def rotate(self, limit: int) -> list[str]:
        """Move a file of more than `limit` bytes to `.1`, for a writer that only appends; return what is not yet read.

        A file that ends within a line is left for the next look, since the line would be cut in two.
        A line that is written between the end of the copy and the truncation, some microseconds, is lost.
        """
        if self._offset <= limit:
            return []
        with self._path.open("rb") as file:
            if file.seek(0, os.SEEK_END) > self._offset:
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":
                    return []
            file.seek(0)
            with open_private(self._older, "wb") as copy:
                shutil.copyfileobj(file, copy)
            os.truncate(self._path, 0)
        lines, has_more = list[str](), True
        while has_more:
            added, self._offset, has_more = _read(self._older, self._offset)
            lines += added
        self._offset = 0
        return lines


def _read(path: Path, offset: int) -> tuple[list[str], int, bool]:
    """Return whole lines from an offset on, the offset behind them, and whether there is more to read."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(_MAX_READ)
    except FileNotFoundError:
        return [], offset, False
    end = data.rfind(b"\n") + 1
    if not end and len(data) > _MAX_LINE:
        end = len(data)
    return _lines(data[:end]), offset + end, len(data) == _MAX_READ


def _last(path: Path, count: int) -> tuple[list[str], int, int]:
    """Return the last whole lines, at most `_MAX_TAIL` bytes of them, the offset behind them, and the file's inode."""
    try:
        with path.open("rb") as file:
            size, want = file.seek(0, os.SEEK_END), _FIRST_TAIL
            while True:
                start = file.seek(max(0, size - want))
                data = file.read(size - start)
                if not start or want >= _MAX_TAIL or data.count(b"\n") > count:
                    break
                want *= 4
            inode = os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return [], 0, 0
    end = data.rfind(b"\n") + 1
    lines = _lines(data[:end])[1 if start else 0 :]  # the first one may be cut
    return lines[max(0, len(lines) - count) :], start + end, inode


def _lines(data: bytes) -> list[str]:
    return data.decode("utf-8", "replace").removesuffix("\n").split("\n") if data else []
