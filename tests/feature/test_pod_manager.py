"""PodManagerService: create, get, list, update, scale, delete, watch, logs, plan."""

from __future__ import annotations

import asyncio
import base64
import gc
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf import duration_pb2, field_mask_pb2
from google.rpc import error_details_pb2

from jac_orc.errors import error
from jac_orc.pod_manager.backends.fake import FakeBackend
from jac_orc.pod_manager.model import Module, ModuleSpec
from jac_orc.v1 import pod_manager_pb2 as pb
from tests.feature.module_servers import Failure
from tests.feature.pod_managers import PodManager, failure, running_pod_manager

Code = grpc.StatusCode


def violations(told: Failure) -> list[str]:
    (request,) = [detail for detail in told.error.details if isinstance(detail, error_details_pb2.BadRequest)]
    return [violation.field for violation in request.field_violations]


async def create(manager: PodManager, **fields: Any) -> Any:
    answer = await manager.native.CreateModule(pb.CreateModuleRequest(spec=pb.ModuleSpec(**fields)))
    return answer.module


async def update(manager: PodManager, *paths: str, **fields: Any) -> Any:
    request = pb.UpdateModuleRequest(spec=pb.ModuleSpec(**fields), update_mask=field_mask_pb2.FieldMask(paths=paths))
    return (await manager.native.UpdateModule(request)).module


async def test_a_created_module_is_ready_with_its_defaults_filled_in(manager: PodManager) -> None:
    module = await create(manager, module_name="sklearn.linear_model")
    assert (module.name, module.generation) == ("sklearn.linear_model", 1)
    assert module.status.phase == pb.MODULE_PHASE_READY and module.status.ready_replicas == 1
    assert module.status.pods[0].phase == pb.POD_PHASE_READY and module.status.observed_generation == 1
    spec = module.spec
    assert list(spec.requirements) == ["scikit-learn"]
    assert (spec.replicas, spec.workers, spec.max_concurrency, spec.queue, spec.timeout.seconds) == (
        1,
        1,
        16,
        1000,
        300,
    )
    got = await manager.native.GetModule(pb.GetModuleRequest(module_name="sklearn.linear_model"))
    assert got.module == module


async def test_an_equal_spec_again_answers_the_module(manager: PodManager) -> None:
    first = await create(manager, module_name="math", env={"A": "1"})
    assert await create(manager, module_name="math", env={"A": "1"}, replicas=1) == first


async def test_another_spec_tells_the_fields_that_differ(manager: PodManager) -> None:
    await create(manager, module_name="math")
    for wait in (True, False):
        spec = pb.ModuleSpec(module_name="math", replicas=2, env={"A": "1"})
        told = await failure(manager.native.CreateModule(pb.CreateModuleRequest(spec=spec, wait=wait)))
        assert (told.code, told.error.reason) == (Code.ALREADY_EXISTS, "MODULE_SPEC_DIFFERS")
        assert told.error.metadata == {"module": "math", "fields": "replicas,env"}


async def test_a_creation_that_fails_leaves_nothing_behind(manager: PodManager, backend: FakeBackend) -> None:
    backend.fail("math", error("MODULE_IMPORT_FAILED", "importing math failed"))
    told = await failure(manager.native.CreateModule(pb.CreateModuleRequest(spec=pb.ModuleSpec(module_name="math"))))
    assert (told.code, told.error.reason) == (Code.FAILED_PRECONDITION, "MODULE_IMPORT_FAILED")
    assert backend.modules() == []


async def test_a_creation_that_nobody_waits_for_tells_its_failure_later(
    manager: PodManager, backend: FakeBackend
) -> None:
    backend.fail("math", error("ENVIRONMENT_FAILED", "no such version"))
    request = pb.CreateModuleRequest(spec=pb.ModuleSpec(module_name="math"), wait=False)
    module = (await manager.native.CreateModule(request)).module
    assert module.status.phase == pb.MODULE_PHASE_FAILED and module.status.error.message == "no such version"


