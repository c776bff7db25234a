"""One `jac-orc up` seen from outside: its command line, its output, its front port, its processes.

Each system has a TMPDIR of its own, which all its processes inherit, guests too: that is how they are found in /proc
whoever their parent is by then.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

_COMMAND = [sys.executable, "-c", "from jac_orc.cli.main import main; main()"]
_READY = re.compile(r"ready in .*: (http://127\.0\.0\.1:(\d+))$", re.MULTILINE)
_ROLES = {
    "pod_manager": "jac_orc.pod_manager",
    "server": "jac_orc.module_server",
    "guest": "guest/start.py",
    "envoy": "envoy.json",
}


def wait_until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """What the condition answers once it is true; fails the test where it doesn't get so."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < end, f"not so within {seconds:g} s: {condition}"
        time.sleep(0.03)
    return answer


def reason(response: httpx.Response) -> str:
    """The reason in a JSON error body, whose form is checked on the way."""
    assert response.headers["content-type"] == "application/json", response.text
    body = response.json()
    assert set(body) == {"code", "message", "details"}, body
    assert body["code"] > 0, body
    assert body["message"], body
    info = body["details"][0]
    assert info["@type"] == "type.googleapis.com/google.rpc.ErrorInfo", body
    assert info["domain"] == "jac_orc", body
    return str(info["reason"])


def tool(name: str) -> str:
    """A program that is installed beside this interpreter."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert found, f"{name} is not installed"
    return found


class System:
    """A running `jac-orc up`; `end` leaves nothing of it, whatever has happened to it."""

    def __init__(self, cache: Path, wheels: Path, *options: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="orc-"))
        self.state = self.directory / "state"
        self.cache = cache
        self._wheels = wheels
        self._options = options
        self.port = 0
        self.http = httpx.Client()
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

    def start(self, *options: str) -> System:
        """Starts the command and waits until it says that it is ready."""
        self.process = self.launch(*options)

        def ready() -> re.Match[str] | None:
            assert self.process.poll() is None, self.output + self.errors
            return _READY.search(self.output)

        found = wait_until(ready, 60)
        self.port = int(found[2])
        self.http.close()
        self.http = httpx.Client(
            base_url=found[1], timeout=60, trust_env=False, limits=httpx.Limits(max_connections=64)
        )
        return self

    @property
    def output(self) -> str:
        """What the command has printed."""
        return (self.directory / "out").read_text()

    @property
    def errors(self) -> str:
        """What the command has printed as errors."""
        return (self.directory / "err").read_text()

    # --- calls ---

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        """A POST of JSON, or of bytes as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"content-type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
        return self.http.post(path, content=content, headers=sent)

    def call(self, module: str, method: str, *args: Any, **kwargs: Any) -> Any:
        """The result of a call, which must succeed."""
        response = self.try_call(module, method, *args, **kwargs)
        assert response.status_code == 200, response.text
        return response.json()["result"]

    def try_call(self, module: str, method: str, *args: Any, **kwargs: Any) -> httpx.Response:
        """The answer to a call."""
        return self.post(f"/v1/modules/{module}:call", {"method": method, "args": args, "kwargs": kwargs})

    def answers(self, module: str, method: str, *args: Any) -> bool:
        """Whether a call succeeds now."""
        try:
            return self.try_call(module, method, *args).status_code == 200
        except httpx.TransportError:
            return False

    def module(self, name: str) -> Any:
        """The module's resource."""
        response = self.http.get(f"/v1/modules/{name}")
        assert response.status_code == 200, response.text
        return response.json()

    # --- processes ---

    def pids(self, role: str = "", module: str = "") -> list[int]:
        """The processes of this system: all, or those of a role, and of a module."""
        found = [process for process in self._processes() if _ROLES.get(role, "") in process[1]]
        if role == "guest":
            servers = {str(pid) for pid in self.pids("server", module)}
            return [pid for pid, command, _ in found if command.split()[-1] in servers]
        return [pid for pid, _, names in found if module in ("", names.get("MODULE_NAME"))]

    def parts(self) -> set[int]:
        """The processes that last: the installer and what compiles in the background come and go."""
        return {pid for role in _ROLES for pid in self.pids(role)}

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

    def traces(self, module: str) -> list[str]:
        """What is left of a module: processes, and files of state and logs; sources are kept for a while."""
        kept = self.state / "sources"
        patterns = (f"{module}.json", f"{module}-*", f"{module}.installer.log")
        found = [path for pattern in patterns for path in self.state.rglob(pattern)]
        files = [str(path) for path in found if not path.is_relative_to(kept)]
        return [*map(str, self.pids("server", module)), *map(str, self.pids("guest", module)), *files]

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
        self.http.close()
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
