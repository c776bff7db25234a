"""Environments: built once, visible only when whole. The installer is the real one; wheels are made here."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from jac_orc.errors import OrcError
from jac_orc.pod_manager import environment_builder, interpreters
from jac_orc.pod_manager.environments import Environment, Environments, Limits
from jac_orc.pod_manager.locks import Locks
from jac_orc.pod_manager.model import Lock, ModuleSpec
from jac_orc.pod_manager.policy import Policy
from jac_orc.pod_manager.sources import Sources
from tests.support import children, eventually, running

NAME = "orc_unit_wheel-1-py3-none-any.whl"


@pytest.fixture(autouse=True)
def leftovers(no_child_left: None, no_task_left: None) -> None:
    """No test leaves anything behind."""


@pytest.fixture(autouse=True)
def installer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of these tests stays in the user's cache; all that there is to install is what a test makes."""
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "uv").mkdir()
    (tmp_path / "uv" / "uv.toml").write_text("no-index = true\n")


def wheel(directory: Path, **more: str) -> Path:
    """The smallest wheel: one module, and further files by their names without an ending of .pth."""
    file, info = directory / NAME, "orc_unit_wheel-1.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("orc_unit_wheel.py", "VALUE = 5\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: orc_unit_wheel\nVersion: 1\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
        for name, content in more.items():
            archive.writestr(f"{name}.pth", content)
    return file


class SlowIndex:
    """Serves one wheel, and none before it is told to."""

    def __init__(self, file: Path) -> None:
        self.asked, self.go_on = threading.Event(), threading.Event()
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.asked.set()
                index.go_on.wait(20)
                data = file.read_bytes()
                self.send_response(200)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

            def handle(self) -> None:
                with contextlib.suppress(OSError):  # the one who asked was killed
                    super().handle()

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.requirement = f"orc-unit-wheel @ http://127.0.0.1:{self._server.server_port}/{NAME}"

    def close(self) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def index(tmp_path: Path) -> Iterator[SlowIndex]:
    served = SlowIndex(wheel(tmp_path))
    yield served
    served.close()


class Built:
    """Environments below one directory, with what they need."""

    def __init__(self, root: Path, limits: Limits | None = None) -> None:
        self.root = root / "built"
        self.locks = Locks(root / "locks", Sources(root / "sources"), Policy())
        self.environments = Environments(self.root, self.locks, limits)
        self.told: list[str] = []

    async def resolve(self, *requirements: str, **more: Any) -> Lock:
        return await self.environments.resolve(ModuleSpec("m", requirements=requirements, **more), self.told.append)

    async def hold(self, lock: Lock) -> Environment:
        return await self.environments.ensure(lock, self.told.append)

    async def python(self, lock: Lock) -> Path:
        """The environment's interpreter, which nobody holds any more."""
        held = await self.hold(lock)
        held.release()
        return held.interpreter

    def visible(self) -> list[str]:
        return [file.name for file in self.root.iterdir() if not file.name.startswith(".")]


@pytest.fixture
async def built(tmp_path: Path) -> AsyncIterator[Built]:
    made = Built(tmp_path)
    yield made
    await made.environments.stop()


def locked(*lines: str) -> Lock:
    return Lock(interpreters.own().path, interpreters.own().version, "".join(f"{line}\n" for line in lines))


def run(python: Path, code: str) -> str:
    return subprocess.run([python, "-I", "-c", code], capture_output=True, check=True, text=True).stdout.strip()


# --- locks ------------------------------------------------------------------------------------------------------------


async def test_a_lock_is_resolved_once(built: Built, tmp_path: Path) -> None:
    file = wheel(tmp_path)
    requirements = ["orc_unit_wheel>=1,<2", "nothing; python_version < '3'"]
    lock = await built.resolve(*requirements)
    assert lock.packages == ["orc-unit-wheel==1"] and "--hash=sha256:" in lock.text
    file.unlink()  # whoever asked the installer again would fail
    assert await built.resolve(*requirements[::-1]) == lock, "in any order"
    assert await built.resolve("nothing ; python_version<'3'", "Orc.Unit.Wheel < 2, >= 1") == lock, "in any form"
    assert await Built(tmp_path).resolve(*requirements) == lock, "and in another process"


