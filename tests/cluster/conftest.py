"""The systems on a cluster that these tests share: one installed from an overlay, and one of the base alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.base import apply, base
from tests.cluster.installation import Installation, install, uninstall, wait_until
from tests.cluster.kubectl import kubectl, kubectl_json, new_namespace
from tests.cluster.overlay import api_keys_secret, certificate_secret, installed, render

PRODUCTION = "orc-production"
"""The namespace of the overlay `production`."""
API_KEY = "k" * 32
TOOLS = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests here need a cluster, and time."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def installation() -> Iterator[Installation]:
    """The system, installed anew."""
    uninstall()
    install()
    system = Installation()
    yield system
    system.http.close()
    uninstall()


@pytest.fixture
def deployed(installation: Installation) -> Iterator[Callable[..., Any]]:
    """Deploys modules, which go with the test."""
    names = list[str]()

    def deploy(name: str, **spec: Any) -> Any:
        installation.discard(name)
        names.append(name)
        response = installation.create(name, **spec)
        assert response.status_code == 200, response.text
        wait_until(lambda: spec.get("replicas") == 0 or installation.module(name)["status"].get("ready_replicas"))
        return response.json()

    yield deploy
    for name in names:
        installation.discard(name)


@pytest.fixture(scope="module")
def context() -> str:
    """The context of the cluster, as the kubeconfig names it."""
    return kubectl("config", "current-context").strip()


@pytest.fixture(scope="module")
def variables(context: str) -> dict[str, str]:
    """The environment of commands for the cluster."""
    return {"KUBECONFIG": os.environ["KUBECONFIG"], "JAC_ORC_CONTEXT": context, "PATH": TOOLS}


@pytest.fixture
def namespace() -> Iterator[str]:
    """One with nothing in it."""
    with new_namespace("jac-orc-cli") as name:
        yield name


@pytest.fixture(scope="module")
def system(context: str) -> Iterator[str]:
    """The namespace of a whole system; its claim is bound to a volume that nobody uses."""
    with new_namespace("jac-orc-cli") as name:
        volume = {
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {
                "storageClassName": name, "capacity": {"storage": "50Gi"}, "accessModes": ["ReadWriteMany"],
                "hostPath": {"path": "/tmp"},
            },
        }  # fmt: skip
        documents = base(name)
        for document in documents:
            if document["kind"] == "PersistentVolumeClaim":
                document["spec"] |= {"storageClassName": name, "volumeName": name}
        try:
            apply([volume, *documents])
            bound = "--for=jsonpath={.status.phase}=Bound"
            kubectl("-n", name, "wait", bound, "persistentvolumeclaim/jac-orc-store", "--timeout=60s")
            for deployment in ("jac-orc-pod-manager", "jac-orc-gateway"):
                kubectl("-n", name, "rollout", "status", f"deployment/{deployment}", "--timeout=180s")
            yield name
        finally:
            kubectl("delete", "persistentvolume", name, "--ignore-not-found", "--wait=false")


@pytest.fixture(scope="session")
def production_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the overlay `production` is built."""
    return tmp_path_factory.mktemp("production")


@pytest.fixture(scope="session")
def production(production_folder: Path) -> Iterator[Installation]:
    """The overlay with the component `tls`, installed anew and reached at a node's port, with a module of two pods."""
    host = certificate_secret(production_folder, "jac-orc-gateway-tls", "orc.test")
    # A port-forward leads to one pod and ends with it; a node port leads to all.
    node_port = {
        "target": {"kind": "Service", "name": "jac-orc-gateway"},
        "patch": "- {op: add, path: /spec/type, value: NodePort}",
    }
    more = {
        "components": ["no-store", "kustomize/components/tls"], "patches": [node_port],
        "secretGenerator": [api_keys_secret(production_folder, alice=API_KEY), host],
    }  # fmt: skip
    with installed(render(production_folder, "production", PRODUCTION, {}, **more), PRODUCTION):
        system = Installation(PRODUCTION, _node_address(PRODUCTION), {"x-api-key": API_KEY})
        wait_until(system.responds)
        response = system.create("math", replicas=2)
        assert response.status_code == 200, response.text
        wait_until(lambda: system.module("math")["status"].get("ready_replicas") == 2)
        yield system
        system.http.close()


def _node_address(namespace: str) -> str:
    """Where a node takes calls for the namespace's gateway."""
    service = kubectl_json("-n", namespace, "get", "service", "jac-orc-gateway")
    (port,) = (each["nodePort"] for each in service["spec"]["ports"] if each["name"] == "http")
    node = kubectl_json("get", "nodes")["items"][0]
    (address, *_) = (each["address"] for each in node["status"]["addresses"] if each["type"] == "InternalIP")
    return f"http://{address}:{port}"
