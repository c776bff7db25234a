"""What tests of several kinds share: waiting for a condition, and seeing what a test leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

SERVICES = Path(__file__).parents[1] / "services"
GUESTS = Path(__file__).parent / "guests"


async def eventually(condition: Callable[[], T], seconds: float = 10.0) -> T:
    """What the condition tells once it is true; fails the test when that doesn't come to be in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it didn't come true in time"
        await asyncio.sleep(0.01)
    return value


async def next_where(stream: AsyncIterator[T], condition: Callable[[T], bool], seconds: float = 10.0) -> T:
    """The stream's first item that meets the condition."""
    async with asyncio.timeout(seconds):
        async for item in stream:
            if condition(item):
                return item
    raise AssertionError("the stream has ended")


def children(pid: int) -> set[int]:
    """The process ids of a process's children."""
    found: set[int] = set()
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError):  # of a thread that has just ended
            found |= {int(child) for child in file.read_text().split()}
    return found


def running(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits for its parent doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def own_children() -> set[int]:
    """The process ids of this process's children that run."""
    return {pid for pid in children(os.getpid()) if running(pid)}
