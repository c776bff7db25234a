"""What `kustomize/base` makes, in namespaces of tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.cluster.kubectl import image, kubectl

ROOT = Path(__file__).parents[2]
ENVOY = "docker.io/envoyproxy/envoy:v1.40-latest"

Document = dict[str, Any]


def base(namespace: str, *kinds: str) -> list[Document]:
    """What `kustomize/base` makes, of these kinds only, if any are named: in another namespace, and with a store that
    is the pod manager's own, as which volumes a cluster can make isn't known."""
    rendered = kubectl("kustomize", str(ROOT / "kustomize" / "base"))
    documents = list(yaml.safe_load_all(rendered.replace("namespace: jac-orc\n", f"namespace: {namespace}\n")))
    for document in documents:
        if document["kind"] == "Deployment":
            pod = document["spec"]["template"]["spec"]
            pod["terminationGracePeriodSeconds"] = 5
            own = {"name": "store", "emptyDir": {}}
            pod["volumes"] = [own if each["name"] == "store" else each for each in pod["volumes"]]
            for container in [*pod["containers"], *pod.get("initContainers", ())]:
                container["image"] = ENVOY if container["name"] == "envoy" else image()
                del container["resources"]
    return [each for each in documents if each["kind"] != "Namespace" and (not kinds or each["kind"] in kinds)]


def apply(documents: list[Document]) -> None:
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(documents))
