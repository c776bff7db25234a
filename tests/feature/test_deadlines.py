"""Calls that take too long or are given up: their code is interrupted, else the guest is replaced; and the queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from jac_orc.client.connection import Connection
from jac_orc.errors import OrcError
from jac_orc.v1 import module_pb2
from tests.feature.conftest import Start
from tests.feature.module_servers import ModuleServer, failure, failure_of, wait_until
from tests.support import running

Code = grpc.StatusCode


def lines_of(server: ModuleServer, text: str) -> list[dict[str, Any]]:
    """The lines of its log with this text."""
    return [line for line in server.log() if text in line["text"]]


def test_a_deadline_interrupts_the_modules_loop(start_server: Start, tmp_path: Path) -> None:
    server = start_server("orc_feature_waits").serving()
    guest = server.call("pid")
    marker = tmp_path / "marker"
    with pytest.raises(grpc.RpcError) as caught:
        server.call("loop", str(marker), timeout=0.5)
    assert caught.value.code() is Code.DEADLINE_EXCEEDED
    wait_until(marker.exists)
    assert server.call("pid") == guest, "the guest was not killed"


def test_a_caller_that_goes_away_interrupts_its_call(start_server: Start, tmp_path: Path) -> None:
    server = start_server("orc_feature_waits").serving()
    guest = server.call("pid")
    marker = tmp_path / "marker"
    call = server.begin("loop", str(marker))
    wait_until((tmp_path / "marker.started").exists)
    call.cancel()
    wait_until(marker.exists)
    assert server.call("pid") == guest


def test_the_settings_timeout_holds_for_callers_without_one(start_server: Start, tmp_path: Path) -> None:
    server = start_server("orc_feature_waits", timeout=0.4).serving()
    told = failure(server.stub.Call, server.request("loop", str(tmp_path / "marker")))
    assert (told.code, told.error.reason) == (Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert told.error.metadata == {"timeout": "0.4s"}


def test_a_value_that_stops_half_way_ends_as_a_call_does(start_server: Start) -> None:
    server = start_server("orc_feature_waits", timeout=0.5).serving()
    leaves = threading.Event()

    def parts() -> Iterator[module_pb2.PutValueRequest]:
        yield module_pb2.PutValueRequest(size=100, data=b"x")
        leaves.wait(10)

    told = failure(server.stub.PutValue, parts())
    leaves.set()
    assert (told.error.reason, told.error.metadata) == ("DEADLINE_EXCEEDED", {"timeout": "0.5s"})


def test_a_cancelled_coroutine_is_told(start_server: Start, tmp_path: Path) -> None:
    server = start_server("orc_feature_plain").serving()
    marker = tmp_path / "marker"
    with pytest.raises(grpc.RpcError):
        server.call("patient_coroutine", str(marker), timeout=0.5)
    assert wait_until(lambda: marker.exists() and marker.read_text()) == "cancelled"
    assert server.call("async_add", 1, 2) == 3


def test_the_first_coroutine_may_be_cancelled_while_asyncio_is_imported(start_server: Start, tmp_path: Path) -> None:
    """An import that is interrupted leaves the package unusable."""
    (tmp_path / "first.py").write_text(f"""if True:
        import os, sys, time

        class Finder:
            def find_spec(name, path=None, target=None):
                if name == "asyncio.events":
                    open({str(tmp_path / "begun")!r}, "w").close()
                    while not os.path.exists({str(tmp_path / "gate")!r}):
                        time.sleep(0.005)

        sys.meta_path.insert(0, Finder)

        def ready():
            return True

        async def answer():
            return 42
    """)
    server = start_server("first", source_folders=tmp_path, cancel_grace=10).serving()
    call = server.begin("answer")
    wait_until((tmp_path / "begun").exists)
    call.cancel()
    assert server.call("ready")  # the guest takes what it is sent in order
    (tmp_path / "gate").touch()
    assert server.call("answer") == 42


def test_a_call_of_a_batch_can_be_cancelled_whatever_ran_before(start_server: Start, tmp_path: Path) -> None:
    server = start_server("orc_feature_waits", cancel_grace=10).serving()
    guest = server.call("pid")
    with Connection(f"127.0.0.1:{server.port}") as connection:
        batch = connection.batch(goes_on=True, timeout=0.5)
        batch.call("fail_later")
        batch.call("loop", str(tmp_path / "marker"))
        with pytest.raises(OrcError) as caught:
            batch.run()
    assert caught.value.reason == "DEADLINE_EXCEEDED"
    wait_until((tmp_path / "marker").exists)
    assert server.call("pid") == guest, "the guest was not killed"


def test_a_call_that_cannot_be_interrupted_costs_its_own_place_only(start_server: Start, tmp_path: Path) -> None:
    server = start_server("orc_feature_waits", max_concurrency=2, queue=0).serving()
    guest = int(server.call("pid"))
    end = tmp_path / "end"
    with pytest.raises(grpc.RpcError):
        server.call("stubborn", str(tmp_path / "marker"), str(end), timeout=0.5)
    (line,) = wait_until(lambda: lines_of(server, "goes on 0.3 s after it was cancelled"))
    assert line["text"].startswith("Call stubborn ") and line["call_id"]
    assert server.pod_status() == (1, {})
    assert server.call("pid") == guest
    held = server.begin("until", str(tmp_path / "gate"))
    wait_until(lambda: server.guests() == {guest})
    assert failure(server.stub.Call, server.request("pid")).error.reason == "QUEUE_FULL"
    (tmp_path / "gate").touch()
    assert held.result().result.string_value == "done"
    assert server.call("pid") == guest
    end.touch()
    (last,) = wait_until(lambda: lines_of(server, "has ended"))
    assert last["text"].startswith("Call stubborn ") and last["call_id"] == line["call_id"]
    assert server.pod_status() == (0, {})


def test_calls_that_cannot_be_interrupted_and_have_all_places_have_their_guest_replaced(
    start_server: Start, tmp_path: Path
) -> None:
    server = start_server("orc_feature_waits", timeout=1, max_concurrency=3).serving()
    guest = int(server.call("pid"))
    requests = [server.request("stubborn", str(tmp_path / f"marker-{number}")) for number in range(3)]
    calls = [server.stub.Call.future(request) for request in requests]
    assert {failure(call.result).error.reason for call in calls} == {"DEADLINE_EXCEEDED"}
    wait_until(lambda: not running(guest))
    assert server.call("pid") != guest
    assert lines_of(server, "have all its places")
    assert server.pod_status() == (0, {"places_exhausted": 1})
    assert [line["cause"] for line in server.log() if "cause" in line] == ["places_exhausted"]


def test_an_interpreter_that_does_not_respond_is_replaced(start_server: Start, tmp_path: Path) -> None:
    """C code holds it: no other thread runs."""
    (tmp_path / "holds.py").write_text("""if True:
        import ctypes, os

        def hold(seconds):
            return ctypes.PyDLL(None).sleep(seconds)

        def pid():
            return os.getpid()
    """)
    server = start_server("holds", source_folders=tmp_path, response_grace=3).serving()
    guest = int(server.call("pid"))
    for seconds, is_replaced in ((2, False), (60, True)):
        with pytest.raises(grpc.RpcError):
            server.call("hold", seconds, timeout=0.3)
        if is_replaced:
            wait_until(lambda: not running(guest))
        assert (server.call("pid", timeout=15) != guest) is is_replaced
    assert lines_of(server, "had not read for 3 s")
    assert server.pod_status() == (0, {"not_responding": 1})


def test_a_coroutine_that_never_yields_has_its_guest_replaced(start_server: Start) -> None:
    """It holds the loop on which all of the module's coroutines run, each of which keeps a place."""
    server = start_server("orc_feature_plain", max_concurrency=3).serving()
    assert server.call("async_add", 1, 2) == 3
    with pytest.raises(grpc.RpcError):
        server.call("stuck_coroutine", timeout=0.5)

    def answers() -> bool:
        try:
            return bool(server.call("async_add", 1, 2, timeout=1) == 3)
        except grpc.RpcError:
            return False

    wait_until(answers, 20)


