"""More calls than a module takes, callers that go away, and calls that would never end."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc
import httpx
import pytest

from jac_orc.client.connection import Connection
from jac_orc.errors import OrcError
from jac_orc.v1 import module_pb2, module_pb2_grpc
from tests.e2e.system import System, reason, wait_until
from tests.feature.footprints import Footprint, footprint
from tests.feature.module_servers import failure_of, value
from tests.support import eventually

MODULE = "orc_guest_limits"
CALL = f"/v1/modules/{MODULE}:call"
PLACES, QUEUE, CALLS = 4, 10, 200
ROOM = PLACES + QUEUE
FULL = ("QUEUE_FULL", {"queue": str(QUEUE), "max_concurrency": str(PLACES)})
Stub = module_pb2_grpc.ModuleServiceStub


class Limits:
    """The module with its limits on a system, and what the processes of that have open."""

    def __init__(self, system: System) -> None:
        self.system = system
        modules, ours = system.meeting_place(MODULE)
        self._gate, self._gate_of_module = ours / "gate", modules / "gate"
        self._names = (f"call-{number}" for number in itertools.count())
        self._before = self._processes()

    def _processes(self) -> dict[int, Footprint]:
        return {pid: footprint(pid) for pid in self.system.parts()}

    def check_nothing_has_grown(self) -> None:
        """Fails unless all processes are the same as before, with hardly more threads and files.

        Threads that have run calls stay for the next ones, and so do the connections that a client keeps.
        """
        wait_until(lambda: self.system.parts() == set(self._before))

        def is_small() -> bool:
            now, before = self._processes(), self._before
            return all(
                now[pid].threads <= before[pid].threads + 2 * PLACES
                and now[pid].files <= before[pid].files + 2 * PLACES
                for pid in before
            )

        wait_until(is_small)

    def check_refuses_at_once(self) -> None:
        """Fails unless calls are refused now, while those that run can't end."""
        for _ in range(5):
            assert refusal(self.system.try_call(MODULE, "begun")) == FULL

    # --- the module's own view ---

    def hold(self) -> tuple[str, str, str]:
        """A call that lasts until the gate is open: its method and arguments."""
        return "hold", next(self._names), str(self._gate_of_module)

    def name(self) -> str:
        """A new name for a call."""
        return next(self._names)

    def open_gate(self) -> None:
        """Lets all calls that hold end."""
        self._gate.touch()

    def holding(self) -> set[str]:
        """The names of the calls that hold, told without a call."""
        return {path.name.removeprefix("gate-") for path in self._gate.parent.glob("gate-*")}

    def begun(self) -> list[str]:
        """The names of the calls that have ever begun."""
        return list(self.system.call(MODULE, "begun"))

    def ended(self) -> dict[str, str]:
        """How the calls have ended that have."""
        return dict(self.system.call(MODULE, "ended"))


class InThreads:
    """The module's Python client; a call's result is a future's."""

    def __init__(self, system: System) -> None:
        self.connection = Connection(f"127.0.0.1:{system.port}", MODULE, timeout=60)
        self._pool = ThreadPoolExecutor(CALLS)

    def __enter__(self) -> InThreads:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, method: str, *args: Any) -> Future[Any]:
        """Begins a call."""
        return self._pool.submit(self.connection.call, method, *args)

    def ends(self, face: str, method: str, *args: Any, timeout: float | None = None) -> None:
        """Makes a call, or a batch of two like it, or reads a stream to its end; raises OrcError."""
        if face == "batch":
            batch = self.connection.batch(timeout=timeout)
            for _ in range(2):
                batch.call(method, *args)
            batch.run()
        elif face == "stream":
            for _ in self.connection.stream(method, args, timeout=timeout):
                pass
        else:
            self.connection.invoke(method, args, timeout=timeout)

    def begin(self, face: str, *call: Any) -> None:
        """Start the same call and ignore how it ends."""
        self._pool.submit(self.ends, face, *call)

    def close(self) -> None:
        """Leaves, whatever is still called."""
        self.connection.close()
        self._pool.shutdown()


