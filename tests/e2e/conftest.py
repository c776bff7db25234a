"""Systems to test: one that all tests share, and new ones for tests that break theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import wheels as guest_wheels
from tests.e2e.system import System, wait_until


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Real installs take longer than other tests may."""
    for item in items:
        if Path(__file__).parent in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(120))


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample modules as wheels."""
    directory = tmp_path_factory.mktemp("wheels")
    guest_wheels.build(directory)
    return directory


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environments, which all systems share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def system(cache: Path, wheels: Path) -> Iterator[System]:
    """The shared system; its modules are made by whoever needs them, and nobody breaks it."""
    shared = System(cache, wheels)
    try:
        yield shared.start()
    finally:
        shared.end()


@pytest.fixture
def new_system(cache: Path, wheels: Path) -> Iterator[Callable[..., System]]:
    """Makes systems, not started yet, that end with the test."""
    made: list[System] = []

    def make(*options: str) -> System:
        made.append(System(cache, wheels, *options))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def deploy(system: System) -> Iterator[Callable[..., Any]]:
    """Deploys a module anew on the shared system; it goes with the test."""
    names: list[str] = []

    def create(name: str, **spec: Any) -> Any:
        absent(name)
        names.append(name)
        response = system.post("/v1/modules", {"module_name": name, **spec})
        assert response.status_code == 200, response.text
        return response.json()

    def absent(name: str) -> None:
        system.http.delete(f"/v1/modules/{name}")
        wait_until(lambda: not system.traces(name))

    yield create
    for name in names:
        absent(name)
