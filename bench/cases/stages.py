"""Where the processor time of one trivial call goes: by process, over REST and over gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from bench.cases import throughput
from bench.comparison import IN_FLIGHT, Comparison, Numbers
from bench.load import Target, measure
from bench.peer_servers import hand_written
from bench.processes import processor_time, role, tree
from bench.results import Row, Run
from bench.system import running

CALLS = 4_000
REST, GRPC, BARE = "REST through Envoy", "gRPC to the module server", "a bare grpc.aio server"


def run(run: Run) -> None:
    """Measure each way in turns."""
    with Comparison(run, "stages") as comparison:
        system = comparison.enter_context(running())
        targets = throughput.targets(system)
        bare = comparison.enter_context(hand_written("bare"))
        pids = {role(pid): pid for pid in tree(system.process.pid)} | {"server": bare.pid}
        ways: dict[str, tuple[Target, Sequence[str]]] = {
            REST: (targets["http"], ("Envoy", "module server", "guest")),
            GRPC: (targets["grpc"], ("module server", "guest")),
            BARE: (throughput.grpc_target(bare.port), ("server",)),
        }
        for way, (target, names) in ways.items():
            comparison.ways[way] = partial(_costs, run, target, [pids[name] for name in names])
        comparison.compare()
    for way, (_, names) in ways.items():
        *spent, latency = comparison.numbers(way)
        for name, time in zip(names, spent, strict=True):
            run.figure(f"{way}: processor time a call, {name}", time, "µs")
        run.figure(f"{way}: p50 at one in flight", latency, "µs")
    server, guest, _ = comparison.numbers(GRPC)
    ours, theirs = server + guest, comparison.numbers(BARE)[0]
    case = "processor time a call, module server and guest"
    run.rows.append(Row(case, BARE, ours, theirs, "µs", most=0.6))


def _costs(run: Run, target: Target, pids: Sequence[int]) -> Numbers:
    """The processor time of a call in each process, and the median latency at one in flight, all in µs."""
    calls = 200 if run.is_short else CALLS
    before = list(map(processor_time, pids))
    measure(target, IN_FLIGHT, calls=calls, warm_up=0)
    spent = [(processor_time(pid) - start) / calls for pid, start in zip(pids, before, strict=True)]
    return (*spent, measure(target, 1, seconds=0.1 if run.is_short else 0.7).p50 * 1000)
