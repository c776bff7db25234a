"""More calls than a module takes, callers that go away, and calls that would never end."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import httpx
import pytest

from jac_orc.client.session import Session
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

    def close_gate(self) -> None:
        """Has the next calls hold again."""
        self._gate.unlink()

    def holding(self) -> set[str]:
        """The names of the calls that hold, told without a call."""
        return {path.name.removeprefix("gate-") for path in self._gate.parent.glob("gate-*")}

    def begun(self) -> list[str]:
        """The names of the calls that have ever begun."""
        return list(self.system.call(MODULE, "begun"))

    def ended(self) -> dict[str, str]:
        """How the calls have ended that have."""
        return dict(self.system.call(MODULE, "ended"))


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
def session(system: System) -> Iterator[Session]:
    """A session with the module."""
    with Session(f"127.0.0.1:{system.port}", MODULE) as one:
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


@pytest.mark.parametrize("face", ["rest", "grpc"])
async def test_200_calls_at_once(limits: Limits, client: httpx.AsyncClient, stub: Stub, face: str) -> None:
    flood = Flood(limits)
    await (flood.by_rest(client) if face == "rest" else flood.by_grpc(stub))
    await flood.check()
    assert sorted(limits.begun()) == sorted(flood.results)
    await asyncio.to_thread(limits.check_nothing_has_grown)


def test_200_calls_at_once_in_a_session(limits: Limits, session: Session) -> None:
    calls = [session.submit(*limits.hold()) for _ in range(CALLS)]
    for call in calls[ROOM:]:  # its messages are taken in order
        with pytest.raises(OrcError) as failure:
            call.result()
        assert told(failure.value) == FULL
    wait_until(lambda: len(limits.holding()) == PLACES)
    limits.check_refuses_at_once()
    limits.open_gate()
    assert sorted(call.result() for call in calls[:ROOM]) == sorted(limits.begun())
    limits.check_nothing_has_grown()


async def test_all_faces_share_the_room(
    limits: Limits, client: httpx.AsyncClient, stub: Stub, session: Session
) -> None:
    pending = [session.submit(*limits.hold()) for _ in range(2)]
    await eventually(lambda: len(limits.holding()) == 2)
    flood = Flood(limits)
    await flood.by_grpc(stub)
    for _ in range(3):
        assert refusal(await client.post(CALL, json=document("begun"))) == FULL
        with pytest.raises(grpc.RpcError) as failure:
            stub.Call(message("begun"), timeout=10)
        assert told(failure_of(failure.value).error) == FULL
        with pytest.raises(OrcError) as refused:
            session.call("begun")
        assert told(refused.value) == FULL
    limits.open_gate()
    assert [call.result() for call in pending] == limits.begun()[:2]
    await eventually(lambda: len(flood.results) == ROOM - 2)


@pytest.mark.parametrize("face", ["rest", "grpc"])
async def test_the_room_of_callers_that_go_away_is_free_again(
    limits: Limits, client: httpx.AsyncClient, stub: Stub, face: str
) -> None:
    flood = Flood(limits)
    await (flood.by_rest(client) if face == "rest" else flood.by_grpc(stub))
    holding = limits.holding()
    for cancel in flood.cancels:
        cancel()
    await eventually(lambda: not limits.holding())
    await eventually(lambda: set(limits.ended()) == set(limits.begun()))
    assert holding <= set(limits.begun())
    assert set(limits.ended().values()) == {"Cancelled"}
    again = Flood(limits)
    await (again.by_rest(client) if face == "rest" else again.by_grpc(stub))
    await again.check()
    await asyncio.to_thread(limits.check_nothing_has_grown)


def test_calls_that_are_cancelled_while_they_wait_never_begin(limits: Limits, session: Session) -> None:
    calls = [session.submit(*limits.hold()) for _ in range(ROOM)]
    for waiting in calls[PLACES::2]:
        waiting.cancel()
        with pytest.raises(OrcError) as failure:
            waiting.result()
        assert failure.value.reason == "CANCELLED"
    more = [session.submit(*limits.hold()) for _ in range(QUEUE)]
    for call in more[QUEUE // 2 :]:
        with pytest.raises(OrcError) as failure:
            call.result()
        assert told(failure.value) == FULL
    limits.open_gate()
    results = [call.result() for call in [*calls[:PLACES], *calls[PLACES + 1 :: 2], *more[: QUEUE // 2]]]
    assert sorted(results) == sorted(limits.begun())


@pytest.mark.parametrize("face", ["rest", "grpc", "session"])
async def test_a_deadline_holds_in_the_queue_too(
    limits: Limits, client: httpx.AsyncClient, stub: Stub, session: Session, face: str
) -> None:
    calls = [session.submit(*limits.hold()) for _ in range(PLACES)]
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
            session.begin("spin", [name], timeout=0.3).result()
        assert late.value.reason == "DEADLINE_EXCEEDED"
    assert time.monotonic() - begin > 0.25
    # A gRPC client tells it by itself, when the server may be about to.
    await eventually(lambda: time.monotonic() > begin + 0.6)
    limits.open_gate()
    assert sorted(call.result() for call in calls) == sorted(limits.begun())


# --- callers that go away ---

ENDLESS = {"hold": "Cancelled", "spin": "Cancelled", "rest": "CancelledError"}


@pytest.mark.parametrize("face", ["rest", "run_module", "grpc", "channel", "session call", "session"])
async def test_a_function_ends_when_its_caller_goes_away(
    limits: Limits, client: httpx.AsyncClient, stub: Stub, session: Session, face: str
) -> None:
    leave: Callable[[], Any]
    leaves: dict[str, Callable[[], Any]] = {}
    target, futures = f"127.0.0.1:{limits.system.port}", []
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
            channel = grpc.insecure_channel(target)
            futures.append(Stub(channel).Call.future(message(*call)))
            leave = channel.close
        elif face == "session call":
            leave = session.submit(*call).cancel
        else:
            own = Session(target, MODULE)
            own.submit(*call)
            leave = own.close
        leaves[call[1]] = leave
    await eventually(lambda: set(limits.begun()) == set(leaves))
    assert limits.ended() == {}
    for leave in leaves.values():
        leave()
    await eventually(lambda: set(limits.ended()) == set(leaves))
    assert limits.ended() == dict(zip(leaves, ENDLESS.values(), strict=True))
    await asyncio.to_thread(limits.check_nothing_has_grown)


@pytest.mark.parametrize("face", ["rest", "grpc", "session"])
def test_a_generator_ends_when_its_reader_goes_away(limits: Limits, stub: Stub, session: Session, face: str) -> None:
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
            items = session.stream(method, name)
            assert next(items) == 0
            items.close()
    wait_until(lambda: set(limits.ended()) == set(names.values()))
    assert set(limits.ended().values()) <= {"GeneratorExit", "Cancelled", "CancelledError"}
    limits.check_nothing_has_grown()


# --- calls that would never end ---


def fails_in_time(limits: Limits, stub: Stub, session: Session, face: str, method: str, *args: Any) -> float:
    """Makes a call with a deadline of one second, which must end it; answers how long that took."""
    post = limits.system.post
    begin = time.monotonic()
    if face == "grpc":
        with pytest.raises(grpc.RpcError) as failure:
            stub.Call(message(method, *args), timeout=1)
        assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    elif face == "session":
        with pytest.raises(OrcError) as late:
            session.begin(method, args, timeout=1).result()
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


@pytest.mark.parametrize("faces", [("query", "header", "run_module", "grpc"), ("session", "grpc", "query", "session")])
def test_endless_loops_end_at_their_deadlines(
    limits: Limits, stub: Stub, session: Session, faces: tuple[str, ...]
) -> None:
    name = limits.name()
    calls = [("forever",), ("forever",), ("forever",), ("spin", name)]
    assert len(calls) == PLACES
    with ThreadPoolExecutor(PLACES) as pool:
        running = [
            pool.submit(fails_in_time, limits, stub, session, face, *call)
            for face, call in zip(faces, calls, strict=True)
        ]
        seconds = [one.result() for one in running]
    answers_within(limits, 1.5)
    assert all(0.95 < took < 2.5 for took in seconds), seconds
    wait_until(lambda: limits.ended() == {name: "Cancelled"})
    limits.check_nothing_has_grown()


@pytest.mark.parametrize(("method", "args"), [("nap", [3600]), ("refuse_to_end", [])])
def test_what_nothing_can_interrupt_answers_in_time_and_is_replaced(
    limits: Limits, stub: Stub, session: Session, method: str, args: list[float]
) -> None:
    system = limits.system
    before, guests = len(system.parts()), system.pids("guest", MODULE)
    server = system.pids("server", MODULE)
    assert 0.95 < fails_in_time(limits, stub, session, "query", method, *args) < 2.5
    answers_within(limits, 1.5)
    wait_until(lambda: len(new := system.pids("guest", MODULE)) == 1 and new != guests)
    answers_within(limits, 1.5)
    assert system.pids("server", MODULE) == server
    assert len(system.parts()) == before
