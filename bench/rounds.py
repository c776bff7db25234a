"""Measurements taken in turns, so that what changes on the machine meanwhile changes all of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import TypeVar

from bench.load import Result, Target, WrongAnswer, measure
from bench.processes import NotStarted
from bench.report import progress

ROUNDS = 5
Key = TypeVar("Key")
T = TypeVar("T")


def interleaved(
    name: str, ways: Mapping[Key, Callable[[], tuple[float, ...]]], rounds: int = ROUNDS
) -> dict[Key, tuple[float, ...] | Exception]:
    """Takes each measurement once a round; the median of each of its numbers, or why it failed."""
    found: dict[Key, list[tuple[float, ...]]] = {key: [] for key in ways}
    failed: dict[Key, Exception] = {}
    for number in range(1, rounds + 1):
        progress(f"{name}, round {number} of {rounds}")
        for key, way in ways.items():
            if key not in failed:
                try:
                    found[key].append(way())
                except (WrongAnswer, NotStarted, OSError) as failure:
                    failed[key] = failure
    return {
        key: failed[key] if key in failed else tuple(map(statistics.median, zip(*numbers, strict=True)))
        for key, numbers in found.items()
    }


def loads(
    name: str, targets: Mapping[Key, Target], in_flight: int, seconds: float = 1.2, rounds: int = ROUNDS
) -> dict[Key, Result | Exception]:
    """The load generator on each target in turns."""

    def way(target: Target) -> Callable[[], tuple[float, ...]]:
        def run() -> tuple[float, ...]:
            result = measure(target, in_flight, seconds=seconds)
            return result.rate, result.p50, result.p99

        return run

    found = interleaved(name, {key: way(target) for key, target in targets.items()}, rounds)
    return {key: value if isinstance(value, Exception) else Result(*value) for key, value in found.items()}


def ours(found: T | Exception) -> T:
    """What has been measured of ours; raises its failure."""
    if isinstance(found, Exception):
        raise found
    return found
