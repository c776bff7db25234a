"""Sources, environments and the Jobs that build them on Kubernetes, against an API server in this process."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jac_orc.pod_manager.backends.kube import builders, objects
from jac_orc.pod_manager.backends.kube.backend import KubernetesBackend
from jac_orc.pod_manager.backends.kube.caches import Caches
from jac_orc.pod_manager.backends.kube.client import ConflictError
from jac_orc.pod_manager.backends.kube.maker import Maker
from jac_orc.pod_manager.backends.kube.objects import Record
from jac_orc.pod_manager.backends.kube.pods import Cluster, Document, Runtime
from jac_orc.pod_manager.backends.kube.store import Store
from jac_orc.pod_manager.environments import Environments
from jac_orc.pod_manager.locks import Locks
from jac_orc.pod_manager.model import ModuleSpec
from jac_orc.pod_manager.policy import Policy
from jac_orc.pod_manager.settings import Settings
from jac_orc.pod_manager.sources import SourceRef, Sources
from tests.feature.api_server import ApiServer

CLUSTER = Cluster("orc", "jac-cloud-orc:1", settings=Settings(store_claim="store"))
DEPLOYMENT = CLUSTER.path("Deployment", "shop")


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(tmp_path / "sources")


@pytest.fixture
def store(tmp_path: Path, sources: Sources) -> Store:
    return Store(Environments(tmp_path / "environments", Locks(tmp_path / "locks", sources, Policy())), sources)


@pytest.fixture
def add(tmp_path: Path, sources: Sources) -> Callable[[bytes], SourceRef]:
    """Store a source that was last used long ago."""

    def add(text: bytes) -> SourceRef:
        ref = sources.add_files({"shop.py": text})
        for path in (*(home := tmp_path / "sources" / ref.hex).iterdir(), home):
            os.utime(path, (0, 0))
        return ref

    return add


def pod_of(deployment: Document) -> Document:
    metadata = deployment["spec"]["template"]["metadata"]
    return {"metadata": {**metadata, "name": "shop-1"}, "status": {"phase": "Running"}}


@pytest.mark.parametrize("by", ["template", "pod"])
async def test_the_store_keeps_the_sources_of_what_is_being_replaced(
    no_task_left: None, tmp_path: Path, store: Store, add: Callable[[bytes], SourceRef], by: str
) -> None:
    """While an update builds, only the template names the old source; during its rollout, only the old pods do."""
    old, new, unused = (add(text) for text in (b"x = 1", b"x = 2", b"x = 3"))
    server, record = ApiServer(), Record.first(ModuleSpec("shop", source=old, replicas=0))
    deployment = objects.deployment(CLUSTER, record, Runtime("e"))
    changed = record.changed(ModuleSpec("shop", source=new, requirements=("jac-x",)))
    if by == "pod":
        server.put(CLUSTER.path("Pod", "shop-1"), pod_of(deployment))
        deployment = objects.deployment(CLUSTER, changed, Runtime("e"))
    deployment["metadata"]["annotations"][objects.RECORD] = changed.text()
    server.put(DEPLOYMENT, deployment)
    async with server.served() as client:
        backend = KubernetesBackend(client, CLUSTER, store)
        await backend.start()
        await backend._remove_unused()
        assert {ref for ref in (old, new, unused) if (tmp_path / "sources" / ref.hex).exists()} == {old, new}
        await backend.stop()


async def test_the_store_keeps_everything_while_the_cluster_cant_be_followed(
    no_task_left: None, tmp_path: Path, store: Store, add: Callable[[bytes], SourceRef]
) -> None:
    unused = add(b"x = 1")
    async with ApiServer().served() as client:
        backend = KubernetesBackend(client, CLUSTER, store)
        backend.faults.set("following pods", False)
        await backend._remove_unused()
        assert (tmp_path / "sources" / unused.hex).exists()
        backend.faults.set("following pods", None)
        await backend._remove_unused()
        assert not (tmp_path / "sources" / unused.hex).exists()
        await backend.stop()


async def test_an_update_counts_as_a_use_of_the_source_before(
    no_task_left: None, tmp_path: Path, store: Store, add: Callable[[bytes], SourceRef]
) -> None:
    """A rollback needs it, even if the module has no pods."""
    old = add(b"x = 1")
    server, record = ApiServer(), Record.first(ModuleSpec("shop", source=old, replicas=0))
    server.put(DEPLOYMENT, objects.deployment(CLUSTER, record, Runtime()))
    async with server.served() as client:
        backend = KubernetesBackend(client, CLUSTER, store)
        await backend.start()
        await asyncio.wait_for(backend.apply(ModuleSpec("shop", replicas=0)), 10)
        assert (tmp_path / "sources" / old.hex).stat().st_mtime > time.time() - 600
        await backend.stop()


async def test_a_job_that_has_replaced_a_complete_one_is_not_deleted(no_task_left: None, store: Store) -> None:
    """Another pod manager has deleted the complete one, whose environment is gone, and created this one."""
    server, record = ApiServer(), Record.first(ModuleSpec("shop", requirements=("jac-x",)))
    deployment = server.put(DEPLOYMENT, objects.claim(CLUSTER, record))
    job = builders.builder(CLUSTER, record.spec, [("shop", deployment["metadata"]["uid"])])
    name, path = job["metadata"]["name"], CLUSTER.path("Job", job["metadata"]["name"])
    complete = {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    async with server.served() as client:
        caches = Caches(client, CLUSTER, lambda name: None)
        maker = Maker(client, CLUSTER, store, caches)
        caches.jobs.objects[name] = {**server.put(path, job), **complete}
        server.remove(path)
        server.put(path, job)
        with pytest.raises(ConflictError):
            await maker.make(deployment, record)
        assert path in server.objects
        caches.jobs.objects[name] = {**server.objects[path], **complete}
        assert not await maker.make(deployment, record)
        assert path not in server.objects
