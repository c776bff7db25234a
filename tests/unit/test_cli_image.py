"""Which tool builds a module's image."""

from __future__ import annotations

from pathlib import Path

import pytest

from jac_orc.cli.failures import UsageError
from jac_orc.cli.image import find_tool


@pytest.fixture
def tools(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only ones in PATH, by their names and the exit codes that they end with."""
    for name, code in request.param.items():
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {code}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.parametrize(
    ("tools", "wanted", "found"),
    [
        ({"docker": 0, "podman": 0}, "", "docker"),
        ({"docker": 1, "podman": 1, "buildah": 1}, "", "podman"),
        ({"docker": 1, "buildah": 0}, "", "buildah"),
        ({"docker": 1, "buildah": 0}, "docker", "docker"),
    ],
    indirect=["tools"],
)
@pytest.mark.usefixtures("tools")
def test_the_first_that_works_or_the_one_that_is_named(wanted: str, found: str) -> None:
    assert find_tool(wanted) == found


@pytest.mark.parametrize(
    ("tools", "wanted", "why"),
    [
        ({}, "", "none of docker, podman, buildah is installed"),
        ({"docker": 1}, "", "docker's daemon doesn't answer"),
        ({"docker": 0}, "kaniko", "kaniko is not installed"),
    ],
    indirect=["tools"],
)
@pytest.mark.usefixtures("tools")
def test_none_that_works(wanted: str, why: str) -> None:
    with pytest.raises(UsageError, match=f"{why}.*; --tool names .*docker, podman or buildah"):
        find_tool(wanted)
