"""The shared volume as the pod manager sees it: which environments are built, and where users' sources are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path

from jac_orc.core.tasks import Tasks
from jac_orc.pod_manager.backends.kube.pods import Runtime
from jac_orc.pod_manager.environments import Environments, needs_none
from jac_orc.pod_manager.model import Lock, ModuleSpec
from jac_orc.pod_manager.sources import SourceKind, Sources

_SOURCE_KEPT = 3600.0


class Store:
    """Answers from the volume; it builds nothing, which is the builders' work."""

    def __init__(self, environments: Environments, sources: Sources) -> None:
        self._environments = environments
        self._sources = sources
        self._locks: dict[str, Lock] = {}
        self._reading: set[str] = set()
        self._tasks = Tasks()

    async def runtime(self, spec: ModuleSpec) -> Runtime | None:
        """What the spec's pods run in; None where its environment isn't built yet. Raises OrcError."""
        lock = await self._environments.known(spec)
        if lock is None:
            return None
        self._locks[lock.digest] = lock
        folders: tuple[Path, ...] = ()
        if spec.source is not None and spec.source.kind is SourceKind.ZIP:
            folders = await asyncio.to_thread(self._sources.import_folders, spec.source)
        return Runtime("" if needs_none(lock) else lock.digest, tuple(map(str, folders)))

    def lock(self, digest: str, on_read: Callable[[], None]) -> Lock | None:
        """What an environment consists of; None until that is read, which `on_read` tells of."""
        if digest not in self._locks and digest not in self._reading:
            self._reading.add(digest)
            self._tasks.start(self._read(digest, on_read))
        return self._locks.get(digest)

    async def _read(self, digest: str, on_read: Callable[[], None]) -> None:
        lock = await asyncio.to_thread(self._environments.lock_of, digest)
        if lock is not None:
            self._locks[digest] = lock
            on_read()

    async def clean_up(self, environments: Collection[str], sources: Collection[str]) -> None:
        """Removes what nobody has needed for long; given are the digests of what is in use."""
        await asyncio.to_thread(self._sources.remove_unused, sources, _SOURCE_KEPT)
        await asyncio.to_thread(self._environments.collect, environments)

    async def stop(self) -> None:
        """Ends what is under way."""
        await self._tasks.cancel()
