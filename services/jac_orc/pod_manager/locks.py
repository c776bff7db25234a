"""Resolves what a module needs to a lock: exact versions with hashes, chosen once.

What the installer answers is kept by what it was asked (requirements, constraints, the address of a source that it
looks into, the interpreter, its settings), so that the same question has the same answer, and without the installer.

What the user's own source requires is judged as a spec's requirements are: at once where it is written down, and from
the answer where code computes it or the archive has it. What these require themselves comes along unasked.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import logging
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from jac_orc.core import config, files
from jac_orc.errors import OrcError, error
from jac_orc.pod_manager import interpreters, source_metadata
from jac_orc.pod_manager.installer import Tell, run_uv
from jac_orc.pod_manager.model import Lock, ModuleSpec
from jac_orc.pod_manager.policy import Policy
from jac_orc.pod_manager.requirements import installer_file, parse, url_fault
from jac_orc.pod_manager.source_requirements import Needs, check, read, read_script, read_wheel
from jac_orc.pod_manager.sources import SourceKind, SourceRef, Sources
from jac_orc.pod_manager.texts import shown

logger = logging.getLogger(__name__)

_METADATA_TIMEOUT = 300.0
_DETAIL = re.compile(r"    (?:--hash=([a-z0-9]+:[0-9a-f]{32,128})(?: \\)?|#(?: via|  )(?: (\S+).*)?|#.*)")


class Locks:
    """The locks below one directory; `timeout` in seconds limits the installer."""

    def __init__(self, root: Path, sources: Sources, policy: Policy, timeout: float = 1800.0) -> None:
        self._root = root
        self._sources = sources
        self._policy = policy
        self._timeout = timeout

    @property
    def options(self) -> list[str]:
        """The options with which the installer resolves and installs."""
        # Sources are what a project says of where its requirements are, paths of this machine included.
        return ["--no-progress", "--no-sources", *([] if self._policy.builds else ["--no-build"])]

    async def known(self, spec: ModuleSpec) -> Lock | None:
        """As `resolve`, but without the installer: None where it had to be asked."""
        return await self._lock(spec, None)

    async def resolve(self, spec: ModuleSpec, tell: Tell) -> Lock:
        """What the spec's environment consists of.

        Raises OrcError: ENVIRONMENT_FAILED, PYTHON_NOT_FOUND; SOURCE_INVALID or REQUIREMENT_REFUSED for what its source
        requires and a spec might not.
        """
        lock = await self._lock(spec, tell)
        assert lock is not None
        return lock

    async def _lock(self, spec: ModuleSpec, tell: Tell | None) -> Lock | None:
        interpreter = await interpreters.find(spec.python_version)
        lock = await self._chosen(spec, interpreter, tell)
        if lock is None or spec.source is None or await self._described(spec.source, interpreter.path, tell):
            return lock
        return None

    async def _described(self, source: SourceRef, python: str, tell: Tell | None) -> bool:
        """Return whether the source's metadata is known; without `tell` nothing is built for that.

        Most code needs no metadata, so a failure is only written down, for the module to report when it does.
        """
        if source.kind is not SourceKind.ZIP:
            return True
        project = await asyncio.to_thread(self._sources.project, source)

        def write(target: Path) -> bool:
            return source_metadata.write_static(project, target) or not source_metadata.is_built(project)

        if await asyncio.to_thread(self._sources.describe, source, write):
            return True
        if tell is None:
            return False
        with tempfile.TemporaryDirectory(prefix="jac-orc-") as directory:
            built, failure, limit = Path(directory), "", min(self._timeout, _METADATA_TIMEOUT)
            try:
                if not self._policy.builds:
                    raise error("ENVIRONMENT_FAILED", "the policy allows no builds (`builds: false`)")
                await asyncio.to_thread(self._sources.copy_for_build, source)
                await run_uv(
                    "pip", "install", *self.options, "--no-deps", "--target", str(built), "--python", python,
                    self._sources.build_folder(source).as_uri(), tell=tell, timeout=limit,
                )  # fmt: skip
            except OrcError as raised:
                failure = raised.message

            def write_built(target: Path) -> bool:
                if not failure:
                    source_metadata.write_built(project, built, target)
                elif not source_metadata.write_static(project, target, also_dynamic=True):
                    source_metadata.write_failure(target, failure)
                return True

            return await asyncio.to_thread(self._sources.describe, source, write_built)

    async def _chosen(self, spec: ModuleSpec, interpreter: interpreters.Interpreter, tell: Tell | None) -> Lock | None:
        inputs = await asyncio.to_thread(self._inputs, spec, interpreter.version)
        if not inputs.lines:
            return Lock(interpreter.path, interpreter.version, "")
        hashes = {name: sorted(allowed) for name, allowed in sorted(inputs.hashes.items())}
        question = [
            dataclasses.astuple(interpreter), inputs.lines, hashes, inputs.constraints, inputs.overrides, self.options,
            _installer_settings(),
        ]  # fmt: skip
        file = self._root / f"{hashlib.sha256(json.dumps(question).encode()).hexdigest()[:24]}.json"
        text = await asyncio.to_thread(_kept, file)
        if text is None:
            if tell is None:
                return None
            logger.info("resolving for %s: %s", spec.module_name, ", ".join(inputs.lines))
            if inputs.source and spec.source is not None and not spec.source.kind.is_installed:
                await asyncio.to_thread(self._sources.copy_for_build, spec.source)
            text = await self._compile(interpreter.path, inputs, tell)
            await asyncio.to_thread(_keep, file, text)
        entries = list(_entries(text))
        if inputs.source:
            (source,) = (entry for entry in entries if entry.url == inputs.source)
            named = [entry.pin for entry in entries if source.name in entry.via]
            check([("what the source requires", pin) for pin in named])
            self._policy.check_requirements(named)
            if spec.source is not None and not spec.source.kind.is_installed:  # it is imported from a folder
                entries.remove(source)
        for entry in entries:
            if entry.url != inputs.source and (fault := url_fault(entry.url)):
                raise _not_pinned(f"{shown(entry.pin)}: {fault}")
        return Lock(interpreter.path, interpreter.version, "".join(entry.text(inputs.hashes) for entry in entries))

    def _inputs(self, spec: ModuleSpec, python_version: str) -> Inputs:
        """What is to be resolved; raises OrcError where the source isn't there, or requires what isn't taken."""
        needs, source = Needs(), ""
        if spec.source is not None and not spec.source.kind.is_installed:
            folder = self._sources.project(spec.source)
            if spec.source.kind is SourceKind.SCRIPT:
                needs = read_script(folder / spec.source.file_name, python_version)
            else:
                needs = read(folder, python_version)
            self._policy.check_requirements([*needs.requirements, *needs.overrides])
            self._policy.check_constraints(needs.constraints)
            source = self._sources.build_folder(spec.source).as_uri() if needs.computed else ""
        elif spec.source is not None:
            archive = self._sources.archive(spec.source)
            needs.computed = spec.source.kind is SourceKind.SDIST
            if not needs.computed:
                self._policy.check_requirements(read_wheel(archive, python_version))
            source = archive.as_uri()
        if needs.computed and not self._policy.builds:
            raise self._policy.build_refused("the source", "upload a wheel, or list what it requires in pyproject.toml")
        hashes = dict[str, set[str]]()
        extras = f"[{','.join(needs.extras)}]" if needs.extras else ""
        lines = _pins([*spec.requirements, *needs.requirements], hashes) + ([source + extras] if source else [])
        constraints = _pins([*spec.constraints, *needs.constraints], hashes)
        return Inputs(lines, constraints, _pins(needs.overrides, hashes), hashes, source)

    async def _compile(self, python: str, inputs: Inputs, tell: Tell) -> str:
        with tempfile.TemporaryDirectory(prefix="jac-orc-") as directory:
            given = list[str]()
            for option, lines in (
                ([], inputs.lines), (["--constraints"], inputs.constraints), (["--overrides"], inputs.overrides),
            ):  # fmt: skip
                if lines:
                    file = Path(directory, f"{''.join(option)}requirements.in")
                    text = installer_file(lines, inputs.lines[-1] if inputs.source else "")
                    await asyncio.to_thread(file.write_text, text, encoding="ascii")
                    given += [*option, str(file)]
            return await run_uv(
                "pip", "compile", *self.options, "--no-header", "--no-emit-index-url", "--no-emit-find-links",
                "--generate-hashes", "--python", python, *given, tell=tell, timeout=self._timeout,
            )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What is to be resolved."""

    lines: list[str]
    """Requirements without hashes, and the source's address."""
    constraints: list[str]
    overrides: list[str]
    hashes: dict[str, set[str]]
    """The only hashes that are allowed, by normalised name, where some are given."""
    source: str
    """The address of a source that the installer looks into; empty where it needn't."""


