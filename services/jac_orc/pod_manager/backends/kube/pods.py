"""The pods of modules, and what is common to all pods that are made here: as pure functions."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import Any

from jac_orc.core.config import MODULE_ENV_PREFIX, grpc_server
from jac_orc.core.liveness import LIVENESS
from jac_orc.pod_manager.backends.base import server_environment, stop_seconds
from jac_orc.pod_manager.model import ModuleSpec, Resources, Toleration
from jac_orc.pod_manager.policy import Policy
from jac_orc.pod_manager.settings import Settings
from jac_orc.pod_manager.spec_checks import amount

Document = dict[str, Any]

GRPC_PORT = 50051
SERVER = "module-server"
"""The name of the container of a module's server."""
STORE = "/store"
"""Where the shared volume is mounted. A pod of a module mounts only its own environment and source from it."""
TMP = "/tmp"  # noqa: S108 - in the container, of its own
WORKING = "work"
"""The folder in `/tmp` that is a pod's working directory, within the same size limit."""
TMP_MOUNT = {"name": "tmp", "mountPath": TMP}
BLANK_PYTHON = "/opt/blank/bin/python"
"""Where the image has an empty environment, for modules that need no package."""
TERMINATION_LOG = "/dev/termination-log"
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
_REQUESTS = {"cpu": "20m", "memory": "96Mi"}
_GROUPS = {
    "Deployment": "apps/v1", "Service": "v1", "Pod": "v1", "PodDisruptionBudget": "policy/v1", "Job": "batch/v1",
    "Event": "v1", "EndpointSlice": "discovery.k8s.io/v1", "HorizontalPodAutoscaler": "autoscaling/v2",
}  # fmt: skip
_LAME_DUCK = 3
_IMPORT_MARGIN = 60


@dataclass(frozen=True)
class Cluster:
    """What all modules of one pod manager have in common."""

    namespace: str
    image: str
    """What module servers and builders run: the pod manager's own image."""
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    pod_manager_url: str = ""
    settings: Settings = field(default_factory=Settings)
    policy: Policy = field(default_factory=Policy)

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
    """Where the user's code is imported from."""
    source: str = ""
    """The folder with all that is stored of the user's code; empty: there is none, or it is installed."""

    @property
    def paths(self) -> list[str]:
        """The folders of the store that a pod mounts."""
        environment = f"{STORE}/environments/{self.environment}" if self.environment else ""
        return [path for path in (environment, self.source) if path]


def tmp_volume(size: str) -> Document:
    """Return the volume for `/tmp`. The kubelet evicts a pod that writes more to it than that."""
    return {"name": "tmp", "emptyDir": {"sizeLimit": size}}


def pod_base(cluster: Cluster) -> Document:
    """What the pods of modules and of builders have in common: no right, no token, no root."""
    base: Document = {
        "serviceAccountName": cluster.settings.module_account,
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


def store_mount(cluster: Cluster, path: str = STORE) -> Document:
    """Return the mount of this pod manager's part of the store, or of a folder in it, at its own path."""
    folder = "/".join(filter(None, (cluster.settings.store_folder, path.removeprefix(STORE).strip("/"))))
    return {"name": "store", "mountPath": path, **({"subPath": folder} if folder else {})}


def pod_spec(cluster: Cluster, spec: ModuleSpec, runtime: Runtime) -> Document:
    """What a pod of a module is."""
    volumes: list[Document] = [tmp_volume(spec.resources.tmp or cluster.settings.tmp_size)]
    mounts: list[Document] = [TMP_MOUNT]
    if runtime.paths:
        claimed = {"claimName": cluster.settings.store_claim, "readOnly": True}
        volumes.append({"name": "store", "persistentVolumeClaim": claimed})
        mounts += [{**store_mount(cluster, path), "readOnly": True} for path in runtime.paths]
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
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }  # fmt: skip
    return {
        **pod_base(cluster),
        **_placement(spec),
        "terminationGracePeriodSeconds": stop_seconds(spec, cluster.settings, _LAME_DUCK),
        "containers": [container],
        "volumes": volumes,
    }


def _placement(spec: ModuleSpec) -> Document:
    """Return what the spec says of a pod's node, its priority and its account."""
    placement = {
        "nodeSelector": dict(spec.node_selector),
        "tolerations": [_toleration(each) for each in spec.tolerations],
        "affinity": dict(spec.affinity),
        "priorityClassName": spec.priority_class,
        "serviceAccountName": spec.service_account,
    }
    return {name: value for name, value in placement.items() if value}


def _toleration(wanted: Toleration) -> Document:
    seconds = wanted.toleration_seconds
    fields = {"key": wanted.key, "operator": wanted.operator, "value": wanted.value, "effect": wanted.effect}
    found: Document = {name: value for name, value in fields.items() if value}
    return found if seconds is None else {**found, "tolerationSeconds": seconds}


def _resources(wanted: Resources) -> Document:
    """Return requests and limits.

    The memory that is requested is also the limit: a pod that uses more than its node has takes others down. Of the CPU
    only what no other pod has requested is shared out, so a limit is set only if it is asked for.
    """
    gpu = str(wanted.gpu or "")
    limits = {"cpu": wanted.cpu_limit, "memory": wanted.memory_limit or wanted.memory, "nvidia.com/gpu": gpu}
    limits = {name: value for name, value in limits.items() if value}
    requests = {
        "cpu": wanted.cpu or min(_REQUESTS["cpu"], wanted.cpu_limit or _REQUESTS["cpu"], key=amount),
        "memory": wanted.memory or min(_REQUESTS["memory"], wanted.memory_limit or _REQUESTS["memory"], key=amount),
        "nvidia.com/gpu": gpu,
        "ephemeral-storage": wanted.tmp,
    }
    requests = {name: value for name, value in requests.items() if value}
    return {"requests": requests, **({"limits": limits} if limits else {})}


def _environment(cluster: Cluster, spec: ModuleSpec, runtime: Runtime) -> list[Document]:
    python = f"{STORE}/environments/{runtime.environment}/bin/python" if runtime.environment else BLANK_PYTHON
    folders = os.pathsep.join(runtime.folders)
    values = {
        **server_environment(spec, cluster.settings, cluster.pod_manager_url, cluster.policy, _LAME_DUCK),
        "PORT": str(GRPC_PORT),
        **({} if spec.image else {"GUEST_PYTHON": python, "SOURCE_FOLDERS": folders, "SOURCE_HOME": runtime.source}),
        **({"GRPC_SERVER": "aio"} if grpc_server() == "aio" else {}),
        "TERMINATION_LOG": TERMINATION_LOG,
        "HOME": TMP,
        "WORKING_DIRECTORY": f"{TMP}/{WORKING}",
    }
    # The kubelet replaces $(NAME) in values, and $$ by $.
    variables: list[Document] = [
        {"name": name, "value": value.replace("$", "$$")} for name, value in sorted(values.items())
    ]
    variables.append({"name": "POD_ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}})
    return variables
