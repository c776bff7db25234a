"""Modules come, move and go while Envoy runs; the control plane itself goes and comes back."""

from __future__ import annotations

import dataclasses
import socket
import time
from collections.abc import Iterator

import grpc
import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2

from jac_orc.pod_manager.xds.listener import listener
from jac_orc.pod_manager.xds.resources import CLUSTER_TYPE, LISTENER_TYPE
from tests.feature.xds_front import JSON, Front, eventually, running_front


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    yield from running_front(tmp_path_factory.mktemp("front"))


def test_a_module_comes_moves_and_goes(front: Front) -> None:
    assert front.server_of("scipy") == "podmgr"
    first, second = front.pod("scipy-1"), front.pod("scipy-2")
    front.put("scipy", first.endpoint)
    eventually(lambda: front.server_of("scipy") == "scipy-1")
    front.put("scipy", first.endpoint, second.endpoint)
    eventually(lambda: {front.server_of("scipy") for _ in range(9)} == {"scipy-1", "scipy-2"})
    front.put("scipy", dataclasses.replace(first.endpoint, draining=True), second.endpoint)
    eventually(lambda: {front.server_of("scipy") for _ in range(9)} == {"scipy-2"})
    front.put("scipy", second.endpoint)
    assert {front.server_of("scipy") for _ in range(9)} == {"scipy-2"}
    front.drop("scipy")
    eventually(lambda: front.server_of("scipy") == "podmgr")


def test_a_module_dropped_and_put_again_and_again(front: Front) -> None:
    pod = front.pod("again-1")
    for _ in range(5):
        front.put("again", pod.endpoint)
        eventually(lambda: front.server_of("again") == "again-1")
        front.drop("again")
        front.put("again", pod.endpoint)
        eventually(lambda: front.server_of("again") == "again-1")
        front.drop("again")
        eventually(lambda: front.server_of("again") == "podmgr")


def test_a_module_without_pods_gets_one(front: Front) -> None:
    front.put("later")
    eventually(lambda: front.http.post("/modules/later/f", json={}).status_code == 503)
    front.put("later", front.pod("later-1").endpoint)
    eventually(lambda: front.server_of("later") == "later-1")


def test_many_modules_at_once(front: Front) -> None:
    pod = front.pod("many-1")
    names = [f"many.m{number}" for number in range(500)]

    def put_all() -> None:
        for name in names:
            front.snapshot.put_module(name, [pod.endpoint])

    front.loop.call(put_all)
    for name in names[::50]:
        eventually(lambda name=name: front.server_of(name) == "many-1")  # type: ignore[misc]
    began = time.monotonic()
    front.put("one.more", pod.endpoint)
    eventually(lambda: front.server_of("one.more") == "many-1")
    assert time.monotonic() - began < 5
    for name in names:
        front.drop(name)
    eventually(lambda: front.server_of(names[-1]) == "podmgr")


def test_calls_in_flight_outlive_their_module(front: Front) -> None:
    pod = front.pod("flight-1")
    front.put("flight", pod.endpoint)
    eventually(lambda: front.server_of("flight") == "flight-1")
    with front.http.stream("POST", "/v1/modules/flight:stream", content=b"{}", headers=JSON) as answer:
        chunks = answer.iter_raw()
        next(chunks)
        front.drop("flight")
        eventually(lambda: front.server_of("flight") == "podmgr")
        pod.echo.go_on.set()
        assert b"third" in b"".join(chunks)


def test_the_control_plane_restarts(front: Front) -> None:
    front.stop_xds()
    assert front.server_of("numpy") == "numpy-1"
    front.drop("empty")
    front.put("meanwhile", front.pod("meanwhile-1").endpoint)
    assert front.server_of("meanwhile") == "podmgr"
    front.start_xds()
    eventually(lambda: front.server_of("meanwhile") == "meanwhile-1", 10)
    assert front.server_of("numpy") == "numpy-1"
    assert front.server_of("empty") == "podmgr"
    assert not front.rejected


def test_a_refused_resource_is_logged_and_harms_nothing(front: Front) -> None:
    bad = Cluster(name="mod:bad", type=Cluster.STATIC)
    bad.connect_timeout.seconds = -1
    front.loop.call(lambda: front.snapshot.set(bad))
    eventually(lambda: bool(front.rejected))
    (text,) = front.rejected
    front.rejected.clear()
    assert text.startswith(f"Envoy refused {CLUSTER_TYPE} ['mod:bad']: ")
    assert "duration" in text
    front.loop.call(lambda: front.snapshot.remove(CLUSTER_TYPE, "mod:bad"))
    front.put("good", front.pod("good-1").endpoint)
    eventually(lambda: front.server_of("good") == "good-1")


def test_a_taken_port_is_refused(front: Front) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        second = listener("127.0.0.1", taken.getsockname()[1])
        second.name = "second"
        front.loop.call(lambda: front.snapshot.set(second))
        eventually(lambda: bool(front.rejected))
    assert "cannot bind" in front.rejected[0]
    front.rejected.clear()
    front.loop.call(lambda: front.snapshot.remove(LISTENER_TYPE, "second"))


def test_the_other_variant_of_xds_is_refused_clearly(front: Front) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{front.xds_port}") as channel:
        stub = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            next(stub.StreamAggregatedResources(iter([discovery_pb2.DiscoveryRequest(type_url=CLUSTER_TYPE)])))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "DELTA_GRPC" in (caught.value.details() or "")
