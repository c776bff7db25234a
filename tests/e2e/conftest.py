"""Systems to test: one that all tests share, and new ones for tests that break theirs.

The one that is shared is on this machine or, with `--target cluster`, on a cluster, and the same tests run on both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import wheels as guest_wheels
from tests.e2e.cluster_system import ClusterSystem
from tests.e2e.local_system import LocalSystem
from tests.e2e.system import System


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give tests here more time, as real installs take it, and leave out those that the target has no system for."""
    on_cluster = config.getoption("--target") == "cluster"
    ours = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in ours:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(300 if on_cluster else 120))
    if on_cluster and (others := [item for item in ours if _needs_one_machine(item)]):
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


def _needs_one_machine(item: pytest.Item) -> bool:
    """Return whether the test is about `jac-orc up`, or starts one of its own."""
    return item.get_closest_marker("one_machine") is not None or "new_system" in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample modules as wheels."""
    directory = tmp_path_factory.mktemp("wheels")
    guest_wheels.build(directory)
    return directory


@pytest.fixture(scope="session")
def system(request: pytest.FixtureRequest, cache: Path, wheels: Path) -> Iterator[System]:
    """The shared system; its modules are made by whoever needs them, and nobody breaks it."""
    on_cluster = request.config.getoption("--target") == "cluster"
    shared = ClusterSystem(wheels) if on_cluster else LocalSystem(cache, wheels)
    try:
        yield shared.start()
    finally:
        shared.end()


@pytest.fixture(scope="module")
def closed_system(
    request: pytest.FixtureRequest, cache: Path, wheels: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """One that deploys nothing by itself, nor installs anything on this machine, while a module's tests run."""
    if request.config.getoption("--target") == "cluster":
        shared: ClusterSystem = request.getfixturevalue("system")
        with shared.closed():
            yield shared
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UV_OFFLINE", "1")
        patch.setenv("UV_CACHE_DIR", str(tmp_path_factory.mktemp("no-packages")))
        system = LocalSystem(cache, wheels, "--no-auto-deploy")
        try:
            yield system.start()
        finally:
            system.end()


@pytest.fixture
def new_system(cache: Path, wheels: Path) -> Iterator[Callable[..., LocalSystem]]:
    """Makes systems, not started yet, that end with the test; tests on a cluster leave it out."""
    made: list[LocalSystem] = []

    def make(*options: str) -> LocalSystem:
        made.append(LocalSystem(cache, wheels, *options))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def deploy(system: System) -> Iterator[Callable[..., Any]]:
    """Deploys a module anew on the shared system; it goes with the test."""
    names: list[str] = []

    def create(name: str, **spec: Any) -> Any:
        system.remove(name)
        names.append(name)
        response = system.post("/v1/modules", {"module_name": name, **spec})
        assert response.status_code == 200, response.text
        return response.json()

    yield create
    for name in names:
        system.remove(name)
