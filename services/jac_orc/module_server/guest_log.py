"""What one guest leaves in the log: output and exceptions of the module's code, each with its call, and its end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence

from jac_orc.core.processes import ManagedProcess
from jac_orc.errors import OrcError
from jac_orc.guest.output import MARK

logger = logging.getLogger(__name__)

_MAX_LINE = 64 * 1024
_MAX_DIGITS = 20
_MAX_NAMED_CALLS = 20
_KEPT_IDS = 10_000
_PIPE_SECONDS = 1.0


class GuestLog:
    """Writes a guest's lines.

    The guest marks its output with its own numbers of calls. The ids of the calls are kept while these run, and those
    of the latest calls that have ended, since a call's output may arrive after its answer.
    """

    def __init__(self, number: int, process: ManagedProcess) -> None:
        self._number = number
        self._process = process
        self._started = time.monotonic()
        self._call_ids: dict[int, str] = {}
        self._ended: deque[int] = deque()
        self._tasks = [
            asyncio.create_task(self._copy(process.stdout, "stdout")),
            asyncio.create_task(self._copy(process.stderr, "stderr")),
        ]

    def begin_call(self, number: int, call_id: str) -> None:
        """Associates the guest's number with the call's id."""
        self._call_ids[number] = call_id

    def end_call(self, number: int) -> None:
        """Lets the id go once enough later calls have ended."""
        self._ended.append(number)
        if len(self._ended) > _KEPT_IDS:
            self._call_ids.pop(self._ended.popleft(), None)

    def traceback(self, text: str, number: int = 0) -> None:
        """Logs the traceback of an exception that the module's code raised; nothing if it is empty."""
        if text:
            logger.error("%s", text, extra={"stream": "stderr", "call_id": self._call_ids.get(number, "")})

    def stuck(self, number: int, function: str, seconds: float, count: int) -> None:
        """Log that a call still runs `seconds` after its cancellation, one of `count` such calls."""
        text = "%s goes on %g s after it was cancelled, and keeps its place; guest %d (pid %d) has %d such calls"
        extra = {"call_id": self._call_ids.get(number, "")}
        logger.warning(text, function, seconds, self._number, self._process.pid, count, extra=extra)

    def unstuck(self, number: int, function: str, seconds: float, count: int) -> None:
        """Log that such a call has ended, and how many are left."""
        text = "%s has ended %.1f s after it was cancelled; guest %d (pid %d) has %d such calls left"
        extra = {"call_id": self._call_ids.get(number, "")}
        logger.warning(text, function, seconds, self._number, self._process.pid, count, extra=extra)

    def replaced(self, why: str, number: int) -> None:
        """Logs that the guest takes no more calls because of this one."""
        extra = {"call_id": self._call_ids.get(number, "")}
        logger.warning("guest %d (pid %d) is replaced: %s", self._number, self._process.pid, why, extra=extra)

    def slow_exit(self, seconds: float) -> None:
        """Logs that the process hasn't ended by itself."""
        text = "guest %d (pid %d) had not ended %g s after it was asked to, and is killed"
        logger.warning(text, self._number, self._process.pid, seconds)

    def ended(self, failure: OrcError, cause: str, why: str, calls: Sequence[int], *, expected: bool) -> None:
        """Log how the process has ended, why if this server killed it, and the calls that ended with it."""
        uptime = round(time.monotonic() - self._started, 3)
        named = [self._call_ids.get(number, "") for number in calls[:_MAX_NAMED_CALLS]]
        details = {
            "pid": self._process.pid,
            **failure.metadata,
            "cause": cause,
            "uptime": uptime,
            "calls": len(calls),
            "call_ids": named,
        }
        how = " ".join(f"{name.replace('_', ' ')} {value}" for name, value in failure.metadata.items())
        if not why and how == "signal SIGKILL":
            why = "not by this server; the kernel does so if memory runs out"
        text = f"guest {self._number} (pid {self._process.pid}) ended after {uptime:.1f} s with {how}"
        text += f" ({why})" if why else ""
        text += f"; calls that ended with it: {len(calls)}" + f" ({', '.join(named)})" * bool(named)
        logger.log(logging.INFO if expected else logging.WARNING, "%s", text, extra={"fields": details})

    async def close(self) -> None:
        """Waits for what the process still wrote; a child of it may hold the pipes open."""
        await asyncio.wait(self._tasks, timeout=_PIPE_SECONDS)
        self._process.close_output()
        await asyncio.wait(self._tasks)

    async def _copy(self, reader: asyncio.StreamReader, stream: str) -> None:
        """Logs what the module's code prints, line by line; a line of any length is cut, never a reason to stop."""
        rest = b""
        while data := await reader.read(_MAX_LINE):
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > _MAX_LINE:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._line(line, stream)
        if rest:
            self._line(rest, stream)

    def _line(self, line: bytes, stream: str) -> None:
        """Logs a line of the guest's output (`guest.output` describes its form)."""
        extra = {"stream": stream}
        if line.startswith(MARK):
            number, mark, text = line[1:].partition(MARK)
            if mark and len(number) < _MAX_DIGITS and number.isdigit():
                extra["call_id"], line = self._call_ids.get(int(number), ""), text
        logger.info("%s", line.decode("utf-8", "backslashreplace"), extra=extra)
