"""Processes known by a pidfd: ones that this process has started, and ones that an earlier run of it has.

A process id may be given to another process once its owner is gone; a pidfd never is, so signals can't hit a stranger.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


class ManagedProcess:
    """A running or ended process. `ended` is set when it has ended."""

    def __init__(self, pid: int, pidfd: int, child: subprocess.Popen[bytes] | None) -> None:
        self.pid = pid
        self.ended = asyncio.Event()
        self._pidfd = pidfd
        self._child = child
        asyncio.get_running_loop().add_reader(pidfd, self._on_end)

    @classmethod
    async def start(
        cls, command: Sequence[str], environment: Mapping[str, str], output: Path, pass_fds: Sequence[int]
    ) -> ManagedProcess:
        """Starts a process in a session of its own, its output appended to a file."""

        def run() -> subprocess.Popen[bytes]:
            with output.open("ab") as file:
                return subprocess.Popen(
                    command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                    pass_fds=pass_fds, start_new_session=True,
                )  # fmt: skip

        child = await asyncio.to_thread(run)
        return cls(child.pid, os.pidfd_open(child.pid), child)

    @classmethod
    def adopt(cls, pid: int, start_ticks: int) -> ManagedProcess | None:
        """The process of that id if it is still the one that started then; None if it is gone."""
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return None
        if start_time(pid) != start_ticks:  # read after opening, so that the id can't change hands in between
            os.close(pidfd)
            return None
        return cls(pid, pidfd, None)

    def signal(self, number: signal.Signals) -> None:
        """Sends the signal, if the process still runs."""
        if not self.ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def release(self) -> None:
        """Stops watching the process, which goes on."""
        if not self.ended.is_set():
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)

    async def stop(self, grace: float) -> None:
        """Asks it to end, waits for the grace in seconds, then kills it."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                await self.ended.wait()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.ended.wait()

    def _on_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        if self._child is not None:
            self._child.wait()  # returns at once: it has ended, and is reaped here
        self.ended.set()


def die_with_parent() -> None:
    """Has the kernel kill this process when the thread that started it ends (prctl(2)); Linux only."""
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if there is none (proc(5), field 22 of stat)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state == "Z" else int(fields[18])
