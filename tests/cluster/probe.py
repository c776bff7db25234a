"""Runs in a pod: tries to connect to each of the targets in its argument, all at once, and prints how that ends."""

from __future__ import annotations

import json
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

SECONDS = 4


def outcome(target: tuple[str, int]) -> str:
    """Return one word; anything else that goes wrong is an error."""
    try:
        socket.create_connection((target[0], target[1]), SECONDS).close()
    except TimeoutError:
        return "dropped"
    except ConnectionRefusedError:
        return "refused"
    return "open"


targets = json.loads(sys.argv[1])
with ThreadPoolExecutor(len(targets)) as pool:
    json.dump(dict(zip(targets, pool.map(outcome, targets.values()), strict=True)), sys.stdout)
