"""Hand-written grpc.aio services: `python -m bench.peers.serve_grpc KIND PORT`.

They are set up as ours is: uvloop, gRPC's event engine and its bandwidth probes off. `inline` calls the function on the
event loop, `threads` in a pool; `bare` answers every call with one constant; `numbers` streams items that its loop
makes, and `echo` sends the chunks back after the last one has come, as a function would.
"""

from __future__ import annotations

import asyncio
import math
import os
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

os.environ |= {"GRPC_ENABLE_FORK_SUPPORT": "0", "GRPC_EXPERIMENTS": "-event_engine_listener"}

import grpc
import uvloop
from google.protobuf.wrappers_pb2 import DoubleValue

OPTIONS = [
    ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
    ("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 4 * 1024 * 1024),
]  # fmt: skip
FOUR = bytes.fromhex("0a09110000000000001040")
"""The CallResponse of 4.0."""
_POOL = ThreadPoolExecutor(16)


def _call(request: DoubleValue) -> DoubleValue:
    return DoubleValue(value=math.sqrt(request.value))


async def inline(request: DoubleValue, context: Any) -> DoubleValue:
    return _call(request)


async def threads(request: DoubleValue, context: Any) -> DoubleValue:
    return await asyncio.get_running_loop().run_in_executor(_POOL, _call, request)


async def bare(request: bytes, context: Any) -> bytes:
    return FOUR


async def numbers(request: DoubleValue, context: Any) -> AsyncIterator[DoubleValue]:
    for number in range(int(request.value)):
        yield DoubleValue(value=number)


async def echo(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    for chunk in [chunk async for chunk in requests]:
        yield chunk


_TYPED = (DoubleValue.FromString, DoubleValue.SerializeToString)
SERVICES: dict[str, tuple[str, str, Any]] = {
    "inline": ("bench.Math", "Sqrt", grpc.unary_unary_rpc_method_handler(inline, *_TYPED)),
    "threads": ("bench.Math", "Sqrt", grpc.unary_unary_rpc_method_handler(threads, *_TYPED)),
    "bare": ("jac_orc.v1.ModuleService", "Call", grpc.unary_unary_rpc_method_handler(bare)),
    "numbers": ("bench.Math", "Numbers", grpc.unary_stream_rpc_method_handler(numbers, *_TYPED)),
    "echo": ("bench.Math", "Echo", grpc.stream_stream_rpc_method_handler(echo)),
}


async def serve(kind: str, port: str) -> None:
    """Serve until killed."""
    service, method, handler = SERVICES[kind]
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:]))
