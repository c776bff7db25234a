"""From nothing to the first answer: new modules, new environments, new code, more pods."""

from __future__ import annotations

import base64
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uv

from bench.processes import megabytes, role, tree
from bench.results import Row, Run
from bench.system import Running, running

LIGHT = "statistics fractions colorsys string heapq bisect textwrap difflib cmath graphlib".split()
PACKAGE = "numpy"
ROUNDS = 3
_REFILLED = 1.5  # seconds after which a spare is there again
_PRICE = "def price(pieces):\n    return {factor} * pieces\n"


def run(run: Run) -> None:
    """Measure each; a package next to the installer's own commands, with its cache warm for both."""
    for spares, what, most in ((1, "with a spare", 100), (0, "without a spare", 180)):
        with running(spares=spares) as system:
            time.sleep(_REFILLED)
            times = []
            for name in LIGHT[: 1 if run.is_short else None]:
                times.append(_timed(_create, system, name) * 1000)
                time.sleep(_REFILLED if spares else 0.2)
        case = f"create to first answer, standard library, {what}"
        run.figure(case, statistics.median(times), "ms", most=most, headline=not spares)
    with running() as system:
        _create(system, "math")
        replicas = 2 if run.is_short else 8
        scaled = _timed(system.request, "POST", "/v1/modules/math:scale", {"replicas": replicas})
        run.figure(f"scale 1 to {replicas} pods of a light module", scaled, "s", most=1)
    _package(run)
    _source(run)
    with running() as system:
        _create(system, "cmath")
        time.sleep(run.rounds(2))
        run.figure("idle light module: PSS of server and guest", _proportional(system), "MB", most=70)


def _timed(action: Callable[..., object], *arguments: object) -> float:
    begin = time.perf_counter()
    action(*arguments)
    return time.perf_counter() - begin


def _create(system: Running, name: str) -> None:
    """Create the module and wait for an answer of it."""
    system.request("POST", f"/create_pod/{name}", {})
    system.request("GET", f"/v1/modules/{name}:describe")


def _package(run: Run) -> None:
    """A package whose wheels are in the installer's cache: with and without an environment that has it."""
    ours, theirs, again, imports = [], [], [], []
    for _ in range(run.rounds(ROUNDS)):
        with tempfile.TemporaryDirectory(prefix="jac-bench-") as directory:
            python = Path(directory, "by-hand", "bin", "python")
            theirs.append(_timed(_by_hand, python))
            imports.append(_timed(_import, python))
            with running(spares=1, cache=Path(directory, "cache")) as system:  # as `jac-orc up` has it
                time.sleep(_REFILLED)
                ours.append(_timed(_create, system, PACKAGE))
                time.sleep(_REFILLED)
                system.request("DELETE", f"/delete_pod/{PACKAGE}")
                again.append(_timed(_create, system, PACKAGE))
    of_ours, of_theirs, imported = map(statistics.median, (ours, theirs, imports))
    by_hand = "uv venv, uv pip install, import"
    run.rows.append(Row(f"{PACKAGE} from nothing", by_hand, of_ours, of_theirs, "s", most=1.3, headline=True))
    most = round(0.2 + imported, 3)
    run.figure(f"{PACKAGE} again: 0.2 s and its import", statistics.median(again), "s", most=most)


def _by_hand(python: Path) -> None:
    subprocess.run([uv.find_uv_bin(), "venv", "-q", "--python", sys.executable, str(python.parent.parent)], check=True)
    subprocess.run([uv.find_uv_bin(), "pip", "install", "-q", "--python", str(python), PACKAGE], check=True)
    _import(python)


def _import(python: Path) -> None:
    subprocess.run([str(python), "-I", "-c", f"import {PACKAGE}"], check=True)


def _source(run: Run) -> None:
    """A change of the user's own code until the new code answers."""
    with running(spares=1) as system:
        times = []
        for factor in range(1, 3 if run.is_short else 8):
            begin = time.perf_counter()
            files = {"shop.py": _base64(_PRICE.format(factor=factor))}
            spec = {"source": {"files": {"contents": files}}}
            if factor == 1:
                system.request("POST", "/v1/modules", {"module_name": "shop", **spec})
                continue
            system.request("PATCH", "/v1/modules/shop?wait=false", spec)
            while f'"result":{factor}}}'.encode() not in system.request("POST", "/modules/shop/price", {"pieces": 1}):
                time.sleep(0.005)
            times.append(time.perf_counter() - begin)
            time.sleep(_REFILLED)
        run.figure("source change to new code answering", statistics.median(times), "s", most=1)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _proportional(system: Running) -> float:
    """Return the proportional set size in MB of the one module server and its guest: shared pages count once in all."""
    pids = [pid for pid in tree(system.process.pid) if role(pid) in ("module server", "guest")]
    return sum(megabytes(pid, "Pss", "smaps_rollup") for pid in pids)
