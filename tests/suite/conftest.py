"""One system for all tables, and the reports of those that have been run on it."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.local_system import LocalSystem
from tests.support import SERVICES

ROOT = Path(__file__).parents[2]
TABLES = Path(__file__).parent / "tables"
ENVIRONMENT = {
    "UV_CONSTRAINT": str(Path(__file__).parent / "constraints.txt"),
    # Sums are taken in the same order everywhere, and threads don't wait for a processor.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
_START = "import sys; sys.path += sys.argv[1:]; from tests.suite.runner import main; main()"

Report = dict[str, Any]


@pytest.fixture(scope="session")
def system(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSystem]:
    """A system of this directory's own."""
    shared = LocalSystem(cache, tmp_path_factory.mktemp("wheels"))
    try:
        with pytest.MonkeyPatch.context() as environment:
            for name, setting in ENVIRONMENT.items():
                environment.setenv(name, setting)
            shared.start()
        yield shared
    finally:
        shared.end()


@pytest.fixture(scope="module")
def report(
    system: LocalSystem, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str, str], Report]]:
    """The reports of the tables for which tests of this file have been selected; two modules are run at a time."""
    files: dict[str, list[str]] = defaultdict(list)
    for item in request.session.items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        if item.path == request.path and "file" in parameters:
            file, module = parameters["file"], parameters["module"]
            if file not in files[module]:
                files[module].append(file)
    with ThreadPoolExecutor(2) as pool:
        runs = {
            module: pool.submit(_run, system, module, names, tmp_path_factory.mktemp("files"))
            for module, names in files.items()
        }
        yield lambda file, module: runs[module].result()[file]
        pool.shutdown(cancel_futures=True)


def _run(system: LocalSystem, module: str, files: Sequence[str], directory: Path) -> dict[str, Report]:
    """Deploys the module, runs its tables one after the other, and removes it."""
    created = system.post("/v1/modules", {"module_name": module})
    assert created.status_code == 200, created.text
    (guest,) = system.pids("guest", module)
    python = Path(f"/proc/{guest}/cmdline").read_bytes().split(b"\0")[0].decode()
    try:
        return {file: _run_table(system, module, TABLES / file, python, directory) for file in files}
    finally:
        system.http.delete(f"/v1/modules/{module}")


def _run_table(system: LocalSystem, module: str, file: Path, python: str, directory: Path) -> Report:
    """Runs a table in the environment that the system has made for the module."""
    asked = {"file": str(file), "module": module, "port": system.port, "directory": str(directory)}
    # What the runner and its client need comes after the packages of the environment.
    packages = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    done = subprocess.run(
        [python, "-c", _START, *packages], input=json.dumps(asked), capture_output=True, text=True, timeout=100,
        cwd=directory, env={**os.environ, **ENVIRONMENT, "PYTHONPATH": f"{ROOT}{os.pathsep}{SERVICES}"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report: Report = json.loads(done.stdout)
    return report