@pytest.mark.parametrize(
    ("name", "reason", "code"),
    [
        ("", "MODULE_NAME_INVALID", Code.INVALID_ARGUMENT), ("../../x", "MODULE_NAME_INVALID", Code.INVALID_ARGUMENT),
        ("x" * 10_000, "MODULE_NAME_INVALID", Code.INVALID_ARGUMENT),
        ("a-b", "MODULE_NAME_INVALID", Code.INVALID_ARGUMENT),
        ("_thread", "NAME_NOT_EXPOSED", Code.PERMISSION_DENIED),
        ("os._exit", "NAME_NOT_EXPOSED", Code.PERMISSION_DENIED),
    ],
)  # fmt: skip
async def test_bad_names(manager: PodManager, name: str, reason: str, code: Code) -> None:
    spec = pb.ModuleSpec(module_name=name)
    for call in (
        manager.native.CreateModule(pb.CreateModuleRequest(spec=spec)),
        manager.native.CreateModule(pb.CreateModuleRequest(spec=spec, wait=False)),
        manager.native.PlanModule(pb.PlanModuleRequest(spec=spec)),
    ):
        told = await failure(call)
        assert (told.error.reason, told.code) == (reason, code)
    for call in (
        manager.native.GetModule(pb.GetModuleRequest(module_name=name)),
        manager.native.DeleteModule(pb.DeleteModuleRequest(module_name=name)),
        manager.native.ScaleModule(pb.ScaleModuleRequest(module_name=name)),
        manager.native.UpdateModule(pb.UpdateModuleRequest(spec=spec)),
    ):
        assert (await failure(call)).error.reason == reason


async def test_what_is_not_there_is_not_found(manager: PodManager) -> None:
    for call in (
        manager.native.GetModule(pb.GetModuleRequest(module_name="math")),
        manager.native.DeleteModule(pb.DeleteModuleRequest(module_name="math")),
        manager.native.ScaleModule(pb.ScaleModuleRequest(module_name="math", replicas=1)),
        manager.native.UpdateModule(pb.UpdateModuleRequest(spec=pb.ModuleSpec(module_name="math"))),
        manager.native.ReadLogs(pb.ReadLogsRequest(module_name="math")).read(),
    ):
        told = await failure(call)
        assert (told.code, told.error.reason, told.error.metadata) == (
            Code.NOT_FOUND, "MODULE_NOT_FOUND", {"module": "math"},
        )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "faults"),
    [
        ({"replicas": -1}, ["replicas"]), ({"workers": 0, "queue": -1}, ["workers", "queue"]),
        ({"requirements": ["="], "env": {"A=": ""}}, ["requirements[0]", "env"]),
        ({"python_version": "x"}, ["python_version"]),
        ({"autoscaling": pb.Autoscaling()}, ["autoscaling.max_replicas", "autoscaling.target_cpu"]),
        (
            {"autoscaling": pb.Autoscaling(min_replicas=3, max_replicas=2, target_cpu=80)},
            ["autoscaling.min_replicas"],
        ),
        ({"timeout": duration_pb2.Duration()}, ["timeout"]),
        ({"timeout": duration_pb2.Duration(seconds=-5)}, ["timeout"]),
        ({"timeout": duration_pb2.Duration(seconds=10**6)}, ["timeout"]),
        ({"timeout": duration_pb2.Duration(seconds=2**62)}, ["timeout"]),
    ],
    ids=str,
)  # fmt: skip
async def test_a_faulty_spec_tells_each_fault(manager: PodManager, fields: Any, faults: list[str]) -> None:
    spec = pb.ModuleSpec(module_name="math", **fields)
    await_calls = [
        manager.native.CreateModule(pb.CreateModuleRequest(spec=spec)),
        manager.native.PlanModule(pb.PlanModuleRequest(spec=spec)),
    ]
    for call in await_calls:
        told = await failure(call)
        assert (told.code, told.error.reason) == (Code.INVALID_ARGUMENT, "SPEC_INVALID")
        assert violations(told) == faults


@pytest.mark.parametrize(
    ("field", "named"),
    [
        ({"expose": ["a*"]}, "expose"),
        ({"autoscaling": pb.Autoscaling(max_replicas=2, target_concurrency=4)}, "autoscaling.target_concurrency"),
        (
            {"autoscaling": pb.Autoscaling(max_replicas=2, target_concurrency=4, target_cpu=80)},
            "autoscaling.target_concurrency",
        ),
        ({"autoscaling": pb.Autoscaling(min_replicas=0, max_replicas=2, target_cpu=80)}, "autoscaling.min_replicas"),
    ],
)
async def test_what_is_to_come_is_refused_and_not_ignored(manager: PodManager, field: Any, named: str) -> None:
    spec = pb.ModuleSpec(module_name="math", **field)
    told = await failure(manager.native.CreateModule(pb.CreateModuleRequest(spec=spec)))
    assert (told.code, told.error.reason) == (Code.UNIMPLEMENTED, "NOT_IMPLEMENTED")
    assert told.error.metadata == {"fields": named}
    await create(manager, module_name="math")
    assert (await failure(update(manager, *field, module_name="math", **field))).error.reason == "NOT_IMPLEMENTED"


