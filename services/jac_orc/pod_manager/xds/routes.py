"""Which requests are refused, which go to the pod manager, and which straight to a module's pods."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2
import envoy.extensions.router.cluster_specifiers.lua.v3.lua_pb2  # noqa: F401
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from jac_orc.core.deadlines import NOT_BEGUN, STREAM_TIMEOUT
from jac_orc.v1 import pod_manager_pb2, rest_pb2

from .listener import FRONT, READER, TRANSCODER
from .messages import MAX_NAME, TYPE_PREFIX, build, typed

POD_MANAGER = "podmgr"
MODULE_PREFIX = "mod:"
"""Begins the name of a module's cluster, so that no client can name any other cluster."""
DEFAULT_ALLOWED_HOSTS = ("localhost", "127.0.0.1", "[::1]", "*.modules.local")

# The names of services, so that a client's x-module can't send these to a module.
_POD_MANAGER_SERVICES = (
    pod_manager_pb2.DESCRIPTOR.services_by_name["PodManagerService"].full_name,
    rest_pb2.DESCRIPTOR.services_by_name["PodManagerRestService"].full_name,
)

_LONGEST_TIMEOUT = "24H"

# A module is named by the header, in which the query's or the host's name is too, else by the path. It is looked for in
# the path here because CEL's `re.extract`, with which a header could have it, takes 40 µs.
_CHOOSE_CLUSTER = f"""\
function envoy_on_route(handle)
  local headers = handle:headers()
  local module = headers:get("x-module")
  if module == nil then
    local path = headers:get(":path")
    module = string.match(path, "^/modules/([%w_.]+)[/:]") or string.match(path, "^/v1/modules/([%w_.]+)[/:]")
      or string.match(path, "^/v1/objects/([%w_.]+)%-")
  end
  if module == nil or #module > {MAX_NAME} or not string.match(module, "^[%w_.]+$") then return "{POD_MANAGER}" end
  local cluster = "{MODULE_PREFIX}" .. module
  if handle:getCluster(cluster) ~= nil then return cluster end
  return "{POD_MANAGER}"
end
"""


def routes(allowed_hosts: Iterable[str] = DEFAULT_ALLOWED_HOSTS) -> RouteConfiguration:
    """The one route configuration; it doesn't change as modules come and go.

    `allowed_hosts` are names without ports; `*.suffix` stands for every name below a suffix, `*` lets in every host and
    every web page.
    """
    hosts = list(dict.fromkeys(allowed_hosts))
    everyone = "*" in hosts
    tunnel = _refuse({"connect_matcher": {}}, 404, "this is no proxy: CONNECT is not served", unread=True)
    served = {
        "name": "allowed",
        "domains": ["*"] if everyone else hosts,
        "routes": [
            tunnel,
            _common_call(),
            *([] if everyone else _origin_guards(hosts)),
            *_consistency_guards(),
            *_content_type_guards(),
            *_destinations(),
        ],
    }
    refusal = _refuse({"prefix": "/"}, 403, _unknown_host(hosts), unread=True)
    others = {"name": "others", "domains": ["*"], "routes": [tunnel, refusal]}
    return build(
        RouteConfiguration,
        {
            "name": FRONT,
            "virtual_hosts": [served] if everyone else [served, others],
            # What Envoy adds and nobody reads: each costs a little with every call.
            "request_headers_to_remove": ["x-envoy-external-address", "x-forwarded-proto"],
        },
    )


def _unknown_host(hosts: list[str]) -> str:
    return f"this host is not served here; use one of {', '.join(hosts)} or add it to the allowed hosts"


def _refuse(match: dict[str, Any], status: int, message: str, *, unread: bool = False) -> dict[str, Any]:
    """Return a route that answers by itself; without the transcoder, which would make 400 of 415.

    `unread` answers before the request's body has come, for clients that must not make Envoy hold it.
    """
    return {
        "match": match,
        "direct_response": {"status": status, "body": {"inline_string": message}},
        **_without(TRANSCODER, *([READER] if unread else [])),
    }


def _without(*filters: str) -> dict[str, Any]:
    disabled = {"@type": TYPE_PREFIX + "envoy.config.route.v3.FilterConfig", "disabled": True}
    return {"typed_per_filter_config": dict.fromkeys(filters, disabled)}


