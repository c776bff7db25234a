"""Module servers as the processes they are, and what their clients see of a failure."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.api import httpbody_pb2
from google.protobuf import json_format, struct_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from jac_orc.errors import OrcError, from_status
from jac_orc.v1 import errors_pb2, module_pb2, module_pb2_grpc
from tests.support import SERVICES, children

SERVICE = "jac_orc.v1.ModuleService"


@dataclass
class Failure:
    """A failed call as its client sees it."""

    code: grpc.StatusCode
    error: OrcError
    info: error_details_pb2.ErrorInfo
    call_id: str = ""

    @property
    def exception(self) -> errors_pb2.ExceptionInfo:
        """The module's exception."""
        (found,) = [detail for detail in self.error.details if isinstance(detail, errors_pb2.ExceptionInfo)]
        return found


def failure_of(error: grpc.RpcError) -> Failure:
    """What a failed call tells; it must have the details that the contract promises."""
    metadata: dict[str, Any] = dict(error.trailing_metadata() or ())  # type: ignore[arg-type]
    assert "grpc-status-details-bin" in metadata, f"no details: {error.code()} {error.details()}"
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    assert status.code == error.code().value[0] and status.message == error.details()
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info) and info.domain == "jac_orc"
    told = from_status(status)
    call_id = told.metadata.pop("call_id", "")
    # Envoy's own details are fixed bytes: only the header has the id there.
    assert call_id in ("", metadata.get("x-request-id", call_id))
    return Failure(error.code(), told, info, call_id)


def failure(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Failure:
    """How the call fails."""
    try:
        result = function(*args, **kwargs)
    except grpc.RpcError as error:
        return failure_of(error)
    raise AssertionError(f"the call succeeded: {result}")


def value(plain: Any) -> struct_pb2.Value:
    return json_format.ParseDict(plain, struct_pb2.Value())


def http_body(document: Any) -> httpbody_pb2.HttpBody:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return httpbody_pb2.HttpBody(content_type="application/json", data=data)


class ModuleServer:
    """A running module server; `settings` are its environment variables."""

    def __init__(self, module: str, guest_python: str, directory: Path, **settings: object) -> None:
        self.log_file = directory / f"{module}-{time.monotonic_ns()}.log"
        reader, writer = os.pipe()
        environment = {
            **os.environ, "PYTHONPATH": str(SERVICES), "MODULE_NAME": module, "HOST": "127.0.0.1", "PORT": "0",
            "GUEST_PYTHON": guest_python, "NOTIFY_FD": str(writer), "LOG_FILE": str(self.log_file),
            "LAME_DUCK": "0.1", "CANCEL_GRACE": "0.3", "LOG_LEVEL": "debug",
            **{name.upper(): str(setting) for name, setting in settings.items()},
        }  # fmt: skip
        command = [sys.executable, "-m", "jac_orc.module_server"]
        self.process = subprocess.Popen(command, env=environment, pass_fds=(writer,))
        os.close(writer)
        self._reader = os.fdopen(reader)
        self._channel: grpc.Channel | None = None
        self.port = 0

    def told(self) -> dict[str, Any]:
        """What the server tells of its start, once it does; empty if it ends without."""
        with self._reader:
            lines: list[dict[str, Any]] = [json.loads(line) for line in self._reader]
        told = next((line for line in lines if "importing" not in line), {})
        self.port = told.get("port", 0)
        return told

    def serving(self) -> ModuleServer:
        """The server once it can be called."""
        told = self.told()
        assert self.port, (told, self.log())
        return self

    @property
    def channel(self) -> grpc.Channel:
        if self._channel is None:
            self._channel = grpc.insecure_channel(f"127.0.0.1:{self.port}")
        return self._channel

    @property
    def stub(self) -> Any:
        return module_pb2_grpc.ModuleServiceStub(self.channel)

    def health(self, service: str = "") -> str:
        answer = health_pb2_grpc.HealthStub(self.channel).Check(
            health_pb2.HealthCheckRequest(service=service), timeout=5
        )
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

    def pod_status(self) -> tuple[int, dict[str, int]]:
        """How many calls are stuck, and how often guests were replaced, by cause."""
        stub: Any = module_pb2_grpc.PodServiceStub(self.channel)
        status = stub.GetPodStatus(module_pb2.GetPodStatusRequest(), timeout=5)
        return status.stuck_calls, dict(status.guest_replacements)

    def call(self, method: str, *args: Any, timeout: float = 10.0, **kwargs: Any) -> Any:
        """The result of a call by Value."""
        answer = self.stub.Call(self.request(method, *args, **kwargs), timeout=timeout)
        return json_format.MessageToDict(answer.result)

    def begin(self, method: str, *args: Any, timeout: float = 10.0) -> Any:
        """A call under way."""
        return self.stub.Call.future(self.request(method, *args), timeout=timeout)

    @staticmethod
    def request(method: str, *args: Any, **kwargs: Any) -> module_pb2.CallRequest:
        values = {name: value(arg) for name, arg in kwargs.items()}
        return module_pb2.CallRequest(method=method, args=[value(arg) for arg in args], kwargs=values)

    def call_json(self, document: Any, timeout: float = 10.0) -> bytes:
        """The body of a call with a JSON body."""
        answer = self.stub.CallJson(module_pb2.CallJsonRequest(body=http_body(document)), timeout=timeout)
        return bytes(answer.body.data)

    def call_named(self, method: str, document: Any) -> Any:
        request = module_pb2.CallNamedRequest(method_name=method, body=http_body(document))
        return json.loads(self.stub.CallNamed(request, timeout=10).body.data)["result"]

    def run(self, method: str, document: Any) -> Any:
        request = module_pb2.RunModuleRequest(method_name=method, body=http_body(document))
        return json.loads(self.stub.RunModule(request, timeout=10).body.data)["result"]

    def log(self) -> list[dict[str, Any]]:
        """The lines of its log."""
        lines = self.log_file.read_text().split("\n")[:-1] if self.log_file.exists() else []
        return [json.loads(line) for line in lines]

    def guests(self) -> set[int]:
        return children(self.process.pid)

    def stop(self) -> int:
        """Has it stop; answers its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.close()

    def close(self) -> int:
        if self._channel is not None:
            self._channel.close()
        if not self._reader.closed:
            self._reader.close()
        try:
            return self.process.wait(15)
        finally:
            self.process.kill()
            self.process.wait()


def wait_until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """What the condition tells once it is true."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "it didn't come true in time"
        time.sleep(0.01)
    return result
