"""Calls with Python's own values: one, a stream, a batch, and values in parts."""

from __future__ import annotations

import array
import dataclasses
import datetime
import decimal
import threading
import zoneinfo
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from jac_orc.client.connection import Connection
from jac_orc.errors import OrcError
from jac_orc.guest.large_values import PART_BYTES
from jac_orc.v1 import errors_pb2, module_pb2, value_pb2
from tests.feature.conftest import Start
from tests.feature.module_servers import ModuleServer, failure, wait_until

MODULE = "orc_feature_objects"
Value = value_pb2.PythonValue


@pytest.fixture(scope="module")
def server(guest_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleServer]:
    directory = tmp_path_factory.mktemp("python_calls")
    running = ModuleServer(MODULE, guest_python, directory, max_value_bytes=8_000_000).serving()
    yield running
    assert running.stop() == 0


@pytest.fixture
def module(server: ModuleServer) -> Iterator[Connection]:
    with Connection(f"127.0.0.1:{server.port}") as connection:
        yield connection


def reason(call: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(OrcError) as caught:
        call(*args, **kwargs)
    return caught.value.reason


# --- values ---


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
def test_values_come_back_as_they_are(module: Connection, value: Any) -> None:
    back = module.call("same", value)
    assert (type(back), back) == (type(value), value)
    assert module.call("type_of", value) == type(value).__name__


@dataclasses.dataclass
class Order:
    day: datetime.date


def test_a_dataclass_that_is_not_known_here_is_a_record(module: Connection) -> None:
    order = module.invoke("Order", [datetime.date(2026, 1, 31), decimal.Decimal(1)], kept=True)
    record = module.call("same_order", order)
    assert (record.day, record.price, record.items) == (datetime.date(2026, 1, 31), decimal.Decimal(1), [])
    assert module.call("order", order) == ["Order", "2026-01-31", "1", []]


def test_classes_of_other_packages_are_not_made_in_the_guest(module: Connection) -> None:
    """What arrives for a class that the guest doesn't know as its own is a record, and no code of it has run."""
    assert module.call("type_of", Order(datetime.date(2026, 1, 31))) == "Record"


def test_errors_tell_type_traceback_causes_and_groups(module: Connection) -> None:
    with pytest.raises(OrcError) as caught:
        module.call("fails", "why")
    (info,) = [detail for detail in caught.value.details if isinstance(detail, errors_pb2.ExceptionInfo)]
    assert (info.type, info.message, "in fails" in info.traceback) == ("builtins.ValueError", "why", True)
    assert "jac_orc" not in info.traceback


def test_as_other_languages_call_it(server: ModuleServer) -> None:
    number = Value(int_value=-5)
    answer = server.stub.CallPython(module_pb2.CallPythonRequest(method="same", args=[number]))
    assert answer == module_pb2.CallPythonResponse(result=number)
    answer = server.stub.CallPython(module_pb2.CallPythonRequest(method="same", kwargs={"value": number}))
    assert answer.result == number
    assert failure(server.stub.CallPython, module_pb2.CallPythonRequest(method="nothing")).code.value[0] == 5


# --- streams ---


def test_streams(module: Connection) -> None:
    assert list(module.stream("generator", [1000])) == list(range(1000))
    assert list(module.stream("async_generator", [100])) == list(range(100))
    generator = module.call("generator", 3)
    assert [module.invoke("__next__", target=generator) for _ in range(3)] == [0, 1, 2]
    assert list(module.stream("", target=module.call("generator", 3))) == [0, 1, 2]
    assert list(module.stream("numbers", target=module.call("Counter", 3))) == [0, 1, 2]
    assert reason(list, module.stream("type_of", [5])) == "VALUE_NOT_REPRESENTABLE"


@pytest.mark.parametrize("drop", ["close", "forget"])
def test_a_stream_that_is_dropped_ends_its_generator(start_server: Start, drop: str) -> None:
    server = start_server(MODULE, max_concurrency=1).serving()
    with Connection(f"127.0.0.1:{server.port}") as module:
        items = module.stream("generator", [10**9])
        assert [next(items) for _ in range(3)] == [0, 1, 2]
        if drop == "close":
            items.close()
        else:
            del items
        assert module.invoke("same", [1], timeout=10) == 1


# --- batches ---


def test_calls_of_a_batch_use_earlier_results(module: Connection) -> None:
    batch = module.batch()
    counter = batch.invoke("Counter", [1], silent=True)
    for _ in range(20):
        counter = batch.invoke("__add__", [counter], target=counter, silent=True)
    batch.invoke("value", target=counter)
    batch.call("same", {"a": [counter]})
    *_, number, containing = batch.run()
    assert number == 2**20
    assert repr(containing["a"][0]) == f"<remote {MODULE}.Counter: Counter({2**20})>"


def test_a_batch_stops_at_the_first_failure_or_goes_on(module: Connection) -> None:
    for goes_on in (False, True):
        batch = module.batch(goes_on=goes_on)
        batch.call("same", 1)
        failing = batch.call("fails", "for a reason")
        batch.call("same", [failing])
        batch.call("same", 4)
        one, failed, *others = batch.run()
        assert (one, failed.reason, str(failed).count("for a reason")) == (1, "EXCEPTION_RAISED", 1)
        if goes_on:
            dependent, last = others
            assert (dependent.reason, "for a reason" in str(dependent), last) == ("EXCEPTION_RAISED", True, 4)
        else:
            assert not others


@pytest.mark.parametrize("kind", ["TypeError", "ValueError", "AttributeError", "RecursionError"])
def test_a_failure_of_any_class_fails_what_uses_its_result(start_server: Start, kind: str) -> None:
    server = start_server("orc_feature_plain").serving()
    with Connection(f"127.0.0.1:{server.port}") as module:
        batch = module.batch(goes_on=True)
        failing = batch.call("fails", kind)
        batch.call("echo", {"a": [failing]})
        assert [(outcome.reason, kind in str(outcome)) for outcome in batch.run()] == [("EXCEPTION_RAISED", True)] * 2


def test_a_batch_keeps_no_silent_results(start_server: Start) -> None:
    server = start_server(MODULE, max_objects=1).serving()
    with Connection(f"127.0.0.1:{server.port}") as module:
        batch = module.batch()
        for number in range(10):
            batch.invoke("Counter", [number], silent=True)
        assert batch.run() == [None] * 10
        assert module.call("alive") <= 1


def test_a_result_that_must_not_leave_the_guest_is_no_earlier_result(module: Connection) -> None:
    """Its attributes lead into the interpreter."""
    for silent in (False, True):
        batch = module.batch(goes_on=True)
        frame = batch.invoke("frame", silent=silent)
        batch.invoke("f_globals", target=frame)
        batch.call("type_of", frame)
        assert [each.reason for each in batch.run()] == ["NAME_NOT_EXPOSED"] * 3


def test_failures_of_a_batch_are_in_the_log_of_the_module(start_server: Start) -> None:
    server = start_server(MODULE).serving()
    with Connection(f"127.0.0.1:{server.port}") as module:
        batch = module.batch(goes_on=True)
        for number in range(3):
            batch.call("fails", f"number {number}")
        assert [each.reason for each in batch.run()] == ["EXCEPTION_RAISED"] * 3
        wait_until(lambda: all(f"ValueError: number {number}" in str(server.log()) for number in range(3)))


def test_a_batch_of_100_000_calls(module: Connection) -> None:
    batch = module.batch()
    earlier = batch.call("same", 0)
    for _ in range(99_999):
        earlier = batch.call("same", earlier)
    assert batch.run() == [0] * 100_000


def test_failures_of_a_batch_that_are_too_many_end_it(start_server: Start) -> None:
    server = start_server(MODULE, max_answer_bytes=100_000).serving()
    guests = server.guests()
    with Connection(f"127.0.0.1:{server.port}") as module:
        batch = module.batch(goes_on=True)
        for number in range(10_000):
            batch.call("fails", "x" * 900 if number else "first")
        first, *_, last = outcomes = batch.run()
        assert (first.reason, last.reason, 10 < len(outcomes) < 1000) == ("EXCEPTION_RAISED", "TOO_LARGE", True)
        assert module.call("same", 1) == 1
    assert server.guests() == guests


def test_a_batch_whose_result_has_ten_to_the_power_of_forty_items(start_server: Start) -> None:
    server = start_server(MODULE, max_answer_bytes=1_000_000).serving()
    with Connection(f"127.0.0.1:{server.port}") as module:
        batch = module.batch()
        grown = batch.call("same", [1.5])
        for _ in range(40):
            grown = batch.invoke("same", [[grown] * 10], silent=True)
        batch.call("same", grown)
        assert batch.run()[-1].reason == "TOO_LARGE"
        assert module.call("same", 1) == 1


def test_results_of_a_batch_that_are_too_large_together_fail_one_by_one(start_server: Start) -> None:
    server = start_server(MODULE, max_answer_bytes=10_000).serving()
    with Connection(f"127.0.0.1:{server.port}") as module:
        batch = module.batch(goes_on=True)
        for size in (6000, 6000, 1000):
            batch.call("same", bytes(size))
        one, two, three = batch.run()
        assert (len(one), two.reason, len(three)) == (6000, "TOO_LARGE", 1000)


def test_a_slow_batch_holds_up_no_other_call(module: Connection, tmp_path: Path) -> None:
    batch = module.batch()
    batch.call("same", 1)
    batch.call("until", str(tmp_path / "gate"), "slow")
    outcomes: list[Any] = []
    thread = threading.Thread(target=lambda: outcomes.extend(batch.run()))
    thread.start()
    assert [module.call("same", number) for number in range(20)] == list(range(20))
    (tmp_path / "gate").touch()
    thread.join(30)
    assert outcomes == [1, "slow"]


def test_a_batch_that_is_given_up_ends(start_server: Start) -> None:
    server = start_server(MODULE, max_concurrency=1).serving()
    guests = server.guests()
    with Connection(f"127.0.0.1:{server.port}") as module:
        batch = module.batch(goes_on=True, timeout=0.3)
        for _ in range(1000):
            batch.call("spins")
        assert reason(batch.run) == "DEADLINE_EXCEEDED"
        assert module.invoke("same", [1], timeout=10) == 1
    assert server.guests() == guests


def reference(index: int) -> Any:
    return Value(result_value=value_pb2.ResultReference(index=index))


@pytest.mark.parametrize(
    "call",
    [
        {"args": [reference(1)]},  # itself: a cycle
        {"args": [reference(2)]},
        {"args": [reference(2**32 - 1)]},
        {"target": reference(1)},
        {"args": [Value(list_value=value_pb2.SequenceValue(items=[reference(5)]))]},
        {"kwargs": {"value": reference(1)}},
    ],
    ids=str,
)
def test_only_earlier_calls_can_be_referred_to(server: ModuleServer, call: dict[str, Any]) -> None:
    good = {"method": "thread_name"}
    calls = [good, {"method": "same", **call}, {**good, "args": [reference(1)]}, good]
    answer = server.stub.CallBatch(module_pb2.CallBatchRequest(calls=calls, goes_on=True))
    outcomes = {each.index: each for each in answer.results}
    assert [outcomes[index].WhichOneof("kind") for index in range(4)] == ["result", "status", "status", "result"]
    assert "not an earlier one" in outcomes[1].status.message


def test_outside_of_batches_there_are_no_earlier_results(server: ModuleServer, module: Connection) -> None:
    request = module_pb2.CallPythonRequest(method="same", args=[reference(0)])
    assert failure(server.stub.CallPython, request).error.reason == "MALFORMED_REQUEST"
    other = module.batch().call("same", 1)
    for use in (lambda: module.call("same", other), lambda: module.batch().call("same", [other])):
        with pytest.raises(TypeError, match="later calls of this batch"):
            use()


# --- large values ---


def test_values_in_parts(module: Connection) -> None:
    numbers = array.array("d", range(900_000))
    remote = module.put(numbers)
    assert module.call("type_of", remote) == "array"
    back = module.get(remote)
    assert (back.typecode, back == numbers) == ("d", True)
    for value in (None, 5, b"", bytes(PART_BYTES - 9), bytes(3 * PART_BYTES), {"a": [numbers, (1,)]}):
        assert module.get(module.put(value)) == value


def test_large_arguments_and_results_go_in_parts_by_themselves(start_server: Start) -> None:
    server = start_server(MODULE, workers=2, max_answer_bytes=1_000_000).serving()
    one, other = bytes(6_000_000), bytes(5_000_000)
    with Connection(f"127.0.0.1:{server.port}") as module:
        counters = [module.call("Counter", number) for number in range(4)]  # in both guests
        for counter in counters:
            assert [len(part) for part in module.call("same", [counter, one, other])[1:]] == [6_000_000, 5_000_000]
        batch = module.batch()
        batch.call("type_of", [one, counters[0]])
        batch.call("type_of", other)
        assert batch.run() == ["list", "bytes"]
        assert list(module.stream("same", [[one, other, one]])) == [one, other, one]
    assert server.call("alive") == 0


def test_arguments_that_are_too_large_together_go_in_parts(start_server: Start) -> None:
    server = start_server("orc_feature_plain").serving()
    parts = [bytes([number]) * 3_500_000 for number in range(19)]
    with Connection(f"127.0.0.1:{server.port}") as module:
        returned = module.invoke("echo", parts, {"named": parts[7]})
        assert [len(returned), module.call("type_of", returned)] == [2, "list"]


def puts(*parts: tuple[int, bytes], **fields: Any) -> Iterator[module_pb2.PutValueRequest]:
    for size, data in parts:
        yield module_pb2.PutValueRequest(size=size, data=data, **fields)


STORED = Value(bytes_value=b"x" * 100).SerializeToString()


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([], "MALFORMED_REQUEST"),
        ([(0, b"")], "MALFORMED_REQUEST"),
        ([(200, STORED)], "MALFORMED_REQUEST"),
        ([(50, STORED)], "MALFORMED_REQUEST"),
        ([(len(STORED), STORED), (0, b"more")], "MALFORMED_REQUEST"),
        ([(0, STORED)], "MALFORMED_REQUEST"),
        ([(len(STORED), b"\xff" * len(STORED))], "MALFORMED_REQUEST"),
        ([(2**63, STORED)], "TOO_LARGE"),
        ([(9_000_000, bytes(1_000_000))] * 9, "TOO_LARGE"),
    ],
    ids=["nothing", "empty", "half", "more", "late", "no size", "garbage", "huge", "limit"],
)
def test_puts_that_lie(server: ModuleServer, parts: list[tuple[int, bytes]], expected: str) -> None:
    guests = server.guests()
    assert failure(server.stub.PutValue, puts(*parts)).error.reason == expected
    answer = server.stub.PutValue(puts((len(STORED), STORED[:7]), (0, STORED[7:])))
    assert answer.result.object_value.type == "builtins.bytes"
    assert server.guests() == guests


