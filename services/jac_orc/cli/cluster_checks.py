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

# The first version that has all that the objects in kustomize/ need without being asked to: `sleep` before a container
# is stopped, so that the pod manager ends without a failed call. Sidecars, of the gateway, came with 1.29.
LEAST_VERSION = (1, 30)

NODE_LOCAL = "jac-orc-node-local"
"""The storage class of the component `node-local-store`, which no provisioner serves."""
NODE_PORT = 30080
"""The node port that the overlay `local` asks for."""
_LATELY = 600.0
_OURS = ("jac-orc-pod-manager-", "jac-orc-gateway-")
_BASELINE = "pod-security.kubernetes.io/enforce=baseline"


def version(name: str, document: Document) -> Check:
    """The API server's version."""
    numbers = re.match(r"v?(\d+)\.(\d+)", str(document.get("gitVersion", "")))
    found = f"Kubernetes {document.get('gitVersion', 'of an unknown version')}"
    if not numbers:
        return fault(name, found, "give the --context of a Kubernetes cluster")
    if (int(numbers[1]), int(numbers[2])) < LEAST_VERSION:
        return fault(
            name, f"{found} is too old", f"upgrade the cluster to {'.'.join(map(str, LEAST_VERSION))} or newer"
        )
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
        text, reason = _trouble(pod, events, now)
        if text:
            return fault(name, f"the pod {pod['metadata']['name']}{text}", _pod_fix(reason, pod, cluster))
    ready = found.get("status", {}).get("readyReplicas", 0)
    if ready >= wanted:
        return ok(name, f"{ready} of {wanted} pods ready")
    describe = f"{cluster.kubectl} describe replicaset,pod --selector {selector(found)}"
    if failure := status.deployment_fault(found):
        return fault(name, failure.message, describe)
    states = (each["state"] for pod in starting for each in _containers(pod) if "waiting" in each.get("state", {}))
    reason = next((f"; a container waits: {state['waiting'].get('reason', '')}" for state in states), "")
    return fault(name, f"{ready} of {wanted} pods ready{reason}", describe)


def _trouble(pod: Document, events: Iterable[Document], now: float) -> tuple[str, str]:
    """Return why a pod isn't ready, and the reason of the error that this is, if any; empty if nothing tells why."""
    for each in [*_containers(pod), {}]:
        if failure := status.pod_fault(pod, now, each):
            return f": {failure.message}", failure.reason
        waiting = each.get("state", {}).get("waiting", {})
        if waiting.get("reason") == "ErrImagePull":  # which is tried again
            return f": the image {each.get('image')} can't be pulled: {waiting.get('message', '')}", "IMAGE_UNAVAILABLE"
    waits = all("waiting" in each.get("state", {}) for each in _containers(pod))
    of_pod = [each for each in events if each["involvedObject"].get("uid") == pod["metadata"]["uid"]]
    if waits and (why := documents.newest_message(of_pod)):  # for a volume, say: its state doesn't tell
        return f" waits: {why}", ""
    return "", ""


def _is_over(pod: Document) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp")) or pod["status"].get("phase") in ("Failed", "Succeeded")


def _pod_fix(reason: str, pod: Document, cluster: Cluster) -> str:
    name = pod["metadata"]["name"]
    if reason == "IMAGE_UNAVAILABLE":
        return "name an image that the nodes can pull, by `images` in the kustomization.yaml of your overlay"
    if reason in ("POD_FAILED", "OUT_OF_MEMORY"):
        return f"{cluster.kubectl} logs {name} --all-containers --previous"
    return f"{cluster.kubectl} describe pod {name}"


def _containers(pod: Document) -> list[Document]:
    return [*(pod["status"].get("initContainerStatuses") or ()), *(pod["status"].get("containerStatuses") or ())]


def selector(deployment: Document) -> str:
    """What the pods of a Deployment are found by."""
    return ",".join(f"{key}={value}" for key, value in deployment["spec"]["selector"]["matchLabels"].items())


