"""Every long-running task of a pod manager is supervised: it is killed once, health shows it, and nothing is missed."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from jac_orc.pod_manager.__main__ import PodManager
from jac_orc.pod_manager.backends.base import Backend
from jac_orc.pod_manager.backends.fake import FakeBackend
from jac_orc.pod_manager.backends.kube import objects
from jac_orc.pod_manager.backends.kube.backend import KubernetesBackend
from jac_orc.pod_manager.backends.kube.pods import Cluster, Runtime
from jac_orc.pod_manager.backends.kube.store import Store
from jac_orc.pod_manager.environments import Environments
from jac_orc.pod_manager.locks import Locks
from jac_orc.pod_manager.model import Module, ModuleSpec, PodPhase
from jac_orc.pod_manager.policy import Policy
from jac_orc.pod_manager.settings import Settings
from jac_orc.pod_manager.sources import Sources
from jac_orc.pod_manager.xds.resources import ENDPOINTS_TYPE, module_resource_name
from tests.contract.subjects import Local
from tests.feature.api_server import ApiServer
from tests.feature.xds_front import free_port
from tests.support import SERVICES

SERVICE = "jac_orc.v1.PodManagerService"
CLUSTER = Cluster("orc", "jac-cloud-orc:1")


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


class Running:
    """A running pod manager, and what a client sees of its health."""

    def __init__(self, manager: PodManager, port: int) -> None:
        self.manager = manager
        self.port = port
        self.seen: dict[str, list[str]] = {"": [], SERVICE: [], "liveness": []}

    def published(self, name: str) -> bool:
        return module_resource_name(name) in self.manager.snapshot.resources(ENDPOINTS_TYPE)

    async def watch(self, service: str) -> None:
        """Write down each state that the health service tells."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            async for answer in stub.Watch(health_pb2.HealthCheckRequest(service=service)):
                self.seen[service].append(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


@asynccontextmanager
async def running(backend: Backend, directory: Path) -> AsyncIterator[Running]:
    ports = free_port(), free_port()
    settings = Settings(port=ports[0], xds_port=ports[1], state_dir=directory, cache_dir=directory, stop_grace=0.6)
    manager = PodManager(settings, "127.0.0.1", Policy(), backend, Sources(directory / "sources"))
    await manager.start()
    found = Running(manager, settings.port)
    watches = [asyncio.create_task(found.watch(service)) for service in found.seen]
    try:
        await until(lambda: all(states == ["SERVING"] for states in found.seen.values()))
        yield found
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        await manager.stop()


def tasks_of_ours() -> dict[str, str]:
    """The tasks that run code of this package and answer no call, by name."""
    found = {}
    for task in asyncio.all_tasks():
        code = getattr(task.get_coro(), "cr_code", None)
        if code is not None and str(SERVICES) in code.co_filename and code.co_qualname != "Rpc._run":
            found[task.get_name()] = f"{code.co_qualname} in {code.co_filename}"
    return found


async def all_supervised(expected: set[str]) -> None:
    """Wait until nothing of this package runs but supervised tasks, the expected ones among them."""
    names: dict[str, str] = {}
    try:
        async with asyncio.timeout(10):
            while not names or not all(name.startswith(SUPERVISED) for name in names):
                await asyncio.sleep(0.05)
                names = tasks_of_ours()
    except TimeoutError:
        pytest.fail(f"not all are supervised: {names}")
    assert names.keys() >= {SUPERVISED + name for name in expected}


SUPERVISED = "supervised: "
WATCHES = {
    "watching modules for waiting callers", "publishing modules to Envoy",
    "closing connections to pods that are gone", "showing the health",
}  # fmt: skip


class FlakyBackend(FakeBackend):
    """A fake one whose watches break when the test says so."""

    def __init__(self, address: str = "127.0.0.1:1") -> None:
        super().__init__(address)
        self.breaks = 0
        self._break = asyncio.Event()

    def break_watches(self, times: int) -> None:
        """Have all watches raise now, and as many in all."""
        self.breaks = times
        self._break.set()
        self._break = asyncio.Event()

    async def watch(self) -> AsyncGenerator[tuple[Module, bool]]:
        changes = cast(AsyncGenerator[tuple[Module, bool]], super().watch())
        async with contextlib.aclosing(changes):
            broken, change = asyncio.ensure_future(self._break.wait()), asyncio.ensure_future(anext(changes))
            try:
                while True:
                    await asyncio.wait([change, broken], return_when=asyncio.FIRST_COMPLETED)
                    if broken.done():
                        self.breaks -= 1
                        raise RuntimeError("the watch broke")
                    yield change.result()
                    change = asyncio.ensure_future(anext(changes))
            finally:
                for waiting in (broken, change):
                    waiting.cancel()
                await asyncio.gather(broken, change, return_exceptions=True)


async def test_every_watch_of_a_pod_manager_recovers_and_has_missed_nothing(
    no_task_left: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend = FlakyBackend()
    async with running(backend, tmp_path) as pod_manager:
        for name in ("math", "json"):
            await backend.apply(ModuleSpec(name))
        await until(lambda: pod_manager.published("math") and pod_manager.published("json"))
        backend.break_watches(3)
        await until(lambda: not backend.breaks)
        await backend.delete("math")
        await backend.apply(ModuleSpec("string"))
        await until(lambda: pod_manager.published("string") and not pod_manager.published("math"))
        assert pod_manager.published("json")
        await until(lambda: pod_manager.seen[""][-1] == pod_manager.seen[SERVICE][-1] == "SERVING")
        assert "NOT_SERVING" in pod_manager.seen[""] and "NOT_SERVING" in pod_manager.seen[SERVICE]
        assert pod_manager.seen["liveness"] == ["SERVING"]
    for name in WATCHES - {"showing the health"}:
        assert f"{name} failed; trying again" in caplog.text
    assert "RuntimeError: the watch broke" in caplog.text


async def test_a_caller_that_waits_is_woken_by_what_its_watch_missed(no_task_left: None, tmp_path: Path) -> None:
    backend = FlakyBackend()
    async with running(backend, tmp_path) as pod_manager:
        module = await backend.apply(ModuleSpec("math", replicas=1))
        pods = tuple(dataclasses.replace(pod, phase=PodPhase.STARTING) for pod in module.pods)
        backend._set(dataclasses.replace(module, pods=pods))
        waiting = asyncio.create_task(pod_manager.manager.modules.ready("math"))
        await asyncio.sleep(0.05)
        backend.break_watches(3)
        await until(lambda: not backend.breaks)
        backend._set(module)
        assert (await asyncio.wait_for(waiting, 5)).ready


async def test_a_module_that_envoy_cant_get_holds_up_no_other(
    no_task_left: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend = FlakyBackend()
    async with running(backend, tmp_path) as pod_manager:
        module = await backend.apply(ModuleSpec("math"))
        await until(lambda: pod_manager.published("math"))
        bad = dataclasses.replace(module.pods[0], address="nowhere")
        backend._set(dataclasses.replace(module, pods=(bad,)))
        await until(lambda: pod_manager.seen[SERVICE] == ["SERVING", "NOT_SERVING"])
        await backend.apply(ModuleSpec("json"))
        await until(lambda: pod_manager.published("json"))
        assert pod_manager.seen[""] == ["SERVING"], "all pod managers fail at this module: none is better"
        backend._set(module)
        await until(lambda: pod_manager.seen[SERVICE] == ["SERVING", "NOT_SERVING", "SERVING"])
    assert "math can't be published to Envoy" in caplog.text and "'nowhere' is not of the form" in caplog.text


async def test_all_tasks_of_a_pod_manager_on_one_machine_are_supervised(
    no_task_left: None, no_child_left: None, tmp_path: Path
) -> None:
    local = Local(tmp_path / "state", tmp_path / "environments")
    await local.backend.start()
    async with running(local.backend, tmp_path):
        module = await local.backend.apply(ModuleSpec("math"))
        await until(lambda: (now := local.backend.get("math")) and now.ready, 60)
        module = local.backend.get("math") or module
        await all_supervised(
            {*WATCHES, "removing unused sources and environments", "deploying math",
             f"keeping pod {module.pods[0].name}"}
        )  # fmt: skip
    await local.close()


async def test_every_informer_survives_garbage_and_lists_again(
    no_task_left: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = ApiServer()
    async with server.served() as client:
        backend = KubernetesBackend(client, CLUSTER, None)
        await backend.start()
        async with running(backend, tmp_path) as pod_manager:
            await backend.apply(ModuleSpec("math"))
            await all_supervised({*WATCHES, "checking unsettled modules again"})
            tasks = [name.removeprefix(SUPERVISED) for name in tasks_of_ours()]
            informers = [name for name in tasks if name.startswith("following ")]
            assert len(informers) >= 6
            for informer in informers:
                before = len(pod_manager.seen[SERVICE])
                server.say_garbage(informer.removeprefix("following "))
                await until(lambda: len(pod_manager.seen[SERVICE]) >= before + 2)  # noqa: B023 - awaited at once
                assert f"{informer} failed; trying again" in caplog.text
            assert pod_manager.seen[SERVICE][-2:] == ["NOT_SERVING", "SERVING"]
            assert "NOT_SERVING" in pod_manager.seen[""]
            await backend.apply(ModuleSpec("json"))
        await backend.stop()


async def test_a_pod_manager_stays_ready_while_the_api_server_is_away(no_task_left: None, tmp_path: Path) -> None:
    server = ApiServer()
    async with server.served() as client:
        backend = KubernetesBackend(client, CLUSTER, None)
        await backend.start()
        async with running(backend, tmp_path) as pod_manager:
            server.away = True
            server.end_watches()
            await until(lambda: pod_manager.seen[SERVICE] == ["SERVING", "NOT_SERVING"])
            server.away = False
            await until(lambda: pod_manager.seen[SERVICE] == ["SERVING", "NOT_SERVING", "SERVING"])
            assert pod_manager.seen[""] == pod_manager.seen["liveness"] == ["SERVING"]
        await backend.stop()


class StaleStore(Store):
    """A store whose volume is away for a while, as NFS tells it."""

    is_stale = True

    async def runtime(self, spec: ModuleSpec) -> Runtime | None:
        if self.is_stale:
            raise OSError(errno.ESTALE, "Stale file handle")
        return await super().runtime(spec)


async def test_a_module_whose_store_breaks_is_tried_again(
    no_task_left: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server, spec = ApiServer(), ModuleSpec("orc_x", requirements=("orc-x",))
    sources = Sources(tmp_path / "sources")
    store = StaleStore(Environments(tmp_path / "environments", Locks(tmp_path / "locks", sources, Policy())), sources)
    async with server.served() as client:
        backend = KubernetesBackend(client, CLUSTER, store)
        await backend.start()
        name = objects.object_name("orc_x")
        server.put(CLUSTER.path("Deployment", name), objects.claim(CLUSTER, objects.Record.first(spec)))
        await until(lambda: (module := backend.get("orc_x")) and module.error)
        module = backend.get("orc_x")
        assert module is not None and module.error is not None and module.error.reason == "INTERNAL"
        assert "deploying orc_x failed" in caplog.text and "Stale file handle" in caplog.text
        store.is_stale = False
        await until(lambda: any("/jobs/" in path for path in server.objects))
        await backend.stop()
