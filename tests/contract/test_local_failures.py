"""What the backend of one machine does about a module that can't be deployed."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from jac_orc.pod_manager.model import ModulePhase, ModuleSpec
from jac_orc.pod_manager.sources import Sources
from tests.contract.subjects import Local, settled
from tests.support import eventually

UNINSTALLABLE = ("jac-x==2", "jac-x==1")  # which no index has to be asked about


async def test_a_failing_installation_is_not_tried_again_at_once(
    tmp_path: Path, environments: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    local = Local(tmp_path / "state", environments)
    await local.backend.start()
    await local.backend.apply(ModuleSpec("jac_x", requirements=UNINSTALLABLE))
    await eventually(lambda: [m.phase for m in local.backend.modules()] == [ModulePhase.FAILED])
    await asyncio.sleep(1)
    assert sum("resolving for jac_x" in message for message in caplog.messages) == 1
    await local.close()


async def test_a_recorded_requirement_that_is_not_allowed_any_more_is_an_error(
    tmp_path: Path, environments: Path
) -> None:
    local = Local(tmp_path / "state", environments)
    await local.backend.start()
    await local.backend.apply(ModuleSpec("jac_x", requirements=("jac-x @ file:///nowhere/jac_x-1-py3-none-any.whl",)))
    await eventually(lambda: [m.phase for m in local.backend.modules()] == [ModulePhase.FAILED])
    (module,) = local.backend.modules()
    assert module.error is not None and module.error.reason == "ENVIRONMENT_FAILED"
    assert "not allowed any more" in module.error.message and "only https URLs" in module.error.message
    await local.close()


async def test_a_change_while_an_environment_is_built_is_not_deployed_with_it(
    tmp_path: Path, environments: Path
) -> None:
    local = Local(tmp_path / "state", environments)
    await local.backend.start()
    await local.backend.apply(ModuleSpec("math", requirements=UNINSTALLABLE))
    await local.backend.apply(ModuleSpec("math"))
    await eventually(lambda: [m.settled for m in local.backend.modules()] == [True])
    module = local.backend.get("math")
    assert module is not None
    assert (module.error, module.generation) == (None, 2)
    await local.close()


async def test_a_pod_whose_state_cant_be_written_serves_and_is_written_later(
    tmp_path: Path, environments: Path, caplog: pytest.LogCaptureFixture
) -> None:
    local = Local(tmp_path / "state", environments)
    await local.backend.start()
    await local.backend.apply(ModuleSpec("math"))
    await eventually(lambda: [m.settled for m in local.backend.modules()] == [True])
    crashing = next(iter(local.processes().values()))
    shutil.rmtree(local.state / "pods")  # as on a full disk, no file can be made there
    os.kill(crashing, signal.SIGKILL)
    await eventually(lambda: [m.ready and m.pods[0].restarts for m in local.backend.modules()] == [1])
    assert "can't be written" in caplog.text
    (local.state / "pods").mkdir()
    await eventually(lambda: local.processes() and 0 not in local.processes().values())
    assert crashing not in local.processes().values()
    await local.close()
    assert not local.processes()


async def test_an_update_keeps_the_source_that_pods_and_a_rollback_need(tmp_path: Path, environments: Path) -> None:
    local = Local(tmp_path, environments)
    sources = Sources(tmp_path / "sources")
    old, new, unused = (
        sources.add_files({"shop.py": text}) for text in (b"x = 1", b"raise ValueError", b"nobody = 'has it'")
    )
    home, gone = tmp_path / "sources" / old.hex, tmp_path / "sources" / unused.hex

    def age(folder: Path) -> None:
        for path in (*folder.iterdir(), folder):
            os.utime(path, (0, 0))

    await local.backend.start()
    await local.backend.apply(ModuleSpec("shop", source=old))
    await settled(local.backend, "shop")
    age(home)
    await local.backend.apply(ModuleSpec("shop", source=new))
    assert home.stat().st_mtime > time.time() - 600, "the update counts as a use"
    await eventually(lambda: [module.error for module in local.backend.modules()] != [None])
    age(home)
    age(gone)
    await local.backend._remove_unused()
    assert home.exists(), "a pod still runs it"
    assert not gone.exists()
    await local.close()
