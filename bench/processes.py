"""Processes for a benchmark: started, awaited, looked at, stopped with all that they have started."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SERVICES = ROOT / "services"
_ROLES = {
    "guest/start.py": "guest", "jac_orc.module_server": "module server", "jac_orc.pod_manager": "pod manager",
    "_bin/envoy": "Envoy",
}  # fmt: skip


class NotStarted(Exception):
    """A process ended, or did nothing for too long, before it was ready."""


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def process(
    command: Sequence[object], env: Mapping[str, str] | None = None, cwd: Path = ROOT, fds: Sequence[int] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process and stop it. What it wrote is shown only if something fails and it has ended by itself."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", **(env or {})}
    with tempfile.TemporaryFile() as output:
        running = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, cwd=cwd,
            pass_fds=fds, start_new_session=True,
        )  # fmt: skip
        try:
            yield running
        except Exception as failure:
            if running.poll() is not None:
                output.seek(0)
                lines = output.read().decode(errors="replace").strip().splitlines()[-1:]
                raise NotStarted(f"{failure}; it said: {''.join(lines)[:300]}") from failure
            raise
        finally:
            stop(running)


def stop(running: subprocess.Popen[bytes]) -> None:
    """Ask the process to stop, then kill what is left of it and of what it has started."""
    family = tree(running.pid)
    if running.poll() is None:
        running.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(3)
    for pid, began in family.items():
        if _began_at(pid) == began:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    running.wait()


@dataclass(frozen=True)
class Server:
    """A running server."""

    pid: int
    port: int

    @property
    def guest(self) -> int:
        """The process id of a module server's guest."""
        (guest,) = [pid for pid in tree(self.pid) if pid != self.pid]
        return guest


@contextlib.contextmanager
def listening(command: Sequence[object]) -> Iterator[Server]:
    """Run a server whose last argument is its port, which is added, and wait until it listens."""
    port = free_port()
    with process([*command, port]) as running:
        until_listening(port, running)
        yield Server(running.pid, port)


def until_listening(port: int, running: subprocess.Popen[bytes], seconds: float = 60) -> None:
    """Wait until something listens on a port; raises NotStarted if the process has ended or the time is over."""
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError as failure:
            if time.monotonic() > end or running.poll() is not None:
                raise NotStarted(f"nothing listens on its port: {failure}") from failure
            time.sleep(0.02)
        else:
            return


@contextlib.contextmanager
def module_server(module: str, guest_python: Path) -> Iterator[Server]:
    """Run a module server with the settings that a pod has. It reports its port over the pipe NOTIFY_FD."""
    reader, writer = os.pipe()
    env = {
        "PYTHONPATH": str(SERVICES), "MODULE_NAME": module, "HOST": "127.0.0.1", "PORT": "0", "LAME_DUCK": "0",
        "GUEST_PYTHON": str(guest_python), "NOTIFY_FD": str(writer),
    }  # fmt: skip
    with contextlib.ExitStack() as stack, os.fdopen(reader) as reports:
        try:
            running = stack.enter_context(process([sys.executable, "-m", "jac_orc.module_server"], env, fds=[writer]))
        finally:
            os.close(writer)
        # It reports first that it imports, then its port or why it has none.
        port = next((document["port"] for line in reports if "port" in (document := json.loads(line))), None)
        if port is None:
            running.wait(10)
            raise NotStarted(f"the module server of {module} did not become ready")
        yield Server(running.pid, port)


def tree(root: int) -> dict[int, str]:
    """Return the ids of a process and of its descendants, each with the time at which it began."""
    parents = {}
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(directory.name)] = int(_stat(int(directory.name))[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return {pid: _began_at(pid) for pid in found}


def _began_at(pid: int) -> str:
    try:
        return _stat(pid)[19]
    except OSError:
        return ""


def _stat(pid: int) -> list[str]:
    """Return the fields of `/proc/PID/stat` after the name."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def role(pid: int) -> str:
    """Return what a process of a system runs."""
    text = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    return next((name for part, name in _ROLES.items() if part in text), "up")


def megabytes(pid: int, field: str = "VmRSS", file: str = "status") -> float:
    """Return a process's resident memory, or another size from a file of its in `/proc`."""
    lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def processor_time(pid: int) -> float:
    """Return what all threads of a process have used so far, in µs; `schedstat` begins with it in ns."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1000


def busy_share(seconds: float = 1.0) -> float:
    """Return the share of all processors that was in use during the next seconds, from 0 to 1."""

    def used_and_all() -> tuple[int, int]:
        times = list(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]))
        return sum(times) - times[3] - times[4], sum(times)  # without idle and iowait

    before = used_and_all()
    time.sleep(seconds)
    used, everything = (now - then for now, then in zip(used_and_all(), before, strict=True))
    return used / max(everything, 1)
