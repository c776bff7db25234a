"""How every client takes its times; standard library and NumPy only, for it runs in each peer's environment."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any


def times(function: Callable[[], Any], expected: Any, seconds: float) -> float:
    """The median of the seconds that the function takes, called for so long, but three times at least."""
    found: list[float] = []
    for _ in range(2):
        function()
    end = time.perf_counter() + seconds
    while len(found) < 3 or time.perf_counter() < end:
        begin = time.perf_counter()
        result = function()
        found.append(time.perf_counter() - begin)
        if result != expected:
            raise SystemExit(f"{result} and not {expected}")
    return statistics.median(found)


def array_of(megabytes: int) -> Any:
    """An array of random floats, so that nobody can compress it."""
    import numpy as np  # type: ignore[import-not-found]  # noqa: PLC0415

    return np.random.default_rng(1).random(megabytes * 131072)


def printed(*numbers: float) -> None:
    """Tells the benchmark what has been found."""
    print(json.dumps(numbers))