def store(
    name: str,
    claim: Document,
    classes: Sequence[Document],
    volumes: Sequence[Document] | None,
    events: Sequence[Document],
    cluster: Cluster,
) -> Check:
    """Check the volume of environments and sources; `events` are those of its claim, `volumes` None if unknown."""
    object_name, phase = claim["metadata"]["name"], claim["status"]["phase"]
    if phase == "Bound":
        return ok(name, f"{object_name} is bound, {claim['status'].get('capacity', {}).get('storage', '')}")
    pending, wanted = f"{object_name} is {phase.lower()}", claim["spec"].get("storageClassName")
    names = [each["metadata"]["name"] for each in classes]
    ours = (None, (cluster.namespace, object_name))
    # No provisioner serves a claim that names a volume, or a class that is only a name, as that of `node-local-store`.
    is_provisioned = not claim["spec"].get("volumeName") and (not wanted or wanted in names)
    of_class = [each for each in volumes or () if each["spec"].get("storageClassName") == wanted]
    candidates = [each for each in of_class if not is_provisioned and _claimed_by(each) in ours]
    for volume in candidates:
        if volume["status"].get("phase") == "Released":
            volume_name = volume["metadata"]["name"]
            text = f"the PersistentVolume {volume_name} is still bound to a claim that no longer exists"
            fix = f"{cluster.kubectl} delete pv {volume_name}, and then again {cluster.install}"
            return fault(name, f"{pending}: {text}", fix)
    if wanted == NODE_LOCAL and volumes is not None and not candidates:
        return fault(name, f"{pending}: there is no PersistentVolume for it", cluster.install)
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
    return fault(name, f"{pending}: {why}", fix)


def _claimed_by(volume: Document) -> tuple[str, str] | None:
    """Return the namespace and the name of the claim that a volume is reserved for; None if it is free."""
    claim = volume["spec"].get("claimRef")
    return (claim.get("namespace", ""), claim["name"]) if claim else None


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
    """Return the addresses of an Ingress, a Gateway or a Service of type LoadBalancer."""
    balanced = _path(found, "status", "loadBalancer", "ingress")
    given = [each.get("ip") or each.get("hostname", "") for each in balanced]
    return given or [each["value"] for each in _path(found, "status", "addresses")]


def autoscaling(name: str, scalers: Sequence[Document], is_measured: bool, cluster: Cluster) -> Check:
    """The modules' autoscalers, and whether the cluster tells them what pods use."""
    names = ", ".join(each["metadata"]["name"] for each in scalers)
    if not is_measured:
        text = f"the cluster serves no metrics.k8s.io, so there is nothing by which to scale {names}"
        describe = f"{cluster.kubectl} describe apiservice v1beta1.metrics.k8s.io"
        fix = "install metrics-server, https://github.com/kubernetes-sigs/metrics-server"
        return fault(name, text, f"{fix}, or see why it doesn't answer: {describe}")
    return ok(name, f"of {names}")


def way_in(kind: str, found: Document, classes: Mapping[str, Document], cluster: Cluster) -> Check:
    """Check that an Ingress or a Gateway has a class of the cluster, and that a controller has taken it."""
    name, spec = f"{kind} {found['metadata']['name']}", found["spec"]
    annotation = found["metadata"].get("annotations", {}).get("kubernetes.io/ingress.class")
    wanted = spec.get(f"{kind.lower()}ClassName") or annotation
    overlay = "gateway-api" if kind == "Gateway" else "ingress"
    file = f"give the class in kustomize/overlays/{overlay}/settings.yaml (there are: {', '.join(classes) or 'none'})"
    if not wanted:
        return fault(name, "it names no class, and the cluster has no default one", f"{file}, and apply it again")
    if wanted not in classes and not annotation:
        return fault(name, f"there is no {kind}Class {wanted}", f"{file}, and apply it again")
    addresses = _addresses(found)
    if not addresses and not _is_met(found, "Programmed"):
        of_class = classes.get(wanted, {}).get("spec", {})
        controller = of_class.get("controller") or of_class.get("controllerName", wanted)
        conditions = _path(found, "status", "conditions")
        why = next((each.get("message", "") for each in conditions if each["status"] != "True"), "")
        text = f"no controller has given it an address{why and ': ' + why}; its class {wanted} is that of {controller}"
        describe = f"{cluster.kubectl} describe {kind.lower()} {found['metadata']['name']}"
        return fault(name, text, f"see that this controller runs: {describe}")
    return ok(name, f"class {wanted}" + (f", at {', '.join(addresses)}" if addresses else ""))


def _path(document: Document, *keys: str) -> list[Document]:
    found: Any = document
    for key in keys:
        found = (found or {}).get(key)
    return found or []


def _is_met(document: Document, kind: str) -> bool:
    conditions = _path(document, "status", "conditions")
    return any((each["type"], each["status"]) == (kind, "True") for each in conditions)
