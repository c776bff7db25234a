"""What objects of a cluster tell of a JAC Cloud Orchestrator in it, by pure functions: documents in, checks out."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jac_orc.cli.checks import Check, fault, ok
from jac_orc.cli.forward import GATEWAY, Cluster
from jac_orc.pod_manager.backends.kube import documents, status

Document = dict[str, Any]

# What the objects in kustomize/ need, by the version that has it without being asked to.
NEEDS = (
    ((1, 30), "`sleep` before a container is stopped, so that the pod manager ends without a failed call"),
    ((1, 29), "sidecars, so that the gateway does"),
    ((1, 27), "`matchLabelKeys` and `unhealthyPodEvictionPolicy`, by which replicas are spread and evicted"),
    ((1, 24), "probes by gRPC"),
)

NODE_LOCAL = "jac-orc-node-local"
"""The storage class of the component `node-local-store`, which no provisioner serves."""
NODE_PORT = 30080
"""The node port that the overlay `local` asks for."""
_LATELY = 600.0
_OURS = ("jac-orc-pod-manager-", "jac-orc-gateway-")
_NOT_FOR_PODS = ("services", "persistentvolumeclaims", "requests.storage", "count/services", "count/persistentvolume")
_UNITS = {
    "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60,
}  # fmt: skip
_BASELINE = "pod-security.kubernetes.io/enforce=baseline"
_BEFORE_ANY_RUNS = ("ContainerCreating", "PodInitializing")


def version(name: str, document: Document) -> Check:
    """The API server's version."""
    numbers = re.match(r"v?(\d+)\.(\d+)", str(document.get("gitVersion", "")))
    found = f"Kubernetes {document.get('gitVersion', 'of an unknown version')}"
    if not numbers:
        return fault(name, found, "give the --context of a Kubernetes cluster")
    lacking = [what for least, what in NEEDS if (int(numbers[1]), int(numbers[2])) < least]
    if lacking:
        least = ".".join(map(str, NEEDS[0][0]))
        return fault(name, f"{found} lacks {'; '.join(lacking)}", f"upgrade the cluster to {least} or newer")
    return ok(name, found)


def workload(
    name: str,
    object_name: str,
    found: Document | None,
    pods: Sequence[Document],
    events: Sequence[Document],
    now: float,
    cluster: Cluster,
) -> Check:
    """A Deployment of ours, and why its pods aren't ready. `events` are warnings, `now` is seconds since the epoch."""
    if found is None:
        return fault(name, f"there is no Deployment {object_name}", cluster.install)
    wanted = found["spec"].get("replicas", 1)
    if not wanted:
        command = f"{cluster.kubectl} scale deployment {object_name} --replicas 1"
        return fault(name, f"the Deployment {object_name} is scaled to no pod", command)
    newest_first = sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), reverse=True)
    starting = [pod for pod in newest_first if not _is_met(pod, "Ready") and not _is_over(pod)]
    for pod in starting:
        containers = (*_containers(pod, "initContainerStatuses"), *_containers(pod, "containerStatuses"), {})
        faults = (status.pod_fault(pod, now, container) for container in containers)
        if failure := next(filter(None, faults), None):
            text = f"the pod {pod['metadata']['name']}: {failure.message}"
            return fault(name, text, _pod_fix(failure.reason, pod, cluster))
        if pull := _failed_pull(containers):
            text = f"the pod {pod['metadata']['name']}: {pull}"
            return fault(name, text, _pod_fix("IMAGE_UNAVAILABLE", pod, cluster))
        if unmounted := _unmounted(pod, events):
            text = f"the pod {pod['metadata']['name']} waits: {unmounted}"
            return fault(name, text, _pod_fix("", pod, cluster))
    ready = found.get("status", {}).get("readyReplicas", 0)
    if ready >= wanted:
        return ok(name, f"{ready} of {wanted} pods ready")
    describe = f"{cluster.kubectl} describe replicaset,pod --selector {selector(found)}"
    if failure := status.deployment_fault(found):
        known = _refusal_fix(failure.message, cluster)
        return fault(name, failure.message, f"{known}; see also {describe}" if known else describe)
    waits = next((f"; {pod['metadata']['name']} {_waits(pod)}" for pod in starting), "")
    return fault(name, f"{ready} of {wanted} pods ready{waits}", describe)


