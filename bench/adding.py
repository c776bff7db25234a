"""How long a new module takes to be routable while many are registered: real pod manager and Envoy, stub pods."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from google.api import httpbody_pb2

from bench.processes import free_port, process, until_listening
from jac_orc.cli import envoy
from jac_orc.core import files
from jac_orc.pod_manager.__main__ import PodManager
from jac_orc.pod_manager.backends.fake import FakeBackend
from jac_orc.pod_manager.model import ModuleSpec
from jac_orc.pod_manager.policy import Policy
from jac_orc.pod_manager.settings import Settings
from jac_orc.pod_manager.sources import Sources
from jac_orc.pod_manager.xds import resources
from jac_orc.v1 import module_pb2, module_pb2_grpc

_DIRECT = b'{"result":"direct"}'


class StubPod(module_pb2_grpc.ModuleServiceServicer):
    """Answers whether a call came straight from Envoy, or through the activator, which is a gRPC client."""

    async def CallNamed(self, request: Any, context: Any) -> module_pb2.CallNamedResponse:
        agents = [value for key, value in context.invocation_metadata() if key == "user-agent"]
        data = b'{"result":"forwarded"}' if any("grpc" in agent for agent in agents) else _DIRECT
        return module_pb2.CallNamedResponse(body=httpbody_pb2.HttpBody(content_type="application/json", data=data))


async def measure(registered: int, rounds: int) -> float:
    """Return the median time in ms from registering a module to the first call that goes straight to its pod."""
    async with _system() as (backend, port):
        for index in range(registered):
            await backend.apply(ModuleSpec(f"module{index}"))
        await _until_direct(port, f"module{registered - 1}")
        times = []
        for index in range(rounds):
            begin = time.perf_counter()
            await backend.apply(ModuleSpec(f"added{index}"))
            await _until_direct(port, f"added{index}")
            times.append((time.perf_counter() - begin) * 1000)
        return statistics.median(times)


async def _until_direct(port: int, module: str) -> None:
    """Call the module until Envoy knows where it is."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /modules/{module}/f HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    while True:
        writer.write(f"{head}Content-Length: 2\r\n\r\n{{}}".encode())
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = next(int(line[15:]) for line in answer.split(b"\r\n") if line.startswith(b"content-length:"))
        if await reader.readexactly(length) == _DIRECT:
            writer.close()
            return
        await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def _system() -> AsyncIterator[tuple[FakeBackend, int]]:
    binary = envoy.binary()
    if binary is None:
        raise RuntimeError("Envoy is not installed")
    pod = grpc.aio.server()
    module_pb2_grpc.add_ModuleServiceServicer_to_server(StubPod(), pod)
    pod_port = pod.add_insecure_port("127.0.0.1:0")
    await pod.start()
    ports = [free_port() for _ in range(3)]
    with tempfile.TemporaryDirectory(prefix="jac-bench-") as directory:
        settings = Settings(port=ports[0], xds_port=ports[1], front_port=ports[2], state_dir=Path(directory))
        backend = FakeBackend(f"127.0.0.1:{pod_port}")
        manager = PodManager(settings, settings.host, Policy(), backend, Sources(Path(directory, "sources")))
        await manager.start()
        bootstrap = Path(directory) / "envoy.json"
        admin = str(Path(directory) / "admin.sock")
        files.write_json(bootstrap, resources.bootstrap("front", ("127.0.0.1", ports[1]), admin))
        command = [binary, "-c", bootstrap, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        try:
            with process(command) as running:
                await asyncio.to_thread(until_listening, ports[2], running)
                yield backend, ports[2]
        finally:
            await manager.stop()
            await pod.stop(0)
