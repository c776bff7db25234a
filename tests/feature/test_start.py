"""A module server's way to its first answer: it starts its guest first, and imports little."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from jac_orc.errors import OrcError
from jac_orc.module_server.guest_process import Guest
from jac_orc.module_server.idle_guest import IdleGuest
from jac_orc.module_server.settings import Settings
from tests.feature.conftest import Start
from tests.feature.module_servers import wait_until
from tests.support import SERVICES, running

SELDOM = {
    "argparse", "decimal", "email", "fractions", "http.client", "importlib.metadata", "ipaddress",
    "multiprocessing", "pathlib", "platform", "random", "shutil", "tempfile", "unittest", "urllib.parse", "uuid",
}  # fmt: skip
"""What takes a millisecond or more to import, and few calls need."""


def test_the_guest_starts_before_the_server_listens(start_server: Start, guest_python: str, tmp_path: Path) -> None:
    python, begun = tmp_path / "python", tmp_path / "begun"
    python.write_text(f'#!/bin/sh\ndate +%s.%N > {begun}\nexec {guest_python} "$@"\n')
    python.chmod(0o700)
    server = start_server("math", python=str(python)).serving()
    (line,) = [line for line in server.log() if line["text"].startswith("listening on")]
    assert float(begun.read_text()) < datetime.datetime.fromisoformat(line["time"]).timestamp()
    assert server.call("sqrt", 16) == 4


def test_a_server_that_is_stopped_while_it_starts_ends_what_its_module_has_started(
    start_server: Start, tmp_path: Path
) -> None:
    child = tmp_path / "child"
    (tmp_path / "starter.py").write_text(
        "import os, subprocess, time\n"
        "process = subprocess.Popen(['sleep', '600'])\n"
        "with open(os.environ['CHILD'], 'w') as file:\n"
        "    print(process.pid, file=file)\n"
        "time.sleep(600)\n"
    )
    server = start_server("starter", source_folders=tmp_path, module_env_child=child)
    wait_until(lambda: child.exists() and child.read_text().endswith("\n"))
    assert server.stop() == 0
    wait_until(lambda: not running(int(child.read_text())))


@pytest.mark.parametrize(
    ("code", "told"), [("raise ValueError('not today')", "not today"), ("import os; os._exit(7)", "exit code 7")]
)
async def test_a_guest_that_fails_before_the_server_listens_has_its_last_words_heard(
    no_child_left: None, no_task_left: None, guest_python: str, tmp_path: Path, code: str, told: str
) -> None:
    (tmp_path / "unwilling.py").write_text(code)
    idle = IdleGuest(guest_python)
    idle.load("unwilling", [str(tmp_path)])
    assert (await asyncio.to_thread(select.select, [idle.socket], [], [], 30))[0]
    settings = Settings("unwilling", guest_python=guest_python, source_folders=str(tmp_path))
    with pytest.raises(OrcError, match=told):
        await Guest.start(settings, 1, "unwilling-127.0.0.1-1-1", idle)


def test_a_guest_imports_little_before_its_module(start_server: Start, tmp_path: Path) -> None:
    (tmp_path / "loaded.py").write_text("import sys\nnames = sorted(sys.modules)\n")
    server = start_server("loaded", source_folders=tmp_path).serving()
    heavy = SELDOM | {"asyncio", "concurrent.futures", "datetime", "logging", "ssl", "subprocess"}
    assert not heavy & set(server.call("names"))


def test_a_server_imports_little_and_still_less_before_its_guest_starts() -> None:
    script = (
        "import json, sys\n"
        "from jac_orc.module_server import idle_guest\n"
        "print(json.dumps(list(sys.modules)))\n"
        "import jac_orc.module_server.main\n"
        "print(json.dumps(list(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(SERVICES)}, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    first, then = (set(json.loads(line)) for line in done.stdout.splitlines())
    assert not first & (SELDOM | {"asyncio", "dataclasses", "google.protobuf", "grpc", "inspect", "logging"})
    of_ours = {"jac_orc.client", "jac_orc.guest.conversion", "jac_orc.pod_manager", "jac_orc.v1.pod_manager_pb2"}
    assert not then & (SELDOM | of_ours | {"ctypes", "grpc_reflection.v1alpha", "kubernetes", "rich", "typer"})
