"""One `jac-orc up` seen from outside: its command line, its output, its front port, its processes.

Each system has a TMPDIR of its own, which all its processes inherit, guests too: that is how they are found in /proc
whoever their parent is by then.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.e2e.system import ROLES, System, logged_errors, wait_until

_COMMAND = [sys.executable, "-c", "from jac_orc.cli.main import main; main()"]
_READY = re.compile(r"ready in .*: (http://127\.0\.0\.1:\d+)$", re.MULTILINE)


class LocalSystem(System):
    """A running `jac-orc up`."""

    traces_of_two_pods = 9  # two servers, two guests, a spec, two pods, two logs
    has_manifests = False

    def __init__(self, cache: Path, wheels: Path, *options: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="orc-"))
        self.state = self.directory / "state"
        self.cache = cache
        self._wheels = wheels
        self._options = options
        (self.directory / "tmp").mkdir()

    def launch(self, *options: str) -> subprocess.Popen[bytes]:
        """Starts the command without waiting for anything."""
        given = dict(zip(options[::2], options[1::2], strict=True))
        ports = {"--port": "0", "--pod-manager-port": "0", "--xds-port": "0", "--spares": "0"}
        paths = {"--state-dir": str(self.state), "--cache-dir": str(self.cache)}
        arguments = [part for pair in {**ports, **paths, **given}.items() for part in pair]
        environment = {**os.environ, "TMPDIR": str(self.directory / "tmp"), "UV_FIND_LINKS": str(self._wheels)}
        with (self.directory / "out").open("wb") as out, (self.directory / "err").open("wb") as err:
            return subprocess.Popen(
                [*_COMMAND, "up", *arguments, *self._options],
                env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
            )  # fmt: skip

    def start(self, *options: str) -> LocalSystem:
        """Starts the command and waits until it says that it is ready."""
        self.process = self.launch(*options)

        def ready() -> re.Match[str] | None:
            assert self.process.poll() is None, self.output + self.errors
            return _READY.search(self.output)

        found = wait_until(ready, 60)
        self.connect(found[1])
        return self

    @property
    def output(self) -> str:
        """What the command has printed."""
        return (self.directory / "out").read_text()

    @property
    def errors(self) -> str:
        """What the command has printed as errors."""
        return (self.directory / "err").read_text()

    # --- processes ---

    def pids(self, role: str = "", module: str = "") -> list[int]:
        found = [process for process in self._processes() if ROLES.get(role, "") in process[1]]
        if role == "guest":
            servers = {str(pid) for pid in self.pids("server", module)}
            return [pid for pid, command, _ in found if command.split()[-1] in servers]
        return [pid for pid, _, names in found if module in ("", names.get("MODULE_NAME"))]

    def _processes(self) -> list[tuple[int, str, dict[str, str]]]:
        mine = []
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
                command = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            except (OSError, ValueError):
                continue
            if f"TMPDIR={self.directory / 'tmp'}" in words and entry.name.isdigit():
                mine.append((int(entry.name), command, dict(word.partition("=")[::2] for word in words)))
        return mine

    def ports(self) -> set[int]:
        """The TCP ports on which processes of this system listen."""
        sockets = set()
        for pid in self.pids():
            try:
                sockets |= {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
            except OSError:
                continue
        return {port for port, inode in listening() if f"socket:[{inode}]" in sockets}

    def places(self) -> set[tuple[str, str]]:
        return {("127.0.0.1", str(port)) for port in self.ports()}

    def server_at(self, module: str, address: str) -> int:
        port = int(address.rpartition(":")[2])
        (inode,) = [inode for number, inode in listening() if number == port]
        for pid in self.pids("server", module):
            if f"socket:[{inode}]" in {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}:
                return pid
        raise AssertionError(f"no server at {address}")

    def meeting_place(self, module: str) -> tuple[Path, Path]:
        directory = Path(tempfile.mkdtemp(dir=self.directory))
        return directory, directory

    # --- what it keeps ---

    def logged_errors(self) -> list[str]:
        files = (file.read_text(errors="replace") for file in self.state.rglob("*.log"))
        return logged_errors(line for text in files for line in text.splitlines())

    def stored(self, pattern: str) -> set[str]:
        return {str(path) for root in (self.cache, self.state) for path in root.glob(pattern)}

    def building(self) -> set[str]:
        patterns = [f"environments/.building-{pid}-*" for pid in self.pids("pod_manager")]  # others share the cache
        return {path for pattern in patterns for path in self.stored(pattern)}

    def traces(self, module: str) -> list[str]:
        """Processes, and files of state and logs; sources are kept for a while."""
        kept = self.state / "sources"
        patterns = (f"{module}.json", f"{module}-*", f"{module}.installer.log")
        found = [path for pattern in patterns for path in self.state.rglob(pattern)]
        files = [str(path) for path in found if not path.is_relative_to(kept)]
        return [*map(str, self.pids("server", module)), *map(str, self.pids("guest", module)), *files]

    def remove(self, module: str) -> None:
        self.http.delete(f"/v1/modules/{module}")
        wait_until(lambda: not self.traces(module))

    # --- its end ---

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Sends the signal to all processes at once."""
        for pid in self.pids():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def interrupt(self) -> int:
        """Ctrl-C in its terminal; returns the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(40)

    def end(self) -> None:
        """Ends whatever runs and removes the directory."""
        self.disconnect()
        while self.pids():
            self.kill()
            time.sleep(0.01)
        if hasattr(self, "process"):
            self.process.wait(10)
        wait_until(self._removed)  # a process that was killed may still have made a file

    def _removed(self) -> bool:
        shutil.rmtree(self.directory, ignore_errors=True)
        return not self.directory.exists()


def listening() -> list[tuple[int, str]]:
    """All TCP ports on which something listens, with the socket's inode (proc(5))."""
    found = []
    for file in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(file).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                found.append((int(fields[1].rpartition(":")[2], 16), fields[9]))
    return found