def test_puts_that_stop_half_way_hold_nothing(server: ModuleServer, module: Connection) -> None:
    """Of 8 MB that are allowed on their way, each announces 6."""
    for _ in range(5):
        has_begun, may_end = threading.Event(), threading.Event()

        def parts(has_begun: threading.Event = has_begun, may_end: threading.Event = may_end) -> Iterator[Any]:
            yield module_pb2.PutValueRequest(size=6_000_000, data=bytes(5_000_000))
            has_begun.set()
            may_end.wait(30)

        call = server.stub.PutValue.future(parts())
        assert has_begun.wait(30)
        call.cancel()
        may_end.set()
    value = bytes(6_000_000)
    wait_until(lambda: can_put(module, value))


def test_what_is_announced_keeps_others_from_nothing(server: ModuleServer, module: Connection) -> None:
    """Of 8 MB that are allowed on their way, each of three announces all."""
    may_end = threading.Event()

    def parts(begun: threading.Event) -> Iterator[Any]:
        yield module_pb2.PutValueRequest(size=8_000_000, data=b"x")
        begun.set()
        may_end.wait(30)

    calls = []
    for _ in range(3):
        begun = threading.Event()
        calls.append(server.stub.PutValue.future(parts(begun)))
        assert begun.wait(30)
    wait_until(lambda: not can_put(module, bytes(6_000_000)))  # each holds one large page
    module.put(bytes(1_000_000)).release()
    may_end.set()
    assert {failure(call.result).error.reason for call in calls} == {"MALFORMED_REQUEST"}
    wait_until(lambda: can_put(module, bytes(6_000_000)))


