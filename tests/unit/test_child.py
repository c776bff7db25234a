"""A child process of `jac-orc up` is started again, even where that fails at first."""

from __future__ import annotations

import asyncio
import os
import shutil
from functools import partial
from pathlib import Path

import pytest

from jac_orc.cli.supervisor import Child
from jac_orc.core.tasks import Tasks


async def answers() -> bool:
    return True


async def test_a_child_whose_log_cant_be_opened_is_started_once_it_can(
    no_task_left: None, no_child_left: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    command, environment = ["sleep", "60"], dict(os.environ)
    child = Child("sleeper", command, environment, folder / "a.log", answers=answers, liveness_period=0)
    said, tasks = list[str](), Tasks()
    await child.start()
    first = child.process
    tasks.supervise("keeping sleeper running", partial(child.keep, said.append))
    shutil.rmtree(folder)
    child.kill()
    async with asyncio.timeout(10):
        while "FileNotFoundError" not in caplog.text:
            await asyncio.sleep(0.01)
        folder.mkdir()
        while child.process is first:
            await asyncio.sleep(0.01)
    assert child.process is not None and child.process.returncode is None
    assert said[0] == "sleeper ended with SIGKILL; starting it again"
    await tasks.cancel()
    await child.stop(1)
