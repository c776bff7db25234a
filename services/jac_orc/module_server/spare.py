"""A spare module server: started ahead, with a guest, it waits to be told which module it serves.

What it is told is the environment that it would have been started with, and descriptors to take the place of those
that it would have inherited. It comes as one message over a socket of this machine (SCM_RIGHTS, unix(7)).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket

from jac_orc.core import config, lifecycle
from jac_orc.errors import OrcError
from jac_orc.module_server.guest_process import IdleGuest

logger = logging.getLogger(__name__)

MAX_MESSAGE = 1024 * 1024
OUTPUT = "output"
"""The name of the descriptor that takes the place of standard output and error."""


async def assigned(spare_fd: int) -> tuple[bool, IdleGuest | None]:
    """Waits until this process is told what it shall be, and makes it that; false where nobody will ever tell.

    The guest that comes with it has an interpreter and an environment of its own: whoever gets it looks whether these
    are the module's.
    """
    link = socket.socket(fileno=spare_fd)
    lifeline = config.environment().get("LIFELINE_FD", "")
    lifecycle.keep_private(spare_fd, int(lifeline) if lifeline else None)
    link.setblocking(False)
    idle = await _idle_guest()
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
        if idle is not None:
            await idle.stop()
        return False, None
    _become(json.loads(data), fds)
    return True, idle


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


async def _idle_guest() -> IdleGuest | None:
    python = config.environment().get("GUEST_PYTHON", "")
    try:
        return await IdleGuest.start(python) if python else None
    except OrcError as failure:
        logger.warning("no guest is started ahead: %s", failure.message)
        return None
