"""The system on a cluster, which all of these tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.installation import Installation, install, uninstall, wait_until


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
        installation.delete(name)
        names.append(name)
        response = installation.create(name, **spec)
        assert response.status_code == 200, response.text
        wait_until(lambda: spec.get("replicas") == 0 or installation.module(name)["status"].get("ready_replicas"))
        return response.json()

    yield deploy
    for name in names:
        installation.delete(name)
