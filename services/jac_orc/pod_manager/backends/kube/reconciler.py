"""Keeps what is known of the modules up to date, and has their objects made what is recorded of them.

Each change that the informers tell of has the modules it belongs to looked at anew; whichever pod manager sees that
the objects are of an older record, or that one is missing, makes them. That may be done twice, as each step is
idempotent and refused where what it was decided from has changed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from jac_orc.core.tasks import Faults, Tasks, report_impaired, report_working
from jac_orc.errors import OrcError, error
from jac_orc.pod_manager import interpreters
from jac_orc.pod_manager.backends.base import deploy_failure
from jac_orc.pod_manager.backends.known_modules import KnownModules
from jac_orc.pod_manager.backends.kube import builders, documents, objects, status
from jac_orc.pod_manager.backends.kube.caches import Caches
from jac_orc.pod_manager.backends.kube.client import ConflictError, Document, KubeClient, NotFoundInClusterError
from jac_orc.pod_manager.backends.kube.maker import Maker, damaged
from jac_orc.pod_manager.backends.kube.objects import Record
from jac_orc.pod_manager.backends.kube.pods import Cluster
from jac_orc.pod_manager.backends.kube.progress import Progress
from jac_orc.pod_manager.backends.kube.status import Build
from jac_orc.pod_manager.backends.kube.store import Store
from jac_orc.pod_manager.model import Lock, Module, ModulePhase, ModuleSpec

logger = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_RECHECK = 2.0
_SEEN = 30.0


class Reconciler:
    """Keeps `modules` up to date; `start` first, `stop` last."""

    def __init__(self, client: KubeClient, cluster: Cluster, store: Store | None, modules: KnownModules) -> None:
        self.caches = Caches(client, cluster, self._touch)
        self.maker = Maker(client, cluster, store, self.caches)
        self._modules = modules
        self._cluster = cluster
        self._store = store
        self._progress = Progress(client, cluster, self._touch)
        self._kept: dict[str, _Kept] = {}  # by the names of the modules' objects
        self._changed: set[str] = set()
        self._unreadable: set[str] = set()
        self._seen = asyncio.Event()  # set, and replaced, after each look
        self.faults = Faults()
        self._tasks = Tasks(self.faults)

    async def start(self) -> None:
        """Returns once all that there is is known. Raises OrcError where that takes too long."""
        await self.caches.follow(self._tasks)
        self._flush()
        self._tasks.supervise("checking unsettled modules again", self._check_again)

    async def stop(self) -> None:
        """Lets go of the cluster, where everything goes on."""
        await asyncio.gather(self._tasks.cancel(), self._progress.stop())

    async def until(self, name: str, condition: Callable[[], bool], seconds: float | None = _SEEN) -> None:
        """Waits until the caches fit; raises OrcError where the cluster doesn't tell in time."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    await self._seen.wait()
        except TimeoutError:
            text = f"the cluster hasn't told of the change of {name} within {seconds:g} s; it may come yet"
            raise error("CLUSTER_UNAVAILABLE", text) from None

    def _touch(self, group: str) -> None:
        """Has the modules that an object belongs to looked at anew, after the events that have come with this one."""
        if not self._changed:
            asyncio.get_running_loop().call_soon(self._flush)
        self._changed.add(group)
        self._changed |= {
            name
            for name, kept in self._kept.items()
            if kept.is_building and builders.builder_name(self._cluster, kept.record.spec) == group
        }

    def _flush(self) -> None:
        changed, self._changed = self._changed, set()
        for name in changed:
            try:
                self._look(name)
                self._unreadable.discard(name)
            except Exception:
                if name not in self._unreadable:
                    logger.exception("the state of %s can't be read; trying again", name)
                self._unreadable.add(name)
        self._seen.set()
        self._seen = asyncio.Event()

    async def _check_again(self) -> None:
        """Looks again at what becomes an error by time alone."""
        while True:
            await asyncio.sleep(_RECHECK)
            if self._unreadable:
                report_impaired()
            else:
                report_working()
            unsettled = {name for name, kept in self._kept.items() if not kept.is_settled}
            for name in unsettled | self._unreadable:
                self._touch(name)

    def _look(self, name: str) -> None:
        """Brings the module to what its objects tell, and has them brought to what is recorded."""
        deployment = self.caches.deployment(name)
        kept = self._kept.get(name)
        if kept is not None and (deployment is None or deployment["metadata"]["uid"] != kept.uid):
            self._forget(self._kept.pop(name))
            kept = None
        if deployment is None:
            return
        record = objects.record_of(deployment)
        is_readable = record is not None and objects.object_name(record.spec.module_name) == name
        if record is not None and is_readable:
            kept = self._kept.setdefault(name, _Kept(deployment["metadata"]["uid"], record))
            kept.record = record
        if kept is None:
            return
        now = time.time()
        build = self._build(deployment, kept, now) if is_readable else Build(error=damaged(self._cluster, name))
        module = status.module_of(
            deployment, kept.record, self.caches.pods.of(name), self.caches.slices.of(name), now, build,
            self._lock(deployment, kept.record.spec), patience=self._cluster.settings.scheduling_timeout,
        )  # fmt: skip
        if module != self._modules.get(module.name):
            self._modules.publish(module)
        if module.phase is not ModulePhase.DELETING and is_readable:
            self._repair(module, deployment, kept)

    def _forget(self, kept: _Kept) -> None:
        module = self._modules.get(kept.record.spec.module_name)
        if module is not None:
            self._modules.publish(dataclasses.replace(module, phase=ModulePhase.DELETING, pods=()), gone=True)

    # --- reading what is ---

    def _build(self, deployment: Document, kept: _Kept, now: float) -> Build | None:
        """What keeps the module's objects from being made."""
        failure, record = kept.failure, kept.record
        if objects.is_applied(deployment, record):
            return None
        is_current = kept.failed_generation == record.generation
        if failure is not None and is_current and failure.reason != "CLUSTER_UNAVAILABLE":  # else it goes on by itself
            return Build(error=failure)
        if not kept.is_building:
            return Build() if record.spec.needs_install else None
        builder = builders.builder_name(self._cluster, record.spec)
        pods = self.caches.pods.of(builder)
        return status.build_of(
            self.caches.jobs.objects.get(builder), pods, now, self._progress.of(builder, pods),
            refusal=self.caches.refusal(builder), patience=self._cluster.settings.scheduling_timeout,
        )  # fmt: skip

    def _lock(self, deployment: Document, spec: ModuleSpec) -> Lock | None:
        """What the environment of the module's pods consists of, once that is read."""
        annotations = deployment["spec"]["template"]["metadata"].get("annotations", {})
        digest = annotations.get(objects.ENVIRONMENT)
        if digest == "" and not spec.image:
            own = interpreters.own()
            return Lock(own.path, own.version, "")
        if not digest or self._store is None:
            return None
        return self._store.lock(digest)

    # --- making it so ---

    def _repair(self, module: Module, deployment: Document, kept: _Kept) -> None:
        """Has the objects made that are older than the record, or missing."""
        name = documents.name_of(deployment)
        is_made = kept.made == deployment["metadata"]["resourceVersion"]
        is_applied = objects.is_applied(deployment, kept.record)  # until then its template may have no policy at all
        kept.has_policy = kept.has_policy or (is_applied and objects.has_policy(self._cluster, deployment))
        is_up_to_date = is_made or (is_applied and kept.has_policy)
        is_complete = not is_up_to_date or self.caches.is_complete(name, kept.record)
        reads_lock = self._store is not None and module.lock is None and not module.spec.image
        is_final = module.error is not None or (module.settled and not module.progress and not reads_lock)
        kept.is_settled = is_complete and is_final
        is_overdue = not is_complete and kept.is_overdue()
        if is_complete:
            kept.absence_pause = 0.0
        is_asleep = objects.is_asleep(deployment, kept.record) and not is_made
        if (not is_up_to_date or is_overdue or is_asleep) and not kept.is_busy:
            kept.is_busy = True
            self._tasks.start(self._reconcile(name, deployment, kept))

    async def _reconcile(self, name: str, deployment: Document, kept: _Kept) -> None:
        """Makes the module's objects what its record says, as far as that is possible now."""
        record = kept.record
        pause = _RECHECK if objects.is_asleep(deployment, record) else 0.0  # whoever else scales it may do so at once
        try:
            is_made = await self.maker.make(deployment, record, anew=not kept.has_policy)
            kept.failure, kept.failure_pause = None, 0.0
            if is_made:
                kept.made, kept.is_building = deployment["metadata"]["resourceVersion"], False
            elif kept.is_building:  # each change of its builder has the module looked at again, as has `_check_again`
                kept.is_busy = False
                return
            else:
                kept.is_building = True
        except (ConflictError, NotFoundInClusterError) as failure:
            logger.info("%s has changed meanwhile: %s", name, failure)
        except Exception as raised:  # noqa: BLE001 - logged, and shown as the module's error
            pause = kept.failure_pause = min(2 * kept.failure_pause or _FIRST_PAUSE, _LONGEST_PAUSE)
            kept.failure = deploy_failure(record.spec.module_name, raised)
            kept.failed_generation = record.generation
            self._touch(name)
        asyncio.get_running_loop().call_later(pause, self._resume, name, kept)

    def _resume(self, name: str, kept: _Kept) -> None:
        kept.is_busy = False
        self._touch(name)


