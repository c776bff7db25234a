"""Calls that reach the pod manager: it deploys the module once, then passes the call on as it is."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
import pytest
from google.protobuf import struct_pb2

from jac_orc.core.server import Server
from jac_orc.errors import error
from jac_orc.pod_manager.backends.fake import FakeBackend
from jac_orc.pod_manager.held_calls import HeldLimits
from jac_orc.pod_manager.model import Module, ModuleSpec, PodPhase
from jac_orc.pod_manager.model import Pod as PodState
from jac_orc.v1 import module_pb2, pod_manager_pb2, rest_pb2, value_pb2
from tests.feature.module_servers import http_body, value
from tests.feature.pod_managers import MODULE_SERVICE, PodManager, failure, running_pod_manager

Code = grpc.StatusCode


class Pod:
    """A module server's stand-in: a real server whose answers tell what it was asked."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {}
        self.remaining: float | None = None
        self.calls = 0
        self.cancelled = asyncio.Event()
        self.go_on = asyncio.Event()

    async def Call(self, request: module_pb2.CallRequest, context: Any) -> module_pb2.CallResponse:
        self.metadata, self.remaining = dict(context.invocation_metadata()), context.time_remaining()
        self.calls += 1
        if request.method == "wait":
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if request.method == "until":
            await self.go_on.wait()
        if request.method == "fail":
            raise error("FUNCTION_NOT_FOUND", "no such function: é", {"near": "fall"})
        await context.send_initial_metadata((("x-first", "1"),))
        context.set_trailing_metadata((("x-last", "2"), ("x-last-bin", b"\0\xff")))
        return module_pb2.CallResponse(result=request.args[0] if request.args else value(None))

    async def Stream(self, request: module_pb2.StreamRequest, context: Any) -> AsyncIterator[module_pb2.StreamResponse]:
        for number in range(3):
            yield module_pb2.StreamResponse(result=struct_pb2.Value(number_value=number))
        if request.method == "until":
            await self.go_on.wait()
            yield module_pb2.StreamResponse(result=struct_pb2.Value(number_value=3))
        if request.method == "fail":
            raise error("EXCEPTION_RAISED", "in the middle")

    async def StreamJson(
        self, request: module_pb2.StreamJsonRequest, context: Any
    ) -> AsyncIterator[module_pb2.StreamJsonResponse]:
        self.calls += 1
        yield module_pb2.StreamJsonResponse(body=http_body({"result": 0}))
        await self.go_on.wait()
        yield module_pb2.StreamJsonResponse(body=http_body({"result": 1}))

    async def PutValue(self, requests: Any, context: Any) -> module_pb2.PutValueResponse:
        sizes = [len(request.data) async for request in requests]
        return module_pb2.PutValueResponse(result=value_pb2.PythonValue(int_value=sum(sizes)))

    def __getattr__(self, name: str) -> Any:
        async def unused(request: Any, context: Any) -> None:
            raise error("NOT_IMPLEMENTED", name)

        return unused


@pytest.fixture
async def pod() -> Pod:
    return Pod()


@pytest.fixture
async def address(no_task_left: None, pod: Pod) -> AsyncIterator[str]:
    server = Server()
    server.register(MODULE_SERVICE, pod)
    port = await server.start("127.0.0.1:0")
    yield f"127.0.0.1:{port}"
    await server.stop(0)


class CountingBackend(FakeBackend):
    """Counts what it is asked to do, and takes a moment for it."""

    applied = 0

    async def apply(self, spec: ModuleSpec) -> Module:
        self.applied += 1
        await asyncio.sleep(0.05)
        return await super().apply(spec)


def call(method: str = "f", *args: Any, module: str = "") -> module_pb2.CallRequest:
    return module_pb2.CallRequest(module_name=module, method=method, args=[value(arg) for arg in args])


async def test_a_module_is_deployed_once_however_many_wait(address: str, pod: Pod) -> None:
    backend = CountingBackend(address)
    async with running_pod_manager(backend) as manager:
        metadata = (("x-module", "sklearn"),)
        answers = await asyncio.gather(*(manager.module.Call(call("f", n), metadata=metadata) for n in range(20)))
        assert [answer.result.number_value for answer in answers] == list(range(20))
        assert (backend.applied, pod.calls) == (1, 20)
        deployed = backend.get("sklearn")
        assert deployed is not None and deployed.spec == ModuleSpec("sklearn", requirements=("scikit-learn",))