def test_a_put_for_another_module_is_refused(server: ModuleServer) -> None:
    for name in ("other", "x\n" * 500):
        told = failure(server.stub.PutValue, puts((len(STORED), STORED), module_name=name))
        assert (told.error.reason, told.error.metadata["module"]) == ("MODULE_MISMATCH", MODULE)
    assert server.stub.PutValue(puts((len(STORED), STORED), module_name=MODULE)).result.object_value.obj_id


def can_put(module: Connection, value: bytes) -> bool:
    try:
        module.put(value).release()
    except OrcError as failure:
        return failure.reason != "QUEUE_FULL"
    return True


def test_values_that_are_too_large_are_refused_in_words(module: Connection) -> None:
    with pytest.raises(OrcError) as caught:
        module.put(bytes(8_000_001))
    assert (caught.value.reason, caught.value.metadata["setting"]) == ("TOO_LARGE", "MAX_VALUE_BYTES")
    text = module.invoke("slow", [0, "x" * 5_000_000], kept=True)
    long = module.invoke("__add__", ["x" * 5_000_000], target=text, kept=True)
    assert reason(module.get, long) == "TOO_LARGE"
    assert module.call("same", 1) == 1


def test_a_value_is_put_beside_an_object(server: ModuleServer) -> None:
    counter = server.stub.CallPython(module_pb2.CallPythonRequest(method="Counter")).result.object_value.obj_id
    stored = server.stub.PutValue(puts((len(STORED), STORED), obj_id=counter)).result
    assert server.stub.CallPython(module_pb2.CallPythonRequest(method="same", args=[stored])).result.bytes_value
    gone = counter.replace("-1-", "-9-")
    for lost in ("x", "elsewhere-1-2-3-4", gone):
        assert failure(server.stub.PutValue, puts((len(STORED), STORED), obj_id=lost)).error.reason == "OBJECT_LOST"


