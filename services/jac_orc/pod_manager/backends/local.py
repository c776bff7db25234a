"""The backend of one machine: a pod is a module server process, and the state is files.

Below the state directory, `modules/NAME.json` says what shall be and `pods/POD.json` which processes there are; both
are written atomically, so that the next pod manager finds the same modules after any crash. Each module has one
deployment, whose only task brings its pods to what its spec says, step by step, whenever something has changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from jac_orc.core import files
from jac_orc.core.config import ConfigurationError
from jac_orc.core.tasks import NamedLocks, Tasks
from jac_orc.errors import OrcError
from jac_orc.pod_manager.backends.local_logs import append, read_logs
from jac_orc.pod_manager.backends.local_pod import Host, LocalPod, PodRecord, Runtime, adoptable, forget
from jac_orc.pod_manager.backends.spares import Spares
from jac_orc.pod_manager.backends.watchers import Watchers
from jac_orc.pod_manager.environments import Environment, Environments
from jac_orc.pod_manager.model import Lock, LogLine, Module, ModulePhase, ModuleSpec, PodPhase
from jac_orc.pod_manager.sources import SourceKind, SourceRef, Sources

logger = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 300.0
_CLEAN_UP = 3600.0
_SOURCE_KEPT = 3600.0
_MAX_PROGRESS = 200
_STAGES = {  # by the first word of what the installer tells
    "Resolved": ModulePhase.BUILDING,
    "Downloading": ModulePhase.DOWNLOADING,
    "Building": ModulePhase.BUILDING,
    "Prepared": ModulePhase.BUILDING,
    "Installed": ModulePhase.BUILDING,
}


class LocalBackend:
    """Runs pods as processes of this machine; `start` first, `stop` last."""

    def __init__(
        self, state: Path, environments: Environments, sources: Sources, run_id: str, lifeline_fd: int | None,
        refused: frozenset[str], pod_manager_url: str = "", spares: int = 0,
    ) -> None:  # fmt: skip
        self._files = state / "modules"
        turns = asyncio.Semaphore(2 * (os.cpu_count() or 1))  # each waits for something half of its time
        self._spares = Spares(spares, state / "logs" / "spares.log", turns)
        self._wants_spares = spares > 0
        self._host = Host(
            state / "pods", state / "logs", run_id, lifeline_fd, refused, pod_manager_url, self._spares, turns
        )
        self._environments = environments
        self._sources = sources
        self._tasks = Tasks()
        self._deployments: dict[str, Deployment] = {}
        self._watchers = Watchers()
        self._locks = NamedLocks()

    async def start(self) -> None:
        """Takes up the modules and pods that an earlier pod manager has left."""
        for directory in (self._files, self._host.pods, self._host.logs):
            directory.mkdir(parents=True, exist_ok=True)
        records = [_read(file, _pod_record_from) for file in sorted(self._host.pods.glob("*.json"))]
        for module in [_read(file, _module_from) for file in sorted(self._files.glob("*.json"))]:
            self._deploy(module, [record for record in records if record.module_name == module.name])
        for record in records:
            if record.module_name not in self._deployments:
                adoptable(record, run_id="")
                forget(self._host, record.name)
        self._tasks.start(self._clean_up())
        if self._wants_spares:
            self._tasks.start(self._start_spares())

    async def _start_spares(self) -> None:
        """Has them run what needs no package: the standard library's modules."""
        lock = await self._environments.resolve(ModuleSpec("spare"), logger.info)
        environment = await self._environments.ensure(lock, logger.info)
        try:
            self._spares.start(environment.interpreter)
            await asyncio.Event().wait()
        finally:
            environment.release()

    async def stop(self) -> None:
        """Lets go of everything; the pods go on."""
        await self._tasks.cancel()
        await self._spares.stop()
        await asyncio.gather(*(deployment.detach() for deployment in self._deployments.values()))
        await self._environments.stop()

    async def apply(self, spec: ModuleSpec) -> Module:
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
                if spec.inputs != deployment.module.spec.inputs:
                    changes["lock"] = None
                await asyncio.to_thread(self._write, dataclasses.replace(deployment.module, **changes))
                deployment.change(**changes)
            return deployment.module

    async def delete(self, name: str) -> None:
        async with self._locks[name]:
            deployment = self._deployments.get(name)
            if deployment is not None:
                (self._files / f"{name}.json").unlink(missing_ok=True)
                await deployment.delete()
                del self._deployments[name]
                self._watchers.publish(deployment.module, gone=True)

    def get(self, name: str) -> Module | None:
        deployment = self._deployments.get(name)
        return deployment.module if deployment else None

    def modules(self) -> list[Module]:
        return [self._deployments[name].module for name in sorted(self._deployments)]

    def watch(self) -> AsyncIterator[tuple[Module, bool]]:
        return self._watchers.watch(self.modules)

    def logs(self, name: str, *, follow: bool, tail: int) -> AsyncIterator[LogLine]:
        def files_of_pods() -> dict[str, Path]:
            module = self.get(name)
            if module is None:
                return {}
            pods = {pod.name: self._host.logs / f"{pod.name}.log" for pod in module.pods}
            return {"installer": installer_log(self._host, name), **pods}

        return read_logs(files_of_pods, follow=follow, tail=tail)

    async def _clean_up(self) -> None:
        """Removes what nobody has needed for long, now and then."""
        while True:
            used = {each.module.spec.source.digest for each in self._deployments.values() if each.module.spec.source}
            await asyncio.to_thread(self._sources.remove_unused, used, _SOURCE_KEPT)
            await asyncio.to_thread(self._environments.collect)
            await asyncio.sleep(_CLEAN_UP)

    async def _keep_lock(self, spec: ModuleSpec, lock: Lock) -> None:
        """Records what the spec was resolved to, if it is still the module's."""
        async with self._locks[spec.module_name]:
            deployment = self._deployments.get(spec.module_name)
            if deployment is not None and deployment.module.spec is spec:
                module = dataclasses.replace(deployment.module, lock=lock)
                await asyncio.to_thread(self._write, module)
                deployment.change(lock=lock)

    def _deploy(self, module: Module, records: list[PodRecord]) -> Deployment:
        deployment = Deployment(
            self._host, self._environments, self._sources, module, records, self._watchers, self._keep_lock
        )
        self._deployments[module.name] = deployment
        self._watchers.publish(module)
        return deployment

    def _write(self, module: Module) -> None:
        document = {
            "spec": dataclasses.asdict(module.spec),
            "uid": module.uid,
            "generation": module.generation,
            "create_time": module.create_time,
            "update_time": module.update_time,
            "lock": module.lock and dataclasses.asdict(module.lock),
        }
        files.write_json(self._files / f"{module.name}.json", document)


