"""Processes for a benchmark: started, awaited, stopped with all that they have started."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SERVICES = ROOT / "services"


class NotStarted(Exception):
    """A process has ended, or said nothing for too long, before it was ready."""


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def process(
    command: Sequence[object], env: Mapping[str, str] | None = None, cwd: Path = ROOT, fds: Sequence[int] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a process and stops it. What it writes is shown only where it ends by itself."""
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", **(env or {})}
    with tempfile.TemporaryFile() as output:
        running = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, cwd=cwd,
            pass_fds=fds, start_new_session=True,
        )  # fmt: skip
        try:
            yield running
            if running.poll() is not None:
                raise NotStarted(f"{Path(str(command[0])).name} has ended")
        except Exception as failure:
            if running.poll() is not None:
                output.seek(0)
                lines = output.read().decode(errors="replace").strip().splitlines()[-1:]
                raise NotStarted(f"{failure}; it said: {''.join(lines)[:300]}") from failure
            raise
        finally:
            stop(running)


def stop(running: subprocess.Popen[bytes]) -> None:
    """Asks the process to stop, and kills what is left after a while of it and of what it has started."""
    family = tree(running.pid)
    if running.poll() is None:
        running.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(3)
    for pid, began in family.items():
        if began_at(pid) == began:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    running.wait()


def tree(root: int) -> dict[int, str]:
    """The ids of a process and of its descendants, each with the time at which it began."""
    parents = {}
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(directory.name)] = int(_stat(directory)[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return {pid: began_at(pid) for pid in found}


def began_at(pid: int) -> str:
    """When the process began; empty where there is none."""
    try:
        return _stat(Path(f"/proc/{pid}"))[19]
    except OSError:
        return ""


def _stat(directory: Path) -> list[str]:
    """The fields of `/proc/PID/stat` behind the name."""
    return (directory / "stat").read_text().rpartition(")")[2].split()


def resident(pid: int) -> float:
    """The resident memory of a process in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


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
def hand_written(kind: str) -> Iterator[Server]:
    """Runs a server of `bench.servers`."""
    with _told([sys.executable, "-m", "bench.servers", kind], {}) as server:
        yield server


@contextlib.contextmanager
def module_server(module: str, guest_python: Path) -> Iterator[Server]:
    """Runs a module server with the settings that a pod has."""
    environment = {
        "PYTHONPATH": str(SERVICES), "MODULE_NAME": module, "HOST": "127.0.0.1", "PORT": "0", "LAME_DUCK": "0",
        "GUEST_PYTHON": str(guest_python),
    }  # fmt: skip
    with _told([sys.executable, "-m", "jac_orc.module_server"], environment) as server:
        yield server


@contextlib.contextmanager
def _told(command: Sequence[str], env: Mapping[str, str]) -> Iterator[Server]:
    """Runs a process that tells its port over the pipe NOTIFY_FD."""
    reader, writer = os.pipe()
    with contextlib.ExitStack() as stack, os.fdopen(reader) as told:
        try:
            running = stack.enter_context(process(command, {**env, "NOTIFY_FD": str(writer)}, fds=[writer]))
        finally:
            os.close(writer)
        # A module server reports first that it imports, then its port or why it has none.
        port = next((document["port"] for line in told if "port" in (document := json.loads(line))), None)
        if port is None:
            running.wait(10)
            raise NotStarted(f"{' '.join(command[1:])} did not become ready")
        yield Server(running.pid, port)
