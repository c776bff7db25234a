"""Calls that take their time."""

import asyncio
import time
from collections.abc import Iterator


def nap(seconds: float) -> float:
    """Sleeps where nothing can interrupt it."""
    print(f"napping {seconds}")
    time.sleep(seconds)
    return seconds


def spin(seconds: float) -> float:
    """Works in Python, step by step."""
    print(f"spinning {seconds}")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return seconds


async def rest(seconds: float) -> float:
    """Waits as a coroutine."""
    print(f"resting {seconds}")
    await asyncio.sleep(seconds)
    return seconds


def steps(count: int, pause: float) -> Iterator[int]:
    """Gives a number after each pause."""
    for number in range(count):
        time.sleep(pause)
        yield number
