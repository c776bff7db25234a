"""A module whose `__all__` has names that it makes when they are asked for, and one that it hasn't."""

from typing import Any

__all__ = ["Gone", "broken", "eager", "lazy"]


def eager() -> None: ...


def __getattr__(name: str) -> Any:
    if name == "lazy":
        return lambda x: x
    if name == "broken":
        raise ImportError("an extra is missing")
    raise AttributeError(name)
