"""What every backend does: one suite, run on each."""

from __future__ import annotations

import asyncio
import dataclasses
from ipaddress import ip_address
from typing import Any

import pytest

from jac_orc.errors import OrcError, error
from jac_orc.pod_manager.backends.base import Backend
from jac_orc.pod_manager.backends.fake import FakeBackend
from jac_orc.pod_manager.backends.kube.backend import KubernetesBackend
from jac_orc.pod_manager.backends.local import LocalBackend
from jac_orc.pod_manager.model import Autoscaling, LogLine, ModulePhase, ModuleSpec, PodPhase
from tests.contract.subjects import Subject, settled, watching
from tests.support import eventually, next_where


def proof(local: LocalBackend, fake: FakeBackend, kubernetes: KubernetesBackend) -> tuple[Backend, ...]:
    """Checked by mypy: each backend fits the interface."""
    return (local, fake, kubernetes)


async def test_an_applied_module_becomes_ready(backend: Backend) -> None:
    applied = await backend.apply(ModuleSpec("math"))
    assert (applied.name, applied.generation) == ("math", 1)
    module = await settled(backend, "math")
    assert module.uid == applied.uid
    assert module.phase is ModulePhase.READY
    assert [pod.phase for pod in module.pods] == [PodPhase.READY]
    host, _, port = module.pods[0].address.rpartition(":")
    assert ip_address(host) and int(port) > 0
    assert module.pods[0].generation == 1
    assert module.error is None


async def test_applying_an_equal_spec_changes_nothing(backend: Backend) -> None:
    first = await backend.apply(ModuleSpec("math", env={"A": "1"}))
    before = await settled(backend, "math")
    again = await backend.apply(ModuleSpec("math", env={"A": "1"}))
    assert (again.uid, again.generation) == (first.uid, 1)
    assert (await settled(backend, "math")).pods == before.pods


async def test_applying_another_spec_replaces_the_pods(backend: Backend) -> None:
    await backend.apply(ModuleSpec("math"))
    before = await settled(backend, "math")
    changed = await backend.apply(ModuleSpec("math", env={"A": "1"}))
    assert (changed.uid, changed.generation) == (before.uid, 2)
    assert changed.update_time > before.update_time and changed.create_time == before.create_time
    after = await settled(backend, "math")
    assert after.pods[0].name != before.pods[0].name
    assert after.pods[0].generation == 2


async def test_applying_at_the_same_time_deploys_once(backend: Backend) -> None:
    modules = await asyncio.gather(*(backend.apply(ModuleSpec("math")) for _ in range(5)))
    assert len({module.uid for module in modules}) == 1
    await settled(backend, "math")


async def test_replicas_keep_the_pods_that_there_are(backend: Backend) -> None:
    await backend.apply(ModuleSpec("math", labels={"team": "a"}))
    before = await settled(backend, "math")
    await backend.apply(ModuleSpec("math", replicas=2, labels={"team": "a"}))
    after = await settled(backend, "math")
    assert len(after.pods) == 2 and before.pods[0].name in {pod.name for pod in after.pods}
    await backend.apply(ModuleSpec("math", replicas=1, labels={"team": "a"}))
    assert (await settled(backend, "math")).generation == 3


async def test_scaling_to_nothing_and_back(backend: Backend) -> None:
    await backend.apply(ModuleSpec("math"))
    await settled(backend, "math")
    await backend.apply(ModuleSpec("math", replicas=0))
    await eventually(lambda: [m.phase for m in backend.modules()] == [ModulePhase.IDLE])
    assert (await settled(backend, "math")).pods == ()
    await backend.apply(ModuleSpec("math"))
    assert len((await settled(backend, "math")).ready) == 1


