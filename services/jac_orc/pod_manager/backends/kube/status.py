"""What a module is doing, read from its objects by pure functions: phases, pods, errors that a person understands."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf import json_format

from jac_orc.core import addresses, lifecycle, logs
from jac_orc.errors import OrcError, error
from jac_orc.pod_manager.backends.kube import builders, objects
from jac_orc.pod_manager.backends.kube.objects import Record
from jac_orc.pod_manager.backends.kube.pods import GRPC_PORT, SERVER, Document
from jac_orc.pod_manager.model import Lock, Module, ModulePhase, Pod, PodPhase, phase_of

_SILENT_AFTER = 30.0
"""Seconds after which a Job that has neither a pod nor an event is worth a look, and a pod that has only a node."""
_MAX_LINES = 12
_NO_IMAGE = ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
_PULL_FAILED = "ErrImagePull"
_NO_CLAIM = re.compile(r'persistentvolumeclaim "[^"]*" not found')
_NOT_YET = ("ContainerCreating", "PodInitializing")
_NO_CONTAINER = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")


@dataclasses.dataclass(frozen=True)
class Build:
    """What the build of a module's environment is doing."""

    phase: ModulePhase = ModulePhase.RESOLVING
    progress: str = ""
    error: OrcError | None = None


def module_of(
    deployment: Document, record: Record, pods: Sequence[Document], slices: Iterable[Document], now: float,
    build: Build | None, lock: Lock | None, *, patience: float = 0.0,
) -> Module:  # fmt: skip
    """Return the module that the objects make up.

    `now` is seconds since the epoch; a pod may wait for a node for `patience` seconds.
    """
    metadata = deployment["metadata"]
    is_applied = objects.is_applied(deployment, record)
    replicas = deployment["spec"].get("replicas", 1) if is_applied else record.spec.replicas
    revision = record.revision
    endpoints = _endpoints(slices)
    living = [pod for pod in pods if pod["status"].get("phase") not in ("Failed", "Succeeded")]
    current = [pod for pod in living if _is_of(pod, revision)]
    seen = tuple(_pod(pod, endpoints.get(pod["metadata"]["name"], {}), record) for pod in living)
    failure = build.error if build else None
    if failure is None and is_applied:
        starting = [pod for pod in current if not _is_ready(pod) and not pod["metadata"].get("deletionTimestamp")]
        faults = (fault for pod in starting if (fault := pod_fault(pod, now, patience=patience)))
        failure = next(faults, None) or deployment_fault(deployment)
    evicted = _evicted((pod for pod in pods if _is_of(pod, revision)), current) if replicas else ""
    staying = [pod for pod in seen if pod.phase is not PodPhase.DRAINING]
    wanted = (PodPhase.READY, record.revisions.get(revision))
    is_rolled_out = is_applied and [(pod.phase, pod.generation) for pod in staying] == [wanted] * replicas
    module = Module(
        spec=dataclasses.replace(record.spec, replicas=replicas),
        uid=metadata["uid"],
        generation=record.generation,
        create_time=_seconds(metadata["creationTimestamp"]),
        update_time=record.update_time,
        phase=ModulePhase.DELETING if metadata.get("deletionTimestamp") else ModulePhase.STARTING,
        pods=tuple(sorted(seen, key=lambda pod: pod.name)),
        observed_generation=record.generation if is_rolled_out else record.generation - 1,
        error=failure,
        lock=lock,
        progress=(build.progress if build else "") or _waiting(current, now) or evicted,
    )
    return dataclasses.replace(module, phase=phase_of(module, build.phase if build else module.phase))


def _endpoints(slices: Iterable[Document]) -> dict[str, Document]:
    """The endpoints by the names of their pods."""
    return {
        endpoint["targetRef"]["name"]: endpoint
        for each in slices
        for endpoint in each.get("endpoints") or ()
        if endpoint.get("targetRef")
    }


