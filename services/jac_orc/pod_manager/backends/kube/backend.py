"""The backend of a Kubernetes cluster, which keeps all state: a module is a Deployment and what belongs to it.

What is wanted is recorded in the Deployment first; then whichever pod manager sees that the objects are of an older
record makes them anew. All of that may be done twice, as each step is idempotent and refused where what it was decided
from has changed. Nothing here reads from the API server but the informers, whose caches answer everything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from jac_orc.core.tasks import NamedLocks, Tasks
from jac_orc.errors import OrcError, error
from jac_orc.pod_manager import interpreters
from jac_orc.pod_manager.backends.kube import documents, objects, status
from jac_orc.pod_manager.backends.kube.client import ConflictError, Document, KubeClient, NotFoundInClusterError
from jac_orc.pod_manager.backends.kube.housekeeping import keep_house
from jac_orc.pod_manager.backends.kube.informer import Informer
from jac_orc.pod_manager.backends.kube.logs import read_logs
from jac_orc.pod_manager.backends.kube.maker import Maker, damaged, name_taken
from jac_orc.pod_manager.backends.kube.objects import Record
from jac_orc.pod_manager.backends.kube.pods import Cluster
from jac_orc.pod_manager.backends.kube.progress import Progress
from jac_orc.pod_manager.backends.kube.store import Store
from jac_orc.pod_manager.backends.watchers import Watchers
from jac_orc.pod_manager.model import Lock, LogLine, Module, ModulePhase, ModuleSpec

logger = logging.getLogger(__name__)

_SYNC_SECONDS = 60.0
_SEEN_SECONDS = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_RECHECK = 2.0


class KubernetesBackend:
    """Keeps modules as Deployments of one namespace; `start` first, `stop` last."""

    def __init__(self, client: KubeClient, cluster: Cluster, store: Store | None) -> None:
        self._client = client
        self._cluster = cluster
        self._store = store
        self._deployments = self._informer("Deployment", documents.name_of)
        self._pods = self._informer("Pod", documents.owner_of_pod)
        self._slices = self._informer(
            "EndpointSlice", lambda each: documents.labels_of(each).get("kubernetes.io/service-name", "")
        )
        self._jobs = self._informer("Job", documents.name_of)
        self._autoscalers = self._informer(objects.AUTOSCALER, documents.name_of)
        self._budgets = self._informer(objects.DISRUPTION_BUDGET, documents.name_of)
        self._maker = Maker(client, cluster, store, self._jobs)
        self._progress = Progress(client, cluster, self._touch)
        self._modules: dict[str, Module] = {}  # by the names of their objects
        self._records: dict[str, Record] = {}  # of the same
        self._changed: set[str] = set()
        self._recheck: set[str] = set()
        # The modules that lack an object: when it is made again, and the pause before that.
        self._incomplete: dict[str, tuple[float, float]] = {}
        self._reconciling: set[str] = set()
        self._made: dict[str, str] = {}
        self._failures: dict[str, _Failure] = {}
        self._seen = asyncio.Condition()
        self._watchers = Watchers()
        self._locks = NamedLocks()
        self._tasks = Tasks()

    def _informer(self, kind: str, group: Any) -> Informer:
        def on_change(old: Document | None, new: Document | None) -> None:
            for document in (old, new):
                if document is not None:
                    self._touch(group(document))

        path = self._cluster.path(kind)
        return Informer(self._client, path, objects.SELECTOR, kept=documents.kept, group=group, on_change=on_change)

    async def start(self) -> None:
        """Follows the cluster; returns once all that there is is known. Raises OrcError where that takes too long."""
        informers = (
            self._deployments, self._pods, self._slices, self._jobs, self._autoscalers, self._budgets,
        )  # fmt: skip
        for informer in informers:
            self._tasks.start(informer.run())
        try:
            async with asyncio.timeout(_SYNC_SECONDS):
                await asyncio.gather(*(informer.synced.wait() for informer in informers))
        except TimeoutError:
            text = f"the cluster's objects can't be listed within {_SYNC_SECONDS:g} s; the log says why"
            raise error("CLUSTER_UNAVAILABLE", text) from None
        self._flush()
        self._tasks.start(self._check_again())
        if self._store is not None:
            self._tasks.start(keep_house(self._client, self._cluster.namespace, self._clean_up))

    async def stop(self) -> None:
        """Lets go of the cluster, where everything goes on."""
        await asyncio.gather(self._tasks.cancel(), self._progress.stop())
        if self._store is not None:
            await self._store.stop()
        await self._client.close()

    async def apply(self, spec: ModuleSpec) -> Module:
        await self._maker.runtime(spec)  # which tells what can't be built here at all
        async with self._locks[spec.module_name]:
            name = objects.object_name(spec.module_name)
            deployment = self._deployments.objects.get(name)
            if deployment is not None and deployment["metadata"].get("deletionTimestamp"):
                await self._until(name, lambda: self._deployments.objects.get(name) is not deployment)
                deployment = self._deployments.objects.get(name)
            if deployment is None:
                return await self._create(name, spec)
            return await self._change(name, deployment, spec)

    async def plan(self, spec: ModuleSpec) -> list[Document]:
        runtime = await self._maker.runtime(spec)
        deployment = self._deployments.objects.get(objects.object_name(spec.module_name))
        if deployment is not None and deployment["metadata"].get("deletionTimestamp"):
            deployment = None
        record = objects.record_of(deployment) if deployment is not None else None
        if deployment is not None and record is None:
            raise damaged(self._cluster, documents.name_of(deployment))
        if record is None or record.spec.differing_fields(spec):
            record = Record.first(spec) if record is None else record.changed(spec)
            record = dataclasses.replace(record, update_time=0.0)  # equal plans are equal texts
        if deployment is None:
            return objects.plan(self._cluster, record, runtime, "")
        return objects.plan(self._cluster, record.as_scaled(deployment), runtime, deployment["metadata"]["uid"])

    async def delete(self, name: str) -> None:
        async with self._locks[name]:
            object_name = objects.object_name(name)
            deployment = self._deployments.objects.get(object_name)
            if deployment is None:
                return
            uid = deployment["metadata"]["uid"]
            options = {"propagationPolicy": "Foreground", "preconditions": {"uid": uid}}
            with contextlib.suppress(ConflictError):  # it was deleted, and made anew, by somebody else
                await self._client.delete(self._cluster.path("Deployment", object_name), options)

            def is_gone() -> bool:
                now = self._deployments.objects.get(object_name)
                return (now is None or now["metadata"]["uid"] != uid) and not self._pods.of(object_name)

            await self._until(object_name, is_gone, None)

    def get(self, name: str) -> Module | None:
        module = self._modules.get(objects.object_name(name))
        return module if module is not None and module.name == name else None

    def modules(self) -> list[Module]:
        return sorted(self._modules.values(), key=lambda module: module.name)

    def watch(self) -> AsyncIterator[tuple[Module, bool]]:
        return self._watchers.watch(self.modules)

    def logs(self, name: str, *, follow: bool, tail: int) -> AsyncIterator[LogLine]:
        object_name = objects.object_name(name)

        def pods() -> list[str]:
            module = self.get(name)
            builder = objects.builder_name(self._cluster, module.spec) if module is not None else ""
            job = self._jobs.objects.get(builder)
            is_ours = job is not None and module is not None and module.uid in objects.owners(job)
            found = [*(self._pods.of(builder) if is_ours else ()), *self._pods.of(object_name)]
            return [documents.name_of(pod) for pod in found if documents.has_started(pod)]

        return read_logs(self._client, self._cluster.path("Pod"), pods, follow=follow, tail=tail)

    async def _clean_up(self) -> None:
        """Removes from the store what neither a module nor a pod uses."""
        assert self._store is not None
        templates = [each["spec"]["template"] for each in self._deployments.objects.values()]
        users = [*templates, *self._pods.objects.values()]
        environments = {user["metadata"].get("annotations", {}).get(objects.ENVIRONMENT, "") for user in users}
        sources = {module.spec.source.digest for module in self._modules.values() if module.spec.source}
        await self._store.clean_up(environments, sources)

    # --- recording what is wanted ---

    async def _create(self, name: str, spec: ModuleSpec) -> Module:
        record = Record.first(spec)
        try:
            made = await self._client.create(self._cluster.path("Deployment"), objects.claim(self._cluster, record))
        except ConflictError:
            return await self._joined(name, spec)
        return await self._recorded(name, made["metadata"]["uid"], 1)

    async def _joined(self, name: str, spec: ModuleSpec) -> Module:
        """The module that another pod manager has just created; raises OrcError where it is not that."""
        there = await self._client.get(self._cluster.path("Deployment", name))
        if documents.labels_of(there).get("app.kubernetes.io/managed-by") != objects.MANAGED_BY:
            raise name_taken("Deployment", name)
        record = objects.record_of(there)
        if record is None:
            raise damaged(self._cluster, name)
        record.spec.must_equal(spec)
        return await self._recorded(name, there["metadata"]["uid"], record.generation)

    async def _change(self, name: str, deployment: Document, spec: ModuleSpec) -> Module:
        old = objects.record_of(deployment)
        module = self._modules.get(name)
        if old is None or module is None:
            raise damaged(self._cluster, name)
        if not module.spec.differing_fields(spec):
            return module
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
        return await self._recorded(name, uid, record.generation)

    async def _recorded(self, name: str, uid: str, generation: int) -> Module:
        """The module once the cache knows of what was recorded, so that who asks next is told so."""

        def is_seen() -> bool:
            module = self._modules.get(name)
            return module is not None and (module.uid != uid or module.generation >= generation)

        await self._until(name, is_seen)
        return self._modules[name]

    async def _until(self, name: str, condition: Any, seconds: float | None = _SEEN_SECONDS) -> None:
        """Waits until the cache fits; raises OrcError where the cluster doesn't tell in time."""
        try:
            async with asyncio.timeout(seconds), self._seen:
                await self._seen.wait_for(condition)
        except TimeoutError:
            text = f"the cluster hasn't told of the change of {name} within {seconds:g} s; it may come yet"
            raise error("CLUSTER_UNAVAILABLE", text) from None

    # --- following what is ---

    def _touch(self, group: str) -> None:
        """Has the modules that an object belongs to looked at anew, after the events that have come with this one."""
        if not self._changed:
            asyncio.get_running_loop().call_soon(self._flush)
        self._changed.add(group)
        self._changed |= self._maker.waiting_for(group)

    def _flush(self) -> None:
        changed, self._changed = self._changed, set()
        for name in changed:
            try:
                self._look(name)
            except Exception:
                logger.exception("the state of %s can't be read", name)
        self._tasks.start(self._tell_seen())

    async def _tell_seen(self) -> None:
        async with self._seen:
            self._seen.notify_all()

    async def _check_again(self) -> None:
        """Looks again at what becomes an error by time alone."""
        while True:
            await asyncio.sleep(_RECHECK)
            for name in list(self._recheck):
                self._touch(name)

    def _look(self, name: str) -> None:
        """Brings the module to what its objects tell, and has them brought to what is recorded."""
        deployment = self._deployments.objects.get(name)
        old = self._modules.get(name)
        read = objects.record_of(deployment) if deployment is not None else None
        if read is not None and objects.object_name(read.spec.module_name) != name:
            read = None
        is_known = deployment is not None and old is not None and old.uid == deployment["metadata"]["uid"]
        record = self._records[name] if read is None and is_known else read
        if deployment is None or record is None:
            self._recheck.discard(name)
            self._incomplete.pop(name, None)
            self._records.pop(name, None)
            self._made.pop(name, None)
            self._failures.pop(name, None)
            if old is not None:
                self._maker.forget(old.uid)
                del self._modules[name]
                gone = dataclasses.replace(old, phase=ModulePhase.DELETING, pods=())
                self._watchers.publish(gone, gone=True)
            return
        pods = self._pods.of(name)
        now = time.time()
        is_applied = objects.is_applied(deployment, record)
        build = None if is_applied else self._build(name, record, now)
        lock = self._lock(name, deployment, record.spec)
        module = status.module_of(deployment, record, pods, self._slices.of(name), now, build, lock)
        if read is None:
            module = status.failed(module, damaged(self._cluster, name))
        self._records[name] = record
        if old is not None and old.uid != module.uid:
            self._watchers.publish(dataclasses.replace(old, phase=ModulePhase.DELETING, pods=()), gone=True)
        if module != old:
            self._modules[name] = module
            self._watchers.publish(module)
        if module.phase is not ModulePhase.DELETING and read is not None:
            self._repair(name, deployment, record, module)

    def _repair(self, name: str, deployment: Document, record: Record, module: Module) -> None:
        """Has the objects made that are older than the record, or missing."""
        version = deployment["metadata"]["resourceVersion"]
        is_made = objects.is_applied(deployment, record) or self._made.get(name) == version
        is_complete = not is_made or self._is_complete(name, record)
        if is_complete:
            self._incomplete.pop(name, None)
        elif self._is_overdue(name):
            self._maker.forget(module.uid)
            is_made = False
        if not is_complete or (module.progress and module.error is None):
            self._recheck.add(name)
        else:
            self._recheck.discard(name)
        if objects.is_asleep(deployment, record) and self._made.get(name) != version:
            is_made = False
        if not is_made and name not in self._reconciling:
            self._reconciling.add(name)
            self._tasks.start(self._reconcile(name, deployment, record))

    def _is_complete(self, name: str, record: Record) -> bool:
        """Whether all is there that a module has beside its Deployment; of a Service that tells its EndpointSlice."""
        has_scaler = record.spec.autoscaling is None or name in self._autoscalers.objects
        return has_scaler and name in self._budgets.objects and bool(self._slices.of(name))

    def _is_overdue(self, name: str) -> bool:
        """Whether what a module lacks has been missing for longer than it takes to be seen.

        The cluster may just be slow, and slower for being asked: that is so ever more seldom while it stays missing.
        """
        now = asyncio.get_running_loop().time()
        due, pause = self._incomplete.setdefault(name, (now + _RECHECK, _RECHECK))
        if now < due:
            return False
        pause = min(2 * pause, _LONGEST_PAUSE)
        self._incomplete[name] = (now + pause, pause)
        return True

    def _build(self, name: str, record: Record, now: float) -> status.Build | None:
        """What keeps the module's objects from being made."""
        failure = self._failures.get(name)
        is_final = failure is not None and failure.error.reason != "CLUSTER_UNAVAILABLE"  # else it goes on by itself
        if failure is not None and is_final and failure.generation == record.generation:
            return status.Build(error=failure.error)
        builder = objects.builder_name(self._cluster, record.spec)
        if name not in self._maker.waiting_for(builder):
            return status.Build() if record.spec.needs_install else None
        pods = self._pods.of(builder)
        return status.build_of(self._jobs.objects.get(builder), pods, now, self._progress.of(builder, pods))

    def _lock(self, name: str, deployment: Document, spec: ModuleSpec) -> Lock | None:
        """What the environment of the module's pods consists of, once that is read."""
        annotations = deployment["spec"]["template"]["metadata"].get("annotations", {})
        digest = annotations.get(objects.ENVIRONMENT)
        if digest == "" and not spec.image:
            own = interpreters.own()
            return Lock(own.path, own.version, "")
        if not digest or self._store is None:
            return None
        return self._store.lock(digest, lambda: self._touch(name))

    # --- making it so ---

    async def _reconcile(self, name: str, deployment: Document, record: Record) -> None:
        """Makes the module's objects what its record says, as far as that is possible now."""
        pause = _RECHECK if objects.is_asleep(deployment, record) else 0.0  # whoever else scales it may do so at once
        try:
            if await self._maker.make(deployment, record):
                self._made[name] = deployment["metadata"]["resourceVersion"]
            self._failures.pop(name, None)
        except (ConflictError, NotFoundInClusterError) as failure:
            logger.info("%s has changed meanwhile: %s", name, failure)
        except OrcError as failure:
            logger.warning("%s: %s", name, failure.message)
            before = self._failures.get(name)
            pause = min(2 * before.pause, _LONGEST_PAUSE) if before else _FIRST_PAUSE
            self._failures[name] = _Failure(record.generation, failure, pause)
            self._touch(name)
        asyncio.get_running_loop().call_later(pause, self._resume, name)

    def _resume(self, name: str) -> None:
        self._reconciling.discard(name)
        self._touch(name)


@dataclass(frozen=True)
class _Failure:
    """Why the objects of a generation can't be made, and how many seconds pass until that is tried again."""

    generation: int
    error: OrcError
    pause: float
