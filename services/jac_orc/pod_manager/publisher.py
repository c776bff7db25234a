"""Publishes to Envoy where modules are.

A module's endpoints are its ready pods. While it has none, its endpoint is the pod manager, whose activator holds the
call until a pod is ready: so a crash of the only pod costs a wait and not an error.
"""

from __future__ import annotations

import asyncio
import logging

from jac_orc.core import addresses, tasks
from jac_orc.pod_manager.backends.base import Backend
from jac_orc.pod_manager.model import Module, ModulePhase, PodPhase
from jac_orc.pod_manager.xds.resources import Endpoint
from jac_orc.pod_manager.xds.snapshot import Snapshot

logger = logging.getLogger(__name__)

_RETRY = 2.0


class Publisher:
    """Keeps the snapshot at the backend's state.

    A module that can't be published keeps its last endpoints and is tried again; it holds up no other.
    """

    def __init__(self, backend: Backend, snapshot: Snapshot, activator: tuple[str, int]) -> None:
        self._backend = backend
        self._snapshot = snapshot
        self._activator = Endpoint(*activator)
        self._published: set[str] = set()
        self._failing: set[str] = set()
        self._retry: asyncio.TimerHandle | None = None

    def publish_all(self) -> None:
        """Publish every module as it is now and drop those that are gone, whatever was missed."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        modules = {module.name: module for module in self._backend.modules()}
        for name in self._published | modules.keys():
            self._publish(name, modules.get(name))
        self._report()

    async def follow(self) -> None:
        """Publish all modules, then each change, until cancelled."""
        try:
            self.publish_all()
            async for module, gone in self._backend.watch():
                self._publish(module.name, None if gone else module)
                self._report()
        finally:
            if self._retry is not None:
                self._retry.cancel()

    def _report(self) -> None:
        """Report the modules that fail, and see to it that they are tried again."""
        if not self._failing:
            tasks.report_working()
            return
        tasks.report_impaired()
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(_RETRY, self.publish_all)

    def _publish(self, name: str, module: Module | None) -> None:
        try:
            if module is None or module.phase is ModulePhase.DELETING:
                self._snapshot.drop_module(name)
                self._published.discard(name)
            else:
                self._published.add(name)
                self._snapshot.put_module(name, self._endpoints(module))
            self._failing.discard(name)
        except Exception:
            logger.exception("%s can't be published to Envoy; trying again in %g s", name, _RETRY)
            self._failing.add(name)

    def _endpoints(self, module: Module) -> list[Endpoint]:
        if not module.ready:
            return [self._activator]
        return [
            Endpoint(*addresses.split(pod.address), draining=pod.phase is PodPhase.DRAINING)
            for pod in module.pods
            if pod.phase in (PodPhase.READY, PodPhase.DRAINING) and pod.address
        ]
