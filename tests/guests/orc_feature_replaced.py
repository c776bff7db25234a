"""Puts an object in its own place, as some packages do."""

from __future__ import annotations

import sys


class _Facade:
    def greet(self) -> str:
        return "hello"


sys.modules[__name__] = _Facade()  # type: ignore[assignment]
