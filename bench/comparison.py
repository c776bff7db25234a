"""Measures ours and its peers in turns, so that a change of the machine's load affects them all."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from bench.environments import NotInstalled
from bench.load import Target, WrongAnswer, measure
from bench.processes import NotStarted
from bench.results import Row, Run, progress

ROUNDS = 5
IN_FLIGHT = 16
Numbers = tuple[float, ...]
Way = Callable[[], Numbers]
_FAULTS = (NotInstalled, NotStarted, WrongAnswer, OSError, subprocess.SubprocessError)


class Comparison(ExitStack):
    """Compares one or more ways of ours with those of peers. Ends what was entered.

    A fault of a peer becomes the peer's row. A fault of ours, or of a peer that is our own code, is raised.
    """

    def __init__(self, run: Run, name: str, rounds: int = ROUNDS) -> None:
        super().__init__()
        self.run = run
        self._name = name
        self._rounds = run.rounds(rounds)
        self.ways: dict[str, Way] = {}
        self._peers: set[str] = set()
        self._faults: dict[str, list[Exception]] = {}
        self._found: dict[str, list[Numbers]] = {}

    @contextlib.contextmanager
    def peer(self, name: str) -> Iterator[None]:
        """Surrounds the start of software that isn't ours; its way has the same name."""
        progress(f"{self._name}: starting {name}")
        self._peers.add(name)
        try:
            yield
        except _FAULTS as fault:
            self._failed(name, fault)

    def loading(self, target: Target, in_flight: int = IN_FLIGHT) -> Way:
        """Return the load generator as a way: calls per second, median and 99th percentile in ms."""
        seconds = {"seconds": 0.2, "warm_up": 0.1} if self.run.is_short else {"seconds": 1.5}

        def way() -> Numbers:
            result = measure(target, in_flight, **seconds)
            return result.rate, result.p50, result.p99

        return way

    def compare(self) -> None:
        """Take each measurement once a round. A peer that fails in two rounds is left out of the others."""
        self._found = {name: [] for name in self.ways}
        for number in range(1, self._rounds + 1):
            progress(f"{self._name}, round {number} of {self._rounds}")
            for name, way in self.ways.items():
                if name not in self._peers:
                    self._found[name].append(way())
                elif len(self._faults.get(name, ())) < 2:
                    try:
                        self._found[name].append(way())
                    except _FAULTS as fault:
                        self._failed(name, fault)

    def _failed(self, name: str, fault: Exception) -> None:
        progress(f"{name}: {fault}")
        self._faults.setdefault(name, []).append(fault)

    def numbers(self, name: str = "ours") -> Numbers:
        """Return the medians of what a way gave; empty if the peer could not be measured."""
        return tuple(map(statistics.median, zip(*self._found.get(name, ()), strict=True)))

    def ratio(
        self, what: str, peer: str, unit: str, index: int = 0, *, convert: Callable[[float], float] = float,
        least: float | None = None, most: float | None = None, headline: bool = False,
    ) -> None:  # fmt: skip
        """Add a row that compares ours with a peer's number at `index`, both converted to the unit."""
        own, theirs = convert(self.numbers()[index]), self.numbers(peer)
        value, why = (convert(theirs[index]), "") if theirs else (None, self._faults[peer][-1])
        text = " ".join(str(why).replace("|", "/").split())[:90]  # a cell of a table
        self.run.rows.append(Row(what, peer, own, value, unit, least, most, text, headline))
