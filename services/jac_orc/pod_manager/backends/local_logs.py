"""Reads the logs of pods: their last lines, then what is added."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from jac_orc.core import logs
from jac_orc.core.files import open_private
from jac_orc.core.log_files import LogFile
from jac_orc.pod_manager.model import LogLine

_PAUSE = 0.2


async def read_logs(
    files_of_pods: Callable[[], Mapping[str, Path]], *, follow: bool, tail: int
) -> AsyncIterator[LogLine]:
    """The last `tail` lines of each pod in order of time, then, with `follow`, new ones of these and later pods."""
    known: dict[str, LogFile] = {}
    first = True
    while True:
        lines: list[LogLine] = []
        for pod, path in files_of_pods().items():
            is_new = pod not in known
            file = known.setdefault(pod, LogFile(path))
            texts = await asyncio.to_thread(file.last_lines, tail) if is_new and first else file.new_lines()
            lines += [_line(pod, text) for text in texts]
        for line in sorted(lines, key=lambda line: line.time):
            yield line
        if not follow:
            return
        first = False
        await asyncio.sleep(_PAUSE)


def append(file: Path, stream: str, text: str) -> None:
    """Adds a line to a log that no process writes by itself; begins it anew once it is large."""
    with contextlib.suppress(OSError):  # a full disk is told elsewhere
        if file.exists() and file.stat().st_size > logs.MAX_FILE_BYTES:
            file.unlink()
        with open_private(file, "a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(logs.render(time.time(), "info", stream, text) + "\n")


def _line(pod: str, text: str) -> LogLine:
    fields = logs.parse(text)
    return LogLine(
        fields.get("time", ""), pod, fields.get("stream", "server"), fields["text"], fields.get("call_id", "")
    )
