"""What a module is on Kubernetes, as pure functions: a record of what is wanted in, objects out.

The Deployment is the module: its annotations say what was asked for, and deleting it deletes all that belongs to it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jac_orc.core.config import MODULE_ENV_PREFIX
from jac_orc.core.server import LIVENESS
from jac_orc.pod_manager.model import ModuleSpec, Resources, spec_from_document

Document = dict[str, Any]

MANAGED_BY = "jac-orc-pod-manager"
SELECTOR = f"app.kubernetes.io/managed-by={MANAGED_BY}"
NAME_LABEL = "app.kubernetes.io/name"
REVISION_LABEL = "jac-orc.dev/revision"
RECORD = "jac-orc.dev/record"
"""Annotation of a Deployment: the `Record` as JSON."""
APPLIED = "jac-orc.dev/applied-generation"
"""Annotation of a Deployment: the record's generation that the objects were last made for."""
ENVIRONMENT = "jac-orc.dev/environment"
"""Annotation of a pod: the digest of the environment that it runs in; empty where it needs none."""

GRPC_PORT = 50051
SERVER = "module-server"
BUILDER = "builder"
STORE = "/store"
UNBUILT = "not-built-yet"
"""In plans, in place of an environment's digest."""
BLANK_PYTHON = "/opt/blank/bin/python"
"""Where the image has an empty environment, for modules that need no package."""

_GROUPS = {
    "Deployment": "apps/v1", "Service": "v1", "Pod": "v1", "PodDisruptionBudget": "policy/v1", "Job": "batch/v1",
    "EndpointSlice": "discovery.k8s.io/v1",
}  # fmt: skip
_MAX_SLUG = 35
_KEPT_REVISIONS = 4
_QUESTION = ("requirements", "constraints", "python_version", "source")
_LAME_DUCK, _DRAIN_GRACE, _MARGIN = 3, 10, 5
_IMPORT_MARGIN = 60
_KEPT_BUILDS = 600


@dataclass(frozen=True)
class Cluster:
    """What all modules of one pod manager have in common."""

    namespace: str
    image: str
    """What module servers and builders run: the pod manager's own image."""
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    service_account: str = "jac-orc-module"
    """The account of module pods, which has no right and gets no token."""
    store_claim: str = ""
    """The PersistentVolumeClaim with environments and sources; empty: modules that need any are refused."""
    pod_manager_url: str = ""
    refused: frozenset[str] = field(default_factory=frozenset)
    """The module names that the policy refuses."""
    allowed_requirements: tuple[str, ...] | None = None
    """The distributions that the policy allows; None: any."""
    install_timeout: float = 1800.0

    def path(self, kind: str, name: str = "") -> str:
        """Where the API server has the objects of a kind, or one of them."""
        group = _GROUPS[kind]
        path = f"/apis/{group}" if "/" in group else f"/api/{group}"
        return f"{path}/namespaces/{self.namespace}/{kind.lower()}s" + (f"/{name}" if name else "")


@dataclass(frozen=True)
class Runtime:
    """What a module's pods run in, in the store."""

    environment: str = ""
    """The digest of its environment; empty: the image's own, which has no package."""
    folders: tuple[str, ...] = ()
    """Where the user's code is."""


