"""Fixtures of the feature tests."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from jac_orc.pod_manager.backends.fake import FakeBackend
from tests.feature.module_servers import ModuleServer
from tests.feature.pod_managers import PodManager, running_pod_manager

Start = Callable[..., ModuleServer]


@pytest.fixture
def start_server(no_child_left: None, guest_python: str, tmp_path: Path) -> Iterator[Start]:
    """Starts module servers that end with the test."""
    servers = []

    def start(module: str, *, python: str = guest_python, **settings: object) -> ModuleServer:
        server = ModuleServer(module, python, tmp_path, **settings)
        servers.append(server)
        return server

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.process.send_signal(signal.SIGTERM)
            server.process.send_signal(signal.SIGINT)  # a second signal: whatever runs ends at once
    for server in servers:
        server.close()


@pytest.fixture(scope="module")
def plain(guest_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleServer]:
    """A server of plain functions, shared by a file's tests."""
    server = ModuleServer("orc_feature_plain", guest_python, tmp_path_factory.mktemp("plain")).serving()
    yield server
    assert server.stop() == 0


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
async def manager(no_task_left: None, backend: FakeBackend) -> AsyncIterator[PodManager]:
    async with running_pod_manager(backend) as running:
        yield running
