"""NumPy arrays there and back through a session, against bytes over plain grpcio, RPyC and MLServer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from bench import environments
from bench.cases.session import client, rpc_server
from bench.processes import NotStarted, hand_written, module_server
from bench.report import Report
from bench.rounds import interleaved, ours
from bench.trivial_peers import mlserver_ports

SIZES = (8, 64)
ROUNDS = 3
GOALS = {"grpcio, raw chunks": 0.8, "RPyC, bytes": 2.0, "MLServer, raw gRPC": 2.0}
Way = Callable[[], tuple[float, ...]]


def run(report: Report) -> None:
    """Measures each size."""
    subjects = environments.subjects()
    with ExitStack() as stack:
        server = stack.enter_context(module_server("orc_bench_plain", subjects)).port
        echo = stack.enter_context(hand_written("echo")).port
        failures: dict[str, Exception] = {}
        makers: dict[str, Callable[[int], Way]] = {
            "ours": lambda size: lambda: client(subjects, "bench.client", server, "array", size),
            "grpcio, raw chunks": lambda size: lambda: client(subjects, "bench.client", echo, "raw", size),
        }
        for peer, make in {"RPyC, bytes": _rpyc, "MLServer, raw gRPC": _mlserver}.items():
            try:
                makers[peer] = make(stack)
            except (environments.NotInstalled, NotStarted, OSError) as failure:
                failures[peer] = failure
        for size in SIZES:
            found = interleaved(f"arrays of {size} MB", {name: make(size) for name, make in makers.items()}, ROUNDS)
            own = 2 * size / ours(found.pop("ours"))[0]
            case = f"{size} MB array there and back"
            for peer, least in GOALS.items():
                theirs = failures.get(peer) or found[peer]
                if isinstance(theirs, Exception):
                    report.unavailable(case, peer, str(theirs))
                else:
                    report.ratio(case, peer, own, 2 * size / theirs[0], "MB/s", least=least)


def _rpyc(stack: ExitStack) -> Callable[[int], Way]:
    port = stack.enter_context(rpc_server("rpyc"))
    return lambda size: lambda: client(environments.python("rpc"), "bench.peers.call_rpc", "rpyc", port, size)


def _mlserver(stack: ExitStack) -> Callable[[int], Way]:
    _, port = stack.enter_context(mlserver_ports(0))
    return lambda size: lambda: client(environments.python("mlserver"), "bench.peers.call_mlserver", port, size)
