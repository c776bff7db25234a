"""Where the processor time of one trivial call goes: by process, over REST and over gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench.cases import trivial
from bench.load import Target, measure
from bench.processes import hand_written, tree
from bench.report import Report
from bench.rounds import interleaved, ours
from bench.system import role, running

CALLS, IN_FLIGHT = 4_000, 16


def run(report: Report) -> None:
    """Measures each way in turns."""
    with ExitStack() as stack:
        system = stack.enter_context(running())
        targets = trivial.targets(system)
        bare = stack.enter_context(hand_written("inline"))
        pids = {role(pid): pid for pid in tree(system.process.pid)}
        pids["bare server"] = bare.pid
        ways: dict[str, tuple[Target, Sequence[str]]] = {
            "REST through Envoy": (targets["rest"], ("Envoy", "module server", "guest")),
            "gRPC to the module server": (targets["grpc"], ("module server", "guest")),
            "gRPC to a function on a grpc.aio server's loop": (trivial.grpc_target(bare.port), ("bare server",)),
        }
        found = interleaved(
            "stages",
            {way: partial(_costs, target, [pids[name] for name in names]) for way, (target, names) in ways.items()},
        )
    for way, (_, names) in ways.items():
        *spent, latency = ours(found[way])
        for name, time in zip(names, spent, strict=True):
            report.plain(f"{way}: processor time a call", name, time, "µs")
        report.plain(f"{way}: p50 at one in flight", "", latency, "µs")


def _costs(target: Target, pids: Sequence[int]) -> tuple[float, ...]:
    """The processor time of a call in each process, and the median latency at one in flight, all in µs."""
    before = list(map(_processor_time, pids))
    measure(target, IN_FLIGHT, calls=CALLS, warm_up=0)
    spent = [(_processor_time(pid) - start) / CALLS for pid, start in zip(pids, before, strict=True)]
    return (*spent, measure(target, 1, seconds=0.7).p50 * 1000)


def _processor_time(pid: int) -> float:
    """What all threads of a process have used so far, in µs (the kernel's `schedstat`, whose first field is in ns)."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1000
