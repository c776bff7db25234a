"""A module that replaces itself, and makes some of its names when they are asked for."""

import sys
from types import ModuleType
from typing import Any


class _Lazy(ModuleType):
    LIMIT = 5
    made: list[str] = []

    def plain(self, x: int) -> int:
        return x

    def __dir__(self) -> list[str]:
        return ["LIMIT", "gone", "lazy", "plain"]

    def __getattr__(self, name: str) -> Any:
        if name != "lazy":
            raise AttributeError(name)
        self.made.append(name)
        return lambda x: x


sys.modules[__name__] = _Lazy(__name__)