def _failed_pull(containers: Iterable[Document]) -> str:
    """Return which image a node has just failed to pull, which it will try again; empty if none."""
    for each in containers:
        waiting = each.get("state", {}).get("waiting", {})
        if waiting.get("reason") == "ErrImagePull":
            return f"the image {each.get('image')} can't be pulled: {waiting.get('message', '')}"
    return ""


def _is_over(pod: Document) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp")) or pod["status"].get("phase") in ("Failed", "Succeeded")


def _pod_fix(reason: str, pod: Document, cluster: Cluster) -> str:
    name = pod["metadata"]["name"]
    if reason == "IMAGE_UNAVAILABLE":
        return "name an image that the nodes can pull, by `images` in the kustomization.yaml of your overlay"
    if reason in ("POD_FAILED", "OUT_OF_MEMORY"):
        return f"{cluster.kubectl} logs {name} --all-containers --previous"
    return f"{cluster.kubectl} describe pod {name}"


def _containers(pod: Document, key: str) -> Iterable[Document]:
    return pod["status"].get(key) or ()


def _unmounted(pod: Document, events: Sequence[Document]) -> str:
    """Which volume a pod waits for, none of whose containers has run, as where a Secret is missing: events tell."""
    unmounted = [each for each in events if each.get("reason") == "FailedMount"]
    of_pod = [each for each in unmounted if each["involvedObject"].get("uid") == pod["metadata"]["uid"]]
    is_before = all(each and each.get("reason") in _BEFORE_ANY_RUNS for each in _waiting(pod))
    return documents.newest_message(of_pod) if is_before else ""


def _waiting(pod: Document) -> list[Document | None]:
    """What each container waits for; None: it doesn't."""
    statuses = [*_containers(pod, "initContainerStatuses"), *_containers(pod, "containerStatuses")]
    return [each.get("state", {}).get("waiting") for each in statuses]


def _waits(pod: Document) -> str:
    """What a pod that isn't ready does."""
    reasons = [f"{each.get('reason', '')} {each.get('message', '')}".strip() for each in _waiting(pod) if each]
    scheduled = _condition(pod, "PodScheduled").get("message", "")
    return f"waits: {scheduled or reasons[0]}" if scheduled or reasons else "runs, and isn't ready"


def selector(deployment: Document) -> str:
    """What the pods of a Deployment are found by."""
    return ",".join(f"{key}={value}" for key, value in deployment["spec"]["selector"]["matchLabels"].items())


def store(
    name: str,
    object_name: str,
    claim: Document | None,
    classes: Sequence[Document],
    events: Sequence[Document],
    cluster: Cluster,
) -> Check:
    """The volume of environments and sources; `events` are those of its claim."""
    if claim is None:
        return fault(name, f"there is no PersistentVolumeClaim {object_name}", cluster.install)
    phase = claim["status"]["phase"]
    if phase == "Bound":
        return ok(name, f"{object_name} is bound, {claim['status'].get('capacity', {}).get('storage', '')}")
    wanted = claim["spec"].get("storageClassName")
    names = [each["metadata"]["name"] for each in classes]
    if wanted is None:
        why = "the claim names no storage class, and the cluster has no default one"
    elif wanted and wanted not in names and not claim["spec"].get("volumeName"):
        why = f"there is no storage class {wanted}"
    else:
        why = documents.newest_message(events) or f"its storage class is {wanted or '(none)'}"
    fix = (
        "set storageClassName in kustomize/base/store/claim.yaml to a class whose volumes can be ReadWriteMany "
        f"(there are: {', '.join(names) or 'none'}), or on a cluster of one node add "
        "kustomize/components/node-local-store to your overlay, delete the claim and apply the overlay again"
    )
    return fault(name, f"{object_name} is {phase.lower()}: {why}", fix)