@pytest.mark.parametrize("mode", ["symlink", "hardlink"])
async def test_an_environment_is_whole_without_the_installers_cache(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("UV_LINK_MODE", mode)
    wheel(tmp_path)
    python = await built.python(await built.resolve("orc_unit_wheel"))
    shutil.rmtree(tmp_path / "uv")
    assert run(python, "import orc_unit_wheel; print(orc_unit_wheel.VALUE)") == "5"


async def test_nothing_to_install_needs_no_installer(built: Built) -> None:
    lock = await built.resolve()
    assert (lock.text, lock.packages, lock.python_version) == ("", [], interpreters.own().version)


async def test_constraints_and_versions_tell_locks_apart(built: Built, tmp_path: Path) -> None:
    wheel(tmp_path)
    requirement = "orc_unit_wheel"
    with pytest.raises(OrcError) as caught:
        await built.resolve(requirement, constraints=("orc_unit_wheel==2",))
    assert caught.value.reason == "ENVIRONMENT_FAILED" and "orc-unit-wheel" in caught.value.message
    assert (await built.resolve(requirement, constraints=("orc_unit_wheel==1",))).packages


async def test_given_hashes_are_the_only_ones_that_are_taken(built: Built, tmp_path: Path) -> None:
    file = wheel(tmp_path)
    requirement, right = "orc_unit_wheel==1", hashlib.sha256(file.read_bytes()).hexdigest()
    lock = await built.resolve(f"{requirement} --hash=sha256:{right}")
    assert (await built.python(lock)).exists()
    wrong = await built.resolve(f"{requirement} --hash=sha256:{'0' * 64}")
    with pytest.raises(OrcError, match=r"(?i)hash"):
        await built.python(wrong)


async def test_a_python_that_is_not_there_is_told_with_those_that_are(built: Built) -> None:
    with pytest.raises(OrcError) as caught:
        await built.resolve(python_version="3.99")
    assert caught.value.reason == "PYTHON_NOT_FOUND"
    assert "3.99" in caught.value.message and interpreters.own().version in caught.value.message


async def test_the_own_version_is_found_by_its_beginning(built: Built) -> None:
    version = interpreters.own().version
    for asked in (version, version.rpartition(".")[0]):
        assert (await built.resolve(python_version=asked)).python_version == version


@pytest.mark.parametrize(
    "requirements",
    [
        ["nowhere==1"],
        ["orc_unit_wheel==1", "orc_unit_wheel==2"],
        [f"orc_unit_wheel @ https://nowhere.invalid/{'x/' * 800}orc_unit_wheel-1-py3-none-any.whl"],
    ],
    ids=["missing", "conflict", "long"],
)
async def test_what_cannot_be_resolved_tells_why_and_leaves_nothing(built: Built, requirements: list[str]) -> None:
    for _ in range(2):
        with pytest.raises(OrcError) as caught:
            await built.resolve(*requirements)
        assert caught.value.reason == "ENVIRONMENT_FAILED"
        assert "nowhere" in caught.value.message or "orc-unit-wheel" in caught.value.message
        assert len(caught.value.message.splitlines()) <= 18
        assert len(caught.value.message) < 800 and caught.value.message.count("x/") < 200
    assert not built.root.exists() and not (built.root.parent / "locks").exists()


# --- environments -----------------------------------------------------------------------------------------------------


async def test_parallel_callers_share_one_build(built: Built, tmp_path: Path) -> None:
    held = await asyncio.gather(*(built.hold(locked()) for _ in range(5)))
    (python,) = {environment.interpreter for environment in held}
    for environment in held:
        environment.release()
    assert len(built.visible()) == 1 and list(built.root.glob(".building-*")) == []
    assert Path(run(python, "import sys; print(sys.prefix)")) == python.parent.parent
    before = python.lstat().st_ino
    other = Built(tmp_path)
    assert await other.python(locked()) == python
    await other.environments.stop()
    assert python.lstat().st_ino == before, "it isn't built again"


async def test_what_is_locked_is_installed_and_compiled(built: Built, tmp_path: Path) -> None:
    wheel(tmp_path)
    lock = await built.resolve("orc_unit_wheel")
    python = await built.python(lock)
    assert run(python, "import orc_unit_wheel; print(orc_unit_wheel.VALUE)") == "5"
    assert any("Installed" in line for line in built.told)
    folder = python.parent.parent
    await eventually((folder / "compiled.stamp").exists)
    assert list(folder.glob("lib/python*/site-packages/__pycache__/orc_unit_wheel.*.pyc"))
    assert await built.python(locked()) != python


async def test_nothing_that_is_installed_runs_while_an_environment_is_made(built: Built, tmp_path: Path) -> None:
    wheel(tmp_path, orc_unit=f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()\n")
    python = await built.python(await built.resolve("orc_unit_wheel"))
    await eventually((python.parent.parent / "compiled.stamp").exists)
    assert list(python.parent.parent.glob("lib/python*/site-packages/__pycache__/orc_unit_wheel.*.pyc"))
    assert not (tmp_path / "ran").exists()
    run(python, "pass")
    assert (tmp_path / "ran").exists(), "the module's own process runs it, as at home"


async def test_a_builder_removes_nothing_of_others_from_the_store(tmp_path: Path) -> None:
    wheel(tmp_path)
    store = tmp_path / "store"
    elsewhere, unused = (store / "environments" / name for name in (".building-1-1-x", "of-another-module"))
    for folder in (elsewhere, unused):
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").touch()
        os.utime(folder, (0, 0))
    question = {"spec": {"module_name": "orc_unit_wheel", "requirements": ["orc-unit-wheel"]}}
    (tmp_path / "question.json").write_text(json.dumps({**question, "allowed_requirements": None}))
    await environment_builder.build(environment_builder.Settings(tmp_path / "question.json", store))
    assert elsewhere.exists() and unused.exists()
    assert len(list((store / "environments").iterdir())) == 3


async def test_an_environment_that_somebody_has_emptied_is_built_again(built: Built) -> None:
    python = await built.python(locked())
    python.unlink()
    assert (await built.python(locked())).exists()
    shutil.rmtree(built.root)
    assert (await built.python(locked())).exists()


async def test_a_build_that_fails_leaves_nothing(built: Built) -> None:
    with pytest.raises(OrcError, match="nowhere"):
        await built.python(locked("orc-unit-wheel @ file:///nowhere/orc_unit_wheel-1-py3-none-any.whl"))
    assert list(built.root.iterdir()) == []


async def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, index: SlowIndex) -> None:
    index.go_on.set()
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", small], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount")
    try:
        built = Built(small)
        with pytest.raises(OrcError) as caught:
            await built.python(locked(index.requirement))
        assert caught.value.reason == "ENVIRONMENT_FAILED" and "space" in caught.value.message.lower()
        assert not built.root.exists() or list(built.root.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)


