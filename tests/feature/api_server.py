"""A Kubernetes API server in this process: it keeps objects and does nothing by itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from kubernetes.aio.client import Configuration

from jac_orc.pod_manager.backends.kube.client import Document, KubeClient


class ApiServer:
    """Keeps what is created below its path, and the rules that matter here: no second creation, no stale change."""

    def __init__(self) -> None:
        self.objects: dict[str, Document] = {}
        self.changes: list[str] = []
        """The requests that were to change an object, each by its method and path."""
        self.away = False
        """Whether each request is answered by 503."""
        self._versions = 0
        self._watches: list[tuple[str, asyncio.Queue[Document | None]]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if self.away:
            return web.json_response({"message": "away"}, status=503)
        if request.method != "GET":
            self.changes.append(f"{request.method} {path}")
            return self._changed(request.method, path, await request.json(), request.content_type)
        if path in self.objects:
            return web.json_response(self.objects[path])
        if "watch" in request.query:
            return await self._watch(request)
        if "labelSelector" in request.query:
            found = [document for name, document in self.objects.items() if name.rpartition("/")[0] == path]
            return web.json_response({"metadata": {"resourceVersion": str(self._versions)}, "items": found})
        return web.json_response({"message": "not found"}, status=404)

    def _changed(self, method: str, path: str, body: Document, form: str) -> web.Response:
        if method == "POST":
            path += f"/{body['metadata']['name']}"
            if path in self.objects:
                return web.json_response({"message": "already exists"}, status=409)
            return web.json_response(self.put(path, body), status=201)
        path = path.removesuffix("/scale")
        if path not in self.objects:
            return web.json_response({"message": "not found"}, status=404)
        there = self.objects[path]["metadata"]
        wanted = body.get("preconditions") or body.get("metadata", {})
        if any(wanted.get(key, there[key]) != there[key] for key in ("uid", "resourceVersion")):
            return web.json_response({"message": "changed meanwhile"}, status=409)
        if method == "DELETE":
            return web.json_response(self.remove(path))
        return web.json_response(self.merge(path, body) if "merge" in form else self.put(path, body))

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        events: asyncio.Queue[Document | None] = asyncio.Queue()
        for name, document in self.objects.items():
            is_newer = int(document["metadata"]["resourceVersion"]) > int(request.query["resourceVersion"])
            if is_newer and name.rpartition("/")[0] == request.path:
                events.put_nowait({"type": "ADDED", "object": document})
        self._watches.append((request.path, events))
        response = web.StreamResponse()
        await response.prepare(request)
        while (event := await events.get()) is not None:
            await response.write(json.dumps(event).encode() + b"\n")
        return response

    @property
    def watched(self) -> set[str]:
        """The paths that a client watches."""
        return {path for path, _ in self._watches}

    def say_garbage(self, path: str) -> None:
        """Send an event that is none to all that watch the path."""
        for watched, events in self._watches:
            if watched == path:
                events.put_nowait({"type": "MODIFIED", "object": {"kind": "Odd"}})

    def end_watches(self) -> None:
        """End all watches."""
        watches, self._watches = self._watches, []
        for _, events in watches:
            events.put_nowait(None)

    def _tell(self, kind: str, path: str, document: Document) -> None:
        for watched, events in self._watches:
            if path.rpartition("/")[0] == watched:
                events.put_nowait({"type": kind, "object": document})

    def put(self, path: str, document: Document) -> Document:
        """Has the document there, in place of what is."""
        self._versions += 1
        old = self.objects.get(path, {}).get("metadata", {})
        fixed = {
            "uid": old.get("uid", f"uid-{self._versions}"),
            "creationTimestamp": "2026-09-21T13:20:00Z",
            "resourceVersion": str(self._versions),
        }
        self.objects[path] = {**document, "metadata": {**document["metadata"], **fixed}}
        self._tell("MODIFIED" if old else "ADDED", path, self.objects[path])
        return self.objects[path]

    def merge(self, path: str, change: Document) -> Document:
        """Changes what is there (RFC 7386)."""
        return self.put(path, _merged(self.objects[path], change))

    def remove(self, path: str) -> Document:
        """Removes what is there."""
        self._versions += 1
        gone = self.objects.pop(path)
        gone = {**gone, "metadata": {**gone["metadata"], "resourceVersion": str(self._versions)}}
        self._tell("DELETED", path, gone)
        return gone

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[KubeClient]:
        """A client of this server, which serves meanwhile."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        client = KubeClient(Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}"))
        yield client
        await client.close()
        self.end_watches()
        await runner.cleanup()


def _merged(old: Any, change: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(change, dict):
        return change
    both = old | {key: _merged(old.get(key), value) for key, value in change.items()}
    return {key: value for key, value in both.items() if value is not None}
