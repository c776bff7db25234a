"""Sessions: many calls in flight on one stream, with Python's own values."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import threading
import zoneinfo
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import grpc
import pytest

from jac_orc.client.session import RemoteObject, Session
from jac_orc.errors import OrcError
from jac_orc.v1 import errors_pb2, module_pb2, module_pb2_grpc, value_pb2
from tests.feature.conftest import Start
from tests.feature.module_servers import ModuleServer, failure, wait_until

MODULE = "orc_feature_objects"


@pytest.fixture(scope="module")
def server(guest_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleServer]:
    directory = tmp_path_factory.mktemp("sessions")
    running = ModuleServer(MODULE, guest_python, directory, max_array_bytes=8_000_000).serving()
    yield running
    assert running.stop() == 0


@pytest.fixture
def session(server: ModuleServer) -> Iterator[Session]:
    with Session(f"127.0.0.1:{server.port}") as one:
        yield one


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -1, 2**63, -(2**200), 1.5, float("inf"), "é", "\ud800", b"\x00", bytearray(b"a"), 1 + 2j, (1,),
        [1, 2, 3], [1.5, 2.5], [], {1, 2}, frozenset({"a"}), {"a": 1, (1, 2): b"x", None: {}}, decimal.Decimal("1.10"),
        Fraction(1, 3), Path("/a/b"), datetime.date(2026, 1, 31), datetime.timedelta(days=-1, microseconds=1),
        datetime.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
        datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), range(1, 10, 2), slice(1, None, 2), Ellipsis, int,
    ],
    ids=repr,
)  # fmt: skip
def test_values_come_back_as_they_are(session: Session, value: Any) -> None:
    back = session.call("same", value)
    assert (type(back), back) == (type(value), value)
    assert session.call("type_of", value) == type(value).__name__


@dataclasses.dataclass
class Order:
    day: datetime.date


def test_a_dataclass_that_is_not_known_here_is_a_record(session: Session) -> None:
    order = session.begin("Order", [datetime.date(2026, 1, 31), decimal.Decimal(1)], {}, keep=True).result()
    assert isinstance(order, RemoteObject)
    record = session.call("same_order", order)
    assert (record.day, record.price, record.items) == (datetime.date(2026, 1, 31), decimal.Decimal(1), [])
    assert session.call("order", order) == ["Order", "2026-01-31", "1", []]


def test_classes_of_other_packages_are_not_made_in_the_guest(session: Session) -> None:
    """What arrives for a class that the guest doesn't know as its own is a record, and no code of it has run."""
    assert session.call("type_of", Order(datetime.date(2026, 1, 31))) == "Record"


def test_objects_go_by_reference(session: Session) -> None:
    counter = session.call("Counter", 5)
    assert (counter.type_name, repr(counter)) == (f"{MODULE}.Counter", f"<remote {MODULE}.Counter: Counter(5)>")
    assert counter.call("add", 2) == 7
    assert counter.call("value") == 7
    assert counter.call("", 3) == 21
    assert counter.call("__getitem__", 1) == 10
    assert session.call("total", counter, counter) == 14
    with pytest.raises(TypeError, match="no form in which it can be sent"):
        session.call("same", object())


def test_an_object_that_is_forgotten_here_is_released(start_server: Start) -> None:
    server = start_server(MODULE).serving()
    with Session(f"127.0.0.1:{server.port}") as session:
        counters = [session.call("Counter", number) for number in range(5)]
        assert session.call("alive") == 5
        del counters[1:]
        session.call("alive")  # takes the releases along
        wait_until(lambda: session.call("alive") == 1)
        counters[0].release()
        wait_until(lambda: session.call("alive") == 0)


def test_answers_come_as_they_are_ready(session: Session, tmp_path: Path) -> None:
    slow = session.submit("until", str(tmp_path / "gate"), "slow")
    assert [session.call("same", number) for number in range(20)] == list(range(20))
    (tmp_path / "gate").touch()
    assert slow.result() == "slow"


def test_calls_use_results_that_are_not_there_yet(session: Session) -> None:
    counter = session.hold("Counter", 1)
    for _ in range(20):
        counter = session.begin("__add__", [counter], target=counter, hold=True)
    last = session.begin("value", target=counter)
    assert last.result() == 2**20
    slow = session.hold("slow", 0.3, 5)
    assert session.call("same", [slow, {"a": slow}]) == [5, {"a": 5}]
    assert slow.result() == 5


def test_many_wait_for_one(session: Session) -> None:
    slow = session.hold("slow", 0.2, 7)
    assert [pending.result() for pending in [session.submit("same", slow) for _ in range(10)]] == [7] * 10