def unprovisioned(
    name: str, claim: Document, classes: Sequence[Document], volumes: Sequence[Document], cluster: Cluster
) -> Check | None:
    """Return why a pending claim has no volume if only one created for it will do; None if another reason is likelier.

    That is so for a claim that names its volume, and for a class without a provisioner, as `node-local-store` has.
    """
    object_name, wanted = claim["metadata"]["name"], claim["spec"].get("storageClassName")
    if claim["status"]["phase"] == "Bound":
        return None
    is_provisioned = not wanted or wanted in [each["metadata"]["name"] for each in classes]
    of_class = [each for each in volumes if not is_provisioned and each["spec"].get("storageClassName") == wanted]
    ours = [each for each in of_class if _claimed_by(each) in ("", f"{cluster.namespace}/{object_name}")]
    ours += [each for each in volumes if each["metadata"]["name"] == claim["spec"].get("volumeName")]
    pending = f"{object_name} is {claim['status']['phase'].lower()}"
    for volume in ours:
        volume_name = volume["metadata"]["name"]
        if volume["status"].get("phase") == "Released":
            text = f"the PersistentVolume {volume_name} is still bound to a claim that no longer exists"
            fix = f"{cluster.kubectl} delete pv {volume_name}, and then again {cluster.install}"
            return fault(name, f"{pending}: {text}", fix)
    if ours or wanted != NODE_LOCAL:
        return None
    others = sorted(each["metadata"]["name"] for each in of_class)
    text = "there is no PersistentVolume for it"
    text += f"; {', '.join(others)} of the same class belong to other namespaces" if others else ""
    return fault(name, f"{pending}: {text}", cluster.install)


def _claimed_by(volume: Document) -> str:
    """Return `NAMESPACE/NAME` of the claim that a volume is reserved for; empty if it is free."""
    claim = volume["spec"].get("claimRef") or {}
    return f"{claim.get('namespace', '')}/{claim['name']}" if claim else ""


def services(name: str, found: Mapping[str, Document | None], others: Iterable[Document], cluster: Cluster) -> Check:
    """Our Services, by their names; `others` are those of all namespaces, to find who has our node port."""
    missing = [each for each, document in found.items() if document is None]
    if not missing:
        return ok(name, ", ".join(found))
    text = f"there is no Service {', '.join(missing)}"
    ports = ((port.get("nodePort"), other["metadata"]) for other in others for port in other["spec"].get("ports") or ())
    holder = next((metadata for number, metadata in ports if number == NODE_PORT), None)
    if missing != [GATEWAY] or holder is None:
        return fault(name, text, cluster.install)
    text += f"; node port {NODE_PORT} belongs to the Service {holder['name']} in the namespace {holder['namespace']}"
    return fault(name, text, 'set another nodePort (see "A second install" in kustomize/README.md), and apply again')


def quota(name: str, quotas: Sequence[Document], cluster: Cluster) -> Check:
    """The ResourceQuotas of the namespace, and whether one leaves nothing for further pods."""
    full: list[str] = []
    for each in quotas:
        hard, used = each.get("status", {}).get("hard", {}), each.get("status", {}).get("used", {})
        for resource, limit in hard.items():
            if not resource.startswith(_NOT_FOR_PODS) and _amount(used.get(resource, "0")) >= _amount(limit):
                full.append(f"{each['metadata']['name']}: {resource} {used[resource]} of {limit}")
    if full:
        fix = _refusal_fix("exceeded quota", cluster)
        return fault(name, f"it is used up, so no pod can be created: {'; '.join(full)}", fix)
    return ok(name, f"{', '.join(each['metadata']['name'] for each in quotas)}: not used up")


def _amount(quantity: str) -> float:
    """Return a Kubernetes quantity as a number: `500m` is 0.5."""
    number = re.match(r"[-+.0-9]+(?:[eE][-+]?[0-9]+)?", quantity)
    return float(number[0]) * _UNITS.get(quantity[number.end() :], 1.0) if number else 0.0