async def test_the_module_is_named_by_metadata_or_field(address: str) -> None:
    async with running_pod_manager(FakeBackend(address)) as manager:
        assert await manager.module.Call(call(module="math"))
        assert await manager.module.Call(call(module="math"), metadata=(("x-module", "string"),))
        request = module_pb2.RunModuleRequest(module_name="json", method_name="dumps", body=http_body({}))
        assert (await failure(manager.module.RunModule(request))).error.message == "RunModule"
        assert [module.name for module in manager.modules.backend.modules()] == ["json", "math", "string"]
        told = await failure(manager.module.Call(call()))
        assert (told.code, told.error.reason) == (Code.INVALID_ARGUMENT, "MODULE_NAME_INVALID")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("../x", "MODULE_NAME_INVALID"), ("x" * 3000, "MODULE_NAME_INVALID"), ("_x", "NAME_NOT_EXPOSED"),
    ("os", "MODULE_REFUSED"),
     ("subprocess", "MODULE_REFUSED")],
)  # fmt: skip
async def test_bad_names_deploy_nothing(address: str, name: str, reason: str) -> None:
    async with running_pod_manager(FakeBackend(address)) as manager:
        assert (await failure(manager.module.Call(call(module=name)))).error.reason == reason
        assert (await failure(manager.module.Call(call(), metadata=(("x-module", name),)))).error.reason == reason
        assert manager.modules.backend.modules() == []


async def test_without_auto_deploy_an_unknown_module_is_not_found(address: str) -> None:
    async with running_pod_manager(FakeBackend(address), auto_deploy=False) as manager:
        told = await failure(manager.module.Call(call(module="math")))
        assert (told.code, told.error.reason) == (Code.NOT_FOUND, "MODULE_NOT_FOUND")
        await manager.rest("CreatePod", module_name="math")
        assert await manager.module.Call(call(module="math"))


async def test_a_module_that_fails_fails_every_waiting_call_and_is_tried_again(address: str) -> None:
    backend = FakeBackend(address)
    backend.fail("math", error("MODULE_IMPORT_FAILED", "it broke", {"type": "x"}))
    async with running_pod_manager(backend) as manager:
        for told in await asyncio.gather(*(failure(manager.module.Call(call(module="math"))) for _ in range(3))):
            assert (told.code, told.error.reason) == (Code.FAILED_PRECONDITION, "MODULE_IMPORT_FAILED")
        assert backend.modules() == []
        backend.fail("math", None)
        assert await manager.module.Call(call(module="math"))


async def test_a_module_without_pods_is_unavailable(address: str) -> None:
    async with running_pod_manager(FakeBackend(address)) as manager:
        await manager.rest("CreatePod", {"replicas": 0}, module_name="math")
        assert (await failure(manager.module.Call(call(module="math")))).error.reason == "MODULE_UNAVAILABLE"


async def test_failures_pass_with_all_their_details(address: str) -> None:
    async with running_pod_manager(FakeBackend(address)) as manager:
        told = await failure(manager.module.Call(call("fail", module="math")))
        assert (told.code, told.error.reason, told.error.message) == (
            Code.NOT_FOUND, "FUNCTION_NOT_FOUND", "no such function: é",
        )  # fmt: skip
        assert told.error.metadata == {"near": "fall"}


async def test_metadata_and_the_deadline_pass(address: str, pod: Pod) -> None:
    async with running_pod_manager(FakeBackend(address)) as manager:
        sent = (("x-module", "math"), ("x-request-id", "7"), ("x-raw-bin", b"\0\xff"), ("authorization", "Bearer t"))
        under_way = manager.module.Call(call(), metadata=sent, timeout=5)
        await under_way
        assert {name: pod.metadata.get(name) for name, _ in sent} == dict(sent)
        assert pod.remaining is not None and 0 < pod.remaining <= 5.5
        assert dict(await under_way.initial_metadata()).get("x-first") == "1"
        trailing = dict(await under_way.trailing_metadata())
        assert (trailing.get("x-last"), trailing.get("x-last-bin")) == ("2", b"\0\xff")


