"""What holds for every method of every service: it is there, it is short, and a fault in it tells nothing of itself."""

from __future__ import annotations

import ast
import errno
import inspect
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.rpc import error_details_pb2, status_pb2

from jac_orc.core.methods import STATUSES
from jac_orc.core.server import Server
from jac_orc.errors import from_status
from jac_orc.module_server.servicer import ModuleServicer
from jac_orc.pod_manager.backends.fake import FakeBackend
from jac_orc.pod_manager.model import Module, ModuleSpec
from jac_orc.pod_manager.rest import RestServicer
from jac_orc.pod_manager.servicer import PodManagerServicer
from tests.feature.module_servers import Failure, failure_of
from tests.feature.pod_managers import MODULE_SERVICE, NATIVE, REST, running_pod_manager
from tests.support import SERVICES

SERVICERS: dict[type, ServiceDescriptor] = {
    ModuleServicer: MODULE_SERVICE,
    PodManagerServicer: NATIVE,
    RestServicer: REST,
}
METHODS = [(servicer, method) for servicer, service in SERVICERS.items() for method in service.methods]
SECRET = "the password is swordfish"


def name_of(item: Any) -> str:
    return str(item.__name__ if isinstance(item, type) else item.name)


@pytest.fixture(autouse=True)
def leftovers(no_task_left: None) -> None:
    """No test leaves anything behind."""


@pytest.mark.parametrize(("servicer", "method"), METHODS, ids=name_of)
def test_every_method_is_the_servicers_own(servicer: type, method: MethodDescriptor) -> None:
    assert method.name in vars(servicer)
    assert callable(getattr(servicer, method.name))


@pytest.mark.parametrize("servicer", SERVICERS, ids=name_of)
def test_no_method_is_long(servicer: type) -> None:
    tree = ast.parse(Path(inspect.getfile(servicer)).read_text())
    (cls,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == servicer.__name__]
    methods = {method.name for method in SERVICERS[servicer].methods}
    lengths = {
        node.name: (node.end_lineno or 0) - node.lineno + 1
        for node in cls.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name in methods
    }
    assert set(lengths) <= methods
    assert {name: length for name, length in lengths.items() if length > 12} == {}


async def ask(channel: grpc.aio.Channel, method: MethodDescriptor, request: Any = None) -> Failure:
    """How a call of the method fails, through the kind of stub that it has."""
    request = request or message_factory.GetMessageClass(method.input_type)()
    kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    path = f"/{method.containing_service.full_name}/{method.name}"
    data = request.SerializeToString()
    call = getattr(channel, kind)(path)(iter([data]) if method.client_streaming else data, timeout=5)
    try:
        result = [item async for item in call] if method.server_streaming else await call
    except grpc.aio.AioRpcError as error:
        return failure_of(error)
    if method.server_streaming and "body" in method.output_type.fields_by_name:
        last: Any = message_factory.GetMessageClass(method.output_type).FromString(result[-1])
        return last_line(last.body.data)
    raise AssertionError(f"the call succeeded: {result}")


def last_line(data: bytes) -> Failure:
    """The failure that the last line of a REST stream tells."""
    told = from_status(json_format.ParseDict(json.loads(data)["error"], status_pb2.Status()))
    return Failure(STATUSES[told.code], told, error_details_pb2.ErrorInfo(), told.metadata.pop("call_id"))


