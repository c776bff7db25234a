"""What the pod manager in a cluster knows of the shared volume."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from jac_orc.core import config
from jac_orc.pod_manager.backends.kube.start import kubernetes_backend
from jac_orc.pod_manager.backends.kube.store import Store
from jac_orc.pod_manager.environments import Environments
from jac_orc.pod_manager.locks import Locks
from jac_orc.pod_manager.model import Lock
from jac_orc.pod_manager.policy import Policy
from jac_orc.pod_manager.settings import Settings
from jac_orc.pod_manager.sources import Sources

LOCK = Lock("/usr/bin/python3", "3.11.2", "numpy==2.0.0\n")


def store(root: Path) -> Store:
    sources = Sources(root / "sources")
    return Store(Environments(root / "environments", Locks(root / "locks", sources, Policy())), sources)


def lock_file(root: Path) -> Path:
    file = root / "environments" / LOCK.digest / "lock.json"
    file.parent.mkdir(parents=True)
    return file


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_lock_is_read_when_it_is_asked_for(no_task_left: None, tmp_path: Path) -> None:
    lock_file(tmp_path).write_text(json.dumps(dataclasses.asdict(LOCK)))
    volume = store(tmp_path)
    assert [volume.lock(LOCK.digest) for _ in range(2)] == [None] * 2
    await until(lambda: volume.lock(LOCK.digest) == LOCK)
    await volume.stop()


async def test_a_lock_that_cant_be_read_is_read_again(
    no_task_left: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = lock_file(tmp_path)
    file.write_text("{")
    volume = store(tmp_path)
    assert volume.lock(LOCK.digest) is None
    await until(lambda: f"the lock of the environment {LOCK.digest} can't be read" in caplog.text)
    file.write_text(json.dumps(dataclasses.asdict(LOCK)))
    await until(lambda: volume.lock(LOCK.digest) == LOCK)
    await volume.stop()


async def test_a_lock_is_kept_only_while_its_environment_is_in_use(no_task_left: None, tmp_path: Path) -> None:
    lock_file(tmp_path).write_text(json.dumps(dataclasses.asdict(LOCK)))
    volume = store(tmp_path)
    await until(lambda: volume.lock(LOCK.digest))
    await volume.clean_up({LOCK.digest}, ())
    assert volume.lock(LOCK.digest) == LOCK
    await volume.clean_up((), ())
    assert volume.lock(LOCK.digest) is None
    await volume.stop()


@pytest.mark.parametrize("name", ["POD_MANAGER_TMP_SIZE", "POD_MANAGER_BUILD_TMP_SIZE"])
@pytest.mark.parametrize("size", ["0", "1023Ki", "much"])
async def test_a_limit_of_tmp_that_limits_nothing_is_a_faulty_setting(tmp_path: Path, name: str, size: str) -> None:
    sources = Sources(tmp_path / "sources")
    environments = Environments(tmp_path / "environments", Locks(tmp_path / "locks", sources, Policy()))
    settings = config.load(Settings, {name: size}, "POD_MANAGER_")
    with pytest.raises(config.ConfigurationError, match=f"{name}: .*{size}"):
        await kubernetes_backend(settings, environments, sources, Policy())
