"""The backend of a Kubernetes cluster, which keeps all state: a module is a Deployment and what belongs to it.

What is wanted is recorded in the Deployment, and the reconciler has the objects made so. Nothing reads from the API
server but the informers, whose caches answer everything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator

from jac_orc.core.tasks import NamedLocks, Tasks, every
from jac_orc.errors import error
from jac_orc.pod_manager.backends.known_modules import KnownModules
from jac_orc.pod_manager.backends.kube import builders, documents, objects
from jac_orc.pod_manager.backends.kube.client import ConflictError, Document, KubeClient, NotFoundInClusterError
from jac_orc.pod_manager.backends.kube.logs import read_logs
from jac_orc.pod_manager.backends.kube.maker import damaged, name_taken
from jac_orc.pod_manager.backends.kube.objects import Record
from jac_orc.pod_manager.backends.kube.pods import Cluster
from jac_orc.pod_manager.backends.kube.reconciler import Reconciler
from jac_orc.pod_manager.backends.kube.store import Store
from jac_orc.pod_manager.model import LogLine, Module, ModuleSpec

_CLEAN_UP = 3600.0


class KubernetesBackend(KnownModules):
    """Keeps modules as Deployments of one namespace; `start` first, `stop` last."""

    def __init__(self, client: KubeClient, cluster: Cluster, store: Store | None) -> None:
        super().__init__()
        self._client = client
        self._cluster = cluster
        self._store = store
        self._reconciler = Reconciler(client, cluster, store, self)
        self._caches = self._reconciler.caches
        self._locks = NamedLocks()
        self.faults = self._reconciler.faults
        self._tasks = Tasks()

    async def start(self) -> None:
        """Follows the cluster; returns once all that there is is known. Raises OrcError where that takes too long."""
        await self._reconciler.start()
        if self._store is not None:
            self._tasks.supervise("removing unused sources and environments", every(_CLEAN_UP, self._remove_unused))

    async def stop(self) -> None:
        """Lets go of the cluster, where everything goes on."""
        await asyncio.gather(self._tasks.cancel(), self._reconciler.stop())
        if self._store is not None:
            await self._store.stop()
        await self._client.close()

    async def apply(self, spec: ModuleSpec) -> Module:
        await self._reconciler.maker.runtime(spec)  # which tells what can't be built here at all
        await self._reconciler.maker.check(spec)
        async with self._locks[spec.module_name]:
            name = objects.object_name(spec.module_name)
            deployment = self._caches.deployment(name)
            if deployment is not None and deployment["metadata"].get("deletionTimestamp"):
                await self._reconciler.until(name, lambda: self._caches.deployment(name) is not deployment)
                deployment = self._caches.deployment(name)
            if deployment is None:
                return await self._create(name, spec)
            return await self._change(name, deployment, spec)

    async def plan(self, spec: ModuleSpec) -> list[Document]:
        runtime = await self._reconciler.maker.runtime(spec)
        await self._reconciler.maker.check(spec)
        deployment = self._caches.deployment(objects.object_name(spec.module_name))
        if deployment is not None and deployment["metadata"].get("deletionTimestamp"):
            deployment = None
        record = objects.record_of(deployment) if deployment is not None else None
        if deployment is not None and record is None:
            raise damaged(self._cluster, documents.name_of(deployment))
        if record is None or record.spec.differing_fields(spec):
            record = Record.first(spec) if record is None else record.changed(spec)
            record = dataclasses.replace(record, update_time=0.0)  # equal plans are equal texts
        if deployment is None:
            return builders.plan(self._cluster, record, runtime, "")
        return builders.plan(self._cluster, record.as_scaled(deployment), runtime, deployment["metadata"]["uid"])

    async def delete(self, name: str) -> None:
        async with self._locks[name]:
            object_name = objects.object_name(name)
            deployment = self._caches.deployment(object_name)
            if deployment is None:
                return
            uid = deployment["metadata"]["uid"]
            options = {"propagationPolicy": "Foreground", "preconditions": {"uid": uid}}
            with contextlib.suppress(ConflictError):  # it was deleted, and made anew, by somebody else
                await self._client.delete(self._cluster.path("Deployment", object_name), options)

            def is_gone() -> bool:
                now = self._caches.deployment(object_name)
                return (now is None or now["metadata"]["uid"] != uid) and not self._caches.pods.of(object_name)

            await self._reconciler.until(object_name, is_gone, None)

    def logs(self, name: str, *, follow: bool, tail: int) -> AsyncIterator[LogLine]:
        object_name = objects.object_name(name)

        def pods() -> list[str]:
            module = self.get(name)
            builder = builders.builder_name(self._cluster, module.spec) if module is not None else ""
            job = self._caches.jobs.objects.get(builder)
            is_ours = job is not None and module is not None and module.uid in objects.owners(job)
            found = [*(self._caches.pods.of(builder) if is_ours else ()), *self._caches.pods.of(object_name)]
            return [documents.name_of(pod) for pod in found if documents.has_started(pod)]

        return read_logs(self._client, self._cluster.path("Pod"), pods, follow=follow, tail=tail)

    async def _remove_unused(self) -> None:
        """Remove from the store what neither a module nor a pod uses.

        Several pod managers may do it at once. One that can't follow the cluster does not know what is in use.
        """
        if self._store is None or self.faults.is_impaired:
            return
        templates = [each["spec"]["template"] for each in self._caches.deployments.objects.values()]
        users = [*templates, *self._caches.pods.objects.values()]
        environments, sources = (
            {(user["metadata"].get("annotations") or {}).get(key, "") for user in users}
            for key in (objects.ENVIRONMENT, objects.SOURCE)
        )
        # Those that are not deployed yet.
        recorded = {module.spec.source.digest for module in self.modules() if module.spec.source}
        await self._store.clean_up(environments, sources | recorded)

    # --- recording what is wanted ---

    async def _create(self, name: str, spec: ModuleSpec) -> Module:
        record = Record.first(spec)
        try:
            made = await self._client.create(self._cluster.path("Deployment"), objects.claim(self._cluster, record))
        except ConflictError:
            return await self._joined(name, spec)
        return await self._recorded(spec.module_name, made["metadata"]["uid"], 1)

    async def _joined(self, name: str, spec: ModuleSpec) -> Module:
        """The module that another pod manager has just created; raises OrcError where it is not that."""
        there = await self._client.get(self._cluster.path("Deployment", name))
        if documents.labels_of(there).get("app.kubernetes.io/managed-by") != objects.MANAGED_BY:
            raise name_taken("Deployment", name)
        record = objects.record_of(there)
        if record is None:
            raise damaged(self._cluster, name)
        record.spec.must_equal(spec)
        return await self._recorded(spec.module_name, there["metadata"]["uid"], record.generation)

    async def _change(self, name: str, deployment: Document, spec: ModuleSpec) -> Module:
        old = objects.record_of(deployment)
        module = self.get(spec.module_name)
        if old is None or module is None:
            raise damaged(self._cluster, name)
        if not module.spec.differing_fields(spec):
            return module
        if self._store is not None:
            await self._store.touch(old.spec)  # a rollback needs its source
        record = old.changed(spec)
        path = self._cluster.path("Deployment", name)
        annotations = {objects.RECORD: record.text()}
        uid = deployment["metadata"]["uid"]
        try:
            only_scaled = dataclasses.replace(spec, replicas=module.spec.replicas) == module.spec
            if only_scaled and objects.is_applied(deployment, old):
                await self._client.merge(f"{path}/scale", {"spec": {"replicas": spec.replicas}})
                annotations[objects.APPLIED] = str(record.generation)  # nothing else has changed
            await self._client.merge(path, {"metadata": {"uid": uid, "annotations": annotations}})
        except (ConflictError, NotFoundInClusterError):
            text = f"{spec.module_name} was deleted or changed meanwhile"
            raise error("MODULE_UNAVAILABLE", text, {"module": spec.module_name}) from None
        return await self._recorded(spec.module_name, uid, record.generation)

    async def _recorded(self, name: str, uid: str, generation: int) -> Module:
        """The module once the cache knows of what was recorded, so that who asks next is told so."""

        def is_seen() -> bool:
            module = self.get(name)
            return module is not None and (module.uid != uid or module.generation >= generation)

        await self._reconciler.until(name, is_seen)
        return self._modules[name]
