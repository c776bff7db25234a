"""RPyC's and Pyro5's servers: `python -m bench.peers.serve_rpc rpyc|pyro PORT`."""

from __future__ import annotations

import math
import sys

import Pyro5.api  # type: ignore[import-not-found]
import rpyc  # type: ignore[import-not-found]
from rpyc.core.channel import Channel  # type: ignore[import-not-found]
from rpyc.utils.server import ThreadedServer  # type: ignore[import-not-found]

Channel.COMPRESSION_THRESHOLD = sys.maxsize  # it would compress random numbers


class RpycService(rpyc.Service):  # type: ignore[misc]
    """The functions by RPyC."""

    def exposed_hypot(self, x: float, y: float) -> float:
        return math.hypot(x, y)

    def exposed_add(self, x: float, y: float) -> float:
        return x + y

    def exposed_identity(self, value: bytes) -> bytes:
        return value


@Pyro5.api.expose
class PyroService:
    """The functions by Pyro5."""

    def hypot(self, x: float, y: float) -> float:
        return math.hypot(x, y)

    def add(self, x: float, y: float) -> float:
        return x + y


if __name__ == "__main__":
    port = int(sys.argv[2])
    if sys.argv[1] == "rpyc":
        ThreadedServer(RpycService(), hostname="127.0.0.1", port=port).start()
    else:
        with Pyro5.api.Daemon(host="127.0.0.1", port=port) as daemon:
            daemon.register(PyroService(), "bench")
            daemon.requestLoop()
