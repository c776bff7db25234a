"""Growing log files that are rotated once they are large, read from their end."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from jac_orc.core.files import open_private

_MAX_LINE = 256 * 1024


class LogFile:
    """One growing file that is renamed to `.1` and begun anew once it is large."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = 0
        self._offset = 0

    def last_lines(self, count: int) -> list[str]:
        """The last lines, those of the file before the rotation included; `new_lines` goes on after them."""
        older = _read(self._path.with_name(self._path.name + ".1"), 0)[0]
        return (older + self.new_lines())[-count:] if count else self.new_lines()[:0]

    def new_lines(self) -> list[str]:
        """The whole lines added since the last look."""
        try:
            inode = self._path.stat().st_ino
        except FileNotFoundError:
            return []
        lines: list[str] = []
        if self._inode and inode != self._inode:
            lines = _read(self._path.with_name(self._path.name + ".1"), self._offset)[0]
            self._offset = 0
        self._inode = inode
        added, self._offset = _read(self._path, self._offset)
        return lines + added

    def rotate(self, limit: int) -> list[str]:
        """Move a file of more than `limit` bytes to `.1`, for a writer that only appends; return what is not yet read.

        A line that is written between the end of the copy and the truncation, some microseconds, is lost.
        """
        if self._offset <= limit:
            return []
        older = self._path.with_name(self._path.name + ".1")
        with self._path.open("rb") as file, open_private(older, "wb") as copy:
            shutil.copyfileobj(file, copy)
            os.truncate(self._path, 0)
        lines = _read(older, self._offset)[0]
        self._offset = 0
        return lines


def _read(path: Path, offset: int) -> tuple[list[str], int]:
    """The whole lines from an offset on, and the offset behind them."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return [], offset
    end = data.rfind(b"\n") + 1
    if not end and len(data) > _MAX_LINE:
        end = len(data)
    text = data[:end].decode("utf-8", "replace").removesuffix("\n")
    return text.split("\n") if end else [], offset + end