def _pod(pod: Document, endpoint: Mapping[str, Any], record: Record) -> Pod:
    metadata, status = pod["metadata"], pod["status"]
    conditions = endpoint.get("conditions", {})
    container = _container(pod)
    if metadata.get("deletionTimestamp") or conditions.get("terminating"):
        phase = PodPhase.DRAINING
    elif conditions.get("ready"):
        phase = PodPhase.READY
    elif "waiting" in container.get("state", {}) and container.get("restartCount"):
        phase = PodPhase.CRASHED
    elif "running" in container.get("state", {}):
        phase = PodPhase.IMPORTING
    else:
        phase = PodPhase.STARTING
    # While it can't be called, nobody shall: a pod that ends keeps its address as long as it serves.
    serves = conditions.get("ready") or conditions.get("serving")
    host = (endpoint.get("addresses") or [status.get("podIP", "")])[0] if serves else ""
    address = addresses.join(host, GRPC_PORT) if host else ""
    generation = record.revisions.get(metadata["labels"].get(objects.REVISION_LABEL, ""), 0)
    return Pod(metadata["name"], phase, address, container.get("restartCount", 0), generation)


def _container(pod: Document) -> Document:
    """The status of the module server's container."""
    statuses = pod["status"].get("containerStatuses") or ()
    return next((each for each in statuses if each["name"] in (SERVER, builders.BUILDER)), {})


def _is_of(pod: Document, revision: str) -> bool:
    return bool(pod["metadata"]["labels"].get(objects.REVISION_LABEL) == revision)


def _is_ready(pod: Document) -> bool:
    return _condition(pod, "Ready").get("status") == "True"


def _condition(document: Document, kind: str) -> Document:
    conditions = document.get("status", {}).get("conditions") or ()
    return next((condition for condition in conditions if condition["type"] == kind), {})


def _waiting(pods: Iterable[Document], now: float) -> str:
    """Return what pods wait for that have no node, volumes, network or image yet."""
    for pod in pods:
        scheduled = _condition(pod, "PodScheduled")
        if scheduled.get("status") == "False":
            return f"waiting for a node: {scheduled.get('message') or scheduled.get('reason', '')}"
        container = _container(pod)
        waiting = container.get("state", {}).get("waiting", {})
        if waiting.get("reason") == _PULL_FAILED:  # which is tried again
            return f"the image {container.get('image')} can't be pulled: {waiting.get('message', '')}"
        if now - _lacking_since(pod, now) >= _SILENT_AFTER:
            return f"waiting for its volumes or its network; {_advice(pod)}"
    return ""


def _lacking_since(pod: Document, now: float) -> float:
    """Return since when a pod that has a node lacks its volumes or its network; now if it doesn't.

    The kubelet reports the reasons as events only. A pod that has both may still wait for its image.
    """
    scheduled, ready = _condition(pod, "PodScheduled"), _condition(pod, "PodReadyToStartContainers")
    reason = _container(pod).get("state", {}).get("waiting", {}).get("reason")
    if reason not in _NOT_YET or scheduled.get("status") != "True" or ready.get("status") == "True":
        return now
    return max(_seconds(each["lastTransitionTime"]) for each in (scheduled, ready) if each)


def _advice(pod: Document) -> str:
    metadata = pod["metadata"]
    return f"this may say why: kubectl -n {metadata['namespace']} describe pod {metadata['name']}"


def _evicted(pods: Iterable[Document], current: Iterable[Document]) -> str:
    """Return why the kubelet has evicted a pod, while none is ready in its place."""
    if any(map(_is_ready, current)):
        return ""
    reasons = [pod["status"].get("message", "") for pod in pods if pod["status"].get("reason") == "Evicted"]
    return f"a pod was evicted: {reasons[-1]}" if reasons else ""


