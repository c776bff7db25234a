"""Notices processes that live but no longer answer, as the kubelet does in a cluster by liveness probes.

They are asked every `period` seconds and have as long to answer. One that has failed to `_MOST_FAILURES` times in a row
counts as hung: 60 to 120 s by default, since a busy machine may be slow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

LIVENESS = "liveness"
"""The health service's name for: the server answers at all, whatever it serves."""
_MOST_FAILURES = 6

Answers = Callable[[], Awaitable[bool]]
"""Asks a process whether it answers."""


@dataclass(frozen=True)
class Settings:
    """Read from the environment, behind a service's prefix."""

    liveness_period: float = 10.0
    """Seconds between two looks whether a process on this machine answers; one that has not six times is replaced.

    0: nobody looks.
    """


async def hung(answers: Answers, period: float) -> None:
    """Return when the process counts as hung; never if the period is 0 or less."""
    if period <= 0:
        await asyncio.Event().wait()
    failures = 0
    while failures < _MOST_FAILURES:
        await asyncio.sleep(period)
        is_alive = False
        try:
            async with asyncio.timeout(period):
                is_alive = await answers()
        except TimeoutError:
            pass
        failures = 0 if is_alive else failures + 1


async def grpc_answers(address: str) -> bool:
    """Return whether the server there, one of ours, answers a health check, whatever it serves."""
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=LIVENESS))
        except grpc.aio.AioRpcError:
            return False
    return True