@dataclasses.dataclass(frozen=True)
class _Entry:
    """A distribution in what the installer writes."""

    name: str
    pin: str
    url: str
    hashes: list[str]
    via: list[str]
    """The distributions that require it, and files that do."""

    def text(self, allowed: dict[str, set[str]]) -> str:
        """Its lines in a lock, with the hashes that the user gave in place of those of the index, if any."""
        hashes = sorted(allowed.get(self.name, ())) or self.hashes
        return " \\\n".join([self.pin, *(f"    --hash={each}" for each in hashes)]) + "\n"


def _entries(text: str) -> Iterator[_Entry]:
    """Yield what the installer has answered, which an index or a source's code may have written.

    Raises OrcError for anything else than pinned distributions.
    """
    for entry in filter(None, re.split(r"\n(?=[^ ])", text.strip("\n"))):
        first, *others = entry.split("\n")
        try:
            pin = parse(first.removesuffix(" \\"), any_url=True)
        except ValueError as failure:
            raise _not_pinned(str(failure)) from None
        if not pin.url and "==" not in pin.text:
            raise _not_pinned(f"{shown(first)} has no version")
        details = [_DETAIL.fullmatch(line) for line in others]
        matches = [match for match in details if match]
        if len(matches) < len(details):
            raise _not_pinned(f"{shown(others[details.index(None)])} is no hash")
        hashes, via = ([match[group] for match in matches if match[group]] for group in (1, 2))
        yield _Entry(pin.name, pin.text, pin.url, hashes, via)


