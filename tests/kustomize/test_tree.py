"""The files of the kustomize tree."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kustomize.rendering import TREE, build

KUSTOMIZATIONS = sorted(TREE.rglob("kustomization.yaml"))


def references(kustomization: Path) -> Iterator[Path]:
    """The files and folders that a kustomization names."""
    data: dict[str, Any] = yaml.safe_load(kustomization.read_text())
    names = [*data.get("resources", ()), *data.get("components", ()), *data.get("configurations", ())]
    names += data.get("transformers", ())
    names += [patch["path"] for patch in data.get("patches", ()) if "path" in patch]
    names += [file for each in data.get("configMapGenerator", ()) for file in each["files"]]
    for name in names:
        path = Path(os.path.normpath(kustomization.parent / name))
        yield path / "kustomization.yaml" if path.is_dir() else path


def test_no_file_is_left_over() -> None:
    used = {path for each in KUSTOMIZATIONS for path in references(each)}
    roots = {each for each in KUSTOMIZATIONS if each.parents[1].name in ("components", "overlays")}
    read = {TREE / "README.md", *TREE.rglob("example.yaml")}
    files = {path for path in TREE.rglob("*") if path.is_file()} - read
    assert files - used - roots == set()
    assert used - files == set()


@pytest.mark.parametrize("kustomization", KUSTOMIZATIONS, ids=lambda path: str(path.parent.relative_to(TREE)))
def test_a_file_holds_one_object(kustomization: Path) -> None:
    for path in references(kustomization):
        documents = list(yaml.safe_load_all(path.read_text()))
        assert len(documents) == 1, path


def test_the_kustomizations_of_the_readme_build(tmp_path: Path) -> None:
    text = (TREE / "README.md").read_text()
    shown = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]
    shown = [each for each in shown if "resources" in each]
    assert len(shown) == 2
    tree = os.path.relpath(TREE, tmp_path)
    for document in shown:
        written = yaml.safe_dump(document).replace("../jac-cloud-orc/kustomize", tree)
        (tmp_path / "kustomization.yaml").write_text(written)
        documents = build(tmp_path)
        namespaces = {each["metadata"].get("namespace", document["namespace"]) for each in documents}
        assert namespaces == {document["namespace"]}
        values = re.findall(r"value: ([^\s}]+)", written)
        assert values and all(value in str(documents) for value in values)


def test_readme_tells_of_every_overlay_and_component() -> None:
    text = (TREE / "README.md").read_text()
    for kind in ("overlays", "components"):
        for folder in (TREE / kind).iterdir():
            assert re.search(rf"`{folder.name}`", text), f"kustomize/README.md says nothing of {folder.name}"
