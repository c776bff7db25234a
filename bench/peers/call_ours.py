"""The Python client: `python -m bench.peers.call_ours PORT TASK [N]`, in the environment of the benchmark's modules.

`calls` reports the seconds of one call and of ten dependent ones in a batch, `array N` those of an array of N MB there
and back, `items N` those of N items of a generator; `objects N` creates and releases N objects.
"""

from __future__ import annotations

import sys
from typing import Any

from bench.peers.timing import array_of, is_same, printed, times
from jac_orc.client.connection import Connection


def calls(connection: Connection) -> None:
    """One call, and ten that depend on each other."""

    def dependent() -> Any:
        batch = connection.batch()
        total = batch.invoke("add", (1, 1), silent=True)
        for _ in range(8):
            total = batch.invoke("add", (total, 1), silent=True)
        batch.call("add", total, 1)
        return batch.run()[-1]

    printed(times(lambda: connection.call("hypot", 3, 4), 5.0, 0.5), times(dependent, 11, 0.5))


def array(connection: Connection, megabytes: int) -> None:
    """An array there and back; one that is too large for a message goes in parts, as the client chooses by itself."""
    sent = array_of(megabytes)
    printed(times(lambda: is_same(connection.call("identity", sent), sent), True, 1.0))


def items(connection: Connection, count: int) -> None:
    """The items of a generator."""
    printed(times(lambda: sum(connection.stream("numbers", (count,))), sum(range(count)), 0.5))


def objects(connection: Connection, count: int) -> None:
    """Objects created, fifty in a batch, and released."""
    for start in range(0, count, 50):
        batch = connection.batch()
        for number in range(start, min(start + 50, count)):
            batch.invoke("Thing", (number,), kept=True)
        for one in batch.run():
            one.release()
    printed(count)


if __name__ == "__main__":
    port, task, *numbers = sys.argv[1:]
    with Connection(f"127.0.0.1:{port}") as opened:
        globals()[task](opened, *map(int, numbers))