@pytest.fixture(scope="module")
def deployed(system: System) -> Iterator[None]:
    """The module, for all tests: each leaves it idle."""
    spec = {"module_name": MODULE, "max_concurrency": PLACES, "queue": QUEUE}
    assert system.post("/v1/modules", spec).status_code == 200
    yield
    system.remove(MODULE)


@pytest.fixture
def limits(deployed: None, system: System) -> Iterator[Limits]:
    """The module, which has forgotten earlier calls; those that hold end with the test."""
    system.call(MODULE, "forget")
    one = Limits(system)
    yield one
    one.open_gate()
    wait_until(lambda: set(one.begun()) == set(one.ended()))


@pytest.fixture
def stub(system: System) -> Iterator[Stub]:
    """The generated stub on the front port."""
    with grpc.insecure_channel(f"127.0.0.1:{system.port}") as channel:
        yield Stub(channel)


@pytest.fixture
def python(system: System) -> Iterator[InThreads]:
    """The Python client, whose calls run in threads."""
    with InThreads(system) as one:
        yield one


@pytest.fixture
async def client(system: System) -> AsyncIterator[httpx.AsyncClient]:
    """A REST client that can have any number of calls in flight, each on a connection of its own."""
    many = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    url = f"http://127.0.0.1:{system.port}"
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False, limits=many) as one:
        yield one


def document(method: str, *args: Any) -> dict[str, Any]:
    """A call's JSON body."""
    return {"method": method, "args": args}


def message(method: str, *args: Any) -> module_pb2.CallRequest:
    """A call's message."""
    return module_pb2.CallRequest(module_name=MODULE, method=method, args=[value(arg) for arg in args])


def refusal(response: httpx.Response) -> tuple[str, dict[str, str]]:
    """Return the reason of a failure and its metadata, but the call's id."""
    return reason(response), _without_id(response.json()["details"][0]["metadata"])


def is_late(response: httpx.Response) -> bool:
    """Whether the deadline has ended the call.

    Where Envoy is late by more than 20 ms, the module server's gRPC library tells first, and knows no details.
    """
    body = response.json()
    return (response.status_code, body["code"]) == (504, 4) and (
        body["details"] == [] or reason(response) == "DEADLINE_EXCEEDED"
    )


def told(failure: OrcError) -> tuple[str, dict[str, str]]:
    """Return the same of a failure over gRPC."""
    return failure.reason, _without_id(failure.metadata)


def _without_id(metadata: Mapping[str, str]) -> dict[str, str]:
    return {key: text for key, text in metadata.items() if key != "call_id"}


# --- more calls than there is room for ---


