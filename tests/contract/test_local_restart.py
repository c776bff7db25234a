"""The local backend over restarts of the pod manager: what it finds, what it takes over, what it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import struct_pb2

from jac_orc.pod_manager.model import ModulePhase, ModuleSpec
from jac_orc.v1 import module_pb2, module_pb2_grpc
from tests.contract.subjects import Local, settled
from tests.support import children, eventually, running


@pytest.fixture(autouse=True)
def leftovers(no_child_left: None, no_task_left: None) -> None:
    """No test leaves anything behind."""


async def started(state: Path, environments: Path, run_id: str = "run") -> Local:
    local = Local(state, environments, run_id)
    await local.backend.start()
    return local


async def test_the_next_one_takes_over_modules_and_pods(tmp_path: Path, environments: Path) -> None:
    first = await started(tmp_path, environments)
    await first.backend.apply(ModuleSpec("math", replicas=2, env={"A": "1"}, labels={"team": "a"}))
    await first.backend.apply(ModuleSpec("string", replicas=0, timeout=1.5, requirements=()))
    before = await settled(first.backend, "math")
    processes = first.processes()
    await first.leave()
    assert all(running(pid) for pid in processes.values())

    second = await started(tmp_path, environments)
    after = await settled(second.backend, "math")
    assert [module.name for module in second.backend.modules()] == ["math", "string"]
    assert (after.spec, after.uid, after.generation, after.create_time) == (
        before.spec, before.uid, before.generation, before.create_time,
    )  # fmt: skip
    assert {pod.address for pod in after.pods} == {pod.address for pod in before.pods}
    assert second.processes() == processes
    string = second.backend.get("string")
    assert string is not None and string.spec == ModuleSpec("string", replicas=0, timeout=1.5)
    await second.close()
    assert not any(running(pid) for pid in processes.values())


async def test_a_pod_that_was_taken_over_is_started_again_when_it_crashes(tmp_path: Path, environments: Path) -> None:
    first = await started(tmp_path, environments)
    await first.backend.apply(ModuleSpec("math"))
    await settled(first.backend, "math")
    await first.leave()
    second = await started(tmp_path, environments)
    await settled(second.backend, "math")
    (pid,) = second.processes().values()
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: second.processes() and pid not in second.processes().values())
    module = await settled(second.backend, "math")
    assert module.pods[0].restarts == 1
    await second.close()


async def test_a_working_directory_lives_as_long_as_its_pod(tmp_path: Path, environments: Path) -> None:
    first = await started(tmp_path, environments)
    await first.backend.apply(ModuleSpec("math", replicas=2))
    module = await settled(first.backend, "math")
    working = tmp_path / "working"
    directories = {working / pod.name for pod in module.pods}
    assert set(working.iterdir()) == directories
    for directory in directories:
        (directory / "closed").mkdir()
        (directory / "closed" / "file").touch()
        (directory / "closed").chmod(0o500)
    await first.leave()
    (working / "left-behind").mkdir()
    second = await started(tmp_path, environments)
    module = await settled(second.backend, "math")
    assert set(working.iterdir()) == directories
    (pid, *_) = second.processes().values()
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: pid not in second.processes().values())
    await settled(second.backend, "math")
    assert all((directory / "closed" / "file").exists() for directory in directories)
    await second.backend.delete("math")
    assert list(working.iterdir()) == []
    await second.close()


async def test_a_pod_that_ended_meanwhile_is_replaced(tmp_path: Path, environments: Path) -> None:
    first = await started(tmp_path, environments)
    await first.backend.apply(ModuleSpec("math"))
    await settled(first.backend, "math")
    await first.leave()
    (pid,) = first.processes().values()
    os.kill(pid, signal.SIGKILL)
    second = await started(tmp_path, environments)
    await settled(second.backend, "math")
    assert len(second.processes()) == 1 and pid not in second.processes().values()
    await second.close()


async def test_pods_of_another_run_are_ended(tmp_path: Path, environments: Path) -> None:
    first = await started(tmp_path, environments, "one")
    await first.backend.apply(ModuleSpec("math"))
    await settled(first.backend, "math")
    await first.leave()
    (pid,) = first.processes().values()
    second = await started(tmp_path, environments, "two")
    await settled(second.backend, "math")
    assert not running(pid)
    await second.close()


async def test_a_stranger_with_the_process_id_is_left_alone(tmp_path: Path, environments: Path) -> None:
    first = await started(tmp_path, environments, "one")
    await first.backend.apply(ModuleSpec("math"))
    await settled(first.backend, "math")
    await first.close()
    record = {
        "name": "math-000000", "module_name": "math", "revision": "", "generation": 1, "run_id": "one",
        "pid": os.getpid(), "start_ticks": 1, "port": 1, "restarts": 0,
    }  # fmt: skip
    (tmp_path / "pods" / "math-000000.json").write_text(json.dumps(record))
    second = await started(tmp_path, environments, "two")
    assert list((tmp_path / "pods").glob("*.json")) == []
    await second.close()


async def test_pods_without_a_module_are_ended(tmp_path: Path, environments: Path) -> None:
    first = await started(tmp_path, environments)
    await first.backend.apply(ModuleSpec("math"))
    await settled(first.backend, "math")
    await first.leave()
    (pid,) = first.processes().values()
    (tmp_path / "modules" / "math.json").unlink()
    second = await started(tmp_path, environments)
    await eventually(lambda: not running(pid) and not list((tmp_path / "pods").glob("*.json")))
    assert second.backend.modules() == []
    await second.backend.stop()


async def test_a_deleted_module_leaves_no_file(tmp_path: Path, environments: Path) -> None:
    local = await started(tmp_path, environments)
    await local.backend.apply(ModuleSpec("math"))
    module = await settled(local.backend, "math")
    assert (tmp_path / "logs" / f"{module.pods[0].name}.log").exists()
    await local.close()
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


@pytest.mark.parametrize("looks", [0, 1, 20])
async def test_deleting_while_it_starts_leaves_nothing(tmp_path: Path, environments: Path, looks: int) -> None:
    local = await started(tmp_path, environments)
    await local.backend.apply(ModuleSpec("math"))
    for _ in range(looks):
        await asyncio.sleep(0.005)
    await local.backend.delete("math")
    assert local.backend.modules() == []
    await local.backend.stop()
    assert local.processes() == {}


async def test_a_revision_may_be_taken_back_while_it_starts(tmp_path: Path, environments: Path) -> None:
    local = await started(tmp_path, environments)
    await local.backend.apply(ModuleSpec("math"))
    before = await settled(local.backend, "math")
    await local.backend.apply(ModuleSpec("math", env={"A": "1"}))
    await eventually(lambda: len(local.backend.modules()[0].pods) == 2)
    await local.backend.apply(ModuleSpec("math"))
    after = await settled(local.backend, "math")
    assert [pod.name for pod in after.pods] == [before.pods[0].name] and after.generation == 3
    await local.close()


async def kill_guest(pid: int, number: signal.Signals, address: str) -> None:
    """End a module server's guest once it has loaded `math`, and wait until the next one runs."""
    async with grpc.aio.insecure_channel(address) as channel:
        request = module_pb2.CallRequest(method="sqrt", args=[struct_pb2.Value(number_value=9)])
        await module_pb2_grpc.ModuleServiceStub(channel).Call(request)
    (guest,) = children(pid)
    os.kill(guest, number)
    await eventually(lambda: children(pid) - {guest} and not children(pid) & {guest})


