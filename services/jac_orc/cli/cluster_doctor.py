"""Looks at a cluster, one thing after the other, as far as whoever asks may."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from jac_orc.cli import cluster_checks
from jac_orc.cli.checks import Check, State, fault, ok, skipped
from jac_orc.cli.failures import CallError, UsageError
from jac_orc.cli.forward import GATEWAY, WHY, Cluster
from jac_orc.cli.place import address
from jac_orc.cli.remote import probe
from jac_orc.core.config import ConfigurationError
from jac_orc.errors import OrcError
from jac_orc.pod_manager.backends.kube import objects, rights
from jac_orc.pod_manager.backends.kube.client import LACKS_RIGHT, Document, KubeClient, NotFoundInClusterError

POD_MANAGER = "jac-orc-pod-manager"
STORE = "jac-orc-store"
SERVICES = (POD_MANAGER, "jac-orc-xds", GATEWAY)

_AT_ONCE = 10
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_NETWORKING = "/apis/networking.k8s.io/v1"
_METRICS = "/apis/metrics.k8s.io/v1beta1"
_GATEWAY_API = "/apis/gateway.networking.k8s.io/v1"


async def examine(cluster: Cluster) -> list[Check]:
    """What is found, in the order of what needs what."""
    try:
        client, _ = await KubeClient.connect(context=cluster.context or None)
    except ConfigurationError as failure:
        return [fault("API server", str(failure), "kubectl config get-contexts, then --context with one of these")]
    try:
        return await _Examination(client, cluster).checks()
    finally:
        await client.close()


class _Examination:
    """Of one namespace of one cluster."""

    def __init__(self, client: KubeClient, cluster: Cluster) -> None:
        self._client = client
        self._cluster = cluster
        self._namespace = cluster.namespace
        self._kubectl = cluster.kubectl
        self._pod_manager: Document | None = None
        self._front: Document | None = None
        """The gateway's Service."""

    async def checks(self) -> list[Check]:
        """All of them; without an API server or a namespace the rest is skipped."""
        steps: dict[str, Callable[[str], Awaitable[list[Check]]]] = {
            "API server": self._look_at_server,
            "namespace": self._look_at_namespace,
            "pod manager": self._look_at_pod_manager,
            "rights": self._look_at_rights,
            "store": self._look_at_store,
            "refused pods": self._look_at_refusals,
            "autoscaling": self._look_at_autoscaling,
            "gateway": self._look_at_gateway,
            "services": self._look_at_services,
            "way in": self._look_at_ways_in,
            "answer": self._look_at_answer,
        }
        checks: list[Check] = []
        for name, step in steps.items():
            needed = next((each for each in checks[:2] if each.state is State.FAULT), None)
            if needed is not None:
                checks.append(skipped(name, f"it needs the {needed.name}"))
                continue
            try:
                checks += await step(name)
            except OrcError as failure:
                if failure.reason == "CLUSTER_REFUSED":
                    checks.append(skipped(name, f"you may not look at it: {_told(failure)}"))
                else:
                    checks.append(fault(name, failure.message, f"{self._kubectl} cluster-info"))
        return checks

    async def _look_at_server(self, name: str) -> list[Check]:
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        try:
            version = await self._client.get("/version")
            with contextlib.suppress(NotFoundInClusterError):  # before Kubernetes 1.28
                await self._client.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
        except OrcError as failure:  # whoever is logged in may do both
            if failure.reason != "CLUSTER_REFUSED":
                raise
            return [fault(name, f"it doesn't know who you are: {_told(failure)}", f"{self._kubectl} auth whoami")]
        return [cluster_checks.version(name, version)]

    async def _look_at_namespace(self, name: str) -> list[Check]:
        found = await self._find(f"/api/v1/namespaces/{self._namespace}")
        if found is None:
            fix = f"{self._cluster.install}; or name the --namespace where it is"
            return [fault(name, f"there is no namespace {self._namespace}", fix)]
        if "deletionTimestamp" in found["metadata"]:
            fix = f"{self._kubectl} wait --for=delete namespace/{self._namespace}, and then {self._cluster.install}"
            return [fault(name, f"the namespace {self._namespace} is being deleted", fix)]
        return [ok(name, self._namespace)]

    async def _look_at_pod_manager(self, name: str) -> list[Check]:
        self._pod_manager = await self._find(self._path("/apis/apps/v1", f"deployments/{POD_MANAGER}"))
        return [await self._workload(name, POD_MANAGER, self._pod_manager)]

    async def _look_at_gateway(self, name: str) -> list[Check]:
        found = await self._find(self._path("/apis/apps/v1", f"deployments/{GATEWAY}"))
        return [await self._workload(name, GATEWAY, found)]

    async def _look_at_services(self, name: str) -> list[Check]:
        found = {each: await self._find(self._path("/api/v1", f"services/{each}")) for each in SERVICES}
        self._front = found[GATEWAY]
        others: list[Document] = []
        if self._front is None:
            with contextlib.suppress(OrcError):  # few may list those of other namespaces
                others = await self._list("/api/v1/services")
        return [cluster_checks.services(name, found, others, self._cluster)]

    async def _workload(self, name: str, object_name: str, found: Document | None) -> Check:
        selector = cluster_checks.selector(found) if found else ""
        pods = await self._list(self._path("/api/v1", "pods"), labelSelector=selector) if found else []
        events: list[Document] = []
        with contextlib.suppress(OrcError):  # who may not look at them learns the rest
            field = "involvedObject.kind=Pod,type=Warning"
            events = await self._list(self._path("/api/v1", "events"), fieldSelector=field)
        return cluster_checks.workload(name, object_name, found, pods, events, time.time(), self._cluster)

    async def _look_at_rights(self, name: str) -> list[Check]:
        """Asks the API server, or looks at the Role where whoever asks may not ask that."""
        template = self._pod_manager["spec"]["template"]["spec"] if self._pod_manager else {}
        account = template.get("serviceAccountName", POD_MANAGER)
        role: Document | None = None
        with contextlib.suppress(OrcError):
            role = await self._find(self._path(_RBAC, f"roles/{POD_MANAGER}"))
        of_role = rights.lacking(role.get("rules") or ()) if role else list(rights.RIGHTS)
        try:
            missing = await self._denied(account)
        except OrcError as failure:
            if failure.reason != "CLUSTER_REFUSED" or role is None:
                raise
            bound = await self._find(self._path(_RBAC, f"rolebindings/{POD_MANAGER}"))
            missing = of_role if bound else list(rights.RIGHTS)
        if not missing:
            return [ok(name, f"{account} has all {len(rights.RIGHTS)}")]
        fix = f"{self._kubectl} apply -f kustomize/base/pod-manager/role.yaml"
        if not of_role:
            subject = f"--serviceaccount={self._namespace}:{account}"
            fix = f"{self._kubectl} create rolebinding {POD_MANAGER} --role={POD_MANAGER} {subject}"
        return [fault(name, f"{account} may not {rights.told(missing)}", fix)]

    async def _denied(self, account: str) -> list[rights.Right]:
        path = self._path("/apis/authorization.k8s.io/v1", "localsubjectaccessreviews")
        turns = asyncio.Semaphore(_AT_ONCE)

        async def is_allowed(right: rights.Right) -> bool:
            async with turns:
                reviewed = await self._client.create(path, rights.review(right, self._namespace, account))
            return bool(reviewed["status"]["allowed"])

        allowed = await asyncio.gather(*map(is_allowed, rights.RIGHTS))
        return [right for right, given in zip(rights.RIGHTS, allowed, strict=True) if not given]

    async def _look_at_store(self, name: str) -> list[Check]:
        claim = self._setting("POD_MANAGER_STORE_CLAIM") if self._pod_manager else STORE
        if not claim:
            return [skipped(name, "POD_MANAGER_STORE_CLAIM is empty: only the standard library can be deployed")]
        found = await self._find(self._path("/api/v1", f"persistentvolumeclaims/{claim}"))
        if found is None:
            return [fault(name, f"there is no PersistentVolumeClaim {claim}", self._cluster.install)]
        classes: list[Document] = []
        events: list[Document] = []
        volumes: list[Document] | None = None
        if found["status"]["phase"] != "Bound":
            classes = await self._list("/apis/storage.k8s.io/v1/storageclasses")
            field = f"involvedObject.kind=PersistentVolumeClaim,involvedObject.name={claim}"
            events = await self._list(self._path("/api/v1", "events"), fieldSelector=field)
            with contextlib.suppress(OrcError):  # they are the whole cluster's: few may look at them
                volumes = await self._list("/api/v1/persistentvolumes")
        return [cluster_checks.store(name, found, classes, volumes, events, self._cluster)]

    async def _look_at_refusals(self, name: str) -> list[Check]:
        """Look for pods that controllers could not create; for a Job only events report that."""
        events = await self._list(self._path("/api/v1", "events"), fieldSelector="reason=FailedCreate")
        makers: list[Document] = []
        if events:
            makers = await self._list(self._path("/apis/batch/v1", "jobs"))
            makers += await self._list(self._path("/apis/apps/v1", "replicasets"))
        return cluster_checks.refusals(name, events, makers, time.time(), self._cluster)

    async def _look_at_autoscaling(self, name: str) -> list[Check]:
        path = self._path("/apis/autoscaling/v2", "horizontalpodautoscalers")
        scalers = await self._list(path, labelSelector=objects.SELECTOR)
        if not scalers:
            return []
        metrics: Document | None = None
        with contextlib.suppress(OrcError):  # of what is registered, and doesn't answer
            metrics = await self._find(_METRICS)
        return [cluster_checks.autoscaling(name, scalers, metrics is not None, self._cluster)]

    async def _look_at_ways_in(self, name: str) -> list[Check]:
        """Whatever in the namespace leads to it from outside."""
        checks: list[Check] = []
        for kind, api in (("Ingress", _NETWORKING), ("Gateway", _GATEWAY_API)):
            plural = f"{kind.lower()}{'es' if kind == 'Ingress' else 's'}"
            if found := await self._list(self._path(api, plural)):
                classes = await self._list(f"{api}/{kind.lower()}classes")
                by_name = {each["metadata"]["name"]: each for each in classes}
                checks += [cluster_checks.way_in(kind, each, by_name, self._cluster) for each in found]
        secure = await self._find(self._path("/api/v1", f"services/{GATEWAY}-tls"))
        for service in filter(None, (self._front, secure)):
            checks += cluster_checks.open_service(service, self._cluster)
        text = "no Ingress, Gateway or Service leads here from outside; this makes a way for you:"
        return checks or [skipped(name, f"{text} {self._cluster.by_hand}")]

    async def _look_at_answer(self, name: str) -> list[Check]:
        logs = f"{self._kubectl} logs deployment/{GATEWAY}"
        try:
            async with address(self._cluster) as found:
                await probe(found)
        except UsageError as failure:
            return [skipped(name, str(failure))]
        except CallError as failure:
            text = f"the gateway doesn't answer through a port-forward: {failure}".partition(WHY)[0]
            return [fault(name, text, f"{self._kubectl} describe service {GATEWAY}, and the log: {logs}")]
        except OrcError as failure:
            if failure.reason == "UNAUTHENTICATED":
                secret = f"{self._kubectl} get secret jac-orc-api-keys -o jsonpath='{{.data.api-keys\\.yaml}}'"
                fix = f"set JAC_ORC_API_KEY to one of the keys that this shows: {secret} | base64 -d"
                return [fault(name, "the gateway takes only who has an API key that it knows", fix)]
            return [fault(name, failure.message, f"{self._kubectl} logs deployment/{POD_MANAGER}, or {logs}")]
        return [ok(name, "the pod manager answers through the gateway")]

    def _setting(self, variable: str) -> str:
        """What the pod manager's Deployment sets it to; empty: it doesn't."""
        containers = self._pod_manager["spec"]["template"]["spec"]["containers"] if self._pod_manager else []
        variables = (each for container in containers for each in container.get("env") or ())
        return next((str(each.get("value", "")) for each in variables if each["name"] == variable), "")

    def _path(self, api: str, rest: str) -> str:
        return f"{api}/namespaces/{self._namespace}/{rest}"

    async def _find(self, path: str, **query: str) -> Document | None:
        try:
            return await self._client.get(path, **query)
        except NotFoundInClusterError:
            return None

    async def _list(self, path: str, **query: str) -> list[Document]:
        """The objects of a kind; none where the cluster doesn't know the kind."""
        found = await self._find(path, **query)
        return list(found["items"]) if found else []


def _told(failure: OrcError) -> str:
    """What the cluster says, without what would be so if the pod manager had asked."""
    return failure.message.removesuffix(f" ({LACKS_RIGHT})")
