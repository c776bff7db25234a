"""A module's autoscaler on Kubernetes as its spec changes, against an API server in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from jac_orc.errors import OrcError
from jac_orc.pod_manager.backends.kube import objects
from jac_orc.pod_manager.backends.kube.caches import Caches
from jac_orc.pod_manager.backends.kube.client import KubeClient
from jac_orc.pod_manager.backends.kube.maker import Maker
from jac_orc.pod_manager.backends.kube.objects import Record
from jac_orc.pod_manager.backends.kube.pods import Cluster
from jac_orc.pod_manager.model import Autoscaling, ModuleSpec
from tests.feature.api_server import ApiServer

CLUSTER = Cluster("orc", "jac-cloud-orc:1")
DEPLOYMENT, SCALER = CLUSTER.path("Deployment", "math"), CLUSTER.path("HorizontalPodAutoscaler", "math")


class System:
    """A Deployment in that API server, and one who makes what its record says."""

    def __init__(self, server: ApiServer, client: KubeClient) -> None:
        self.server = server
        self._client = client
        self.maker = self.new_maker()
        self.record = Record.first(ModuleSpec("math"))

    def new_maker(self) -> Maker:
        return Maker(self._client, CLUSTER, None, Caches(self._client, CLUSTER, lambda name: None))

    async def create(self, spec: ModuleSpec) -> None:
        self.record = Record.first(spec)
        self.server.put(DEPLOYMENT, objects.claim(CLUSTER, self.record))
        await self.make()

    async def change(self, **changes: Any) -> None:
        spec = {"module_name": "math", "autoscaling": self.record.spec.autoscaling, **changes}
        self.record = self.record.changed(ModuleSpec(**spec))
        await self.make()

    async def make(self) -> None:
        assert await self.maker.make(self.server.objects[DEPLOYMENT], self.record)

    @property
    def replicas(self) -> int:
        return int(self.server.objects[DEPLOYMENT]["spec"]["replicas"])

    @property
    def bounds(self) -> tuple[int, int] | None:
        """Those of its autoscaler; None where it has none."""
        scaler = self.server.objects.get(SCALER)
        return (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) if scaler else None


@pytest.fixture
async def system(no_task_left: None) -> AsyncIterator[System]:
    server = ApiServer()
    async with server.served() as client:
        yield System(server, client)


async def test_it_follows_the_spec(system: System) -> None:
    await system.create(ModuleSpec("math"))
    assert system.bounds is None
    await system.change(autoscaling=Autoscaling(1, 5, 80))
    assert (system.bounds, system.replicas) == ((1, 5), 1)
    owner = system.server.objects[SCALER]["metadata"]["ownerReferences"][0]
    assert owner["uid"] == system.server.objects[DEPLOYMENT]["metadata"]["uid"]
    await system.change(autoscaling=Autoscaling(2, 3, 80))
    assert (system.bounds, system.replicas) == ((2, 3), 2)
    await system.change(autoscaling=None, replicas=2)
    assert (system.bounds, system.replicas) == (None, 2)
    await system.change(autoscaling=Autoscaling(2, 3, 80))
    assert system.bounds == (2, 3)


async def test_what_it_has_chosen_stays(system: System) -> None:
    await system.create(ModuleSpec("math", replicas=2, autoscaling=Autoscaling(1, 5, 80)))
    assert system.replicas == 2
    system.server.objects[DEPLOYMENT]["spec"]["replicas"] = 4
    await system.change(env={"A": "1"})
    assert (system.bounds, system.replicas) == ((1, 5), 4)


async def test_it_is_as_the_last_change_says_whoever_made_the_others(system: System) -> None:
    await system.create(ModuleSpec("math", autoscaling=Autoscaling(1, 2, 80)))
    first, system.maker = system.maker, system.new_maker()
    await system.change(autoscaling=Autoscaling(1, 9, 80))
    system.maker = first
    await system.change(autoscaling=Autoscaling(1, 2, 80))
    assert system.bounds == (1, 2)
    system.maker = system.new_maker()
    await system.change(autoscaling=None)
    system.maker = first
    await system.change(autoscaling=Autoscaling(1, 2, 80))
    assert system.bounds == (1, 2)


async def test_one_that_is_left_goes_with_a_later_change(system: System) -> None:
    """As where a pod manager has ended between recording and making."""
    await system.create(ModuleSpec("math", autoscaling=Autoscaling(1, 2, 80)))
    system.record = system.record.changed(ModuleSpec("math"))
    system.maker = system.new_maker()
    await system.change(autoscaling=None, env={"A": "1"})
    assert system.bounds is None


async def test_somebody_elses_is_left_alone(system: System) -> None:
    theirs = {"kind": "HorizontalPodAutoscaler", "metadata": {"name": "math"}, "spec": {"minReplicas": 7}}
    before = system.server.put(SCALER, theirs)
    await system.create(ModuleSpec("math"))
    with pytest.raises(OrcError) as caught:
        await system.change(autoscaling=Autoscaling(1, 2, 80))
    assert caught.value.reason == "NAME_TAKEN" and "HorizontalPodAutoscaler math" in caught.value.message
    await system.change(autoscaling=None)
    assert system.server.objects[SCALER] == before
