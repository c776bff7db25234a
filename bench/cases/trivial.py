"""`math.sqrt(16)` over REST and over gRPC, against services written or deployed for this one function.

Peers are compared a group at a time, each with rounds of ours in between, since some use the machine when idle.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial

from bench import trivial_peers
from bench.environments import NotInstalled
from bench.load import Target
from bench.processes import NotStarted
from bench.report import Report, progress
from bench.rounds import loads, ours
from bench.system import Running, running
from bench.trivial_peers import Targets, answering
from jac_orc.v1 import module_pb2

Start = Callable[[], AbstractContextManager[Targets]]

IN_FLIGHT = 16
GROUPS: list[dict[str, Start]] = [
    {"FastAPI def": trivial_peers.fastapi},
    {"BentoML": trivial_peers.bentoml, "MLServer": partial(trivial_peers.mlserver, workers=1)},
    {"MLServer without workers": partial(trivial_peers.mlserver, workers=0)},
    {"Ray Serve": partial(trivial_peers.ray, haproxy=False)},
    {"Ray Serve with HAProxy": partial(trivial_peers.ray, haproxy=True)},
]
CASES = {"rest": "REST through Envoy, 16 connections", "grpc": "gRPC to the module server, 16 in flight"}
# By case and peer: the peer's protocol, and how many times its throughput ours shall be.
GOALS = {
    ("rest", "FastAPI def"): ("http", 1.0),
    ("rest", "BentoML"): ("http", 4.0),
    ("rest", "MLServer"): ("http", 3.0),
    ("rest", "MLServer without workers"): ("http", 3.0),
    ("rest", "Ray Serve"): ("http", 8.0),
    ("rest", "Ray Serve with HAProxy"): ("http", 8.0),
    ("grpc", "FastAPI def"): ("http", 1.2),
    ("grpc", "MLServer"): ("grpc", 2.0),
    ("grpc", "MLServer without workers"): ("grpc", 2.0),
    ("grpc", "Ray Serve"): ("grpc", 2.0),
    ("grpc", "Ray Serve with HAProxy"): ("grpc", 2.0),
}


def targets(system: Running) -> Targets:
    """How the function is called in a running system, by case."""
    rest = Target("http", system.port, "/run_module?module_name=math&method_name=sqrt", b'{"args":[16]}', b"")
    rest = answering(rest, lambda answer: bool(json.loads(answer) == {"result": 4.0}))
    (pod,) = json.loads(system.request("GET", "/v1/modules/math"))["status"]["pods"]
    return {"rest": rest, "grpc": grpc_target(int(pod["address"].rpartition(":")[2]))}


def grpc_target(port: int) -> Target:
    """How the function is called at a module server or a hand-written one."""
    request = module_pb2.CallRequest(method="sqrt", args=[{"number_value": 16}]).SerializeToString()
    expected = module_pb2.CallResponse(result={"number_value": 4}).SerializeToString()
    target = Target("grpc", port, "/jac_orc.v1.ModuleService/Call", request, b"")
    return answering(target, lambda answer: answer == expected)


def run(report: Report, cases: set[str]) -> None:
    """Measures the cases, of `rest` and `grpc`."""
    progress("starting jac-orc up")
    with running() as system:
        own = targets(system)
        for group in GROUPS:
            _compare(report, {case: own[case] for case in CASES if case in cases}, group)


def _compare(report: Report, own: Targets, group: dict[str, Start]) -> None:
    group = {peer: start for peer, start in group.items() if any((case, peer) in GOALS for case in own)}
    all_targets = {("ours", case): target for case, target in own.items()}
    failures: dict[str, Exception] = {}
    with ExitStack() as stack:
        for peer, start in group.items():
            progress(f"starting {peer}")
            try:
                started = stack.enter_context(start())
            except (NotInstalled, NotStarted, OSError) as failure:
                failures[peer] = failure
                continue
            wanted = {GOALS[case, peer][0] for case in own if (case, peer) in GOALS}
            all_targets |= {(peer, protocol): started[protocol] for protocol in wanted}
        found = loads(" and ".join(group), all_targets, IN_FLIGHT)
    for case in own:
        rate = ours(found["ours", case]).rate
        for peer in group:
            if (case, peer) not in GOALS:
                continue
            protocol, least = GOALS[case, peer]
            theirs = failures.get(peer) or found[peer, protocol]
            against = peer if protocol == "grpc" or case == "rest" else f"{peer}, HTTP"
            if isinstance(theirs, Exception):
                report.unavailable(CASES[case], against, str(theirs))
            else:
                report.ratio(CASES[case], against, rate, theirs.rate, "calls/s", least=least)
