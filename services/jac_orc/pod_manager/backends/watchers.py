"""Hands changes of modules to any number of watchers, each at its own pace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

from jac_orc.pod_manager.model import Module

Change = tuple[Module, bool]


class Watchers:
    """Each watcher has at most one change per module waiting, the latest, so that a slow one costs little memory."""

    def __init__(self) -> None:
        self._waiting: dict[object, dict[str, Change]] = {}  # by watcher, then by the module's name
        self._published = asyncio.Event()  # set, and replaced, with each change

    def publish(self, module: Module, gone: bool = False) -> None:
        """Tells every watcher."""
        for changes in self._waiting.values():
            changes.pop(module.name, None)
            changes[module.name] = (module, gone)
        self._published.set()
        self._published = asyncio.Event()

    async def watch(self, modules: Callable[[], Iterable[Module]]) -> AsyncIterator[Change]:
        """The modules that there are when it begins, then every change, until the caller stops."""
        watcher, changes = object(), {module.name: (module, False) for module in modules()}
        self._waiting[watcher] = changes
        try:
            while True:
                while changes:
                    yield changes.pop(next(iter(changes)))
                await self._published.wait()
        finally:
            del self._waiting[watcher]
