"""What only one pod manager at a time does, by a Lease of a real cluster."""

from __future__ import annotations

import asyncio

from jac_orc.pod_manager.backends.kube.client import KubeClient
from jac_orc.pod_manager.backends.kube.housekeeping import LEASE, Pace, keep_house
from tests.cluster.kubectl import kubectl_json, new_namespace
from tests.support import eventually


async def test_one_of_two_cleans_up_and_the_other_one_takes_over() -> None:
    done = {"one": 0, "other": 0}

    async def keep(client: KubeClient, name: str) -> None:
        async def clean_up() -> None:
            done[name] += 1

        await keep_house(client, namespace, clean_up, Pace(lease=4, renew=3, retry=1, work=0.2))

    with new_namespace("orc-lease") as namespace:
        clients = [(await KubeClient.connect())[0] for _ in done]
        tasks = {name: asyncio.create_task(keep(client, name)) for name, client in zip(done, clients, strict=True)}
        try:
            await eventually(lambda: max(done.values()) >= 3)
            leader = max(done, key=lambda name: done[name])
            follower = min(done, key=lambda name: done[name])
            assert done[follower] == 0
            assert kubectl_json("-n", namespace, "get", "lease", LEASE)["spec"]["holderIdentity"]
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
