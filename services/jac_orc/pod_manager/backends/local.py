"""The backend of one machine: a pod is a module server process, and the state is files.

Below the state directory, `modules/NAME.json` says what shall be and `pods/POD.json` which processes there are; both
are written atomically, so that the next pod manager finds the same modules after any crash. Each module has one
deployment, whose only task brings its pods to what its spec says, step by step, whenever something has changed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

from jac_orc.core import files
from jac_orc.core.config import ConfigurationError
from jac_orc.core.processes import ManagedProcess
from jac_orc.core.tasks import Faults, NamedLocks, Tasks, every
from jac_orc.errors import error
from jac_orc.pod_manager.backends.known_modules import KnownModules
from jac_orc.pod_manager.backends.local_deployment import Deployment, installer_log
from jac_orc.pod_manager.backends.local_logs import read_logs
from jac_orc.pod_manager.backends.local_pod import Host, PodRecord, adopted, forget
from jac_orc.pod_manager.backends.local_reports import Reports
from jac_orc.pod_manager.environments import Environments
from jac_orc.pod_manager.model import INPUTS, Lock, LogLine, Module, ModulePhase, ModuleSpec, spec_from_document
from jac_orc.pod_manager.policy import Policy
from jac_orc.pod_manager.settings import Settings
from jac_orc.pod_manager.sources import Sources

logger = logging.getLogger(__name__)

T = TypeVar("T")

_CLEAN_UP = 3600.0
_SOURCE_KEPT = 3600.0
_NOT_HERE = {
    "secrets": "secrets that a module could name: give it what it needs by `env`",
    "autoscaling": "autoscaler: say by `replicas` how many pods there shall be",
}


class LocalBackend(KnownModules):
    """Runs pods as processes of this machine; `start` first, `stop` last."""

    def __init__(self, settings: Settings, environments: Environments, sources: Sources, policy: Policy) -> None:
        super().__init__()
        self._files = settings.state_dir / "modules"
        self._host = Host(settings, policy, environments, sources)
        self._reports = Reports(self._host.reports, self._take_report)
        self.faults = Faults()
        self._tasks = Tasks()
        self._deployments: dict[str, Deployment] = {}
        self._locks = NamedLocks()

    async def start(self) -> None:
        """Takes up the modules and pods that an earlier pod manager has left."""
        for directory in (self._files, self._host.pods, self._host.logs, self._host.working):
            directory.mkdir(parents=True, exist_ok=True)
        records = [_read(file, PodRecord) for file in sorted(self._host.pods.glob("*.json"))]
        for module in [_read(file, _module_from) for file in sorted(self._files.glob("*.json"))]:
            self._deploy(module, [record for record in records if record.module_name == module.name])
        for record in records:
            if record.module_name in self._deployments:
                continue
            if process := adopted(record):
                self._tasks.start(self._end_pod(record, process))
            else:
                forget(self._host, record.name)
        known = {record.name for record in records}
        for directory in self._host.working.iterdir():
            if directory.name not in known:  # an earlier pod manager ended while it removed the pod
                await asyncio.to_thread(files.remove_tree, directory)
        self._reports.start()
        self._tasks.supervise("removing unused sources and environments", every(_CLEAN_UP, self._remove_unused))
        if self._host.settings.spares:
            self._tasks.supervise("keeping spare module servers", self._keep_spares)

    async def _end_pod(self, record: PodRecord, process: ManagedProcess) -> None:
        """End a pod whose module was deleted; its calls in flight may end."""
        if not record.draining:
            process.signal(signal.SIGTERM)
        await process.end_within(self._host.settings.max_drain)
        await asyncio.to_thread(forget, self._host, record.name)

    def _take_report(self, name: str, pod: str, pid: int, restarts: int, stops: bool) -> None:
        if deployment := self._deployments.get(name):
            deployment.take_report(pod, pid, restarts, stops=stops)

    async def _keep_spares(self) -> None:
        """Has them run what needs no package: the standard library's modules."""
        lock = await self._host.environments.resolve(ModuleSpec("spare"), logger.info)
        environment = await self._host.environments.ensure(lock, logger.info)
        try:
            await self._host.spares.keep(environment.interpreter)
        finally:
            environment.release()

    async def stop(self) -> None:
        """Lets go of everything; the pods go on."""
        self._reports.stop()
        # At once: a pod that ends now, as the whole system does, is not started again.
        await asyncio.gather(
            *(deployment.detach() for deployment in self._deployments.values()),
            self._tasks.cancel(),
            self._host.spares.stop(),
        )
        await self._host.environments.stop()

    async def apply(self, spec: ModuleSpec) -> Module:
        _check(spec)
        async with self._locks[spec.module_name]:
            now = time.time()
            deployment = self._deployments.get(spec.module_name)
            if deployment is None:
                module = Module(spec, uuid.uuid4().hex, 1, now, now, ModulePhase.STARTING)
                await asyncio.to_thread(self._write, module)
                deployment = self._deploy(module, [])
            elif deployment.module.spec != spec:
                generation = deployment.module.generation + 1
                changes: dict[str, Any] = {"spec": spec, "generation": generation, "update_time": now, "error": None}
                if not set(INPUTS).isdisjoint(spec.differing_fields(deployment.module.spec)):
                    changes["lock"] = None
                await asyncio.to_thread(self._host.sources.touch, deployment.module.spec.source)  # a rollback needs it
                await asyncio.to_thread(self._write, dataclasses.replace(deployment.module, **changes))
                deployment.change(**changes)
            return deployment.module

    async def plan(self, spec: ModuleSpec) -> list[dict[str, Any]]:
        _check(spec)
        return []

    async def delete(self, name: str) -> None:
        async with self._locks[name]:
            deployment = self._deployments.get(name)
            if deployment is not None:
                await asyncio.to_thread((self._files / f"{name}.json").unlink, missing_ok=True)
                await deployment.delete()
                del self._deployments[name]
                self.publish(deployment.module, gone=True)

    def logs(self, name: str, *, follow: bool, tail: int) -> AsyncIterator[LogLine]:
        def files_of_pods() -> dict[str, Path]:
            module = self.get(name)
            if module is None:
                return {}
            pods = {pod.name: self._host.logs / f"{pod.name}.log" for pod in module.pods}
            return {"installer": installer_log(self._host, name), **pods}

        return read_logs(files_of_pods, follow=follow, tail=tail)

    async def _remove_unused(self) -> None:
        """Remove the sources and environments that have been unused for long."""
        used = set[str]().union(*(deployment.sources for deployment in self._deployments.values()))
        await asyncio.to_thread(self._host.sources.remove_unused, used, _SOURCE_KEPT)
        await asyncio.to_thread(self._host.environments.collect)

    async def _keep_lock(self, spec: ModuleSpec, lock: Lock) -> None:
        """Records what the spec was resolved to, if it is still the module's."""
        async with self._locks[spec.module_name]:
            deployment = self._deployments.get(spec.module_name)
            if deployment is not None and deployment.module.spec is spec:
                module = dataclasses.replace(deployment.module, lock=lock)
                await asyncio.to_thread(self._write, module)
                deployment.change(lock=lock)

    def _deploy(self, module: Module, records: list[PodRecord]) -> Deployment:
        deployment = Deployment(self._host, module, records, self.publish, self._keep_lock)
        self._deployments[module.name] = deployment
        self.publish(deployment.module)
        return deployment

    def _write(self, module: Module) -> None:
        kept = ("uid", "generation", "create_time", "update_time")
        document = {name: getattr(module, name) for name in kept}
        document |= {"spec": dataclasses.asdict(module.spec), "lock": module.lock and dataclasses.asdict(module.lock)}
        files.write_json(self._files / f"{module.name}.json", document)


def _read(file: Path, convert: Callable[..., T]) -> T:
    """What a state file holds; raises ConfigurationError for one that a hand, not this program, has written."""
    try:
        return convert(**files.read_json(file))
    except (ValueError, TypeError, KeyError, AttributeError) as failure:
        text = f"the state file {file} is damaged ({failure}); mend or remove it"
        raise ConfigurationError(text) from failure


def _check(spec: ModuleSpec) -> None:
    for field, advice in _NOT_HERE.items():
        if getattr(spec, field):
            raise error("NOT_IMPLEMENTED", f"one machine has no {advice}", {"fields": field})


def _module_from(spec: dict[str, Any], lock: dict[str, str] | None = None, **fields: Any) -> Module:
    resolved = Lock(**lock) if lock else None
    return Module(spec=spec_from_document(spec), phase=ModulePhase.STARTING, lock=resolved, **fields)
