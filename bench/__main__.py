"""`python -m bench [CASE …] [--short] [--full] [--write]`: measures this system and its peers, and prints tables.

What each case measured last is kept, so that `--write` makes the documentation of all of it, also if only some cases
ran. Exits with 1 if a case of ours failed; a goal that is missed, or a peer that can't be measured, is only shown.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace

from bench import document, results
from bench.cases import CASES, Case
from bench.processes import ROOT, busy_share
from bench.results import Run, progress

SHORT = """\
Shortened, so these figures mean nothing and are not kept: one round of 0.2 s instead of 3 to 5 of 1.5 s, one start of
each kind, 1,000 calls for memory. Left out: Ray Serve without HAProxy, and gRPC of all but hand-written services."""


def main() -> int:
    """Measure the chosen cases and print them."""
    parser = argparse.ArgumentParser(prog="bench", description="Measures this system and its peers.")
    parser.add_argument("case", nargs="*", help=f"of {', '.join(CASES)} (default: all)")
    parser.add_argument("--short", action="store_true", help="only try whether every case works; for CI")
    parser.add_argument("--full", action="store_true", help="memory: 1,000,000 calls and 100,000 objects")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md, its plot and README's table")
    options = parser.parse_args()
    if unknown := set(options.case) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}; known cases: {', '.join(CASES)}")
    if options.write and options.short:
        parser.error("--short measures nothing that --write could write")
    chosen = {name: CASES[name] for name in options.case or CASES}
    kept = {} if options.short else results.load(results.STORE)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that what it started is stopped
    failed = measure(chosen, kept, Run(options.short, options.full))
    if options.short:
        print(f"\n{SHORT}")
    elif options.write:
        document.write(kept)
    for name, why in failed.items():
        print(f"\nFAILED {name}: {why}")
    return 1 if failed else 0


def measure(cases: Mapping[str, Case], kept: results.Cases, settings: Run) -> dict[str, str]:
    """Measure each case, print its table and keep it; returns why cases failed, by their names."""
    failed = {}
    for name, case in cases.items():
        progress(name)
        run = replace(settings, rows=[])
        busy = busy_share()
        try:
            case.run(run)
        except Exception as failure:  # noqa: BLE001 - the other cases are measured all the same
            failed[name] = f"{type(failure).__name__}: {failure}"
            progress(f"{name} FAILED: {failed[name]}")
            continue
        columns = results.HEAD[:4] if run.is_short else results.HEAD
        print(f"\n## {case.title}\n\n{results.table(run.rows, columns)}", flush=True)
        if not run.is_short:
            kept[name] = {"rows": run.rows, "date": time.strftime("%Y-%m-%d"), "revision": revision(), "busy": busy}
            results.save(results.STORE, kept)
    return failed


def revision() -> str:
    """Return the commit that is measured, with a mark if it was changed since."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