def _not_pinned(what: str) -> OrcError:
    text = "the installer answers what can't be installed safely; require another version, or the distribution itself"
    return error("ENVIRONMENT_FAILED", f"{text}: {what}")


def _pins(requirements: Sequence[str], hashes: dict[str, set[str]]) -> list[str]:
    """Return the requirements in their canonical form, sorted; add the hashes that follow them to `hashes`."""
    try:
        pins = [parse(each) for each in requirements]
    except ValueError as failure:  # of a spec that an older version has recorded
        raise error("ENVIRONMENT_FAILED", f"a requirement is not allowed any more: {failure}; change it") from None
    for pin in pins:
        if pin.hashes:
            hashes.setdefault(pin.name, set()).update(pin.hashes)
    return sorted(pin.text for pin in pins)


def _installer_settings() -> str:
    """A digest of the settings that change what the installer finds; they may hold passwords."""
    settings = sorted((name, value) for name, value in config.environment().items() if name.startswith("UV_"))
    irrelevant = ("UV_CACHE_DIR", "UV_CONCURRENT_", "UV_HTTP_TIMEOUT", "UV_LINK_MODE", "UV_NO_PROGRESS")
    relevant = [pair for pair in settings if not pair[0].startswith(irrelevant)]
    return hashlib.sha256(json.dumps(relevant).encode()).hexdigest()


def _kept(file: Path) -> str | None:
    try:
        return str(files.read_json(file)["text"])
    except (ValueError, TypeError, KeyError, OSError):  # not there, damaged, removed meanwhile: it is resolved anew
        return None


def _keep(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(file, {"text": text})