def test_what_depends_on_a_failure_fails(session: Session) -> None:
    failing = session.hold("fails", "for a reason")
    with pytest.raises(OrcError, match="for a reason") as caught:
        session.call("same", failing)
    assert caught.value.reason == "EXCEPTION_RAISED"
    with pytest.raises(OrcError, match="for a reason"):
        failing.result()


def test_a_result_that_must_not_leave_the_guest_is_not_held(session: Session) -> None:
    """Its attributes lead into the interpreter."""
    frame = session.hold("frame")
    for call in (frame.result, lambda: frame.call("f_globals"), lambda: session.call("type_of", frame)):
        with pytest.raises(OrcError, match="is a frame") as caught:
            call()
        assert caught.value.reason == "NAME_NOT_EXPOSED"


def test_held_results_are_released(start_server: Start) -> None:
    server = start_server(MODULE, max_objects=4).serving()
    with Session(f"127.0.0.1:{server.port}") as session:
        for _ in range(10):
            held = session.hold("Counter", 1)
            assert session.begin("value", target=held).result() == 1
            del held
        all_held = [session.hold("Counter", 1) for _ in range(3)]
        assert [one.call("value") for one in all_held] == [1, 1, 1]
        all_held.append(session.hold("Counter", 1))
        with pytest.raises(OrcError) as caught:
            session.hold("Counter", 1).call("value")
        assert caught.value.reason == "OBJECT_LIMIT"
    wait_until(lambda: server.call("alive") == 0)


def test_a_result_that_is_not_held_cannot_be_used(session: Session) -> None:
    with pytest.raises(TypeError, match="held"):
        session.call("same", session.submit("same", 1))


def test_cancel(session: Session, server: ModuleServer) -> None:
    guest = server.guests()
    spinning = session.submit("spins")
    waiting = session.hold("slow", 30)
    dependent = session.submit("same", waiting)
    for pending in (spinning, dependent):
        pending.cancel()
        with pytest.raises(OrcError) as caught:
            pending.result()
        assert caught.value.reason == "CANCELLED"
    assert session.call("same", 1) == 1
    assert server.guests() == guest


def test_a_calls_own_timeout(session: Session) -> None:
    with pytest.raises(OrcError) as caught:
        session.begin("spins", timeout=0.2).result()
    assert caught.value.reason == "DEADLINE_EXCEEDED"
    assert session.call("same", 1) == 1


def test_streams(session: Session) -> None:
    assert list(session.stream("generator", 1000)) == list(range(1000))
    assert list(session.stream("async_generator", 100)) == list(range(100))
    items = session.stream("generator", 10**9)
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    items.close()
    generator = session.call("generator", 3)
    assert [generator.call("__next__") for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OrcError) as caught:
        list(session.stream("type_of", 5))
    assert caught.value.reason == "VALUE_NOT_REPRESENTABLE"


def test_a_queue_that_is_full_refuses_at_once(start_server: Start, tmp_path: Path) -> None:
    server = start_server(MODULE, max_concurrency=2, queue=3).serving()
    with Session(f"127.0.0.1:{server.port}") as session:
        calls = [session.submit("until", str(tmp_path / "gate"), number) for number in range(10)]
        refused = []
        for call in calls[5:]:
            with pytest.raises(OrcError) as caught:
                call.result()
            refused.append(caught.value.reason)
        assert refused == ["QUEUE_FULL"] * 5
        (tmp_path / "gate").touch()
        assert [call.result() for call in calls[:5]] == [0, 1, 2, 3, 4]


def test_arrays_travel_in_chunks_both_ways(session: Session) -> None:
    import array

    numbers = array.array("d", range(400_000))
    back = session.call("same", numbers)
    assert (back.typecode, back == numbers) == ("d", True)
    assert session.call("same", [numbers, (numbers,)]) == [numbers, (numbers,)]
    view = memoryview(bytes(300_000))
    assert session.call("same", view) == view
    held = session.hold("slow", 0.2)
    assert session.call("type_of", [held, numbers]) == "list"  # chunks that come before the call can run


def test_arrays_that_are_too_large_are_refused(session: Session) -> None:
    import array

    numbers = array.array("d", bytes(8_000_008))
    with pytest.raises(OrcError) as caught:
        session.call("same", numbers)
    assert (caught.value.reason, caught.value.metadata["setting"]) == ("TOO_LARGE", "MAX_ARRAY_BYTES")
    assert session.call("same", 1) == 1


def test_errors_tell_type_traceback_causes_and_groups(session: Session) -> None:
    with pytest.raises(OrcError) as caught:
        session.call("fails", "why")
    (info,) = [detail for detail in caught.value.details if isinstance(detail, errors_pb2.ExceptionInfo)]
    assert (info.type, info.message, "in fails" in info.traceback) == ("builtins.ValueError", "why", True)
    assert "jac_orc" not in info.traceback


