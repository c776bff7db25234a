"""What a cluster's backend does about what others do to a module's objects, against an API server in this process."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
from collections.abc import AsyncIterator, Callable

import pytest

from jac_orc.errors import OrcError
from jac_orc.pod_manager.backends.kube import objects
from jac_orc.pod_manager.backends.kube.backend import KubernetesBackend
from jac_orc.pod_manager.backends.kube.objects import Record
from jac_orc.pod_manager.backends.kube.pods import SERVER, Cluster, Runtime
from jac_orc.pod_manager.model import Autoscaling, ModulePhase, ModuleSpec
from jac_orc.pod_manager.policy import Policy
from jac_orc.pod_manager.settings import Settings
from tests.feature.api_server import ApiServer

CLUSTER = Cluster("orc", "jac-cloud-orc:1")
DEPLOYMENT = CLUSTER.path("Deployment", "math")
SCALER, BUDGET = CLUSTER.path(objects.AUTOSCALER, "math"), CLUSTER.path(objects.DISRUPTION_BUDGET, "math")
SLICE = CLUSTER.path("EndpointSlice", "math-1")
SPEC = ModuleSpec("math", replicas=2, autoscaling=Autoscaling(2, 5, 80))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.02)


def with_policy(*, allowed: tuple[str, ...] = (), refused: tuple[str, ...] = ()) -> Cluster:
    return dataclasses.replace(CLUSTER, policy=Policy(allowed, refused))


@pytest.fixture
def server() -> ApiServer:
    return ApiServer()


@pytest.fixture
async def backend(no_task_left: None, server: ApiServer) -> AsyncIterator[KubernetesBackend]:
    """One that has made a module, whose objects are as they shall be."""
    labels = {"kubernetes.io/service-name": "math"}
    server.put(SLICE, {"metadata": {"name": "math-1", "labels": labels}, "endpoints": []})
    async with server.served() as client:
        backend = KubernetesBackend(client, CLUSTER, None)
        await backend.start()
        await backend.apply(SPEC)
        await until(lambda: server.objects[DEPLOYMENT]["metadata"]["annotations"][objects.APPLIED] == "1")
        yield backend
        await backend.stop()


def replicas(server: ApiServer) -> int:
    return int(server.objects[DEPLOYMENT]["spec"]["replicas"])


async def test_an_autoscaled_module_doesnt_stay_without_pods(backend: KubernetesBackend, server: ApiServer) -> None:
    server.merge(DEPLOYMENT, {"spec": {"replicas": 0}})
    await until(lambda: replicas(server) == 2)
    await asyncio.sleep(0.2)
    assert server.changes.count(f"PATCH {DEPLOYMENT}/scale") == 1
    server.merge(DEPLOYMENT, {"spec": {"replicas": 0}})
    await asyncio.sleep(0.2)
    assert replicas(server) == 0, "who else scales it isn't fought without a pause"
    await until(lambda: replicas(server) == 2)


async def test_any_other_module_stays_without_pods(backend: KubernetesBackend, server: ApiServer) -> None:
    await backend.apply(ModuleSpec("math", replicas=2))
    await until(lambda: server.objects[DEPLOYMENT]["metadata"]["annotations"][objects.APPLIED] == "2")
    assert SCALER not in server.objects
    server.merge(DEPLOYMENT, {"spec": {"replicas": 0}})
    await until(lambda: (module := backend.get("math")) and module.phase is ModulePhase.IDLE)
    await asyncio.sleep(0.2)
    assert replicas(server) == 0


@pytest.mark.parametrize("path", [SCALER, BUDGET], ids=["autoscaler", "budget"])
async def test_what_is_removed_is_put_back(backend: KubernetesBackend, server: ApiServer, path: str) -> None:
    before = server.remove(path)
    await until(lambda: path in server.objects)
    assert server.objects[path]["spec"] == before["spec"]
    await asyncio.sleep(0.2)
    kind = path.rpartition("/")[0]
    assert server.changes.count(f"POST {kind}") == 2, "it is put back once"


async def test_a_changed_policy_replaces_the_pods_once(backend: KubernetesBackend, server: ApiServer) -> None:
    """Two pod managers with different policies, as while they are replaced, don't undo each other's."""

    def variables() -> dict[str, str]:
        env = server.objects[DEPLOYMENT]["spec"]["template"]["spec"]["containers"][0]["env"]
        return {each["name"]: each.get("value", "") for each in env}

    assert variables()["REFUSED_MODULES"] == ""
    before = len(server.changes)
    async with server.served() as client:
        newer = KubernetesBackend(client, with_policy(refused=("numpy",)), None)
        await newer.start()
        await until(lambda: variables().get("REFUSED_MODULES") == "numpy")
        await asyncio.sleep(0.2)
        assert server.changes[before:].count(f"PATCH {DEPLOYMENT}") == 1, server.changes[before:]
        await newer.stop()
    assert variables()["ALLOWED_MODULES"] == ""


def refusals(server: ApiServer) -> str:
    env = server.objects[DEPLOYMENT]["spec"]["template"]["spec"]["containers"][0]["env"]
    return str(next((each["value"] for each in env if each["name"] == "REFUSED_MODULES"), ""))


async def test_what_a_policy_allows_may_be_what_the_next_one_refuses(server: ApiServer, no_task_left: None) -> None:
    server.put(DEPLOYMENT, objects.deployment(with_policy(allowed=("glob",)), Record.first(SPEC), Runtime()))
    async with server.served() as client:
        backend = KubernetesBackend(client, with_policy(refused=("glob",)), None)
        await backend.start()
        await until(lambda: refusals(server) == "glob")
        await backend.stop()


@pytest.mark.parametrize("autoscaling", [None, SPEC.autoscaling], ids=["fixed", "autoscaled"])
async def test_a_changed_policy_keeps_what_others_have_scaled(
    server: ApiServer, no_task_left: None, autoscaling: Autoscaling | None
) -> None:
    record = Record.first(ModuleSpec("math", replicas=2, autoscaling=autoscaling))
    server.put(DEPLOYMENT, objects.deployment(CLUSTER, record, Runtime()))
    server.merge(DEPLOYMENT, {"spec": {"replicas": 4}})
    async with server.served() as client:
        backend = KubernetesBackend(client, with_policy(refused=("glob",)), None)
        await backend.start()
        await until(lambda: refusals(server) == "glob")
        assert replicas(server) == 4
        await until(lambda: (module := backend.get("math")) and module.spec.replicas == 4)
        await backend.stop()


async def test_a_claim_says_nothing_of_the_policy(server: ApiServer, no_task_left: None) -> None:
    """A pod manager of an older policy may deploy what it has claimed, while those of a newer one can't."""
    record, older = Record.first(SPEC), with_policy(refused=("glob",))
    async with server.served() as client:
        backend = KubernetesBackend(client, with_policy(), None)
        await backend.start()
        await until(lambda: CLUSTER.path("Deployment") in server.watched)
        server.away = True
        server.put(DEPLOYMENT, objects.claim(older, record))
        await until(lambda: backend.get("math"))
        server.put(DEPLOYMENT, objects.deployment(older, record, Runtime()))
        server.away = False
        await until(lambda: not refusals(server))
        await backend.stop()


