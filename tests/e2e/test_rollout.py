"""A changed spec replaces the pods one after the other; a faulty one leaves them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from tests.e2e.callers import calls_all_the_while
from tests.e2e.system import System, reason, wait_until

NAME = "orc_guest_version"


def patch(system: System, **changes: Any) -> Any:
    """The answer to a change of the spec."""
    return system.http.patch(f"/v1/modules/{NAME}", json=changes)


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_patch_replaces_the_pods_and_no_call_fails(deploy: Callable[..., Any], system: System, replicas: int) -> None:
    deploy(NAME, requirements=["orc-guest-version==1.0"], replicas=replicas)
    with calls_all_the_while(system, NAME, "version") as answers:
        response = patch(system, requirements=["orc-guest-version==2.0"])
        assert response.status_code == 200, response.text
        assert response.json()["generation"] == "2"
        wait_until(lambda: len(system.pids("server", NAME)) == replicas)
    assert set(answers) == {"1.0", "2.0"}
    assert answers[-1] == "2.0"
    assert system.module(NAME)["spec"]["requirements"] == ["orc-guest-version==2.0"]


def test_a_patch_changes_only_the_fields_it_has(deploy: Callable[..., Any], system: System) -> None:
    deploy(NAME, requirements=["orc-guest-version==1.0"], labels={"a": "b"}, max_concurrency=4)
    before = system.module(NAME)["spec"]
    assert patch(system, env={"ORC_GUEST_SUFFIX": "v"}).status_code == 200
    assert system.module(NAME)["spec"] == {**before, "env": {"ORC_GUEST_SUFFIX": "v"}}
    wait_until(lambda: system.call(NAME, "version") == "v1.0")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"requirements": ["orc-guest-version==3.0"]}, "MODULE_IMPORT_FAILED"),
        ({"requirements": ["orc-guest-version==9.0"]}, "ENVIRONMENT_FAILED"),
        ({"requirements": ["no requirement at all"]}, "SPEC_INVALID"),
        ({"workers": 0}, "SPEC_INVALID"),
        ({"colour": "red"}, "UNKNOWN_FIELD"),
        ({"module_name": "other"}, "MODULE_MISMATCH"),
    ],
    ids=str,
)
def test_a_patch_that_fails_keeps_the_old_spec_and_the_old_pods(
    deploy: Callable[..., Any], system: System, changes: Any, why: str
) -> None:
    deploy(NAME, requirements=["orc-guest-version==1.0"])
    before = system.module(NAME)
    with calls_all_the_while(system, NAME, "version") as answers:
        response = patch(system, **changes)
        assert (response.status_code, reason(response)) == (400, why), response.text
    assert set(answers) == {"1.0"}
    wait_until(lambda: len(system.module(NAME)["status"]["pods"]) == 1)
    after = system.module(NAME)
    assert after["spec"] == before["spec"]
    assert [pod["name"] for pod in after["status"]["pods"]] == [pod["name"] for pod in before["status"]["pods"]]
    assert after["status"]["phase"] == "MODULE_PHASE_READY"
    assert patch(system, requirements=["orc-guest-version==2.0"]).status_code == 200
    assert system.call(NAME, "version") == "2.0"


def test_a_patch_of_a_module_that_is_not_there(system: System) -> None:
    response = system.http.patch("/v1/modules/orc_guest_nowhere", json={"replicas": 2})
    assert (response.status_code, reason(response)) == (404, "MODULE_NOT_FOUND")


SLOW = "orc_guest_slow"


def steps(system: System, count: int, pause: float) -> list[Any]:
    """The lines of a REST stream, which must be complete."""
    body = {"method": "steps", "args": [count, pause]}
    with system.http.stream("POST", f"/v1/modules/{SLOW}:stream", json=body, timeout=60) as response:
        assert response.status_code == 200
        return [json.loads(line) for line in response.iter_lines()]


@pytest.mark.one_machine("updates of a cluster take longer than these calls; see tests/cluster/test_draining.py")
def test_calls_and_streams_of_seconds_outlive_their_pods(deploy: Callable[..., Any], system: System) -> None:
    """While pods are replaced, added and taken away; an update doesn't wait for them, and a deletion does."""
    deploy(SLOW)
    done = threading.Event()
    answers: list[Any] = []

    def call(seconds: float) -> None:
        while not done.is_set():
            answers.append((system.try_call(SLOW, "nap", seconds).text, f'{{"result":{seconds}}}'))

    def stream() -> None:
        while not done.is_set():
            answers.append((steps(system, 10, 0.1), [{"result": number} for number in range(10)]))

    with ThreadPoolExecutor(20) as pool:
        loops = [pool.submit(call, seconds) for seconds in (0.1, 0.3, 1.5) for _ in range(2)]
        loops += [pool.submit(stream) for _ in range(2)]
        wait_until(lambda: len(answers) > 5)
        longest = pool.submit(system.call, SLOW, "nap", 3)
        begin = time.monotonic()
        for change in ("a", "b"):
            assert system.http.patch(f"/v1/modules/{SLOW}", json={"env": {"ORC": change}}).status_code == 200
        assert time.monotonic() - begin < 3 and not longest.done()
        for replicas in (3, 1):
            assert system.post(f"/v1/modules/{SLOW}:scale", {"replicas": replicas}).status_code == 200
        assert longest.result() == 3
        done.set()
        for loop in loops:
            loop.result()
        assert [answer for answer in answers if answer[0] != answer[1]] == []
        last: list[Future[Any]] = [pool.submit(system.call, SLOW, "nap", 1), pool.submit(steps, system, 10, 0.1)]
        wait_until(lambda: "napping 1" in system.http.get(f"/v1/modules/{SLOW}:logs?tail=1").text)
        assert system.http.delete(f"/v1/modules/{SLOW}").status_code == 200
        assert [call.result(1) for call in last] == [1, [{"result": number} for number in range(10)]]