@dataclass(frozen=True)
class Record:
    """What is wanted of a module, as its Deployment's annotation keeps it."""

    spec: ModuleSpec
    generation: int
    update_time: float
    revisions: Mapping[str, int] = field(default_factory=dict)
    """The generations that pods may be of, by their revision; a change that is taken back has pods of the old one."""

    @classmethod
    def first(cls, spec: ModuleSpec) -> Record:
        """That of a module which is created now."""
        return cls(spec, 1, time.time(), {spec.revision(): 1})

    def changed(self, spec: ModuleSpec) -> Record:
        """That of the module once it is changed to the spec."""
        revisions = dict(list(self.revisions.items())[-_KEPT_REVISIONS:])
        revisions.setdefault(spec.revision(), self.generation + 1)
        return Record(spec, self.generation + 1, time.time(), revisions)

    def text(self) -> str:
        """As JSON."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"))


def record_of(deployment: Mapping[str, Any]) -> Record | None:
    """The record that a Deployment carries; None where it carries none that can be read."""
    try:
        document = json.loads(deployment["metadata"]["annotations"][RECORD])
        return Record(spec_from_document(document.pop("spec")), **document)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def is_applied(deployment: Mapping[str, Any], record: Record) -> bool:
    """Whether the objects were made for the record."""
    return bool(deployment["metadata"]["annotations"].get(APPLIED) == str(record.generation))


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

    It holds only fields that `deployment` sets too, as whoever creates an object keeps a share in what it has set.
    """
    whole = deployment(cluster, record, Runtime())
    template = whole["spec"]["template"]
    container = {key: template["spec"]["containers"][0][key] for key in ("name", "image")}
    metadata = {key: whole["metadata"][key] for key in ("name", "namespace", "labels")}
    return {
        "apiVersion": whole["apiVersion"],
        "kind": whole["kind"],
        "metadata": {**metadata, "annotations": {RECORD: record.text(), APPLIED: "0"}},
        "spec": {
            "replicas": 0,
            "paused": True,
            "selector": whole["spec"]["selector"],
            "template": {
                "metadata": {"labels": {NAME_LABEL: metadata["name"], **_MANAGED}},
                "spec": {"containers": [container]},
            },
        },
    }


def deployment(cluster: Cluster, record: Record, runtime: Runtime) -> Document:
    """The module's Deployment."""
    spec = record.spec
    name = object_name(spec.module_name)
    labels = _labels(name)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": cluster.namespace,
            "labels": {**spec.labels, **labels},
            "annotations": {RECORD: record.text(), APPLIED: str(record.generation)},
        },
        "spec": {
            "replicas": spec.replicas,
            "paused": False,
            "selector": {"matchLabels": {NAME_LABEL: name, **_MANAGED}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
            "revisionHistoryLimit": 2,
            "template": {
                "metadata": {
                    "labels": {**labels, REVISION_LABEL: spec.revision()},
                    "annotations": {
                        ENVIRONMENT: runtime.environment,
                        "kubectl.kubernetes.io/default-container": SERVER,
                    },
                },
                "spec": _pod_spec(cluster, spec, runtime),
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
    metadata = {
        "name": name, "namespace": cluster.namespace, "labels": _labels(name), "ownerReferences": [owner],
    }  # fmt: skip
    selector = {NAME_LABEL: name, **_MANAGED}
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
            "kind": "PodDisruptionBudget",
            "metadata": metadata,
            # So that the only pod of a module may be evicted too: nodes are drained.
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector}},
        },
    ]


def plan(cluster: Cluster, record: Record, runtime: Runtime | None, uid: str) -> list[Document]:
    """All of a module's objects; without a runtime, which is to be built first, also the Job that does that.

    Where there is no Deployment yet, and so no uid of it, what belongs to it doesn't name it as its owner.
    """
    name = object_name(record.spec.module_name)
    made = [
        deployment(cluster, record, runtime or Runtime(UNBUILT)),
        *dependents(cluster, record.spec, uid),
        *([] if runtime is not None else [builder(cluster, record.spec, [(name, uid)])]),
    ]
    for document in [] if uid else made:
        document["metadata"] = {key: value for key, value in document["metadata"].items() if key != "ownerReferences"}
    return made


def environment_key(cluster: Cluster, spec: ModuleSpec) -> str:
    """Names the build of the spec's environment: equal questions share one."""
    asked = {name: getattr(spec, name) for name in _QUESTION}
    content = [cluster.image, cluster.allowed_requirements, {**asked, "source": spec.source and str(spec.source)}]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def builder_name(cluster: Cluster, spec: ModuleSpec) -> str:
    """The name of the Job that builds the spec's environment."""
    return f"jac-orc-environment-{environment_key(cluster, spec)}"


