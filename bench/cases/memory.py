"""How much memory calls and objects leave behind."""

from __future__ import annotations

from bench import environments
from bench.cases.session import client
from bench.load import Target, measure
from bench.processes import Server, module_server, resident
from bench.report import Report, progress
from bench.trivial_peers import framed
from jac_orc.v1 import module_pb2

FIRST = (10_000, 1_000)
"""Calls and objects before the first look."""
SOME, FULL = (110_000, 11_000), (1_000_000, 100_000)


def run(report: Report, full: bool) -> None:
    """Measures the growth of the module server and of its guest."""
    subjects, (calls, objects) = environments.subjects(), FULL if full else SOME
    with module_server("orc_bench_plain", subjects) as server:
        progress(f"memory: the first {FIRST[0]:,} calls and {FIRST[1]:,} objects")
        _use(server, *FIRST)
        before = _sizes(server)
        progress(f"memory: up to {calls:,} calls and {objects:,} objects")
        _use(server, calls - FIRST[0], objects - FIRST[1])
        after = _sizes(server)
    more = "" if full else " (--full: 1,000,000 and 100,000)"
    case = f"memory after {calls:,} calls and {objects:,} objects, since the first {FIRST[0]:,} and {FIRST[1]:,}{more}"
    for name, size in after.items():
        report.figure(f"{case}: {name}", size - before[name], "MB", most=5)


def _use(server: Server, calls: int, objects: int) -> None:
    request = module_pb2.CallRequest(method="add", args=[{"number_value": 1}, {"number_value": 2}])
    answer = framed(module_pb2.CallResponse(result={"number_value": 3}).SerializeToString())
    target = Target("grpc", server.port, "/jac_orc.v1.ModuleService/Call", request.SerializeToString(), answer)
    measure(target, 16, calls=calls, warm_up=0)
    client(environments.python("ours"), "bench.client", server.port, "objects", objects)


def _sizes(server: Server) -> dict[str, float]:
    return {"module server": resident(server.pid), "guest": resident(server.guest)}
