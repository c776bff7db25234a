"""Modules that misbehave: each fails by itself, and what comes next works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.system import System, reason, wait_until


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("orc_guest_raises", "this module never wanted to be imported"),
        ("orc_guest_exits", "SystemExit"),
        ("orc_guest_leaves", "exit code 7"),
    ],
)
def test_a_module_that_cannot_be_imported_leaves_nothing(system: System, module: str, text: str) -> None:
    for response in (system.post("/v1/modules", {"module_name": module}), system.try_call(module, "f")):
        assert (response.status_code, reason(response)) == (400, "MODULE_IMPORT_FAILED"), response.text
        assert text in response.json()["message"]
        assert system.left(module) == []
        assert system.http.get(f"/v1/modules/{module}").status_code == 404
    assert system.call("math", "sqrt", 9) == 3.0


def test_the_traceback_of_a_failed_import_names_the_line(system: System) -> None:
    body = system.post("/v1/modules", {"module_name": "orc_guest_raises"}).json()
    assert 'raise RuntimeError("this module never wanted to be imported")' in body["message"]
    assert "jac_orc/guest" not in body["message"]
    assert "importlib" not in body["message"]
    assert body["details"][0]["metadata"]["type"] == "builtins.RuntimeError"


def test_a_module_that_prints_while_it_is_imported(deploy: Callable[..., Any], system: System) -> None:
    deploy("orc_guest_prints")
    assert system.try_call("orc_guest_prints", "answer").content == b'{"result":42}'
    wait_until(lambda: "imported loudly" in system.http.get("/v1/modules/orc_guest_prints:logs").text)


@pytest.mark.parametrize(
    ("method", "args", "metadata"),
    [
        ("segfault", [], {"signal": "SIGSEGV"}),
        ("leave", [7], {"exit_code": "7"}),
        ("leave", [0], {"exit_code": "0"}),
    ],
)
def test_a_guest_that_dies(
    deploy: Callable[..., Any], system: System, method: str, args: list[int], metadata: dict[str, str]
) -> None:
    deploy("orc_guest_crashing")
    server = system.pids("server", "orc_guest_crashing")
    for _ in range(2):
        response = system.try_call("orc_guest_crashing", method, *args)
        assert (response.status_code, reason(response)) == (503, "GUEST_DIED"), response.text
        told = response.json()["details"][0]["metadata"]
        assert told.pop("call_id") and told == metadata
        assert system.call("orc_guest_crashing", "say", "next") == "said"
    assert system.pids("server", "orc_guest_crashing") == server


def test_a_guest_that_closes_its_wire(deploy: Callable[..., Any], system: System) -> None:
    deploy("orc_guest_crashing")
    response = system.try_call("orc_guest_crashing", "close_everything")
    assert (response.status_code, reason(response)) == (503, "GUEST_DIED"), response.text
    assert system.call("orc_guest_crashing", "say", "next") == "said"


def test_sys_exit_in_a_call_is_the_calls_own_error(deploy: Callable[..., Any], system: System) -> None:
    deploy("orc_guest_crashing")
    guest = system.call("orc_guest_crashing", "process")
    response = system.try_call("orc_guest_crashing", "exit_politely", 3)
    assert (response.status_code, reason(response)) == (500, "EXCEPTION_RAISED"), response.text
    assert response.json()["details"][0]["metadata"]["type"] == "builtins.SystemExit"
    assert system.call("orc_guest_crashing", "process") == guest


def test_a_crash_of_one_worker_leaves_the_other(deploy: Callable[..., Any], system: System) -> None:
    deploy("orc_guest_crashing", workers=2)
    wait_until(lambda: len(system.pids("guest", "orc_guest_crashing")) == 2)
    assert reason(system.try_call("orc_guest_crashing", "segfault")) == "GUEST_DIED"
    assert all(system.call("orc_guest_crashing", "say", "next") == "said" for _ in range(10))
    wait_until(lambda: len(system.pids("guest", "orc_guest_crashing")) == 2)
