"""A `jac-orc up` of its own for the benchmark."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_READY = re.compile(r"ready in ([\d.]+) s: http://127\.0\.0\.1:(\d+)")


@dataclass(frozen=True)
class Running:
    """A system that answers calls."""

    port: int
    ready_seconds: float
    process: subprocess.Popen[str]

    def request(self, method: str, path: str, body: object = None) -> bytes:
        """Makes one request; raises urllib.error.HTTPError where it fails."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=300) as answer:
            return bytes(answer.read())


@contextlib.contextmanager
def running(*, spares: int = 0, cache: Path | None = None) -> Iterator[Running]:
    """Starts a system on free ports and stops it; `cache` is where environments are, None: where users have them."""
    with tempfile.TemporaryDirectory(prefix="jac-bench-") as directory:
        command = [str(Path(sys.executable).with_name("jac-orc")), "up", "--state-dir", f"{directory}/state"]
        command += ["--spares", str(spares), *([] if cache is None else ["--cache-dir", str(cache)])]
        for option in ("--port", "--pod-manager-port", "--xds-port"):
            command += [option, "0"]
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            found = next(filter(None, map(_READY.search, process.stdout)), None)
            if found is None:
                raise RuntimeError("jac-orc up did not become ready")
            yield Running(int(found[2]), time.perf_counter() - begin, process)
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)


def memory_of_tree(root: int) -> dict[str, float]:
    """The resident memory of a process and its descendants, in MB by what they run.

    Module servers are children of the pod manager, guests of module servers.
    """
    parents, sizes, names = {}, {}, {}
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            status = dict(
                line.split(":\t", 1) for line in (directory / "status").read_text().splitlines() if ":\t" in line
            )
            pid = int(directory.name)
            parents[pid] = int(status["PPid"])
            sizes[pid] = int(status.get("VmRSS", "0 kB").split()[0]) / 1024
            names[pid] = role(pid)
    found: dict[str, float] = {}
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        found[names[pid]] = found.get(names[pid], 0.0) + sizes[pid]
        waiting += [child for child, parent in parents.items() if parent == pid]
    return found


def role(pid: int) -> str:
    """What a process of a system runs."""
    text = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    for part, name in (
        ("guest/start.py", "guest"),
        ("jac_orc.module_server", "module server"),
        ("jac_orc.pod_manager", "pod manager"),
        ("_bin/envoy", "Envoy"),
    ):
        if part in text:
            return name
    return "up"
