"""`python -m bench`: prints what the system costs, each figure beside its goal.

Rates are also given as ratios to a hand-written grpc.aio server measured in the same run, in turns, since absolute
figures don't hold from one machine to the next. Exits with 1 if a goal is missed.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf import struct_pb2
from rich.console import Console
from rich.table import Table

from bench import adding, load
from bench.system import Running, memory_of_tree, running
from jac_orc.v1 import module_pb2, module_pb2_grpc

ROUNDS = 5
CALLS = 1500
_BODY, _ANSWER = b'{"args":[16]}', b'{"result":4.0}'
_PATH = "/run_module?module_name=math&method_name=sqrt"


class HandWritten(module_pb2_grpc.ModuleServiceServicer):
    """The same call as someone would write it by hand for this one module."""

    async def Call(self, request: module_pb2.CallRequest, context: Any) -> module_pb2.CallResponse:
        number = request.args[0].number_value ** 0.5
        return module_pb2.CallResponse(result=struct_pb2.Value(number_value=number))


async def grpc_call(address: str) -> load.Call:
    """A unary gRPC call over a channel of its own."""
    channel = grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
    stub = module_pb2_grpc.ModuleServiceStub(channel)
    request = module_pb2.CallRequest(method="sqrt", args=[struct_pb2.Value(number_value=16)])

    async def call() -> None:
        answer = await stub.Call(request)
        if answer.result.number_value != 4:
            raise RuntimeError(f"a wrong answer: {answer}")

    return call


async def calls(system: Running) -> dict[str, dict[int, load.Result]]:
    """Each way of calling, at one connection and at sixteen; the medians of several rounds taken in turns."""
    pods = json.loads(system.request("GET", "/v1/modules/math"))["status"]["pods"]
    server = grpc.aio.server()
    module_pb2_grpc.add_ModuleServiceServicer_to_server(HandWritten(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    ways: dict[str, Callable[[], Awaitable[load.Call]]] = {
        "REST through Envoy": lambda: load.http_call(system.port, _PATH, _BODY, _ANSWER),
        "gRPC direct to the module server": lambda: grpc_call(pods[0]["address"]),
        "hand-written grpc.aio, in the generator's process": lambda: grpc_call(f"127.0.0.1:{port}"),
    }
    results: dict[str, dict[int, load.Result]] = {}
    for connections in (1, 16):
        rounds: dict[str, list[load.Result]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, make_call in ways.items():
                rounds[name].append(await load.run(make_call, connections, CALLS))
        for name, found in rounds.items():
            fields = zip(*((result.rate, result.p50, result.p99) for result in found), strict=True)
            results.setdefault(name, {})[connections] = load.Result(*map(statistics.median, fields))
    await server.stop(0)
    return results


def figures() -> tuple[Table, bool]:
    """The figures of a whole system, with their goals; and whether all goals are reached."""
    table = Table("figure", "measured", "goal", title="One machine")
    reached = True

    def row(name: str, value: float, goal: float, unit: str) -> None:
        nonlocal reached
        reached = reached and value <= goal
        table.add_row(name, f"{value:.3g} {unit}", f"≤ {goal:g} {unit}" + ("" if value <= goal else "  MISSED"))

    starts = []
    for _ in range(3):
        with running() as system:
            starts.append(system.ready_seconds)
    row("up to ready, warm", statistics.median(starts), 3, "s")
    with running() as system:
        idle = memory_of_tree(system.process.pid)
        row("memory of an idle system", sum(idle.values()), 250, "MB")
        begin = time.perf_counter()
        system.request("POST", _PATH, {"args": [16]})
        row("first call of a standard-library module", time.perf_counter() - begin, 1, "s")
        memory = memory_of_tree(system.process.pid)
        row("memory of a module server and its guest", memory["module server"] + memory["guest"], 90, "MB")
        results = asyncio.run(calls(system))
        row("p50 over REST, one connection", results["REST through Envoy"][1].p50, 3, "ms")
    row("adding a module while 200 are registered", asyncio.run(adding.measure(200, 20)), 30, "ms")
    Console().print(_calls_table(results))
    return table, reached


def _calls_table(results: dict[str, dict[int, load.Result]]) -> Table:
    table = Table(
        "math.sqrt", "connections", "calls/s", "ratio", "p50 ms", "p99 ms", title=f"Medians of {ROUNDS} rounds"
    )
    baseline = list(results.values())[-1]
    for name, by_connections in results.items():
        for connections, result in by_connections.items():
            ratio = result.rate / baseline[connections].rate
            cells = (f"{result.rate:.0f}", f"{ratio:.2f}", f"{result.p50:.2f}", f"{result.p99:.2f}")
            table.add_row(name, str(connections), *cells)
    return table


def main() -> int:
    """Measures all, prints it, and tells by the exit code whether every goal is reached."""
    table, reached = figures()
    Console().print(table)
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