def _matches(name: str, regex: str, invert: bool = False) -> dict[str, Any]:
    return {"name": name, "string_match": {"safe_regex": {"regex": regex}}, "invert_match": invert}


def _present(name: str, present: bool = True) -> dict[str, Any]:
    return {"name": name, "present_match": present}


def _common_call() -> dict[str, Any]:
    """The route of most REST calls, which has nothing that a guard looks for: to try all of them takes 6 µs."""
    unguarded = ("origin", "sec-fetch-site", "grpc-timeout", "grpc-encoding")
    headers = [
        *(_present(name, False) for name in unguarded),
        {"name": "content-type", "string_match": {"exact": "application/json"}},
        {"name": ":path", "string_match": {"contains": "?"}, "invert_match": True},
    ]
    return {
        "match": {"safe_regex": {"regex": "/modules/.+|/v1/modules/[^/]+:call"}, "headers": headers},
        **_to_module(),
    }


def _origin_guards(hosts: list[str]) -> list[dict[str, Any]]:
    """Web pages of other hosts can't call in: browsers tell where a page is from in `origin` or `sec-fetch-site`."""
    # One pattern per host: Envoy refuses patterns of more than 100 instructions.
    strange = [_matches("origin", f"https?://{_host_regex(host)}(:[0-9]+)?", invert=True) for host in hosts]
    message = "web pages of this origin may not call this server; add its host to the allowed hosts"
    cross_site = {"name": "sec-fetch-site", "string_match": {"exact": "cross-site"}}
    return [
        _refuse({"prefix": "/", "headers": [_present("origin"), *strange]}, 403, message, unread=True),
        _refuse({"prefix": "/", "headers": [cross_site]}, 403, message, unread=True),
    ]


def _host_regex(host: str) -> str:
    if host.startswith("*."):
        return "[^/]+" + re.escape(host[1:])
    return re.escape(host)


def _content_type_guards() -> list[dict[str, Any]]:
    """Only JSON and gRPC: a web page can't send these to another site without asking first."""
    advice = "send -H 'Content-Type: application/json'"
    others = [
        _present("content-type"),
        _matches("content-type", "(?i)application/json *(;.*)?", invert=True),
        _matches("content-type", "(?i)application/grpc.*", invert=True),
    ]
    archives = [{"name": "content-type", "string_match": {"safe_regex": {"regex": "application/(octet-stream|zip)"}}}]
    missing = [_matches(":method", "POST|PATCH"), _present("content-type", False)]
    renewal = {"safe_regex": {"regex": "/v1/objects/[^/]+:renew"}}
    return [
        {"match": {"prefix": "/v1/sources/", "headers": archives}, **_to_pod_manager(), **_without(READER)},
        _refuse(
            {"prefix": "/v1/sources/"}, 415, "send -H 'Content-Type: application/octet-stream', or application/zip"
        ),
        _refuse({"prefix": "/", "headers": others}, 415, f"this content type is not supported; {advice}"),
        # The two routes whose body is optional.
        {"match": {"prefix": "/create_pod/", "headers": missing}, **_to_pod_manager()},
        {"match": {**renewal, "headers": missing}, **_to_module()},
        _refuse({"prefix": "/", "headers": missing}, 415, f"the request has no content type; {advice}"),
    ]


def _consistency_guards() -> list[dict[str, Any]]:
    """What the servers couldn't refuse as clearly: a field that is in the path and in the query, a deadline of no form.

    The transcoder would take the query's value, gRPC libraries would answer an internal error.
    """
    no_grpc = {
        **_matches("content-type", "(?i)application/grpc.*", invert=True),
        "treat_missing_header_as_empty": True,
    }
    bad_timeout = [_present("grpc-timeout"), _matches("grpc-timeout", "[0-9]{1,8}[HMSmun]", invert=True)]
    in_path = {"module_name": "/(create_pod|delete_pod|(v1/)?modules)/.+", "method_name": "/modules/.+"}
    return [
        _refuse(
            {"prefix": "/", "headers": bad_timeout}, 400, "the timeout is not in gRPC's form and units: 500m, 30S or 2M"
        ),
        _refuse({"prefix": "/", "headers": [_matches("grpc-timeout", "0+.")]}, 504, "the deadline has passed"),
        _refuse(
            {"prefix": "/", "headers": [_present("grpc-encoding"), no_grpc]}, 400, "grpc-encoding is for gRPC only"
        ),
        *(
            _refuse(
                {"safe_regex": {"regex": path}, "query_parameters": [{"name": name, "present_match": True}]},
                400,
                f"{name} is in the path; it can't be in the query too",
            )
            for name, path in in_path.items()
        ),
    ]


