"""What was measured: rows with their goals, kept by case in `.build/bench/results.json`, and written as tables."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.processes import ROOT

STORE = ROOT / ".build" / "bench" / "results.json"
HEAD = ("case", "against", "ours", "theirs", "ratio", "goal", "reached")
Cases = dict[str, dict[str, Any]]
"""What each case measured last: its `rows`, and when and on what: `date`, `revision` and `busy`, a share of 1."""
_BEGIN = time.monotonic()


def progress(text: str) -> None:
    """Show on standard error what the benchmark does, with the seconds since its start."""
    print(f"bench {time.monotonic() - _BEGIN:4.0f} s: {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Row:
    """A line of a table. A goal holds for the ratio if there is a peer, and for our figure if there is none."""

    what: str
    against: str = ""
    ours: float | None = None
    theirs: float | None = None
    unit: str = ""
    least: float | None = None
    most: float | None = None
    why: str = ""
    """Why it could not be measured."""
    headline: bool = False
    """Whether the README shows it."""

    @property
    def value(self) -> float | None:
        """What the goal holds for."""
        return self.ours if self.ours is None or self.theirs is None else self.ours / self.theirs

    @property
    def cells(self) -> tuple[str, ...]:
        """The texts of the columns in HEAD."""
        unit = "" if self.against else f" {self.unit}"
        goal = f"≥ {self.least:g}{unit}" if self.least is not None else ""
        goal = f"≤ {self.most:g}{unit}" if self.most is not None else goal
        ratio = f"{self.value:.2f}" if self.theirs is not None else ""
        numbers = (_text(self.ours, self.unit), self.why or _text(self.theirs, self.unit), ratio)
        return (self.what, self.against, *numbers, goal, self._verdict if goal or self.why else "")

    @property
    def _verdict(self) -> str:
        if self.why or self.value is None:
            return "not measured"
        reached = self.value >= self.least if self.least is not None else self.value <= (self.most or 0)
        return "yes" if reached else "**no**"


@dataclass
class Run:
    """One run of a case, which adds its rows."""

    is_short: bool = False
    is_full: bool = False
    rows: list[Row] = field(default_factory=list)

    def rounds(self, count: int) -> int:
        """How many rounds to make if `count` are usual."""
        return 1 if self.is_short else count

    def figure(self, what: str, ours: float, unit: str, *, most: float | None = None, headline: bool = False) -> None:
        """Add a row without a peer."""
        self.rows.append(Row(what, ours=ours, unit=unit, most=most, headline=headline))


def load(path: Path) -> Cases:
    """Return what was measured last."""
    cases = json.loads(path.read_text()) if path.exists() else {}
    return {name: {**case, "rows": [Row(**row) for row in case["rows"]]} for name, case in cases.items()}


def save(path: Path, cases: Cases) -> None:
    """Replace what was measured last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(cases, indent=1, default=asdict))
    partial.replace(path)


def table(rows: Iterable[Row], columns: Iterable[str] = HEAD) -> str:
    """Write rows as a Markdown table; columns that no row has are left out, and so is a case repeated below itself."""
    lines = [dict(zip(HEAD, row.cells, strict=True)) for row in rows]
    shown = [name for name in columns if any(line[name] for line in lines)]
    previous = ""
    for line in lines:
        previous, line["case"] = line["case"], "" if line["case"] == previous else line["case"]
    texts = [shown, ["---" if name in ("case", "against") else "--:" for name in shown]]
    texts += [[line[name] for name in shown] for line in lines]
    return "\n".join(f"| {' | '.join(text)} |" for text in texts)


def _text(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
