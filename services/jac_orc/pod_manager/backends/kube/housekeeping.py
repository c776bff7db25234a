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

from jac_orc.errors import OrcError, error
from jac_orc.pod_manager.backends.kube.client import ConflictError, KubeClient, NotFoundInClusterError

logger = logging.getLogger(__name__)

_RELEASE_SECONDS = 2.0
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
    """Clean up each hour while this process holds the Lease, which it competes for; until cancelled.

    The Lease is released then, so that the next holder need not wait until it expires. Nothing but the cleaning up
    depends on it. Raises OrcError if the Lease can't be asked for.
    """
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
        except OrcError:
            raise
        except Exception as failure:  # the library handles only some of what the server answers
            raise error("CLUSTER_UNAVAILABLE", f"can't ask for the lease {LEASE}: {failure}") from failure
        finally:
            for task in leading:
                task.cancel()
            await asyncio.gather(*leading, return_exceptions=True)
            if leading:
                await _release(client, namespace, identity)


async def _make_lease(client: KubeClient, namespace: str) -> None:
    """Makes the Lease, held by nobody, where there is none; the library can't, as its models refuse what it asks."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": LEASE}}
    with contextlib.suppress(ConflictError):  # it is there
        await client.create(path, lease)


async def _release(client: KubeClient, namespace: str, identity: str) -> None:
    """Release the Lease if this process still holds it; if that fails, it expires."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{LEASE}"
    try:
        async with asyncio.timeout(_RELEASE_SECONDS):
            lease = await client.get(path)
            if lease["spec"].get("holderIdentity") == identity:
                del lease["spec"]["holderIdentity"]
                await client.replace(path, lease)
                logger.info("released the lease %s", LEASE)
    except (TimeoutError, OrcError, ConflictError, NotFoundInClusterError) as failure:
        logger.warning("the lease %s isn't released, and expires: %s", LEASE, failure)


async def _lost() -> None:
    logger.warning("has lost the lease %s", LEASE)
