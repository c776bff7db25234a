"""What a benchmark has found: rows with their goals, printed as one table."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

_BEGIN = time.monotonic()


def progress(text: str) -> None:
    """Tells what is being done, with the seconds since the start."""
    print(f"bench {time.monotonic() - _BEGIN:4.0f} s: {text}", file=sys.stderr, flush=True)


@dataclass
class Report:
    """The rows of the table, and whether everything of ours could be measured."""

    rows: list[tuple[str, ...]] = field(default_factory=list)
    complete: bool = True

    def ratio(
        self, case: str, against: str, ours: float, theirs: float, unit: str, *,
        least: float | None = None, most: float | None = None,
    ) -> None:  # fmt: skip
        """A row whose goal is a ratio, at least (of rates) or at most (of times)."""
        found = ours / theirs
        if least is not None:
            goal, reached = f"≥ {least:g}x", found >= least
        else:
            assert most is not None
            goal, reached = f"≤ {most:g}x", found <= most
        self._add(case, against, _text(ours, unit), _text(theirs, unit), f"{found:.2f}x", goal, reached)

    def difference(self, case: str, against: str, ours: float, theirs: float, unit: str, *, most: float) -> None:
        """A row whose goal is how much more ours may be."""
        goal, reached = f"≤ +{most:g} {unit}", ours - theirs <= most
        self._add(case, against, _text(ours, unit), _text(theirs, unit), f"{ours - theirs:+.0f} {unit}", goal, reached)

    def figure(self, case: str, ours: float, unit: str, *, most: float) -> None:
        """A row without a peer."""
        self._add(case, "", _text(ours, unit), "", "", f"≤ {most:g} {unit}", ours <= most)

    def plain(self, case: str, what: str, ours: float, unit: str) -> None:
        """A row without a goal."""
        self.rows.append((case, what, _text(ours, unit), "", "", "", ""))

    def unavailable(self, case: str, against: str, why: str) -> None:
        """A row for a peer that could not be measured."""
        progress(f"{against}: {why}")
        self.rows.append((case, against, "", f"[dim]{_plain(why)[:60]}[/dim]", "", "", "not measured"))

    def failed(self, case: str, why: str) -> None:
        """A row for a case in which ours could not be measured."""
        progress(f"{case} FAILED: {why}")
        self.complete = False
        self.rows.append((case, "", f"[red]{_plain(why)[:60]}[/red]", "", "", "", "[red]FAILED[/red]"))

    def _add(self, case: str, against: str, ours: str, theirs: str, found: str, goal: str, reached: bool) -> None:
        verdict = "[green]reached[/green]" if reached else "[red]MISSED[/red]"
        self.rows.append((case, against, ours, theirs, found, goal, verdict))

    def print(self) -> None:
        """Prints the table."""
        table = Table(title="Against the peers, medians of interleaved rounds")
        table.add_column("case", max_width=40)
        table.add_column("against", max_width=40)
        for name in ("ours", "theirs", "ratio", "goal"):
            table.add_column(name, justify="right")
        table.add_column("")
        previous = ""
        for case, *cells in self.rows:
            if case != previous and previous:
                table.add_section()
            table.add_row("" if case == previous else case, *cells)
            previous = case
        Console(width=None if sys.stdout.isatty() else 160).print(table)


def _text(value: float, unit: str) -> str:
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def _plain(text: str) -> str:
    return text.replace("[", r"\[")
