"""A cache of the objects of one kind, kept up to date by list and watch.

The protocol is that of the Kubernetes API ("Efficient detection of changes"): list, then watch from the list's version;
a version that is too old (410 Gone) or a watch that ends in an odd way means listing anew. The client library has an
informer for threads only.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import cast

from jac_orc.core.tasks import report_working
from jac_orc.errors import error
from jac_orc.pod_manager.backends.kube.client import Document, GoneError, KubeClient

logger = logging.getLogger(__name__)

_WATCH_SECONDS = 60  # then anew from where it was, so that a connection that has died unseen is noticed
_WATCHES_PER_LIST = 15
_SLACK = 15.0
_SHORTEST_ROUND = 0.5  # so that a server that ends each watch at once isn't asked without a pause


class Informer:
    """The objects of one kind below `path` that have the labels of `selector`, and the `fields` of a field selector.

    `on_change` is called with an object's document before and after each change; None: not there. `kept` makes of a
    document what is worth keeping in memory. `group` tells what objects belong to, for `of`. `page` is how many are
    listed by one request.
    """

    def __init__(
        self, client: KubeClient, path: str, selector: str, *,
        kept: Callable[[Document], Document], group: Callable[[Document], str],
        on_change: Callable[[Document | None, Document | None], None], page: int = 500, fields: str = "",
    ) -> None:  # fmt: skip
        self.objects: dict[str, Document] = {}
        self.synced = asyncio.Event()
        self._groups: dict[str, dict[str, Document]] = {}
        self._client = client
        self.path = path
        self._selectors = {"labelSelector": selector, "fieldSelector": fields}
        self._kept = kept
        self._group = group
        self._on_change = on_change
        self._page = page

    def of(self, group: str) -> list[Document]:
        """The objects of a group."""
        return list(self._groups.get(group, {}).values())

    async def run(self) -> None:
        """Follow until something fails; run again, it lists everything anew."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                version = await self._list()
                report_working()
                for _ in range(_WATCHES_PER_LIST):
                    began = loop.time()
                    version = await self._watch(version)
                    await asyncio.sleep(began + _SHORTEST_ROUND - loop.time())
            except GoneError:
                logger.info("listing %s again: the version to watch from is too old", self.path)
                await asyncio.sleep(began + _SHORTEST_ROUND - loop.time())

    async def _list(self) -> str:
        """Takes all objects as they are; returns their version."""
        found: dict[str, Document] = {}
        more: dict[str, str] = {}
        while True:
            page = await self._client.get(self.path, **self._selectors, limit=str(self._page), **more)
            found |= {item["metadata"]["name"]: self._kept(item) for item in page["items"]}
            if not (token := page["metadata"].get("continue")):
                break
            more = {"continue": token}
        for name in [name for name in self.objects if name not in found]:
            self._set(name, None)
        for name, item in found.items():
            self._set(name, item)
        self.synced.set()
        return str(page["metadata"]["resourceVersion"])

    async def _watch(self, version: str) -> str:
        """Takes changes until the server ends the watch; returns the version to go on from."""
        query = {
            **self._selectors, "watch": "true", "resourceVersion": version,
            "allowWatchBookmarks": "true", "timeoutSeconds": str(_WATCH_SECONDS),
        }  # fmt: skip
        lines = cast(AsyncGenerator[bytes], self._client.lines(self.path, query, silence=_WATCH_SECONDS + _SLACK))
        async with contextlib.aclosing(lines):
            async for line in lines:
                version = self._take(json.loads(line)) or version
        return version

    def _take(self, event: Mapping[str, Document]) -> str:
        kind, item = str(event["type"]), event["object"]
        if kind == "ERROR":
            if item.get("code") == 410:
                raise GoneError(item.get("message", ""))
            raise error("CLUSTER_UNAVAILABLE", f"the watch has ended: {item.get('message', item)}")
        if kind in ("ADDED", "MODIFIED"):
            self._set(item["metadata"]["name"], self._kept(item))
        elif kind == "DELETED":
            self._set(item["metadata"]["name"], None)
        return str(item["metadata"]["resourceVersion"])

    def _set(self, name: str, new: Document | None) -> None:
        old = self.objects.get(name)
        if old is not None and new is not None and _version(old) == _version(new):
            return
        if old is not None and (new is None or self._group(old) != self._group(new)):
            members = self._groups[self._group(old)]
            members.pop(name, None)
            if not members:
                del self._groups[self._group(old)]
        if new is None:
            self.objects.pop(name, None)
        else:
            self.objects[name] = new
            self._groups.setdefault(self._group(new), {})[name] = new
        if old is not None or new is not None:
            self._on_change(old, new)


def _version(document: Document) -> str:
    return str(document["metadata"]["resourceVersion"])
