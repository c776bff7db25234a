"""What a module prints is in the log, each line with its call; whatever it does to its process, its calls answer."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jac_orc.client.connection import Connection
from jac_orc.errors import OrcError
from jac_orc.v1 import module_pb2
from tests.feature.conftest import Start
from tests.feature.module_servers import ModuleServer, failure, http_body, value, wait_until

MODULE = "orc_feature_output"
LONG = 60_000


@pytest.fixture(scope="module")
def server(guest_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleServer]:
    running = ModuleServer(MODULE, guest_python, tmp_path_factory.mktemp("output")).serving()
    yield running
    assert running.stop() == 0


@pytest.fixture
def own(start_server: Start) -> Iterator[ModuleServer]:
    """A server of the test's own, whose guest must live on."""
    running = start_server(MODULE).serving()
    before = running.call("pid")
    yield running
    assert running.call("pid") == before
    assert running.call("says", "the end") == 1
    assert not [line for line in running.log() if line["level"] == "error" and line["stream"] == "server"]


def lines(server: ModuleServer, text: str, count: int) -> list[dict[str, Any]]:
    """The log's lines with this text, once there are so many."""

    def found() -> list[dict[str, Any]]:
        return [
            line for line in server.log() if text in line["text"] and line["level"] == "info" and "method" not in line
        ]

    wait_until(lambda: len(found()) >= count, 5)
    time.sleep(0.05)  # for more, which there may not be
    assert len(found()) == count, found()
    return found()


def ids(found: list[dict[str, Any]]) -> set[str]:
    return {line.get("call_id", "") for line in found}


def test_each_way_to_print(server: ModuleServer) -> None:
    assert server.call("says_in_each_way", "E1") == "E1"
    found = lines(server, "E1", 7)
    assert len(ids(found)) == 1 and "" not in ids(found)
    by_text = {line["text"]: line["stream"] for line in found}
    for text in ("E1 print", "E1 buffer", "E1 writelines"):
        assert by_text[text] == "stdout"
    for text in ("E1 stderr", "E1 logging", "E1 partial"):
        assert by_text[text] == "stderr"
    assert any("UserWarning: E1 warning" in text for text in by_text)


def test_calls_have_different_ids(server: ModuleServer) -> None:
    for _ in range(5):
        server.call("says", "D1 a", "D1 b")
    found = lines(server, "D1", 10)
    assert len(ids(found)) == 5
    assert all(first["call_id"] == second["call_id"] for first, second in zip(found[::2], found[1::2], strict=True))


def test_concurrent_calls_are_told_apart(server: ModuleServer) -> None:
    calls = [server.begin("says_together", text) for text in ("C1", "C2")]
    assert [call.result().result.string_value for call in calls] == ["C1", "C2"]
    first, second = lines(server, "C1", 5), lines(server, "C2", 5)
    assert [line["text"] for line in first] == [f"C1 {number} begun" for number in range(5)]
    assert [line["text"] for line in second] == [f"C2 {number} begun" for number in range(5)]
    assert len(ids(first)) == len(ids(second)) == 1
    assert ids(first) != ids(second)


def test_concurrent_coroutines_are_told_apart(server: ModuleServer) -> None:
    calls = [server.begin("says_as_coroutine", f"K{number}") for number in range(4)]
    assert all(call.result() for call in calls)
    found = [lines(server, f"K{number}", 5) for number in range(4)]
    assert all(len(ids(of_one)) == 1 for of_one in found)
    assert len(set.union(*map(ids, found)) - {""}) == 4


def test_a_generators_lines_are_its_calls(server: ModuleServer) -> None:
    request = module_pb2.StreamRequest(method="says_as_generator", args=[value("G1")])
    assert len(list(server.stub.Stream(request, timeout=5))) == 3
    found = lines(server, "G1", 3)
    assert len(ids(found)) == 1 and "" not in ids(found)


def test_a_threads_lines_are_its_calls_where_it_has_the_context(server: ModuleServer) -> None:
    server.call("says_from_a_thread", "T1")
    server.call("says_from_a_thread_with_context", "T2")
    assert ids(lines(server, "T1", 1)) == {""}
    assert "" not in ids(lines(server, "T2", 1))


@pytest.mark.parametrize("method", ["says_and_fails", "says_and_fails_as_coroutine"])
def test_an_exception_has_the_id_of_its_calls_lines(server: ModuleServer, method: str) -> None:
    text = f"X {method}"
    told = failure(server.call, method, text)
    assert told.error.reason == "EXCEPTION_RAISED"
    assert ids(lines(server, text, 1)) == {told.call_id}


def test_every_way_to_call_has_an_id(server: ModuleServer) -> None:
    server.call_json({"method": "says", "args": ["W json"]})
    server.call_named("says_as_coroutine", {"text": "W named"})
    server.run("says", {"args": ["W run"]})
    with Connection(f"127.0.0.1:{server.port}") as connection:
        connection.call("says", "W python")
        with pytest.raises(OrcError) as caught:
            connection.call("says_and_fails", "W fails")
    assert ids(lines(server, "W fails", 1)) == {caught.value.metadata["call_id"]}
    counts = {"json": 1, "named": 5, "run": 1, "python": 1}
    found = [lines(server, f"W {kind}", count) for kind, count in counts.items()]
    assert len(set.union(*map(ids, found)) - {""}) == 4


def test_bytes_and_marks_do_no_harm(server: ModuleServer) -> None:
    told = failure(server.call, "says_and_fails", "a line to find the number by")
    assert server.call("says_bytes") == "said"
    found = [*lines(server, " bytes", 1), *lines(server, " surrogate", 1), *lines(server, " not a call", 1)]
    assert [line["text"] for line in found] == ["\\xff\\xfe bytes", "\\ud800 surrogate", "\x1e999\x1e not a call"]
    assert len(ids(found)) == 1 and ids(found) != {told.call_id}


