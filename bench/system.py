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
        """Make one request; raises urllib.error.HTTPError if it fails."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=300) as answer:
            return bytes(answer.read())


@contextlib.contextmanager
def running(*, spares: int = 0, cache: Path | None = None) -> Iterator[Running]:
    """Start a system on free ports and stop it; environments are in `cache`, or where users have them."""
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
