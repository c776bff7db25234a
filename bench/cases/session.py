"""Calls from Python: a session against RPyC and Pyro5, one call at a time and ten that depend on each other."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from bench import environments
from bench.processes import ROOT, NotStarted, free_port, module_server, process
from bench.report import Report
from bench.rounds import interleaved, ours

PEERS = {"RPyC": "rpyc", "Pyro5": "pyro"}


def client(python: Path, module: str, *arguments: object) -> tuple[float, ...]:
    """What a client prints."""
    command = [str(python), "-m", module, *map(str, arguments)]
    env = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise NotStarted(f"{module} {arguments}: {''.join(done.stderr.strip().splitlines()[-1:])}")
    return tuple(json.loads(done.stdout))


@contextlib.contextmanager
def rpc_server(kind: str) -> Iterator[int]:
    """Runs the server of RPyC or Pyro5; answers its port."""
    port, end = free_port(), time.monotonic() + 20
    command = [environments.python("rpc"), "-m", "bench.peers.serve_rpc", kind, str(port)]
    with process(command, {"PYTHONPATH": str(ROOT)}):
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except OSError as failure:
                if time.monotonic() > end:
                    raise NotStarted(f"nobody listens: {failure}") from failure
                time.sleep(0.1)
            else:
                yield port
                return


def run(report: Report) -> None:
    """Measures both; the goal is against the faster of the two peers."""
    subjects = environments.subjects()
    failures: dict[str, Exception] = {}
    with ExitStack() as stack:
        port = stack.enter_context(module_server("orc_bench_plain", subjects)).port
        ways: dict[str, Callable[[], tuple[float, ...]]] = {}
        ways["ours"] = lambda: client(subjects, "bench.client", port, "calls")
        for peer, kind in PEERS.items():
            try:
                ways[peer] = _way(kind, stack.enter_context(rpc_server(kind)))
            except (environments.NotInstalled, NotStarted, OSError) as failure:
                failures[peer] = failure
        found = interleaved("session", ways)
    own = [seconds * 1e6 for seconds in ours(found.pop("ours"))]
    theirs: dict[str, list[float]] = {}
    for peer, numbers in found.items():
        if isinstance(numbers, Exception):
            failures[peer] = numbers
        else:
            theirs[peer] = [seconds * 1e6 for seconds in numbers]
    for index, (what, most) in enumerate({"one call, p50": 1.5, "ten dependent calls, p50": 0.3}.items()):
        case = f"Python client on a session, {what}"
        for peer, why in failures.items():
            report.unavailable(case, peer, str(why))
        if theirs:
            peer = min(theirs, key=lambda name: theirs[name][index])
            report.ratio(case, f"{peer}, the faster", own[index], theirs[peer][index], "µs", most=most)


def _way(kind: str, port: int) -> Callable[[], tuple[float, ...]]:
    return lambda: client(environments.python("rpc"), "bench.peers.call_rpc", kind, port, "calls")
