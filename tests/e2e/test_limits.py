"""Deadlines, and queues that are full."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import pytest

from tests.e2e.system import System, reason, wait_until

SLOW = "orc_guest_slow"


@pytest.mark.parametrize("method", ["nap", "spin", "rest"])
@pytest.mark.parametrize("how", ["query", "header"])
def test_a_deadline_ends_the_call(deploy: Callable[..., Any], system: System, method: str, how: str) -> None:
    deploy(SLOW)
    query, headers = ("?timeout=500m", {}) if how == "query" else ("", {"grpc_timeout": "500m"})
    begin = time.monotonic()
    response = system.post(f"/v1/modules/{SLOW}:call{query}", {"method": method, "args": [60]}, **headers)
    assert (response.status_code, reason(response)) == (504, "DEADLINE_EXCEEDED"), response.text
    assert time.monotonic() - begin < 30
    assert system.call(SLOW, "nap", 0) == 0


def test_the_modules_own_timeout_holds_without_a_deadline(deploy: Callable[..., Any], system: System) -> None:
    deploy(SLOW, timeout="0.3s")
    response = system.try_call(SLOW, "rest", 60)
    assert (response.status_code, reason(response)) == (504, "DEADLINE_EXCEEDED"), response.text
    assert system.call(SLOW, "rest", 0) == 0


def test_a_cancelled_call_that_can_be_interrupted_leaves_its_guest(deploy: Callable[..., Any], system: System) -> None:
    deploy(SLOW)
    guests = system.pids("guest", SLOW)
    for method in ("spin", "rest"):
        reason(system.post(f"/v1/modules/{SLOW}:call?timeout=300m", {"method": method, "args": [60]}))
    assert system.call(SLOW, "nap", 3) == 3  # longer than the grace after which a stuck guest is killed
    assert system.pids("guest", SLOW) == guests


def test_stuck_calls_are_visible_and_their_guest_is_replaced_when_they_have_all_places(
    deploy: Callable[..., Any], system: System
) -> None:
    deploy(SLOW, max_concurrency=2)
    guests = system.pids("guest", SLOW)

    def status() -> tuple[int, dict[str, int]]:
        (pod,) = system.http.get(f"/v1/modules/{SLOW}").json()["status"]["pods"]
        return pod["stuck_calls"], pod["guest_replacements"]

    def get_stuck() -> None:
        reason(system.post(f"/v1/modules/{SLOW}:call?timeout=500m", {"method": "nap", "args": [60]}))

    assert status() == (0, {})
    get_stuck()
    wait_until(lambda: status() == (1, {}))
    assert system.pids("guest", SLOW) == guests
    assert re.search(rf'^jac_orc_stuck_calls{{module="{SLOW}",pod="[^"]+"}} 1$', metrics(system), re.MULTILINE)
    get_stuck()
    wait_until(lambda: system.pids("guest", SLOW) not in (guests, []))
    wait_until(lambda: system.answers(SLOW, "nap", 0))
    assert status() == (0, {"places_exhausted": 1})
    replaced = rf'^jac_orc_guest_replacements_total{{module="{SLOW}",pod="[^"]+",cause="places_exhausted"}} 1$'
    assert re.search(replaced, metrics(system), re.MULTILINE)


def metrics(system: System) -> str:
    response = system.http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    return response.text


def test_a_full_queue_answers_at_once(deploy: Callable[..., Any], system: System) -> None:
    deploy(SLOW, max_concurrency=1, queue=1)
    with ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(system.try_call, SLOW, "nap", 1.5) for _ in range(6)]
        answers = [call.result() for call in as_completed(calls)]
    assert [answer.status_code for answer in answers] == [429] * 4 + [200] * 2
    assert {reason(answer) for answer in answers[:4]} == {"QUEUE_FULL"}
    told = answers[0].json()["details"][0]["metadata"]
    assert told.pop("call_id") and told == {"queue": "1", "max_concurrency": "1"}
    assert system.call(SLOW, "nap", 0) == 0


def test_many_calls_run_at_a_time(deploy: Callable[..., Any], system: System) -> None:
    deploy(SLOW, max_concurrency=16)
    begin = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda _: system.call(SLOW, "nap", 1), range(16))) == [1] * 16
    assert time.monotonic() - begin < 8  # one after the other: 16 s
