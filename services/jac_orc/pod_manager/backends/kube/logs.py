"""Reads the logs of pods from the API server: their last lines, then, if wanted, what is added, later pods' too."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from typing import cast

from jac_orc.errors import OrcError
from jac_orc.pod_manager.backends.base import log_line
from jac_orc.pod_manager.backends.kube.client import KubeClient, NotFoundInClusterError
from jac_orc.pod_manager.model import LogLine

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_PAUSE = 0.5
_MOST_WAITING = 1000
_MOST_AT_ONCE = 20


async def read_logs(
    client: KubeClient, path: str, pods: Callable[[], Collection[str]], *, follow: bool, tail: int
) -> AsyncIterator[LogLine]:
    """The last `tail` lines of each pod in order of time, then, with `follow`, new ones of these and later pods.

    `path` is that of the namespace's pods, `pods` tells which of them are wanted. Raises OrcError.
    """
    turns = asyncio.Semaphore(_MOST_AT_ONCE)
    first = list(pods())
    last = await asyncio.gather(*(_last(client, path, pod, tail, turns) for pod in first))
    for line in sorted((line for lines in last for line in lines), key=lambda line: line.time):
        yield line
    if not follow:
        return
    queue: asyncio.Queue[LogLine] = asyncio.Queue(_MOST_WAITING)
    since = {pod: lines[-1].time if lines else "" for pod, lines in zip(first, last, strict=True)}
    followers: dict[str, asyncio.Task[None]] = {}
    try:
        while True:
            for pod in pods():
                if pod not in followers or followers[pod].done():
                    followers[pod] = asyncio.create_task(_follow(client, path, pod, since, queue))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PAUSE):
                    while True:
                        yield await queue.get()
    finally:
        for task in followers.values():
            task.cancel()
        await asyncio.gather(*followers.values(), return_exceptions=True)


async def _last(client: KubeClient, path: str, pod: str, tail: int, turns: asyncio.Semaphore) -> list[LogLine]:
    async with turns:
        return [line async for line in lines_of(client, path, pod, {"tailLines": str(tail)})]


async def _follow(
    client: KubeClient, path: str, pod: str, since: dict[str, str], queue: asyncio.Queue[LogLine]
) -> None:
    """Puts the pod's new lines into the queue, until its container ends or the connection does."""
    query = {"follow": "true", **({"sinceTime": since[pod]} if since.get(pod) else {})}
    if pod in since and not since[pod]:
        query["tailLines"] = "0"
    with contextlib.suppress(OrcError):  # it is tried again
        async for line in lines_of(client, path, pod, query):
            if line.time > since.get(pod, ""):
                since[pod] = line.time
                await queue.put(line)
    await asyncio.sleep(_PAUSE)


async def lines_of(client: KubeClient, path: str, pod: str, query: dict[str, str]) -> AsyncIterator[LogLine]:
    """Yield the lines of a pod's log, none if the pod is gone; `path` and `query` are the API server's."""
    query = {"timestamps": "true", **query}
    try:
        lines = cast(AsyncGenerator[bytes], client.lines(f"{path}/{pod}/log", query, silence=None))
        async with contextlib.aclosing(lines):
            async for data in lines:
                time, _, text = data.decode("utf-8", "replace").partition(" ")
                if not _TIME.fullmatch(time):  # the kubelet's own words, as for a container that has just been removed
                    continue
                yield log_line(pod, text, time)
    except NotFoundInClusterError:  # the pod is gone
        return
