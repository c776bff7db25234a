"""Faults are made, not simulated: kill -9 of each part in turn, and a pod manager that stands still."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.local_system import LocalSystem
from tests.e2e.system import System, wait_until
from tests.e2e.test_first_call import MODULES

pytestmark = pytest.mark.one_machine("kills parts of its own system; in a cluster tests/cluster/test_faults.py does")


@pytest.fixture(scope="module")
def victim(cache: Path, wheels: Path) -> Iterator[LocalSystem]:
    """A system for all tests here; each has it whole again at its end."""
    own = LocalSystem(cache, wheels)
    try:
        yield own.start()
    finally:
        own.end()


def answers(system: System, module: str, method: str, args: list[Any], result: Any) -> bool:
    """Whether the call succeeds now; what it answers then must be right."""
    if not system.answers(module, method, *args):
        return False
    answer = system.call(module, method, *args)
    assert answer == pytest.approx(result) if isinstance(result, list) else answer == result
    return True


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", ["guest", "server"])
@pytest.mark.parametrize(("module", "method", "args", "result"), MODULES, ids=[row[0] for row in MODULES])
def test_a_module_survives_the_death_of_its(
    victim: LocalSystem, module: str, method: str, args: list[Any], result: Any, part: str
) -> None:
    victim.call(module, method, *args)
    uid = victim.module(module)["uid"]
    others = victim.parts() - set(victim.pids("guest", module)) - set(victim.pids("server", module))
    (pid,) = victim.pids(part, module)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: answers(victim, module, method, args, result))
    wait_until(lambda: len(victim.pids("guest", module)) == len(victim.pids("server", module)) == 1)
    assert pid not in victim.pids()
    assert victim.module(module)["uid"] == uid
    assert others <= victim.parts(), "more than that part was restarted"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", ["envoy", "pod_manager"])
def test_all_modules_survive_the_death_of(victim: LocalSystem, part: str) -> None:
    for module, method, args, _ in MODULES:
        victim.call(module, method, *args)
    uids = {row[0]: victim.module(row[0])["uid"] for row in MODULES}
    before = victim.parts()
    (pid,) = victim.pids(part)
    os.kill(pid, signal.SIGKILL)
    for row in MODULES:
        wait_until(partial(answers, victim, *row))
    wait_until(lambda: victim.http.get("/v1/modules").status_code == 200)
    assert {row[0]: victim.module(row[0])["uid"] for row in MODULES} == uids
    assert before - victim.parts() == {pid}, "more than that part was restarted"
    wait_until(lambda: victim.pids(part))


def test_deployed_modules_answer_while_the_pod_manager_stands_still(victim: LocalSystem) -> None:
    victim.call("math", "sqrt", 9)
    wait_until(lambda: victim.module("math")["status"]["ready_replicas"] == 1)
    (pid,) = victim.pids("pod_manager")
    os.kill(pid, signal.SIGSTOP)
    try:
        assert [victim.call("math", "sqrt", number * number) for number in range(50)] == list(range(50))
    finally:
        os.kill(pid, signal.SIGCONT)
    assert victim.call("cmath", "sqrt", -1) == [0.0, 1.0]


def test_a_pod_manager_that_was_killed_often_still_knows_its_pods(victim: LocalSystem) -> None:
    victim.call("math", "sqrt", 9)
    servers = victim.pids("server")
    for _ in range(3):
        (pid,) = victim.pids("pod_manager")
        os.kill(pid, signal.SIGKILL)
        assert victim.call("math", "sqrt", 9) == 3.0
        wait_until(lambda: victim.http.get("/v1/modules/math").status_code == 200)
    assert sorted(victim.pids("server")) == sorted(servers)
    assert victim.http.delete("/v1/modules/math").status_code == 200
    assert victim.traces("math") == []


@pytest.mark.timeout(300)
def test_everything_dies_with_up_and_comes_back_with_it(new_system: Callable[..., LocalSystem]) -> None:
    system = new_system().start()
    system.call("math", "sqrt", 9)
    system.post("/v1/modules", {"module_name": "orc_guest_crashing", "replicas": 2, "labels": {"a": "b"}})
    before = {name: system.module(name) for name in ("math", "orc_guest_crashing")}
    ports = system.ports()
    assert system.port in ports
    system.process.send_signal(signal.SIGKILL)
    wait_until(lambda: not system.pids())
    system.process.wait()
    assert not system.ports()
    system.start("--port", str(system.port))
    listed = {module["name"]: module for module in system.http.get("/v1/modules").json()["modules"]}
    assert {name: module["spec"] for name, module in listed.items()} == {
        name: module["spec"] for name, module in before.items()
    }
    assert all(listed[name]["uid"] == module["uid"] for name, module in before.items())
    assert system.call("math", "sqrt", 9) == 3.0
    assert system.call("orc_guest_crashing", "say", "x") == "said"
    wait_until(lambda: system.module("orc_guest_crashing")["status"]["ready_replicas"] == 2)
    assert len(system.pids("server")) == 3


def test_kill_of_everything_at_once_and_the_same_modules_again(new_system: Callable[..., LocalSystem]) -> None:
    system = new_system().start()
    system.call("math", "sqrt", 9)
    uid = system.module("math")["uid"]
    while system.pids():
        system.kill()
    system.process.wait()
    system.start("--port", str(system.port))
    assert system.module("math")["uid"] == uid
    assert system.call("math", "sqrt", 9) == 3.0
    assert system.interrupt() == 0
    assert system.pids() == []


@pytest.mark.timeout(120)
def test_what_hangs_is_replaced_and_told(
    new_system: Callable[..., LocalSystem], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As liveness probes do it in a cluster; here all that can hang hangs at once."""
    monkeypatch.setenv("POD_MANAGER_LIVENESS_PERIOD", "0.25")
    system = new_system().start()
    assert system.call("math", "sqrt", 9) == 3.0
    hung = {part: system.pids(part)[0] for part in ("envoy", "pod_manager", "server")}
    for pid in hung.values():
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: not set(hung.values()) & set(system.pids()), 60)
    wait_until(lambda: system.answers("math", "sqrt", 9), 60)
    (pod,) = system.module("math")["status"]["pods"]
    assert pod["restarts"] == 1
    assert "Envoy is hung" in system.output and "pod manager is hung" in system.output
    assert any("is hung: its server does not answer" in text for text in system.logged_errors())
