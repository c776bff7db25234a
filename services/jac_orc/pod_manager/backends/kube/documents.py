"""What is kept in memory of the cluster's objects, and what they belong to: as pure functions."""

from __future__ import annotations

from collections.abc import Iterable

from jac_orc.pod_manager.backends.kube import objects
from jac_orc.pod_manager.backends.kube.pods import Document

_KEPT_METADATA = (
    "name", "namespace", "uid", "generation", "resourceVersion", "creationTimestamp", "deletionTimestamp", "labels",
    "annotations", "ownerReferences",
)  # fmt: skip


def kept(document: Document) -> Document:
    """What of an object is worth its memory."""
    metadata = {key: document["metadata"][key] for key in _KEPT_METADATA if key in document["metadata"]}
    rest = {key: value for key, value in document.items() if key not in ("metadata", "spec", "apiVersion", "kind")}
    spec = document.get("spec", {})
    if "template" in spec and "replicas" in spec:
        rest["spec"] = {"replicas": spec["replicas"], "template": {"metadata": spec["template"]["metadata"]}}
    return {**rest, "metadata": metadata}


def name_of(document: Document) -> str:
    return str(document["metadata"]["name"])


def labels_of(document: Document) -> dict[str, str]:
    labels: dict[str, str] = document["metadata"].get("labels") or {}
    return labels


def owner_of_pod(pod: Document) -> str:
    """The name of its module's objects, or of its Job."""
    labels = labels_of(pod)
    return labels.get("app.kubernetes.io/instance") or labels.get(objects.NAME_LABEL, "")


def has_started(pod: Document) -> bool:
    statuses = pod["status"].get("containerStatuses") or ()
    return any("waiting" not in each.get("state", {}) or each.get("restartCount") for each in statuses)


def newest_message(events: Iterable[Document]) -> str:
    """Return what the newest event says; empty if there is none."""
    newest = max(events, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime")), default={})
    return str(newest.get("message", ""))
