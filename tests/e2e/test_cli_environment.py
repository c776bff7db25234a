"""The command in hostile surroundings: numbers and bytes that no request can carry, closed streams, an early Ctrl-C."""

from __future__ import annotations

import os
import resource
import shlex
import signal
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

from jac_orc.cli.main import app
from tests.e2e.commands import COMMAND, environment, parse, refusal

_NO_MANAGER = "http://127.0.0.1:1"


def _numbers(commands: typer.Typer) -> Iterator[tuple[str, Any]]:
    """Yield the integer parameters of all commands: their names and what they say to Typer."""
    for command in commands.registered_commands:
        assert command.callback is not None
        for name, hint in typing.get_type_hints(command.callback, include_extras=True).items():
            kind, *information = typing.get_args(hint) if typing.get_origin(hint) is Annotated else (hint,)
            if int in (kind, *typing.get_args(kind)):
                yield f"{command.callback.__name__}: {name}", information[0]
    for group in commands.registered_groups:
        assert group.typer_instance is not None
        yield from _numbers(group.typer_instance)


def test_every_number_has_a_range_that_an_int32_holds() -> None:
    numbers = dict(_numbers(app))
    assert {"up: spares", "create: replicas", "dev: gpu", "scale: replicas", "logs: tail"} <= set(numbers)
    for name, information in numbers.items():
        assert information.min is not None and information.max is not None and information.max < 2**31, name


@pytest.mark.parametrize(
    "arguments", [("create", "math", "--replicas"), ("create", "math", "--gpu"), ("scale", "math"), ("up", "--spares")]
)
def test_a_number_beyond_its_range(arguments: tuple[str, ...]) -> None:
    told = refusal(parse(*arguments, "2147483648"), code=2)
    assert "or equal to" in " ".join(told.replace("│", "").split())


def _run(
    *arguments: str | bytes, redirection: str = "", disk_is_full: bool = False, variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command, with the redirection of a shell, or as if the disk were full."""
    command = [*COMMAND, *arguments]
    if redirection:
        command = ["bash", "-c", f'"$@" {redirection}', "bash", *command]
    full = (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))) if disk_is_full else None
    return subprocess.run(
        command, env=environment(**{"JAC_ORC_URL": _NO_MANAGER, **(variables or {})}), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False, preexec_fn=full,
    )  # fmt: skip


_ASCII = {"LC_ALL": "xx_YY.UTF-9", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (("create", "é"), _ASCII),
        (("create", "math", "--env", b"A=\xff\xfe"), {}),
        (("get", b"\xff"), {}),
        (("list",), {"JAC_ORC_URL": os.fsdecode(b"\xff")}),
    ],
    ids=["locale", "option", "argument", "variable"],
)
def test_bytes_that_are_not_utf_8(arguments: tuple[str | bytes, ...], variables: dict[str, str]) -> None:
    told = refusal(_run(*arguments, variables=variables), code=2)
    assert "can't be read as" in told or "is no URL" in told


@pytest.mark.parametrize("arguments", [("list",), ("get", "math")], ids=" ".join)
def test_closed_streams(arguments: tuple[str, ...]) -> None:
    for stream in ("<&-", ">&-"):
        told = refusal(_run(*arguments, redirection=stream))
        assert told.startswith(f"jac-orc {arguments[0]}: no pod manager answers")
    assert refusal(_run(*arguments, redirection="2>&-")) == ""


def test_closed_output_of_a_command_that_succeeds() -> None:
    done = _run("version", redirection=">&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_state_directory_on_a_full_disk(tmp_path: Path) -> None:
    directories = ("--state-dir", str(tmp_path / "s"), "--cache-dir", str(tmp_path / "c"))
    told = refusal(_run("up", "--port", "0", *directories, disk_is_full=True), code=2)
    assert told.startswith("jac-orc up: the state directory can't be used: ") and told.count("\n") == 1


def test_ctrl_c_while_modules_are_imported() -> None:
    interrupt = f"import os; import jac_orc.cli; os.kill(os.getpid(), {signal.SIGINT:d}); import jac_orc.cli.main"
    done = subprocess.run([sys.executable, "-c", interrupt], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", ""), shlex.join(done.args)
