"""The Python client's connections: shared by threads or tasks, and what becomes of objects and lost servers."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from jac_orc.client.async_connection import AsyncConnection
from jac_orc.client.connection import Connection
from jac_orc.client.messages import release_requests
from jac_orc.errors import OrcError
from jac_orc.v1 import module_pb2
from tests.feature.conftest import Start
from tests.feature.module_servers import ModuleServer, wait_until

MODULE = "orc_feature_objects"


@pytest.fixture(scope="module")
def server(guest_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleServer]:
    running = ModuleServer(MODULE, guest_python, tmp_path_factory.mktemp("connections")).serving()
    yield running
    assert running.stop() == 0


@pytest.fixture
def address(server: ModuleServer) -> str:
    return f"127.0.0.1:{server.port}"


def test_objects_go_by_reference(address: str) -> None:
    with Connection(address) as module:
        counter = module.call("Counter", 5)
        assert (counter.type_name, repr(counter)) == (f"{MODULE}.Counter", f"<remote {MODULE}.Counter: Counter(5)>")
        assert counter.is_callable
        assert module.invoke("add", [2], target=counter) == 7
        assert module.invoke("value", target=counter) == 7
        assert module.invoke("", [3], target=counter) == 21
        assert module.invoke("__getitem__", [1], target=counter) == 10
        assert module.call("total", counter, counter) == 14
        assert module.get(module.invoke("same", [[1, 2]], kept=True)) == [1, 2]
        with pytest.raises(TypeError, match="no form in which it can be sent"):
            module.call("same", object())


def test_objects_are_released_when_they_are_forgotten_here(start_server: Start) -> None:
    server = start_server(MODULE).serving()
    with Connection(f"127.0.0.1:{server.port}") as module:
        counters = [module.call("Counter", number) for number in range(5)]
        nested = module.call("nested")
        assert server.call("alive") == 6
        del counters[1:]
        wait_until(lambda: server.call("alive") == 2)
        counters[0].release()
        counters[0].release()
        del nested
        wait_until(lambda: server.call("alive") == 0)
        kept = [module.call("Counter", number) for number in range(3)]
    assert server.call("alive") == 0  # as its connection has ended
    del kept


def test_many_objects_are_released_in_few_messages(start_server: Start) -> None:
    server = start_server(MODULE, workers=2).serving()
    with Connection(f"127.0.0.1:{server.port}") as module:
        counters = [module.call("many", 500) for _ in range(8)]
        obj_ids = [counter.obj_id for some in counters for counter in some]
        requests = [module_pb2.ReleaseObjectRequest.FromString(each) for each in release_requests(obj_ids)]
        assert sorted(name for each in requests for name in (each.obj_id, *each.obj_ids)) == sorted(obj_ids)
        assert len(requests) < 8
        counters.clear()
        wait_until(lambda: server.call("alive") == 0 and server.call("alive") == 0)


def test_a_connection_that_is_forgotten_leaves_no_thread(address: str) -> None:
    before = threading.active_count()
    connection = Connection(address)
    assert connection.call("same", 1) == 1
    del connection
    gc.collect()
    wait_until(lambda: threading.active_count() <= before)


def test_a_connection_that_is_forgotten_releases_its_objects(start_server: Start) -> None:
    server = start_server(MODULE).serving()
    for _ in range(10):
        connection = Connection(f"127.0.0.1:{server.port}")
        counter = connection.call("Counter", 1)
        assert server.call("alive") >= 1
        del connection, counter
    gc.collect()
    wait_until(lambda: server.call("alive") == 0)


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_a_timeout_is_a_number_of_seconds(address: str, timeout: float) -> None:
    with Connection(address) as module:
        for long in (1e20, float("inf")):
            assert module.invoke("same", [1], timeout=long) == 1
        with pytest.raises(ValueError, match="must be a number of seconds"):
            module.invoke("same", [1], timeout=timeout)


def test_threads_share_a_connection(address: str) -> None:
    failed = []
    with Connection(address) as module:

        def work(number: int) -> None:
            for index in range(100):
                if module.call("same", [number, index]) != [number, index]:
                    failed.append((number, index))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failed


def test_deadlines(address: str, server: ModuleServer) -> None:
    guests = server.guests()
    with Connection(address, timeout=0.3) as module:
        for call in (lambda: module.call("spins"), lambda: list(module.stream("spins"))):
            with pytest.raises(OrcError) as caught:
                call()
            assert caught.value.reason == "DEADLINE_EXCEEDED"
        assert module.invoke("slow", [0.5, 7], timeout=20) == 7
        assert module.call("same", 1) == 1
    assert server.guests() == guests


def test_what_is_closed_says_so(address: str) -> None:
    module = Connection(address)
    items = module.stream("generator", [10**9])
    next(items)
    module.close()
    module.close()
    for call in (lambda: module.call("same", 1), lambda: list(items), lambda: module.stream("generator", [1])):
        with pytest.raises(OrcError) as caught:
            call()
        assert caught.value.reason == "CANCELLED"


def test_it_connects_again(start_server: Start) -> None:
    server = start_server(MODULE).serving()
    with Connection(f"127.0.0.1:{server.port}") as module:
        assert module.call("same", 1) == 1
        assert server.stop() == 0
        with pytest.raises(OrcError) as caught:
            module.call("same", 1)
        assert caught.value.reason == "MODULE_UNAVAILABLE"
        start_server(MODULE, port=server.port).serving()
        wait_until(lambda: answers(module))


def answers(module: Connection) -> bool:
    try:
        return bool(module.call("same", 1) == 1)
    except OrcError:
        return False


def test_a_channel_of_ones_own(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        with Connection(channel) as module:
            assert module.call("same", 1) == 1
        with Connection(channel) as module:  # which the first has not closed
            assert module.call("same", 1) == 1


async def test_from_asyncio(address: str) -> None:
    async with AsyncConnection(address) as module:
        assert await asyncio.gather(*(module.call("same", number) for number in range(50))) == list(range(50))
        counter = await module.call("Counter", 5)
        assert await module.invoke("add", [2], target=counter) == 7
        assert [item async for item in module.stream("numbers", target=counter)] == list(range(7))
        large = bytes(5_000_000)
        assert await module.call("same", large) == large
        assert await module.get(await module.put(large)) == large
        batch = module.batch()
        other = batch.invoke("Counter", [1], silent=True)
        batch.invoke("add", [counter], target=batch.invoke("__add__", [other], target=other))
        none, sum_of_both, failure = await batch.run()
        assert (none, repr(sum_of_both)[-11:-1], failure.reason) == (None, "Counter(2)", "EXCEPTION_RAISED")
        with pytest.raises(OrcError) as caught:
            await module.invoke("spins", timeout=0.2)
        assert caught.value.reason == "DEADLINE_EXCEEDED"
        spinning = asyncio.ensure_future(module.call("spins"))
        await asyncio.sleep(0.05)
        spinning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await spinning
    with pytest.raises(OrcError) as caught:
        await module.call("same", 1)
    assert caught.value.reason == "CANCELLED"


async def test_from_asyncio_what_is_forgotten_is_released_and_ended(start_server: Start) -> None:
    server = start_server(MODULE, max_concurrency=2).serving()

    async def is_released() -> None:
        while await asyncio.to_thread(server.call, "alive"):
            await asyncio.sleep(0.01)

    async with AsyncConnection(f"127.0.0.1:{server.port}") as module:
        counters = [await module.call("Counter", number) for number in range(3)]
        counters.clear()
        await asyncio.wait_for(is_released(), 10)
        for _ in range(5):  # more than run at a time
            items: Any = module.stream("generator", [10**9])
            assert await anext(items) == 0
            del items
        items = module.stream("generator", [3])
        items.close()
        assert [item async for item in items] == []
        kept = await module.call("Counter", 1)
    await asyncio.wait_for(is_released(), 10)
    del kept


async def test_from_asyncio_what_is_forgotten_after_the_end_fails_nothing(start_server: Start) -> None:
    server = start_server(MODULE).serving()
    failures: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    async with AsyncConnection(f"127.0.0.1:{server.port}") as module:
        counter = await module.call("Counter", 1)
    del counter
    await asyncio.sleep(0.1)
    del module
    gc.collect()
    assert not failures
