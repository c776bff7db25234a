"""LitServe with one worker on the CPU and its faster queue: `python -m bench.peers.serve_litserve PORT`."""

from __future__ import annotations

import math
import sys
from typing import Any

import litserve  # type: ignore[import-not-found]


class Sqrt(litserve.LitAPI):  # type: ignore[misc]
    """The trivial call."""

    def setup(self, device: str) -> None:
        pass

    def predict(self, request: dict[str, Any]) -> float:
        return math.sqrt(request["x"])


if __name__ == "__main__":
    server = litserve.LitServer(Sqrt(api_path="/sqrt"), accelerator="cpu", fast_queue=True)
    server.run("127.0.0.1", int(sys.argv[1]), generate_client_file=False, log_level="warning", access_log=False)
