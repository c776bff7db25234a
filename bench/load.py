"""A load generator, the same for everything that is measured: `python -m bench.load`, a process of its own.

Standard input has the job. It keeps a number of connections busy with one prebuilt request, checks every answer, and
prints a Result. It does as little as it can, since it shares the cores with what it measures.
"""

from __future__ import annotations

import array
import asyncio
import base64
import dataclasses
import json
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import uvloop

from bench import http2


@dataclass(frozen=True)
class Target:
    """A request and its answer; `protocol` is `http`, or `grpc`, whose bodies are messages."""

    protocol: str
    port: int
    path: str
    body: bytes
    expected: bytes
    """The whole answer; for gRPC its messages as they are framed."""
    headers: dict[str, str] = field(default_factory=dict)

    def with_answer(self, expected: bytes) -> Target:
        """Return the same request with another answer."""
        return dataclasses.replace(self, expected=expected)


@dataclass(frozen=True)
class Result:
    """Calls per second over all connections, and the latencies' percentiles in milliseconds."""

    rate: float
    p50: float
    p99: float


class WrongAnswer(Exception):
    """A call failed, or its answer was not the expected one."""


class Run:
    """What the connections of a run share: when to begin counting, when to end, and what has been counted."""

    def __init__(self, target: Target, warm_up: float, seconds: float, calls: int | None) -> None:
        self.target = target
        self.begin = time.perf_counter() + warm_up
        self.end = self.begin + seconds if calls is None else float("inf")
        self.left = calls if calls is not None else sys.maxsize
        self.latencies = array.array("d")
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def counted(self, started: float) -> float | None:
        """Count a call that has ended; returns the time at which the next begins, None if there is none."""
        now = time.perf_counter()
        if started >= self.begin:
            self.latencies.append(now - started)
            self.left -= 1
            if now >= self.end or self.left <= 0:
                self._finish(now)
                return None
        return now

    def fail(self, why: str) -> None:
        """End the run."""
        if not self.finished.done():
            self.finished.set_exception(WrongAnswer(f"{self.target.path}: {why}"))

    def _finish(self, now: float) -> None:
        if not self.finished.done():
            self.end = now
            self.finished.set_result(None)

    def result(self) -> Result:
        """Return what was found."""
        ordered = sorted(self.latencies)
        cut = [ordered[int(len(ordered) * share)] * 1000 for share in (0.5, 0.99)]
        return Result(len(ordered) / (self.end - self.begin), cut[0], cut[1])


class HttpConnection(asyncio.Protocol):
    """One call at a time over a kept HTTP/1.1 connection."""

    def __init__(self, run: Run) -> None:
        target = run.target
        lines = [f"POST {target.path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(target.body)}"]
        headers = {"Content-Type": "application/json", **target.headers}
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._request = "\r\n".join([*lines, "\r\n"]).encode() + target.body
        self._run = run
        self._parts: list[bytes] = []
        self._transport: Any = None
        self._started = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._started = time.perf_counter()
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        run = self._run
        self._parts.append(data)
        if len(self._parts) > 1:
            if not data.endswith((run.target.expected[-16:], b"0\r\n\r\n")):
                return  # without a search for its end, as a large answer comes in very many parts
            data = b"".join(self._parts)
        head, found, body = data.partition(b"\r\n\r\n")
        whole = _whole(head, body) if found else None
        if whole is None:
            return
        self._parts.clear()
        if whole != run.target.expected or not head.startswith(b"HTTP/1.1 200"):
            run.fail(f"{head[:20]!r} {whole[:200]!r}")
            return
        now = run.counted(self._started)
        if now is not None:
            self._started = now
            self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        self._run.fail("the server has closed the connection")


def _whole(head: bytes, body: bytes) -> bytes | None:
    """Return the body; None if more of it is to come."""
    lower = head.lower()
    start = lower.find(b"\r\ncontent-length:")
    if start >= 0:
        length = int(lower[start + 17 : start + 32].split(b"\r\n", 1)[0])
        return body if len(body) >= length else None
    if not body.endswith(b"0\r\n\r\n"):
        return None
    whole: list[bytes] = []
    while True:  # chunks
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return b"".join(whole)
        whole.append(body[:length])
        body = body[length + 2 :]


