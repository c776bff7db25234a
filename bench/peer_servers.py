"""The servers that `math.sqrt(16)` is compared on: each is started, and yields how it is called by protocol."""

from __future__ import annotations

import contextlib
import http.client
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.struct_pb2 import Value
from google.protobuf.wrappers_pb2 import DoubleValue

from bench import environments
from bench.load import Target
from bench.processes import NotStarted, Server, free_port, listening, process
from jac_orc.cli import envoy

Targets = dict[str, Target]
_BODY = b'{"x":16}'


@contextlib.contextmanager
def fastapi() -> Iterator[Targets]:
    """One worker, no access log."""
    command = [environments.python("fastapi"), "-m", "uvicorn", "bench.peers.serve_fastapi:app", "--no-access-log"]
    with listening([*command, "--log-level", "warning", "--port"]) as server:
        yield {"http": _posting(server.port)}


@contextlib.contextmanager
def fastapi_behind_envoy() -> Iterator[Targets]:
    """The same behind the Envoy that we use, with HTTP/1.1 on both sides and nothing that costs time and can be off."""
    binary, port = envoy.binary(), free_port()
    if binary is None:
        raise NotStarted("Envoy is not installed")
    with fastapi() as targets, tempfile.TemporaryDirectory(prefix="jac-bench-") as directory:
        config = Path(directory, "envoy.json")
        config.write_text(json.dumps(_envoy_config(port, targets["http"].port)))
        options = ["--concurrency", envoy.workers(envoy.cores()), "--disable-hot-restart", "--log-level", "error"]
        with process([binary, "-c", config, *options]):
            yield {"http": _posting(port)}


