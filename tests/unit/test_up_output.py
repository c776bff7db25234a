"""What `jac-orc up` shows of a log line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jac_orc.cli.up import render

FOLLOW = """
import asyncio, os, sys
from pathlib import Path
from jac_orc.cli.up import LogFollower

async def main():
    directory = Path(sys.argv[1])
    follower = LogFollower(directory)
    (directory / "a.log").write_text("x" * 100_000 + "\\n")
    following = asyncio.create_task(follower.follow())
    await asyncio.to_thread(sys.stdin.readline)
    following.cancel()
    await asyncio.wait([following])
    os._exit(7)  # as the thread still waits for the terminal

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é", "plain é"),
        ("two\nlines\tand a tab", "two\n           lines\tand a tab"),
        ("\x1b[31mred\x07\r\x9b", "\\x1b[31mred\\x07\\r\\x9b"),
    ],
)
def test_nothing_that_a_terminal_obeys_is_shown(text: str, shown: str) -> None:
    line = json.dumps({"time": "", "level": "info", "stream": "stdout", "text": text})
    assert render("math-1", line) == f"         math-1 | {shown}"


def test_a_line_that_is_no_json_is_shown_as_it_is() -> None:
    assert render("envoy", "[warning] x").endswith("envoy | [warning] x")


def test_a_terminal_that_is_stopped_doesnt_hold_up_the_end(tmp_path: Path) -> None:
    """A pipe that is full, and that nothing reads, is as a stopped terminal."""
    command = [sys.executable, "-c", FOLLOW, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.read(1)  # the thread prints
        process.stdin.write(b"\n")
        process.stdin.flush()
        try:
            assert process.wait(10) == 7
        finally:
            process.kill()
