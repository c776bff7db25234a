"""Run module servers in one process: `python -m tests.parity.server`, which saves starting a process for each.

Each line on standard input is a JSON document. `{"start": NAME, "settings": {…}}` starts a server and
`{"stop": NAME}` stops it. A line on standard output answers each: `{"name", "port"}` or `{"name", "error"}` for a
start; `{"name", "stdout", "stderr"}`, with the lines that the module's code has printed, for a stop. End of file stops
all.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import os
import socket
import sys
from collections import defaultdict
from typing import Any

import uvloop

from jac_orc.module_server.main import serve
from jac_orc.module_server.settings import Settings

_name: contextvars.ContextVar[str] = contextvars.ContextVar("_name", default="")
"""Of the server that runs here: its tasks have a copy of the context that it was started in."""


class Printed(logging.Handler):
    """Collects what modules print; tracebacks of failed calls, which are logged as errors, are no output."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: defaultdict[str, dict[str, list[str]]] = defaultdict(lambda: {"stdout": [], "stderr": []})

    def emit(self, record: logging.LogRecord) -> None:
        stream = getattr(record, "stream", "")
        if stream and record.levelno == logging.INFO:
            self.lines[_name.get()][stream].append(record.getMessage())


class Servers:
    def __init__(self) -> None:
        self.printed = Printed()
        self._stops: dict[str, socket.socket] = {}

    async def run(self, name: str, settings: dict[str, Any]) -> None:
        _name.set(name)
        ours, lifeline = socket.socketpair()
        reader, writer = os.pipe()
        self._stops[name] = ours
        given = Settings(
            **settings, host="127.0.0.1", port=0, lame_duck=0, lifeline_fd=lifeline.detach(), notify_fd=writer
        )
        serving = asyncio.create_task(serve(given))
        await asyncio.to_thread(self._tell_start, name, reader)
        await serving
        ours.close()
        answer({"name": name, **self.printed.lines.pop(name, {"stdout": [], "stderr": []})})

    def _tell_start(self, name: str, reader: int) -> None:
        with os.fdopen(reader) as lines:
            told: dict[str, Any] = {}
            for line in lines:
                told |= json.loads(line)
        answer({"name": name, **({"port": told["port"]} if "port" in told else {"error": told.get("error")})})

    def stop(self, name: str) -> None:
        self._stops.pop(name).shutdown(socket.SHUT_RDWR)


def answer(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


async def main() -> None:
    servers = Servers()
    root = logging.getLogger()
    root.addHandler(servers.printed)
    root.setLevel(logging.INFO)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with asyncio.TaskGroup() as tasks:
        while line := await lines.readline():
            document = json.loads(line)
            if "start" in document:
                tasks.create_task(servers.run(document["start"], document["settings"]))
            else:
                servers.stop(document["stop"])
        for name in list(servers._stops):
            servers.stop(name)


if __name__ == "__main__":
    uvloop.run(main())