async def test_what_nobody_holds_is_removed_oldest_first(tmp_path: Path) -> None:
    built = Built(tmp_path, Limits(size=1, age=1e9))
    held = await built.hold(locked())
    folder = held.interpreter.parent.parent
    await eventually((folder / "compiled.stamp").exists)
    await asyncio.to_thread(built.environments.collect)
    assert held.interpreter.exists()
    child = subprocess.Popen(["sleep", "60"], pass_fds=(held.fd,))  # as a pod that outlives the pod manager
    held.release()
    await asyncio.to_thread(built.environments.collect)
    assert held.interpreter.exists()
    child.kill()
    child.wait()
    await asyncio.to_thread(built.environments.collect)
    assert list(built.root.iterdir()) == []
    await built.environments.stop()


async def test_what_other_machines_use_and_build_stays(tmp_path: Path) -> None:
    built = Built(tmp_path, Limits(size=1, age=1e9))
    held = await built.hold(locked())
    folder = held.interpreter.parent.parent
    await eventually((folder / "compiled.stamp").exists)
    held.release()
    elsewhere, left = (built.root / f".building-{number}-1-x" for number in (1, 2))  # of pids that mean nothing here
    elsewhere.mkdir()
    left.mkdir()
    os.utime(left, (0, 0))
    await asyncio.to_thread(built.environments.collect, {folder.name})
    assert set(built.root.iterdir()) == {folder, elsewhere}
    assert built.environments.lock_of(folder.name) == locked()
    await asyncio.to_thread(built.environments.collect, set())
    assert list(built.root.iterdir()) == [elsewhere]
    assert built.environments.lock_of(folder.name) is None
    await built.environments.stop()


# --- builders that go away --------------------------------------------------------------------------------------------


async def test_a_caller_that_goes_away_leaves_the_build_to_the_others(built: Built, index: SlowIndex) -> None:
    lock = locked(index.requirement)
    first = asyncio.create_task(built.hold(lock))
    await eventually(index.asked.is_set)
    second = asyncio.create_task(built.python(lock))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    index.go_on.set()
    assert (await second).exists()


