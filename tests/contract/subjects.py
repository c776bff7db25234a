"""The backends that the suite runs on, each with the ways to disturb it from outside."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import warnings
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

from jac_orc.errors import error
from jac_orc.pod_manager.backends.base import Backend
from jac_orc.pod_manager.backends.fake import FakeBackend
from jac_orc.pod_manager.backends.kube.backend import KubernetesBackend
from jac_orc.pod_manager.backends.local import LocalBackend
from jac_orc.pod_manager.environments import Environments
from jac_orc.pod_manager.locks import Locks
from jac_orc.pod_manager.model import Module, ModulePhase
from jac_orc.pod_manager.policy import Policy
from jac_orc.pod_manager.settings import Settings
from jac_orc.pod_manager.sources import Sources
from tests.cluster.kubectl import end_pods, kubectl
from tests.support import eventually


class Subject(Protocol):
    """A backend under test."""

    broken_module: str
    failing_change: ClassVar[dict[str, Any]]
    """What a spec of `math` can be changed to that can't be deployed."""

    @property
    def backend(self) -> Backend:
        """The backend."""

    async def crash(self, module: Module) -> None:
        """Has a pod of the module crash."""

    async def write_log(self, module: Module) -> None:
        """Has the log of each pod of the module get a line more."""


class Fake:
    """The fake one."""

    broken_module = "msvcrt"
    failing_change: ClassVar[dict[str, Any]] = {"env": {"A": "fails"}}

    def __init__(self) -> None:
        self.backend = FakeBackend()
        self.backend.fail(self.broken_module, error("MODULE_IMPORT_FAILED", "importing msvcrt failed"))

    async def crash(self, module: Module) -> None:
        self.backend.crash(module.name)

    async def write_log(self, module: Module) -> None:
        self.backend.log(module.name, f"serving {module.name}", "server")


class Local:
    """The one of this machine, with real processes below a directory."""

    broken_module = "msvcrt"  # in the standard library of Windows only
    failing_change: ClassVar[dict[str, Any]] = {"requirements": ("jac-x==2", "jac-x==1")}

    def __init__(self, state: Path, environments: Path, run_id: str = "run") -> None:
        self.state = state
        sources = Sources(state / "sources")
        locks = Locks(environments / "locks", sources, Policy())
        settings = Settings(state_dir=state, run_id=run_id)
        self.backend = LocalBackend(settings, Environments(environments / "built", locks), sources, Policy())

    def processes(self) -> dict[str, int]:
        """The process ids of the pods, by the pods' names."""
        records = [json.loads(file.read_text()) for file in (self.state / "pods").glob("*.json")]
        return {record["name"]: record["pid"] for record in records}

    async def crash(self, module: Module) -> None:
        os.kill(self.processes()[module.pods[0].name], signal.SIGKILL)

    async def write_log(self, module: Module) -> None:
        """A pod tells by itself that it serves."""
        log = self.state / "logs" / f"{module.pods[0].name}.log"
        await eventually(lambda: "serving" in log.read_text())

    async def leave(self) -> None:
        """Stops as a pod manager that ends, whose pods go on."""
        await self.backend.stop()
        with warnings.catch_warnings(action="ignore", category=ResourceWarning):  # nobody waits for its children now
            del self.backend
            gc.collect()

    async def close(self) -> None:
        """Deletes all modules, then stops."""
        for module in self.backend.modules():
            await self.backend.delete(module.name)
        await self.backend.stop()


class Kubernetes:
    """The one of a cluster, in a namespace of its own."""

    broken_module = "msvcrt"
    failing_change: ClassVar[dict[str, Any]] = {"import_timeout": 1e-6}

    def __init__(self, backend: KubernetesBackend, namespace: str) -> None:
        self.backend = backend
        self._namespace = namespace

    async def crash(self, module: Module) -> None:
        """The first process of a container can't be killed from within; it can be told to end, which is as unwanted."""
        command = ("python", "-c", "import os; os.kill(1, 15)")
        await asyncio.to_thread(kubectl, "-n", self._namespace, "exec", module.pods[0].name, "--", *command)

    async def write_log(self, module: Module) -> None:
        """A pod tells by itself that it serves."""

    async def close(self) -> None:
        """Deletes all modules, whose pods need not drain, then stops."""
        deleting = asyncio.gather(*(self.backend.delete(module.name) for module in self.backend.modules()))
        await eventually(lambda: all(each.phase is ModulePhase.DELETING for each in self.backend.modules()), 60)
        await asyncio.to_thread(end_pods, self._namespace)
        await deleting
        await self.backend.stop()


@asynccontextmanager
async def watching(backend: Backend) -> AsyncIterator[AsyncIterator[tuple[Module, bool]]]:
    """The changes that the backend tells of, until the end of the block."""
    changes = backend.watch()
    try:
        yield changes
    finally:
        await cast(AsyncGenerator[tuple[Module, bool]], changes).aclose()


async def settled(backend: Backend, name: str) -> Module:
    """The module once all is as its spec says, older pods gone."""

    def module() -> Module | None:
        found = backend.get(name)
        return found if found is not None and found.settled and len(found.pods) == found.spec.replicas else None

    found = await eventually(module, 60)
    assert found is not None
    return found
