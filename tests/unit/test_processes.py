"""Processes that are started here end when they should, and take no stranger with them."""

from __future__ import annotations

import ast
import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import jac_orc
from jac_orc.core.processes import ManagedProcess, dying_with_parent
from tests.support import eventually, running


async def test_what_a_process_leaves_in_its_group_ends_with_it() -> None:
    script = "sleep 100 & echo $!; echo told >&2; setsid sh -c 'echo $$; exec sleep 100' & read forever < /dev/zero"
    process = ManagedProcess.start_piped(["sh", "-c", script], os.environ)
    in_group, in_its_own = int(await process.stdout.readline()), int(await process.stdout.readline())
    try:
        process.signal(signal.SIGTERM)
        await process.ended.wait()
        assert process.returncode == -signal.SIGTERM
        assert await process.stderr.readline() == b"told\n"
        await eventually(lambda: not running(in_group))
        assert running(in_its_own)
        process.stdout.close()  # which that one still has
        assert await process.stdout.read() == b""
    finally:
        os.kill(in_its_own, signal.SIGKILL)
    assert await process.stderr.read() == b""


async def test_its_output_comes_while_it_runs_and_whole() -> None:
    code = """
import sys, time
print("x" * 10**6, flush=True)
print("told", file=sys.stderr, flush=True)
time.sleep(100)
"""
    process = ManagedProcess.start_piped([sys.executable, "-c", code], os.environ)
    assert len(await process.stdout.readexactly(10**6)) == 10**6
    assert await process.stderr.readline() == b"told\n"  # so that the rest of the output has been written
    process.signal(signal.SIGKILL)
    await process.ended.wait()
    assert (process.returncode, await process.stdout.read(), await process.stderr.read()) == (-9, b"\n", b"")


async def test_an_ended_process_gets_no_signal() -> None:
    process = ManagedProcess.start_piped(["true"], os.environ)
    await process.ended.wait()
    process.signal(signal.SIGKILL)
    assert process.returncode == 0
    await asyncio.gather(process.stdout.read(), process.stderr.read())


PARENT = """
import os, subprocess, sys
from jac_orc.core.processes import dying_with_parent
child = subprocess.Popen(dying_with_parent(["sleep", "100"], nice=7))
while open(f"/proc/{child.pid}/comm").read() != "sleep\\n":
    pass
print(child.pid, os.getpriority(os.PRIO_PROCESS, child.pid) - os.getpriority(os.PRIO_PROCESS, 0), flush=True)
sys.stdin.read()
"""


async def test_a_child_ends_with_a_parent_that_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdin=-1, stdout=-1)
    assert parent.stdout is not None
    child, nicer = map(int, parent.stdout.readline().split())
    assert nicer == 7
    parent.kill()
    parent.communicate()
    await eventually(lambda: not running(child))


def test_a_child_whose_parent_has_ended_already_does_not_begin() -> None:
    command = dying_with_parent(["echo", "begun"])
    command[command.index(str(os.getpid()))] = "1"
    assert subprocess.run(command, capture_output=True, check=True).stdout == b""


@pytest.mark.parametrize("name", ["preexec_fn", "killpg"])
def test_nothing_runs_between_fork_and_exec_and_one_place_signals_groups(name: str) -> None:
    files = Path(jac_orc.__file__).parent.rglob("*.py")
    places = [(file.name, node) for file in files for node in ast.walk(ast.parse(file.read_text()))]
    found = {file for file, node in places if name in (getattr(node, "arg", ""), getattr(node, "attr", ""))}
    assert found <= ({"processes.py"} if name == "killpg" else set())
