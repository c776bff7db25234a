"""The clients of RPyC and Pyro5: `python -m bench.peers.call_rpc rpyc|pyro PORT TASK`, as `bench.client` has tasks."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np  # type: ignore[import-not-found]
import Pyro5.api  # type: ignore[import-not-found]
import rpyc  # type: ignore[import-not-found]
from rpyc.core.channel import Channel  # type: ignore[import-not-found]

from bench.peers.timing import array_of, printed, times

_PIECE = 1024 * 1024
Channel.COMPRESSION_THRESHOLD = sys.maxsize  # it would compress random numbers


def main() -> None:
    """Does the task."""
    peer, port, task = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    remote: Any = (
        rpyc.connect("127.0.0.1", port).root if peer == "rpyc" else Pyro5.api.Proxy(f"PYRO:bench@127.0.0.1:{port}")
    )
    if task == "calls":
        hypot, add = remote.hypot, remote.add  # looked up once, which both would do over the wire at each call

        def dependent() -> float:
            total = add(1, 1)
            for _ in range(9):
                total = add(total, 1)
            return float(total)

        printed(times(lambda: hypot(3, 4), 5.0, 0.5), times(dependent, 11.0, 0.5))
    else:
        # As bytes, which is quicker than what RPyC has for pickles; in pieces, since its time grows with their square.
        array = array_of(int(task))

        def identity() -> bool:
            data = array.tobytes()
            pieces = [remote.identity(data[start : start + _PIECE]) for start in range(0, len(data), _PIECE)]
            received = np.frombuffer(b"".join(pieces), array.dtype)
            return received.shape == array.shape and bool(received[-1] == array[-1])

        printed(times(identity, True, 1.0))


if __name__ == "__main__":
    main()
