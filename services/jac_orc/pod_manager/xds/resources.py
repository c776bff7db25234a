"""Envoy's configuration as pure functions: what is bootstrapped from a file and what is sent over ADS.

The same for one machine and for a cluster. Modules appear as a Cluster and a ClusterLoadAssignment each, both named
`mod:<module>`; no route changes with them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import envoy.extensions.load_balancing_policies.least_request.v3.least_request_pb2
import envoy.extensions.load_balancing_policies.override_host.v3.override_host_pb2
import envoy.extensions.load_balancing_policies.round_robin.v3.round_robin_pb2
import envoy.extensions.upstreams.http.v3.http_protocol_options_pb2  # noqa: F401
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.health_check_pb2 import HealthStatus
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from .listener import ADMIN, FRONT, POD_HEADER, status_listener
from .messages import TYPE_PREFIX, build, type_url, typed
from .routes import MODULE_PREFIX, POD_MANAGER

CLUSTER_TYPE = type_url(Cluster())
ENDPOINTS_TYPE = type_url(ClusterLoadAssignment())
LISTENER_TYPE = type_url(Listener())
ROUTES_TYPE = type_url(RouteConfiguration())

XDS_CLUSTER = "xds"
MAX_CONNECTIONS = 10_000
"""How many clients may be connected at once; more are turned away, so that Envoy keeps its file descriptors."""

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_BALANCING = "envoy.extensions.load_balancing_policies"


@dataclass(frozen=True)
class Endpoint:
    """Where one pod of a module listens."""

    address: str
    """An IP address."""
    port: int
    draining: bool = False
    """Whether it gets no new calls; those it has go on."""


def bootstrap(
    node_id: str, xds_address: tuple[str, int], admin_socket: str, status_port: int | None = None, *,
    standby: str = "",
) -> dict[str, Any]:  # fmt: skip
    """What Envoy reads from its file: who it is, where ADS is and where its own admin interface listens.

    The admin interface can stop Envoy and shows all of its configuration, so it is a Unix socket, never a port. At
    `status_port` Envoy answers what of it others may ask: whether it is ready, and Prometheus' metrics.

    `standby` is a host that leads to any control plane. Envoy uses it while the host of `xds_address` has no address,
    as resolvers remember for up to 30 s that a name has none.

    Envoy waits for its first configuration as long as it takes. By default it would call itself ready after 15 s, and
    listen nowhere.
    """
    source = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    # By default Envoy waits up to 30 s between attempts, and 15 s until a silent control plane counts as dead.
    back_off = {"base_interval": "0.2s", "max_interval": "1s"}
    ads = {"envoy_grpc": {"cluster_name": XDS_CLUSTER, "retry_policy": {"retry_back_off": back_off}}}
    keepalive = {"connection_keepalive": {"interval": "1s", "timeout": "2s"}}
    connections = typed(
        "envoy.resource_monitors.global_downstream_max_connections",
        "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        max_active_downstream_connections=MAX_CONNECTIONS,
    )
    xds = _static_cluster(XDS_CLUSTER, *xds_address, keepalive)
    if standby:
        address = {"socket_address": {"address": standby, "port_value": xds_address[1]}}
        others = {"priority": 1, "lb_endpoints": [{"endpoint": {"address": address}}]}
        xds["load_assignment"]["endpoints"].append(others)
        # A stream that fails is tried again over a new connection, as a Service's address may lead elsewhere until the
        # node knows of it.
        options = xds["typed_extension_protocol_options"][_HTTP_OPTIONS]
        options["common_http_protocol_options"] = {"max_requests_per_connection": 1}
    static: dict[str, Any] = {"clusters": [xds]}
    if status_port is not None:
        static["listeners"] = [status_listener(status_port)]
        static["clusters"].append(_admin_cluster(admin_socket))
    return {
        "node": {"id": node_id, "cluster": FRONT},
        # An Envoy that is full of clients must still be asked whether it is well, and be told to drain.
        "admin": {"address": {"pipe": {"path": admin_socket, "mode": 0o600}}, "ignore_global_conn_limit": True},
        # Statistics of a cluster are made at its first call: at 5,000 modules 351 MB of memory instead of 431.
        "deferred_stat_options": {"enable_deferred_creation_stats": True},
        "overload_manager": {"resource_monitors": [connections]},
        "dynamic_resources": {
            "ads_config": {"api_type": "DELTA_GRPC", "transport_api_version": "V3", "grpc_services": [ads]},
            "cds_config": source,
            "lds_config": source,
        },
        "static_resources": static,
    }


def pod_manager_cluster(host: str, port: int) -> Cluster:
    """The pod manager: its own API, and every call of a module that Envoy has no cluster for."""
    return build(Cluster, _static_cluster(POD_MANAGER, host, port, {}))


def module_resource_name(module: str) -> str:
    """The name of a module's cluster and of its endpoints."""
    return MODULE_PREFIX + module