# --- what does no harm ---


@pytest.mark.parametrize(
    "value",
    [
        Value(),
        Value(tensor_value=value_pb2.TensorValue(dtype="<f8", shape=[2**40], data=b"x")),
        Value(object_value=value_pb2.ObjectReference(obj_id="x")),
        Value(text_value=value_pb2.TextValue(type="os.system", text="true")),
        Value(set_value=value_pb2.SequenceValue(items=[Value(list_value=value_pb2.SequenceValue())])),
    ],
    ids=lambda value: str(value)[:20],
)
def test_odd_values_fail_their_call_only(server: ModuleServer, value: Any) -> None:
    failure(server.stub.CallPython, module_pb2.CallPythonRequest(method="same", args=[value]))
    good, odd = module_pb2.BatchCall(method="thread_name"), module_pb2.BatchCall(method="same", args=[value])
    results = server.stub.CallBatch(module_pb2.CallBatchRequest(calls=[good, odd, good], goes_on=True)).results
    assert {each.index: each.WhichOneof("kind") for each in results} == {0: "result", 1: "status", 2: "result"}


@pytest.mark.parametrize("method", ["CallPython", "StreamPython", "CallBatch", "PutValue", "GetValue"])
@pytest.mark.parametrize("garbage", [b"\xff", b"\x0a\xff", b"\x12\x02\x08", b"\x2a\x02\x0a\x05", b"\x12\x02\xff\xff"])
def test_garbage_is_malformed(server: ModuleServer, module: Connection, method: str, garbage: bytes) -> None:
    call: Any = server.channel.stream_stream(f"/{module_pb2.DESCRIPTOR.package}.ModuleService/{method}")

    if method == "CallBatch" and garbage in (
        b"\x12\x02\xff\xff",
        b"\x2a\x02\x0a\x05",
    ):  # a call that is garbage, and a field that isn't known
        (answer,) = call(iter([garbage]), timeout=5)
        assert all(each.status.code for each in module_pb2.CallBatchResponse.FromString(answer).results)
    else:
        found = failure(lambda: list(call(iter([garbage]), timeout=5))).error.reason
        assert found in ("MALFORMED_REQUEST", "UNKNOWN_METHOD", "OBJECT_LOST")
    assert module.call("same", 1) == 1


def test_a_full_queue_refuses_at_once(start_server: Start, tmp_path: Path) -> None:
    server = start_server(MODULE, max_concurrency=2, queue=3).serving()
    call = server.channel.unary_unary(
        f"/{module_pb2.DESCRIPTOR.package}.ModuleService/CallPython",
        request_serializer=module_pb2.CallPythonRequest.SerializeToString,
        response_deserializer=module_pb2.CallPythonResponse.FromString,
    )
    gate = Value(string_value=str(tmp_path / "gate"))
    calls = [call.future(module_pb2.CallPythonRequest(method="until", args=[gate])) for _ in range(10)]
    wait_until(lambda: sum(each.done() for each in calls) == 5)
    refused = [each for each in calls if each.done()]
    assert {failure(each.result).error.reason for each in refused} == {"QUEUE_FULL"}
    (tmp_path / "gate").touch()
    for each in calls:
        assert each in refused or each.result(10).result.none_value