async def test_a_default_policy_replaces_no_pods(backend: KubernetesBackend, server: ApiServer) -> None:
    """As after an upgrade from a version that told its pods of none."""
    before = len(server.changes)
    async with server.served() as client:
        newer = KubernetesBackend(client, with_policy(), None)
        await newer.start()
        await asyncio.sleep(0.2)
        await newer.stop()
    assert server.changes[before:] == []


async def test_objects_of_an_older_version_are_brought_up_to_date(server: ApiServer, no_task_left: None) -> None:
    labels = {"kubernetes.io/service-name": "math"}
    server.put(SLICE, {"metadata": {"name": "math-1", "labels": labels}, "endpoints": []})
    record = Record.first(SPEC)
    deployment = objects.deployment(CLUSTER, record, Runtime())
    uid = server.put(DEPLOYMENT, deployment)["metadata"]["uid"]
    for dependent in objects.dependents(CLUSTER, SPEC, uid):
        metadata = {key: value for key, value in dependent["metadata"].items() if key != "annotations"}
        spec = {key: value for key, value in dependent["spec"].items() if key != "unhealthyPodEvictionPolicy"}
        server.put(CLUSTER.path(dependent["kind"], "math"), {**dependent, "metadata": metadata, "spec": spec})
    async with server.served() as client:
        backend = KubernetesBackend(client, CLUSTER, None)
        await backend.start()
        await until(lambda: objects.is_current(server.objects[BUDGET]))
        await until(lambda: objects.is_current(server.objects[SCALER]))
        await backend.stop()
    assert server.objects[BUDGET]["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert server.objects[DEPLOYMENT]["spec"] == deployment["spec"], "its pods stay as they are"


async def test_a_pod_that_nothing_happens_to_fails_after_a_time(server: ApiServer, no_task_left: None) -> None:
    """As while its volume can't be mounted: neither the pod nor anything else of the module changes."""
    record = Record.first(ModuleSpec("math"))
    deployment = objects.deployment(CLUSTER, record, Runtime())
    uid = server.put(DEPLOYMENT, deployment)["metadata"]["uid"]
    for dependent in objects.dependents(CLUSTER, record.spec, uid):
        server.put(CLUSTER.path(dependent["kind"], "math"), dependent)
    server.put(SLICE, {"metadata": {"name": "math-1", "labels": {"kubernetes.io/service-name": "math"}}})
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    waiting = {"name": SERVER, "state": {"waiting": {"reason": "ContainerCreating"}}}
    status = {
        "phase": "Pending", "containerStatuses": [waiting],
        "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": now}],
    }  # fmt: skip
    metadata = deployment["spec"]["template"]["metadata"] | {"name": "math-x", "namespace": "orc"}
    server.put(CLUSTER.path("Pod", "math-x"), {"metadata": metadata, "status": status})
    async with server.served() as client:
        backend = KubernetesBackend(
            client, dataclasses.replace(CLUSTER, settings=Settings(scheduling_timeout=2.0)), None
        )
        await backend.start()
        await until(lambda: (module := backend.get("math")) and module.error)
        await backend.stop()


