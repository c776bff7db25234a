"""`python -m bench [CASE …] [--full]`: prints what the system costs, beside its goals and beside its peers.

Ratios are taken in one run, in turns, since absolute figures don't hold from one machine to the next. Exits with 1
where something of ours could not be measured; a goal that is missed is shown as such.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable

from bench import adding
from bench.cases import arrays, cold, documents, guest, memory, session, stages, streams, trivial
from bench.load import measure
from bench.report import Report, progress
from bench.system import memory_of_tree, running

CASES: dict[str, Callable[[Report], None]] = {
    "cold": cold.run,
    "rest": lambda report: trivial.run(report, {"rest"}),
    "grpc": lambda report: trivial.run(report, {"grpc"}),
    "stages": stages.run,
    "guest": guest.run,
    "session": session.run,
    "arrays": arrays.run,
    "json": documents.run,
    "stream": streams.run,
}


def machine(report: Report) -> None:
    """What one machine needs: time to start, time to a first answer, memory."""
    starts = []
    for _ in range(3):
        with running() as system:
            starts.append(system.ready_seconds)
    report.figure("up to ready, warm", statistics.median(starts), "s", most=3)
    with running() as system:
        idle = memory_of_tree(system.process.pid)
        report.figure("memory of an idle system", sum(idle.values()), "MB", most=250)
        begin = time.perf_counter()
        answer = system.request("POST", "/run_module?module_name=math&method_name=sqrt", {"args": [16]})
        report.figure("first call of a standard-library module", time.perf_counter() - begin, "s", most=1)
        if json.loads(answer) != {"result": 4.0}:
            raise RuntimeError(f"a wrong answer: {answer!r}")
        found = memory_of_tree(system.process.pid)
        size = found["module server"] + found["guest"]
        report.figure("memory of a module server and its guest", size, "MB", most=90)
        rest = trivial.targets(system)["rest"]
        report.figure("p50 over REST, one connection", measure(rest, 1).p50, "ms", most=3)
    added = asyncio.run(adding.measure(200, 20))
    report.figure("adding a module while 200 are registered", added, "ms", most=30)


def main() -> int:
    """Measures the chosen cases and prints them."""
    parser = argparse.ArgumentParser(prog="bench", description="Measures this system and its peers.")
    parser.add_argument("case", nargs="*", help=f"of {', '.join(['machine', *CASES, 'memory'])}; none: all")
    parser.add_argument("--full", action="store_true", help="memory: 1,000,000 calls and 100,000 objects")
    options = parser.parse_args()
    cases = {"machine": machine, **CASES, "memory": lambda report: memory.run(report, options.full)}
    unknown = set(options.case) - set(cases)
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    report = Report()
    try:
        for name in options.case or cases:
            progress(name)
            try:
                cases[name](report)
            except Exception as failure:  # noqa: BLE001 - whatever it is, the other cases are measured
                report.failed(name, f"{type(failure).__name__}: {failure}")
    finally:  # with Ctrl-C, too, what has been measured is told
        report.print()
    return 0 if report.complete else 1


if __name__ == "__main__":
    sys.exit(main())
