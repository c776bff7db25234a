"""What can be said of Envoy's configuration without an Envoy."""

from __future__ import annotations

import ast
import base64
import subprocess
import sys
from pathlib import Path

import envoy.extensions.resource_monitors.downstream_connections.v3.downstream_connections_pb2  # noqa: F401
import pytest
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.health_check_pb2 import HealthStatus
from google.protobuf import descriptor_pb2, descriptor_pool, json_format
from google.rpc import error_details_pb2, status_pb2

from jac_orc.pod_manager import xds
from jac_orc.pod_manager.xds import resources
from jac_orc.pod_manager.xds.descriptors import SERVICES, descriptor_set
from jac_orc.pod_manager.xds.messages import build
from jac_orc.pod_manager.xds.replies import REPLIES, local_reply_config
from jac_orc.pod_manager.xds.routes import routes
from jac_orc.v1 import errors_pb2

PACKAGE = Path(xds.__path__[0])


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_layers(path: Path) -> None:
    """Only the server knows of gRPC and of asyncio; it knows no kind of resource."""
    tree = ast.parse(path.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    if path.stem == "server":
        assert not {name for name in imported if name.startswith("envoy.config")}
        return
    assert not imported & {"grpc", "asyncio", "os", "socket"}
    assert not any(isinstance(node, ast.AsyncFunctionDef | ast.Await) for node in ast.walk(tree))
    if path.stem == "subscription":
        assert not {name for name in imported if "envoy" in name or "google" in name}


def test_descriptors_come_after_what_they_import_and_are_complete() -> None:
    files = descriptor_pb2.FileDescriptorSet.FromString(descriptor_set())
    pool, seen = descriptor_pool.DescriptorPool(), set[str]()
    for file in files.file:
        assert set(file.dependency) <= seen
        assert file.name not in seen
        seen.add(file.name)
        pool.Add(file)
    for name in SERVICES:
        assert pool.FindServiceByName(name).methods
    for name in ("google.rpc.Status", "google.rpc.ErrorInfo", "google.rpc.BadRequest", "jac_orc.v1.ExceptionInfo"):
        assert pool.FindMessageTypeByName(name)


def test_descriptors_are_the_same_each_time() -> None:
    first = descriptor_set()
    descriptor_set.cache_clear()
    assert descriptor_set() == first


def test_replies_have_reasons_of_the_closed_list_and_cover_everything() -> None:
    reasons = {name.removeprefix("ERROR_REASON_") for name in errors_pb2.ErrorReason.keys()}  # noqa: SIM118
    assert {reply.reason for reply in REPLIES} <= reasons
    assert REPLIES[-1].status is None
    assert REPLIES[-1].cause is None
    for reply in REPLIES:
        assert "%" not in reply.message, "the details of gRPC replies can't be formatted"


def test_replies_to_grpc_say_the_same_twice() -> None:
    mappers = [mapper for mapper in local_reply_config()["mappers"] if "headers_to_add" in mapper]
    assert len(mappers) == len(REPLIES)
    for mapper, reply in zip(mappers, REPLIES, strict=True):
        headers = {entry["header"]["key"]: entry["header"]["value"] for entry in mapper["headers_to_add"]}
        encoded = headers["grpc-status-details-bin"]
        status = status_pb2.Status.FromString(base64.b64decode(encoded + "=" * (-len(encoded) % 4)))
        assert status.message == mapper["body_format_override"]["text_format_source"]["inline_string"] == reply.message
        assert str(status.code) == headers["grpc-status"]
        info = error_details_pb2.ErrorInfo()
        assert status.details[0].Unpack(info)
        assert info.reason == reply.reason


def test_endpoints() -> None:
    pods = [resources.Endpoint("10.0.0.1", 50051), resources.Endpoint("10.0.0.2", 50052, draining=True)]
    (locality,) = resources.endpoints("numpy", pods).endpoints
    assert [pod.health_status for pod in locality.lb_endpoints] == [HealthStatus.HEALTHY, HealthStatus.DRAINING]
    assert locality.HasField("locality")
    assert locality.load_balancing_weight.value == 1


def test_clusters_do_not_share_state() -> None:
    one, other = resources.module_cluster("a"), resources.module_cluster("sklearn.linear_model")
    assert (one.name, other.name) == ("mod:a", "mod:sklearn.linear_model")
    one.connect_timeout.seconds = 99
    assert resources.module_cluster("a").connect_timeout.seconds != 99


def test_the_pod_manager_by_address_and_by_name() -> None:
    assert resources.pod_manager_cluster("::1", 1).type == Cluster.STATIC
    assert resources.pod_manager_cluster("pod-manager.example", 1).type == Cluster.STRICT_DNS


def test_the_bootstrap_is_one() -> None:
    data = resources.bootstrap("n1", ("127.0.0.1", 18000), "/tmp/admin.sock")
    bootstrap = json_format.ParseDict(data, Bootstrap())
    assert bootstrap.node.id == "n1"
    assert bootstrap.admin.address.pipe.path == "/tmp/admin.sock"


def test_faulty_data_is_refused() -> None:
    with pytest.raises(json_format.ParseError):
        build(Cluster, {"nmae": "a"})


def test_any_host_may_be_let_in() -> None:
    hosts = [host.name for host in routes(["*"]).virtual_hosts]
    assert hosts == ["allowed"]
    assert len(routes(["a", "a"]).virtual_hosts[0].domains) == 1


def test_another_process_renders_the_same_bytes() -> None:
    """Envoy is told by versions, which are hashes of these bytes, whether it has a resource already."""
    program = """
from jac_orc.pod_manager.xds import resources
from jac_orc.pod_manager.xds.listener import listener
from jac_orc.pod_manager.xds.routes import routes
from jac_orc.pod_manager.xds.snapshot import Snapshot
snapshot = Snapshot()
for resource in listener("127.0.0.1", 1), routes(), resources.pod_manager_cluster("127.0.0.1", 1):
    snapshot.set(resource)
snapshot.put_module("numpy", [resources.Endpoint("127.0.0.1", 2)])
types = [resources.LISTENER_TYPE, resources.ROUTES_TYPE, resources.CLUSTER_TYPE, resources.ENDPOINTS_TYPE]
print([resource.version for url in types for resource in snapshot.resources(url).values()])
"""
    path = str(PACKAGE.parents[2])
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONPATH": path, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(outputs) == 1
