"""The operator's policy on every face of the pod manager: what a create may deploy, and what a call may."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf import field_mask_pb2

from jac_orc.pod_manager.backends.fake import FakeBackend
from jac_orc.pod_manager.model import ModuleSpec
from jac_orc.pod_manager.policy import Policy
from jac_orc.v1 import module_pb2
from jac_orc.v1 import pod_manager_pb2 as pb
from tests.feature.pod_managers import PodManager, failure, running_pod_manager

POLICY = Policy(
    allowed=("glob",),
    refused=("json", "email.mime"),
    allowed_requirements=("numpy",),
    secrets=("module-*",),
    images=("docker.io/library/shop",),
)


@pytest.fixture
async def manager() -> AsyncIterator[PodManager]:
    async with running_pod_manager(FakeBackend(), policy=POLICY) as running:
        yield running


async def created(manager: PodManager, **spec: Any) -> Any:
    return await manager.native.CreateModule(pb.CreateModuleRequest(spec=pb.ModuleSpec(**spec)))


@pytest.mark.parametrize("name", ["os", "subprocess", "os.path", "urllib.request", "io", "builtins"])
async def test_a_create_deploys_what_a_call_does_not(manager: PodManager, name: str) -> None:
    call = module_pb2.CallRequest(method="f")
    for metadata in ((("x-module", name),), (("x-module", name), ("grpc-timeout", "5S"))):
        told = await failure(manager.module.Call(call, metadata=metadata))
        assert (told.code, told.error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "MODULE_REFUSED")
        assert f"jac-orc create {name}" in told.error.message and f"/create_pod/{name}" in told.error.message
    assert manager.modules.backend.modules() == []
    spec = pb.ModuleSpec(module_name=name)
    assert (await manager.native.PlanModule(pb.PlanModuleRequest(spec=spec))).spec.module_name == name
    assert (await manager.rest("CreatePod", module_name=name))["name"] == name
    assert (await created(manager, module_name=name)).module.status.phase == pb.MODULE_PHASE_READY
    request = pb.UpdateModuleRequest(
        spec=pb.ModuleSpec(module_name=name, replicas=2), update_mask=field_mask_pb2.FieldMask(paths=["replicas"])
    )
    assert (await manager.native.UpdateModule(request)).module.spec.replicas == 2


async def test_a_call_deploys_what_only_computes_or_is_allowed(manager: PodManager) -> None:
    for name in ("math", "urllib.parse", "http", "ntpath", "glob"):
        assert (await manager.modules.ready(name)).name == name


@pytest.mark.parametrize("name", ["json", "json.decoder", "email.mime.text"])
async def test_a_refused_module_is_deployed_by_nobody(manager: PodManager, name: str) -> None:
    spec = pb.ModuleSpec(module_name=name)
    for call in (
        manager.native.CreateModule(pb.CreateModuleRequest(spec=spec)),
        manager.native.CreateModule(pb.CreateModuleRequest(spec=spec, wait=False)),
        manager.native.PlanModule(pb.PlanModuleRequest(spec=spec)),
        manager.rest("CreatePod", module_name=name),
        manager.module.Call(module_pb2.CallRequest(module_name=name, method="f")),
    ):
        told = await failure(call)
        assert (told.code, told.error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "MODULE_REFUSED")
        assert "policy" in told.error.message and told.error.metadata["module"] == name


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("secrets", ["module-a", "tls"], "POLICY_REFUSED"), ("image", "evil/shop", "POLICY_REFUSED"),
        ("image", "registry.example.com/library/shop:1", "POLICY_REFUSED"),
        ("requirements", ["pandas"], "REQUIREMENT_REFUSED"),
    ],
)  # fmt: skip
async def test_a_spec_is_judged_by_create_update_and_plan(
    manager: PodManager, field: str, value: Any, reason: str
) -> None:
    spec = pb.ModuleSpec(module_name="shop", **{field: value})
    await created(manager, module_name="shop", requirements=["numpy"])
    changed = pb.ModuleSpec(module_name="shop", **{field: value})
    paths = [field] if field != "image" else ["image", "requirements"]
    update = pb.UpdateModuleRequest(spec=changed, update_mask=field_mask_pb2.FieldMask(paths=paths))
    for call in (
        manager.native.CreateModule(pb.CreateModuleRequest(spec=spec)),
        manager.native.CreateModule(pb.CreateModuleRequest(spec=spec, wait=False)),
        manager.native.PlanModule(pb.PlanModuleRequest(spec=spec)),
        manager.native.UpdateModule(update),
        manager.rest("RestCreateModule", {"module_name": "shop", field: value}),
        manager.rest("CreatePod", {field: value}, module_name="shop"),
        manager.rest("RestUpdateModule", {"requirements": [], field: value}, module_name="shop"),
        manager.rest("RestPlanModule", {"module_name": "shop", field: value}),
    ):
        told = await failure(call)
        assert (told.code, told.error.reason) == (grpc.StatusCode.PERMISSION_DENIED, reason), told.error.message
    assert list(manager.modules.get("shop").spec.requirements) == ["numpy"]


async def test_a_deployed_module_that_is_no_longer_allowed_is_told(caplog: pytest.LogCaptureFixture) -> None:
    backend = FakeBackend()
    for spec in (ModuleSpec("json"), ModuleSpec("math"), ModuleSpec("shop", image="shop", secrets=("tls",))):
        await backend.apply(spec)
    async with running_pod_manager(backend, policy=POLICY) as manager:
        told = [record.getMessage() for record in caplog.records if "is deployed, but" in record.getMessage()]
        assert [message.partition(" ")[0] for message in told] == ["json", "shop"]
        assert "jac-orc delete json" in told[0] and "'tls'" in told[1]
        await manager.native.DeleteModule(pb.DeleteModuleRequest(module_name="json"))


async def test_what_the_policy_allows_is_created(manager: PodManager) -> None:
    module = (await created(manager, module_name="shop", image="shop:1.0", secrets=["module-a"])).module
    assert (module.spec.image, list(module.spec.secrets)) == ("shop:1.0", ["module-a"])