class GrpcConnection(asyncio.Protocol):
    """A number of gRPC calls at a time over one HTTP/2 connection."""

    def __init__(self, run: Run, in_flight: int) -> None:
        self._run = run
        self._in_flight = in_flight
        request = http2.Request(run.target.path, run.target.body, run.target.headers)
        self._first, self._later = request.frames(first=True), request.frames(first=False)
        self._rest = b""
        self._stream = 1
        self._started: dict[int, float] = {}
        self._answers: dict[int, bytes] = {}
        self._received = 0
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        now = time.perf_counter()
        transport.write(http2.opening() + b"".join(self._call(now) for _ in range(self._in_flight)))

    def _call(self, now: float) -> bytes:
        stream = self._stream
        self._stream += 2
        self._started[stream] = now
        number = stream.to_bytes(4, "big")
        before, between, behind = self._first if stream == 1 else self._later
        return b"".join((before, number, between, number, behind))

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        position, end = 0, len(data)
        out: list[bytes] = []
        while end - position >= 9:
            stop = position + 9 + (data[position] << 16 | data[position + 1] << 8 | data[position + 2])
            if stop > end:
                break
            kind, flags = data[position + 3], data[position + 4]
            stream = int.from_bytes(data[position + 5 : position + 9], "big")
            if kind == http2.DATA:
                body = data[position + 9 : stop]
                self._received += len(body)
                before = self._answers.get(stream)
                self._answers[stream] = body if before is None else before + body
            elif kind == http2.HEADERS:
                if flags & http2.END_STREAM:
                    self._ended(stream, out, data[position + 9 : stop])
            elif kind != http2.WINDOW_UPDATE:
                self._control(kind, flags, data[position + 9 : stop], out)
            position = stop
        self._rest = data[position:]
        if self._received > 2**24:
            out.append(http2.frame(http2.WINDOW_UPDATE, 0, 0, struct.pack(">I", self._received)))
            self._received = 0
        if out:
            self._transport.write(b"".join(out))

    def _ended(self, stream: int, out: list[bytes], trailers: bytes) -> None:
        answer = self._answers.pop(stream, b"")
        if answer != self._run.target.expected:
            self._run.fail(f"{answer[:200]!r}, trailers {trailers[:200]!r}")
            return
        now = self._run.counted(self._started.pop(stream))
        if now is not None:
            out.append(self._call(now))

    def _control(self, kind: int, flags: int, body: bytes, out: list[bytes]) -> None:
        if kind in (http2.SETTINGS, http2.PING):
            if not flags & http2.ACK:
                out.append(http2.frame(kind, http2.ACK, 0, body if kind == http2.PING else b""))
        elif kind in (http2.RST_STREAM, http2.GOAWAY):
            self._run.fail(f"the server has ended it: frame {kind}, {body[:200]!r}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._run.fail("the server has closed the connection")


async def generate(
    target: Target, in_flight: int, seconds: float = 1.5, warm_up: float = 0.3, calls: int | None = None
) -> Result:
    """Keep so many calls in flight for so long, or for so many calls: HTTP on as many connections, gRPC on one."""
    run = Run(target, warm_up, seconds, calls)
    loop = asyncio.get_running_loop()
    transports = []
    for _ in range(in_flight if target.protocol == "http" else 1):
        make: Any = (
            (lambda: HttpConnection(run)) if target.protocol == "http" else lambda: GrpcConnection(run, in_flight)
        )
        transport, _ = await loop.create_connection(make, "127.0.0.1", target.port)
        transports.append(transport)
    try:
        async with asyncio.timeout(None if calls else seconds + warm_up + 30):
            await run.finished
    finally:
        for transport in transports:
            transport.abort()
    return run.result()


def measure(target: Target, in_flight: int, **options: Any) -> Result:
    """Do the same in a process of its own; raises WrongAnswer."""
    job = {**dataclasses.asdict(target), **{name: _text(getattr(target, name)) for name in ("body", "expected")}}
    text = json.dumps({"target": job, "in_flight": in_flight, **options})
    process = subprocess.run(
        [sys.executable, "-m", "bench.load"], input=text, text=True, capture_output=True, check=False
    )
    if process.returncode:
        raise WrongAnswer(process.stderr.strip().rpartition("\n")[2])
    return Result(**json.loads(process.stdout))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def main() -> None:
    """Do the job in standard input."""
    options = json.load(sys.stdin)
    job = options.pop("target")
    job |= {name: base64.b64decode(job[name]) for name in ("body", "expected")}
    try:
        result = uvloop.run(generate(Target(**job), **options))
    except (WrongAnswer, OSError, TimeoutError) as failure:
        sys.exit(f"{type(failure).__name__}: {failure}")
    print(json.dumps(dataclasses.asdict(result)))


if __name__ == "__main__":
    main()