async def test_a_change_keeps_as_many_pods_as_an_autoscaler_has_chosen(backend: Backend) -> None:
    def spec(least: int, most: int, **more: Any) -> ModuleSpec:
        return ModuleSpec("math", autoscaling=Autoscaling(least, most, 1000), **more)

    if isinstance(backend, LocalBackend):
        for refused in (backend.apply(spec(1, 3)), backend.plan(spec(1, 3))):
            with pytest.raises(OrcError) as caught:
                await refused
            assert (caught.value.reason, caught.value.metadata) == ("NOT_IMPLEMENTED", {"fields": "autoscaling"})
        return
    await backend.apply(spec(1, 3, replicas=2))
    before = await settled(backend, "math")
    assert len(before.pods) == 2
    again = await backend.apply(spec(1, 3))
    assert (again.generation, again.spec.replicas) == (1, 2)
    await backend.apply(spec(1, 3, env={"A": "1"}))
    after = await settled(backend, "math")
    assert (after.generation, len(after.pods)) == (2, 2)
    await backend.apply(spec(3, 3, env={"A": "1"}))
    more = await settled(backend, "math")
    assert len(more.pods) == 3 and {pod.name for pod in after.pods} < {pod.name for pod in more.pods}
    await backend.apply(spec(1, 1, env={"A": "1"}))
    assert len((await settled(backend, "math")).pods) == 1


async def test_a_deleted_module_is_gone(backend: Backend) -> None:
    await backend.apply(ModuleSpec("math"))
    await settled(backend, "math")
    await backend.delete("math")
    assert backend.get("math") is None
    assert backend.modules() == []


async def test_deleting_what_is_not_there_is_no_fault(backend: Backend) -> None:
    await backend.delete("math")


async def test_applying_after_deleting_is_a_new_module(backend: Backend) -> None:
    first = await backend.apply(ModuleSpec("math"))
    await settled(backend, "math")
    await backend.delete("math")
    second = await backend.apply(ModuleSpec("math"))
    assert second.uid != first.uid and second.generation == 1
    await settled(backend, "math")


async def test_applying_while_deleting_leaves_the_module_there(backend: Backend) -> None:
    await backend.apply(ModuleSpec("math"))
    await settled(backend, "math")
    deleting = asyncio.create_task(backend.delete("math"))
    await asyncio.sleep(0)
    await backend.apply(ModuleSpec("math"))
    await deleting
    assert (await settled(backend, "math")).ready


async def test_a_plan_makes_nothing(backend: Backend) -> None:
    planned = await backend.plan(ModuleSpec("math", replicas=2))
    assert await backend.plan(ModuleSpec("math", replicas=2)) == planned
    assert backend.modules() == []
    kinds = ["Deployment", "Service", "PodDisruptionBudget"] if isinstance(backend, KubernetesBackend) else []
    assert [document["kind"] for document in planned] == kinds
    await backend.apply(ModuleSpec("math"))
    await backend.plan(ModuleSpec("math", replicas=2))
    assert (await settled(backend, "math")).generation == 1


async def test_modules_are_sorted_by_name(backend: Backend) -> None:
    for name in ("string", "math", "Math.x"):
        await backend.apply(ModuleSpec(name, replicas=0))
    assert [module.name for module in backend.modules()] == ["Math.x", "math", "string"]


async def test_a_module_that_cannot_be_imported_tells_why(subject: Subject) -> None:
    await subject.backend.apply(ModuleSpec(subject.broken_module))
    await eventually(lambda: [m.phase for m in subject.backend.modules()] == [ModulePhase.FAILED], 60)
    module = subject.backend.get(subject.broken_module)
    assert module is not None and module.error is not None and not module.ready
    assert module.error.reason == "MODULE_IMPORT_FAILED"
    assert "importing msvcrt failed" in module.error.message


