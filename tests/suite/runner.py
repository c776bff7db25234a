"""Runs a table in the interpreter of the module's own environment: each call locally and on every way.

A process of its own, so that what calls change in their process ends with them, and so that the local call is one of
the same versions as the pod's. It reads what to run from standard input and writes a report to standard output.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import fnmatch
import importlib
import io
import json
import sys
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.suite import forms
from tests.suite.tables import LATEST_PYTHON, Entry, Table, dotted, read, resolved
from tests.suite.ways import WAYS, Raised, Way

Failure = dict[str, str]


@dataclass(frozen=True)
class Local:
    """What the local call has returned, or the exception that it has raised, in words."""

    value: Any = None
    error: str = ""
    raised: str = ""
    """The name of the exception's class."""


class Runner:
    """A module here and behind the front port."""

    def __init__(self, table: Table, port: int) -> None:
        self._table = table
        self._module = importlib.import_module(table.module)
        self._names = {**vars(self._module), "list": list, "py": _values()}
        self._ways: list[Way] = [way(port, table.module) for way in WAYS]

    def run(self) -> Iterator[Failure]:
        """The failures, entry by entry."""
        for entry in self._table.entries:
            if entry.is_there:
                yield from self._run(entry)
        for way in self._ways:
            way.close()

    def _run(self, entry: Entry) -> Iterator[Failure]:
        node = resolved(entry.text, self._table.bindings)
        local = self._tried(node)
        if local.raised != entry.raises:
            got = local.error or _shown(local.value)
            yield {"entry": entry.text, "way": "local", "expected": entry.raises or "a result", "got": got}
            return
        for way in self._ways:
            if not entry.goes(way.name):
                continue
            expected, got, agrees = self._compared(entry, node, way, local)
            if not agrees:
                yield {"entry": entry.text, "way": way.name, "expected": expected, "got": got}

    def _tried(self, node: ast.expr) -> Local:
        try:
            return Local(self._local(node))
        except Exception as failure:  # noqa: BLE001 - whatever the module raises
            kind = type(failure)
            return Local(error=f"{kind.__module__}.{kind.__qualname__}: {failure}", raised=kind.__name__)

    def _local(self, node: ast.expr) -> Any:
        return eval(compile(ast.Expression(node), "<entry>", "eval"), self._names)

    def _compared(self, entry: Entry, node: ast.expr, way: Way, local: Local) -> tuple[str, str, bool]:
        try:
            told = way.told(self._remote(node, way))
        except Raised as raised:
            expected = forms.without_addresses(local.error or "a result")
            return expected, str(raised), str(raised) == expected
        except Exception as failure:  # noqa: BLE001 - any failure of a way is one of the entry
            return local.error or _shown(local.value), f"{type(failure).__name__}: {failure}", False
        if local.error:
            return local.error, _shown(told), False
        expected = way.expected(local.value)
        if "random" in entry.marks:
            expected, told = forms.shape(expected), forms.shape(told)
            return _shown(expected), _shown(told), bool(expected == told)
        return _shown(expected), _shown(told), way.agree(expected, told)

    # --- what Python does with an expression, done with calls ---

    def _remote(self, node: ast.expr, way: Way, *, inner: bool = False) -> Any:
        if _is_of_this_side(node):
            return way.argument(self._local(node))
        if isinstance(node, ast.List):
            return way.collection([self._remote(item, way, inner=inner) for item in node.elts])
        if isinstance(node, ast.Tuple):
            return way.collection(tuple(self._remote(item, way, inner=inner) for item in node.elts))
        if isinstance(node, ast.Dict):
            names = [ast.literal_eval(name) for name in node.keys if name]
            return way.collection(
                dict(zip(names, [self._remote(item, way, inner=inner) for item in node.values], strict=True))
            )
        if isinstance(node, ast.Subscript):
            return way.item(self._remote(node.value, way, inner=True), ast.literal_eval(node.slice))
        if isinstance(node, ast.Call):
            return self._remote_call(node, way, inner=inner)
        return self._asked(node, way, [], {}, inner=inner)

    def _remote_call(self, node: ast.Call, way: Way, *, inner: bool) -> Any:
        if isinstance(node.func, ast.Name) and node.func.id == "list":
            return way.items(self._remote(node.args[0], way, inner=True))
        args = [self._remote(arg, way, inner=True) for arg in node.args]
        kwargs = {word.arg: self._remote(word.value, way, inner=True) for word in node.keywords if word.arg}
        return self._asked(node.func, way, args, kwargs, inner=inner)

    def _asked(self, node: ast.expr, way: Way, args: list[Any], kwargs: dict[str, Any], *, inner: bool) -> Any:
        """The answer to a call of what the node names: in the module, in a result, or the result itself."""
        if path := dotted(node):
            return way.call(None, path, args, kwargs, inner=inner)
        if isinstance(node, ast.Attribute):
            names = [node.attr]
            while isinstance(owner := node.value, ast.Attribute):
                names.insert(0, owner.attr)
                node = owner
            return way.call(self._remote(node.value, way, inner=True), ".".join(names), args, kwargs, inner=inner)
        return way.call(self._remote(node, way, inner=True), "", args, kwargs, inner=inner)

    # --- completeness ---

    def missing(self) -> list[str]:
        """The callables of the table's namespaces that have neither an entry nor a reason for having none."""
        if sys.version_info[:2] > LATEST_PYTHON:
            return []
        called, exceptions = self._table.called(), self._table.exceptions
        names = [name for namespace in self._table.namespaces for name in self._public(namespace)]
        return [
            name for name in names
            if name not in called and not any(fnmatch.fnmatchcase(name, pattern) for pattern in exceptions)
        ]  # fmt: skip

    def needless(self) -> list[str]:
        """The exceptions that except nothing."""
        names = {
            name for namespace in self._table.namespaces for name in self._public(namespace)
        } - self._table.called()
        return [pattern for pattern in self._table.exceptions if not fnmatch.filter(names, pattern)]

    def counts(self) -> dict[str, int]:
        """How many public callables there are, and how many of them have entries."""
        names = {name for namespace in self._table.namespaces for name in self._public(namespace)}
        entries = [entry for entry in self._table.entries if entry.is_there]
        return {"public": len(names), "called": len(names & self._table.called()), "entries": len(entries)}

    def _public(self, namespace: str) -> list[str]:
        """The dotted paths of a namespace's public callables: of `__all__`, or what is defined there."""
        prefix = "" if namespace == "." else f"{namespace}."
        owner = self._module if namespace == "." else importlib.import_module(f"{self._table.module}.{namespace}")
        exported = getattr(owner, "__all__", None)
        names = exported if exported is not None else [name for name in dir(owner) if _is_of(owner, name)]
        return sorted(prefix + name for name in names if not name.startswith("_") and _is_callable(owner, name))


