"""What the module servers of this machine report: how often they have replaced a guest, and whether they stop.

The socket has a fixed path, so a server that outlives one pod manager reaches the next. A report has the count since
the server started, and the server sends it until it is received: none is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)

_FIELDS = ("module", "pod", "pid", "guest_restarts", "stops")
_MAX_BYTES = 4096
_MAX_COUNT = 2**30  # the sum of two counts is an int32


class Reports:
    """Receives the reports.

    `take` gets the names of module and pod, the server's process id, the count and whether a signal has stopped it.
    """

    def __init__(self, path: Path, take: Callable[[str, str, int, int, bool], None]) -> None:
        self._path = path
        self._take = take
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Listen; if that fails, as for a path that is too long, restarts of guests aren't counted."""
        self._path.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.bind(str(self._path))
            self._path.chmod(0o600)
        except OSError as failure:
            sock.close()
            logger.warning("can't listen on %s, so restarts of guests aren't counted: %s", self._path, failure)
            return
        sock.setblocking(False)
        self._socket = sock
        asyncio.get_running_loop().add_reader(sock, self._read, sock)

    def stop(self) -> None:
        """Stop listening."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._path.unlink(missing_ok=True)

    def _read(self, sock: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            data = sock.recv(_MAX_BYTES)
            try:
                report = json.loads(data)
                module, pod, pid, count, stops = (report[name] for name in _FIELDS)
                if [type(each) for each in (module, pod, pid, count, stops)] != [str, str, int, int, bool]:
                    raise TypeError("a value of another type")
                if not (0 < pid < 2**31 and 0 <= count < _MAX_COUNT):
                    raise ValueError("a number out of range")
            except (ValueError, TypeError, KeyError, RecursionError):  # a module's code may send anything
                logger.warning("a report is malformed: %r", data[:200])
            else:
                self._take(module, pod, pid, count, stops)
