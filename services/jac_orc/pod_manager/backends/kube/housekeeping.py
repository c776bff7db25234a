"""What only one of several pod managers does, the one that holds the Lease: cleaning up the store."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from typing import cast

from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from jac_orc.pod_manager.backends.kube.client import ConflictError, KubeClient

logger = logging.getLogger(__name__)

LEASE = "jac-orc-pod-manager"
_LEASE_SECONDS, _RENEW_SECONDS, _RETRY_SECONDS = 30, 20, 5
_INTERVAL = 3600.0


async def keep_house(client: KubeClient, namespace: str, clean_up: Callable[[], Awaitable[None]]) -> None:
    """Cleans up each hour while this process holds the Lease, for which it stands; until cancelled."""
    identity = f"{socket.gethostname()}-{os.getpid()}"
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
                await asyncio.sleep(_INTERVAL)

        try:
            await _make_lease(client, namespace)
            lock = LeaseLock(LEASE, namespace, identity, client.api)
            await LeaderElection(Config(lock, _LEASE_SECONDS, _RENEW_SECONDS, _RETRY_SECONDS, lead, _lost)).run()
        except Exception as failure:  # the library minds only what the server answers, and not even all of that
            logger.warning("can't ask for the lease %s: %s", LEASE, failure)
            await asyncio.sleep(_RETRY_SECONDS)
        finally:
            for task in leading:
                task.cancel()
            await asyncio.gather(*leading, return_exceptions=True)


async def _make_lease(client: KubeClient, namespace: str) -> None:
    """Makes the Lease, held by nobody, where there is none: the library can't, as its models refuse what it asks for."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": LEASE}}
    with contextlib.suppress(ConflictError):  # it is there
        await client.create(path, lease)


async def _lost() -> None:
    logger.warning("has lost the lease %s", LEASE)
