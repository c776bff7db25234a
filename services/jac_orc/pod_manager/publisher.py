"""Publishes to Envoy where modules are.

A module's endpoints are its ready pods. While it has none, its endpoint is the pod manager, whose activator holds the
call until a pod is ready: so a crash of the only pod costs a wait and not an error.
"""

from __future__ import annotations

from jac_orc.core import addresses
from jac_orc.pod_manager.backends.base import Backend
from jac_orc.pod_manager.model import Module, ModulePhase, PodPhase
from jac_orc.pod_manager.xds.resources import Endpoint
from jac_orc.pod_manager.xds.snapshot import Snapshot


class Publisher:
    """Brings the snapshot to what the backend tells."""

    def __init__(self, backend: Backend, snapshot: Snapshot, activator: tuple[str, int]) -> None:
        self._backend = backend
        self._snapshot = snapshot
        self._activator = Endpoint(*activator)

    def publish_all(self) -> None:
        """Publishes every module as it is now, so that an Envoy that comes back finds none missing."""
        for module in self._backend.modules():
            self._publish(module, gone=False)

    async def follow(self) -> None:
        """Publishes each change, until cancelled."""
        async for module, gone in self._backend.watch():
            self._publish(module, gone)

    def _publish(self, module: Module, gone: bool) -> None:
        if gone or module.phase is ModulePhase.DELETING:
            self._snapshot.drop_module(module.name)
        else:
            self._snapshot.put_module(module.name, self._endpoints(module))

    def _endpoints(self, module: Module) -> list[Endpoint]:
        if not module.ready:
            return [self._activator]
        return [
            Endpoint(*addresses.split(pod.address), draining=pod.phase is PodPhase.DRAINING)
            for pod in module.pods
            if pod.phase in (PodPhase.READY, PodPhase.DRAINING) and pod.address
        ]