async def test_giving_up_passes(address: str, pod: Pod) -> None:
    async with running_pod_manager(FakeBackend(address)) as manager:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await manager.module.Call(call("wait", module="math"), timeout=0.2)
        assert caught.value.code() is Code.DEADLINE_EXCEEDED
        await asyncio.wait_for(pod.cancelled.wait(), 5)


async def test_streams_pass(address: str) -> None:
    async with running_pod_manager(FakeBackend(address)) as manager:
        stream = manager.module.Stream(module_pb2.StreamRequest(module_name="math"))
        assert [item.result.number_value async for item in stream] == [0, 1, 2]
        stream = manager.module.Stream(module_pb2.StreamRequest(module_name="math", method="fail"))
        assert [(await stream.read()).result.number_value for _ in range(3)] == [0, 1, 2]
        assert (await failure(stream.read())).error.message == "in the middle"
        upload = manager.module.PutValue(metadata=(("x-module", "math"),))
        for _ in range(2):
            await upload.write(module_pb2.PutValueRequest(data=b"abc"))
        await upload.done_writing()
        assert (await upload).result.int_value == 6


async def test_a_request_that_cannot_be_parsed_is_refused(address: str) -> None:
    async with running_pod_manager(FakeBackend(address)) as manager:
        channel: Any = manager.channel
        send = channel.unary_unary("/jac_orc.v1.ModuleService/Call")
        told = await failure(send(b"\xff\xff\xff"))
        assert (told.code, told.error.reason) == (Code.INVALID_ARGUMENT, "MALFORMED_REQUEST")


async def test_a_pod_that_is_gone_is_told_with_a_reason(no_task_left: None) -> None:
    async with running_pod_manager(FakeBackend("127.0.0.1:1")) as manager:
        told = await failure(manager.module.Call(call(module="math"), timeout=5))
        assert (told.code, told.error.reason) == (Code.UNAVAILABLE, "MODULE_UNAVAILABLE")


def connections(manager: PodManager) -> dict[str, list[str]]:
    """The addresses of the pods that its activator is connected to, by module."""
    return {name: list(links) for name, links in manager.activator._links.items()}


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


class SlowBackend(FakeBackend):
    """Modules whose pods become ready when the test says so."""

    async def apply(self, spec: ModuleSpec) -> Module:
        await self.begin(spec.module_name)
        return self._modules[spec.module_name]

    async def begin(self, *names: str, replicas: int = 1) -> None:
        """Deploy modules whose pods are not ready."""
        for name in names:
            self._modules[name] = await super().apply(ModuleSpec(name, replicas=replicas))
            pods = tuple(dataclasses.replace(pod, phase=PodPhase.STARTING) for pod in self._modules[name].pods)
            self._set(dataclasses.replace(self._modules[name], pods=pods))

    def finish(self, name: str, addresses: Sequence[str] = ()) -> None:
        """Have the pods ready, at these addresses."""
        module = self._modules[name]
        places = addresses or [pod.address for pod in module.pods]
        pods = (PodState(f"{name}-{n}", PodPhase.READY, place, 0, 1) for n, place in enumerate(places))
        self._set(dataclasses.replace(module, pods=tuple(pods)))


async def held(manager: PodManager, count: int) -> None:
    """Wait until so many calls are held."""
    await until(lambda: manager.activator.held.calls == count)


async def test_more_calls_than_may_be_held_are_refused_at_once(address: str, pod: Pod) -> None:
    backend = SlowBackend(address)
    limits = HeldLimits(module_calls=3, calls=4)
    async with running_pod_manager(backend, limits=limits) as manager:
        await backend.begin("math", "json", "string")
        waiting = [manager.module.Call(call(module="math")) for _ in range(3)]
        await held(manager, 3)
        told = await failure(manager.module.Call(call(module="math"), timeout=5))
        assert (told.code, told.error.reason) == (Code.RESOURCE_EXHAUSTED, "QUEUE_FULL")
        waiting.append(manager.module.Call(call(module="json")))
        await held(manager, 4)
        told = await failure(manager.module.Call(call(module="string"), timeout=5))
        assert told.error.reason == "QUEUE_FULL" and "more than 4 calls" in told.error.message
        for name in ("math", "json"):
            backend.finish(name)
        await asyncio.gather(*waiting)
        assert pod.calls == 4 and manager.activator.held.calls == 0
        assert await manager.module.Call(call(module="math"))


