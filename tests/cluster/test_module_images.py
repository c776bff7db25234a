"""`jac-orc image build`: a module's image, built by a real tool, brought to the nodes and deployed from there."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.installation import Installation
from tests.cluster.kubectl import image, kubectl_json
from tests.e2e.commands import run

TAG = "docker.io/library/orc-test-till:1"


@pytest.fixture
def built(tmp_path: Path) -> None:
    """The nodes have the image of a project with a dependency and no build system."""
    loader = os.environ.get("ORC_TEST_LOAD")
    if not loader:
        pytest.skip("needs ORC_TEST_LOAD: a command that takes an image's name and brings it to the cluster's nodes")
    tool, *options = shlex.split(os.environ.get("ORC_TEST_BUILDER", "docker"))
    (tmp_path / "till.py").write_text(
        "import inflection\n\n\ndef label(count: int) -> str:\n    return f'{count} {inflection.pluralize(\"coin\")}'\n"
    )
    (tmp_path / "requirements.txt").write_text("inflection==0.5.1\n")
    given = [word for option in options for word in ("--option", option)]
    done = run("image", "build", "--source", str(tmp_path), "--tag", TAG, "--base", image(), "--tool", tool, *given)
    assert done.returncode == 0, done.stderr
    assert f"jac-orc create till --image {TAG}" in done.stderr + done.stdout
    subprocess.run([*shlex.split(loader), TAG], check=True, timeout=120)


@pytest.mark.usefixtures("built")
def test_a_module_runs_from_an_image_of_its_own(installation: Installation, deployed: Callable[..., Any]) -> None:
    deployed("till", image=TAG)
    assert installation.call("till", "label", 3).json() == {"result": "3 coins"}
    (pod,) = kubectl_json("-n", installation.namespace, "get", "pods", "-l", "app.kubernetes.io/name=till")["items"]
    assert [volume["name"] for volume in pod["spec"]["volumes"] if "persistentVolumeClaim" in volume] == []
    assert [each["image"] for each in pod["spec"]["containers"]] == [TAG]
    assert not [name for name in installation.objects("till") if name.startswith("Job/")]
