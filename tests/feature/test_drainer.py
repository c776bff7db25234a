"""A gateway that is stopped lets calls end first."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.feature.xds_front import JSON, Front, eventually, running_front


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    yield from running_front(tmp_path)


class Drainer:
    """A drainer of the front's Envoy that waits for its signal."""

    def __init__(self, front: Front, *options: str) -> None:
        command = [sys.executable, "-m", "jac_orc.cli.drainer", str(front.directory / "admin.sock"), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "waiting for SIGTERM\n"

    def drain(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def seconds(self) -> float:
        """How long it takes to end."""
        began = time.monotonic()
        with self.process:
            assert self.process.wait(20) == 0
        return time.monotonic() - began


def test_it_ends_after_the_last_call(front: Front) -> None:
    drainer = Drainer(front, "--at-least", "0")
    with front.http.stream("POST", "/v1/modules/numpy:stream", headers=JSON, content="{}") as answer:
        lines = answer.iter_lines()
        assert "first" in next(lines)
        drainer.drain()
        time.sleep(0.5)
        assert drainer.process.poll() is None
        late = front.http.post("/modules/numpy/f", json={})
        assert (late.status_code, late.headers["connection"]) == (200, "close")
        threading.Timer(0.2, front.pods[-1].echo.go_on.set).start()
        assert list(lines) == ['{"second":1}', '{"third":1}']
    assert drainer.seconds() < 5


def test_it_waits_for_clients_that_have_not_heard_of_it(front: Front) -> None:
    drainer = Drainer(front, "--at-least", "1")
    drainer.drain()
    assert 0.8 < drainer.seconds() < 5


def test_a_call_that_does_not_end_holds_it_only_so_long(front: Front) -> None:
    drainer = Drainer(front, "--at-least", "0", "--at-most", "1")
    with front.http.stream("POST", "/v1/modules/numpy:stream", headers=JSON, content="{}") as answer:
        lines = answer.iter_lines()
        assert "first" in next(lines)
        drainer.drain()
        assert 0.8 < drainer.seconds() < 5


def test_without_an_envoy_there_is_nothing_to_wait_for(front: Front, tmp_path: Path) -> None:
    drainer = Drainer(front, "--at-least", "0")
    (tmp_path / "admin.sock").unlink()
    drainer.drain()
    assert drainer.seconds() < 2


def test_an_envoy_that_does_not_answer_is_not_idle(front: Front) -> None:
    """It is stopped for longer than one request to it may take, as if it were busy."""
    drainer = Drainer(front, "--at-least", "0", "--at-most", "15")
    with front.http.stream("POST", "/v1/modules/numpy:stream", headers=JSON, content="{}") as answer:
        lines = answer.iter_lines()
        assert "first" in next(lines)
        drainer.drain()
        eventually(lambda: "close" in front.http.post("/modules/numpy/f", json={}).headers.get("connection", ""))
        front.signal(signal.SIGSTOP)
        try:
            time.sleep(2.5)
            assert drainer.process.poll() is None
        finally:
            front.signal(signal.SIGCONT)
        late = front.http.post("/modules/numpy/f", json={})
        assert late.status_code == 200
        assert drainer.process.poll() is None, "a call is in flight"
        front.pods[-1].echo.go_on.set()
        assert list(lines) == ['{"second":1}', '{"third":1}']
    assert drainer.seconds() < 6


def test_an_envoy_that_never_answers_holds_it_only_so_long(front: Front) -> None:
    drainer = Drainer(front, "--at-least", "0", "--at-most", "1")
    front.signal(signal.SIGSTOP)
    try:
        drainer.drain()
        assert 0.8 < drainer.seconds() < 5
    finally:
        front.signal(signal.SIGCONT)


def test_an_envoy_that_has_ended_is_idle(front: Front) -> None:
    """Its socket may still be there."""
    drainer = Drainer(front, "--at-least", "0")
    front.signal(signal.SIGKILL)
    drainer.drain()
    assert drainer.seconds() < 2