def _destinations() -> list[dict[str, Any]]:
    of_modules = "/v1/modules/[^/]+(:(call|describe)|/(openapi\\.json|proto))"
    prefixes = [
        "/create_pod/",
        "/delete_pod/",
        "/v1/modules",
        "/v1/sources/",
        "/metrics",
        *(f"/{name}/" for name in _POD_MANAGER_SERVICES),
    ]
    return [
        {"match": {"safe_regex": {"regex": "/v1/modules/[^/]+:stream"}}, **_to_stream()},
        {"match": {"safe_regex": {"regex": of_modules}}, **_to_module()},
        *({"match": {"prefix": prefix}, **_to_pod_manager()} for prefix in prefixes),
        {"match": {"prefix": "/", "headers": [_matches("content-type", "application/grpc(\\+.*)?")]}, **_to_grpc()},
        {"match": {"prefix": "/"}, **_to_module()},
    ]


def _to_pod_manager() -> dict[str, Any]:
    return {"route": {"cluster": POD_MANAGER, **_action()}}


def _to_module() -> dict[str, Any]:
    """The module's cluster if Envoy has it, else the pod manager, which deploys the module or says why not."""
    specifier = {
        "extension": typed(
            "envoy.router.cluster_specifier_plugin.lua",
            "envoy.extensions.router.cluster_specifiers.lua.v3.LuaConfig",
            default_cluster=POD_MANAGER,
            source_code={"inline_string": _CHOOSE_CLUSTER},
        )
    }
    return {"route": {"inline_cluster_specifier_plugin": specifier, **_action()}}


def _to_stream() -> dict[str, Any]:
    """As `_to_module`, with the deadline left to the module server, which tells it in a last line.

    Where Envoy or gRPC's library ended the stream, that line would be lost behind what the client has yet to read. So
    they are given the longest deadline that there is, and the caller's own goes on in a header.
    """
    destination = _to_grpc()
    headers = (
        (STREAM_TIMEOUT, "%REQ(grpc-timeout)%", "OVERWRITE_IF_EXISTS_OR_ADD"),
        ("grpc-timeout", _LONGEST_TIMEOUT, "OVERWRITE_IF_EXISTS"),
    )
    added = [{"header": {"key": key, "value": value}, "append_action": action} for key, value, action in headers]
    return {**destination, "request_headers_to_add": added}


def _to_grpc() -> dict[str, Any]:
    """As `_to_module`, with the deadline left to the module server and the caller's own library.

    Envoy has no status for a stream that has begun: it would end it as an INTERNAL error.
    """
    destination = _to_module()
    del destination["route"]["max_stream_duration"]
    return destination


def _action() -> dict[str, Any]:
    """How long, and how often: the caller's deadline without a cap, and retries only of what was surely not run.

    Envoy ends a REST call a little before its deadline. The server's gRPC library would end it without details.
    `unavailable` is not retried: a module may have answered it after its code ran. A pod that stops says by a header
    which of its calls never began.
    """
    previous_hosts = typed(
        "envoy.retry_host_predicates.previous_hosts",
        "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
    )
    return {
        "timeout": "0s",
        "max_stream_duration": {"grpc_timeout_header_max": "0s", "grpc_timeout_header_offset": "0.02s"},
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream,reset-before-request,retriable-headers",
            "retriable_headers": [_present(NOT_BEGUN)],
            "num_retries": 3,
            "retry_back_off": {"base_interval": "0.020s", "max_interval": "0.200s"},
            "retry_host_predicate": [previous_hosts],
            "host_selection_retry_max_attempts": 3,
        },
    }