async def test_the_bytes_of_held_calls_are_bounded(address: str) -> None:
    backend = SlowBackend(address)
    limits = HeldLimits(module_bytes=100_000, bytes=150_000)
    async with running_pod_manager(backend, limits=limits) as manager:
        await backend.begin("math", "json")
        waiting = [manager.module.Call(call("f", "x" * 70_000, module=name)) for name in ("math", "json")]
        await held(manager, 2)
        for name, words in (("math", "of math"), ("json", "of json")):
            told = await failure(manager.module.Call(call("f", "x" * 40_000, module=name), timeout=5))
            assert told.error.reason == "QUEUE_FULL" and f"bytes of calls {words}" in told.error.message
        told = await failure(manager.module.Call(call("f", "x" * 20_000, module="json"), timeout=5))
        assert "more than 150000 bytes of calls wait" in told.error.message
        backend.finish("math")
        await waiting[0]
        assert manager.activator.held.bytes < 71_000
        backend.finish("json")
        await waiting[1]


@pytest.mark.parametrize("deployed", [True, False])
async def test_an_abandoned_wait_leaves_nothing_behind(address: str, deployed: bool) -> None:
    backend = SlowBackend(address)
    async with running_pod_manager(backend) as manager:
        if deployed:
            await backend.begin("math")
        before = len(asyncio.all_tasks())
        for give_up in (lambda call: call.cancel(), lambda call: None):
            calls = [manager.module.Call(call(module="math"), timeout=1) for _ in range(20)]
            await held(manager, 20)
            for each in calls:
                give_up(each)
            await asyncio.gather(*calls, return_exceptions=True)
            await held(manager, 0)
        creating = 0 if deployed else 1  # which goes on for the next caller
        await until(lambda: len(asyncio.all_tasks()) <= before + creating)


async def test_held_calls_are_spread_over_all_ready_pods(no_task_left: None) -> None:
    pods, servers, addresses = [Pod() for _ in range(3)], [], []
    for each in pods:
        server = Server()
        server.register(MODULE_SERVICE, each)
        addresses.append(f"127.0.0.1:{await server.start('127.0.0.1:0')}")
        servers.append(server)
    backend = SlowBackend("")
    async with running_pod_manager(backend) as manager:
        await backend.begin("math", replicas=3)
        calls = [manager.module.Call(call("wait", module="math")) for _ in range(12)]
        await held(manager, 12)
        backend.finish("math", addresses)
        await until(lambda: sum(each.calls for each in pods) == 12)
        assert [each.calls for each in pods] == [4, 4, 4]
        for each in calls:
            each.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    for server in servers:
        await server.stop(0)


async def test_a_call_that_cant_have_run_is_sent_to_another_pod(address: str, pod: Pod) -> None:
    backend = SlowBackend("")
    async with running_pod_manager(backend) as manager:
        await backend.begin("math", replicas=2)
        calls = [manager.module.Call(call("f", n, module="math"), timeout=5) for n in range(10)]
        await held(manager, 10)
        backend.finish("math", ["127.0.0.1:1", address])
        await asyncio.gather(*calls)
        assert pod.calls == 10


async def test_a_call_that_may_have_run_is_not_sent_again(no_task_left: None) -> None:
    pod, other, servers = Pod(), Pod(), [Server(), Server()]
    addresses = []
    for server, each in zip(servers, (pod, other), strict=True):
        server.register(MODULE_SERVICE, each)
        addresses.append(f"127.0.0.1:{await server.start('127.0.0.1:0')}")
    backend = SlowBackend("")
    async with running_pod_manager(backend) as manager:
        await backend.begin("math", replicas=2)
        backend.finish("math", addresses)
        under_way = manager.module.Call(call("wait", module="math"))
        await until(lambda: pod.calls == 1)
        await servers[0].stop(0)
        told = await failure(under_way)
        assert (told.code, told.error.reason, pod.calls, other.calls) == (
            Code.UNAVAILABLE, "MODULE_UNAVAILABLE", 1, 0,
        )  # fmt: skip
    await servers[1].stop(0)