def test_a_full_queue_is_told_at_once(start_server: Start, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    server = start_server("orc_feature_waits", max_concurrency=2, queue=3).serving()
    waiting = [server.begin("until", str(gate)) for _ in range(5)]
    tried = [server.begin("until", str(gate)) for _ in range(3)]
    wait_until(lambda: sum(call.done() for call in [*waiting, *tried]) == 3, 5)
    refused = [call for call in [*waiting, *tried] if call.done()]
    for call in refused:
        told = failure_of(call.exception())
        assert (told.code, told.error.reason) == (Code.RESOURCE_EXHAUSTED, "QUEUE_FULL")
        assert told.error.metadata == {"queue": "3", "max_concurrency": "2"}
    gate.write_text("")
    for call in [*waiting, *tried]:
        if call not in refused:
            assert call.result(5).result.string_value == "done"
    assert server.call("pid"), "there is room again"


def test_a_burst_of_more_calls_than_can_be_accepted_at_once(start_server: Start) -> None:
    """Each is told why it is refused, which gRPC by itself doesn't do for those that it drops."""
    server = start_server("orc_feature_plain", max_concurrency=2, queue=3).serving()
    calls = [server.begin("add", 1, 2, timeout=60) for _ in range(5000)]
    failures = [failure_of(failure) for call in calls if (failure := call.exception()) is not None]
    assert {told.error.reason for told in failures} <= {"QUEUE_FULL"}
    assert len(failures) < len(calls)


def test_no_queue_at_all(start_server: Start, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    server = start_server("orc_feature_waits", max_concurrency=1, queue=0).serving()
    calls = [server.begin("until", str(gate)) for _ in range(2)]
    wait_until(lambda: any(call.done() for call in calls))
    gate.write_text("")
    codes = sorted(call.code().name for call in calls)
    assert codes == ["OK", "RESOURCE_EXHAUSTED"]


def test_a_call_that_is_given_up_while_it_waits_never_runs(start_server: Start, tmp_path: Path) -> None:
    gate, marker = tmp_path / "gate", tmp_path / "marker"
    server = start_server("orc_feature_waits", max_concurrency=1).serving()
    first = server.begin("until", str(gate))
    wait_until((tmp_path / "gate.begun").exists)  # calls of one client have no order
    second = server.begin("loop", str(marker))
    third = server.begin("pid")
    assert server.health() == "SERVING"  # what was sent before has come
    second.cancel()
    wait_until(lambda: any(line.get("reason") == "CANCELLED" for line in server.log()))
    gate.write_text("")
    assert first.result(5) and third.result(5)
    assert not marker.exists() or not (tmp_path / "marker.started").exists()


def test_slow_calls_hold_no_quick_one_up(start_server: Start, tmp_path: Path) -> None:
    server = start_server("orc_feature_waits", max_concurrency=8).serving()
    for number in range(3):  # the threads of slow calls are used again
        gate = tmp_path / f"gate{number}"
        slow = [server.begin("until", str(gate), timeout=60) for _ in range(6)]
        assert len({server.call("pid") for _ in range(20)}) == 1
        gate.touch()
        assert {call.result().result.string_value for call in slow} == {"done"}


def test_a_stuck_call_lets_the_others_of_its_guest_be(start_server: Start, tmp_path: Path) -> None:
    server = start_server("orc_feature_waits").serving()
    old = server.call("pid")
    others = [server.begin("pid_after", 2) for _ in range(3)]
    stuck = server.begin("stubborn", str(tmp_path / "marker"))
    wait_until((tmp_path / "marker").exists)
    stuck.cancel()
    assert {call.result().result.number_value for call in others} == {old}
    assert server.call("pid") == old


def test_cancelled_calls_hold_their_places_until_they_have_ended(start_server: Start) -> None:
    server = start_server("orc_feature_waits", max_concurrency=3, queue=100).serving()
    for _ in range(20):
        calls = [server.begin("at_once", 0.1) for _ in range(5)]
        time.sleep(0.02)
        for call in calls:
            call.cancel()
    assert server.call("most_at_once", timeout=20) <= 3


def test_stuck_calls_give_their_places_up_with_their_guest(start_server: Start, tmp_path: Path) -> None:
    server = start_server("orc_feature_waits", max_concurrency=3).serving()
    for number in range(3):
        with pytest.raises(grpc.RpcError):
            server.call("stubborn", str(tmp_path / str(number)), timeout=0.1)
    assert all(call.result() for call in [server.begin("meet", 3) for _ in range(3)])


def test_calls_of_a_guest_whose_interpreter_is_held_end_with_it(start_server: Start, tmp_path: Path) -> None:
    """They have not begun, and never would."""
    server = start_server("orc_feature_waits", response_grace=2).serving()
    guest = server.call("pid")
    holding = server.begin("hold_the_interpreter", str(tmp_path / "marker"))
    wait_until((tmp_path / "marker").exists)
    holding.cancel()
    told = failure(server.call, "pid", timeout=10)
    assert told.error.reason == "GUEST_DIED"
    assert not running(int(guest))
    wait_until(lambda: server.call("pid") != guest)
