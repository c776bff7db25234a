"""What only one of several pod managers does, the one that holds the Lease: cleaning up the store."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from jac_orc.pod_manager.backends.kube.client import ConflictError, KubeClient

logger = logging.getLogger(__name__)

LEASE = "jac-orc-pod-manager"


@dataclass(frozen=True)
class Pace:
    """How long a Lease lasts, when its holder gives up renewing it, how often it is asked for, and the work's interval;
    all in seconds."""

    lease: int = 30
    renew: int = 20
    retry: int = 5
    work: float = 3600.0


async def keep_house(
    client: KubeClient, namespace: str, clean_up: Callable[[], Awaitable[None]], pace: Pace = Pace()
) -> None:
    """Cleans up each hour while this process holds the Lease, for which it stands; until cancelled."""
    identity = f"{socket.gethostname()}-{uuid.uuid4().hex[:6]}"
    while True:
        leading: list[asyncio.Task[None]] = []

        async def lead() -> None:
            leading.append(cast(asyncio.Task[None], asyncio.current_task()))  # noqa: B023 - ends before the next round
            logger.info("holds the lease %s", LEASE)
            while True:
                try:
                    await clean_up()
                except Exception:
                    logger.exception("cleaning up the store failed; trying again in an hour")
                await asyncio.sleep(pace.work)

        try:
            await _make_lease(client, namespace)
            lock = LeaseLock(LEASE, namespace, identity, client.api)
            await LeaderElection(Config(lock, pace.lease, pace.renew, pace.retry, lead, _lost)).run()
        except Exception as failure:  # noqa: BLE001 - the library minds only some of what the server answers
            logger.warning("can't ask for the lease %s: %s", LEASE, failure)
            await asyncio.sleep(pace.retry)
        finally:
            for task in leading:
                task.cancel()
            await asyncio.gather(*leading, return_exceptions=True)


async def _make_lease(client: KubeClient, namespace: str) -> None:
    """Makes the Lease, held by nobody, where there is none; the library can't, as its models refuse what it asks."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": LEASE}}
    with contextlib.suppress(ConflictError):  # it is there
        await client.create(path, lease)


async def _lost() -> None:
    logger.warning("has lost the lease %s", LEASE)
