"""Plain functions, and ones that fail in each way there is."""

from __future__ import annotations

import asyncio
import collections
import os
import sys
from typing import Any

__version__ = "1.2.3"
LIMIT = 10
_calls: list[str] = []


def add(a: int, b: int = 2) -> int:
    """Adds."""
    _calls.append("add")
    return a + b


def echo(*args: Any, **kwargs: Any) -> Any:
    return [list(args), kwargs]


def positional(a: Any, /, b: Any = 1) -> Any:
    return [a, b]


def only_named(*, a: Any) -> Any:
    return a


def total(numbers: list[float]) -> float:
    _calls.append("total")
    return sum(numbers)


def calls() -> list[str]:
    return _calls


def type_of(value: Any) -> str:
    return type(value).__name__


def find(obj_id: str) -> str:
    return "found " + obj_id


def text(characters: int) -> str:
    return "x" * characters


def big_int(digits: int) -> int:
    return int(10**digits + 1)


def nan() -> float:
    return float("nan")


def ordered() -> dict[str, int]:
    return collections.OrderedDict(b=1, a=2)


def nothing() -> None:
    pass


def opaque() -> object:
    return object()


def numbers(count: int) -> Any:
    yield from range(count)


async def async_add(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


async def stuck_coroutine() -> None:
    while True:
        pass


async def exit_coroutine() -> None:
    sys.exit(3)


async def patient_coroutine(file: str) -> None:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        with open(file, "w") as marker:
            marker.write("cancelled")
        raise


def variable(name: str) -> str | None:
    return os.environ.get(name)


def pid() -> int:
    return os.getpid()


def says(text: str) -> None:
    print(text)
    print(text.upper(), file=sys.stderr)


class Shape:
    """A shape."""

    sides = 3

    def __init__(self, name: str) -> None:
        self.name = name

    @staticmethod
    def count(sides: int) -> int:
        return sides


class CustomError(Exception):
    pass


class PriceError(CustomError, LookupError):
    pass


class OpaqueError(ValueError):
    """Whose every attribute is code that fails."""

    def __getattribute__(self, name: str) -> None:
        raise RuntimeError(name)


class Fence(type):
    def __getattribute__(cls, name: str) -> None:
        raise RuntimeError(name)


class FencedError(KeyError, metaclass=Fence):
    pass


class LyingError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    @property
    def __notes__(self) -> list[str]:
        raise RuntimeError("no notes")

    def __reduce__(self) -> str:
        raise RuntimeError("no pickle")


class Base(BaseException):
    pass


KINDS: dict[str, BaseException] = {
    "lying": LyingError(),
    "opaque": OpaqueError("its text"),
    "fenced": FencedError("its text"),
    "price": PriceError("no price"),
    "custom": CustomError("custom"),
    "base": Base("base"),
    "exit": SystemExit(3),
    "interrupt": KeyboardInterrupt(),
    "stop": StopIteration(5),
    "cancelled": asyncio.CancelledError(),
    "surrogate": ValueError("\ud800"),
    "empty": ValueError(),
    "memory": MemoryError(),
}


def fails(kind: str) -> None:
    known = KINDS.get(kind)
    raise known if known is not None else getattr(__builtins__, kind, None) or __builtins__[kind]("it failed")


def fails_deep(text: str, levels: int) -> None:
    """Raises an exception whose text is long, from another one, and so on."""
    try:
        if levels:
            fails_deep(text, levels - 1)
    except ValueError as failure:
        raise ValueError(text) from failure
    failure = ValueError(text)
    failure.add_note("a note")
    raise failure


def own_type_error() -> None:
    add("a", 1)  # type: ignore[arg-type]


def wrong_inner_call() -> None:
    add()  # type: ignore[call-arg]
