"""Functions that fail in each way that leaves a trace."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

SECRET = "swordfish"


def echo(value: Any) -> Any:
    return value


def says(text: str) -> str:
    print(text)
    return text


def dependent(text: str) -> None:
    print(text)
    try:
        raise KeyError(SECRET)
    except KeyError as failure:
        raise ValueError(text) from failure


def group() -> None:
    members = [ValueError("first"), ValueError("second")]
    raise ExceptionGroup("several", members)  # noqa: F821 - from Python 3.11 on


def deep(levels: int) -> None:
    """An exception whose causes, and their messages, are large."""
    try:
        if levels:
            deep(levels - 1)
    except ValueError as failure:
        raise ValueError("ü" * 2000) from failure
    raise ValueError("the first")


async def coroutine() -> None:
    raise RuntimeError("in a coroutine")


def items(count: int) -> Iterator[int]:
    yield from range(count)
    raise ValueError("after the items")


class Account:
    """An object with a method that fails."""

    def withdraw(self, amount: int) -> None:
        raise PermissionError("overdrawn")


def leave(code: int) -> None:
    os._exit(code)


def kill(number: int) -> None:
    os.kill(os.getpid(), number)


def abort() -> None:
    os.abort()


def pid() -> int:
    return os.getpid()
