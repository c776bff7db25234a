"""The Python client's part of the benchmark: `python -m bench.client PORT TASK …`, in the environment of the subjects.

`calls` prints the seconds of one call and of ten dependent ones in a pipeline, `array N` those of an array of N MB
there and back, `raw N` the same for bytes over plain grpcio in chunks, `objects N` makes and releases N objects.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import grpc

from bench.peers.timing import array_of, printed, times
from jac_orc.client.session import Session

CHUNKS = (256 * 1024, 1024 * 1024, 4 * 1024 * 1024)
# The same as the client's own: how a channel is set up is no part of the comparison.
OPTIONS = [
    ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
    ("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 4 * 1024 * 1024),
]  # fmt: skip


def calls(port: int) -> None:
    """One call, and ten that depend on each other."""
    with Session(f"127.0.0.1:{port}") as session:

        def dependent() -> Any:
            total = session.hold("add", 1, 1)
            for _ in range(8):
                total = session.hold("add", total, 1)
            return session.call("add", total, 1)

        printed(times(lambda: session.call("hypot", 3, 4), 5.0, 0.5), times(dependent, 11, 0.5))


def array(port: int, megabytes: int) -> None:
    """An array there and back."""
    sent = array_of(megabytes)
    with Session(f"127.0.0.1:{port}") as session:

        def identity() -> bool:
            received = session.call("identity", sent)
            return received.shape == sent.shape and bool(received[-1] == sent[-1])

        printed(times(identity, True, 1.0))


def raw(port: int, megabytes: int) -> None:
    """An array's bytes there and back; the server has them all before it sends the first, as a function would."""
    import numpy as np  # type: ignore[import-not-found]  # noqa: PLC0415

    sent = array_of(megabytes)
    with grpc.insecure_channel(f"127.0.0.1:{port}", OPTIONS) as channel:
        stream: Any = channel.stream_stream("/jac_orc.v1.ModuleService/Session")

        def chunks(size: int) -> Iterator[bytes]:
            view = memoryview(sent).cast("B")
            for start in range(0, len(view), size):
                yield bytes(view[start : start + size])

        def echo(size: int) -> bool:
            buffer = bytearray(sent.nbytes)
            position = 0
            for chunk in stream(chunks(size)):
                buffer[position : position + len(chunk)] = chunk
                position += len(chunk)
            received = np.frombuffer(buffer, sent.dtype)
            return received.shape == sent.shape and bool(received[-1] == sent[-1])

        printed(min(times(lambda size=size: echo(size), True, 0.5) for size in CHUNKS))  # type: ignore[misc]


def objects(port: int, count: int) -> None:
    """Objects made and released, several calls at a time."""
    with Session(f"127.0.0.1:{port}") as session:
        for start in range(0, count, 50):
            pending = [session.begin("Thing", (number,), keep=True) for number in range(start, min(start + 50, count))]
            for one in pending:
                one.result().release()
        session.call("add", 1, 1)
    printed(count)


if __name__ == "__main__":
    globals()[sys.argv[2]](int(sys.argv[1]), *map(int, sys.argv[3:]))
