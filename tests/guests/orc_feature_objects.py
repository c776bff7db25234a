"""Values that stay in the pod."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import os
import threading
import time
import types
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

_alive: weakref.WeakSet[Any] = weakref.WeakSet()


class Counter:
    """Counts."""

    def __init__(self, start: int = 0) -> None:
        self.value = start
        self.entered = 0
        _alive.add(self)

    def add(self, more: int = 1) -> int:
        self.value += more
        return self.value

    def same(self) -> Counter:
        return self

    async def later(self) -> int:
        return self.value

    def numbers(self) -> Iterator[int]:
        yield from range(self.value)

    def _secret(self) -> int:
        return 42

    def __call__(self, factor: int) -> int:
        return self.value * factor

    def __len__(self) -> int:
        return self.value

    def __getitem__(self, index: int) -> int:
        if index >= self.value:
            raise IndexError(index)
        return index * 10

    def __enter__(self) -> Counter:
        self.entered += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.entered -= 1

    def __add__(self, other: Any) -> Any:
        return Counter(self.value + getattr(other, "value", other))

    def __repr__(self) -> str:
        return f"Counter({self.value})"


class BadRepr:
    def __repr__(self) -> str:
        raise ValueError("no text")


class array:  # noqa: N801 - a name that reprlib takes for array.array's
    def __repr__(self) -> str:
        return "mine"


class Blob:
    """Says that it is large."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __sizeof__(self) -> int:
        return self.size


def alive() -> int:
    return len(_alive)


def value_of(counter: Counter) -> int:
    return counter.value


def total(*counters: Counter) -> int:
    return sum(counter.value for counter in counters)


def nested() -> Any:
    return {"a": [Counter(1), 2], "b": 3}


def many(count: int) -> list[Counter]:
    return [Counter(index) for index in range(count)]


def cycle() -> Any:
    loop: list[Any] = [1]
    loop.append(loop)
    return loop


def deep(levels: int) -> Any:
    value: Any = "bottom"
    for _ in range(levels):
        value = [value]
    return value


def generator(count: int) -> Iterator[int]:
    yield from range(count)


async def async_generator(count: int) -> AsyncIterator[int]:
    for index in range(count):
        yield index


def module() -> types.ModuleType:
    return threading


def frame() -> Any:
    import sys

    return sys._getframe()


def evaluator() -> Any:
    return eval


def function() -> Any:
    return value_of


def thread_name() -> str:
    return threading.current_thread().name


class Colour(enum.Enum):
    RED = "r"


class Point(NamedTuple):
    x: int
    y: int = 0


@dataclasses.dataclass
class Order:
    day: datetime.date
    price: decimal.Decimal
    items: list[Point] = dataclasses.field(default_factory=list)


def order(given: Order) -> Any:
    return [type(given).__name__, str(given.day), str(given.price), [type(item).__name__ for item in given.items]]


def kinds(raw: bytes, when: datetime.datetime, colour: Colour, more: decimal.Decimal | None = None) -> list[str]:
    return [type(value).__name__ for value in (raw, when, colour, more)]


def same(value: Any) -> Any:
    return value


def same_order(value: Order) -> Order:
    return value


def type_of(value: Any) -> str:
    return type(value).__name__


def slow(seconds: float, value: Any = None) -> Any:
    time.sleep(seconds)
    return value


def until(file: str, value: Any = None) -> Any:
    """Return the value once the file exists; another one shows that this has begun."""
    with open(file + ".begun", "w"):
        pass
    while not os.path.exists(file):
        time.sleep(0.005)
    return value


_meetings: dict[int, threading.Barrier] = {}


def meet(count: int) -> bool:
    """Return True once so many calls of this run at the same time."""
    return _meetings.setdefault(count, threading.Barrier(count)).wait(30) < count


def fails(message: str) -> None:
    raise ValueError(message)


def spins() -> None:
    while True:
        pass
