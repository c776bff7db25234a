"""The Jobs that build environments, and all that a creation makes, as pure functions."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable

from jac_orc.pod_manager.backends.kube import objects
from jac_orc.pod_manager.backends.kube.objects import Record
from jac_orc.pod_manager.backends.kube.pods import (
    CONTAINER_SECURITY,
    STORE,
    TERMINATION_LOG,
    TMP,
    TMP_MOUNT,
    Cluster,
    Document,
    Runtime,
    pod_base,
    store_mount,
    tmp_volume,
)
from jac_orc.pod_manager.model import INPUTS, ModuleSpec

BUILDER = "builder"
"""The name of the container of a builder."""

UNBUILT = "not-built-yet"
"""In plans, in place of an environment's digest."""

_BUILD_GRACE, _BUILD_MARGIN = 5, 60
_KEPT_BUILDS = 600


def plan(cluster: Cluster, record: Record, runtime: Runtime | None, uid: str) -> list[Document]:
    """All of a module's objects; without a runtime, which is to be built first, also the Job that does that.

    Where there is no Deployment yet, and so no uid of it, what belongs to it doesn't name it as its owner.
    """
    name = objects.object_name(record.spec.module_name)
    made = [
        objects.deployment(cluster, record, runtime or Runtime(UNBUILT)),
        *objects.dependents(cluster, record.spec, uid),
        *([] if runtime is not None else [builder(cluster, record.spec, [(name, uid)])]),
    ]
    for document in [] if uid else made:
        document["metadata"] = {key: value for key, value in document["metadata"].items() if key != "ownerReferences"}
    return made


def builder_name(cluster: Cluster, spec: ModuleSpec) -> str:
    """Return the name of the Job that builds the spec's environment: equal questions share one."""
    asked = {**{name: getattr(spec, name) for name in INPUTS}, "source": spec.source and str(spec.source)}
    content = [cluster.image, cluster.policy.allowed_requirements, cluster.policy.builds, asked]
    return f"jac-orc-environment-{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]}"


def builder(cluster: Cluster, spec: ModuleSpec, owners: Iterable[tuple[str, str]]) -> Document:
    """The Job that resolves and builds the spec's environment in the store.

    `owners` are the names and uids of the Deployments that wait for it: it goes with the last of them.
    """
    name = builder_name(cluster, spec)
    references = [{"apiVersion": "apps/v1", "kind": "Deployment", "name": owner, "uid": uid} for owner, uid in owners]
    own = {
        objects.NAME_LABEL: "jac-orc-environment",
        "app.kubernetes.io/instance": name,
        **objects.MANAGED,
        **objects.PART_OF,
    }
    labels, annotations = {**own, **objects.module_label(spec.module_name)}, {objects.MODULE: spec.module_name}
    question = {
        "spec": dataclasses.asdict(ModuleSpec(spec.module_name, **{name: getattr(spec, name) for name in INPUTS})),
        "allowed_requirements": cluster.policy.allowed_requirements,
        "builds": cluster.policy.builds,
    }
    # An empty folder hides all sources but its own, in which a build may write. Environments and the installer's cache
    # are shared, and stay one mount, as files are linked from one to the other.
    sources: list[Document] = [{"name": "sources", "mountPath": f"{STORE}/sources"}]
    if spec.source is not None:
        folder = f"{STORE}/sources/{spec.source.hex}"
        sources.append(store_mount(cluster, folder))
        if not spec.source.kind.is_installed:
            # The pod manager reads this folder. A build can't replace a mount point by a link, which would be followed.
            sources.append(store_mount(cluster, f"{folder}/{spec.source.tree}"))
    container = {
        "name": BUILDER,
        "image": cluster.image,
        "imagePullPolicy": cluster.pull_policy,
        "command": ["python", "-m", "jac_orc.pod_manager.environment_builder"],
        "env": [
            {"name": "QUESTION_FILE", "value": "/etc/jac-orc/question.json"},
            {"name": "STORE", "value": STORE},
            {"name": "INSTALL_TIMEOUT", "value": str(cluster.settings.install_timeout)},
            {"name": "TERMINATION_LOG", "value": TERMINATION_LOG},
            {"name": "UV_CACHE_DIR", "value": f"{STORE}/cache"},
            {"name": "HOME", "value": TMP},
        ],
        "envFrom": [
            {"configMapRef": {"name": "jac-orc-installer", "optional": True}},
            {"secretRef": {"name": "jac-orc-installer", "optional": True}},
        ],
        "resources": {
            "requests": {"cpu": "100m", "memory": "256Mi"},
            "limits": {"memory": "2Gi"},
        },
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            TMP_MOUNT,
            store_mount(cluster),
            *sources,
            {"name": "question", "mountPath": "/etc/jac-orc", "readOnly": True},
        ],
    }
    item = {"path": "question.json", "fieldRef": {"fieldPath": f"metadata.annotations['{objects.RECORD}']"}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name, "namespace": cluster.namespace, "labels": labels, "annotations": annotations,
            "ownerReferences": references,
        },
        "spec": {
            "backoffLimit": 2,
            # A module that still waits for it after that starts a new build.
            "ttlSecondsAfterFinished": _KEPT_BUILDS,
            # It includes the wait for a node.
            "activeDeadlineSeconds": math.ceil(
                cluster.settings.scheduling_timeout + 2 * cluster.settings.install_timeout + _BUILD_MARGIN
            ),
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {**annotations, objects.RECORD: json.dumps(question, sort_keys=True)},
                },
                "spec": {
                    **pod_base(cluster),
                    "restartPolicy": "Never",
                    "terminationGracePeriodSeconds": _BUILD_GRACE,
                    "containers": [container],
                    "volumes": [
                        tmp_volume(cluster.settings.build_tmp_size),
                        {"name": "sources", "emptyDir": {"sizeLimit": "1Mi"}},
                        {"name": "store", "persistentVolumeClaim": {"claimName": cluster.settings.store_claim}},
                        {"name": "question", "downwardAPI": {"items": [item]}},
                    ],
                },
            },
        },
    }  # fmt: skip