@pytest.mark.parametrize("record", ["{", None, "{}"], ids=["damaged", "missing", "empty"])
async def test_a_module_whose_record_is_lost(backend: KubernetesBackend, server: ApiServer, record: str | None) -> None:
    good = server.objects[DEPLOYMENT]["metadata"]["annotations"][objects.RECORD]
    server.merge(DEPLOYMENT, {"metadata": {"annotations": {objects.RECORD: record}}})
    await until(lambda: (module := backend.get("math")) and module.error)
    module = backend.get("math")
    assert module is not None and module.error is not None
    assert (module.phase, module.spec) == (ModulePhase.FAILED, SPEC)
    assert "kubectl -n orc delete deployment math" in module.error.message
    with pytest.raises(OrcError) as caught:
        await backend.apply(ModuleSpec("math", env={"A": "1"}))
    assert "kubectl -n orc delete deployment math" in caught.value.message
    server.merge(DEPLOYMENT, {"metadata": {"annotations": {objects.RECORD: good}}})
    await until(lambda: (module := backend.get("math")) and module.error is None)
    server.merge(DEPLOYMENT, {"metadata": {"annotations": None}})
    await until(lambda: (module := backend.get("math")) and module.error)
    await backend.delete("math")
    assert backend.get("math") is None and DEPLOYMENT not in server.objects


async def test_a_record_that_was_never_known(backend: KubernetesBackend, server: ApiServer) -> None:
    """As where the pod manager has begun anew since it was damaged."""
    document = {**server.objects[DEPLOYMENT], "metadata": {**server.objects[DEPLOYMENT]["metadata"], "annotations": {}}}
    server.remove(DEPLOYMENT)
    await until(lambda: backend.get("math") is None)
    server.put(DEPLOYMENT, document)
    with pytest.raises(OrcError) as caught:
        await backend.apply(SPEC)
    assert "kubectl -n orc delete deployment math" in caught.value.message
    with pytest.raises(OrcError):
        await backend.plan(SPEC)
    assert backend.get("math") is None