def _is_of(owner: types.ModuleType, name: str) -> bool:
    """Whether what the name stands for is defined there, and not merely imported."""
    value = getattr(owner, name, None)
    home = getattr(value, "__module__", None) or type(value).__module__
    return home.lstrip("_").startswith(owner.__name__.lstrip("_"))


def _is_callable(owner: types.ModuleType, name: str) -> bool:
    try:
        return callable(getattr(owner, name, None))
    except ImportError:  # it has to be enabled first
        return False


def _shown(value: Any) -> str:
    try:
        return repr(value)[:2000]
    except Exception as failure:  # noqa: BLE001 - of whatever class
        return f"a {type(value).__name__} whose repr() fails: {failure!r}"


def _is_of_this_side(node: ast.expr) -> bool:
    """Whether nothing in it names anything of the module."""
    return all(name.id == "py" for name in ast.walk(node) if isinstance(name, ast.Name))


def _values() -> types.SimpleNamespace:
    """What `py.` stands for: builtins, and what makes values that have forms of their own."""
    import datetime
    import decimal
    import fractions
    import math
    import uuid

    found: dict[str, Any] = {one.__name__: one for one in (decimal.Decimal, fractions.Fraction, uuid.UUID)}
    if "numpy" in sys.modules:
        found["numpy"] = sys.modules["numpy"]
    return types.SimpleNamespace(**vars(builtins), **found, datetime=datetime, nan=math.nan, inf=math.inf)


def main() -> None:
    """Reads what to run and reports."""
    asked = json.load(sys.stdin)
    table = next(table for table in read(Path(asked["file"])) if table.module == asked["module"])
    table.bindings["TMP"] = repr(asked["directory"])
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()):
        for namespace in {name.rpartition(".")[0] for name in table.called()} - {""}:
            with contextlib.suppress(ImportError):  # a class
                importlib.import_module(f"{table.module}.{namespace}")
        runner = Runner(table, asked["port"])
        report: dict[str, Any] = {"failures": list(runner.run()), "entries": [entry.text for entry in table.entries]}
        report |= {"missing": runner.missing(), "needless": runner.needless(), "counts": runner.counts()}
    json.dump(report, sys.stdout)