def test_much_is_no_trouble(server: ModuleServer) -> None:
    assert server.call("says_much", 3000, 100) == 3000
    found = lines(server, "x" * 100, 3000)
    assert len(ids(found)) == 1
    long = [line for line in server.log() if "y" * 1000 in line["text"]]
    assert sum(line["text"].count("y") for line in long) == 200_000
    assert ids(long) == ids(found)


def test_long_lines_of_concurrent_calls_are_not_mixed(own: ModuleServer) -> None:
    calls = [own.begin("says_long_lines", letter, 15) for letter in "jqvz"]
    for _ in range(20):  # where what they print is read slowly, it is taken piece by piece
        os.kill(own.process.pid, signal.SIGSTOP)
        time.sleep(0.01)
        os.kill(own.process.pid, signal.SIGCONT)
        time.sleep(0.001)
    assert all(call.result() for call in calls)

    def printed() -> list[dict[str, Any]]:
        found = [line for line in own.log() if "call_id" in line]
        return found if sum(len(line["text"]) for line in found) >= 4 * 15 * LONG else []

    found = wait_until(printed)
    for letter in "jqvz":
        of_one = [line for line in found if line["text"][0] == letter]
        assert [line["text"] for line in of_one] == [letter * LONG] * 15
        assert len(ids(of_one)) == 1


def test_what_goes_past_python_is_logged_too(server: ModuleServer) -> None:
    server.call("writes_to_descriptors", "P1")
    found = lines(server, "P1", 3)
    assert ids(found) == {""}
    assert {line["stream"] for line in found} == {"stdout", "stderr"}


# --- what breaks things ---


@pytest.mark.parametrize(
    ("method", "args", "answer"),
    [
        ("closes_descriptors", [], "closed"), ("closes_streams", [], "closed"), ("redirects", ["lost"], "redirected"),
        ("replaces_print_target", [], "replaced"), ("forks_by_multiprocessing", ["fork"], [1, 2, 3]),
        ("forks_by_multiprocessing", ["spawn"], [1, 2, 3]), ("forks_by_multiprocessing", ["forkserver"], [1, 2, 3]),
        ("forks_by_process", [], 0), ("starts_printing", [], "started"), ("changes_directory", [], "/"),
        ("sets_hooks", [], "set"), ("raises_in_a_thread", [], "raised"), ("runs_a_loop", ["L1"], "L1"),
    ],
)  # fmt: skip
def test_calls_answer_whatever_the_module_does(own: ModuleServer, method: str, args: list[Any], answer: Any) -> None:
    for _ in range(2 if not method.startswith("closes") else 1):
        body = json.loads(own.call_json({"method": method, "args": args}))
        assert body == {"result": answer}
    for text in ("a", "b"):
        assert json.loads(own.call_json({"method": "runs_a_loop", "args": [text]})) == {"result": text}
    assert own.call("stops_printing") == "stopped"


@pytest.mark.parametrize("how", ["return", "exit", "raise", "sys_exit"])
def test_forks_answer_once(own: ModuleServer, how: str) -> None:
    children = {own.call("forks", how) for _ in range(3)}
    assert len(children) == 3 and 0 not in children
    assert [own.call("says", "x") for _ in range(20)] == [1] * 20
    body = json.loads(own.call_json({"method": "forks", "args": [how]}))
    assert list(body) == ["result"] and body["result"] > 0


@pytest.mark.parametrize("method", ["forks", "forks_in_a_coroutine"])
def test_forks_amid_other_calls_end(own: ModuleServer, method: str) -> None:
    """Whatever lock another thread holds when the module forks, the child comes to its end."""
    calls = [own.begin(method, "return") for _ in range(200)]
    children = {int(call.result().result.number_value) for call in calls}
    assert len(children) == 200 and 0 not in children


def test_a_directory_that_is_gone(own: ModuleServer, tmp_path: Path) -> None:
    assert own.call("removes_directory", str(tmp_path / "gone")) == "removed"
    assert own.call("runs_a_loop", "x") == "x"
    assert own.call("forks_by_process") == 0


def test_signals(own: ModuleServer) -> None:
    said = own.call("sets_signal_handlers")
    assert said == "set" or "main thread" in said
    if said == "set":
        for name in ("SIGTERM", "SIGINT", "SIGALRM"):
            assert own.call("sends_itself", name) == name
        assert own.call("alarms") == "alarmed"


@pytest.mark.parametrize(
    ("how", "kind"),
    [("sys.exit", "SystemExit"), ("exit", "SystemExit"), ("interrupt", "KeyboardInterrupt"), ("x", "GeneratorExit")],
)
def test_exits_are_exceptions(own: ModuleServer, how: str, kind: str) -> None:
    for _ in range(3):
        told = failure(own.call, "exits", how)
        assert (told.error.reason, told.exception.type) == ("EXCEPTION_RAISED", f"builtins.{kind}")


def test_a_low_recursion_limit(own: ModuleServer) -> None:
    assert own.call("lowers_recursion_limit") == 60
    for text in ("a", "b", "c"):
        request = module_pb2.CallJsonRequest(body=http_body({"method": "says", "args": [text]}))
        assert json.loads(own.stub.CallJson(request, timeout=5).body.data) == {"result": 1}
    own.call("restores_recursion_limit")


def test_a_replaced_stream_is_the_modules_own_affair(own: ModuleServer) -> None:
    assert own.call("redirects", "R1") == "redirected"
    assert own.call("says", "R2") == 1
    assert not [line for line in own.log() if "R1" in line["text"]]