def module_cluster(module: str) -> Cluster:
    """A module's pods; where they are is told by `endpoints`.

    No active health checks: the control plane watches the pods and owns their health. No outlier detection: it would
    take a module's own exceptions, which are gRPC UNKNOWN, for a sick pod. No panic threshold: a module with no healthy
    pod fails at once.
    """
    cluster = Cluster()
    cluster.CopyFrom(_MODULE_CLUSTER)
    cluster.name = module_resource_name(module)
    # Statistics end a cluster's name at the first dot: without this, the rest would be part of the counter's name.
    cluster.alt_stat_name = cluster.name.replace(".", "/") if "." in module else ""
    return cluster


def endpoints(module: str, pods: Iterable[Endpoint]) -> ClusterLoadAssignment:
    """Where a module's pods are.

    All are in one locality that has a weight: Envoy could do without, clients that speak xDS themselves could not.
    """
    assignment = ClusterLoadAssignment(cluster_name=module_resource_name(module))
    locality = assignment.endpoints.add()
    locality.locality.zone = FRONT
    locality.load_balancing_weight.value = 1
    for pod in pods:
        entry = locality.lb_endpoints.add()
        entry.health_status = HealthStatus.DRAINING if pod.draining else HealthStatus.HEALTHY
        entry.endpoint.address.socket_address.address = pod.address
        entry.endpoint.address.socket_address.port_value = pod.port
    return assignment


# Envoy buffers this much of a stream that its caller doesn't read, and has room for a thousand such streams. All calls
# of a pod share one connection. With Envoy's defaults two unread streams fill it, and no other call gets an answer.
_WINDOWS = {"initial_stream_window_size": 1024 * 1024, "initial_connection_window_size": 1024 * 1024 * 1024}


def _http2(options: dict[str, Any]) -> dict[str, Any]:
    http2 = {"explicit_http_config": {"http2_protocol_options": {**_WINDOWS, **options}}}
    return {_HTTP_OPTIONS: {"@type": TYPE_PREFIX + _HTTP_OPTIONS, **http2}}


def _is_ip_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _static_cluster(name: str, host: str, port: int, http2: dict[str, Any]) -> dict[str, Any]:
    endpoint = {"address": {"socket_address": {"address": host, "port_value": port}}}
    is_address = _is_ip_address(host)
    return {
        "name": name,
        "type": "STATIC" if is_address else "STRICT_DNS",
        "connect_timeout": "1s",
        **_KEEPALIVE,
        **({} if is_address else _DNS),
        "circuit_breakers": _CIRCUIT_BREAKERS,
        "typed_extension_protocol_options": _http2(http2),
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
    }


def _admin_cluster(path: str) -> dict[str, Any]:
    endpoint = {"address": {"pipe": {"path": path}}}
    return {
        "name": ADMIN,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": ADMIN, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
    }


# A peer whose machine is gone is noticed within a minute; no peer has to answer but its kernel.
_KEEPALIVE = {
    "upstream_connection_options": {
        "tcp_keepalive": {"keepalive_time": 30, "keepalive_interval": 10, "keepalive_probes": 3}
    }
}

# A pod manager that is replaced has another address: by default it would be looked up every 5 s.
_DNS = {
    "dns_refresh_rate": "1s",
    "dns_failure_refresh_rate": {"base_interval": "0.2s", "max_interval": "1s"},
}

# Queues belong to the pods, which answer at once when theirs is full. Retries are as many: with fewer, a pod's death
# under load fails the calls that another pod could have taken.
_CIRCUIT_BREAKERS = {
    "thresholds": [
        {"max_connections": 4096, "max_pending_requests": 16384, "max_requests": 16384, "max_retries": 16384}
    ]
}

_LEAST_REQUEST = typed("least_request", f"{_BALANCING}.least_request.v3.LeastRequest", choice_count=2)

_MODULE_CLUSTER = build(
    Cluster,
    {
        "type": "EDS",
        "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"}},
        "connect_timeout": "1s",
        **_KEEPALIVE,
        "ignore_health_on_host_removal": True,
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        # Envoy takes the first, clients that speak xDS themselves the first they know.
        "load_balancing_policy": {
            "policies": [
                {
                    "typed_extension_config": typed(
                        "override_host",
                        f"{_BALANCING}.override_host.v3.OverrideHost",
                        override_host_sources=[{"header": POD_HEADER}],
                        fallback_policy={"policies": [{"typed_extension_config": _LEAST_REQUEST}]},
                    )
                },
                {"typed_extension_config": typed("round_robin", f"{_BALANCING}.round_robin.v3.RoundRobin")},
            ]
        },
        "circuit_breakers": _CIRCUIT_BREAKERS,
        "typed_extension_protocol_options": _http2({}),
    },
)