async def test_calls_on_a_connection_that_is_closed_fail_with_a_reason(address: str, pod: Pod) -> None:
    async with running_pod_manager(FakeBackend(address)) as manager:
        upload = manager.module.PutValue(metadata=(("x-module", "math"),), timeout=10)
        await upload.write(module_pb2.PutValueRequest(data=b"abc"))
        await until(lambda: connections(manager) == {"math": [address]})
        under_way = manager.module.Call(call("wait", module="math"), timeout=10)
        await until(lambda: pod.calls == 1)
        await manager.activator.stop()
        for told in (await failure(under_way), await failure(upload)):
            assert (told.code, told.error.reason) == (Code.UNAVAILABLE, "MODULE_UNAVAILABLE")


async def test_a_call_that_its_client_cancels_counts_as_cancelled(
    address: str, pod: Pod, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "jac_orc.core.traces")
    async with running_pod_manager(FakeBackend(address)) as manager:
        under_way = manager.module.Call(call("wait", module="math"))
        await until(lambda: pod.calls == 1)
        under_way.cancel()
        await until(lambda: len(caplog.records) == 2)  # the pod's and the activator's
        assert [record.__dict__["fields"]["reason"] for record in caplog.records] == ["CANCELLED", "CANCELLED"]


async def test_connections_to_pods_that_are_gone_are_closed(address: str) -> None:
    backend = FakeBackend(address)
    async with running_pod_manager(backend) as manager:
        await manager.module.Call(call(module="math"))
        assert connections(manager) == {"math": [address]}
        await backend.delete("math")
        await until(lambda: connections(manager) == {})


async def test_calls_go_on_while_their_pod_drains(address: str, pod: Pod) -> None:
    backend = FakeBackend(address)
    async with running_pod_manager(backend) as manager:
        calls = [manager.module.Call(call("until", module="math"), timeout=10)]
        stream = manager.module.Stream(module_pb2.StreamRequest(module_name="math", method="until"), timeout=10)
        assert [(await stream.read()).result.number_value for _ in range(3)] == [0, 1, 2]
        await until(lambda: pod.calls == 1)
        await backend.delete("math")
        await until(lambda: connections(manager) == {})
        await asyncio.sleep(0.05)
        pod.go_on.set()
        await asyncio.gather(*calls)
        assert (await stream.read()).result.number_value == 3
        assert await stream.read() is grpc.aio.EOF


@pytest.mark.parametrize("how", ["the pod is lost", "the pod manager stops", "the pod manager stops in time"])
async def test_a_rest_stream_that_is_cut_ends_with_a_line(address: str, pod: Pod, how: str) -> None:
    async with running_pod_manager(FakeBackend(address)) as manager:
        request = module_pb2.StreamJsonRequest(module_name="math", body=http_body({"method": "f"}))
        stream = manager.module.StreamJson(request, timeout=10)
        answers = aiter(stream)
        assert json.loads((await anext(answers)).body.data) == {"result": 0}
        if how == "the pod is lost":
            await manager.activator.stop()
        elif how == "the pod manager stops":
            await manager.server.drain(0.2, 0.1)
        else:
            draining = asyncio.ensure_future(manager.server.drain(10, 0.1))
            await asyncio.sleep(0.15)
            assert not draining.done(), "forwarded calls have longer than requests"
            pod.go_on.set()
        lines = [json.loads(answer.body.data) async for answer in answers]
    if how == "the pod manager stops in time":
        assert lines == [{"result": 1}]
    else:
        (line,) = lines
        reason = "MODULE_UNAVAILABLE" if how == "the pod is lost" else "POD_STOPPING"
        assert line["error"]["details"][0]["reason"] == reason


async def test_a_watch_ends_with_the_pod_manager_and_says_so(address: str) -> None:
    async with running_pod_manager(FakeBackend(address)) as manager:
        native = manager.native.WatchModules(pod_manager_pb2.WatchModulesRequest(), timeout=10)
        rest = manager.rest_stub.RestWatchModules(rest_pb2.RestWatchModulesRequest(), timeout=10)
        assert (await rest.read()).body.data == b""
        await native.initial_metadata()
        begin = asyncio.get_running_loop().time()
        await manager.server.drain(10)
        assert asyncio.get_running_loop().time() - begin < 1
        assert json.loads((await rest.read()).body.data)["error"]["details"][0]["reason"] == "POD_STOPPING"
        assert await rest.read() is grpc.aio.EOF
        assert (await failure(native.read())).error.reason == "POD_STOPPING"
