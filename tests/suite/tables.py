"""The tables: which calls of which modules are made, as Python writes them.

A file holds tables of several modules. `== name ==` begins one; each further line is an entry or, with semicolons,
several, and lines that are indented belong to the one before:

    hypot(3, 4)                      a call of a function of the module, by its dotted path
    Fraction(3, 4).limit_denominator(2)      a method of what a call returns, which stays in the pod
    gcd(factorial(4), 18)            results as arguments
    list(accumulate([1, 2]))         what an iterator gives
    [seed(1), random()]              calls one after the other
    mean(py.range(4))                `py.` makes a value on this side, in Python's form or in JSON's
    points = [[1, 2], [3, 4]]        a name for what several entries use; `TMP` is a directory for files

Words, each with a colon, say what is special about an entry:

    ValueError: sqrt(-1)             it raises that
    python: sqrt(1 + 2j)            an argument has no JSON form; such an entry does not count for completeness
    rest: python: pos(2**70)        it goes these ways only
    random: token_hex(8)             results differ, and only their kinds and sizes are compared
    3.12: batched([1, 2, 3], 2)      that Python is the first to have it, and with `<3.12` the first not to

`every linalg fft` names the namespaces of which each callable has to occur, in place of the module itself (`.`);
`every` alone names none. `without dump load: they need a file` excepts names or patterns of names from that.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LATEST_PYTHON = (3, 13)
"""The last whose functions are all known here; a later one may have more."""
_HEAD = re.compile(r"== (\S+) ==$")
_MARK = re.compile(r"(<?3\.\d+|\w+): ")
_WORDS = ("random", "rest", "python")
_VERSION = re.compile(r"(<?)3\.(\d+)$")


@dataclass(frozen=True)
class Entry:
    """A call, and what is special about it."""

    text: str
    marks: tuple[str, ...] = ()

    @property
    def raises(self) -> str:
        """The name of the exception's class; empty where it returns."""
        return next((mark for mark in self.marks if mark.isidentifier() and mark not in _WORDS), "")

    def goes(self, way: str) -> bool:
        """Whether it goes that way."""
        only = {"python", "rest"} & set(self.marks)
        return not only or way in only or (way == "run_module" and "rest" in only)

    @property
    def is_there(self) -> bool:
        """Whether this Python has what it calls."""
        return _is_for_this_python(self.marks)


@dataclass
class Table:
    """The entries of a module."""

    module: str
    entries: list[Entry] = field(default_factory=list)
    bindings: dict[str, str] = field(default_factory=dict)
    namespaces: list[str] = field(default_factory=lambda: ["."])
    exceptions: dict[str, str] = field(default_factory=dict)
    """The reason by the name, or the pattern of names, that has no entry."""

    def called(self) -> set[str]:
        """The dotted paths that are called by entries which go every way."""
        found: set[str] = set()
        for entry in self.entries:
            if entry.is_there and entry.goes("call"):
                for node in ast.walk(resolved(entry.text, self.bindings)):
                    if isinstance(node, ast.Call):
                        found.add(dotted(node.func))
        return found - {""}


def _is_for_this_python(marks: Sequence[str]) -> bool:
    versions = [found for mark in marks if (found := _VERSION.match(mark))]
    return all((sys.version_info < (3, int(found[2]))) == bool(found[1]) for found in versions)


def dotted(node: ast.AST) -> str:
    """`linalg.norm`, where the node is just that; otherwise nothing."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (owner := dotted(node.value)):
        return f"{owner}.{node.attr}"
    return ""


def resolved(text: str, bindings: dict[str, str]) -> ast.expr:
    """The expression with what its names are bound to in their place."""

    class Resolver(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.AST:
            return resolved(bindings[node.id], bindings) if node.id in bindings else node

    tree = ast.fix_missing_locations(Resolver().visit(ast.parse(text, mode="eval")))
    assert isinstance(tree, ast.Expression)
    return tree.body


def read(file: Path) -> Iterator[Table]:
    """The tables of a file."""
    table: Table | None = None
    for line in _whole_lines(file):
        if head := _HEAD.match(line):
            if table is not None:
                yield _checked(table)
            table = Table(head[1])
            continue
        assert table is not None, f"{file.name}: no module is named before {line!r}"
        _take(table, line)
    if table is not None:
        yield _checked(table)


def _checked(table: Table) -> Table:
    twice = [entry for entry, count in Counter(table.entries).items() if count > 1]
    assert not twice, f"{table.module} has the same entry twice: {twice}"
    return table


def _whole_lines(file: Path) -> Iterator[str]:
    """The lines with those that continue them; no comments."""
    whole = ""
    for line in [*file.read_text().splitlines(), ""]:
        if line.startswith(" "):
            whole += f" {line.strip()}"
            continue
        if whole:
            yield whole
        whole = "" if line.startswith("#") else line.rstrip()


def _take(table: Table, line: str) -> None:
    marks, text = [], line
    while mark := _MARK.match(text):
        marks.append(mark[1])
        text = text[mark.end() :]
    if text.split()[0] == "every":
        table.namespaces = text.split()[1:]
    elif text.startswith("without "):
        names, _, reason = text.removeprefix("without ").partition(": ")
        assert reason, f"no reason is given: {line}"
        if _is_for_this_python(marks):
            table.exceptions.update(dict.fromkeys(names.split(), reason))
    else:
        for statement in ast.parse(text).body:
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                table.bindings[statement.targets[0].id] = ast.unparse(statement.value)
            else:
                assert isinstance(statement, ast.Expr), f"no expression: {line}"
                table.entries.append(Entry(ast.get_source_segment(text, statement) or "", tuple(marks)))
