"""Fixtures of the contract suite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from jac_orc.pod_manager.backends.base import Backend
from jac_orc.pod_manager.backends.kube.backend import KubernetesBackend
from jac_orc.pod_manager.backends.kube.client import KubeClient
from jac_orc.pod_manager.backends.kube.pods import Cluster
from jac_orc.pod_manager.settings import Settings
from tests.cluster.kubectl import image, new_namespace
from tests.contract.subjects import Fake, Kubernetes, Local, Subject


@pytest.fixture(autouse=True)
def leftovers(no_child_left: None, no_task_left: None) -> None:
    """No test leaves anything behind."""


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where environments are kept, so that the tests build each one once."""
    return tmp_path_factory.mktemp("environments")


@pytest.fixture(scope="session")
def namespace() -> Iterator[str]:
    """A namespace of the cluster that KUBECONFIG names."""
    with new_namespace("orc-contract") as name:
        yield name


@pytest.fixture(params=["local", "fake", pytest.param("kubernetes", marks=pytest.mark.cluster)])
async def subject(request: pytest.FixtureRequest, tmp_path: Path, environments: Path) -> AsyncIterator[Subject]:
    if request.param == "fake":
        yield Fake()
        return
    if request.param == "kubernetes":
        name = request.getfixturevalue("namespace")
        client, _ = await KubeClient.connect()
        cluster = Cluster(name, image(), settings=Settings(module_account="default"))
        kubernetes = Kubernetes(KubernetesBackend(client, cluster, None), name)
        await kubernetes.backend.start()
        yield kubernetes
        await kubernetes.close()
        return
    local = Local(tmp_path / "state", environments)
    await local.backend.start()
    yield local
    await local.close()


@pytest.fixture
def backend(subject: Subject) -> Backend:
    return subject.backend
