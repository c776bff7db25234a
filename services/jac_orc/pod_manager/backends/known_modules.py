"""The modules of a backend as they are now, for any number of watchers, each at its own pace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from jac_orc.pod_manager.model import Module

Change = tuple[Module, bool]


class KnownModules:
    """What a backend has published: the part of `Backend` that reads.

    Each watcher has at most one change per module waiting, the latest, so that a slow one costs little memory.
    """

    def __init__(self) -> None:
        self._modules: dict[str, Module] = {}
        self._waiting: dict[object, dict[str, Change]] = {}  # by watcher, then by the module's name
        self._published = asyncio.Event()  # set, and replaced, with each change

    def get(self, name: str) -> Module | None:
        return self._modules.get(name)

    def modules(self) -> list[Module]:
        return [self._modules[name] for name in sorted(self._modules)]

    def publish(self, module: Module, gone: bool = False) -> None:
        """Tells every watcher what has become of the module."""
        if gone:
            self._modules.pop(module.name, None)
        else:
            self._modules[module.name] = module
        for changes in self._waiting.values():
            changes.pop(module.name, None)
            changes[module.name] = (module, gone)
        self._published.set()
        self._published = asyncio.Event()

    async def watch(self) -> AsyncIterator[Change]:
        watcher, changes = object(), {module.name: (module, False) for module in self.modules()}
        self._waiting[watcher] = changes
        try:
            while True:
                while changes:
                    yield changes.pop(next(iter(changes)))
                await self._published.wait()
        finally:
            del self._waiting[watcher]