def refusals(
    name: str, events: Sequence[Document], makers: Sequence[Document], now: float, cluster: Cluster
) -> list[Check]:
    """The pods that the cluster lately refused; `makers` are the Jobs and ReplicaSets, some with pods by now."""
    served = {each["metadata"]["uid"] for each in makers if _has_its_pods(each)}
    newest: dict[str, tuple[float, Document]] = {}
    for event in events:
        age = now - _seconds(event)
        subject = event["involvedObject"]
        if age > _LATELY or subject.get("uid") in served or subject["name"].startswith(_OURS):
            continue
        cause = re.sub(r'^.*Error creating: |pods "[^"]*" (is|are) ', "", event.get("message", ""))
        if cause not in newest or age < newest[cause][0]:
            newest[cause] = (age, event)
    checks = []
    for cause, (age, event) in newest.items():
        text = f"{event['involvedObject']['kind']} {event['involvedObject']['name']}, {age:.0f} s ago"
        fix = f"{cluster.kubectl} get events --field-selector reason=FailedCreate"
        checks.append(fault(name, f"{text}: {status.refused(cause).message}", _refusal_fix(cause, cluster) or fix))
    return checks


def _refusal_fix(message: str, cluster: Cluster) -> str:
    """Return what to do about pods that an API server refuses with that message; empty if that isn't known."""
    if status.refused(message).reason == "QUOTA_EXCEEDED":
        return f"delete modules that you no longer need, or raise the quota: {cluster.kubectl} edit resourcequota"
    if "violates PodSecurity" in message:
        text = "set the Pod Security level that the pods need (node-local-store: baseline, all else: restricted)"
        return f"{text}: {cluster.kubectl} label --overwrite namespace {cluster.namespace} {_BASELINE}"
    return ""


def _has_its_pods(maker: Document) -> bool:
    """Whether a Job or a ReplicaSet has had the pods that it wants."""
    state, wanted = maker.get("status", {}), maker["spec"].get("replicas")
    if wanted is not None:
        return bool(state.get("replicas", 0) >= wanted)
    return any(state.get(key) for key in ("active", "succeeded", "failed"))


def _seconds(event: Document) -> float:
    """Return when an event last happened, in seconds since the epoch."""
    moment = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"]
    return datetime.datetime.fromisoformat(moment).timestamp()


def open_service(found: Document, cluster: Cluster) -> list[Check]:
    """The gateway's Service, where it is a way in by itself."""
    name, kind = f"Service {found['metadata']['name']}", found["spec"].get("type")
    ports = [each for each in found["spec"].get("ports") or () if each.get("name") in ("http", "https")]
    if kind == "NodePort":
        numbers = ", ".join(str(each.get("nodePort")) for each in ports)
        return [ok(name, f"port {numbers} of each node")]
    if kind != "LoadBalancer":
        return []
    addresses = _addresses(found)
    if not addresses:
        describe = f"{cluster.kubectl} describe service {found['metadata']['name']}"
        fix = f"see that the cluster has a controller for Services of type LoadBalancer: {describe}"
        return [fault(name, "it is of type LoadBalancer, and no controller has given it an address", fix)]
    numbers = ", ".join(str(each["port"]) for each in ports)
    return [ok(name, f"port {numbers} at {', '.join(addresses)}")]


def _addresses(found: Document) -> list[str]:
    """Those of the load balancer of an Ingress or a Service."""
    return [each.get("ip") or each.get("hostname", "") for each in _path(found, "status", "loadBalancer", "ingress")]


def autoscaling(name: str, scalers: Sequence[Document], is_measured: bool, cluster: Cluster) -> Check:
    """The modules' autoscalers, and whether the cluster tells them what pods use."""
    names = ", ".join(each["metadata"]["name"] for each in scalers)
    if not is_measured:
        text = f"the cluster serves no metrics.k8s.io, so there is nothing by which to scale {names}"
        describe = f"{cluster.kubectl} describe apiservice v1beta1.metrics.k8s.io"
        fix = "install metrics-server, https://github.com/kubernetes-sigs/metrics-server"
        return fault(name, text, f"{fix}, or see why it doesn't answer: {describe}")
    return ok(name, f"of {names}")


