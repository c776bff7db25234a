"""Generators of all kinds, and what became of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

_state = {"produced": 0, "closed": 0}


def state() -> dict[str, int]:
    return dict(_state)


def count(n: int) -> Iterator[int]:
    yield from range(n)


def fails_after(n: int) -> Iterator[int]:
    yield from range(n)
    raise ValueError("no more")


def large(n: int, size: int) -> Iterator[str]:
    try:
        for _ in range(n):
            _state["produced"] += 1
            yield "x" * size
    finally:
        _state["closed"] += 1


def wait(seconds: float) -> str:
    time.sleep(seconds)
    return "done"


def slow(seconds: float) -> Iterator[int]:
    try:
        yield 0
        time.sleep(seconds)
        yield 1
    finally:
        _state["closed"] += 1


async def ticks(n: int, pause: float = 0.0) -> AsyncIterator[int]:
    try:
        for i in range(n):
            yield i
            await asyncio.sleep(pause)
    finally:
        await asyncio.sleep(0)
        _state["closed"] += 1


def odd() -> Iterator[Any]:
    yield 1
    yield object()


def plain() -> list[int]:
    return [1, 2]


def text() -> str:
    return "text"