async def test_resources_and_secrets_are_kept(manager: PodManager) -> None:
    field = {"resources": pb.Resources(cpu="500m", memory="1Gi", gpu=1), "secrets": ["keys", "more.keys"]}
    spec = (await create(manager, module_name="math", **field)).spec
    assert (spec.resources, list(spec.secrets)) == (field["resources"], field["secrets"])
    changed = (await update(manager, "resources", module_name="math", resources=pb.Resources(cpu="2"))).spec
    assert (changed.resources, list(changed.secrets)) == (pb.Resources(cpu="2"), field["secrets"])


async def test_modules_are_listed_a_page_at_a_time(manager: PodManager) -> None:
    names = sorted(f"m{number}" for number in range(7))
    for name in reversed(names):
        await create(manager, module_name=name)
    listed, token, pages = [], "", 0
    while pages == 0 or token:
        answer = await manager.native.ListModules(pb.ListModulesRequest(page_size=3, page_token=token))
        listed += [module.name for module in answer.modules]
        token, pages = answer.next_page_token, pages + 1
    assert (listed, pages) == (names, 3)
    answer = await manager.native.ListModules(pb.ListModulesRequest(page_size=7))
    assert len(answer.modules) == 7 and answer.next_page_token == ""
    assert len((await manager.native.ListModules(pb.ListModulesRequest())).modules) == 7
    told = await failure(manager.native.ListModules(pb.ListModulesRequest(page_size=-1)))
    assert (told.error.reason, told.error.metadata) == ("MALFORMED_REQUEST", {"field": "page_size"})


async def test_a_token_outlives_its_page(manager: PodManager) -> None:
    """It holds for other sizes, and after the module that it was made of is gone."""
    for name in ("a", "b", "c", "d.x"):
        await create(manager, module_name=name)
    token = (await manager.native.ListModules(pb.ListModulesRequest(page_size=3))).next_page_token
    await manager.native.DeleteModule(pb.DeleteModuleRequest(module_name="c"))
    for size in (0, 1, 1000):
        answer = await manager.native.ListModules(pb.ListModulesRequest(page_size=size, page_token=token))
        assert [module.name for module in answer.modules] == ["d.x"]