def ingress(found: Document, classes: Mapping[str, Document], cluster: Cluster) -> Check:
    """An Ingress: whether there is its class, and a controller that has taken it."""
    name = f"Ingress {found['metadata']['name']}"
    annotations = found["metadata"].get("annotations", {})
    wanted = found["spec"].get("ingressClassName") or annotations.get("kubernetes.io/ingress.class", "")
    file = _class_fix("kustomize/overlays/ingress/settings.yaml", classes)
    if not wanted:
        return fault(name, "it names no class, and the cluster has no default one", file)
    if found["spec"].get("ingressClassName") and wanted not in classes:
        return fault(name, f"there is no IngressClass {wanted}", file)
    addresses = _addresses(found)
    if not addresses:
        controller = classes.get(wanted, {}).get("spec", {}).get("controller", wanted)
        return fault(
            name, f"no controller has given it an address; its class {wanted} is that of {controller}",
            f"see that this controller runs: {cluster.kubectl} describe ingress {found['metadata']['name']}",
        )  # fmt: skip
    return ok(name, f"class {wanted}, at {', '.join(addresses)}")


def _class_fix(file: str, classes: Iterable[str]) -> str:
    return f"give the class in {file} (there are: {', '.join(classes) or 'none'}), and apply the overlay again"


def gateway(found: Document, classes: Mapping[str, Document], cluster: Cluster) -> Check:
    """A Gateway: whether there is its class, and a controller that has taken it and each of its listeners."""
    name, wanted = f"Gateway {found['metadata']['name']}", found["spec"]["gatewayClassName"]
    if wanted not in classes:
        file = _class_fix("kustomize/overlays/gateway-api/settings.yaml", classes)
        return fault(name, f"there is no GatewayClass {wanted}", file)
    if not _is_met(found, "Accepted") and not _is_met(classes[wanted], "Accepted"):
        message = _condition(classes[wanted], "Accepted").get("message", "no controller has looked at it")
        fix = f"see that its controller runs: kubectl describe gatewayclass {wanted}"
        return fault(name, f"the GatewayClass {wanted} isn't accepted: {message}", fix)
    refused = _refused(found["status"]) if _condition(found, "Accepted") else ["no controller has taken it"]
    for listener in _path(found, "status", "listeners"):
        refused += [f"listener {listener['name']}: {why}" for why in _refused(listener)]
    if refused:
        return fault(name, "; ".join(refused), f"{cluster.kubectl} describe gateway {found['metadata']['name']}")
    addresses = [each["value"] for each in _path(found, "status", "addresses")]
    return ok(name, f"class {wanted}" + (f", at {', '.join(addresses)}" if addresses else ""))


def route(kind: str, found: Document, cluster: Cluster) -> Check:
    """An HTTPRoute or a GRPCRoute: whether its Gateway has taken it."""
    name = found["metadata"]["name"]
    describe = f"{cluster.kubectl} describe {kind.lower()} {name}"
    parents = _path(found, "status", "parents")
    refused = [why for parent in parents for why in _refused(parent)]
    if refused or not parents:
        return fault(f"{kind} {name}", "; ".join(refused) or "no Gateway has taken it", describe)
    return ok(f"{kind} {name}", f"for {', '.join(found['spec'].get('hostnames', ['any host']))}")


def _refused(status: Document) -> list[str]:
    """What conditions say that isn't as it shall be."""
    return [
        f"{each['type']} is {each['status']}: {each.get('message') or each.get('reason', '')}"
        for each in status.get("conditions") or ()
        if each["type"] in ("Accepted", "Programmed", "ResolvedRefs") and each["status"] != "True"
    ]


def _path(document: Document, *keys: str) -> list[Document]:
    found: Any = document
    for key in keys:
        found = (found or {}).get(key)
    return found or []


def _condition(document: Document, kind: str) -> Document:
    conditions = _path(document, "status", "conditions")
    return next((condition for condition in conditions if condition["type"] == kind), {})


def _is_met(document: Document, kind: str) -> bool:
    return bool(_condition(document, kind).get("status") == "True")
