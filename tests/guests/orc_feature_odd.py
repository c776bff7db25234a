"""Members that don't like to be described."""

from __future__ import annotations

from typing import Any


def fine() -> int:
    return 1


class OddDefault:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def odd_default(a: Any = OddDefault()) -> None:  # noqa: B008
    pass


def odd_docs() -> None:
    pass


odd_docs.__doc__ = 5  # type: ignore[assignment]


class _Doubled:
    """A callable that tells its signature in its docstring, wrongly."""

    __signature__ = "none"

    def __call__(self) -> None:
        pass


doubled = _Doubled()
doubled.__doc__ = "doubled(a, a)"