def _envoy_config(port: int, upstream: int) -> dict[str, Any]:
    """A listener with one route to one server."""
    extensions = "type.googleapis.com/envoy.extensions.filters"
    cluster = "fastapi"
    router = {"@type": f"{extensions}.http.router.v3.Router", "dynamic_stats": False, "suppress_envoy_headers": True}
    connections = {
        "@type": f"{extensions}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front", "codec_type": "HTTP1", "generate_request_id": False,
        "http_filters": [{"name": "router", "typed_config": router}],
        "route_config": {"virtual_hosts": [
            {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster}}]}
        ]},
    }  # fmt: skip

    def address(number: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    endpoint = {"lb_endpoints": [{"endpoint": {"address": address(upstream)}}]}
    filters = [{"name": "http", "typed_config": connections}]
    listener = {"name": "front", "address": address(port), "filter_chains": [{"filters": filters}]}
    return {"static_resources": {
        "listeners": [listener],
        "clusters": [{"name": cluster, "load_assignment": {"cluster_name": cluster, "endpoints": [endpoint]}}],
    }}  # fmt: skip


@contextlib.contextmanager
def litserve() -> Iterator[Targets]:
    """One worker, with its faster queue."""
    with listening([environments.python("litserve"), "-m", "bench.peers.serve_litserve"]) as server:
        yield {"http": _posting(server.port)}


@contextlib.contextmanager
def bentoml() -> Iterator[Targets]:
    """One worker, neither access log nor metrics."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="jac-bench-") as directory:
        env = {"BENTOML_HOME": directory, "BENTOML_DO_NOT_TRACK": "true"}
        command = ["-m", "bentoml", "serve", "bench.peers.serve_bentoml:Sqrt", "--host", "127.0.0.1", "--port", port]
        with process([environments.python("bentoml"), *command], env):
            yield {"http": _posting(port)}


@contextlib.contextmanager
def hand_written(kind: str) -> Iterator[Server]:
    """A grpc.aio server of `bench.peers.serve_grpc`."""
    with listening([environments.own(), "-m", "bench.peers.serve_grpc", kind]) as server:
        yield server


@contextlib.contextmanager
def grpc_aio(kind: str) -> Iterator[Targets]:
    """The function on the event loop, or in a pool of threads."""
    number, four = (DoubleValue(value=value).SerializeToString() for value in (16, 4))
    with hand_written(kind) as server:
        target = Target("grpc", server.port, "/bench.Math/Sqrt", number, b"")
        yield {"grpc": answering(target, lambda answer: answer == four)}


@contextlib.contextmanager
def mlserver(workers: int) -> Iterator[Targets]:
    """So many processes for models, its default being 1, without metrics; a given id is in the answer, too."""
    with mlserver_ports(workers) as (http_port, grpc_port):
        body = {"id": "1", "inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [16]}]}
        rest = Target("http", http_port, "/v2/models/sqrt/infer", json.dumps(body).encode(), b"")
        call = Target("grpc", grpc_port, "/inference.GRPCInferenceService/ModelInfer", _infer_request(), b"")
        yield {
            "http": answering(rest, lambda answer: json.loads(answer)["outputs"][0]["data"] == [4.0]),
            "grpc": answering(call, lambda answer: b"\x00\x00\x00\x00\x00\x00\x10\x40" in answer),
        }


@contextlib.contextmanager
def mlserver_ports(workers: int) -> Iterator[tuple[int, int]]:
    """Run MLServer with so many processes for models, with 0 in one process; yields its ports."""
    http_port, grpc_port = free_port(), free_port()
    settings = {
        "debug": False, "parallel_workers": workers, "host": "127.0.0.1", "http_port": http_port,
        "grpc_port": grpc_port, "metrics_endpoint": None, "gzip_enabled": False, "grpc_max_message_length": 2**28,
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="jac-bench-") as directory:
        (Path(directory) / "settings.json").write_text(json.dumps(settings))
        for name in ("sqrt", "identity"):
            model = {"name": name, "implementation": f"bench.peers.serve_mlserver.{name.capitalize()}"}
            (Path(directory) / name).mkdir()
            (Path(directory) / name / "model-settings.json").write_text(json.dumps(model))
        command = [environments.python("mlserver").with_name("mlserver"), "start", directory]
        with process(command, cwd=Path(directory)):
            yield http_port, grpc_port


def _infer_request() -> bytes:
    """A ModelInferRequest of the Open Inference Protocol: model, id, one tensor of one number."""

    def sized(number: int, body: bytes) -> bytes:
        return bytes([number << 3 | 2, len(body)]) + body

    contents = sized(7, b"\x00\x00\x00\x00\x00\x00\x30\x40")
    tensor = sized(1, b"x") + sized(2, b"FP64") + sized(3, b"\x01") + sized(5, contents)
    return sized(1, b"sqrt") + sized(3, b"1") + sized(5, tensor)


@contextlib.contextmanager
def ray(haproxy: bool) -> Iterator[Targets]:
    """Set up for throughput, without access log; with `haproxy` its replicas are behind HAProxy."""
    ports = [free_port() for _ in range(4)]
    with tempfile.TemporaryDirectory(prefix="jac-bench-") as directory:
        env = {
            "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": directory,
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_ENABLE_HA_PROXY": str(int(haproxy)),
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{directory}/haproxy.cfg",
            "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{directory}/admin.sock",
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": directory,
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{directory}/server-state",
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports[2]), "RAY_SERVE_HAPROXY_STATS_PORT": str(ports[3]),
        }  # fmt: skip
        command = ["-m", "bench.peers.serve_ray", str(ports[0]), str(ports[1])]
        with process([environments.python("ray"), *command], env):
            number, four = (Value(number_value=value).SerializeToString() for value in (16, 4))
            call = Target("grpc", ports[1], "/bench.Sqrt/sqrt", number, b"", {"application": "sqrt"})
            yield {"http": _posting(ports[0]), "grpc": answering(call, lambda answer: answer == four)}


def _posting(port: int) -> Target:
    """The call over HTTP, in the form that most peers have."""
    return answering(Target("http", port, "/sqrt", _BODY, b""), lambda answer: bool(json.loads(answer) == 4.0))


def answering(target: Target, accepts: Callable[[bytes], bool], seconds: float = 90) -> Target:
    """Return the target with its answer, once it gives a right one."""
    ask, end = (_ask_http if target.protocol == "http" else _ask_grpc), time.monotonic() + seconds
    while True:
        try:
            answer = ask(target)
            if accepts(answer):
                return target.with_answer(answer if target.protocol == "http" else framed(answer))
            why = repr(answer[:200])
        except (OSError, http.client.HTTPException, grpc.RpcError, ValueError, LookupError) as failure:
            why = f"{type(failure).__name__}: {failure}"
        if time.monotonic() > end:
            raise NotStarted(f"no right answer from {target.path}: {why}")
        time.sleep(0.1)


def framed(*messages: bytes) -> bytes:
    """Return the messages as gRPC has them on the wire."""
    return b"".join(b"\0" + len(message).to_bytes(4, "big") + message for message in messages)


def _ask_http(target: Target) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", target.path, target.body, {"Content-Type": "application/json", **target.headers})
        return connection.getresponse().read()


def _ask_grpc(target: Target) -> bytes:
    with grpc.insecure_channel(f"127.0.0.1:{target.port}") as channel:
        call: Any = channel.unary_unary(target.path)
        return bytes(call(target.body, timeout=30, metadata=tuple(target.headers.items())))
