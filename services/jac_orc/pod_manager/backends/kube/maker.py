"""Makes a module's objects what is recorded of it, and has what its pods run in built first."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re

from google.rpc.error_details_pb2 import BadRequest

from jac_orc.errors import OrcError, error
from jac_orc.pod_manager import interpreters
from jac_orc.pod_manager.backends.kube import builders, objects, status
from jac_orc.pod_manager.backends.kube.caches import Caches
from jac_orc.pod_manager.backends.kube.client import ConflictError, Document, KubeClient, NotFoundInClusterError
from jac_orc.pod_manager.backends.kube.objects import Record
from jac_orc.pod_manager.backends.kube.pods import Cluster, Runtime
from jac_orc.pod_manager.backends.kube.store import Store
from jac_orc.pod_manager.model import ModuleSpec

logger = logging.getLogger(__name__)


class Maker:
    """Works for the modules of one backend."""

    def __init__(self, client: KubeClient, cluster: Cluster, store: Store | None, caches: Caches) -> None:
        self._client = client
        self._cluster = cluster
        self._store = store
        self._caches = caches

    async def make(self, deployment: Document, record: Record, *, anew: bool = False) -> bool:
        """Whether the objects are now as the record says; else its environment is being built.

        With `anew` a Deployment that was made for this record is made again.

        Raises ConflictError and NotFoundInClusterError where the Deployment has changed meanwhile, and OrcError.
        """
        metadata = deployment["metadata"]
        if objects.is_applied(deployment, record) and not anew:
            await self._make_dependents(deployment, record)
            if record.spec.autoscaling is not None and objects.is_asleep(deployment, record):
                name, least = metadata["name"], record.spec.autoscaling.min_replicas
                logger.info("%s has an autoscaler and 0 pods, from where it isn't scaled: it gets %d", name, least)
                version = {"resourceVersion": metadata["resourceVersion"]}
                path = f"{self._cluster.path('Deployment', name)}/scale"
                await self._client.merge(path, {"metadata": version, "spec": {"replicas": least}})
            return True
        runtime = await self.runtime(record.spec)
        if runtime is None:
            await self._build(deployment, record.spec)
            return False
        await self._make_dependents(deployment, record)
        if objects.is_applied(deployment, record):  # others may have scaled it, which a new policy must not undo
            record = dataclasses.replace(record, spec=record.spec.scaled_to(deployment["spec"]["replicas"]))
        wanted = objects.deployment(self._cluster, record.as_scaled(deployment), runtime)
        wanted["metadata"] |= {key: metadata[key] for key in ("uid", "resourceVersion")}
        await self._client.apply(self._cluster.path("Deployment", metadata["name"]), wanted)
        return True

    async def runtime(self, spec: ModuleSpec) -> Runtime | None:
        """What the spec's pods run in; None where that isn't built. Raises OrcError."""
        if not spec.needs_install and await interpreters.find(spec.python_version) == interpreters.own():
            return Runtime()
        if self._store is None:
            text = "this pod manager has no store, where environments are built; set POD_MANAGER_STORE_CLAIM"
            raise error("NOT_IMPLEMENTED", text, {"fields": "requirements,source"})
        return await self._store.runtime(spec)

    async def check(self, spec: ModuleSpec) -> None:
        """Raise OrcError (SPEC_INVALID) for an affinity that the API server does not take; it knows all forms."""
        if not spec.affinity:
            return
        wanted = objects.deployment(self._cluster, Record.first(spec), Runtime())
        try:
            with contextlib.suppress(ConflictError):  # it exists, which a creation finds last
                await self._client.create(
                    self._cluster.path("Deployment"), wanted, dryRun="All", fieldValidation="Strict"
                )
        except OrcError as failure:
            found = re.search(r"spec\.template\.spec\.(affinity[\w.\[\]]*)", failure.message)
            if found is None:
                raise
            text = f"{found[1]}: {failure.message}"
            violation = BadRequest.FieldViolation(field=found[1], description=failure.message)
            details = [BadRequest(field_violations=[violation])]
            raise error("SPEC_INVALID", text, {"fields": found[1]}, details) from None

    async def _build(self, deployment: Document, spec: ModuleSpec) -> None:
        """Has a Job build the spec's environment, which goes with the last module that waits for it."""
        owner = (deployment["metadata"]["name"], deployment["metadata"]["uid"])
        wanted = builders.builder(self._cluster, spec, [owner])
        name = wanted["metadata"]["name"]
        job = self._caches.jobs.objects.get(name)
        if job is None:
            with contextlib.suppress(ConflictError):
                await self._client.create(self._cluster.path("Job"), wanted)
            return
        if job["metadata"].get("deletionTimestamp"):
            return
        path = self._cluster.path("Job", name)
        is_new = owner[1] not in objects.owners(job)
        # What a complete Job has built is gone. One that was refused its pod retries too rarely for a new module.
        if status.is_complete(job) or (is_new and self._caches.refusal(name) and not self._caches.pods.of(name)):
            options = {"propagationPolicy": "Background", "preconditions": {"uid": job["metadata"]["uid"]}}
            await self._client.delete(path, options)
            return
        if is_new:
            owners = [*job["metadata"].get("ownerReferences", ()), *wanted["metadata"]["ownerReferences"]]
            names = [job["metadata"].get("annotations", {}).get(objects.MODULE), spec.module_name]
            change = {
                "resourceVersion": job["metadata"]["resourceVersion"],
                "annotations": {objects.MODULE: ",".join(filter(None, names))},
                "ownerReferences": owners,
            }
            await self._client.merge(path, {"metadata": change})

    async def _make_dependents(self, deployment: Document, record: Record) -> None:
        name, uid = deployment["metadata"]["name"], deployment["metadata"]["uid"]
        is_scaled = objects.applied_generation(deployment) >= record.autoscaling_since
        if is_scaled and self._caches.is_complete(name, record):
            return
        for dependent in objects.dependents(self._cluster, record.spec, uid):
            await self._make_dependent(dependent)
        if record.spec.autoscaling is None and record.autoscaling_since:
            await self._remove_autoscaler(name, uid)

    async def _make_dependent(self, wanted: Document) -> None:
        """Creates or changes it; raises OrcError where it is somebody else's."""
        kind, name = wanted["kind"], wanted["metadata"]["name"]
        try:
            await self._client.create(self._cluster.path(kind), wanted)
        except ConflictError:
            path = self._cluster.path(kind, name)
            there = await self._client.get(path)
            if wanted["metadata"]["ownerReferences"][0]["uid"] not in objects.owners(there):
                raise name_taken(kind, name) from None
            await self._client.apply(path, wanted)

    async def _remove_autoscaler(self, name: str, uid: str) -> None:
        """Removes the one that an earlier spec had; somebody else's is left alone."""
        path = self._cluster.path(objects.AUTOSCALER, name)
        with contextlib.suppress(NotFoundInClusterError):
            there = await self._client.get(path)
            if uid in objects.owners(there):
                await self._client.delete(path, {"preconditions": {"uid": there["metadata"]["uid"]}})


def name_taken(kind: str, name: str) -> OrcError:
    """What is told where somebody else's object has the name of one that a module needs."""
    text = f"the namespace has a {kind} {name} of somebody else's, which is left alone; rename or remove it"
    return error("NAME_TAKEN", text, {"kind": kind, "name": name})


def damaged(cluster: Cluster, name: str) -> OrcError:
    """What is told of a Deployment of ours whose record can't be read."""
    text = (
        f"the Deployment {name} says no longer what module it is: its annotation {objects.RECORD} is damaged; delete "
        f"it by `kubectl -n {cluster.namespace} delete deployment {name}`, then create the module again"
    )
    return error("CLUSTER_REFUSED", text, {"path": cluster.path("Deployment", name)})
