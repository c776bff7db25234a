"""What a process has open, from /proc: tests compare it before and after what shall leave nothing behind."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from tests.feature.module_servers import ModuleServer
from tests.support import children


@dataclass(frozen=True)
class Footprint:
    """One process at one time; memory in KiB."""

    files: int
    threads: int
    children: frozenset[int]
    memory: int


def footprint(pid: int) -> Footprint:
    """The process as it is now."""
    files = len(os.listdir(f"/proc/{pid}/fd"))
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    memory = int(status["VmRSS"].split()[0])
    return Footprint(files, int(status["Threads"]), frozenset(children(pid)), memory)


class Watched:
    """A server and its one guest, which shall leave nothing behind beyond what they have now."""

    def __init__(self, server: ModuleServer) -> None:
        self.server = server
        (self.guest,) = server.guests()
        self.before = self._now()

    def _now(self) -> dict[str, Footprint]:
        return {"server": footprint(self.server.process.pid), "guest": footprint(self.guest)}

    def check(self, *, files: int = 4, threads: int = 4, memory: int | None = None, seconds: float = 8.0) -> None:
        """Fails unless both come back, in time, to what they were, with so many more files, threads and KiB at most.

        Threads that wait for the next slow call stay; so do a client's connections that it keeps.
        """
        assert self.server.guests() == {self.guest}, "the guest is another one"
        deadline = time.monotonic() + seconds
        while excess := self._excess(files, threads, memory):
            assert time.monotonic() < deadline, excess
            time.sleep(0.05)

    def _excess(self, files: int, threads: int, memory: int | None) -> list[str]:
        found = []
        for name, now in self._now().items():
            before = self.before[name]
            if now.files > before.files + files or now.threads > before.threads + threads:
                found.append(f"{name}: {before} -> {now}: {_open_files(self, name)}")
            if now.children != before.children:
                found.append(f"{name}: children {before.children} -> {now.children}")
            if memory is not None and now.memory > before.memory + memory:
                found.append(f"{name}: memory {before.memory} KiB -> {now.memory} KiB")
        return found


def _open_files(watched: Watched, name: str) -> list[str]:
    pid = watched.guest if name == "guest" else watched.server.process.pid
    links = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(os.readlink(link))
    return sorted(links)
