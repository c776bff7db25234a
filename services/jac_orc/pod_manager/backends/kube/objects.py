"""What a module is on Kubernetes, as pure functions: a record of what is wanted in, objects out.

The Deployment is the module: its annotations say what was asked for, and deleting it deletes all that belongs to it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jac_orc.pod_manager.backends.kube.pods import (
    GRPC_PORT,
    SERVER,
    Cluster,
    Document,
    Runtime,
    pod_spec,
)
from jac_orc.pod_manager.model import Autoscaling, ModuleSpec, known, spec_from_document
from jac_orc.pod_manager.policy import fingerprint

MANAGED_BY = "jac-orc-pod-manager"
SELECTOR = f"app.kubernetes.io/managed-by={MANAGED_BY}"
NAME_LABEL = "app.kubernetes.io/name"
MODULE = "jac-orc.dev/module"
"""Annotation of all that is made for a module: its import name; of a builder: those of the modules that wait for it.

Also a label of the same objects, except for the few names that are no legal label values.
"""
REVISION_LABEL = "jac-orc.dev/revision"
RECORD = "jac-orc.dev/record"
"""Annotation of a Deployment: the `Record` as JSON."""
AUTOSCALER = "HorizontalPodAutoscaler"
DISRUPTION_BUDGET = "PodDisruptionBudget"
APPLIED = "jac-orc.dev/applied-generation"
"""Annotation of a Deployment: the record's generation that the objects were last made for."""
FORM_ANNOTATION = "jac-orc.dev/form"
"""Annotation of a module's dependents: the `FORM` of the pod manager that made them."""
FORM = 2
"""Rises with each change of what `dependents` returns, so that pod managers update what older versions made. A higher
form is no reason for an update, or two versions that run side by side would undo each other's work."""
ENVIRONMENT = "jac-orc.dev/environment"
"""Annotation of a pod: the digest of the environment that it runs in; empty where it needs none."""
SOURCE = "jac-orc.dev/source"
"""Annotation of a pod: the digest of the user's source that it has; missing if it has none."""
POLICY = "jac-orc.dev/policy"
"""Annotation of a pod: the `fingerprint` of its policy."""

_MAX_SLUG = 35
_MAX_LABEL = 63
_KEPT_REVISIONS = 4


@dataclass(frozen=True)
class Record:
    """What is wanted of a module, as its Deployment's annotation keeps it."""

    spec: ModuleSpec
    generation: int
    update_time: float
    revision: str
    """That of the pods that the record asks for. An upgrade may compute another one, and must not replace them."""
    revisions: Mapping[str, int] = field(default_factory=dict)
    """The generations that pods may be of, by their revision; a change that is taken back has pods of the old one."""
    autoscaling_since: int = 0
    """The generation that has last changed the spec's autoscaling, or taken it away; 0: none has."""

    @classmethod
    def first(cls, spec: ModuleSpec) -> Record:
        """That of a module which is created now."""
        revision = spec.revision(labelled=True)
        return cls(spec, 1, time.time(), revision, {revision: 1})

    def changed(self, spec: ModuleSpec) -> Record:
        """That of the module once it is changed to the spec."""
        revisions = dict(list(self.revisions.items())[-_KEPT_REVISIONS:])
        revision = spec.revision(labelled=True)
        revisions.setdefault(revision, self.generation + 1)
        is_as_before = spec.autoscaling == self.spec.autoscaling
        since = self.autoscaling_since if is_as_before else self.generation + 1
        return Record(spec, self.generation + 1, time.time(), revision, revisions, since)

    def as_scaled(self, deployment: Mapping[str, Any]) -> Record:
        """The record with as many pods as an autoscaler has given the Deployment meanwhile, within its bounds now."""
        if self.spec.autoscaling is None or applied_generation(deployment) == 0:  # a claim has no pods
            return self
        return dataclasses.replace(self, spec=self.spec.scaled_to(deployment["spec"]["replicas"]))

    def text(self) -> str:
        """As JSON."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"))


def record_of(deployment: Mapping[str, Any]) -> Record | None:
    """The record that a Deployment carries; None where it carries none that can be read."""
    try:
        document = json.loads(deployment["metadata"]["annotations"][RECORD])
        spec = spec_from_document(known(ModuleSpec, document.pop("spec")))
        return Record(spec, **known(Record, document))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def applied_generation(deployment: Mapping[str, Any]) -> int:
    """Return the generation that a Deployment's template was last made for; 0 if it was made for none."""
    text = (deployment["metadata"].get("annotations") or {}).get(APPLIED, "")
    return int(text) if text.isdecimal() else 0


def is_applied(deployment: Mapping[str, Any], record: Record) -> bool:
    """Whether the objects were made for the record."""
    return applied_generation(deployment) == record.generation


def has_policy(cluster: Cluster, deployment: Mapping[str, Any]) -> bool:
    """Whether the module's pods follow the operator's policy as it is now."""
    annotations = deployment["spec"]["template"]["metadata"].get("annotations", {})
    return bool(annotations.get(POLICY, "") == fingerprint(cluster.policy.environment))


def is_current(dependent: Mapping[str, Any] | None) -> bool:
    """Return whether an object that belongs to a module exists and has this version's form, or a newer one's."""
    annotations = (dependent or {}).get("metadata", {}).get("annotations") or {}
    form = annotations.get(FORM_ANNOTATION, "")
    return form.isdecimal() and int(form) >= FORM


def is_asleep(deployment: Mapping[str, Any], record: Record) -> bool:
    """Whether it has no pods and its autoscaler gives it none, as that stops at 0, which only others can choose."""
    return (
        record.spec.autoscaling is not None
        and is_applied(deployment, record)
        and deployment["spec"].get("replicas", 1) == 0
    )


