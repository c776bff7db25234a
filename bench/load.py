"""A load generator for HTTP/1.1 and for gRPC: keeps a number of connections busy for a number of calls."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Call = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Result:
    """Calls per second over all connections, and the latencies' percentiles in milliseconds."""

    rate: float
    p50: float
    p99: float


async def run(make_call: Callable[[], Awaitable[Call]], connections: int, calls: int) -> Result:
    """Makes one call function per connection and shares the calls among them."""
    functions = [await make_call() for _ in range(connections)]
    for function in functions:
        await function()  # the first call of a connection opens it
    latencies: list[float] = []
    left = calls

    async def work(function: Call) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            begin = time.perf_counter()
            await function()
            latencies.append(time.perf_counter() - begin)

    begin = time.perf_counter()
    await asyncio.gather(*(work(function) for function in functions))
    seconds = time.perf_counter() - begin
    cuts = statistics.quantiles(latencies, n=100)
    return Result(len(latencies) / seconds, cuts[49] * 1000, cuts[98] * 1000)


async def http_call(port: int, path: str, body: bytes, expected: bytes) -> Call:
    """A call of a POST route over one kept connection; raises RuntimeError for any other answer than expected."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body

    async def call() -> None:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        answer = await reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200") or answer != expected:
            raise RuntimeError(f"{path}: {head[:20]!r} {answer[:200]!r}")

    return call
