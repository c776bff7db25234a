"""Addresses of the form HOST:PORT."""

from __future__ import annotations

import pytest

from jac_orc.core.addresses import join, split
from jac_orc.module_server.peers import address_in, place_of
from jac_orc.pod_manager.backends.fake import FakeBackend
from jac_orc.pod_manager.model import ModuleSpec
from jac_orc.pod_manager.publisher import Publisher
from jac_orc.pod_manager.xds.resources import ENDPOINTS_TYPE, endpoints, module_resource_name
from jac_orc.pod_manager.xds.snapshot import Snapshot

PAIRS = [
    ("127.0.0.1", 50051, "127.0.0.1:50051"),
    ("fd00::1", 50051, "[fd00::1]:50051"),
    ("::", 0, "[::]:0"),
    ("pod-manager.orc.svc", 50050, "pod-manager.orc.svc:50050"),
    ("fe80::1%eth0", 1, "[fe80::1%eth0]:1"),
]


@pytest.mark.parametrize(("host", "port", "address"), PAIRS)
def test_an_address_is_joined_and_split(host: str, port: int, address: str) -> None:
    assert join(host, port) == address
    assert split(address) == (host, port)


@pytest.mark.parametrize("host", ["[fd00::1]", "fd00:0:0:0:0:0:0:1", "FD00::1"])
def test_every_form_of_an_ipv6_address_is_joined_the_same(host: str) -> None:
    assert join(host, 1) == "[fd00::1]:1"


BAD = ["", "::1", "::1:5", "[::1]", "host", "host:", ":5", "h:x", "h:65536", "[::1]:-1", "[h:1", "[::1:5"]


@pytest.mark.parametrize("address", BAD)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is not of the form"):
        split(address)


async def test_envoy_gets_the_bare_address_of_an_ipv6_pod() -> None:
    backend, snapshot = FakeBackend("[fd00::1]:50051"), Snapshot()
    await backend.apply(ModuleSpec("math"))
    publisher = Publisher(backend, snapshot, ("fd00::9", 50050))
    publisher.publish_all()
    resource = snapshot.resources(ENDPOINTS_TYPE)[module_resource_name("math")]
    assert resource is not None
    assignment = endpoints("math", [])
    assert resource.packed.Unpack(assignment)
    address = assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address
    assert (address.address, address.port_value) == ("fd00::1", 50051)


@pytest.mark.parametrize("host", ["fd00::1", "127.0.0.1"])
def test_an_objects_id_leads_to_its_pod(host: str) -> None:
    assert address_in(f"{place_of('math', host, 50051)}-1-abc") == join(host, 50051)