def test_threads_share_a_session(session: Session) -> None:
    failed = []

    def work(number: int) -> None:
        for index in range(100):
            if session.call("same", [number, index]) != [number, index]:
                failed.append((number, index))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def messages(server: ModuleServer, *requests: Any) -> list[module_pb2.SessionResponse]:
    return list(server.stub.Session(iter(requests), timeout=5))


def test_the_protocol_as_other_languages_speak_it(server: ModuleServer) -> None:
    number = value_pb2.PythonValue(int_value=-5)
    call = module_pb2.SessionCall(call_id=7, method="same", args=[number])
    (answer,) = messages(server, module_pb2.SessionRequest(call=call))
    assert (answer.result.call_id, answer.result.value) == (7, number)
    call = module_pb2.SessionCall(call_id=8, method="same", kwargs={"value": number})
    (answer,) = messages(server, module_pb2.SessionRequest(call=call))
    assert answer.result.value == number
    call = module_pb2.SessionCall(call_id=9, method="nothing")
    (answer,) = messages(server, module_pb2.SessionRequest(call=call))
    assert (answer.error.call_id, answer.error.status.code) == (9, 5)


@pytest.mark.parametrize(
    "request_",
    [
        module_pb2.SessionRequest(call=module_pb2.SessionCall(method="same")),
        module_pb2.SessionRequest(cancel=module_pb2.SessionCancel(call_id=99)),
        module_pb2.SessionRequest(credit=module_pb2.SessionCredit(call_id=99, items=2**31)),
        module_pb2.SessionRequest(release=module_pb2.SessionRelease(obj_ids=["x"], call_ids=[1, 99])),
        module_pb2.SessionRequest(chunk=module_pb2.SessionChunk(chunk_id=1, data=b"x", total=2**60)),
        module_pb2.SessionRequest(),
    ],
    ids=lambda request: str(request)[:20],
)
def test_odd_messages_do_no_harm(server: ModuleServer, session: Session, request_: Any) -> None:
    if request_.WhichOneof("kind") == "call":
        assert failure(messages, server, request_).error.reason == "MALFORMED_REQUEST"
    else:
        assert messages(server, request_) == []
    assert session.call("same", 1) == 1


@pytest.mark.parametrize(
    "call",
    [
        {"args": [value_pb2.PythonValue()]},
        {"args": [value_pb2.PythonValue(tensor_value=value_pb2.TensorValue(dtype="<f8", shape=[2**40], chunk_id=5))]},
        {"args": [value_pb2.PythonValue(result_value=value_pb2.ResultReference(call_id=5))]},
        {"args": [value_pb2.PythonValue(object_value=value_pb2.ObjectReference(obj_id="x"))]},
        {"args": [value_pb2.PythonValue(text_value=value_pb2.TextValue(type="os.system", text="true"))]},
        {"args": [value_pb2.PythonValue(set_value=value_pb2.SequenceValue(items=[value_pb2.PythonValue(
            list_value=value_pb2.SequenceValue())]))]},
        {"target": value_pb2.PythonValue(result_value=value_pb2.ResultReference(call_id=1)), "hold": True},
        {"timeout": {"seconds": -1}},
    ],
    ids=str,
)  # fmt: skip
def test_odd_values_fail_their_call_only(server: ModuleServer, call: dict[str, Any]) -> None:
    good = module_pb2.SessionCall(call_id=2, method="thread_name")
    odd = module_pb2.SessionCall(call_id=1, method="same", **call)
    answers = messages(server, module_pb2.SessionRequest(call=odd), module_pb2.SessionRequest(call=good))
    by_id = {answer.error.call_id or answer.result.call_id: answer for answer in answers}
    assert by_id[1].HasField("error")
    assert by_id[2].HasField("result")


def test_garbage_ends_the_session_only(server: ModuleServer, session: Session) -> None:
    send: Any = server.channel.stream_stream(f"/{module_pb2.DESCRIPTOR.package}.ModuleService/Session")
    for garbage in (b"\xff", b"\x0a\xff", b"\x08\x01", b"\x0a\x02\x08\x00", b"\x32\x02\x0a\x05"):
        assert failure(lambda data: list(send(iter([data]), timeout=5)), garbage).error.reason == "MALFORMED_REQUEST"
    assert session.call("same", 1) == 1


def test_a_session_is_answered_before_its_first_call(server: ModuleServer) -> None:
    """Envoy cuts off requests that nothing has answered for half an hour, and a first call may take longer."""
    end = threading.Event()

    def messages() -> Iterator[module_pb2.SessionRequest]:
        end.wait(10)
        yield from ()

    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stream = module_pb2_grpc.ModuleServiceStub(channel).Session(messages(), timeout=5)
        assert stream.initial_metadata() is not None
        end.set()
        assert list(stream) == []
