"""Generators: their items come as they are made, no faster than they are read, and a reader that leaves closes them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from jac_orc.client.async_connection import AsyncConnection
from jac_orc.client.connection import Connection
from jac_orc.core.deadlines import STREAM_TIMEOUT
from jac_orc.errors import OrcError, error
from jac_orc.v1 import module_pb2
from tests.feature.conftest import Start
from tests.feature.module_servers import ModuleServer, failure, http_body, value, wait_until

Code = grpc.StatusCode


@pytest.fixture
def server(start_server: Start) -> ModuleServer:
    return start_server("orc_feature_streams").serving()


@pytest.fixture(scope="module")
def brief(guest_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleServer]:
    """A server with few places that gives calls little time."""
    directory = tmp_path_factory.mktemp("brief")
    running = ModuleServer("orc_feature_streams", guest_python, directory, timeout=0.6, max_concurrency=4).serving()
    yield running
    assert running.stop() == 0


def stream(server: ModuleServer, method: str, *args: Any, timeout: float = 10.0) -> Any:
    request = module_pb2.StreamRequest(method=method, args=[value(arg) for arg in args])
    return server.stub.Stream(request, timeout=timeout)


def results(answers: Any) -> Iterator[Any]:
    return (json_format.MessageToDict(answer.result) for answer in answers)


def lines(server: ModuleServer, method: str, *args: Any) -> list[Any]:
    request = module_pb2.StreamJsonRequest(body=http_body({"method": method, "args": list(args)}))
    data = b"".join(answer.body.data for answer in server.stub.StreamJson(request, timeout=10))
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.split(b"\n")[:-1]]


@pytest.mark.parametrize(
    ("method", "args", "items"),
    [
        ("count", [0], []),
        ("count", [3], [0, 1, 2]),
        ("count", [1000], list(range(1000))),
        ("ticks", [100], list(range(100))),
        ("plain", [], [1, 2]),
    ],
)
def test_the_items_of_what_can_be_iterated(server: ModuleServer, method: str, args: Any, items: Any) -> None:
    assert list(results(stream(server, method, *args))) == items
    if items:
        assert lines(server, method, *args) == [{"result": item} for item in items]
    assert server.call("state")


def test_items_come_as_they_are_made(server: ModuleServer) -> None:
    answers = results(stream(server, "slow", 60))
    assert next(answers) == 0


def test_a_failure_after_items(server: ModuleServer) -> None:
    *items, last = lines(server, "fails_after", 2)
    assert items == [{"result": 0}, {"result": 1}]
    assert last["error"]["details"][0]["reason"] == "EXCEPTION_RAISED"
    assert failure(lambda: list(stream(server, "fails_after", 2))).error.reason == "EXCEPTION_RAISED"


def test_an_item_without_json_form_is_an_object(server: ModuleServer) -> None:
    first, second = lines(server, "odd")
    assert (first, second["result"]["type"]) == ({"result": 1}, "builtins.object")


@pytest.mark.parametrize(
    ("method", "args", "reason"),
    [
        ("fails_after", [0], "EXCEPTION_RAISED"),
        ("text", [], "VALUE_NOT_REPRESENTABLE"),
        ("nothing", [], "FUNCTION_NOT_FOUND"),
        ("count", [], "ARGUMENTS_DO_NOT_BIND"),
    ],
)
def test_a_failure_before_the_first_item_is_the_calls_own(
    server: ModuleServer, method: str, args: Any, reason: str
) -> None:
    assert failure(lambda: list(stream(server, method, *args))).error.reason == reason
    assert failure(lambda: lines(server, method, *args)).error.reason == reason


def test_a_slow_reader_holds_the_generator_back(server: ModuleServer) -> None:
    answers = stream(server, "large", 10_000, 200_000)
    next(answers)
    produced = wait_until(lambda: (server.call("state")["produced"] > 30) and server.call("state")["produced"])
    assert produced < 200, "the credit, and what the connection holds"
    answers.cancel()
    wait_until(lambda: server.call("state")["closed"] == 1)


@pytest.mark.parametrize(("method", "args"), [("large", [10**9, 10]), ("ticks", [10**9, 0.01]), ("slow", [0.1])])
def test_a_reader_that_leaves_closes_the_generator(server: ModuleServer, method: str, args: Any) -> None:
    guest = server.guests()
    answers = stream(server, method, *args)
    next(answers)
    answers.cancel()
    wait_until(lambda: server.call("state")["closed"] == 1)
    assert server.guests() == guest, "the guest was not killed"


def test_a_deadline_ends_a_stream(server: ModuleServer) -> None:
    answers = stream(server, "ticks", 10**9, 0.01, timeout=0.5)
    with pytest.raises(grpc.RpcError) as caught:
        list(answers)
    assert caught.value.code() is Code.DEADLINE_EXCEEDED
    wait_until(lambda: server.call("state")["closed"] == 1)


def test_many_streams_at_a_time(server: ModuleServer) -> None:
    answers = [results(stream(server, "count", 200)) for _ in range(8)]
    for numbers in zip(*answers, strict=True):
        assert len(set(numbers)) == 1


# --- readers that leave ---


Opens = Callable[[], Any]


def breaks(items: Opens) -> None:
    for _ in items():
        break


def raises(items: Opens) -> BaseException:
    """The traceback, which has this frame, is kept."""
    try:
        for _ in items():
            raise ValueError("in the loop's body")
    except ValueError as failure:
        return failure
    raise AssertionError("the stream is empty")


def makes_a_cycle(items: Opens) -> None:
    cycle = [opened := items()]
    cycle.append(cycle)
    next(opened)


def leaves_a_block(items: Opens) -> None:
    with items() as opened:
        next(opened)


def closes(items: Opens) -> None:
    opened = items()
    next(opened)
    opened.close()
    assert next(opened, "none") == "none"


def takes_some(items: Opens) -> None:
    assert len(list(itertools.islice(items(), 40))) == 40


def test_an_iterator_that_is_dropped_closes_its_generator(server: ModuleServer) -> None:
    ways: list[Callable[[Opens], Any]] = [breaks, raises, makes_a_cycle, leaves_a_block, closes, takes_some]
    with Connection(f"127.0.0.1:{server.port}") as module:
        opens = [lambda: module.stream("large", [10**9, 1000]), lambda: module.stream("ticks", [10**9, 0.001])]
        kept = [way(items) for way in ways for items in opens * 2]  # more than there are places
        opens[0]()
        gc.collect()
        wait_until(lambda: module.call("state")["closed"] >= len(kept))


async def test_an_asynchronous_iterator_that_is_dropped_closes_its_generator(server: ModuleServer) -> None:
    async def reads(items: Any) -> None:
        async for _ in items:
            pass

    async with AsyncConnection(f"127.0.0.1:{server.port}") as module:

        def items() -> Any:
            return module.stream("ticks", [10**9, 0.001])

        for _ in range(6):
            async for _ in items():
                break
            async with items() as read:
                await anext(read)
            async with contextlib.aclosing(items()) as read:
                await anext(read)
            assert await anext(read, "none") == "none"
            closed = (await module.call("state"))["closed"]
            task = asyncio.create_task(reads(items()))
            await anext(one := items())
            task.cancel()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await reads(one)
            assert (await module.call("state"))["closed"] >= closed
        async with asyncio.timeout(10):
            while (await module.call("state"))["closed"] < 24:
                await asyncio.sleep(0.01)


# --- readers that stop reading ---


def by_value(server: ModuleServer, seconds: float | None) -> Iterator[Any]:
    request = module_pb2.StreamRequest(method="large", args=[value(10**9), value(300_000)])
    return iter(server.stub.Stream(request, timeout=seconds))


def by_json(server: ModuleServer, seconds: float | None) -> Iterator[Any]:
    """As Envoy makes it of a REST call."""
    request = module_pb2.StreamJsonRequest(body=http_body({"method": "large", "args": [10**9, 300_000]}))
    metadata = () if seconds is None else ((STREAM_TIMEOUT, f"{seconds * 1000:.0f}m"),)
    for answer in server.stub.StreamJson(request, metadata=metadata):
        document = json.loads(answer.body.data)
        if "error" in document:
            raise error(document["error"]["details"][0]["reason"], "")
        yield document


@pytest.mark.parametrize("face", [by_value, by_json, "python"])
def test_a_stream_that_is_not_read_ends_on_time(brief: ModuleServer, face: Any) -> None:
    """Its place is released, others get it, and a client that reads on learns how the stream has ended."""
    closed = brief.call("state")["closed"]
    with Connection(f"127.0.0.1:{brief.port}") as module:
        unread = [
            module.stream("large", [10**9, 300_000], timeout=seconds) if face == "python" else face(brief, seconds)
            for seconds in (None, 0.4, None, 0.4)
        ]
        for items in unread:
            next(items)
        wait_until(lambda: brief.call("state", timeout=5)["closed"] == closed + 4)
        for items in unread:
            with pytest.raises((OrcError, grpc.RpcError)) as caught:
                list(items)
            told: Any = caught.value
            code = told.code if isinstance(told, OrcError) else told.code().value[0]
            assert code == Code.DEADLINE_EXCEEDED.value[0]


def test_a_callers_longer_deadline_governs(brief: ModuleServer) -> None:
    """Of calls, of streams that are silent for longer than the module's timeout, and of those that aren't read."""
    with Connection(f"127.0.0.1:{brief.port}", timeout=10) as module:
        unread = module.stream("large", [10**9, 300_000])
        assert next(unread)
        silent = module.stream("slow", [0.9])
        assert (module.call("wait", 0.9), list(silent)) == ("done", [0, 1])
        assert len(list(itertools.islice(unread, 100))) == 100
        request = module_pb2.StreamJsonRequest(body=http_body({"method": "slow", "args": [0.9]}))
        json_lines = brief.stub.StreamJson(request, metadata=((STREAM_TIMEOUT, "10S"),))
        assert len(list(json_lines)) == 2


def test_an_active_stream_may_last_longer_than_the_modules_timeout(brief: ModuleServer) -> None:
    answers = brief.stub.Stream(module_pb2.StreamRequest(method="ticks", args=[value(6), value(0.2)]))
    assert len(list(answers)) == 6
