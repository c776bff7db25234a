"""Hand-written grpcio clients of `serve_grpc`: `python -m bench.peers.call_grpc PORT TASK [N]`, as `call_ours`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np  # type: ignore[import-not-found]
from google.protobuf.wrappers_pb2 import DoubleValue

from bench.peers.timing import array_of, is_same, printed, times

CHUNKS = (256 * 1024, 1024 * 1024, 4 * 1024 * 1024)
# The same as our client's: how a channel is set up is no part of the comparison.
OPTIONS = [
    ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
    ("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 4 * 1024 * 1024),
]  # fmt: skip


def calls(channel: grpc.Channel) -> None:
    """One call, and ten of which each needs the result of the one before."""
    sqrt: Any = channel.unary_unary("/bench.Math/Sqrt", DoubleValue.SerializeToString, DoubleValue.FromString)

    def dependent() -> float:
        number = DoubleValue(value=2.0**1000)
        for _ in range(10):
            number = sqrt(number)
        return float(number.value)

    one = times(lambda: sqrt(DoubleValue(value=16)).value, 4.0, 0.5)
    printed(one, times(dependent, 2.0 ** (1000 / 1024), 0.5))


def array(channel: grpc.Channel, megabytes: int) -> None:
    """An array's bytes there and back in chunks, of the size that is fastest."""
    sent = array_of(megabytes)
    stream: Any = channel.stream_stream("/bench.Math/Echo")

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
        return is_same(np.frombuffer(buffer, sent.dtype), sent)

    printed(min(times(lambda size=size: echo(size), True, 0.5) for size in CHUNKS))  # type: ignore[misc]


def items(channel: grpc.Channel, count: int) -> None:
    """Messages of one number each."""
    stream: Any = channel.unary_stream("/bench.Math/Numbers", DoubleValue.SerializeToString, DoubleValue.FromString)
    request = DoubleValue(value=count)
    printed(times(lambda: sum(item.value for item in stream(request)), sum(range(count)), 0.5))


if __name__ == "__main__":
    port, task, *numbers = sys.argv[1:]
    with grpc.insecure_channel(f"127.0.0.1:{port}", OPTIONS) as opened:
        globals()[task](opened, *map(int, numbers))
