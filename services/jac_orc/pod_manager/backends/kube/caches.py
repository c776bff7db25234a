"""What the informers know of a cluster's objects, by the name of what they belong to: a module's, or a builder's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from jac_orc.core.tasks import Tasks
from jac_orc.errors import error
from jac_orc.pod_manager.backends.kube import documents, objects
from jac_orc.pod_manager.backends.kube.client import Document, KubeClient
from jac_orc.pod_manager.backends.kube.informer import Informer
from jac_orc.pod_manager.backends.kube.objects import Record
from jac_orc.pod_manager.backends.kube.pods import Cluster

_SYNC_SECONDS = 60.0
_REFUSALS = "involvedObject.kind=Job,reason=FailedCreate"


class Caches:
    """All that a pod manager knows of its namespace; `on_change` gets the name that a changed object belongs to."""

    def __init__(self, client: KubeClient, cluster: Cluster, on_change: Callable[[str], None]) -> None:
        def informer(
            kind: str, group: Callable[[Document], str] = documents.name_of, *, selector: str = objects.SELECTOR,
            fields: str = "",
        ) -> Informer:  # fmt: skip
            def tell(old: Document | None, new: Document | None) -> None:
                for document in (old, new):
                    if document is not None:
                        on_change(group(document))

            return Informer(
                client, cluster.path(kind), selector, kept=documents.kept, group=group, on_change=tell, fields=fields
            )

        self.deployments = informer("Deployment")
        self.pods = informer("Pod", documents.owner_of_pod)
        self.slices = informer(
            "EndpointSlice", lambda each: documents.labels_of(each).get("kubernetes.io/service-name", "")
        )
        self.jobs = informer("Job")
        self.autoscalers = informer(objects.AUTOSCALER)
        self.budgets = informer(objects.DISRUPTION_BUDGET)
        # A Job, unlike a ReplicaSet, has no condition that says why it gets no pod.
        self.refusals = informer(
            "Event", lambda event: str(event["involvedObject"].get("name", "")), selector="", fields=_REFUSALS
        )

    async def follow(self, tasks: Tasks) -> None:
        """Follows the cluster by tasks of these; returns once all that there is is known. Raises OrcError."""
        informers: list[Informer] = list(vars(self).values())  # it has nothing else
        for informer in informers:
            tasks.supervise(f"following {informer.path}", informer.run)
        try:
            async with asyncio.timeout(_SYNC_SECONDS):
                await asyncio.gather(*(informer.synced.wait() for informer in informers))
        except TimeoutError:
            text = f"the cluster's objects can't be listed within {_SYNC_SECONDS:g} s; the log says why"
            raise error("CLUSTER_UNAVAILABLE", text) from None

    def deployment(self, name: str) -> Document | None:
        """The Deployment of that name."""
        return self.deployments.objects.get(name)

    def refusal(self, builder: str) -> str:
        """Return why the cluster creates no pod for a builder's Job; empty if it has said nothing."""
        job = self.jobs.objects.get(builder)
        uid = job["metadata"]["uid"] if job is not None else ""
        events = [each for each in self.refusals.of(builder) if each["involvedObject"].get("uid") == uid]
        return documents.newest_message(events)

    def is_complete(self, name: str, record: Record) -> bool:
        """Return whether a module's dependents exist in their current form.

        For its Service the EndpointSlice that belongs to it is evidence enough.
        """
        has_scaler = record.spec.autoscaling is None or objects.is_current(self.autoscalers.objects.get(name))
        return has_scaler and objects.is_current(self.budgets.objects.get(name)) and bool(self.slices.of(name))
