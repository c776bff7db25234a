"""Hands changes of modules to any number of watchers, each at its own pace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

from jac_orc.pod_manager.model import Module

Change = tuple[Module, bool]


class Watchers:
    """Each watcher has at most one change per module waiting, the latest, so that a slow one costs little memory."""

    def __init__(self) -> None:
        self._waiting: set[_Waiting] = set()

    def publish(self, module: Module, gone: bool = False) -> None:
        """Tells every watcher."""
        for waiting in self._waiting:
            waiting.put(module, gone)

    async def watch(self, modules: Callable[[], Iterable[Module]]) -> AsyncIterator[Change]:
        """The modules that there are when it begins, then every change, until the caller stops."""
        waiting = _Waiting()
        self._waiting.add(waiting)
        try:
            for module in modules():
                waiting.put(module, False)
            while True:
                yield await waiting.get()
        finally:
            self._waiting.discard(waiting)


class _Waiting:
    def __init__(self) -> None:
        self._changes: dict[str, Change] = {}
        self._filled = asyncio.Event()

    def put(self, module: Module, gone: bool) -> None:
        self._changes.pop(module.name, None)
        self._changes[module.name] = (module, gone)
        self._filled.set()

    async def get(self) -> Change:
        while not self._changes:
            self._filled.clear()
            await self._filled.wait()
        return self._changes.pop(next(iter(self._changes)))