def _read(file: Path, convert: Callable[[Any], T]) -> T:
    """What a state file holds; raises ConfigurationError for one that a hand, not this program, has written."""
    try:
        return convert(files.read_json(file))
    except (ValueError, TypeError, KeyError, AttributeError) as failure:
        text = f"the state file {file} is damaged ({failure}); mend or remove it"
        raise ConfigurationError(text) from failure


def _pod_record_from(document: dict[str, Any]) -> PodRecord:
    return PodRecord(**document)


def _module_from(document: dict[str, Any]) -> Module:
    spec = document.pop("spec")
    lists = {name: tuple(spec.get(name, ())) for name in ("requirements", "constraints")}
    source = SourceRef(**spec["source"]) if spec.get("source") else None
    lock = Lock(**found) if (found := document.pop("lock", None)) else None
    spec = ModuleSpec(**{**spec, **lists, "source": source})
    return Module(spec=spec, phase=ModulePhase.STARTING, lock=lock, **document)


class Deployment:
    """One module: brings its pods to what its spec says."""

    def __init__(
        self, host: Host, environments: Environments, sources: Sources, module: Module, records: list[PodRecord],
        watchers: Watchers, keep_lock: Callable[[ModuleSpec, Lock], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._host = host
        self._environments = environments
        self._sources = sources
        self._keep_lock = keep_lock
        self._held: tuple[Lock, Environment] | None = None
        self._stage = ModulePhase.RESOLVING
        self._watchers = watchers
        self._found = records
        self._pods: list[LocalPod] = []
        self._drains: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self.module = dataclasses.replace(module, phase=self._phase(module))
        self._task = asyncio.create_task(self._reconcile())

    def change(self, **changes: Any) -> None:
        """Takes a new spec, with what changes with it."""
        self.module = dataclasses.replace(self.module, **changes)
        self._publish()

    async def delete(self) -> None:
        """Ends the pods; calls in flight may end."""
        await self._cancel()
        self.module = dataclasses.replace(self.module, phase=ModulePhase.DELETING)
        for pod in list(self._pods):
            self._drain(pod)
        self._publish()
        await asyncio.gather(*self._drains)
        self._let_go()
        installer_log(self._host, self.module.name).unlink(missing_ok=True)

    async def detach(self) -> None:
        """Lets the pods go on without this process; those that are ending are awaited."""
        await self._cancel()
        await asyncio.gather(*(pod.detach() for pod in self._pods if pod.phase is not PodPhase.DRAINING))
        await asyncio.gather(*self._drains)
        self._let_go()

    async def _cancel(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _reconcile(self) -> None:
        """The loop: look, act, wait for a change, or after a failure for a pause that doubles."""
        pause = _FIRST_PAUSE
        while True:
            self._changed.clear()
            limit: float | None = None
            try:
                await self._prepare()
                self._adopt()
                self._start_missing()
                self._retire()
                failed = [pod.failure for pod in self._current() if pod.failure is not None]
                self._set(error=failed[0] if failed else None)
                pause = _FIRST_PAUSE
            except OrcError as failure:
                self._set(error=failure)
                limit, pause = pause, min(pause * 2, _LONGEST_PAUSE)
            except Exception:
                logger.exception("deploying %s failed; trying again", self.module.name)
                limit, pause = pause, min(pause * 2, _LONGEST_PAUSE)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit):
                    await self._changed.wait()

    async def _prepare(self) -> Runtime:
        """What pods of the spec, as it is when this returns, run in; raises OrcError where there can't be that."""
        while True:
            spec = self.module.spec
            try:
                runtime = await self._runtime(spec)
            except OrcError:
                if spec is self.module.spec:
                    raise
            else:
                if spec is self.module.spec:
                    self._set(progress="")
                    return runtime

    async def _runtime(self, spec: ModuleSpec) -> Runtime:
        lock = self.module.lock
        if lock is None:
            self._stage = ModulePhase.RESOLVING
            self._set(progress="choosing the versions of its packages")
            lock = await self._environments.resolve(spec, self._take_line)
            await self._keep_lock(spec, lock)
        if self._held is None or self._held[0] != lock or not self._held[1].interpreter.exists():
            self._stage = ModulePhase.BUILDING
            environment = await self._environments.ensure(lock, self._take_line)
            self._let_go()
            self._held = (lock, environment)
        folders: tuple[Path, ...] = ()
        if spec.source is not None and spec.source.kind is SourceKind.ZIP:
            root = await asyncio.to_thread(self._sources.folder, spec.source)
            folders = (root / "src", root) if (root / "src").is_dir() else (root,)
        return Runtime(self._held[1].interpreter, folders, self._held[1].fd)

    def _take_line(self, line: str) -> None:
        """Shows and logs what the installer tells."""
        text = line.strip()
        append(installer_log(self._host, self.module.name), "installer", text)
        stage = _STAGES.get(text.partition(" ")[0])
        if stage is not None:  # else it is a detail
            self._stage = stage
            self._set(progress=text[:_MAX_PROGRESS])

    def _let_go(self) -> None:
        if self._held is not None:
            self._held[1].release()
            self._held = None

    def _current(self) -> list[LocalPod]:
        """The pods of the spec as it is, those that are leaving left out."""
        revision = self.module.spec.revision()
        return [pod for pod in self._pods if pod.record.revision == revision and pod.phase is not PodPhase.DRAINING]

    def _adopt(self) -> None:
        """Takes over, once, the processes that an earlier pod manager has left; others of them are gone or killed."""
        found, self._found = self._found, []
        for record in found:
            wanted = record.revision == self.module.spec.revision()
            process = adoptable(record, self._host.run_id if wanted else "")
            if process is None:
                forget(self._host, record.name)
                continue
            pod = LocalPod(self._host, self.module.spec, record, self._publish, self._prepare)
            self._pods.append(pod)
            pod.adopt(process)

    def _start_missing(self) -> None:
        spec = self.module.spec
        for _ in range(spec.replicas - len(self._current())):
            record = PodRecord(
                name=f"{spec.module_name}-{uuid.uuid4().hex[:6]}",
                module_name=spec.module_name,
                revision=spec.revision(),
                generation=self.module.generation,
                run_id=self._host.run_id,
            )
            pod = LocalPod(self._host, spec, record, self._publish, self._prepare)
            self._pods.append(pod)
            pod.start()

    def _retire(self) -> None:
        """Drains pods beyond the wanted number, and those of an older spec once the new ones answer calls."""
        current = self._current()
        surplus = len(current) - self.module.spec.replicas
        current.sort(key=lambda pod: pod.phase is PodPhase.READY)
        for pod in current[: max(surplus, 0)]:
            self._drain(pod)
        ready = [pod for pod in self._current() if pod.phase is PodPhase.READY]
        if len(ready) == self.module.spec.replicas:
            for pod in [pod for pod in self._pods if pod not in ready]:
                self._drain(pod)
            self._set(observed_generation=self.module.generation)

    def _drain(self, pod: LocalPod) -> None:
        if pod.phase is PodPhase.DRAINING:
            return
        pod.phase = PodPhase.DRAINING
        task = asyncio.create_task(self._drained(pod))
        self._drains.add(task)
        task.add_done_callback(self._drains.discard)

    async def _drained(self, pod: LocalPod) -> None:
        await pod.drain()
        self._pods.remove(pod)
        self._publish()

    def _set(self, **changes: Any) -> None:
        if any(getattr(self.module, name) != value for name, value in changes.items()):
            self.module = dataclasses.replace(self.module, **changes)
            self._tell()

    def _publish(self) -> None:
        """Tells of the pods as they are, and has the loop look again."""
        self._tell()
        self._changed.set()

    def _tell(self) -> None:
        pods = tuple(pod.state for pod in self._pods)
        module = dataclasses.replace(self.module, pods=pods)
        self.module = dataclasses.replace(module, phase=self._phase(module))
        self._watchers.publish(self.module)

    def _phase(self, module: Module) -> ModulePhase:
        if module.phase is ModulePhase.DELETING:
            return ModulePhase.DELETING
        if module.ready:
            return ModulePhase.READY
        if module.error is not None:
            return ModulePhase.FAILED
        if module.spec.replicas == 0:
            return ModulePhase.IDLE
        if any(pod.phase is PodPhase.IMPORTING for pod in self._pods):
            return ModulePhase.IMPORTING
        return ModulePhase.STARTING if self._pods else self._stage


def installer_log(host: Host, name: str) -> Path:
    """Where the installer's lines for a module are."""
    return host.logs / f"{name}.installer.log"
