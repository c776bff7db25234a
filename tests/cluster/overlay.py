"""An overlay as its users install it: its settings edited, namespace and images set by a kustomization upon it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.kubectl import delete_namespace, image, kubectl
from tests.feature.front_files import api_keys, make_certificate

_ROOT = Path(__file__).parents[2]
_OWN_NAME = {"options": {"disableNameSuffixHash": True}}
_ENVOY = {"name": "docker.io/envoyproxy/envoy", "newTag": "v1.40-latest"}  # as in the overlay `local`


def render(folder: Path, overlay: str, namespace: str, settings: Mapping[str, str], **more: Any) -> str:
    """The overlay's objects, built in that folder, in which `more` of the kustomization may name files.

    They have no store, as which volumes the cluster can make isn't known.
    """
    shutil.copytree(_ROOT / "kustomize", folder / "kustomize")
    shutil.copytree(Path(__file__).parent / "no-store", folder / "no-store")
    if settings:
        file = folder / "kustomize" / "overlays" / overlay / "settings.yaml"
        document = yaml.safe_load(file.read_text())
        assert set(settings) <= set(document["data"]), f"no such settings: {settings}"
        document["data"].update(settings)
        file.write_text(yaml.safe_dump(document))
    name, _, tag = image().rpartition(":")
    kustomization = {
        "namespace": namespace,
        "resources": [f"kustomize/overlays/{overlay}"],
        "components": ["no-store"],
        "images": [{"name": "jac-cloud-orc", "newName": name, "newTag": tag}, _ENVOY],
        **more,
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return kubectl("kustomize", str(folder))


def certificate_secret(folder: Path, name: str, *hosts: str) -> dict[str, Any]:
    """Makes a certificate for these hosts; the kustomization's entry for the Secret with it."""
    make_certificate(folder, *hosts)
    return {"name": name, "type": "kubernetes.io/tls", "files": ["tls.crt", "tls.key"], **_OWN_NAME}


def api_keys_secret(folder: Path, **keys: str) -> dict[str, Any]:
    """Writes the keys of these clients; the kustomization's entry for the Secret with them."""
    (folder / "api-keys.yaml").write_text(api_keys(**keys))
    return {"name": "jac-orc-api-keys", "files": ["api-keys.yaml"], **_OWN_NAME}


@contextmanager
def installed(rendered: str, namespace: str) -> Iterator[None]:
    """The objects, in a namespace that is made anew and goes at the end; with every pod ready."""
    delete_namespace(namespace)
    try:
        kubectl("apply", "--server-side", "-f", "-", stdin=rendered)
        for name in ("jac-orc-pod-manager", "jac-orc-gateway"):
            kubectl("-n", namespace, "rollout", "status", f"deployment/{name}", "--timeout=180s")
        yield
    finally:
        delete_namespace(namespace)
