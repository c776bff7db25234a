"""Resolves what a module needs to a lock: exact versions with hashes, chosen once.

A lock is kept by what it was resolved from (requirements, constraints, the source's own dependency files, the
interpreter, the installer's settings), so that the same question has the same answer, and without the installer.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import logging
import os
import re
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from jac_orc.core import config, files
from jac_orc.errors import error
from jac_orc.pod_manager import interpreters
from jac_orc.pod_manager.installer import Tell, run_uv
from jac_orc.pod_manager.model import Lock, ModuleSpec, split_hashes
from jac_orc.pod_manager.sources import SourceKind, Sources

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_REFERENCE = re.compile(r"(?:-r|-c|--requirement|--constraint)[ =]\s*(\S+)")


class Locks:
    """The locks below one directory; `timeout` in seconds limits the installer."""

    def __init__(self, root: Path, sources: Sources, timeout: float = 1800.0) -> None:
        self._root = root
        self._sources = sources
        self._timeout = timeout

    async def resolve(self, spec: ModuleSpec, tell: Tell) -> Lock:
        """What the spec's environment consists of. Raises OrcError (ENVIRONMENT_FAILED, PYTHON_NOT_FOUND, …)."""
        interpreter = await interpreters.find(spec.python_version)
        inputs = await asyncio.to_thread(self._inputs, spec)
        if not inputs.lines and not inputs.file:
            return Lock(interpreter.path, interpreter.version, "")
        hashes = {name: sorted(allowed) for name, allowed in sorted(inputs.hashes.items())}
        question = [
            dataclasses.astuple(interpreter), inputs.lines, hashes, spec.constraints, inputs.texts,
            _installer_settings(),
        ]  # fmt: skip
        file = self._root / f"{hashlib.sha256(json.dumps(question).encode()).hexdigest()[:24]}.json"
        if (kept := await asyncio.to_thread(_kept, file)) is not None:
            return kept
        logger.info("resolving for %s: %s", spec.module_name, ", ".join(inputs.lines) or inputs.file)
        text = await self._compile(interpreter.path, inputs, spec.constraints, tell)
        lock = Lock(interpreter.path, interpreter.version, _with_hashes(text, inputs.hashes))
        await asyncio.to_thread(_keep, file, lock)
        return lock

    def _inputs(self, spec: ModuleSpec) -> Inputs:
        """What is to be resolved; raises OrcError where the source isn't there or its dependencies can't be read."""
        lines, hashes = list[str](), dict[str, set[str]]()
        for requirement in spec.requirements:
            pin, *allowed = split_hashes(requirement)
            lines.append(pin)
            if allowed:
                hashes.setdefault(_name(pin), set()).update(allowed)
        if spec.source is None:
            return Inputs(sorted(lines), hashes)
        if spec.source.kind is not SourceKind.ZIP:
            archive = self._sources.archive(spec.source)
            name = re.split(r"-\d", archive.name)[0]  # a wheel and an sdist are called NAME-VERSION-…
            return Inputs(sorted([*lines, f"{name} @ {archive.as_uri()}"]), hashes)
        folder = self._sources.folder(spec.source)
        file, computed = _dependency_file(folder)
        if file is None:
            return Inputs(sorted(lines), hashes)
        # What code computes may depend on any file of the source.
        texts = {"source": spec.source.digest} if computed else dict(_texts(folder, file))
        for text in texts.values():
            for name, allowed_hashes in _hashes_in(text):
                hashes.setdefault(name, set()).update(allowed_hashes)
        return Inputs(sorted(lines), hashes, file, texts)

    async def _compile(self, python: str, inputs: Inputs, constraints: Sequence[str], tell: Tell) -> str:
        with tempfile.TemporaryDirectory(prefix="jac-orc-") as directory:
            files_given = [str(inputs.file)] if inputs.file else []
            if inputs.lines:
                files_given.append(await asyncio.to_thread(_write, Path(directory, "requirements.in"), inputs.lines))
            if constraints:
                limits = await asyncio.to_thread(_write, Path(directory, "constraints.txt"), constraints)
                files_given += ["--constraints", limits]
            return await run_uv(
                "pip", "compile", "--no-progress", "--no-header", "--no-annotate", "--no-emit-index-url",
                "--generate-hashes", "--python", python, *files_given,
                tell=tell, timeout=self._timeout, cwd=inputs.file.parent if inputs.file else None,
            )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What is to be resolved."""

    lines: list[str]
    """Requirements without hashes."""
    hashes: dict[str, set[str]]
    """The only hashes that are allowed, by normalised name, where some are given."""
    file: Path | None = None
    """The file in which the source names its dependencies."""
    texts: dict[str, str] = dataclasses.field(default_factory=dict)
    """What decides beside the lines: this and the files that it refers to, or the source's digest."""


