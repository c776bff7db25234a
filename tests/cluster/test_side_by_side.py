"""Two installs of the overlay `local` in one cluster: neither takes anything from the other."""

from __future__ import annotations

import base64
import datetime
import io
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.installation import NAMESPACE, ROOT, Installation, install, uninstall, wait_until
from tests.cluster.kubectl import kubectl, kubectl_json
from tests.e2e.commands import run

SECOND = "orc-second"
PORT = 30081


def source(answer: int) -> dict[str, str]:
    """A module `orc_answer`, which needs a build and the store."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("orc_answer.py", f"answer = lambda: {answer}\n")
    return {"zip": base64.b64encode(packed.getvalue()).decode()}


def kustomization(folder: Path, **more: Any) -> Path:
    """A kustomization of one's own on the overlay `local`, in another namespace."""
    overlay = os.path.relpath(ROOT / "kustomize/overlays/local", folder)
    document = {"namespace": SECOND, "resources": [overlay], **more}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(document))
    return folder


@pytest.fixture
def second(tmp_path: Path) -> Iterator[Installation]:
    """The second install, as kustomize/README.md shows it."""
    patch = yaml.safe_dump([{"op": "replace", "path": "/spec/ports/0/nodePort", "value": PORT}])
    target = {"kind": "Service", "name": "jac-orc-gateway"}
    uninstall(SECOND)
    try:
        install(kustomization(tmp_path, patches=[{"target": target, "patch": patch}]), SECOND)
        system = Installation(SECOND, f"http://127.0.0.1:{PORT}")
        yield system
        system.http.close()
    finally:
        uninstall(SECOND)


def volumes() -> dict[str, str]:
    """The phases of the PersistentVolumes of both, by name."""
    found = {each["metadata"]["name"]: each["status"]["phase"] for each in kubectl_json("get", "pv")["items"]}
    return {name: found[name] for name in (NAMESPACE, SECOND) if name in found}


def ready_since(component: str) -> datetime.datetime:
    """When the pod of the second install became ready."""
    (pod,) = kubectl_json("-n", SECOND, "get", "pods", "-l", f"app.kubernetes.io/name={component}")["items"]
    (condition,) = (each for each in pod["status"]["conditions"] if each["type"] == "Ready")
    return datetime.datetime.fromisoformat(condition["lastTransitionTime"])


def test_the_second_of_two_installs_is_deleted(
    installation: Installation, deployed: Callable[..., Any], second: Installation, variables: dict[str, str],
    tmp_path: Path,
) -> None:  # fmt: skip
    assert second.http.get("/v1/modules").status_code == 200  # at once, as kustomize/README.md has it
    waited = ready_since("jac-orc-gateway") - ready_since("jac-orc-pod-manager")
    assert waited.total_seconds() <= 5, "the times of conditions are whole seconds"
    deployed("orc_answer", source=source(1))
    response = second.create("orc_answer", source=source(2))
    assert response.status_code == 200, response.text
    printed = run(
        "create", "math", "--namespace", SECOND, **variables
    ).stdout  # a call that works without a port-forward
    assert f"curl http://127.0.0.1:{PORT}/modules/math/sqrt" in printed and "port-forward" not in printed
    assert [system.call("orc_answer", "answer").json()["result"] for system in (installation, second)] == [1, 2]
    assert volumes() == {NAMESPACE: "Bound", SECOND: "Bound"}
    with installation.load("orc_answer", "answer", rate=50) as load:
        kubectl("delete", "-k", str(tmp_path), "--timeout=120s")
        assert volumes() == {NAMESPACE: "Bound"}
    assert load.failed == 0, load
    scaled = installation.http.post("/v1/modules/orc_answer:scale", json={"replicas": 2})  # its store is there
    assert scaled.status_code == 200, scaled.text


def test_a_node_port_that_the_first_install_has(
    installation: Installation, variables: dict[str, str], tmp_path: Path
) -> None:
    """`kubectl apply` fails at the Service alone, and `doctor` says who has the port."""
    try:
        failure = kubectl("apply", "--server-side", "-k", str(kustomization(tmp_path)), check=False)
        assert "provided port is already allocated" in failure
        wait_until(lambda: volumes().get(SECOND) == "Bound")
        printed = run("doctor", "--namespace", SECOND, **variables).stdout
        assert f"node port 30080 belongs to the Service jac-orc-gateway in the namespace {NAMESPACE}" in printed
        assert "A second install" in printed
    finally:
        uninstall(SECOND)