def owners(document: Mapping[str, Any]) -> set[str]:
    """The uids of the objects that it belongs to."""
    return {str(owner["uid"]) for owner in document["metadata"].get("ownerReferences", ())}


def object_name(module_name: str) -> str:
    """The name of a module's objects, a DNS label (RFC 1035) of at most 46 characters; no two modules share one.

    One of plain small letters and digits stays as it is; any other gets a hash, and a hyphen, which no plain one has.
    """
    if re.fullmatch(rf"[a-z][a-z0-9]{{0,{_MAX_SLUG - 1}}}", module_name):
        return module_name
    slug = re.sub(r"[^a-z0-9]+", "-", module_name.lower())[:_MAX_SLUG].strip("-")
    return f"{slug}-{hashlib.sha256(module_name.encode()).hexdigest()[:10]}"


def claim(cluster: Cluster, record: Record) -> Document:
    """The Deployment as it is first created, which only one of several can do: paused, with no pod.

    It holds only fields that `deployment` always sets: who creates an object owns its fields apart from who applies it,
    so that a label of the spec would stay when a later spec drops it.
    """
    whole = deployment(cluster, record, Runtime())
    template = whole["spec"]["template"]
    container = {key: template["spec"]["containers"][0][key] for key in ("name", "image")}
    metadata = {key: whole["metadata"][key] for key in ("name", "namespace")}
    labels, _ = identity(record.spec.module_name)
    return {
        "apiVersion": whole["apiVersion"],
        "kind": whole["kind"],
        "metadata": {**metadata, "labels": labels, "annotations": {RECORD: record.text(), APPLIED: "0"}},
        "spec": {
            "replicas": 0,
            "paused": True,
            "selector": whole["spec"]["selector"],
            "template": {
                "metadata": {"labels": {NAME_LABEL: metadata["name"], **MANAGED}},
                "spec": {"containers": [container]},
            },
        },
    }


def deployment(cluster: Cluster, record: Record, runtime: Runtime) -> Document:
    """The module's Deployment."""
    spec = record.spec
    name = object_name(spec.module_name)
    labels, annotations = identity(spec.module_name)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": cluster.namespace,
            "labels": {**spec.labels, **labels},
            "annotations": {**spec.annotations, **annotations, RECORD: record.text(), APPLIED: str(record.generation)},
        },
        "spec": {
            "replicas": spec.replicas,
            "paused": False,
            "selector": {"matchLabels": {NAME_LABEL: name, **MANAGED}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
            "revisionHistoryLimit": 2,
            "template": {
                "metadata": {
                    "labels": {**spec.labels, **labels, REVISION_LABEL: record.revision},
                    "annotations": {
                        **spec.annotations,
                        **annotations,
                        ENVIRONMENT: runtime.environment,
                        **({SOURCE: spec.source.digest} if spec.source is not None else {}),
                        POLICY: fingerprint(cluster.policy.environment),
                        "kubectl.kubernetes.io/default-container": SERVER,
                    },
                },
                "spec": pod_spec(cluster, spec, runtime),
            },
        },
    }


def dependents(cluster: Cluster, spec: ModuleSpec, uid: str) -> list[Document]:
    """What belongs to the Deployment of that uid and goes with it."""
    name = object_name(spec.module_name)
    owner = {
        "apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": uid,
        "controller": True, "blockOwnerDeletion": True,
    }  # fmt: skip
    labels, annotations = identity(spec.module_name)
    metadata = {
        "name": name, "namespace": cluster.namespace, "labels": labels,
        "annotations": {**annotations, FORM_ANNOTATION: str(FORM)}, "ownerReferences": [owner],
    }  # fmt: skip
    selector = {NAME_LABEL: name, **MANAGED}
    port = {"name": "grpc", "port": GRPC_PORT, "targetPort": "grpc", "appProtocol": "kubernetes.io/h2c"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"clusterIP": "None", "selector": selector, "ports": [port]},
        },
        {
            "apiVersion": "policy/v1",
            "kind": DISRUPTION_BUDGET,
            "metadata": metadata,
            # Nodes can be drained: the only pod of a module may be evicted, and a pod that isn't ready always.
            "spec": {
                "maxUnavailable": 1,
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
                "selector": {"matchLabels": selector},
            },
        },
        *([_autoscaler(metadata, spec.autoscaling)] if spec.autoscaling is not None else []),
    ]


def _autoscaler(metadata: Document, autoscaling: Autoscaling) -> Document:
    # By our container alone: sidecars that a mesh adds may request nothing, and then there is no share of the pod's.
    target = {"type": "Utilization", "averageUtilization": autoscaling.target_cpu}
    cpu = {"name": "cpu", "container": SERVER, "target": target}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": AUTOSCALER,
        "metadata": metadata,
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": metadata["name"]},
            "minReplicas": autoscaling.min_replicas,
            "maxReplicas": autoscaling.max_replicas,
            "metrics": [{"type": "ContainerResource", "containerResource": cpu}],
        },
    }


MANAGED = {"app.kubernetes.io/managed-by": MANAGED_BY}
PART_OF = {"app.kubernetes.io/part-of": "jac-orc"}


def identity(module_name: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the labels and the annotations by which the objects of a module are found."""
    name = object_name(module_name)
    labels = {NAME_LABEL: name, "app.kubernetes.io/component": "module", **MANAGED, **PART_OF}
    return {**labels, **module_label(module_name)}, {MODULE: module_name}


def module_label(module_name: str) -> dict[str, str]:
    is_legal = len(module_name) <= _MAX_LABEL and not module_name.endswith("_")
    return {MODULE: module_name} if is_legal else {}