def _dependency_file(folder: Path) -> tuple[Path | None, bool]:
    """Where a source tree names what it needs, None where it needs nothing; and whether code of its own decides, too.

    Raises OrcError for a pyproject.toml that can't be read.
    """
    project = folder / "pyproject.toml"
    if project.is_file():
        table, tools = _tables(project)
        dynamic = table.get("dynamic", [])
        if not isinstance(dynamic, list):
            raise error("ENVIRONMENT_FAILED", "the source's pyproject.toml has a `dynamic` that is no list")
        computed = "dependencies" in dynamic
        if computed or "dependencies" in table or "poetry" in tools:
            return project, computed or "dependencies" not in table
    for name, computed in (("requirements.txt", False), ("setup.py", True), ("setup.cfg", True)):
        if (folder / name).is_file():
            return folder / name, computed
    return None, False


def _tables(project: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A pyproject.toml's `project` and `tool`."""
    try:
        document = tomllib.loads(project.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as failure:
        raise error("ENVIRONMENT_FAILED", f"the source's pyproject.toml can't be read: {failure}") from None
    table, tools = document.get("project", {}), document.get("tool", {})
    if not isinstance(table, dict) or not isinstance(tools, dict):
        raise error("ENVIRONMENT_FAILED", "the source's pyproject.toml has a `project` or a `tool` that is no table")
    return table, tools


def _texts(folder: Path, file: Path) -> Iterator[tuple[str, str]]:
    """The file and those that it refers to, by their path in the source tree."""
    unread, seen = [file], set[Path]()
    while unread:
        path = unread.pop()
        if path in seen or not path.is_relative_to(folder) or not path.is_file():
            continue
        seen.add(path)
        text = path.read_text(encoding="utf-8", errors="replace")
        yield str(path.relative_to(folder)), text
        if path.suffix != ".toml":
            unread += [Path(os.path.normpath(path.parent / found)) for found in _REFERENCE.findall(text)]


def _hashes_in(text: str) -> Iterator[tuple[str, list[str]]]:
    """The hashes that a requirements file gives, by normalised name."""
    for line in text.replace("\\\n", " ").splitlines():
        pin, *hashes = split_hashes(line.partition(" #")[0])
        if hashes and _NAME.match(pin):
            yield _name(pin), hashes


def _name(pin: str) -> str:
    match = _NAME.match(pin)
    return canonicalize_name(match[0]) if match else pin


def _with_hashes(text: str, allowed: dict[str, set[str]]) -> str:
    """The lock with the hashes that the user gave in place of those of the index, so that nothing else is installed."""
    if not allowed:
        return text
    entries = []
    for entry in re.split(r"\n(?=\S)", text.strip()):
        pin = entry.partition(" \\")[0].strip()
        hashes = sorted(allowed.get(_name(pin), ()))
        entries.append(" \\\n".join([pin, *(f"    --hash={each}" for each in hashes)]) if hashes else entry)
    return "\n".join(entries) + "\n"


def _installer_settings() -> str:
    """A digest of the settings that change what the installer finds; they may hold passwords."""
    settings = sorted((name, value) for name, value in config.environment().items() if name.startswith("UV_"))
    irrelevant = ("UV_CACHE_DIR", "UV_CONCURRENT_", "UV_HTTP_TIMEOUT", "UV_LINK_MODE", "UV_NO_PROGRESS")
    relevant = [pair for pair in settings if not pair[0].startswith(irrelevant)]
    return hashlib.sha256(json.dumps(relevant).encode()).hexdigest()


def _write(file: Path, lines: Sequence[str]) -> str:
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(file)


def _kept(file: Path) -> Lock | None:
    try:
        document = files.read_json(file)
        if document is None:
            return None
        os.utime(file)
        return Lock(**document)
    except (ValueError, TypeError, OSError):  # damaged or removed meanwhile: it is resolved anew
        return None


def _keep(file: Path, lock: Lock) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(file, dataclasses.asdict(lock))
