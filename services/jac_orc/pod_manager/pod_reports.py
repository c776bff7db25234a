"""What pods report of their guests, asked for when a person or Prometheus wants to know, and on no call's path.

A pod that doesn't answer in time is left out. Each pod manager asks by itself: none keeps state, so any may be asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence

import grpc

from jac_orc.pod_manager import convert
from jac_orc.pod_manager.model import Module
from jac_orc.v1 import module_pb2, module_pb2_grpc
from jac_orc.v1 import pod_manager_pb2 as pb

TEXT = "text/plain; version=0.0.4; charset=utf-8"
"""The content type of Prometheus' text format."""
_SECONDS = 0.5
_MOST_AT_ONCE = 64


async def fill(pods: Iterable[pb.Pod]) -> list[pb.Pod]:
    """Add to the pods what they report: `stuck_calls` and `guest_replacements`. Return those that answered."""
    turns = asyncio.Semaphore(_MOST_AT_ONCE)

    async def ask(pod: pb.Pod) -> bool:
        async with turns, grpc.aio.insecure_channel(pod.address) as channel:
            stub = module_pb2_grpc.PodServiceStub(channel)
            try:
                report = await stub.GetPodStatus(module_pb2.GetPodStatusRequest(), timeout=_SECONDS)
            except grpc.aio.AioRpcError:
                return False
        pod.stuck_calls = report.stuck_calls
        pod.guest_replacements.update(report.guest_replacements)
        return True

    reachable = [pod for pod in pods if pod.address]
    answered = await asyncio.gather(*map(ask, reachable))
    return [pod for pod, has_answered in zip(reachable, answered, strict=True) if has_answered]


async def metrics(modules: Iterable[Module]) -> bytes:
    """Return the reports of all pods in Prometheus' text format."""
    messages = [convert.module_message(module) for module in modules]
    names = {pod.name: message.name for message in messages for pod in message.status.pods}
    pods = await fill(pod for message in messages for pod in message.status.pods)
    return "".join(f"{line}\n" for line in _lines([(names[pod.name], pod) for pod in pods])).encode()


def _lines(pods: Sequence[tuple[str, pb.Pod]]) -> Iterator[str]:
    name = "jac_orc_stuck_calls"
    yield f"# HELP {name} Calls that go on although they were cancelled; each keeps its place."
    yield f"# TYPE {name} gauge"
    for module, pod in pods:
        yield f'{name}{{module="{module}",pod="{pod.name}"}} {pod.stuck_calls}'
    name = "jac_orc_guest_replacements_total"
    yield f"# HELP {name} Processes of the module's code that were replaced, by cause."
    yield f"# TYPE {name} counter"
    for module, pod in pods:
        for cause, count in sorted(pod.guest_replacements.items()):
            yield f'{name}{{module="{module}",pod="{pod.name}",cause="{cause}"}} {count}'
