"""Functions that take their time, each with a trace of how far it came."""

from __future__ import annotations

import asyncio
import atexit
import os
import re
import threading
import time
from collections.abc import Iterator

_lock = threading.Lock()
_running: list[None] = []
_counts = [0]


def pid() -> int:
    return os.getpid()


def pid_after(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def at_once(seconds: float) -> None:
    """Notes how many run it at the same time."""
    with _lock:
        _running.append(None)
        _counts.append(len(_running))
    try:
        time.sleep(seconds)
    finally:
        _running.pop()


def most_at_once() -> int:
    return max(_counts)


def until(file: str) -> str:
    """Return once the file exists; another one shows that this has begun."""
    with open(file + ".begun", "w"):
        pass
    while not os.path.exists(file):
        time.sleep(0.01)
    return "done"


_meetings: dict[int, threading.Barrier] = {}


def meet(count: int) -> bool:
    """Return True once so many calls of this run at the same time."""
    return _meetings.setdefault(count, threading.Barrier(count)).wait(30) < count


def loop(file: str) -> None:
    """Runs until it is interrupted, of which it leaves a trace."""
    try:
        with open(file + ".started", "w"):
            pass
        while True:
            time.sleep(0.005)
    finally:
        with open(file, "w") as marker:
            marker.write("interrupted")


async def fail_later() -> None:
    raise ValueError("later")


def hold_the_interpreter(file: str) -> None:
    """For many years, in C code, so that no other thread of the process runs; the file shows that it has begun."""
    with open(file, "w"):
        pass
    re.match("(a+)+$", "a" * 60 + "b")


def stubborn(file: str, end: str = "/nowhere/at/all") -> None:
    """Can't be interrupted; the file shows that it has begun. Returns once the other file exists."""
    with open(file, "w") as marker:
        marker.write(str(os.getpid()))
    while not os.path.exists(end):
        try:
            time.sleep(0.05)
        except BaseException:
            pass


def items(file: str) -> Iterator[str]:
    """Gives one item, and another once the file exists."""
    yield "begun"
    yield until(file)


async def rest(file: str) -> str:
    """As `until`, as a coroutine."""
    with open(file + ".begun", "w"):
        pass
    while not os.path.exists(file):
        await asyncio.sleep(0.01)
    return "done"


def note_the_end(file: str) -> None:
    """Have the end of the interpreter leave a trace."""
    atexit.register(lambda: open(file, "w").close())
