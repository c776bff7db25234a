"""One deployed module on this machine: its environment, and its pods, brought to what its spec says.

One task does it, step by step, whenever something has changed: look, act, wait for a change.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from jac_orc.core.processes import ManagedProcess
from jac_orc.core.tasks import Tasks
from jac_orc.errors import OrcError, error
from jac_orc.pod_manager.backends.base import deploy_failure
from jac_orc.pod_manager.backends.local_logs import LogWriter
from jac_orc.pod_manager.backends.local_pod import Host, LocalPod, PodRecord, Runtime, adopted, forget
from jac_orc.pod_manager.environments import Environment
from jac_orc.pod_manager.installer import MAX_PROGRESS, stage_of
from jac_orc.pod_manager.model import Lock, Module, ModulePhase, ModuleSpec, PodPhase, phase_of

logger = logging.getLogger(__name__)

_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 300.0


class Deployment:
    """One module: brings its pods to what its spec says."""

    def __init__(
        self, host: Host, module: Module, records: list[PodRecord], publish: Callable[[Module], None],
        keep_lock: Callable[[ModuleSpec, Lock], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._host = host
        self._keep_lock = keep_lock
        self._held: tuple[Lock, Environment] | None = None
        self._preparing = asyncio.Lock()  # pods that are started again ask for it, too
        self._stage = ModulePhase.RESOLVING
        self._show = publish
        self._found = records
        self._pods: list[LocalPod] = []
        self._drains: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self.module = dataclasses.replace(module, phase=phase_of(module, self._stage))
        self._tasks = Tasks()
        self._log = LogWriter(installer_log(host, module.name))
        self._task = self._tasks.supervise(f"deploying {module.name}", self._reconcile)

    def change(self, **changes: Any) -> None:
        """Takes a new spec, with what changes with it."""
        self.module = dataclasses.replace(self.module, **changes)
        self._publish()

    @property
    def sources(self) -> set[str]:
        """The digests of the sources of the spec, and of pods that still have an older one."""
        specs = (self.module.spec, *(pod.spec for pod in self._pods))
        return {spec.source.digest for spec in specs if spec.source is not None}

    def take_report(self, pod_name: str, pid: int, restarts: int, *, stops: bool) -> None:
        """Take a pod's report of how often its process has replaced a guest; it may not be adopted yet.

        One that another process has stopped by a signal is replaced at once.
        """
        self._found = [each.counting(pid, restarts) if each.name == pod_name else each for each in self._found]
        for pod in self._pods:
            if pod.record.name == pod_name and pod.phase is not PodPhase.DRAINING:
                if stops and pod.record.pid == pid:
                    pod.record = dataclasses.replace(pod.record, draining=True)
                    self._drain(pod)
                else:
                    self._tasks.start(pod.count_guests(pid, restarts))

    async def delete(self) -> None:
        """End the pods, those of an earlier pod manager too; calls in flight may end."""
        await self._cancel()
        await self._adopt()
        self.module = dataclasses.replace(self.module, phase=ModulePhase.DELETING)
        for pod in list(self._pods):
            self._drain(pod)
        self._publish()
        await asyncio.gather(*self._drains, return_exceptions=True)
        self._let_go()
        await self._log.flush()
        await asyncio.to_thread(installer_log(self._host, self.module.name).unlink, missing_ok=True)

    async def detach(self) -> None:
        """Lets the pods go on without this process, those that are ending too: the next one awaits them."""
        await self._cancel()
        for drain in self._drains:
            drain.cancel()
        await asyncio.gather(*self._drains, return_exceptions=True)
        await asyncio.gather(*(pod.detach() for pod in self._pods))
        await self._log.flush()
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
                await self._adopt()
                self._start_missing()
                self._retire()
                failed = [pod.failure for pod in self._current() if pod.failure is not None]
                self._set(error=failed[0] if failed else None)
                pause = _FIRST_PAUSE
            except Exception as raised:  # noqa: BLE001 - logged, and shown as the module's error
                self._set(error=deploy_failure(self.module.name, raised))
                limit, pause = pause, min(pause * 2, _LONGEST_PAUSE)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit):
                    await self._changed.wait()

    async def _prepare(self) -> Runtime:
        """What pods of the spec, as it is when this returns, run in; raises OrcError where there can't be that."""
        while True:
            spec = self.module.spec
            try:
                async with self._preparing:
                    try:
                        runtime = await self._runtime(spec)
                    finally:
                        await self._log.flush()  # so that a failure's lines are there when it is
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
            lock = await self._host.environments.resolve(spec, self._take_line)
            await self._keep_lock(spec, lock)
        if self._held is None or self._held[0] != lock or not self._held[1].interpreter.exists():
            self._stage = ModulePhase.BUILDING
            environment = await self._host.environments.ensure(lock, self._take_line)
            self._let_go()
            self._held = (lock, environment)
        folders, source = tuple[Path, ...](), None
        if spec.source is not None and not spec.source.kind.is_installed:
            source = self._host.sources.home(spec.source)
            try:
                folders = await asyncio.to_thread(self._host.sources.import_folders, spec.source)
            except OSError as failure:
                raise error("SOURCE_NOT_STORED", f"the source can't be unpacked: {failure}") from failure
        return Runtime(self._held[1].interpreter, folders, source, self._held[1].fd)

    def _take_line(self, line: str) -> None:
        """Shows and logs what the installer tells."""
        text = line.strip()
        self._log.add("installer", text)
        stage = stage_of(text)
        if stage is not None:  # else it is a detail
            self._stage = stage
            self._set(progress=text[:MAX_PROGRESS])

    def _let_go(self) -> None:
        if self._held is not None:
            self._held[1].release()
            self._held = None

    def _current(self) -> list[LocalPod]:
        """The pods of the spec as it is, those that are leaving left out."""
        revision = self.module.spec.revision()
        return [pod for pod in self._pods if pod.record.revision == revision and pod.phase is not PodPhase.DRAINING]

    async def _adopt(self) -> None:
        """Take over, once, the processes that an earlier pod manager has left; those of another spec or run end."""
        while self._found:
            record = self._found.pop()
            process = adopted(record)
            if process is None:
                await asyncio.to_thread(forget, self._host, record.name)
                continue
            self._keep(record, process)
            wanted = (self.module.spec.revision(), self._host.run_id, False)
            if (record.revision, record.run_id, record.draining) != wanted:
                self._drain(self._pods[-1])

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
            self._keep(record)

    def _keep(self, record: PodRecord, process: ManagedProcess | None = None) -> None:
        self._pods.append(LocalPod(self._host, self.module.spec, record, self._publish, self._prepare, process))

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
        task = self._tasks.start(self._drained(pod))
        self._drains.add(task)
        task.add_done_callback(self._drains.discard)

    async def _drained(self, pod: LocalPod) -> None:
        try:
            await pod.drain()
        except OSError as failure:
            logger.warning("what is left of pod %s can't be removed: %s", pod.record.name, failure)
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
        work = ModulePhase.STARTING if pods else self._stage
        self.module = dataclasses.replace(module, phase=phase_of(module, work))
        self._show(self.module)


def installer_log(host: Host, name: str) -> Path:
    """Where the installer's lines for a module are."""
    return host.logs / f"{name}.installer.log"
