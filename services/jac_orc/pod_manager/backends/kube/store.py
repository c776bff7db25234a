"""The shared volume as the pod manager sees it: which environments are built, and where users' sources are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection

from jac_orc.core.tasks import Tasks
from jac_orc.pod_manager.backends.kube.pods import Runtime
from jac_orc.pod_manager.environments import Environments, needs_none
from jac_orc.pod_manager.model import Lock, ModuleSpec
from jac_orc.pod_manager.sources import Sources

logger = logging.getLogger(__name__)

_SOURCE_KEPT = 3600.0


class Store:
    """Answers from the volume; it builds nothing, which is the builders' work."""

    def __init__(self, environments: Environments, sources: Sources) -> None:
        self._environments = environments
        self._sources = sources
        self._locks: dict[str, Lock] = {}  # of environments that were in use at the last clean-up, or asked for since
        self._reading: set[str] = set()
        self._tasks = Tasks()

    async def runtime(self, spec: ModuleSpec) -> Runtime | None:
        """What the spec's pods run in; None where its environment isn't built yet. Raises OrcError."""
        lock = await self._environments.known(spec)
        if lock is None:
            return None
        environment = "" if needs_none(lock) else lock.digest
        if spec.source is None or spec.source.kind.is_installed:
            return Runtime(environment)
        folders = await asyncio.to_thread(self._sources.import_folders, spec.source)
        return Runtime(environment, tuple(map(str, folders)), str(self._sources.home(spec.source)))

    def lock(self, digest: str) -> Lock | None:
        """Return what an environment consists of; None until it is read, for which one has to ask again."""
        if digest not in self._locks and digest not in self._reading:
            self._reading.add(digest)
            self._tasks.start(self._read(digest))
        return self._locks.get(digest)

    async def _read(self, digest: str) -> None:
        try:
            if (lock := await asyncio.to_thread(self._environments.lock_of, digest)) is not None:
                self._locks[digest] = lock
        except Exception:
            logger.exception("the lock of the environment %s can't be read; trying again when asked for it", digest)
        finally:
            self._reading.discard(digest)

    async def touch(self, spec: ModuleSpec) -> None:
        """Count the spec's source as just used, so that the next clean-ups keep it."""
        await asyncio.to_thread(self._sources.touch, spec.source)

    async def clean_up(self, environments: Collection[str], sources: Collection[str]) -> None:
        """Removes what nobody has needed for long; given are the digests of what is in use."""
        self._locks = {digest: lock for digest, lock in self._locks.items() if digest in environments}
        await asyncio.to_thread(self._sources.remove_unused, sources, _SOURCE_KEPT)
        await asyncio.to_thread(self._environments.collect, environments)

    async def stop(self) -> None:
        """Ends what is under way."""
        await self._tasks.cancel()
