"""The front port: HTTP/1.1, HTTP/2, gRPC and gRPC-Web on one socket, REST turned into gRPC."""

from __future__ import annotations

import base64
from pathlib import PurePosixPath
from typing import Any

import envoy.extensions.common.matching.v3.extension_matcher_pb2
import envoy.extensions.filters.common.matcher.action.v3.skip_action_pb2
import envoy.extensions.filters.http.buffer.v3.buffer_pb2
import envoy.extensions.filters.http.grpc_json_transcoder.v3.transcoder_pb2
import envoy.extensions.filters.http.grpc_stats.v3.config_pb2
import envoy.extensions.filters.http.grpc_web.v3.grpc_web_pb2
import envoy.extensions.filters.http.router.v3.router_pb2
import envoy.extensions.http.early_header_mutation.header_mutation.v3.header_mutation_pb2
import envoy.extensions.request_id.uuid.v3.uuid_pb2
import envoy.extensions.transport_sockets.tls.v3.tls_pb2
import envoy.type.matcher.v3.http_inputs_pb2  # noqa: F401
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from jac_orc.guest.protowire import VARINT, key, sized, varint

from .access_log import AccessLog, access_log
from .descriptors import SERVICES, descriptor_set
from .messages import MAX_NAME, TYPE_PREFIX, build, typed
from .replies import MAX_BODY_BYTES, MAX_HEADERS_KIB, local_reply_config

FRONT = "front"
"""The name of the listener and of its route configuration."""
_FRONT_TLS = "front-tls"
# As the files call what they have that Envoy follows.
_CERTIFICATE, _API_KEYS = "front", "api_keys"
POD_HEADER = "x-pod"
"""The header that names the pod that shall get the call, `127.0.0.1:50051`; another one does where it is gone."""
ADMIN = "admin"
"""The cluster of Envoy's own admin interface, for `status_listener`."""
TRANSCODER = "transcoder"
"""The transcoder's name in the filter chain, by which routes switch it off."""
READER = "reader"
"""The name of the filter that reads a REST request to its end before it is answered; routes switch it off, too."""

_RESET_BURST, _RESETS_A_SECOND = 20_000, 2_000

_CLIENT_ID, _REQUEST_ID_HEADER = "x-orc-client-request-id", "x-request-id"
_MAX_REQUEST_ID = 128
# By default Envoy writes into the id whether the request is traced, which would change a client's own.
_REQUEST_ID = {
    "typed_config": {
        "@type": f"{TYPE_PREFIX}envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig",
        "pack_trace_reason": False,
        "use_request_id_for_trace_sampling": False,
    }
}

# Clients that vanish without a word would hold their calls until the deadline: Linux's numbers of SO_KEEPALIVE,
# TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT.
_KEEPALIVE = [
    {"level": level, "name": name, "int_value": value}
    for level, name, value in ((1, 9, 1), (6, 4, 60), (6, 5, 10), (6, 6, 6))
]

_HTTP = "envoy.extensions.filters.http"
# An object's id tells its pod: `numpy-127.0.0.1-50051-1-…`, in the path or as the parameter `obj_id`.
_OBJECT_POD = "(?:^/v1/objects/|[?&]obj_id=)[A-Za-z0-9_.]+-([0-9.]+)-([0-9]+)-"
_MODULE_HOST = r"^([A-Za-z0-9_.]+)\\.modules\\.local$"


# What gRPC's library would answer by itself, and without a reason, where it can't read it; and what only the transcoder
# may set, for the log.
_NOT_PASSED = [
    {"remove": "x-envoy-original-path"},
    {"remove": "grpc-status"},
    {"remove": "grpc-previous-rpc-attempts"},
    {"remove_on_match": {"key_matcher": {"suffix": "-bin"}}},
]