def pod_fault(
    pod: Document, now: float, container: Document | None = None, *, patience: float = 0.0
) -> OrcError | None:
    """Return why a pod that isn't ready won't become ready; None if it may.

    `container` is the status of the container to inspect (default: that of our server or builder). A pod may wait for a
    node for `patience` seconds: the cluster may be adding one, or binding a volume. Then it may wait as long for its
    volumes and its network; without patience, that is no fault.
    """
    name = pod["metadata"]["name"]
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        message = scheduled.get("message") or scheduled.get("reason", "")
        waited = now - _seconds(scheduled["lastTransitionTime"])
        if waited < patience and not _NO_CLAIM.search(message):
            return None
        since = f" for {waited:.0f} s" if patience else ""
        return error("POD_UNSCHEDULABLE", f"no node can take the pod{since}: {message}", {"pod": name})
    if pod["status"].get("reason") == "Evicted":
        return error("POD_FAILED", f"the pod was evicted: {pod['status'].get('message', '')}", {"pod": name})
    if patience and (waited := now - _lacking_since(pod, now)) >= patience:
        text = f"the pod's volumes or its network are not ready after {waited:.0f} s; {_advice(pod)}"
        return error("POD_FAILED", text, {"pod": name})
    container = _container(pod) if container is None else container
    state = container.get("state", {})
    waiting = state.get("waiting", {})
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _NO_IMAGE:
        text = f"the image {container.get('image')} can't be pulled: {message or reason}"
        return error("IMAGE_UNAVAILABLE", text, {"pod": name})
    if reason in _NO_CONTAINER:
        return error("POD_FAILED", f"the pod's container can't be started: {message or reason}", {"pod": name})
    ended = state.get("terminated") or container.get("lastState", {}).get("terminated")
    if not ended:
        return None
    if told := _told(ended.get("message", "")):
        return told
    if ended.get("reason") == "OOMKilled":
        text = "the pod used more memory than it may and was ended; give it more by `resources`"
        return error("OUT_OF_MEMORY", text, {"pod": name})
    if reason == "CrashLoopBackOff" or pod["status"].get("phase") == "Failed":
        lines = [logs.parse(line)["text"] for line in ended.get("message", "").splitlines() if line.strip()]
        text = f"the pod has ended with exit code {ended.get('exitCode')}, {container.get('restartCount', 0) + 1} times"
        if lines:
            text += "; its last lines:\n" + "\n".join(lines[-_MAX_LINES:])
        return error("POD_FAILED", text, {"pod": name})
    return None


def _told(message: str) -> OrcError | None:
    """The failure that a process of ours has left as its termination message."""
    try:
        return lifecycle.failure_told(json.loads(message))
    except (ValueError, TypeError, KeyError, json_format.ParseError):
        return None


def deployment_fault(deployment: Document) -> OrcError | None:
    """Return why the cluster creates no pods for the Deployment; None if it does."""
    condition = _condition(deployment, "ReplicaFailure")
    return refused(condition.get("message", "")) if condition.get("status") == "True" else None


def refused(message: str) -> OrcError:
    """Return the error for what an API server said when a controller tried to create a pod."""
    message = message.rpartition("Error creating: ")[2]
    if "exceeded quota" in message:
        return error("QUOTA_EXCEEDED", f"the cluster's quota doesn't allow the pods: {message}")
    return error("CLUSTER_REFUSED", f"the cluster refuses the pods: {message}")


def build_of(
    job: Document | None, pods: Sequence[Document], now: float, told: tuple[ModulePhase, str] | None = None, *,
    refusal: str = "", patience: float = 0.0,
) -> Build:  # fmt: skip
    """Return what the builder's Job is doing.

    `told` is what its log says, `refusal` why it gets no pod. Its pod may wait for a node for `patience` seconds.
    """
    if job is None or job["metadata"].get("deletionTimestamp"):
        return Build(progress="waiting for the build of its environment to start")
    newest = sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))[-1:]
    failed = _condition(job, "Failed")
    has_failed = failed.get("status") == "True"
    for pod in newest:
        if (has_failed or not _is_disrupted(pod)) and (fault := pod_fault(pod, now, patience=patience)):
            return Build(error=fault)
    if has_failed:
        text = f"the build of its environment has failed: {failed.get('message', '')}"
        return Build(error=error("ENVIRONMENT_FAILED", text))
    if told is not None:
        return Build(*told)
    if not pods and refusal and not is_complete(job):
        return Build(error=refused(refusal))
    metadata = job["metadata"]
    if not pods and not is_complete(job) and now - _seconds(metadata["creationTimestamp"]) >= _SILENT_AFTER:
        look = f"kubectl -n {metadata['namespace']} describe job {metadata['name']}"
        return Build(progress=f"the cluster has not created the builder's pod yet; this may say why: {look}")
    return Build(progress=_waiting(newest, now) or "waiting for the builder's pod to start")


def _is_disrupted(pod: Document) -> bool:
    """Return whether the cluster ends the pod for reasons of its own, such as a drained node; its Job replaces it."""
    return bool(pod["metadata"].get("deletionTimestamp")) or _condition(pod, "DisruptionTarget").get("status") == "True"


def is_complete(job: Document) -> bool:
    """Whether the Job has done its work."""
    return _condition(job, "Complete").get("status") == "True"


def _seconds(timestamp: str) -> float:
    """Seconds since the epoch of what the API server writes."""
    return datetime.datetime.fromisoformat(timestamp).timestamp()
