"""A backend without processes, for tests and benchmarks: whatever is applied is there at once.

Pods are names with an address, where a test may have a real server listening. Nothing outlives the process. A module
can be told to fail, and a pod to crash; the rest of the contract in `base` holds as it does for the real backends.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

from jac_orc.core.tasks import Faults
from jac_orc.errors import OrcError
from jac_orc.pod_manager.backends.known_modules import KnownModules
from jac_orc.pod_manager.model import LogLine, Module, ModulePhase, ModuleSpec, Pod, PodPhase, phase_of


class FakeBackend(KnownModules):
    """Keeps modules in memory; `address` is where each pod is, or a function that tells it for a module's name."""

    def __init__(self, address: str | Callable[[str], str] = "127.0.0.1:1") -> None:
        super().__init__()
        self._address = address
        self._failures: dict[str, OrcError] = {}
        self._lines: dict[str, list[LogLine]] = {}
        self._logged = asyncio.Event()
        self.faults = Faults()

    def fail(self, name: str, failure: OrcError | None) -> None:
        """Has the module's next specs fail with this; None: no longer. A module that is there is tried again."""
        self._failures.pop(name, None)
        if failure is not None:
            self._failures[name] = failure
        if module := self._modules.get(name):
            self._settle(module)

    def crash(self, name: str) -> None:
        """Ends each pod of the module, and starts it again: those who watch are told of both."""
        for phase, more in ((PodPhase.CRASHED, 0), (PodPhase.READY, 1)):
            module = self._modules[name]
            pods = (dataclasses.replace(pod, phase=phase, restarts=pod.restarts + more) for pod in module.pods)
            self._set(dataclasses.replace(module, pods=tuple(pods)))

    def log(self, name: str, text: str, stream: str = "stdout") -> None:
        """Adds a line to the log of each of the module's pods."""
        now = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
        lines = self._lines.setdefault(name, [])
        lines += [LogLine(now, pod.name, stream, text) for pod in self._modules[name].pods]
        self._logged.set()
        self._logged = asyncio.Event()

    async def start(self) -> None:
        """There is nothing to take up."""

    async def stop(self) -> None:
        """There is nothing to let go of."""

    async def apply(self, spec: ModuleSpec) -> Module:
        old, now = self._modules.get(spec.module_name), time.time()
        if old is None:
            return self._settle(Module(spec, uuid.uuid4().hex, 1, now, now, ModulePhase.STARTING))
        if not old.spec.differing_fields(spec):
            return old
        if old.spec.autoscaling is not None and spec.autoscaling is not None:
            spec = spec.scaled_to(old.spec.replicas)
        pods = old.pods if old.spec.revision() == spec.revision() else ()
        changed = dataclasses.replace(old, spec=spec, generation=old.generation + 1, update_time=now)
        return self._settle(changed, kept=pods)

    async def plan(self, spec: ModuleSpec) -> list[dict[str, Any]]:
        return []

    async def delete(self, name: str) -> None:
        if module := self.get(name):
            module = dataclasses.replace(module, phase=ModulePhase.DELETING, pods=())
            self._lines.pop(name, None)
            self.publish(module, gone=True)

    async def logs(self, name: str, *, follow: bool, tail: int) -> AsyncIterator[LogLine]:
        own = self._lines.get(name, ())
        last: dict[str, deque[LogLine]] = {}
        for line in own:
            last.setdefault(line.pod, deque(maxlen=tail)).append(line)
        seen = len(own)
        for line in sorted(itertools.chain.from_iterable(last.values()), key=lambda line: line.time):
            yield line
        while follow:
            logged, lines = self._logged, self._lines.get(name, ())[seen:]
            for line in lines:
                yield line
            seen += len(lines)
            await logged.wait()

    def _settle(self, module: Module, kept: tuple[Pod, ...] | None = None) -> Module:
        """Makes of the module what its spec says, or has it fail: then the pods that there were go on."""
        failure = self._failures.get(module.name)
        if failure is not None:
            return self._set(dataclasses.replace(module, error=failure))
        pods = list(module.pods if kept is None else kept)[: module.spec.replicas]
        address = self._address if isinstance(self._address, str) else self._address(module.name)
        for _ in range(module.spec.replicas - len(pods)):
            name = f"{module.name}-{uuid.uuid4().hex[:6]}"
            pods.append(Pod(name, PodPhase.READY, address, 0, module.generation))
        module = dataclasses.replace(module, pods=tuple(pods), error=None)
        return self._set(dataclasses.replace(module, observed_generation=module.generation))

    def _set(self, module: Module) -> Module:
        module = dataclasses.replace(module, phase=phase_of(module, ModulePhase.STARTING))
        self.publish(module)
        return module
