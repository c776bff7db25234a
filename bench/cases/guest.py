"""The hop to the guest: a module server against the same server with the function in its own process."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

from bench.cases.trivial import grpc_target
from bench.processes import hand_written, module_server
from bench.report import Report
from bench.rounds import loads, ours


def run(report: Report) -> None:
    """Measures it at sixteen calls in flight and at one."""
    with ExitStack() as stack:
        ports = {kind: stack.enter_context(hand_written(kind)).port for kind in ("threads", "inline")}
        ports["guest"] = stack.enter_context(module_server("math", Path(sys.executable))).port
        targets = {name: grpc_target(port) for name, port in ports.items()}
        busy = {name: ours(result) for name, result in loads("guest, 16 in flight", targets, 16).items()}
        alone = {name: ours(result) for name, result in loads("guest, 1 in flight", targets, 1).items()}
    guest, case = busy["guest"].rate, "guest hop, gRPC Call, 16 in flight"
    report.ratio(case, "grpc.aio, function in its thread pool", guest, busy["threads"].rate, "calls/s", least=1.0)
    report.ratio(case, "grpc.aio, function on its loop", guest, busy["inline"].rate, "calls/s", least=0.8)
    p50 = {name: result.p50 * 1000 for name, result in alone.items()}
    case = "guest hop, p50 at one in flight"
    report.difference(case, "grpc.aio, function on its loop", p50["guest"], p50["inline"], "µs", most=100)
