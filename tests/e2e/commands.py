"""The command `jac-orc` as people run it against a system: a process with its own output and exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from jac_orc.cli.main import app
from tests.e2e.system import wait_until

_PLACES = ("JAC_ORC_URL", "POD_MANAGER_URL", "JAC_ORC_CONTEXT", "JAC_ORC_NAMESPACE", "JAC_ORC_API_KEY", "KUBECONFIG")
COMMAND = [sys.executable, "-c", "from jac_orc.cli.main import main; main()"]


def environment(**variables: str) -> dict[str, str]:
    """This process's environment, with no pod manager and no cluster named but in `variables`."""
    inherited = {name: value for name, value in os.environ.items() if name not in _PLACES}
    return {**inherited, "COLUMNS": "80", **variables}


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], env=environment(**variables), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=100, check=False,
    )  # fmt: skip


def parse(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in this process: for bad usage, which needs no pod manager and no second to import everything."""
    nowhere: dict[str, str | None] = dict.fromkeys(_PLACES)
    done = CliRunner(env={**nowhere, "COLUMNS": "80", "JAC_ORC_URL": "http://127.0.0.1:1"}).invoke(app, arguments)
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)


class Running:
    """A command that runs until it is ended."""

    def __init__(self, directory: Path, *arguments: str, **variables: str) -> None:
        self._out, self._err = directory / "out", directory / "err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [*COMMAND, *arguments],
                env=environment(**variables), stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            )  # fmt: skip

    @property
    def output(self) -> str:
        return self._out.read_text()

    @property
    def errors(self) -> str:
        return self._err.read_text()

    def wait(self, condition: Callable[[], Any], seconds: float = 30.0) -> Any:
        """What the condition answers once it is true; fails the test where the command ends before that."""

        def answer() -> Any:
            found = condition()
            assert found or self.process.poll() is None, self.output + self.errors
            return found

        try:
            return wait_until(answer, seconds)
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{self.output}\n{self.errors}") from None

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(10)

    def end(self) -> None:
        """Ends it, if it runs."""
        self.process.kill()
        self.process.wait()


def result(done: subprocess.CompletedProcess[str]) -> str:
    """What a command that has succeeded has printed."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refusal(done: subprocess.CompletedProcess[str], code: int = 1) -> str:
    """What a command that has failed has told."""
    assert done.returncode == code and done.stdout == "", done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr
