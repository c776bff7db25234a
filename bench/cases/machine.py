"""What one machine needs: time to start, time to a first answer, memory."""

from __future__ import annotations

import asyncio
import json
import statistics
import time

from bench import adding
from bench.cases import throughput
from bench.load import measure
from bench.processes import megabytes, role, tree
from bench.results import Run
from bench.system import running


def run(run: Run) -> None:
    """Measure each."""
    starts = []
    for _ in range(run.rounds(3)):
        with running() as system:
            starts.append(system.ready_seconds)
    run.figure("`jac-orc up` to ready, warm", statistics.median(starts), "s", most=3)
    with running() as system:
        idle = {pid: megabytes(pid) for pid in tree(system.process.pid)}
        run.figure("memory of an idle system", sum(idle.values()), "MB", most=250)
        begin = time.perf_counter()
        answer = system.request("POST", "/run_module?module_name=math&method_name=sqrt", {"args": [16]})
        run.figure("first call of a standard-library module", time.perf_counter() - begin, "s", most=1)
        if json.loads(answer) != {"result": 4.0}:
            raise RuntimeError(f"a wrong answer: {answer!r}")
        size = sum(megabytes(pid) for pid in tree(system.process.pid) if role(pid) in ("module server", "guest"))
        run.figure("memory of a module server and its guest", size, "MB", most=90)
        rest = throughput.targets(system)["http"]
        seconds = 0.2 if run.is_short else 1.5
        run.figure("REST, one connection, p50", measure(rest, 1, seconds=seconds).p50, "ms", most=3)
    added = asyncio.run(adding.measure(*((20, 2) if run.is_short else (200, 20))))
    run.figure("adding a module while 200 are registered", added, "ms", most=30)