@dataclass
class _Kept:
    """What is remembered of a module from one look to the next; a pod manager that starts anew needs none of it."""

    uid: str
    record: Record
    is_settled: bool = False
    """Whether nothing but an event will change what is told of it."""
    is_busy: bool = False
    is_building: bool = False
    """Whether it waits for a builder."""
    has_policy: bool = False
    """Whether its pods have once followed this pod manager's policy. Whatever changes that later is a newer one's."""
    made: str = ""
    """The version of its Deployment that its objects were made for."""
    failure: OrcError | None = None
    """Why the objects of `failed_generation` can't be made; that is tried again after `failure_pause` seconds."""
    failed_generation: int = 0
    failure_pause: float = 0.0
    absence_pause: float = 0.0
    """Seconds between two attempts to make a missing object that belongs to it; 0: none is missing."""
    absence_due: float = 0.0

    def is_overdue(self) -> bool:
        """Whether a missing object is to be made again, ever more seldom while it stays missing.

        At first the cluster may just be slow to tell of it, and slower for being asked.
        """
        now, is_first = time.monotonic(), not self.absence_pause
        if not is_first and now < self.absence_due:
            return False
        self.absence_pause = min(2 * self.absence_pause or _RECHECK, _LONGEST_PAUSE)
        self.absence_due = now + self.absence_pause
        return not is_first
