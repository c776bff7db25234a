"""How a service is told to stop, and how it tells that it has started.

`SIGTERM` and `SIGINT` stop one service. The lifeline is a socket that every process of one `jac-orc up` inherits and
whose other end only `jac-orc up` holds: its end of file, which no kill can prevent, stops them all; and `jac-orc up`
reads end of file itself when the last of them is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format
from google.rpc import status_pb2

from jac_orc.errors import OrcError, from_status, to_status

SIGNALS = ("SIGTERM", "SIGINT")
"""The names of the signals that stop a service, which `stop_requested` returns."""

_MAX_TERMINATION_BYTES = 4000


def keep_private(*fds: int | None) -> None:
    """Has the processes that this one starts not inherit what was handed to it."""
    for fd in fds:
        if fd is not None:
            os.set_inheritable(fd, False)


async def stop_requested(lifeline_fd: int | None, hurry: asyncio.Event | None = None) -> str:
    """Wait until this process must stop; return why. A second signal sets `hurry`.

    The lifeline stays open, as the system waits until no process has it.
    """
    loop = asyncio.get_running_loop()
    reason: asyncio.Future[str] = loop.create_future()
    signals: list[str] = []

    def resolve(text: str) -> None:
        if not reason.done():
            reason.set_result(text)

    def take_signal(name: str) -> None:
        resolve(name)
        signals.append(name)
        if len(signals) > 1 and hurry is not None:
            hurry.set()

    def take_end(lifeline: int) -> None:
        loop.remove_reader(lifeline)  # it would be readable from now on
        resolve("the system stops")

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, take_signal, number.name)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))  # where they have waited for this
    if lifeline_fd is not None:
        loop.add_reader(lifeline_fd, take_end, lifeline_fd)
    return await reason


def notify(fd: int | None, message: Mapping[str, object], *, last: bool = True) -> None:
    """Writes one JSON line to whoever started this process, if it asked, and closes the pipe after the last one."""
    if fd is not None:
        with contextlib.suppress(ConnectionError):  # nobody listens any more
            os.write(fd, json.dumps(message).encode() + b"\n")
        if last:
            os.close(fd)


def report(path: str, message: Mapping[str, object]) -> bool:
    """Send one JSON datagram to the socket at the path; return whether a process receives there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        try:
            sender.sendto(json.dumps(message).encode(), path)
        except OSError:
            return False
    return True


def tell_failure(failure: OrcError, termination_log: str | None, notify_fd: int | None = None) -> None:
    """Tells why this process ends: whoever started it, and whoever finds it ended, if they asked.

    A container's termination message has at most 4096 bytes, so what is long is left out of it there.
    """
    document = {"error": json_format.MessageToDict(to_status(failure))}
    notify(notify_fd, document)
    if termination_log is not None:
        while len(text := json.dumps(document).encode()) > _MAX_TERMINATION_BYTES and document["error"]["details"]:
            del document["error"]["details"][-1]
        with contextlib.suppress(OSError), open(termination_log, "wb") as file:
            file.write(text)


def failure_told(document: Mapping[str, Any]) -> OrcError:
    """Return the failure that `tell_failure` has told."""
    return from_status(json_format.ParseDict(document["error"], status_pb2.Status()))
