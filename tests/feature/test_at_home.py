"""Calls run in the thread and the context that the module's code has at home, with its signals."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from jac_orc.client.connection import Connection
from jac_orc.client.messages import Remote
from jac_orc.errors import OrcError
from jac_orc.v1 import module_pb2
from tests.feature.module_servers import ModuleServer, value, wait_until

Start = Callable[..., ModuleServer]

MODULE = "orc_feature_home"
FIFTY = "0." + "3" * 50


@pytest.fixture
def server(start_server: Start) -> ModuleServer:
    return start_server(MODULE).serving()


@pytest.fixture
def module(server: ModuleServer) -> Iterator[Connection]:
    with Connection(f"127.0.0.1:{server.port}") as connection:
        yield connection


def test_calls_one_after_the_other_run_in_the_thread_of_the_import(module: Connection) -> None:
    for _ in range(10):
        assert [module.call(name) for name in ("slow", "local", "is_at_home")] == [True] * 3
        assert list(module.stream("slow_items")) == [FIFTY + "the module"] * 3
        assert module.call("slow_coroutine") == FIFTY + "the module"


def test_where_one_call_runs_at_a_time_each_runs_in_the_main_thread(start_server: Start) -> None:
    server = start_server(MODULE, max_concurrency=1).serving()
    with Connection(f"127.0.0.1:{server.port}") as module, ThreadPoolExecutor(8) as callers:
        for seconds in (0, 0.001, 0.003, 0.01):
            assert all(callers.map(lambda _, seconds=seconds: module.call("slow", seconds), range(100)))
            assert all(callers.map(lambda _: module.call("is_at_home"), range(100)))


def test_other_threads_have_the_context_too(module: Connection) -> None:
    with ThreadPoolExecutor(8) as callers:
        busy = [callers.submit(module.call, "slow", 0.5) for _ in range(4)]
        assert list(callers.map(lambda _: module.call("third"), range(200))) == [FIFTY] * 200
        assert sum(each.result() for each in busy) >= 1
    assert module.call("is_at_home")


def test_no_call_sees_what_another_sets(module: Connection) -> None:
    for name in ("one", "two"):
        assert module.call("set_who", name) == name
        assert module.call("who") == "the module"


def test_an_alarm_belongs_to_the_call_that_it_interrupts(module: Connection, server: ModuleServer) -> None:
    guests = server.guests()
    for _ in range(3):
        with pytest.raises(OrcError, match="the alarm has rung"):
            module.call("alarmed", 0.05, 5)
        assert module.call("alarmed", 0.2, 0.1) == "no alarm"  # it rings when nothing runs
        before = module.call("rung")
        wait_until(lambda: module.call("rung") > before)  # noqa: B023 - awaited at once
    assert server.guests() == guests
    assert any("the alarm has rung" in str(line) for line in server.log())


def test_a_handler_that_raises_all_the_time_ends_nothing(module: Connection, server: ModuleServer) -> None:
    guests = server.guests()
    module.call("ring_for_ever", 0.003)

    def outcome(method: str) -> Any:
        try:
            return module.call(method)
        except OrcError as failure:
            return failure.reason

    outcomes = [outcome("third") for _ in range(300)]
    wait_until(lambda: outcome("stop_ringing") != "EXCEPTION_RAISED")
    assert module.call("rung") > 10
    assert set(outcomes) <= {FIFTY, "EXCEPTION_RAISED"}
    assert server.guests() == guests
    assert module.call("local")


def test_handlers_are_what_the_module_has_set(module: Connection) -> None:
    assert module.call("signals_itself") == "True"
    assert module.call("sets_odd_handlers") == ["True", "TypeError", "TypeError", "TypeError"]


def test_attributes_are_read_once(module: Connection) -> None:
    assert [module.call("meter.next_id") for _ in range(3)] == [1, 2, 3]
    assert [module.call("meter.made_up") for _ in range(3)] == [4, 5, 6]
    assert [module.call("lazy_one") for _ in range(3)] == [1, 2, 3]
    assert module.call("asked") == ["lazy_one"] * 3
    meter = module.invoke("Meter", kept=True)
    assert [module.invoke("next_id", target=meter) for _ in range(3)] == [1, 2, 3]


def test_code_that_fails_to_give_an_attribute_is_told_as_it_fails(module: Connection) -> None:
    for name, words in (
        ("broken.part", "'int' object has no attribute 'missing'"),
        ("meter.missing_in_code", "_nowhere"),
    ):
        with pytest.raises(OrcError) as caught:
            module.call(name)
        assert caught.value.reason == "EXCEPTION_RAISED" and words in str(caught.value)
    for name in ("wrong", "nex_id"):
        with pytest.raises(OrcError) as caught:
            module.call(f"meter.{name}")
        assert caught.value.reason == "FUNCTION_NOT_FOUND"
        assert f"a meter measures no {name}, only made_ things" in str(caught.value)
    with pytest.raises(OrcError, match="did you mean lo") as caught:
        module.call("loca")
    assert "has no attribute" not in str(caught.value)


def test_what_can_be_awaited_is_awaited(module: Connection) -> None:
    for name in ("later", "future", "Later"):
        assert module.call(name, [1, 2]) == [1, 2]


def test_awaitables_of_other_loops_and_what_is_none(module: Connection) -> None:
    assert module.call("on_a_loop_of_its_own") == 5
    assert isinstance(module.call("Awaitless"), Remote)


def test_what_own_classes_inherit_can_be_called(module: Connection) -> None:
    worker = module.invoke("Worker", kept=True)
    module.invoke("start", target=worker)
    module.invoke("join", target=worker)
    assert module.invoke("ran", target=worker) == 1
    another = module.invoke("Worker", kept=True)
    module.call("Worker.start", another)
    assert module.call("Worker.join", another) is None
    with pytest.raises(OrcError) as caught:
        module.call("threading.Thread")
    assert caught.value.reason == "NAME_NOT_EXPOSED"


def test_attributes_of_objects_are_set_and_deleted_on_every_face(module: Connection, server: ModuleServer) -> None:
    settings = module.invoke("Settings", kept=True)

    def by_json(method: str, *args: Any) -> Any:
        body = {"method": method, "args": list(args), "obj_id": settings.obj_id}
        return json.loads(server.call_json(body))["result"]

    assert by_json("__setattr__", "level", 3) is None
    assert by_json("doubled") == 6
    assert module.invoke("__setattr__", ["doubled", 8], target=settings) is None
    assert by_json("level") == 4
    request = module_pb2.CallRequest(method="__setattr__", args=[value("level"), value(7)], obj_id=settings.obj_id)
    server.stub.Call(request)
    assert module.invoke("level", target=settings) == 7
    assert by_json("__delattr__", "level") is None
    for name, arguments, reason in (
        ("level", [], "FUNCTION_NOT_FOUND"), ("__setattr__", ["_secret", 1], "NAME_NOT_EXPOSED"),
        ("__setattr__", ["__class__", 1], "NAME_NOT_EXPOSED"), ("__delattr__", ["__dict__"], "NAME_NOT_EXPOSED"),
        ("__setattr__", ["doubled", 3], "EXCEPTION_RAISED"), ("__delattr__", ["level"], "EXCEPTION_RAISED"),
        ("__setattr__", ["a.b", 1], "FUNCTION_NOT_FOUND"), ("__setattr__", [], "ARGUMENTS_DO_NOT_BIND"),
    ):  # fmt: skip
        with pytest.raises(OrcError) as caught:
            module.invoke(name, arguments, target=settings)
        assert caught.value.reason == reason, name


@pytest.mark.parametrize("busy_before", [False, True])
def test_a_guest_ends_as_an_interpreter_ends(start_server: Start, tmp_path: Path, busy_before: bool) -> None:
    server = start_server(MODULE).serving()
    with Connection(f"127.0.0.1:{server.port}") as module:
        module.call("leave", str(tmp_path / "told"))
        if busy_before:
            module.call("slow", 0.1)
            with ThreadPoolExecutor(4) as callers:
                assert len(list(callers.map(lambda _: module.call("slow", 0.1), range(8)))) == 8
    begin = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begin < 3
    assert sorted((tmp_path / "told").read_text().split()) == ["atexit", "finalized", "thread"]
    assert (tmp_path / "told.buffered").read_text() == "flushed"
    assert any(line["text"] == "said at the end" for line in server.log())
    assert not any("is killed" in line["text"] for line in server.log())


@pytest.mark.parametrize("places", [16, 1])
def test_a_guest_ends_so_with_a_call_that_is_stuck(start_server: Start, tmp_path: Path, places: int) -> None:
    """With one place the guest is replaced by then."""
    server = start_server(MODULE, cancel_grace=0.2, max_concurrency=places).serving()
    with Connection(f"127.0.0.1:{server.port}") as module:
        guest = module.invoke("leave", [str(tmp_path / "told")])
        with pytest.raises(OrcError):
            module.invoke("slow", [60], timeout=0.1)
        if places == 1:
            wait_until(lambda: not Path(f"/proc/{guest}").exists())
        else:
            wait_until(lambda: server.pod_status()[0] == 1)
    assert server.stop() == 0
    assert sorted((tmp_path / "told").read_text().split()) == ["atexit", "finalized", "thread"]
    assert (tmp_path / "told.buffered").read_text() == "flushed"
    assert not any("had not ended" in line["text"] for line in server.log())


def test_an_end_that_takes_too_long_is_bounded_and_told(start_server: Start, tmp_path: Path) -> None:
    server = start_server(MODULE, exit_grace=0.7).serving()
    with Connection(f"127.0.0.1:{server.port}") as module:
        guest = module.invoke("leave", [str(tmp_path / "told")], {"hangs": True})
    begin = time.monotonic()
    server.stop()
    assert 0.7 < time.monotonic() - begin < 4
    assert not Path(f"/proc/{guest}").exists()
    assert any("had not ended 0.7 s after it was asked to" in line["text"] for line in server.log())


def test_a_module_that_replaces_the_standard_library_takes_nothing_of_the_guest_with_it(start_server: Start) -> None:
    server = start_server("orc_feature_patched", object_lease=1).serving()
    with Connection(f"127.0.0.1:{server.port}", timeout=20) as module:
        with ThreadPoolExecutor(6) as callers:
            assert list(callers.map(lambda _: module.call("slow", 0.05), range(12))) == ["slept"] * 12
        assert list(module.stream("items", [50])) == list(range(50))
        thing = module.invoke("Thing", kept=True)
        assert module.invoke("name", target=thing) == "thing"
        with pytest.raises(OrcError, match="as usual"):
            module.call("fails")
        with pytest.raises(OrcError) as caught:
            module.invoke("slow", [60], timeout=0.2)
        assert caught.value.reason == "DEADLINE_EXCEEDED"
        assert module.call("slow", 0) == "slept"


def test_a_module_that_leaves_python_unusable_is_told_so(start_server: Start, tmp_path: Path) -> None:
    (tmp_path / "unusable.py").write_text("import builtins\nbuiltins.isinstance = builtins.len = None\n")
    server = start_server("unusable", source_folders=tmp_path)
    assert "it replaces what Python's own modules use" in server.told()["error"]["message"]


def test_variables_of_the_interpreter_apply(start_server: Start, tmp_path: Path) -> None:
    (tmp_path / "flags.py").write_text("import sys\ndef get(): return sys.flags.optimize, sys.flags.utf8_mode\n")
    variables = {"module_env_PYTHONOPTIMIZE": 2, "module_env_PYTHONUTF8": 1, "module_env_PYTHONSAFEPATH": 1}
    server = start_server("flags", source_folders=tmp_path, **variables).serving()
    assert server.call("get") == [2, 1]
