"""Programs behave as at home: each runs in an interpreter of its own, and is served.

A file in `programs` has programs of one kind: a line that names one, its code, then the calls. `x = f(1)` keeps what is
returned, whose methods later calls may name, and `[*f(1)]` reads a stream.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jac_orc.client.connection import Connection
from jac_orc.client.messages import Remote
from jac_orc.errors import OrcError
from tests.feature.module_servers import ModuleServer

PROGRAMS = Path(__file__).parent / "programs"


@dataclass
class Call:
    expression: str
    name: str = ""
    is_stream: bool = False
    method: str = ""
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] | None = None
    """None: an attribute is read."""

    @classmethod
    def of(cls, line: str) -> Call:
        (statement,) = ast.parse(line).body
        call = cls(line)
        if isinstance(statement, ast.Assign):
            call.name = ast.unparse(statement.targets[0])
        assert isinstance(statement, (ast.Assign, ast.Expr))
        node = statement.value
        if isinstance(node, ast.List) and isinstance(node.elts[0], ast.Starred):
            call.is_stream, node = True, node.elts[0].value
        call.expression = ast.unparse(node)
        if isinstance(node, ast.Call):
            call.args = tuple(map(ast.literal_eval, node.args))
            call.kwargs = {str(word.arg): ast.literal_eval(word.value) for word in node.keywords}
            node = node.func
        call.method = ast.unparse(node)
        return call


def programs() -> Iterator[Any]:
    for file in sorted(PROGRAMS.glob("*.txt")):
        for part in file.read_text().split("# --- ")[1:]:
            title, _, text = part.partition(" ---\n")
            lines = text.splitlines()
            calls = [line.removeprefix("# >>> ") for line in lines if line.startswith("# >>> ")]
            code = "\n".join(line for line in lines if not line.startswith("# >>> "))
            yield pytest.param(code, calls, id=f"{file.stem}: {title}")


def at_home(folder: Path, calls: list[Call]) -> list[dict[str, Any]]:
    asked = [{"expression": call.expression, "name": call.name, "is_stream": call.is_stream} for call in calls]
    command = [sys.executable, str(Path(__file__).with_name("at_home.py")), str(folder)]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, timeout=60, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def served(module: Connection, calls: list[Call]) -> list[dict[str, Any]]:
    kept: dict[str, Remote] = {}
    found = []
    for call in calls:
        owner, _, method = call.method.partition(".")
        target = kept.get(owner)
        try:
            if call.is_stream:
                result: Any = list(module.stream(call.method, call.args, call.kwargs))
            else:
                path = call.method if target is None else method
                result = module.invoke(path, call.args, call.kwargs, target=target, kept=bool(call.name))
        except OrcError as failure:
            if failure.reason != "EXCEPTION_RAISED":
                raise
            kind, _, message = failure.message.partition(": ")
            found.append({"exception": kind.replace("builtins.", ""), "message": message})
            continue
        if call.name:
            kept[call.name] = result
            found.append({"kept": result.type_name.rpartition(".")[2]})
        else:
            found.append({"repr": repr(result)})
    return found


@pytest.mark.parametrize(("code", "lines"), list(programs()))
def test_program(code: str, lines: list[str], tmp_path: Path, guest_python: str, no_child_left: None) -> None:
    (tmp_path / "program.py").write_text(code)
    calls = [Call.of(line) for line in lines]
    expected = at_home(tmp_path, calls)
    server = ModuleServer("program", guest_python, tmp_path, source_folders=tmp_path)
    try:
        with Connection(f"127.0.0.1:{server.serving().port}") as module:
            assert served(module, calls) == [_plain(each) for each in expected]
    finally:
        server.stop()


def _plain(told: dict[str, Any]) -> dict[str, Any]:
    return {name: text.replace("builtins.", "") if name == "exception" else text for name, text in told.items()}