def listener(
    host: str, port: int, *, api_keys: str = "", certificate: str = "", log: AccessLog = "failures"
) -> Listener:
    """The listener on this address.

    `api_keys` and `certificate` are paths where Envoy runs, of files that it follows: with the one it lets in only who
    has an API key, with the other it speaks TLS. So keys never pass through here. `log` chooses the requests that Envoy
    writes to its standard output.
    """
    manager = typed(
        "http",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=FRONT,
        codec_type="AUTO",
        http2_protocol_options={"initial_stream_window_size": 1024 * 1024},  # buffered of each upload
        rds={"route_config_name": FRONT, "config_source": {"ads": {}, "resource_api_version": "V3"}},
        # Hosts are compared, and modules are found in them, without the port.
        strip_any_host_port=True,
        # Nobody is let to steer Envoy by x-envoy-… headers: with the peer's own address and no internal ranges every
        # client is an external one.
        use_remote_address=True,
        skip_xff_append=True,
        # Every request has an id, the client's own if it is usable, that its client, the servers and the logs share.
        preserve_external_request_id=True,
        always_set_request_id_in_response=True,
        request_id_extension=_REQUEST_ID,
        access_log=access_log(log),
        # A call may run in silence for as long as a spec allows, 24 h; its deadline ends it. Clients that stop sending
        # their request, or stop reading a response that is complete, are cut off much earlier.
        stream_idle_timeout="90000s",
        stream_flush_timeout="600s",
        request_timeout="1800s",
        request_headers_timeout="30s",
        # HTTP/1.0 for old clients; like HTTP/1.1 it needs a Host, which is compared.
        http_protocol_options={"accept_http_10": True},
        max_request_headers_kb=MAX_HEADERS_KIB,
        early_header_mutation_extensions=[_early_mutations()],
        local_reply_config=local_reply_config(),
        http_filters=_http_filters(api_keys),
    )
    chain: dict[str, Any] = {"filters": [manager]}
    if certificate:
        chain["transport_socket"] = _tls(certificate)
    front = build(
        Listener,
        {
            "name": _FRONT_TLS if certificate else FRONT,
            "address": {"socket_address": {"address": host, "port_value": port}},
            # With it a second Envoy would share a taken port in silence.
            "enable_reuse_port": False,
            "per_connection_buffer_limit_bytes": 1024 * 1024,
            "socket_options": _KEEPALIVE,
            "filter_chains": [chain],
        },
    )
    _allow_resets(front)
    return front


def _allow_resets(front: Listener) -> None:
    """Set how many streams of a connection clients may reset, in fields that this version of xds-protos doesn't have.

    An iterator that is dropped and a deadline that passes reset one each. At Envoy's default, 1,000 and then 33/s, it
    closes the connection, and with it the client's other calls. A limit remains, against attacks by rapid resets.
    """
    packed = front.filter_chains[0].filters[0].typed_config
    manager = HttpConnectionManager.FromString(packed.value)
    manager.http2_protocol_options.MergeFromString(
        sized(key(21), key(1, VARINT) + varint(_RESET_BURST))
        + sized(key(22), key(1, VARINT) + varint(_RESETS_A_SECOND))
    )
    packed.value = manager.SerializeToString(deterministic=True)


def status_listener(port: int) -> dict[str, Any]:
    """Where kubelets and Prometheus ask: pages of the admin interface and nothing else of it, for the bootstrap.

    An Envoy that drains is not ready, but answers for its version.

    Clients beyond the limit of connections don't keep these out.
    """
    router = typed("router", f"{_HTTP}.router.v3.Router", suppress_envoy_headers=True)
    get = [{"name": ":method", "string_match": {"exact": "GET"}}]
    pages = [
        {"match": {"path": page, "headers": get}, "route": {"cluster": ADMIN}}
        for page in ("/ready", "/hot_restart_version", "/stats/prometheus")
    ]
    manager = typed(
        "http",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="status",
        http_filters=[router],
        route_config={"virtual_hosts": [{"name": "status", "domains": ["*"], "routes": pages}]},
    )
    return {
        "name": "status",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": port}},  # noqa: S104 - for others
        "ignore_global_conn_limit": True,
        "filter_chains": [{"filters": [manager]}],
    }


def _early_mutations() -> dict[str, Any]:
    """Tell the module of a request in `x-module`, and the pod in `x-pod`, before the first look at the routes.

    A header that the client sends wins, then the path, the query and the host. The path's module is left to the routes.
    Names outside ASCII are left to the pod manager, as are percent-encoded ones: neither is found here. An empty value
    adds no header. A pattern is matched only where a cheaper look says that it may fit, as each takes 40 µs.
    """
    of_path = "request.path.startsWith('/modules/') || request.path.startsWith('/v1/modules/')"
    of_host = f"request.host.endsWith('.modules.local') && !({of_path})"
    of_object = "request.path.startsWith('/v1/objects/') || request.path.contains('obj_id=')"
    values = [
        ("x-module", f"%QUERY_PARAM(module_name):{MAX_NAME + 1}%"),  # what is longer is no module's name
        ("x-module", _extracted("request.host", _MODULE_HOST, of_host)),
        (POD_HEADER, _extracted("request.path", _OBJECT_POD, f"({of_object})", r"\\1:\\2")),
        ("grpc-timeout", "%QUERY_PARAM(timeout)%"),
    ]
    added = [
        {"append": {"append_action": "ADD_IF_ABSENT", "header": {"key": key, "value": value}}} for key, value in values
    ]
    return typed(
        "envoy.http.early_header_mutation.header_mutation",
        "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
        mutations=[*_request_id_mutations(), *added, *_NOT_PASSED],
    )