async def test_a_guest_that_ends_counts_as_a_restart_of_its_pod(tmp_path: Path, environments: Path) -> None:
    """Also while no pod manager runs, for one that takes the pod over, and after the server itself was restarted."""

    def restarts(local: Local) -> int:
        return sum(pod.restarts for module in local.backend.modules() for pod in module.pods)

    first = await started(tmp_path, environments)
    await first.backend.apply(ModuleSpec("math"))
    address = (await settled(first.backend, "math")).pods[0].address
    (pid,) = first.processes().values()
    await kill_guest(pid, signal.SIGKILL, address)
    await eventually(lambda: restarts(first) == 1)
    await first.leave()
    await kill_guest(pid, signal.SIGKILL, address)
    second = await started(tmp_path, environments)
    await settled(second.backend, "math")
    await eventually(lambda: restarts(second) == 2)
    await kill_guest(pid, signal.SIGSEGV, address)
    await eventually(lambda: restarts(second) == 3)
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: restarts(second) == 4)
    await settled(second.backend, "math")
    await second.close()


async def sleeping(local: Local, channels: contextlib.AsyncExitStack, seconds: float) -> asyncio.Task[Any]:
    """A call of `time.sleep` that runs in the module's only pod."""
    module = await settled(local.backend, "time")
    channel = await channels.enter_async_context(grpc.aio.insecure_channel(module.pods[0].address))
    request = module_pb2.CallRequest(method="sleep", args=[struct_pb2.Value(number_value=seconds)])
    call = asyncio.ensure_future(module_pb2_grpc.ModuleServiceStub(channel).Call(request))
    await module_pb2_grpc.ModuleServiceStub(channel).Call(module_pb2.CallRequest(method="time"))  # it has begun
    return call


async def test_a_call_outlives_an_update_a_deletion_and_the_pod_manager(tmp_path: Path, environments: Path) -> None:
    async with contextlib.AsyncExitStack() as channels:
        first = await started(tmp_path, environments)
        await first.backend.apply(ModuleSpec("time"))
        call = await sleeping(first, channels, 3)
        begin = time.monotonic()
        await first.backend.apply(ModuleSpec("time", env={"A": "1"}))
        await eventually(lambda: [module.settled for module in first.backend.modules()] == [True])
        assert len(first.processes()) == 2 and not call.done(), "an update doesn't wait for calls of the old pod"
        await first.leave()
        assert time.monotonic() - begin < 2.5, "nor does the pod manager's end"

        second = await started(tmp_path, environments)
        await call
        other = await sleeping(second, channels, 1.5)
        deleting = asyncio.ensure_future(second.backend.delete("time"))
        await eventually(lambda: [module.phase for module in second.backend.modules()] == [ModulePhase.DELETING])
        deleting.cancel()
        await second.leave()

        third = await started(tmp_path, environments)
        assert third.backend.modules() == [] and not other.done()
        await other
        await eventually(lambda: not third.processes())
        await third.close()


async def test_a_pod_that_another_process_stops_is_replaced_and_its_calls_end(
    tmp_path: Path, environments: Path
) -> None:
    async with contextlib.AsyncExitStack() as channels:
        local = await started(tmp_path, environments)
        await local.backend.apply(ModuleSpec("time"))
        call = await sleeping(local, channels, 3)
        (pid,) = local.processes().values()
        os.kill(pid, signal.SIGTERM)
        await eventually(lambda: [len(module.ready) for module in local.backend.modules()] == [0])
        await eventually(lambda: [len(module.ready) for module in local.backend.modules()] == [1])
        assert running(pid) and not call.done()
        await call
        await settled(local.backend, "time")
        assert pid not in local.processes().values()
        await local.close()
