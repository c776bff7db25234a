"""Finds processes that run but no longer answer, as the kubelet does in a cluster with liveness probes.

A check is made every `period` seconds and may take as long. A process that fails `_MOST_FAILURES` checks in a row is
hung. By default that takes 60 to 120 s, since a busy machine may be slow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

LIVENESS = "liveness"
"""The health service's name for: the server answers at all, whatever it serves."""
_MOST_FAILURES = 6

Answers = Callable[[], Awaitable[bool]]
"""Returns whether a process answers."""


async def hung(answers: Answers, period: float) -> None:
    """Return when the process counts as hung; never if the period is 0 or less."""
    if period <= 0:
        await asyncio.Event().wait()
    failures = 0
    while failures < _MOST_FAILURES:
        await asyncio.sleep(period)
        try:
            async with asyncio.timeout(period):
                failures = 0 if await answers() else failures + 1
        except TimeoutError:
            failures += 1


async def grpc_answers(address: str) -> bool:
    """Return whether the server there, one of ours, answers a health check, whatever it serves."""
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=LIVENESS))
        except grpc.aio.AioRpcError:
            return False
    return True
