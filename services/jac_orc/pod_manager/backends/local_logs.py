"""Reads the logs of pods: their last lines, then what is added."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from jac_orc.core import logs
from jac_orc.core.files import open_private
from jac_orc.core.log_files import LogFile
from jac_orc.pod_manager.backends.base import log_line
from jac_orc.pod_manager.model import LogLine

_PAUSE = 0.2
_MOST_WAITING = 10_000


async def read_logs(
    files_of_pods: Callable[[], Mapping[str, Path]], *, follow: bool, tail: int
) -> AsyncIterator[LogLine]:
    """Yield the last `tail` lines of each pod by time, then, with `follow`, new ones of these and later pods."""
    known: dict[str, LogFile] = {}
    first = True
    while True:
        paths = files_of_pods()
        for gone in known.keys() - paths.keys():
            del known[gone]
        for line in await asyncio.to_thread(_read, known, paths, tail if first else None):
            yield line
        if not follow:
            return
        first = False
        await asyncio.sleep(0 if any(file.has_more for file in known.values()) else _PAUSE)


def _read(known: dict[str, LogFile], paths: Mapping[str, Path], tail: int | None) -> list[LogLine]:
    """Return the last `tail` lines of each file, or the next new ones, by time."""
    lines: list[LogLine] = []
    for pod, path in paths.items():
        file = known.setdefault(pod, LogFile(path))
        texts = file.new_lines() if tail is None else file.last_lines(tail)
        lines += [log_line(pod, text) for text in texts]
    return sorted(lines, key=lambda line: line.time)


class LogWriter:
    """Appends lines, in order, to a log that no process writes by itself.

    A thread does it. While the disk is slow at most `_MOST_WAITING` lines wait, the latest.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lines: deque[str] = deque(maxlen=_MOST_WAITING)
        self._writing: asyncio.Task[None] | None = None

    def add(self, stream: str, text: str) -> None:
        """Append a line, soon."""
        self._lines.append(logs.render(time.time(), "info", stream, text) + "\n")
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def flush(self) -> None:
        """Return once all lines are written."""
        if self._writing is not None:
            await asyncio.wait([self._writing])

    async def _write(self) -> None:
        while self._lines:
            text = "".join(self._lines)
            self._lines.clear()
            await asyncio.to_thread(_append, self._file, text)


def _append(file: Path, text: str) -> None:
    """Append the text to the file, which begins anew once it is large."""
    with contextlib.suppress(OSError):  # a full disk is told elsewhere
        if file.exists() and file.stat().st_size > logs.MAX_FILE_BYTES:
            file.unlink()
        with open_private(file, "a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(text)
