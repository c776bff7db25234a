"""How much memory calls and objects leave behind."""

from __future__ import annotations

from bench import environments
from bench.cases.python_client import client, own_server
from bench.load import Target, measure
from bench.peer_servers import framed
from bench.processes import Server, megabytes
from bench.results import Run, progress
from jac_orc.v1 import module_pb2

FIRST = (10_000, 1_000)
"""Calls and objects before the first look."""
SHORT, SOME, FULL = (11_000, 1_100), (110_000, 11_000), (1_000_000, 100_000)


def run(run: Run) -> None:
    """Measure the growth of the module server and of its guest."""
    calls, objects = SHORT if run.is_short else FULL if run.is_full else SOME
    with own_server() as server:
        progress(f"memory: the first {FIRST[0]:,} calls and {FIRST[1]:,} objects")
        _use(run, server, *FIRST)
        before = _sizes(server)
        progress(f"memory: up to {calls:,} calls and {objects:,} objects")
        _use(run, server, calls - FIRST[0], objects - FIRST[1])
        after = _sizes(server)
    since = f"{calls:,} calls and {objects:,} objects, since the first {FIRST[0]:,} and {FIRST[1]:,}"
    for name, size in after.items():
        run.figure(f"{name}: memory after {since}", size - before[name], "MB", most=5)


def _use(run: Run, server: Server, calls: int, objects: int) -> None:
    request = module_pb2.CallRequest(method="add", args=[{"number_value": 1}, {"number_value": 2}])
    answer = framed(module_pb2.CallResponse(result={"number_value": 3}).SerializeToString())
    target = Target("grpc", server.port, "/jac_orc.v1.ModuleService/Call", request.SerializeToString(), answer)
    measure(target, 16, calls=calls, warm_up=0)
    client(run, environments.own(), "call_ours", server.port, "objects", objects)


def _sizes(server: Server) -> dict[str, float]:
    return {"module server": megabytes(server.pid), "guest": megabytes(server.guest)}
