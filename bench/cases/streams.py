"""Items of a generator over ModuleService/Stream, against messages made in a hand-written server's own loop."""

from __future__ import annotations

from contextlib import ExitStack

from bench import environments
from bench.load import Target
from bench.processes import hand_written, module_server
from bench.report import Report
from bench.rounds import loads, ours
from bench.trivial_peers import framed
from jac_orc.v1 import module_pb2

ITEMS = 1000


def run(report: Report) -> None:
    """Measures one stream at a time."""
    request = module_pb2.StreamRequest(method="numbers", args=[{"number_value": ITEMS}]).SerializeToString()
    items = [module_pb2.StreamResponse(result={"number_value": number}) for number in range(ITEMS)]
    expected = framed(*(item.SerializeToString() for item in items))
    with ExitStack() as stack:
        ports = {"theirs": stack.enter_context(hand_written("stream")).port}
        ports["ours"] = stack.enter_context(module_server("orc_bench_plain", environments.subjects())).port
        path = "/jac_orc.v1.ModuleService/Stream"
        targets = {name: Target("grpc", port, path, request, expected) for name, port in ports.items()}
        found = {name: ours(result).rate * ITEMS for name, result in loads("stream", targets, 1).items()}
    case, against = f"{ITEMS:,} items of a generator, gRPC", "grpc.aio, hand-written stream"
    report.ratio(case, against, found["ours"], found["theirs"], "items/s", least=0.5)