class Flood:
    """Many calls at once, all of which hold, and what their callers have been told."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.results: list[str] = []
        self.refusals: list[tuple[str, dict[str, str]]] = []
        self.cancels: list[Callable[[], Any]] = []

    async def by_rest(self, client: httpx.AsyncClient) -> None:
        """Sends them over REST; returns once all that must be have been refused."""

        async def one() -> None:
            response = await client.post(CALL, json=document(*self._limits.hold()))
            if response.status_code == 200:
                self.results.append(response.json()["result"])
            else:
                assert response.status_code == 429, response.text
                self.refusals.append(refusal(response))

        self._tasks = [asyncio.create_task(one()) for _ in range(CALLS)]
        self.cancels = [task.cancel for task in self._tasks]
        await self._are_refused()

    async def by_grpc(self, stub: Stub) -> None:
        """The same over gRPC."""

        for _ in range(CALLS):
            future: Any = stub.Call.future(message(*self._limits.hold()), timeout=60)
            future.add_done_callback(self._ended)
            self.cancels.append(future.cancel)
        await self._are_refused()

    async def by_python(self, python: InThreads) -> None:
        """The same with the Python client."""

        def end(call: Future[str]) -> None:
            failure = call.exception()
            if isinstance(failure, OrcError) and failure.reason == "QUEUE_FULL":
                self.refusals.append(told(failure))
            elif failure is None:
                self.results.append(call.result())

        for _ in range(CALLS):
            python.submit(*self._limits.hold()).add_done_callback(end)
        self.cancels = [python.close]
        await self._are_refused()

    def _ended(self, future: Any) -> None:
        if future.code() is grpc.StatusCode.OK:
            self.results.append(future.result().result.string_value)
        elif future.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
            self.refusals.append(told(failure_of(future).error))

    async def _are_refused(self) -> None:
        await eventually(lambda: len(self.refusals) >= CALLS - ROOM)
        await eventually(lambda: len(self._limits.holding()) == PLACES)

    async def check(self) -> None:
        """Opens the gate; fails unless exactly those ran that there was room for, the others refused before."""
        assert (self.results, len(self.refusals)) == ([], CALLS - ROOM)
        assert all(why == FULL for why in self.refusals), self.refusals
        self._limits.check_refuses_at_once()
        self._limits.open_gate()
        await eventually(lambda: len(self.results) == ROOM)
        assert len(self.refusals) == CALLS - ROOM
        assert set(self.results) <= set(self._limits.begun())


@pytest.mark.parametrize("face", ["rest", "grpc", "python"])
async def test_200_calls_at_once(
    limits: Limits, client: httpx.AsyncClient, stub: Stub, python: InThreads, face: str
) -> None:
    flood = Flood(limits)
    await {"rest": lambda: flood.by_rest(client), "grpc": lambda: flood.by_grpc(stub)}.get(
        face, lambda: flood.by_python(python)
    )()
    await flood.check()
    assert sorted(limits.begun()) == sorted(flood.results)
    await asyncio.to_thread(limits.check_nothing_has_grown)


async def test_all_faces_share_the_room(
    limits: Limits, client: httpx.AsyncClient, stub: Stub, python: InThreads
) -> None:
    pending = [python.submit(*limits.hold()) for _ in range(2)]
    await eventually(lambda: len(limits.holding()) == 2)
    flood = Flood(limits)
    await flood.by_grpc(stub)
    for _ in range(3):
        assert refusal(await client.post(CALL, json=document("begun"))) == FULL
        with pytest.raises(grpc.RpcError) as failure:
            stub.Call(message("begun"), timeout=10)
        assert told(failure_of(failure.value).error) == FULL
        for refused in (lambda: python.connection.call("begun"), lambda: python.connection.batch().run()):
            with pytest.raises(OrcError) as caught:
                refused()
            assert told(caught.value) == FULL
        with pytest.raises(OrcError) as caught:
            next(python.connection.stream("count", ["no name"]))
        assert told(caught.value) == FULL
    limits.open_gate()
    assert sorted(call.result() for call in pending) == sorted(limits.begun()[:2])
    await eventually(lambda: len(flood.results) == ROOM - 2)


async def test_a_batch_takes_one_place(limits: Limits, python: InThreads) -> None:
    batch = python.connection.batch()
    for _ in range(CALLS):
        batch.call(*limits.hold())
    running = asyncio.create_task(asyncio.to_thread(batch.run))
    await eventually(lambda: len(limits.holding()) == 1)
    calls = [python.submit(*limits.hold()) for _ in range(PLACES - 1)]
    await eventually(lambda: len(limits.holding()) == PLACES)
    limits.open_gate()
    results = await running
    assert len(results) == CALLS
    assert {*results, *(call.result() for call in calls)} == set(limits.begun())


@pytest.mark.parametrize("face", ["rest", "grpc", "python"])
async def test_the_room_of_callers_that_go_away_is_free_again(
    limits: Limits, client: httpx.AsyncClient, stub: Stub, face: str
) -> None:
    async def fill() -> Flood:
        flood = Flood(limits)
        await {
            "rest": lambda: flood.by_rest(client),
            "grpc": lambda: flood.by_grpc(stub),
            "python": lambda: flood.by_python(InThreads(limits.system)),
        }[face]()
        return flood

    flood = await fill()
    holding = limits.holding()
    for cancel in flood.cancels:
        cancel()
    await eventually(lambda: not limits.holding())
    await eventually(lambda: set(limits.ended()) == set(limits.begun()))
    assert holding <= set(limits.begun())
    assert set(limits.ended().values()) == {"Cancelled"}
    again = await fill()
    await again.check()
    for cancel in again.cancels:
        cancel()
    await asyncio.to_thread(limits.check_nothing_has_grown)


def test_calls_that_are_cancelled_while_they_wait_never_begin(limits: Limits, stub: Stub) -> None:
    def begin(*call: str, timeout: float = 60) -> Any:
        return stub.Call.future(message(*call), timeout=timeout)

    def is_room_for(count: int) -> bool:
        calls = [begin("begun", timeout=0.3) for _ in range(count)]
        codes = [call.code() for call in calls]  # of all, so that none of them takes room any more
        return set(codes) == {grpc.StatusCode.DEADLINE_EXCEEDED}

    calls = [limits.hold() for _ in range(CALLS)]
    futures = {call[1]: begin(*call) for call in calls}
    wait_until(lambda: sum(future.done() for future in futures.values()) == CALLS - ROOM)
    wait_until(lambda: len(limits.holding()) == PLACES)
    running = limits.holding()
    waiting = [name for name, future in futures.items() if not future.done() and name not in running]
    assert len(waiting) == QUEUE
    for name in waiting[::2]:
        futures[name].cancel()
    wait_until(lambda: is_room_for(QUEUE // 2))
    limits.open_gate()
    results = [futures[name].result().result.string_value for name in (*running, *waiting[1::2])]
    assert sorted(results) == sorted(limits.begun())


@pytest.mark.parametrize("face", ["rest", "grpc", "python", "batch"])
async def test_a_deadline_holds_in_the_queue_too(
    limits: Limits, client: httpx.AsyncClient, stub: Stub, python: InThreads, face: str
) -> None:
    calls = [python.submit(*limits.hold()) for _ in range(PLACES)]
    await eventually(lambda: len(limits.holding()) == PLACES)
    name = limits.name()
    begin = time.monotonic()
    if face == "rest":
        response = await client.post(f"{CALL}?timeout=300m", json=document("spin", name))
        assert is_late(response), response.text
    elif face == "grpc":
        with pytest.raises(grpc.RpcError) as failure:
            stub.Call(message("spin", name), timeout=0.3)
        assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    else:
        with pytest.raises(OrcError) as late:
            await asyncio.to_thread(python.ends, face, "spin", name, timeout=0.3)
        assert late.value.reason == "DEADLINE_EXCEEDED"
    assert time.monotonic() - begin > 0.25
    # A gRPC client tells it by itself, when the server may be about to.
    await eventually(lambda: time.monotonic() > begin + 0.6)
    limits.open_gate()
    assert sorted(call.result() for call in calls) == sorted(limits.begun())


# --- callers that go away ---

ENDLESS = {"hold": "Cancelled", "spin": "Cancelled", "rest": "CancelledError"}


@pytest.mark.parametrize("face", ["rest", "run_module", "grpc", "channel", "python", "batch"])
async def test_a_function_ends_when_its_caller_goes_away(
    limits: Limits, client: httpx.AsyncClient, stub: Stub, face: str
) -> None:
    leave: Callable[[], Any]
    leaves: dict[str, Callable[[], Any]] = {}
    futures = []
    for method in ENDLESS:
        call = limits.hold() if method == "hold" else (method, limits.name())
        if face == "rest":
            leave = asyncio.create_task(client.post(CALL, json=document(*call))).cancel
        elif face == "run_module":
            path = f"/run_module?module_name={MODULE}&method_name={method}"
            leave = asyncio.create_task(client.post(path, json={"args": call[1:]})).cancel
        elif face == "grpc":
            leave = stub.Call.future(message(*call)).cancel
        elif face == "channel":
            channel = grpc.insecure_channel(f"127.0.0.1:{limits.system.port}")
            futures.append(Stub(channel).Call.future(message(*call)))
            leave = channel.close
        else:
            python = InThreads(limits.system)
            python.begin(face, *call)
            leave = python.close
        leaves[call[1]] = leave
    await eventually(lambda: set(limits.begun()) == set(leaves))
    assert limits.ended() == {}
    for leave in leaves.values():
        leave()
    await eventually(lambda: set(limits.ended()) == set(leaves))
    assert limits.ended() == dict(zip(leaves, ENDLESS.values(), strict=True))
    assert len(limits.begun()) == len(leaves)  # a batch has made none of its further calls
    await asyncio.to_thread(limits.check_nothing_has_grown)


@pytest.mark.parametrize("face", ["rest", "grpc", "closed", "forgotten"])
def test_a_generator_ends_when_its_reader_goes_away(limits: Limits, stub: Stub, python: InThreads, face: str) -> None:
    names = {}
    for method in ("count", "count_slowly"):
        name = names[method] = limits.name()
        if face == "rest":
            path = f"/v1/modules/{MODULE}:stream"
            with limits.system.http.stream("POST", path, json=document(method, name)) as response:
                assert next(response.iter_lines()) == '{"result":0}'
        elif face == "grpc":
            stream: Any = stub.Stream(module_pb2.StreamRequest(module_name=MODULE, method=method, args=[value(name)]))
            assert next(stream).result.number_value == 0
            stream.cancel()
        else:
            items = python.connection.stream(method, [name])
            assert next(items) == 0
            if face == "closed":
                items.close()
            del items
    wait_until(lambda: set(limits.ended()) == set(names.values()))
    assert set(limits.ended().values()) <= {"GeneratorExit", "Cancelled", "CancelledError"}
    limits.check_nothing_has_grown()


# --- calls that would never end ---


def fails_in_time(limits: Limits, stub: Stub, python: InThreads, face: str, method: str, *args: Any) -> float:
    """Makes a call with a deadline of one second, which must end it; answers how long that took."""
    post = limits.system.post
    begin = time.monotonic()
    if face == "grpc":
        with pytest.raises(grpc.RpcError) as failure:
            stub.Call(message(method, *args), timeout=1)
        assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    elif face in ("python", "batch", "stream"):
        with pytest.raises(OrcError) as late:
            python.ends(face, method, *args, timeout=1)
        assert late.value.reason == "DEADLINE_EXCEEDED"
    else:
        response = {
            "query": lambda: post(f"{CALL}?timeout=1S", document(method, *args)),
            "header": lambda: post(CALL, document(method, *args), grpc_timeout="1000m"),
            "run_module": lambda: post(
                f"/run_module?module_name={MODULE}&method_name={method}&timeout=1S", {"args": args}
            ),
        }[face]()
        assert is_late(response), response.text
    return time.monotonic() - begin


def answers_within(limits: Limits, seconds: float) -> None:
    """Fails unless the module answers calls in time."""
    begin = time.monotonic()
    limits.begun()
    assert time.monotonic() - begin < seconds


@pytest.mark.parametrize("faces", [("query", "header", "run_module", "grpc"), ("python", "stream", "query", "batch")])
def test_endless_loops_end_at_their_deadlines(
    limits: Limits, stub: Stub, python: InThreads, faces: tuple[str, ...]
) -> None:
    name = limits.name()
    calls = [("forever",), ("forever",), ("forever",), ("spin", name)]
    assert len(calls) == PLACES
    with ThreadPoolExecutor(PLACES) as pool:
        running = [
            pool.submit(fails_in_time, limits, stub, python, face, *call)
            for face, call in zip(faces, calls, strict=True)
        ]
        seconds = [one.result() for one in running]
    answers_within(limits, 1.5)
    assert all(0.95 < took < 2.5 for took in seconds), seconds
    wait_until(lambda: limits.ended() == {name: "Cancelled"})
    limits.check_nothing_has_grown()


@pytest.mark.parametrize(("method", "args"), [("nap", [3600]), ("refuse_to_end", [])])
def test_what_nothing_can_interrupt_answers_in_time_and_is_replaced(
    limits: Limits, stub: Stub, python: InThreads, method: str, args: list[float]
) -> None:
    system = limits.system
    before, guests = len(system.parts()), system.pids("guest", MODULE)
    server = system.pids("server", MODULE)
    assert 0.95 < fails_in_time(limits, stub, python, "query", method, *args) < 2.5
    answers_within(limits, 1.5)
    assert system.pids("guest", MODULE) == guests, "it costs nobody else anything"
    with ThreadPoolExecutor(PLACES) as pool:  # until such calls have all places
        failing = [pool.submit(fails_in_time, limits, stub, python, "query", method, *args) for _ in range(PLACES - 1)]
        assert all(0.95 < one.result() < 4 for one in failing)
    wait_until(lambda: len(new := system.pids("guest", MODULE)) == 1 and new != guests)
    answers_within(limits, 1.5)
    assert system.pids("server", MODULE) == server
    assert len(system.parts()) == before