def builder(cluster: Cluster, spec: ModuleSpec, owners: Iterable[tuple[str, str]]) -> Document:
    """The Job that resolves and builds the spec's environment in the store.

    `owners` are the names and uids of the Deployments that wait for it: it goes with the last of them.
    """
    name = builder_name(cluster, spec)
    references = [{"apiVersion": "apps/v1", "kind": "Deployment", "name": owner, "uid": uid} for owner, uid in owners]
    labels = {NAME_LABEL: "jac-orc-environment", "app.kubernetes.io/instance": name, **_MANAGED, **_PART_OF}
    question = {
        "spec": dataclasses.asdict(ModuleSpec(spec.module_name, **{name: getattr(spec, name) for name in _QUESTION})),
        "allowed_requirements": cluster.allowed_requirements,
    }
    container = {
        "name": BUILDER,
        "image": cluster.image,
        "imagePullPolicy": cluster.pull_policy,
        "command": ["python", "-m", "jac_orc.pod_manager.environment_builder"],
        "env": [
            {"name": "QUESTION_FILE", "value": "/etc/jac-orc/question.json"},
            {"name": "STORE", "value": STORE},
            {"name": "INSTALL_TIMEOUT", "value": str(cluster.install_timeout)},
            {"name": "TERMINATION_LOG", "value": _TERMINATION_LOG},
            {"name": "UV_CACHE_DIR", "value": f"{STORE}/cache"},
            {"name": "HOME", "value": "/tmp"},  # noqa: S108 - in the container, of its own
        ],
        "envFrom": [
            {"configMapRef": {"name": "jac-orc-installer", "optional": True}},
            {"secretRef": {"name": "jac-orc-installer", "optional": True}},
        ],
        "resources": {
            "requests": {"cpu": "100m", "memory": "256Mi"},
            "limits": {"memory": "2Gi"},
        },
        "securityContext": _CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
            {"name": "store", "mountPath": STORE},
            {"name": "question", "mountPath": "/etc/jac-orc", "readOnly": True},
        ],
    }
    item = {"path": "question.json", "fieldRef": {"fieldPath": f"metadata.annotations['{RECORD}']"}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name, "namespace": cluster.namespace, "labels": labels, "ownerReferences": references,
        },
        "spec": {
            "backoffLimit": 2,
            # Whoever still waits for it then, as it has failed, has it tried anew.
            "ttlSecondsAfterFinished": _KEPT_BUILDS,
            "activeDeadlineSeconds": math.ceil(2 * cluster.install_timeout + _IMPORT_MARGIN),
            "template": {
                "metadata": {"labels": labels, "annotations": {RECORD: json.dumps(question, sort_keys=True)}},
                "spec": {
                    **_pod_base(cluster),
                    "restartPolicy": "Never",
                    "terminationGracePeriodSeconds": _MARGIN,
                    "containers": [container],
                    "volumes": [
                        {"name": "tmp", "emptyDir": {}},
                        {"name": "store", "persistentVolumeClaim": {"claimName": cluster.store_claim}},
                        {"name": "question", "downwardAPI": {"items": [item]}},
                    ],
                },
            },
        },
    }  # fmt: skip


_MANAGED = {"app.kubernetes.io/managed-by": MANAGED_BY}
_PART_OF = {"app.kubernetes.io/part-of": "jac-orc"}
_TERMINATION_LOG = "/dev/termination-log"
_CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
_REQUESTS = {"cpu": "20m", "memory": "96Mi"}


def _labels(name: str) -> dict[str, str]:
    return {NAME_LABEL: name, "app.kubernetes.io/component": "module", **_MANAGED, **_PART_OF}


