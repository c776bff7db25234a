"""What the snapshot keeps consistent, and what it tells of changes."""

from __future__ import annotations

import time

import pytest

from jac_orc.pod_manager.xds import resources
from jac_orc.pod_manager.xds.resources import CLUSTER_TYPE, ENDPOINTS_TYPE, ROUTES_TYPE, Endpoint
from jac_orc.pod_manager.xds.routes import routes
from jac_orc.pod_manager.xds.snapshot import InconsistentSnapshotError, Snapshot

POD = Endpoint("127.0.0.1", 1)


def test_equal_content_is_no_change() -> None:
    snapshot, told = Snapshot(), list[tuple[str, str]]()
    snapshot.observers.add(lambda url, name: told.append((url, name)))
    snapshot.put_module("numpy", [POD])
    assert told == [(ENDPOINTS_TYPE, "mod:numpy"), (CLUSTER_TYPE, "mod:numpy")]
    told.clear()
    snapshot.put_module("numpy", [POD])
    assert not told
    snapshot.put_module("numpy", [POD, Endpoint("127.0.0.1", 2, draining=True)])
    assert told == [(ENDPOINTS_TYPE, "mod:numpy")]


def test_versions_are_of_the_content() -> None:
    one, other = Snapshot(), Snapshot()
    for snapshot in (one, other):
        snapshot.put_module("numpy", [POD])
        snapshot.set(routes())
    assert one.resources(ROUTES_TYPE) == other.resources(ROUTES_TYPE)
    before = one.resources(ENDPOINTS_TYPE)["mod:numpy"]
    one.put_module("numpy", [])
    after = one.resources(ENDPOINTS_TYPE)["mod:numpy"]
    assert before.version != after.version
    one.put_module("numpy", [POD])
    assert one.resources(ENDPOINTS_TYPE)["mod:numpy"] == before


def test_a_cluster_needs_its_endpoints() -> None:
    snapshot = Snapshot()
    with pytest.raises(InconsistentSnapshotError, match="mod:numpy"):
        snapshot.set(resources.module_cluster("numpy"))
    assert not snapshot.resources(CLUSTER_TYPE)
    snapshot.set(resources.endpoints("numpy", []))
    snapshot.set(resources.module_cluster("numpy"))
    with pytest.raises(InconsistentSnapshotError, match="mod:numpy"):
        snapshot.remove(ENDPOINTS_TYPE, "mod:numpy")
    snapshot.remove(CLUSTER_TYPE, "mod:numpy")
    snapshot.remove(ENDPOINTS_TYPE, "mod:numpy")
    assert not snapshot.resources(ENDPOINTS_TYPE)


def test_dropping() -> None:
    snapshot, told = Snapshot(), list[tuple[str, str]]()
    snapshot.put_module("numpy", [POD])
    snapshot.observers.add(lambda url, name: told.append((url, name)))
    snapshot.drop_module("numpy")
    assert told == [(CLUSTER_TYPE, "mod:numpy"), (ENDPOINTS_TYPE, "mod:numpy")]
    snapshot.drop_module("numpy")
    assert len(told) == 2


def test_the_cost_of_a_change_does_not_grow_with_the_modules() -> None:
    def cost(snapshot: Snapshot) -> float:
        began = time.process_time()
        for port in range(1, 200):
            snapshot.put_module("one", [Endpoint("127.0.0.1", port)])
            snapshot.drop_module("one")
        return time.process_time() - began

    small, large = Snapshot(), Snapshot()
    for number in range(5000):
        large.put_module(f"m{number}", [POD])
    assert min(cost(large) for _ in range(3)) < 5 * min(cost(small) for _ in range(3))