def _request_id_mutations() -> list[dict[str, Any]]:
    """Drop a client's request id that is too long or not plain text; Envoy then generates one.

    An empty value can't overwrite a header, so the id takes a detour over another one.
    """
    given = f"request.headers['{_REQUEST_ID_HEADER}']"
    is_there = f"'{_REQUEST_ID_HEADER}' in request.headers"  # else CEL matches the pattern for nothing
    usable = f"%CEL({is_there} && size({given}) <= {_MAX_REQUEST_ID} && {given}.matches('^[!-~]+$') ? {given} : '')%"
    return [
        {"remove": _CLIENT_ID},
        {"append": {"header": {"key": _CLIENT_ID, "value": usable}}},
        {"remove": _REQUEST_ID_HEADER},
        {"append": {"header": {"key": _REQUEST_ID_HEADER, "value": f"%REQ({_CLIENT_ID})%"}}},
        {"remove": _CLIENT_ID},
    ]


def _extracted(attribute: str, pattern: str, condition: str, rewritten: str = r"\\1") -> str:
    """A header's value: what the pattern finds in the request's attribute, nothing if the condition isn't true."""
    found = f"{attribute}.matches('{pattern}') ? re.extract({attribute}, '{pattern}', '{rewritten}') : ''"
    return f"%CEL({condition} && {found})%"


def _tls(certificate: str) -> dict[str, Any]:
    source = {"path_config_source": {"path": certificate}, "resource_api_version": "V3"}
    return typed(
        "tls",
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        common_tls_context={
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "tls_certificate_sds_secret_configs": [{"name": _CERTIFICATE, "sds_config": source}],
        },
    )


def _api_keys_filter(path: str) -> dict[str, Any]:
    """Envoy goes on with the keys that it has where it can't read new ones."""
    source = {"path": path, "watched_directory": {"path": str(PurePosixPath(path).parent)}}
    return {
        "name": _API_KEYS,
        "config_discovery": {
            "config_source": {"path_config_source": source, "resource_api_version": "V3"},
            "type_urls": [f"{TYPE_PREFIX}{_HTTP}.api_key_auth.v3.ApiKeyAuth"],
        },
    }


def _reader() -> dict[str, Any]:
    """Read a REST request to its end before anything answers it, within a limit beyond the largest body.

    HTTP/1 clients that read only after they have sent everything would otherwise find their connection reset instead
    of the refusal. gRPC calls pass: they may be streams, and HTTP/2 can end one without its connection.
    """
    content_type = typed(
        "content-type", "envoy.type.matcher.v3.HttpRequestHeaderMatchInput", header_name="content-type"
    )
    is_grpc = {"single_predicate": {"input": content_type, "value_match": {"prefix": "application/grpc"}}}
    skip = typed("skip", "envoy.extensions.filters.common.matcher.action.v3.SkipFilter")
    return typed(
        READER,
        "envoy.extensions.common.matching.v3.ExtensionWithMatcher",
        extension_config=typed("buffer", f"{_HTTP}.buffer.v3.Buffer", max_request_bytes=2 * MAX_BODY_BYTES),
        xds_matcher={"matcher_list": {"matchers": [{"predicate": is_grpc, "on_match": {"action": skip}}]}},
    )


def _http_filters(api_keys: str) -> list[dict[str, Any]]:
    return [
        typed("grpc_web", f"{_HTTP}.grpc_web.v3.GrpcWeb"),
        # Behind gRPC-Web only, which has to pass the refusal on: strangers must not get to what deploys.
        *([_api_keys_filter(api_keys)] if api_keys else ()),
        _reader(),
        typed(
            TRANSCODER,
            f"{_HTTP}.grpc_json_transcoder.v3.GrpcJsonTranscoder",
            proto_descriptor_bin=base64.b64encode(descriptor_set()).decode(),
            services=list(SERVICES),
            # The route that the REST request has matched stays: the transcoder changes the path.
            match_incoming_request_route=True,
            convert_grpc_status=True,
            request_validation_options={"reject_unknown_method": True, "reject_unknown_query_parameters": True},
            print_options={"always_print_primitive_fields": True, "preserve_proto_field_names": True},
            max_request_body_size=MAX_BODY_BYTES,
            max_response_body_size=MAX_BODY_BYTES,
        ),
        # Behind the transcoder, so that it counts what became of REST calls too. One set of counters per module: names
        # of methods come from clients.
        typed("grpc_stats", f"{_HTTP}.grpc_stats.v3.FilterConfig", stats_for_all_methods=False),
        typed("router", f"{_HTTP}.router.v3.Router", suppress_envoy_headers=True),
    ]
