"""Module servers that are started ahead, so that a new pod has not to wait for one (`module_server.spare`).

Each costs the memory of an idle module. They belong to this process: they end when it does, unless they have become
pods by then.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from jac_orc.core import config
from jac_orc.core.files import open_private
from jac_orc.core.processes import ManagedProcess
from jac_orc.pod_manager.settings import Settings

logger = logging.getLogger(__name__)

_AFTER_TAKEN = 0.5  # the pod that has taken one shall have the cores first


class Spares:
    """Keeps as many as the settings say, while `keep` runs; `stop` comes last."""

    def __init__(self, settings: Settings, log: Path, turns: asyncio.Semaphore) -> None:
        self._count = settings.spares
        # Whoever waits for the lifeline's other holders to end waits for these, too.
        self._lifeline = {} if settings.lifeline_fd is None else {"LIFELINE_FD": settings.lifeline_fd}
        self._log = log
        self._turns = turns
        self._ready: list[tuple[ManagedProcess, socket.socket]] = []
        self._taken = asyncio.Event()

    async def stop(self) -> None:
        """Ends them."""
        ready, self._ready = self._ready, []
        for _, link in ready:
            link.close()  # which it takes as a reason to end
        await asyncio.gather(*(process.stop(2) for process, _ in ready))

    def start_server(
        self, environment: Mapping[str, str], output: Path, descriptors: Mapping[str, int]
    ) -> ManagedProcess:
        """Start a module server whose output is appended to a file, or make a spare one what it would be then.

        The descriptors are given by the names of the environment variables that shall hold their numbers. Raises
        OSError.
        """
        descriptors = {**descriptors, **self._lifeline}
        while self._ready:
            process, link = self._ready.pop()
            self._taken.set()
            with link, open_private(output, "ab") as file:
                if process.ended.is_set():
                    continue
                named = {**descriptors, "output": file.fileno()}
                message = {"environment": dict(environment), "descriptors": list(named)}
                try:
                    socket.send_fds(link, [json.dumps(message).encode()], list(named.values()))
                except OSError as failure:  # it has just ended, or so large an environment doesn't fit
                    logger.warning("a spare module server can't be used: %s", failure)
                    process.signal(signal.SIGKILL)
                    continue
                return process
        return _start(environment, output, descriptors)

    async def keep(self, interpreter: Path) -> None:
        """Start as many as there should be, whenever one was taken; `interpreter` runs their guests. Raises OSError."""
        while True:
            self._taken.clear()
            self._ready = [(process, link) for process, link in self._ready if not process.ended.is_set()]
            while len(self._ready) < self._count:
                async with self._turns:
                    self._ready.insert(0, self._start_spare(interpreter))
            await self._taken.wait()
            await asyncio.sleep(_AFTER_TAKEN)

    def _start_spare(self, interpreter: Path) -> tuple[ManagedProcess, socket.socket]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # a message comes whole or not
        with theirs:
            environment = {**config.environment(), "GUEST_PYTHON": str(interpreter)}
            return _start(environment, self._log, {"SPARE_FD": theirs.fileno(), **self._lifeline}), ours


def _start(environment: Mapping[str, str], output: Path, descriptors: Mapping[str, int]) -> ManagedProcess:
    command = [sys.executable, "-m", "jac_orc.module_server"]
    environment = {**environment, **{name: str(fd) for name, fd in descriptors.items()}}
    with open_private(output, "ab") as file:
        return ManagedProcess.start_piped(command, environment, tuple(descriptors.values()), output=file)