def assert_tells_nothing(told: Failure) -> None:
    assert (told.code, told.error.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert re.fullmatch(r"internal error [0-9a-f]{32}; the server's log has the details", told.error.message)
    assert told.error.metadata["id"] in told.error.message and not told.error.details
    assert "swordfish" not in str(told) and "RuntimeError" not in str(told)


def faulty(method: MethodDescriptor) -> Any:
    async def unary(request: Any, context: Any) -> Any:
        raise RuntimeError(SECRET)

    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        if request is not None:
            raise RuntimeError(SECRET)
        yield request

    return stream if method.server_streaming else unary


@pytest.mark.parametrize("service", SERVICERS.values(), ids=name_of)
async def test_an_unexpected_exception_tells_an_id_and_nothing_else(
    service: ServiceDescriptor, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()
    servicer = type("Servicer", (), {method.name: staticmethod(faulty(method)) for method in service.methods})()
    server.register(service, servicer)
    port = await server.start("127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        for method in service.methods:
            told = await ask(channel, method)
            assert_tells_nothing(told)
            (record,) = caplog.records
            caplog.clear()
            assert vars(record)["call_id"] == told.call_id == told.error.metadata["id"]
            assert SECRET in str(record.exc_info) and vars(record)["fields"]["method"] == method.name
    await server.stop(0)


async def test_a_full_disk_is_told() -> None:
    class Full(FakeBackend):
        def modules(self) -> list[Module]:
            raise OSError(errno.ENOSPC, "No space left on device", "/secret/swordfish")

    async with running_pod_manager(FakeBackend()) as manager:
        manager.modules.backend = Full()
        told = await ask(manager.channel, NATIVE.methods_by_name["ListModules"])
    assert told.error.message.endswith(": no space is left on the server's disk")
    assert "swordfish" not in str(told)


class FaultyBackend(FakeBackend):
    """Raises what nobody expects."""

    def get(self, name: str) -> Module | None:
        raise RuntimeError(SECRET)

    def modules(self) -> list[Module]:
        raise RuntimeError(SECRET)

    async def apply(self, spec: ModuleSpec) -> Module:
        raise RuntimeError(SECRET)


async def test_a_fault_below_the_pod_manager_tells_nothing() -> None:
    async with running_pod_manager(FakeBackend()) as manager:
        manager.modules.backend = FaultyBackend()
        for service in (NATIVE, REST, MODULE_SERVICE):
            for method in service.methods:
                request: Any = message_factory.GetMessageClass(method.input_type)()
                if "Plan" in method.name or "module_name" not in method.input_type.fields_by_name:
                    continue
                request.module_name = "math"
                if method.name == "RestScaleModule":
                    request.body.data = b'{"replicas":1}'
                assert_tells_nothing(await ask(manager.channel, method, request))


@pytest.mark.parametrize(("servicer", "method"), METHODS, ids=name_of)
async def test_a_request_that_cannot_be_parsed_is_refused(servicer: type, method: MethodDescriptor) -> None:
    server = Server()
    service = method.containing_service
    server.register(
        service, type("Servicer", (), {each.name: staticmethod(reading(each)) for each in service.methods})()
    )
    port = await server.start("127.0.0.1:0")
    kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = getattr(channel, kind)(f"/{service.full_name}/{method.name}")
        under_way = call(iter([b"\xff\xff"]) if method.client_streaming else b"\xff\xff", timeout=5)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            _ = [item async for item in under_way] if method.server_streaming else await under_way
    assert failure_of(caught.value).error.reason == "MALFORMED_REQUEST"
    await server.stop(0)


def reading(method: MethodDescriptor) -> Any:
    answer = message_factory.GetMessageClass(method.output_type)

    async def unary(request: Any, context: Any) -> Any:
        if method.client_streaming:
            _ = [item async for item in request]
        return answer()

    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        if method.client_streaming:
            _ = [item async for item in request]
        yield answer()

    return stream if method.server_streaming else unary


# --- rules of the code ------------------------------------------------------------------------------------------------


def python_files(*roots: Path) -> list[Path]:
    return [file for root in roots for file in root.rglob("*.py")]


def test_the_environment_is_read_in_one_place() -> None:
    found = []
    for file in python_files(SERVICES / "jac_orc"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.environ", "os.getenv", "os.putenv"):
                found.append(str(file.relative_to(SERVICES / "jac_orc")))
    assert set(found) == {"core/config.py"}


def test_no_test_patches_our_own_code() -> None:
    patches = ("mock.patch", "monkeypatch.setattr", "mocker.patch")
    found = []
    for file in python_files(Path(__file__).parents[1]):
        tree = ast.parse(file.read_text())
        nodes = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
        imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        if "unittest.mock" in imported or any(node.endswith(patches) for node in nodes):
            found.append(file.name)
    assert found == []


@pytest.mark.parametrize(("servicer", "method"), METHODS, ids=name_of)
async def test_a_call_without_a_message_is_refused(servicer: type, method: MethodDescriptor) -> None:
    if method.client_streaming:
        return
    async with running_pod_manager(FakeBackend()) as manager:
        path = f"/{method.containing_service.full_name}/{method.name}"
        call: Any = manager.channel.stream_stream(path)(iter(()), timeout=5)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            _ = [answer async for answer in call]
        assert failure_of(caught.value).error.reason == "MALFORMED_REQUEST"
