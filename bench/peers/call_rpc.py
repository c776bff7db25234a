"""The clients of RPyC and Pyro5: `python -m bench.peers.call_rpc PORT rpyc|pyro calls|N`, as `call_ours`."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np  # type: ignore[import-not-found]
import Pyro5.api  # type: ignore[import-not-found]
import rpyc  # type: ignore[import-not-found]
from rpyc.core.channel import Channel  # type: ignore[import-not-found]

from bench.peers.timing import array_of, is_same, printed, times

_PIECE = 1024 * 1024
Channel.COMPRESSION_THRESHOLD = sys.maxsize  # it would compress random numbers


def main() -> None:
    """Do the task."""
    port, peer, task = int(sys.argv[1]), sys.argv[2], sys.argv[3]
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
        # As bytes, which is quicker than with pickles; in pieces, since its time grows with the square of their size.
        array = array_of(int(task))

        def identity() -> bool:
            data = array.tobytes()
            pieces = [remote.identity(data[start : start + _PIECE]) for start in range(0, len(data), _PIECE)]
            return is_same(np.frombuffer(b"".join(pieces), array.dtype), array)

        printed(times(identity, True, 1.0))


if __name__ == "__main__":
    main()
