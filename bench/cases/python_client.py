"""The Python client: calls against RPyC and Pyro5, arrays and items of a generator against clients of plain grpcio."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from functools import partial
from operator import truediv
from pathlib import Path

from bench import environments
from bench.comparison import Comparison, Numbers, Way
from bench.peer_servers import hand_written, mlserver_ports
from bench.processes import ROOT, NotStarted, Server, listening, module_server
from bench.results import Run

SIZES = {8: 0.9, 64: 0.8}
ITEMS = 1000


def client(run: Run, python: Path, module: str, port: int, *arguments: object) -> Numbers:
    """Return what a client reports."""
    command = [str(python), "-m", f"bench.peers.{module}", str(port), *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "BENCH_SHORT": "1" * run.is_short}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise NotStarted(f"{module} {arguments}: {''.join(done.stderr.strip().splitlines()[-1:])}")
    return tuple(json.loads(done.stdout))


@contextlib.contextmanager
def own_server() -> Iterator[Server]:
    """Run a module server of the benchmark's own module."""
    with module_server("orc_bench_plain", environments.own()) as server:
        yield server


def calls(run: Run) -> None:
    """Measure one call, and ten of which each needs the result of the one before."""
    own = "grpcio client, grpc.aio service"
    with Comparison(run, "calls") as comparison:
        comparison.ways["ours"] = _way(run, "call_ours", comparison.enter_context(own_server()).port, "calls")
        server = comparison.enter_context(hand_written("inline"))
        comparison.ways[own] = _way(run, "call_grpc", server.port, "calls")
        for peer, kind in {"RPyC": "rpyc", "Pyro5": "pyro"}.items():
            with comparison.peer(peer):
                comparison.ways[peer] = _rpc(comparison, kind, "calls")
        comparison.compare()
        for index, (what, most) in enumerate({"one call": 2.5, "ten dependent calls, a batch": 0.5}.items()):
            for peer, goal in {"RPyC": most, "Pyro5": None, own: None}.items():
                case = f"{what}, Python client, p50"
                comparison.ratio(case, peer, "µs", index, convert=_microseconds, most=goal, headline=peer == "RPyC")


def arrays(run: Run) -> None:
    """Measure float64 arrays there and back."""
    for size, least in SIZES.items():
        with Comparison(run, f"arrays of {size} MB", rounds=3) as comparison:
            comparison.ways["ours"] = _way(run, "call_ours", comparison.enter_context(own_server()).port, "array", size)
            raw = "grpcio, raw chunks"
            comparison.ways[raw] = _way(
                run, "call_grpc", comparison.enter_context(hand_written("echo")).port, "array", size
            )
            with comparison.peer("RPyC, bytes"):
                comparison.ways["RPyC, bytes"] = _rpc(comparison, "rpyc", size)
            with comparison.peer("MLServer, raw gRPC"):
                _, port = comparison.enter_context(mlserver_ports(0))
                comparison.ways["MLServer, raw gRPC"] = _way(run, "call_mlserver", port, size, environment="mlserver")
            comparison.compare()
            for peer, goal in {raw: least, "RPyC, bytes": 2.0, "MLServer, raw gRPC": 2.0}.items():
                case = f"{size} MB array there and back, Python client"
                rate = partial(truediv, 2 * size)
                comparison.ratio(case, peer, "MB/s", convert=rate, least=goal, headline=peer == raw)


def items(run: Run, case: str) -> None:
    """Measure a generator's items as a client reads them."""
    peer = "grpcio client, hand-written stream"
    with Comparison(run, case) as comparison:
        comparison.ways["ours"] = _way(run, "call_ours", comparison.enter_context(own_server()).port, "items", ITEMS)
        comparison.ways[peer] = _way(
            run, "call_grpc", comparison.enter_context(hand_written("numbers")).port, "items", ITEMS
        )
        comparison.compare()
        comparison.ratio(case, peer, "items/s", convert=partial(truediv, ITEMS))


def _rpc(comparison: Comparison, kind: str, task: object) -> Way:
    command = [environments.python("rpc"), "-m", "bench.peers.serve_rpc", kind]
    server = comparison.enter_context(listening(command))
    return _way(comparison.run, "call_rpc", server.port, kind, task, environment="rpc")


def _way(run: Run, module: str, port: int, *arguments: object, environment: str = "grpc") -> Way:
    return partial(client, run, environments.python(environment), module, port, *arguments)


def _microseconds(seconds: float) -> float:
    return seconds * 1e6