async def test_a_failing_change_keeps_the_pods_that_answer(subject: Subject) -> None:
    backend = subject.backend
    await backend.apply(ModuleSpec("math"))
    before = await settled(backend, "math")
    if isinstance(backend, FakeBackend):
        backend.fail("math", error("ENVIRONMENT_FAILED", "the requirements can't be installed"))
    await backend.apply(dataclasses.replace(before.spec, **subject.failing_change))
    await eventually(lambda: (backend.get("math") or before).error is not None, 60)
    module = backend.get("math")
    assert module is not None and module.error is not None
    assert module.error.reason in ("ENVIRONMENT_FAILED", "MODULE_IMPORT_FAILED")
    assert [pod.name for pod in module.ready] == [before.pods[0].name]
    assert module.phase is ModulePhase.READY and not module.settled
    await backend.apply(before.spec)
    if isinstance(backend, FakeBackend):
        backend.fail("math", None)
    after = await settled(backend, "math")
    assert after.error is None and after.pods == before.pods and after.generation == 3


async def test_a_crashed_pod_is_started_again(subject: Subject) -> None:
    await subject.backend.apply(ModuleSpec("math"))
    module = await settled(subject.backend, "math")
    async with watching(subject.backend) as changes:
        assert (await anext(changes))[0].ready
        await subject.crash(module)
        again, _ = await next_where(
            changes, lambda change: bool(change[0].ready) and change[0].pods[0].restarts > 0, 60
        )
    assert [pod.name for pod in again.pods] == [module.pods[0].name]
    assert again.pods[0].restarts == 1 and again.generation == 1


async def test_a_watch_tells_what_is_there_then_what_changes(backend: Backend) -> None:
    await backend.apply(ModuleSpec("math"))
    await settled(backend, "math")
    async with watching(backend) as changes:
        module, gone = await anext(changes)
        assert module.name == "math" and module.settled and not gone
        await backend.apply(ModuleSpec("string", replicas=0))
        module, gone = await next_where(changes, lambda change: change[0].name == "string")
        assert module.generation == 1 and not gone
        await backend.delete("math")
        module, gone = await next_where(changes, lambda change: change[0].name == "math" and change[1])
        assert not module.ready


async def test_a_slow_watcher_gets_the_latest_state_only(backend: Backend) -> None:
    await backend.apply(ModuleSpec("math", replicas=0))
    async with watching(backend) as changes:
        await anext(changes)
        for number in range(10):
            await backend.apply(ModuleSpec("math", replicas=0, labels={"n": str(number)}))
        await settled(backend, "math")
        module, _ = await anext(changes)
        assert module.generation == 11 and module.settled


async def test_a_watch_misses_nothing_that_happens_before_its_first_look(backend: Backend) -> None:
    async with watching(backend) as changes:
        await backend.apply(ModuleSpec("math", replicas=0))
        module, gone = await next_where(changes, lambda _: True, seconds=1)
        assert module.name == "math" and not gone


async def test_logs_give_the_last_lines(subject: Subject) -> None:
    module = await deployed_with_logs(subject)
    lines = [line async for line in subject.backend.logs("math", follow=False, tail=1)]
    assert [(line.pod, line.stream, line.text) for line in lines] == [(module, "server", "serving math")]
    assert lines[0].time.startswith("20")
    assert [line async for line in subject.backend.logs("math", follow=False, tail=0)] == []


async def test_logs_of_no_module_are_empty(backend: Backend) -> None:
    assert [line async for line in backend.logs("math", follow=False, tail=10)] == []


async def test_followed_logs_give_new_lines(subject: Subject) -> None:
    pod = await deployed_with_logs(subject)
    lines: list[LogLine] = []

    async def follow() -> None:
        async for line in subject.backend.logs("math", follow=True, tail=0):
            lines.append(line)

    following = asyncio.create_task(follow())
    await asyncio.sleep(0.3)
    assert lines == []
    module = subject.backend.get("math")
    assert module is not None
    await subject.crash(module)  # started again, the pod tells that it serves, as before
    await eventually(lambda: module.ready)
    await subject.write_log(module)
    await eventually(lambda: "serving math" in [line.text for line in lines])
    assert {line.pod for line in lines} == {pod}
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def deployed_with_logs(subject: Subject) -> str:
    """Deploys math and answers the name of its pod, which has told that it serves."""
    await subject.backend.apply(ModuleSpec("math"))
    module = await settled(subject.backend, "math")
    await subject.write_log(module)
    return module.pods[0].name
