"""The programs of the parity suite: how they are written, and how they run at home.

A file in `programs/` holds programs of one kind. Each is a title, code, and calls:

    # --- a counter keeps its value ---
    count = 0
    def increment():
        global count
        count += 1
        return count
    # >>> increment()
    # >>> increment()

A call's arguments are literals. `# >>> x = make(1)` keeps the result as an object, which later calls can use
(`# >>> x.method()`), `# >>> [*items(3)]` reads a stream, and `# >>> count` reads an attribute. A program is a module of
its own in a folder of its own; it finds these as `__name__` and `os.path.dirname(__file__)`.

Compared are each call's result, or its exception with notes, causes and members; and once the interpreter has ended,
the lines on standard output and standard error, and the files in the program's folder. To add a program is to add its
lines to a file.
"""

from __future__ import annotations

import ast
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "programs"
DIFFERENCES = Path(__file__).parents[2] / "docs" / "differences.md"
_AT_HOME = Path(__file__).with_name("at_home.py")
_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
"""What a guest inherits of the environment, and so does an interpreter here."""


@dataclass
class Call:
    """A call of a program."""

    expression: str
    name: str = ""
    """What the result is kept as; empty: it is returned."""
    is_stream: bool = False
    method: str = ""
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    reads: bool = False
    """Whether an attribute is read and nothing is called."""

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
        call.reads = not isinstance(node, ast.Call)
        if isinstance(node, ast.Call):
            call.args = list(map(ast.literal_eval, node.args))
            call.kwargs = {str(word.arg): ast.literal_eval(word.value) for word in node.keywords}
            node = node.func
        call.method = ast.unparse(node)
        return call


@dataclass
class Program:
    """A module's code and the calls to make."""

    title: str
    code: str
    calls: list[Call]

    @classmethod
    def of(cls, title: str, text: str) -> Program:
        lines = text.splitlines()
        calls = [Call.of(line.removeprefix("# >>> ")) for line in lines if line.startswith("# >>> ")]
        return cls(title, "\n".join(line for line in lines if not line.startswith("# >>> ")) + "\n", calls)


@dataclass
class Run:
    """What came of a program's calls, and what it left behind."""

    outcomes: list[dict[str, Any]]
    printed: dict[str, list[str]]
    files: dict[str, bytes]


def read_all() -> Iterator[Program]:
    """Return the programs of all files, in order."""
    for file in sorted(FOLDER.glob("*.txt")):
        for part in file.read_text().split("# --- ")[1:]:
            title, _, text = part.partition(" ---\n")
            yield Program.of(f"{file.stem}: {title}", text)


def at_home(program: Program, module: str, folder: Path, python: str) -> Run:
    """Run the program in a new interpreter until that has ended."""
    write(program, module, folder)
    report = folder.with_name("outcomes")
    calls = [(call.expression, call.name, call.is_stream) for call in program.calls]
    code = f"{_AT_HOME.read_text()}\nrun({module!r}, {str(folder)!r}, {calls!r}, {str(report)!r})\n"
    environment = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    done = subprocess.run(
        [python, "-c", code], env=environment, cwd=folder, stdin=subprocess.DEVNULL,
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert report.exists(), f"the interpreter ended with {done.returncode}: {done.stderr!r}"
    told = report.read_bytes().decode("utf-8", "surrogatepass")
    printed = {"stdout": _lines(done.stdout), "stderr": _lines(done.stderr)}
    return Run(ast.literal_eval(told), printed, files_in(folder, module))


def _lines(output: bytes) -> list[str]:
    return output.decode().removesuffix("\n").split("\n") if output else []


def write(program: Program, module: str, folder: Path) -> None:
    """Write the program's module to a new folder."""
    folder.mkdir()
    (folder / f"{module}.py").write_text(program.code)


def files_in(folder: Path, module: str) -> dict[str, bytes]:
    """Return the files that a program has left in its folder, by their paths in it."""
    files = [file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files if file.name != f"{module}.py"}


def differences() -> Iterator[Program]:
    """Return the programs of `docs/differences.md`, which behave otherwise when served."""
    for part in DIFFERENCES.read_text().split("\n## ")[1:]:
        title, _, text = part.partition("\n")
        yield Program.of(f"differences: {title}", text.partition("```python\n")[2].partition("```")[0])
