"""Programs behave as at home: each runs in an interpreter of its own, and served, with the same results and effects.

`programs.py` describes how they are written. `docs/differences.md` has those that behave otherwise, and why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.feature.xds_front import Front
from tests.parity import programs
from tests.parity.faces import Rest, Servers, over_python_values
from tests.parity.programs import Program, Run
from tests.suite import forms

PROGRAMS = list(programs.read_all())
DIFFERENCES = list(programs.differences())
_AT_A_TIME = 3


class Trial:
    """A program's runs: at home and on each face."""

    def __init__(self, servers: Servers, rest: Rest, program: Program, folder: Path) -> None:
        module = folder.name
        folder.mkdir()
        self._folder = folder
        self._home = programs.at_home(program, module, folder / "home", servers.python)
        self._python, self._values = over_python_values(servers, program, module, folder / "python")
        self._rest = rest.run(servers, program, module, folder / "rest")

    def differences(self) -> list[str]:
        """Return a line for each thing that is not as at home."""
        expected = self._all(self._home, "home")
        found = list(_differing("Python", expected, self._all(self._python, "python")))
        if self._rest is not None:
            for number, value in enumerate(self._values):
                if "repr" in expected[f"call {number}"]:
                    expected[f"call {number}"] = {"json": self._plain(forms.as_json(value), "python")}
            found += _differing("REST", expected, self._all(self._rest, "rest"))
        return found

    def _all(self, run: Run, face: str) -> dict[str, Any]:
        """Return what is compared, by what it is."""
        calls = {f"call {number}": self._plain(outcome, face) for number, outcome in enumerate(run.outcomes)}
        return {**calls, "files": self._plain(run.files, face), **self._plain(run.printed, face)}

    def _plain(self, told: Any, face: str) -> Any:
        """Leave out addresses, and where the program lies."""
        if isinstance(told, (str, bytes)):
            folder: Any = str(self._folder / face)
            if isinstance(told, bytes):
                return told.replace(folder.encode(), b"FOLDER")
            return forms.without_addresses(told.replace(folder, "FOLDER"))
        if isinstance(told, dict):
            return {self._plain(name, face): self._plain(item, face) for name, item in told.items()}
        return [self._plain(item, face) for item in told] if isinstance(told, list) else told


def _differing(face: str, expected: dict[str, Any], got: dict[str, Any]) -> Iterator[str]:
    for name, home in expected.items():
        if not forms.equal(home, got[name], ordered=True):
            yield f"{face}, {name}: {got[name]}; at home: {home}"


Trials = Callable[[Program], Trial]


@pytest.fixture(scope="module")
def trials(
    request: pytest.FixtureRequest, guest_python: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Trials]:
    """Runs the programs of the selected tests, a few at a time."""
    tests = [item for item in request.session.items if item.path == request.path]
    selected = [item.callspec.params["program"] for item in tests if hasattr(item, "callspec")]
    folder = tmp_path_factory.mktemp("parity")
    servers = Servers(guest_python)
    front = Front(tmp_path_factory.mktemp("front"))
    try:
        front.start()
        rest = Rest(front)
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            running: dict[str, Future[Trial]] = {}
            for number, program in enumerate(selected):
                running[program.title] = pool.submit(Trial, servers, rest, program, folder / f"program_{number}")
            yield lambda program: running[program.title].result()
            pool.shutdown(cancel_futures=True)
        rest.close()
        assert not front.rejected
    finally:
        front.close()
        servers.close()


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.title)
def test_a_program_behaves_as_at_home(program: Program, trials: Trials) -> None:
    differences = trials(program).differences()
    assert not differences, "\n".join(differences)


@pytest.mark.parametrize("program", DIFFERENCES, ids=lambda program: program.title)
def test_a_documented_difference_is_one(program: Program, trials: Trials) -> None:
    assert trials(program).differences()


def test_there_are_few_differences_and_many_programs() -> None:
    assert len(PROGRAMS) >= 150
    assert len(DIFFERENCES) < 10
