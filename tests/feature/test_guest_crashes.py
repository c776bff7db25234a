"""A guest that dies, and functions that harm it: the server tells, starts another one, and goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.feature.conftest import Start
from tests.feature.module_servers import ModuleServer, failure, failure_of, wait_until
from tests.support import running


@pytest.fixture
def server(start_server: Start) -> Iterator[ModuleServer]:
    """A server for each test: one whose guests crash again and again starts them after ever longer pauses."""
    started = start_server("orc_feature_crashes").serving()
    yield started
    if started.process.poll() is None:
        assert started.stop() == 0


def next_call(server: ModuleServer, method: str = "pid", *args: Any) -> Any:
    """The result of a call that comes after a crash: it waits for the new guest and doesn't fail."""
    return server.call(method, *args, timeout=15)


@pytest.mark.parametrize(
    ("method", "args", "metadata"),
    [
        ("leave", [3], {"exit_code": "3"}), ("leave", [0], {"exit_code": "0"}), ("segfault", [], {"signal": "SIGSEGV"}),
        ("kill", [9], {"signal": "SIGKILL"}), ("kill", [6], {"signal": "SIGABRT"}),
    ],
)  # fmt: skip
def test_a_crash_is_told_and_the_next_call_works(
    server: ModuleServer, method: str, args: list[int], metadata: dict[str, str]
) -> None:
    before = next_call(server)
    told = failure(server.call, method, *args)
    assert (told.code, told.error.reason) == (grpc.StatusCode.UNAVAILABLE, "GUEST_DIED")
    assert told.error.metadata == metadata and next(iter(metadata.values())) in told.error.message
    assert ("memory runs out" in told.error.message) == ("SIGKILL" in metadata.values())
    assert next_call(server) != before


def test_crashes_in_a_row_are_each_followed_by_a_new_guest(server: ModuleServer) -> None:
    """The server has open connections each time: what gRPC does at a fork must not harm the new guest."""
    guests = set()
    for number in range(6):
        guests.add(next_call(server))
        assert failure(server.call, "leave", number).error.metadata == {"exit_code": str(number)}
    assert len(guests) == 6
    assert server.pod_status() == (0, {"exited": 6})
    assert not [line for line in server.log() if line["level"] == "error"]


def test_other_calls_of_a_dead_guest_fail_too(server: ModuleServer) -> None:
    next_call(server)
    others = [server.begin("nap", 30) for _ in range(3)]
    wait_until(lambda: not any(other.done() for other in others) and server.call("pid"))
    assert failure(server.call, "leave", 3).error.reason == "GUEST_DIED"
    for other in others:
        assert failure_of(other.exception()).error.reason == "GUEST_DIED"
    assert next_call(server)


def test_a_guest_killed_from_outside_is_replaced(server: ModuleServer) -> None:
    before = int(next_call(server))
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: before not in server.guests())
    assert next_call(server) != before
    wait_until(lambda: server.pod_status() == (0, {"killed": 1}))


def test_sys_exit_is_an_exception_like_others(server: ModuleServer) -> None:
    before = next_call(server)
    assert failure(server.call, "exit_all").exception.type == "builtins.SystemExit"
    assert next_call(server) == before


def test_closing_its_output_does_no_harm(server: ModuleServer) -> None:
    before = next_call(server)
    assert server.call("close_output") == "closed"
    assert next_call(server) == before
    failure(server.call, "leave", 0)
    next_call(server)


def test_closing_everything_ends_the_guest_only(server: ModuleServer) -> None:
    assert failure(server.call, "close_everything").error.reason == "GUEST_DIED"
    assert next_call(server)


def test_standard_input_is_empty(server: ModuleServer) -> None:
    assert next_call(server, "write_to_stdin") == ""


def test_a_fork_that_exits_is_fine(server: ModuleServer) -> None:
    before = next_call(server)
    assert server.call("fork_and_exit") == 0
    assert next_call(server) == before


def test_a_fork_that_goes_on_answers_once(server: ModuleServer) -> None:
    before = next_call(server)
    child = int(server.call("fork_and_return"))
    assert child not in (0, before), "the child has answered"
    wait_until(lambda: not running(child))
    assert [server.call("pid") for _ in range(20)] == [before] * 20


def test_what_the_module_leaves_behind_ends_with_the_guest(server: ModuleServer) -> None:
    next_call(server)
    child = int(server.call("leave_a_child"))
    assert running(child)
    assert failure(server.call, "leave", 3).error.reason == "GUEST_DIED"
    wait_until(lambda: not running(child))
    assert next_call(server)


def test_a_guest_ends_with_its_server(start_server: Start) -> None:
    server = start_server("orc_feature_crashes").serving()
    guest, child = int(server.call("pid")), int(server.call("leave_a_child"))
    server.process.kill()
    wait_until(lambda: not running(guest))
    os.kill(child, signal.SIGKILL)  # nobody is left who could end it
    server.close()


def test_a_server_ends_when_its_environment_is_gone(start_server: Start, guest_python: str, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {guest_python} "$@"\n')
    python.chmod(0o755)
    server = start_server("orc_feature_crashes", python=str(python)).serving()
    assert server.call("pid")
    python.rename(tmp_path / "away")
    assert failure(server.call, "leave", 3).error.reason == "GUEST_DIED"
    assert server.process.wait(10) == 1, "whoever starts it again makes the environment first"


def test_an_interpreter_that_is_not_there_is_told(start_server: Start, tmp_path: Path) -> None:
    server = start_server("math", python=str(tmp_path / "none"))
    assert "none" in server.told()["error"]["message"]
    assert server.close() == 1
