"""How every client takes its times; standard library and NumPy only, as it runs in each peer's environment."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any


def times(function: Callable[[], Any], expected: Any, seconds: float) -> float:
    """Return the median of the seconds that the function takes, called for so long, and at least three times.

    With BENCH_SHORT it is called once.
    """
    is_short = bool(os.environ.get("BENCH_SHORT"))
    found: list[float] = []
    for _ in range(0 if is_short else 2):
        function()
    end = time.perf_counter() + seconds
    while not found or (not is_short and (len(found) < 3 or time.perf_counter() < end)):
        begin = time.perf_counter()
        result = function()
        found.append(time.perf_counter() - begin)
        if result != expected:
            raise SystemExit(f"{result} and not {expected}")
    return statistics.median(found)


def array_of(megabytes: int) -> Any:
    """Return an array of random floats, which can't be compressed."""
    import numpy as np  # type: ignore[import-not-found]  # noqa: PLC0415

    return np.random.default_rng(1).random(megabytes * 131072)


def is_same(received: Any, sent: Any) -> bool:
    """Return whether an array came back; by its ends, since comparing everything would take longer than sending it."""
    return received.shape == sent.shape and bool(received[0] == sent[0] and received[-1] == sent[-1])


def printed(*numbers: float) -> None:
    """Report to the benchmark what was found."""
    print(json.dumps(numbers))
