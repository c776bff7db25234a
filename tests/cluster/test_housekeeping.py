"""What only one pod manager at a time does, by a Lease of a real cluster."""

from __future__ import annotations

import asyncio

import pytest

from jac_orc.pod_manager.backends.kube import housekeeping
from jac_orc.pod_manager.backends.kube.client import KubeClient
from tests.cluster.kubectl import kubectl_json, new_namespace
from tests.support import eventually


async def test_one_of_two_cleans_up_and_the_other_one_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("_LEASE_SECONDS", 4), ("_RENEW_SECONDS", 3), ("_RETRY_SECONDS", 1), ("_INTERVAL", 0.2)):
        monkeypatch.setattr(housekeeping, name, seconds)
    done = {"one": 0, "other": 0}

    async def keep(client: KubeClient, name: str) -> None:
        async def clean_up() -> None:
            done[name] += 1

        await housekeeping.keep_house(client, namespace, clean_up)

    with new_namespace("orc-lease") as namespace:
        clients = [(await KubeClient.connect())[0] for _ in done]
        monkeypatch.setattr(housekeeping.socket, "gethostname", iter(["first", "second"]).__next__)
        tasks = {name: asyncio.create_task(keep(client, name)) for name, client in zip(done, clients, strict=True)}
        try:
            await eventually(lambda: max(done.values()) >= 3)
            leader = max(done, key=lambda name: done[name])
            follower = min(done, key=lambda name: done[name])
            assert done[follower] == 0
            lease = kubectl_json("-n", namespace, "get", "lease", housekeeping.LEASE)
            assert lease["spec"]["holderIdentity"].startswith("first" if leader == "one" else "second")
            tasks[leader].cancel()
            await eventually(lambda: done[follower] >= 2, 20)
            before = done[leader]
            await asyncio.sleep(1)
            assert done[leader] == before
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
            for client in clients:
                await client.close()