def _pod_base(cluster: Cluster) -> Document:
    """What the pods of modules and of builders have in common: no right, no token, no root."""
    base: Document = {
        "serviceAccountName": cluster.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    if cluster.pull_secrets:
        base["imagePullSecrets"] = [{"name": name} for name in cluster.pull_secrets]
    return base


def _pod_spec(cluster: Cluster, spec: ModuleSpec, runtime: Runtime) -> Document:
    volumes: list[Document] = [{"name": "tmp", "emptyDir": {}}]
    mounts: list[Document] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108
    if runtime != Runtime():
        claimed = {"claimName": cluster.store_claim, "readOnly": True}
        volumes.append({"name": "store", "persistentVolumeClaim": claimed})
        mounts.append({"name": "store", "mountPath": STORE, "readOnly": True})
    container = {
        "name": SERVER,
        "image": spec.image or cluster.image,
        "imagePullPolicy": cluster.pull_policy,
        "command": ["python", "-m", "jac_orc.module_server"],
        "env": _environment(cluster, spec, runtime),
        "envFrom": [{"prefix": MODULE_ENV_PREFIX, "secretRef": {"name": name}} for name in spec.secrets],
        "ports": [{"name": "grpc", "containerPort": GRPC_PORT, "protocol": "TCP"}],
        # Each second, as it takes that long to learn that a pod can be called; the import has its own time.
        "startupProbe": {
            "grpc": {"port": GRPC_PORT}, "periodSeconds": 1, "timeoutSeconds": 5,
            "failureThreshold": math.ceil(spec.import_timeout) + _IMPORT_MARGIN,
        },
        "readinessProbe": {
            "grpc": {"port": GRPC_PORT}, "periodSeconds": 2, "timeoutSeconds": 5, "failureThreshold": 2,
        },
        "livenessProbe": {
            "grpc": {"port": GRPC_PORT, "service": LIVENESS},
            "periodSeconds": 10, "timeoutSeconds": 10, "failureThreshold": 6,
        },
        "resources": _resources(spec.resources),
        "securityContext": _CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }  # fmt: skip
    return {
        **_pod_base(cluster),
        "terminationGracePeriodSeconds": _LAME_DUCK + _DRAIN_GRACE + _MARGIN,
        "containers": [container],
        "volumes": volumes,
    }


def _resources(wanted: Resources) -> Document:
    """What is named is both requested and the limit; else little is requested, and the namespace may set limits."""
    limits = {"cpu": wanted.cpu, "memory": wanted.memory, "nvidia.com/gpu": str(wanted.gpu or "")}
    limits = {name: value for name, value in limits.items() if value}
    return {"requests": {**_REQUESTS, **limits}, **({"limits": limits} if limits else {})}


def _environment(cluster: Cluster, spec: ModuleSpec, runtime: Runtime) -> list[Document]:
    python = f"{STORE}/environments/{runtime.environment}/bin/python" if runtime.environment else BLANK_PYTHON
    values = {
        **{MODULE_ENV_PREFIX + name: value for name, value in spec.env.items()},
        "MODULE_NAME": spec.module_name,
        "PORT": str(GRPC_PORT),
        **({} if spec.image else {"GUEST_PYTHON": python, "SOURCE_FOLDERS": os.pathsep.join(runtime.folders)}),
        "IMPORT_TIMEOUT": str(spec.import_timeout),
        "WORKERS": str(spec.workers),
        "MAX_CONCURRENCY": str(spec.max_concurrency),
        "QUEUE": str(spec.queue),
        "TIMEOUT": str(spec.timeout),
        "POD_MANAGER_URL": cluster.pod_manager_url,
        "REFUSED": ",".join(sorted(cluster.refused)),
        "LAME_DUCK": str(_LAME_DUCK),
        "DRAIN_GRACE": str(_DRAIN_GRACE),
        "TERMINATION_LOG": _TERMINATION_LOG,
        "HOME": "/tmp",  # noqa: S108
    }
    # The kubelet replaces $(NAME) in values, and $$ by $.
    variables: list[Document] = [
        {"name": name, "value": value.replace("$", "$$")} for name, value in sorted(values.items())
    ]
    variables.append({"name": "POD_ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}})
    return variables
