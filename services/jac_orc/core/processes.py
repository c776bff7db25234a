"""Processes known by a pidfd: ones that this process has started, and ones that an earlier run of it has.

A process id may be given to another process once its owner is gone; a pidfd never is, so signals can't hit a stranger.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO

# prctl(PR_SET_PDEATHSIG, SIGKILL) lasts through exec; the parent may have ended before it took effect.
_DYING = """
import ctypes, os, sys
parent, nice, *command = sys.argv[1:]
ctypes.CDLL(None).prctl(1, 9)
os.nice(int(nice))
if os.getppid() == int(parent):
    os.execvp(command[0], command)
"""
_CHUNK = 64 * 1024


class ManagedProcess:
    """A running or ended process. `ended` is set when it has ended."""

    def __init__(self, pid: int, pidfd: int, child: subprocess.Popen[bytes] | None) -> None:
        self.pid = pid
        self.ended = asyncio.Event()
        self.returncode: int | None = None
        """The exit code, or the negative number of a signal; None while it runs, and for one that was adopted."""
        self.stdout = _Pipe(child.stdout if child else None)
        self.stderr = _Pipe(child.stderr if child else None)
        self._pidfd = pidfd
        self._child = child
        asyncio.get_running_loop().add_reader(pidfd, self._on_end)

    @classmethod
    def start_piped(
        cls,
        command: Sequence[str],
        environment: Mapping[str, str],
        pass_fds: Sequence[int] = (),
        *,
        quiet: bool = False,
        output: IO[bytes] | None = None,
    ) -> ManagedProcess:
        """Start a process in a session of its own, whose output is read from `stdout` and `stderr`; `quiet`: dropped.

        With `output` it goes to that file. The process is forked by this thread, as `dying_with_parent` requires.
        """
        pipe = output or (subprocess.DEVNULL if quiet else subprocess.PIPE)
        child = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, pass_fds=pass_fds,
            start_new_session=True,
        )  # fmt: skip
        return cls.of(child)

    @classmethod
    def of(cls, child: subprocess.Popen[bytes]) -> ManagedProcess:
        """Take over a process that leads a group of its own; if that fails (OSError), it is ended."""
        try:
            return cls(child.pid, os.pidfd_open(child.pid), child)
        except OSError:  # too many open files
            child.kill()
            child.wait()
            raise

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

    def close_output(self) -> None:
        """End `stdout` and `stderr` after what has been read so far, even if another process still holds them."""
        self.stdout.close()
        self.stderr.close()

    def release(self) -> None:
        """Stops watching the process, which goes on."""
        if not self.ended.is_set():
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)

    async def stop(self, grace: float) -> None:
        """Asks it to end, waits for the grace in seconds, then kills it."""
        self.signal(signal.SIGTERM)
        await self.end_within(grace)

    async def end_within(self, grace: float) -> None:
        """Wait until it has ended by itself; kill it after the grace in seconds."""
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
            # What it has left in its group. Until it is reaped, in the next line, no other group can get the id.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self.returncode = self._child.wait()
        self.ended.set()


class _Pipe(asyncio.StreamReader):
    """What a process writes. It ends when every process that has the other end has ended, or by `close`."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        super().__init__()
        self._pipe = pipe
        if pipe is None:
            self.feed_eof()
            return
        os.set_blocking(pipe.fileno(), False)
        asyncio.get_running_loop().add_reader(pipe.fileno(), self._read)

    def _read(self) -> None:
        assert self._pipe is not None
        if data := os.read(self._pipe.fileno(), _CHUNK):
            self.feed_data(data)
        else:
            self.close()

    def close(self) -> None:
        """End it, even if another process still holds the other end."""
        if self._pipe is not None:
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())
            self._pipe.close()
            self._pipe = None
            self.feed_eof()


def dying_with_parent(command: Sequence[str], nice: int = 0) -> list[str]:
    """Return a command that runs this one, to be killed by the kernel when the thread that starts it ends.

    A function that runs between fork and exec would do without a further interpreter, 25 ms, but it can deadlock in a
    process with threads. `nice` lowers the priority.
    """
    return [sys.executable, "-I", "-S", "-c", _DYING, str(os.getpid()), str(nice), *command]


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if there is none (proc(5), field 22 of stat)."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            stat = file.read()
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state == "Z" else int(fields[18])
