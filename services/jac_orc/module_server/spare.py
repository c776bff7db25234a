"""A spare module server: started ahead, with a guest, it waits to be told which module it serves.

What it is told is the environment that it would have been started with, and descriptors to take the place of those
that it would have inherited. It comes as one message over a socket of this machine (SCM_RIGHTS, unix(7)).
"""

from __future__ import annotations

import asyncio
import json
import os
import socket

from jac_orc.core import config, lifecycle

MAX_MESSAGE = 1024 * 1024
OUTPUT = "output"
"""The name of the descriptor that takes the place of standard output and error."""


async def assigned(spare_fd: int) -> bool:
    """Wait until this process receives what it must be, and make it that; return False if it never will."""
    link = socket.socket(fileno=spare_fd)
    lifeline = config.environment().get("LIFELINE_FD", "")
    lifecycle.keep_private(spare_fd, int(lifeline) if lifeline else None)
    link.setblocking(False)
    readable = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(link, readable.set)
    try:
        await readable.wait()
        data, fds, *_ = socket.recv_fds(link, MAX_MESSAGE, 16)
    finally:
        loop.remove_reader(link)
        link.close()
    if not data:
        return False
    _become(json.loads(data), fds)
    return True


def _become(document: dict[str, dict[str, str] | list[str]], fds: list[int]) -> None:
    environment, names = document["environment"], document["descriptors"]
    assert isinstance(environment, dict) and isinstance(names, list)
    for name, fd in zip(names, fds, strict=True):
        if name == OUTPUT:
            os.dup2(fd, 1)
            os.dup2(fd, 2)
            os.close(fd)
        else:
            environment[name] = str(fd)
    config.replace_environment(environment)
