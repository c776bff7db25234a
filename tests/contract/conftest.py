"""Fixtures of the contract suite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jac_orc.pod_manager.backends.base import Backend
from tests.contract.subjects import Fake, Local, Subject


@pytest.fixture(autouse=True)
def leftovers(no_child_left: None, no_task_left: None) -> None:
    """No test leaves anything behind."""


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where environments are kept, so that the tests build each one once."""
    return tmp_path_factory.mktemp("environments")


@pytest.fixture(params=["local", "fake"])
async def subject(request: pytest.FixtureRequest, tmp_path: Path, environments: Path) -> AsyncIterator[Subject]:
    if request.param == "fake":
        yield Fake()
        return
    local = Local(tmp_path / "state", environments)
    await local.backend.start()
    yield local
    await local.close()


@pytest.fixture
def backend(subject: Subject) -> Backend:
    return subject.backend