@pytest.mark.parametrize(
    "forge",
    [
        lambda token: "a",
        lambda token: "numpy",
        lambda token: base64.urlsafe_b64encode(b"numpy").decode(),
        lambda token: token[:-1],
        lambda token: token + "=",
        lambda token: token + "A",
        lambda token: f" {token}",
        lambda token: token.swapcase(),
        lambda token: "ä",
        lambda token: "A" * 100_000,
        lambda token: "AAAAAAAA",
    ],
)
async def test_a_token_that_is_none_is_refused(manager: PodManager, forge: Callable[[str], str]) -> None:
    for name in "ab":
        await create(manager, module_name=name)
    token = forge((await manager.native.ListModules(pb.ListModulesRequest(page_size=1))).next_page_token)
    for told in (
        await failure(manager.native.ListModules(pb.ListModulesRequest(page_token=token))),
        await failure(manager.rest("RestListModules", page_token=token)),
    ):
        assert (told.code, told.error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")
        assert told.error.metadata["field"] == "page_token"
        assert len(told.error.message) < 200


async def test_a_page_stays_right_while_modules_go(manager: PodManager) -> None:
    for name in "abcd":
        await create(manager, module_name=name)
    first = await manager.native.ListModules(pb.ListModulesRequest(page_size=2))
    await manager.native.DeleteModule(pb.DeleteModuleRequest(module_name="b"))
    rest = await manager.native.ListModules(pb.ListModulesRequest(page_size=2, page_token=first.next_page_token))
    assert [module.name for module in rest.modules] == ["c", "d"]


async def test_an_update_changes_what_its_mask_names(manager: PodManager) -> None:
    await create(manager, module_name="math", replicas=2, env={"A": "1", "B": "2"}, labels={"x": "y"})
    module = await update(manager, "env", "workers", module_name="math", env={"C": "3"}, workers=2, replicas=9)
    assert (dict(module.spec.env), module.spec.workers, module.spec.replicas) == ({"C": "3"}, 2, 2)
    assert dict(module.spec.labels) == {"x": "y"} and module.generation == 2
    module = await update(manager, "env", "workers", module_name="math")
    assert (dict(module.spec.env), module.spec.workers) == ({}, 1), "what the mask names and the spec lacks is reset"


async def test_an_update_of_a_part_of_a_field_keeps_its_other_parts(manager: PodManager) -> None:
    await create(manager, module_name="math", resources=pb.Resources(cpu="1", memory="1Gi"))
    module = await update(manager, "resources.cpu", module_name="math", resources=pb.Resources(cpu="2"))
    assert (module.spec.resources.cpu, module.spec.resources.memory) == ("2", "1Gi")
    module = await update(manager, "resources", module_name="math", resources=pb.Resources(cpu="3"))
    assert (module.spec.resources.cpu, module.spec.resources.memory) == ("3", "")


async def test_an_update_without_a_mask_sets_everything(manager: PodManager) -> None:
    await create(manager, module_name="math", replicas=2, env={"A": "1"})
    module = await update(manager, module_name="math", workers=2)
    assert (dict(module.spec.env), module.spec.workers, module.spec.replicas) == ({}, 2, 1)


async def test_an_update_with_a_bad_mask_is_refused(manager: PodManager) -> None:
    await create(manager, module_name="math")
    for path in ("nothing", "resources.nothing", "env.A", "replicas.x", "", "."):
        told = await failure(update(manager, path, module_name="math"))
        assert (told.error.reason, told.error.metadata) == ("UNKNOWN_FIELD", {"field": path})
    told = await failure(update(manager, "replicas", module_name="math", replicas=-1))
    assert violations(told) == ["replicas"]


async def test_an_update_that_fails_restores_the_old_spec(manager: PodManager, backend: FakeBackend) -> None:
    before = await create(manager, module_name="math")
    backend.fail("math", error("MODULE_IMPORT_FAILED", "it broke"))
    told = await failure(update(manager, "env", module_name="math", env={"A": "1"}))
    assert told.error.reason == "MODULE_IMPORT_FAILED"
    now = backend.get("math")
    assert now is not None and dict(now.spec.env) == {} and now.ready[0].name == before.status.pods[0].name


async def test_scaling(manager: PodManager) -> None:
    await create(manager, module_name="math")
    for replicas in (3, 1, 0):
        answer = await manager.native.ScaleModule(pb.ScaleModuleRequest(module_name="math", replicas=replicas))
        assert (answer.module.status.ready_replicas, answer.module.spec.replicas) == (replicas, replicas)
    for replicas in (-1, 1001):
        told = await failure(manager.native.ScaleModule(pb.ScaleModuleRequest(module_name="math", replicas=replicas)))
        assert violations(told) == ["replicas"]


AUTOSCALING = pb.Autoscaling(min_replicas=2, max_replicas=4, target_cpu=80)


@pytest.mark.parametrize(("replicas", "pods"), [(None, 2), (0, 2), (3, 3), (9, 4)])
async def test_an_autoscaled_module_begins_within_its_bounds(
    manager: PodManager, replicas: int | None, pods: int
) -> None:
    module = await create(manager, module_name="math", replicas=replicas, autoscaling=AUTOSCALING)
    assert (module.spec.autoscaling, module.spec.replicas, module.status.ready_replicas) == (AUTOSCALING, pods, pods)
    assert await create(manager, module_name="math", autoscaling=AUTOSCALING) == module


async def test_at_least_one_pod_where_nothing_else_is_said(manager: PodManager) -> None:
    spec = (await create(manager, module_name="math", autoscaling=pb.Autoscaling(max_replicas=2, target_cpu=80))).spec
    assert (spec.autoscaling.min_replicas, spec.replicas) == (1, 1)


async def test_how_many_pods_an_autoscaled_module_has_is_not_its_users_to_say(manager: PodManager) -> None:
    await create(manager, module_name="math", replicas=3, autoscaling=AUTOSCALING)
    for call in (
        manager.native.ScaleModule(pb.ScaleModuleRequest(module_name="math", replicas=3)),
        update(manager, "replicas", module_name="math", replicas=4),
        update(manager, "replicas", "autoscaling", module_name="math", replicas=4, autoscaling=AUTOSCALING),
        update(manager, module_name="math", replicas=4, autoscaling=AUTOSCALING),
    ):
        told = await failure(call)
        assert (told.error.reason, violations(told)) == ("SPEC_INVALID", ["replicas"])
        assert "change `autoscaling`" in told.error.message
    module = await update(manager, module_name="math", workers=2, autoscaling=AUTOSCALING)
    assert (module.spec.replicas, module.status.ready_replicas) == (3, 3)


async def test_other_bounds_bring_the_pods_within_them_and_none_leave_them(manager: PodManager) -> None:
    await create(manager, module_name="math")
    body: Any
    for body, pods in (
        ({"autoscaling": {"max_replicas": 4, "target_cpu": 80}}, 1),
        ({"autoscaling": {"min_replicas": 3}}, 3),
        ({"autoscaling": {"min_replicas": 1, "max_replicas": 2}}, 2),
        ({"env": {"A": "1"}}, 2),
        ({"autoscaling": None}, 2),
        ({"replicas": 1}, 1),
    ):
        module = await manager.rest("RestUpdateModule", body, module_name="math")
        assert (module["spec"]["replicas"], module["status"]["ready_replicas"]) == (pods, pods)
    assert "autoscaling" not in (await manager.rest("RestGetModule", module_name="math"))["spec"]


async def test_deleting(manager: PodManager, backend: FakeBackend) -> None:
    await create(manager, module_name="math")
    await manager.native.DeleteModule(pb.DeleteModuleRequest(module_name="math"))
    assert backend.modules() == []


async def test_watching_all_and_one(manager: PodManager, backend: FakeBackend) -> None:
    await create(manager, module_name="math")
    everything = manager.native.WatchModules(pb.WatchModulesRequest())
    one = manager.native.WatchModules(pb.WatchModulesRequest(module_name="string"))
    first = await everything.read()
    assert (first.event, first.module.name) == (pb.WATCH_EVENT_CHANGED, "math")
    await asyncio.sleep(0.05)
    await create(manager, module_name="string")
    await manager.native.DeleteModule(pb.DeleteModuleRequest(module_name="math"))
    seen = [await everything.read() for _ in range(2)]
    assert {(event.event, event.module.name) for event in seen} == {
        (pb.WATCH_EVENT_CHANGED, "string"), (pb.WATCH_EVENT_DELETED, "math"),
    }  # fmt: skip
    assert (await one.read()).module.name == "string"
    everything.cancel()
    one.cancel()


async def test_logs(manager: PodManager, backend: FakeBackend) -> None:
    await create(manager, module_name="math")
    backend.log("math", "one")
    backend.log("math", "two", "stderr")
    stream = manager.native.ReadLogs(pb.ReadLogsRequest(module_name="math"))
    lines = [(line.stream, line.text, line.pod[:5]) async for line in stream]
    assert lines == [("stdout", "one", "math-"), ("stderr", "two", "math-")]
    last = manager.native.ReadLogs(pb.ReadLogsRequest(module_name="math", tail=1))
    assert [line.text async for line in last] == ["two"]
    told = await failure(manager.native.ReadLogs(pb.ReadLogsRequest(module_name="math", tail=-1)).read())
    assert (told.error.reason, told.error.metadata) == ("MALFORMED_REQUEST", {"field": "tail"})


async def test_a_plan_makes_nothing(manager: PodManager, backend: FakeBackend) -> None:
    spec = (await manager.native.PlanModule(pb.PlanModuleRequest(spec=pb.ModuleSpec(module_name="PIL")))).spec
    assert list(spec.requirements) == ["pillow"] and spec.replicas == 1
    assert backend.modules() == []


class SlowBackend(FakeBackend):
    """Takes forever to record a change of a module that is there."""

    async def apply(self, spec: ModuleSpec) -> Module:
        if self.get(spec.module_name) is not None:
            await asyncio.Event().wait()
        return await super().apply(spec)


async def test_stopping_tells_those_who_wait(no_task_left: None) -> None:
    async with running_pod_manager(SlowBackend()) as manager:
        await create(manager, module_name="math")
        calls = [asyncio.create_task(failure(update(manager, "replicas", module_name="math", replicas=2)))
                 for _ in range(3)]  # fmt: skip
        await asyncio.sleep(0.1)
        await manager.modules.stop()
        for told in await asyncio.gather(*calls):
            assert (told.code, told.error.reason) == (Code.UNAVAILABLE, "MODULE_UNAVAILABLE")
    gc.collect()  # what was begun and never awaited would be told now


async def test_a_caller_that_goes_away_leaves_the_creation_to_itself(manager: PodManager, backend: FakeBackend) -> None:
    calls = [manager.native.CreateModule(pb.CreateModuleRequest(spec=pb.ModuleSpec(module_name="math"))) for _ in "ab"]
    calls[0].cancel()
    assert (await calls[1]).module.status.ready_replicas == 1
