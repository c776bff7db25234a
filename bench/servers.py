"""Hand-written grpc.aio servers to compare with: `python -m bench.servers KIND`.

They tell their port over NOTIFY_FD, as a module server does. They run on `jac_orc.core.server.Server`, with the same
options and the same registration as a module server has, and differ from it in where the function runs: `inline` on the
event loop, `threads` in a pool of the server's own.
`stream` answers with messages made in a loop, `echo` sends back the bytes that it has got once it has them all.
"""

from __future__ import annotations

import asyncio
import math
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvloop
from google.protobuf.struct_pb2 import Value

os.environ["GRPC_SERVER"] = "aio"  # what the peers run on, whatever ours do

import jac_orc.module_server  # noqa: F401 - which sets gRPC up, so that it is before gRPC is imported
from jac_orc.core import lifecycle
from jac_orc.core.server import Server
from jac_orc.v1 import module_pb2

SERVICE = module_pb2.DESCRIPTOR.services_by_name["ModuleService"]


def call(request: bytes) -> bytes:
    """Calls the function that a CallRequest names."""
    message = module_pb2.CallRequest.FromString(request)
    result = getattr(math, message.method)(*[arg.number_value for arg in message.args])
    return module_pb2.CallResponse(result=Value(number_value=result)).SerializeToString()


class Refusing:
    """A servicer for raw messages whose methods are there, and fail."""

    def __getattr__(self, name: str) -> Any:
        async def refuse(request: bytes, context: Any) -> bytes:
            raise NotImplementedError(name)

        return refuse


class Inline(Refusing):
    async def Call(self, request: bytes, context: Any) -> bytes:
        return call(request)


class Threads(Refusing):
    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(16)

    async def Call(self, request: bytes, context: Any) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, request)


class Stream(Refusing):
    async def Stream(self, request: bytes, context: Any) -> AsyncGenerator[bytes]:
        message = module_pb2.StreamRequest.FromString(request)
        for number in range(int(message.args[0].number_value)):
            yield module_pb2.StreamResponse(result=Value(number_value=number)).SerializeToString()


class Echo(Refusing):
    async def Session(self, requests: AsyncIterator[bytes], context: Any) -> AsyncGenerator[bytes]:
        for chunk in [chunk async for chunk in requests]:
            yield chunk


KINDS = {"inline": Inline, "threads": Threads, "stream": Stream, "echo": Echo}


async def serve(kind: str) -> None:
    """Serves until told to stop."""
    server = Server()
    server.register(SERVICE, KINDS[kind](), raw=True)
    lifecycle.notify(int(os.environ["NOTIFY_FD"]), {"port": await server.start("127.0.0.1:0")})
    await lifecycle.stop_requested(None)


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
