"""A CANCEL at every point of a call's life: each call gets one answer, and nothing of it is left behind."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from jac_orc.guest import wire
from jac_orc.guest.calls import Call, Calls, Promise, Unfinished

PRODUCER, CONSUMER = 1, 2
GIVEN_UP = "DEADLINE_EXCEEDED"  # the reason of a call that its caller cancelled


class SteppedLock:
    """A lock that runs `step` after its n-th release by one thread, while that thread holds no lock."""

    def __init__(self, thread: threading.Thread, at: int, step: Callable[[], None]) -> None:
        self._lock = threading.Lock()
        self._thread, self._at, self._step = thread, at, step
        self.releases = 0

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        if threading.current_thread() is self._thread:
            self.releases += 1
            if self.releases == self._at:
                self._step()


class Sent:
    """Counts the answers by call, in place of the wire."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str]] = []

    def send(self, *parts: bytes) -> None:
        data = b"".join(parts)
        kind, _, _, number, size = wire.HEAD.unpack(data[: wire.HEAD.size])
        body = data[wire.HEAD.size : wire.HEAD.size + size]
        self.answers.append((number, json.loads(body)["reason"] if kind == wire.ERROR else "ANSWER"))


class Output:
    def finish(self, number: int) -> None:
        pass


class Requests:
    """The consumer needs the producer's result."""

    def __init__(self) -> None:
        self.promise = Promise()
        self.performed: list[int] = []

    def perform(self, call: Call, style: int, session: int, body: bytes) -> bytes:
        self.performed.append(call.number)
        if call.number == PRODUCER:
            call.promise = self.promise
        elif self.promise.waiting is not None:
            raise Unfinished(self.promise)
        return b""


def frame(number: int) -> Any:
    return wire.CALL, 0, 0, number, b""


def performed(at: int, steps: Callable[[Calls], None]) -> tuple[int, list[tuple[int, str]], Calls]:
    """Run the consumer, with the steps after its n-th release of the lock; then the producer."""
    sent, requests = Sent(), Requests()
    link: Any = sent
    output: Any = Output()
    calls = Calls(link, output, requests, None)  # type: ignore[arg-type]
    consumer = threading.Thread(target=lambda: calls._run(frame(CONSUMER)))

    def step() -> None:
        other = threading.Thread(target=steps, args=(calls,))
        other.start()
        other.join()

    lock: Any = SteppedLock(consumer, at, step)
    calls._lock = lock
    consumer.start()
    consumer.join()
    if requests.promise.waiting is not None:
        calls._run(frame(PRODUCER))
    return lock.releases, sent.answers, calls


def cancel(calls: Calls) -> None:
    calls._cancel(CONSUMER)


def produce_and_cancel(calls: Calls) -> None:
    calls._run(frame(PRODUCER))
    calls._cancel(CONSUMER)


@pytest.mark.parametrize("steps", [cancel, produce_and_cancel])
def test_a_cancel_at_any_step_of_a_waiting_call_is_answered_once(steps: Callable[[Calls], None]) -> None:
    releases, _, _ = performed(0, steps)
    assert releases >= 3
    for at in range(1, releases + 1):
        reached, answers, calls = performed(at, steps)
        if reached < at:
            continue
        outcome = [reason for number, reason in answers if number == CONSUMER]
        assert len(outcome) == 1, (at, answers)
        assert outcome == [GIVEN_UP] or (steps is produce_and_cancel and at == reached), (at, answers)
        assert not calls._running and not calls._waiting, at


def test_a_call_cancelled_between_its_release_and_its_next_run_is_not_run() -> None:
    sent, requests = Sent(), Requests()
    link: Any = sent
    output: Any = Output()
    calls = Calls(link, output, requests, None)  # type: ignore[arg-type]
    calls._run(frame(CONSUMER))
    ready = calls._settle(requests.promise)
    assert [incoming[3] for incoming in ready] == [CONSUMER]
    calls._cancel(CONSUMER)
    calls._run(ready[0], resumed=True)
    assert sent.answers == [(CONSUMER, GIVEN_UP)] and requests.performed == [CONSUMER]