async def test_stopping_ends_builds_and_removes_what_they_made(built: Built, index: SlowIndex) -> None:
    build = asyncio.create_task(built.hold(locked(index.requirement)))
    await eventually(index.asked.is_set)
    await built.environments.stop()
    await asyncio.gather(build, return_exceptions=True)
    assert build.cancelled() and list(built.root.iterdir()) == []


SCRIPT = """
import asyncio, sys
from pathlib import Path
from tests.feature.test_environments import Built, locked
print(asyncio.run(Built(Path(sys.argv[1])).python(locked(sys.argv[2]))))
"""


@pytest.mark.parametrize("name", ["pyvenv.cfg", "compiled.stamp", "lock.json", "used.stamp"])
async def test_a_wheel_replaces_nothing_of_the_environments_own(tmp_path: Path, name: str) -> None:
    """A pyvenv.cfg names the standard library, and so code that runs wherever the environment's interpreter does."""
    with zipfile.ZipFile(wheel(tmp_path), "a") as archive:
        archive.writestr(f"orc_unit_wheel-1.data/data/{name}", "home = /elsewhere")
        archive.writestr("orc_unit_wheel-1.data/data/share/any", "")
    built = Built(tmp_path)
    with pytest.raises(OrcError, match="the environment's own") as caught:
        await built.python(locked("orc-unit-wheel==1"))
    assert caught.value.reason == "ENVIRONMENT_FAILED" and built.visible() == []
    await built.environments.stop()


async def test_a_damaged_stamp_stops_no_clean_up(tmp_path: Path) -> None:
    wheel(tmp_path)
    built = Built(tmp_path)
    python = await built.python(locked("orc-unit-wheel==1"))
    stamp = python.parents[1] / "compiled.stamp"
    await eventually(stamp.exists)
    await built.environments.stop()
    for text in ("abc", "-5", "", "\xff"):
        stamp.write_bytes(text.encode("latin-1"))
        built.environments.collect({python.parents[1].name})
    assert built.visible() != []


async def test_a_builder_that_is_killed_halfway_leaves_nothing_visible(tmp_path: Path, index: SlowIndex) -> None:
    built = Built(tmp_path)
    builder = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path), index.requirement])
    await eventually(index.asked.is_set)
    installers = children(builder.pid)
    assert installers and built.visible() == []
    builder.kill()
    builder.wait()
    await eventually(lambda: not any(running(pid) for pid in installers))
    index.go_on.set()
    python = await built.python(locked(index.requirement))
    assert run(python, "import orc_unit_wheel") == ""
    await eventually(lambda: len(list(built.root.iterdir())) == 1)  # what the killed one had begun is gone
    await built.environments.stop()


async def test_a_builder_may_be_killed_at_any_point(tmp_path: Path) -> None:
    wheel(tmp_path)
    requirement = "orc-unit-wheel==1"
    built = Built(tmp_path / "k")
    for point in range(10):
        builder = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path / "k"), requirement], stdout=-1)
        await eventually(lambda: list(built.root.glob("*")) or builder.poll() is not None)  # noqa: B023
        await asyncio.sleep(point * 0.02)
        builder.kill()
        builder.communicate()
        for name in built.visible():  # whatever is visible is whole
            assert run(built.root / name / "bin" / "python", "import orc_unit_wheel") == ""
            shutil.rmtree(built.root / name)
    python = await built.python(locked(requirement))
    assert run(python, "import orc_unit_wheel") == ""
    await eventually((python.parent.parent / "compiled.stamp").exists)
    built.environments.collect()
    assert len(list(built.root.iterdir())) == 1
    await built.environments.stop()


async def test_builders_in_two_processes_may_race(tmp_path: Path, index: SlowIndex) -> None:
    root = tmp_path / "built"
    commands = [[sys.executable, "-c", SCRIPT, str(tmp_path), index.requirement] for _ in range(2)]
    builders = [subprocess.Popen(command, stdout=subprocess.PIPE) for command in commands]
    await eventually(lambda: len(list(root.glob(".building-*/bin/python"))) == 2)
    index.go_on.set()
    outputs = [(await asyncio.to_thread(builder.communicate))[0] for builder in builders]
    assert [builder.returncode for builder in builders] == [0, 0]
    assert outputs[0] == outputs[1] and len(list(root.iterdir())) == 1
