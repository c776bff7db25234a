"""Environments: built once, visible only when whole. The installer is the real one; wheels are made here."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jac_orc.errors import OrcError
from jac_orc.pod_manager.environments import Environments
from tests.support import children, eventually

NAME = "orc_unit_wheel-1-py3-none-any.whl"


@pytest.fixture(autouse=True)
def leftovers(no_child_left: None, no_task_left: None) -> None:
    """No test leaves anything behind."""


@pytest.fixture(autouse=True)
def uv_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of these tests stays in the user's cache."""
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))


def wheel(directory: Path) -> Path:
    """The smallest wheel: one module."""
    file, info = directory / NAME, "orc_unit_wheel-1.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("orc_unit_wheel.py", "VALUE = 5\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: orc_unit_wheel\nVersion: 1\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
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
        self.requirement = f"orc_unit_wheel @ http://127.0.0.1:{self._server.server_port}/{NAME}"

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


def visible(root: Path) -> list[str]:
    return [file.name for file in root.iterdir() if not file.name.startswith(".")]


async def test_parallel_callers_share_one_build(tmp_path: Path) -> None:
    environments = Environments(tmp_path / "root")
    pythons = await asyncio.gather(*(environments.ensure([], "") for _ in range(5)))
    assert len(set(pythons)) == 1 and len(visible(tmp_path / "root")) == 1
    assert list((tmp_path / "root").glob(".building-*")) == []
    run = subprocess.run([pythons[0], "-I", "-c", "import sys; print(sys.prefix)"], capture_output=True, check=True)
    assert Path(run.stdout.decode().strip()) == pythons[0].parent.parent
    before = pythons[0].lstat().st_ino
    assert await Environments(tmp_path / "root").ensure([], "") == pythons[0]
    assert pythons[0].lstat().st_ino == before, "it isn't built again"


async def test_requirements_are_installed_and_tell_environments_apart(tmp_path: Path) -> None:
    environments = Environments(tmp_path / "root")
    requirement = f"orc_unit_wheel @ {wheel(tmp_path).as_uri()}"
    python = await environments.ensure([requirement], "")
    script = "import orc_unit_wheel; print(orc_unit_wheel.VALUE)"
    assert subprocess.run([python, "-I", "-c", script], capture_output=True, check=True).stdout == b"5\n"
    assert await environments.ensure([], "") != python


async def test_the_order_of_requirements_does_not_matter(tmp_path: Path) -> None:
    environments = Environments(tmp_path / "root")
    requirements = [f"orc_unit_wheel @ {wheel(tmp_path).as_uri()}", "nothing; python_version < '3'"]
    assert await environments.ensure(requirements, "") == await environments.ensure(requirements[::-1], "")


@pytest.mark.parametrize(
    ("requirements", "version", "words"),
    [
        (["orc_unit_wheel @ file:///nowhere/orc_unit_wheel-1-py3-none-any.whl"], "", "nowhere"),
        (["orc_unit_wheel==1", "orc_unit_wheel==2"], "", "orc-unit-wheel"),
        (["--version"], "", "--version"),
    ],
)
async def test_a_requirement_that_fails_tells_why_and_leaves_nothing(
    tmp_path: Path, requirements: list[str], version: str, words: str
) -> None:
    environments = Environments(tmp_path / "root")
    with pytest.raises(OrcError) as caught:
        await environments.ensure(requirements, version)
    assert caught.value.reason == "ENVIRONMENT_FAILED"
    assert words in caught.value.message and len(caught.value.message.splitlines()) <= 13
    assert list((tmp_path / "root").iterdir()) == []
    with pytest.raises(OrcError):
        await environments.ensure(requirements, version)


async def test_a_python_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    with pytest.raises(OrcError, match=r"3\.99"):
        await Environments(tmp_path / "root").ensure([], "3.99")
    assert list((tmp_path / "root").iterdir()) == []


async def test_a_caller_that_goes_away_leaves_the_build_to_the_others(tmp_path: Path, index: SlowIndex) -> None:
    environments = Environments(tmp_path / "root")
    first = asyncio.create_task(environments.ensure([index.requirement], ""))
    await eventually(index.asked.is_set)
    second = asyncio.create_task(environments.ensure([index.requirement], ""))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    index.go_on.set()
    assert (await second).exists()


async def test_stopping_ends_builds_and_removes_what_they_made(tmp_path: Path, index: SlowIndex) -> None:
    environments = Environments(tmp_path / "root")
    build = asyncio.create_task(environments.ensure([index.requirement], ""))
    await eventually(index.asked.is_set)
    await environments.stop()
    await asyncio.gather(build, return_exceptions=True)
    assert build.cancelled() and list((tmp_path / "root").iterdir()) == []


SCRIPT = """
import asyncio, sys
from pathlib import Path
from jac_orc.pod_manager.environments import Environments
print(asyncio.run(Environments(Path(sys.argv[1])).ensure([sys.argv[2]], "")))
"""


async def test_a_builder_that_is_killed_halfway_leaves_nothing_visible(tmp_path: Path, index: SlowIndex) -> None:
    root = tmp_path / "root"
    command = [sys.executable, "-c", SCRIPT, str(root), index.requirement]
    builder = subprocess.Popen(command, start_new_session=True)
    await eventually(index.asked.is_set)
    installers = children(builder.pid)
    assert installers and visible(root) == []
    os.killpg(builder.pid, signal.SIGKILL)
    builder.wait()
    assert visible(root) == []
    index.go_on.set()
    python = await Environments(root).ensure([index.requirement], "")
    assert subprocess.run([python, "-I", "-c", "import orc_unit_wheel"], check=False).returncode == 0


async def test_builders_in_two_processes_may_race(tmp_path: Path, index: SlowIndex) -> None:
    root = tmp_path / "root"
    commands = [[sys.executable, "-c", SCRIPT, str(root), index.requirement] for _ in range(2)]
    builders = [subprocess.Popen(command, stdout=subprocess.PIPE) for command in commands]
    await eventually(lambda: len(list(root.glob(".building-*/bin/python"))) == 2)
    index.go_on.set()
    outputs = [(await asyncio.to_thread(builder.communicate))[0] for builder in builders]
    assert [builder.returncode for builder in builders] == [0, 0]
    assert outputs[0] == outputs[1] and len(list(root.iterdir())) == 1
