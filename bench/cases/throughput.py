"""`math.sqrt(16)` over REST and over gRPC, against services written or deployed for this one function.

Peers are compared a group at a time, each with rounds of ours in between, since some use the machine when idle.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from bench import peer_servers
from bench.comparison import Comparison
from bench.load import Target
from bench.peer_servers import Targets, answering
from bench.results import Run
from bench.system import Running, running
from jac_orc.v1 import module_pb2

Start = Callable[[], AbstractContextManager[Targets]]

STARTS: dict[str, Start] = {
    "FastAPI": peer_servers.fastapi,
    "FastAPI over HTTP": peer_servers.fastapi,
    "FastAPI behind the same Envoy": peer_servers.fastapi_behind_envoy,
    "LitServe": peer_servers.litserve,
    "BentoML": peer_servers.bentoml,
    "MLServer": partial(peer_servers.mlserver, workers=1),
    "MLServer in one process": partial(peer_servers.mlserver, workers=0),
    "Ray Serve": partial(peer_servers.ray, haproxy=False),
    "Ray Serve behind HAProxy": partial(peer_servers.ray, haproxy=True),
    "grpc.aio, function on its loop": partial(peer_servers.grpc_aio, "inline"),
    "grpc.aio, function in its threads": partial(peer_servers.grpc_aio, "threads"),
}
OWN_CODE = "grpc.aio"
"""How the names of peers begin that are our own code: if they fail, so does the case."""
HEADLINES = {
    "FastAPI", "FastAPI over HTTP", "FastAPI behind the same Envoy", "MLServer in one process", "BentoML",
    "Ray Serve behind HAProxy", "grpc.aio, function on its loop",
}  # fmt: skip
# The peers of a case, a group each line, with what our throughput is to be at least in proportion to theirs.
REST: list[dict[str, float | None]] = [
    {"FastAPI": 1.2, "FastAPI behind the same Envoy": 1.8},
    {"MLServer in one process": 1.5, "MLServer": 3.0},
    {"BentoML": 4.0, "LitServe": None},
    {"Ray Serve behind HAProxy": 1.0},
    {"Ray Serve": 8.0},
]
GRPC: list[dict[str, float | None]] = [
    {"FastAPI over HTTP": 2.7, "grpc.aio, function on its loop": 1.5, "grpc.aio, function in its threads": 1.0},
    {"MLServer in one process": 3.0, "MLServer": 2.0},
    {"Ray Serve behind HAProxy": 2.0},
    {"Ray Serve": 2.0},
]


def targets(system: Running) -> Targets:
    """Return how the function is called in a running system."""
    rest = Target("http", system.port, "/run_module?module_name=math&method_name=sqrt", b'{"args":[16]}', b"")
    rest = answering(rest, lambda answer: bool(json.loads(answer) == {"result": 4.0}))
    (pod,) = json.loads(system.request("GET", "/v1/modules/math"))["status"]["pods"]
    return {"http": rest, "grpc": grpc_target(int(pod["address"].rpartition(":")[2]))}


def grpc_target(port: int) -> Target:
    """Return how the function is called at a module server."""
    request = module_pb2.CallRequest(method="sqrt", args=[{"number_value": 16}]).SerializeToString()
    expected = module_pb2.CallResponse(result={"number_value": 4}).SerializeToString()
    target = Target("grpc", port, "/jac_orc.v1.ModuleService/Call", request, b"")
    return answering(target, lambda answer: answer == expected)


def rest(run: Run) -> None:
    """Measure REST through Envoy, each client on a connection of its own."""
    _run(run, "REST, 16 connections", "http", REST[:-1] if run.is_short else REST)


def grpc(run: Run) -> None:
    """Measure gRPC to the module server."""
    _run(run, "gRPC direct, 16 in flight", "grpc", GRPC[:1] if run.is_short else GRPC)


def _run(run: Run, case: str, protocol: str, groups: list[dict[str, float | None]]) -> None:
    with running() as system:
        own = targets(system)[protocol]
        for group in groups:
            with Comparison(run, case) as comparison:
                comparison.ways["ours"] = comparison.loading(own)
                for peer in group:
                    with contextlib.nullcontext() if peer.startswith(OWN_CODE) else comparison.peer(peer):
                        started = comparison.enter_context(STARTS[peer]())
                        comparison.ways[peer] = comparison.loading(started.get(protocol) or started["http"])
                comparison.compare()
                for peer, least in group.items():
                    comparison.ratio(case, peer, "calls/s", least=least, headline=peer in HEADLINES)
