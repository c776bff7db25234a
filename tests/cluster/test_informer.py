"""Informers against a real API server: what they miss nowhere else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from jac_orc.pod_manager.backends.kube.client import ConflictError, KubeClient, NotFoundInClusterError
from jac_orc.pod_manager.backends.kube.informer import Informer
from jac_orc.pod_manager.backends.kube.pods import Document
from tests.cluster.kubectl import bring_back, kill, kubectl, new_namespace
from tests.support import eventually


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    with new_namespace("orc-informer") as name:
        yield name


class Follower(Informer):
    """One that may begin to watch from a version that is too old."""

    begin_with = ""
    lists = 0

    async def _list(self) -> str:
        self.lists += 1
        version = await super()._list()
        begin, self.begin_with = self.begin_with, ""
        return begin or version


@asynccontextmanager
async def following(
    namespace: str, begin_with: str = "", page: int = 500
) -> AsyncIterator[tuple[KubeClient, Follower, list[Any]]]:
    client, _ = await KubeClient.connect()
    changes = list[Any]()
    follower = Follower(
        client, f"/api/v1/namespaces/{namespace}/configmaps", "test=informer",
        kept=lambda document: document, group=lambda document: document["metadata"]["labels"].get("group", ""),
        on_change=lambda old, new: changes.append((old and old["data"]["n"], new and new["data"]["n"])),
        page=page,
    )  # fmt: skip
    follower.begin_with = begin_with
    task = asyncio.create_task(follower.run())
    try:
        await asyncio.wait_for(follower.synced.wait(), 20)
        yield client, follower, changes
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.close()


def config_map(name: str, n: str, group: str = "a", **more: str) -> Document:
    metadata = {"name": name, "labels": {"test": "informer", "group": group}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"n": n, **more}}


async def test_changes_come_in_order_and_groups_are_kept(namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    async with following(namespace) as (client, follower, changes):
        await client.create(path, config_map("one", "1"))
        await client.apply(f"{path}/one", config_map("one", "2", group="b"))
        await eventually(lambda: [each["data"]["n"] for each in follower.of("b")] == ["2"])
        assert follower.of("a") == []
        await client.delete(f"{path}/one", {})
        await eventually(lambda: not follower.objects)
        assert follower.of("b") == []
        assert changes == [(None, "1"), ("1", "2"), ("2", None)]


async def test_a_version_that_is_too_old_means_listing_anew(namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    if "410" not in kubectl("get", "--raw", f"{path}?watch=true&resourceVersion=1&timeoutSeconds=1"):
        kill("kube-apiserver")  # after a restart it no longer knows the first changes
        bring_back()
    async with following(namespace, begin_with="1") as (client, follower, _):
        await client.create(path, config_map("two", "1"))
        await eventually(lambda: "two" in follower.objects, 30)
        assert follower.lists >= 2
        await client.delete(f"{path}/two", {})
        await eventually(lambda: not follower.objects)


async def test_objects_may_be_large(namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    async with following(namespace) as (client, follower, _):
        await client.create(path, config_map("large", "1", text="ä" * 100_000))
        found = await eventually(lambda: follower.objects.get("large"))
        assert found is not None
        assert len(found["data"]["text"]) == 100_000
        await client.delete(f"{path}/large", {})


async def test_pages_are_listed_to_the_end(namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    documents = [config_map(f"page{number}", "1") for number in range(5)]
    kubectl("-n", namespace, "create", "-f", "-", stdin="\n---\n".join(map(json.dumps, documents)))
    async with following(namespace, page=2) as (client, follower, _):
        assert len(follower.objects) == 5
        for number in range(5):
            await client.delete(f"{path}/page{number}", {})


async def test_the_client_tells_what_is_there_and_what_is_not(namespace: str) -> None:
    client, _ = await KubeClient.connect()
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    try:
        with pytest.raises(NotFoundInClusterError):
            await client.get(f"{path}/none")
        await client.delete(f"{path}/none", {})
        await client.create(path, config_map("three", "1"))
        with pytest.raises(ConflictError):
            await client.create(path, config_map("three", "2"))
        changed = config_map("three", "2")
        changed["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
        with pytest.raises(ConflictError):
            await client.apply(f"{path}/three", changed)
        await client.delete(f"{path}/three", {})
    finally:
        await client.close()
