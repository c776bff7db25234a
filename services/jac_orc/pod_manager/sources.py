"""Users' sources, kept by the SHA-256 of their bytes: `HEX/FILE_NAME`, and for a zip what it holds, `HEX/tree`.

Whatever is stored is made aside, in a folder that nothing looks up, and renamed in when it is whole and found good;
what is removed is renamed aside first. A process that is killed leaves nothing half-made in sight, and of several
that store the same bytes the first rename wins. The archive outlives a crash of the machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shutil
import stat
import time
import uuid
import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename

from jac_orc.core import files
from jac_orc.errors import OrcError, error
from jac_orc.pod_manager.source_archives import (
    Contents,
    SourceKind,
    SourceLimits,
    fault,
    read_sdist,
    read_zip,
    too_large,
)
from jac_orc.pod_manager.source_metadata import FAILURE
from jac_orc.pod_manager.texts import Rule, path_fault, shown

__all__ = ["SourceKind", "SourceLimits", "SourceRef", "Sources", "Upload"]

_ASIDE = ".aside-"
_TREE = "tree"
ABOUT = "about"
"""The folder with a source's metadata, next to the source."""
DIGEST = Rule(71, "sha256:[0-9a-f]{64}", "sha256: and 64 hexadecimal digits in lower case")
FILE_NAME = Rule(200, r"[A-Za-z0-9][A-Za-z0-9._+!-]*", "a file name of letters, digits and ._+!-")
_LEFT_OUT, _LEFT_OUT_CHARS = "left-out.json", 128 * 1024
_RULES = (".gitignore", ".git/info/exclude", ".orcignore")
_PROJECT_FILES = ("pyproject.toml", "setup.py", "requirements.txt")


@dataclass(frozen=True)
class SourceRef:
    """How a module's spec names a source that is stored."""

    digest: str
    """`sha256:` and the SHA-256 of the archive's bytes in hexadecimal."""
    file_name: str
    """The archive's file name; its ending tells its kind."""

    @property
    def hex(self) -> str:
        """The digest without `sha256:`, which names the source's folder; raises OrcError for what is no digest."""
        return _hex(self.digest)

    @property
    def kind(self) -> SourceKind:
        """Raises OrcError for a file name of another ending."""
        for kind in SourceKind:
            if self.file_name.endswith(kind.value):
                return kind
        raise fault(f"the file name {shown(self.file_name)} must end in .zip, .whl, .tar.gz or .py")

    @property
    def tree(self) -> str:
        """The name of the folder that holds all files of a zip, or the script, which is named as here."""
        return _TREE if self.kind is SourceKind.ZIP else f"{self.file_name}.{_TREE}"


class Sources:
    """The sources below one directory. All of it blocks; it raises OrcError, and OSError where the disk fails."""

    def __init__(self, root: Path, limits: SourceLimits = SourceLimits()) -> None:  # noqa: B008  (it is frozen)
        self._root = root
        self._limits = limits

    def begin(self, file_name: str, expected_digest: str = "") -> Upload:
        """An upload of an archive, which fails at its end where the digest is another than the expected one."""
        _check_name(SourceRef(expected_digest, file_name))
        if expected_digest:
            _hex(expected_digest)
        return Upload(self, self._new_aside() / file_name, expected_digest)

    def add(self, file_name: str, data: bytes) -> SourceRef:
        """Stores a whole archive."""
        with self.begin(file_name) as upload:
            upload.write(data)
            return upload.finish()[0]

    def add_files(self, contents: Mapping[str, bytes]) -> SourceRef:
        """Stores files, by their path, as a zip that is the same for the same files; so it isn't compressed."""
        checked, packed = Contents(self._limits), io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for path, data in sorted(contents.items()):
                checked.add(path, is_folder=False, size=len(data))
                info = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))
                info.external_attr = (stat.S_IFREG | 0o644) << 16
                archive.writestr(info, data)
        return self.add("source.zip", packed.getvalue())

    def check(self, ref: SourceRef) -> None:
        """Raises OrcError where the source isn't stored, or can't be. One that is counts as just used."""
        self._stored(ref)

    def touch(self, ref: SourceRef | None) -> None:
        """Count a stored source as just used, so that the next clean-ups keep it; None or a missing one is no fault."""
        if ref is not None:
            with contextlib.suppress(OSError):
                os.utime(self._root / ref.hex)

    def archive(self, ref: SourceRef) -> Path:
        """The archive under the ref's file name, whichever it was stored under."""
        stored = self._stored(ref)
        archive = stored.with_name(ref.file_name)
        with contextlib.suppress(FileExistsError):
            os.link(stored, archive)
        return archive

    def folder(self, ref: SourceRef) -> Path:
        """The folder with a zip's files or the script, unpacked again where it has been removed."""
        if ref.kind.is_installed:
            raise fault(f"{shown(ref.file_name)} is neither a zip nor a script")
        stored = self._stored(ref)
        tree = stored.with_name(ref.tree)
        if not tree.is_dir():
            aside = self._new_aside()
            try:
                if ref.kind is SourceKind.ZIP:
                    read_zip(stored, ref.kind, self._limits, aside / _TREE)
                else:
                    (aside / _TREE).mkdir(mode=0o755)
                    shutil.copy(stored, aside / _TREE / ref.file_name)
                files.moved(aside / _TREE, tree)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
        return _project_root(tree)

    def home(self, ref: SourceRef) -> Path:
        """Return the folder of all that is stored of a source."""
        return self._root / ref.hex

    def project(self, ref: SourceRef) -> Path:
        """Return the folder that says what the source requires: that of `folder`, or the only package in it."""
        root = self.folder(ref)
        inner, *others = [*root.iterdir()] or [root]
        return inner if not others and _is_project(inner) else root

    def note_left_out(self, ref: SourceRef, left_out: Mapping[str, str]) -> None:
        """Record what a packer left out of a source, for hints; as much as is reasonable."""
        known = {path: rules for path, rules in left_out.items() if rules in _RULES and not path_fault(path)}
        if sum(map(len, known)) <= _LEFT_OUT_CHARS:
            files.write_json(self.home(ref) / _LEFT_OUT, known, mode=0o644, durable=False)

    def build_folder(self, ref: SourceRef) -> Path:
        """Return where the project is built, for `copy_for_build` to fill."""
        return self.home(ref) / "build"

    def copy_for_build(self, ref: SourceRef) -> None:
        """Copy the project to `build_folder`, unless that is there: builds write next to the code."""
        if not self.build_folder(ref).is_dir():
            aside = self._new_aside(self.home(ref))
            try:
                files.moved(Path(shutil.copytree(self.project(ref), aside / "build")), self.build_folder(ref))
            finally:
                shutil.rmtree(aside, ignore_errors=True)

    def describe(self, ref: SourceRef, write: Callable[[Path], bool]) -> bool:
        """Return whether the source has its metadata; if it hasn't, `write` may write it to a folder, and returns that.

        The metadata is kept whole or not at all.
        """
        about = self.home(ref) / ABOUT
        if about.is_dir():
            return True
        aside = self._new_aside(self.home(ref))
        try:
            is_written = write(aside)
            if is_written:
                files.moved(aside, about)
            return is_written
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def import_folders(self, ref: SourceRef) -> tuple[Path, ...]:
        """Where the modules of a zip, or the script, are imported from, the first one first."""
        root = self.folder(ref)
        return (root / "src", root) if (root / "src").is_dir() else (root,)

    def remove_unused(self, used: Collection[str], older_than: float) -> None:
        """Removes what was left half-made, and the sources whose digest isn't among the used ones.

        It spares what has been stored, asked for or written to in the last `older_than` seconds: a source for a spec
        that is yet to come, or an upload under way.
        """
        before = time.time() - older_than
        for found in list(self._root.iterdir()) if self._root.exists() else ():
            is_aside, digest = found.name.startswith(_ASIDE), f"sha256:{found.name}"
            if not is_aside and (digest in used or DIGEST.fault(digest)):
                continue
            with contextlib.suppress(FileNotFoundError):  # another process removes it, too
                if _touched(found) > before:
                    continue
                doomed = found.rename(_aside_in(self._root))
                if _touched(doomed) > before:  # it was asked for just now
                    files.moved(doomed, found)
                shutil.rmtree(doomed, ignore_errors=True)

    def _stored(self, ref: SourceRef) -> Path:
        """An archive of the ref's digest and kind, whatever its file name."""
        _check_name(ref)
        home = self._root / ref.hex
        self.touch(ref)  # fails for the empty folder, owned by root, that the kubelet makes if a pod's source is gone
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(home):
                if name.endswith(ref.kind.value):
                    return home / name
        text = f"no {ref.kind.value} with the digest {ref.digest} is stored; upload it first"
        raise error("SOURCE_NOT_FOUND", text, {"digest": ref.digest, "file_name": ref.file_name})

    def _store(self, archive: Path, ref: SourceRef) -> None:
        """Takes in the archive, which is alone in a folder aside."""
        with contextlib.suppress(OrcError):
            self.check(ref)
            about = self.home(ref) / ABOUT
            if (about / FAILURE).exists():  # the network may have failed
                shutil.rmtree(about, ignore_errors=True)
            return
        if ref.kind is SourceKind.SDIST:
            read_sdist(archive, self._limits)
        elif ref.kind is not SourceKind.SCRIPT:
            read_zip(archive, ref.kind, self._limits, archive.with_name(_TREE))
        home = self._root / ref.hex
        _sync(archive)
        _sync(archive.parent)
        if not files.moved(archive.parent, home):  # the same bytes are there, as another kind or since just now
            archive.replace(home / ref.file_name)
            _sync(home)
        _sync(self._root)

    def _new_aside(self, within: Path | None = None) -> Path:
        """Return a new folder, in a source's own if that is mounted apart from the others."""
        aside = _aside_in(within or self._root)
        aside.mkdir(parents=True)
        aside.chmod(0o755 & stat.S_IMODE(self._root.stat().st_mode))  # as private as the whole folder
        return aside


class Upload:
    """An archive that arrives in pieces; closing it removes what isn't stored, and any failure closes it."""

    def __init__(self, sources: Sources, archive: Path, expected_digest: str) -> None:
        self._sources = sources
        self._archive = archive
        self._expected_digest = expected_digest
        self._size = 0
        self._hash = hashlib.sha256()
        self._file = archive.open("xb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, data: bytes) -> None:
        """Takes the next bytes."""
        try:
            self._size += len(data)
            if self._size > self._sources._limits.archive_bytes:
                raise too_large(self._sources._limits, "archive_bytes")
            self._file.write(data)
            self._hash.update(data)
        except BaseException:
            self.close()
            raise

    def finish(self) -> tuple[SourceRef, int]:
        """Checks the archive and stores it; the size, too. That it is stored already is no fault."""
        try:
            os.fchmod(self._file.fileno(), 0o644 & stat.S_IMODE(self._archive.parent.stat().st_mode))
            self._file.flush()
            ref = SourceRef(f"sha256:{self._hash.hexdigest()}", self._archive.name)
            if self._expected_digest not in ("", ref.digest):
                raise fault(f"the archive's digest is {ref.digest}, not {self._expected_digest}")
            self._sources._store(self._archive, ref)
            return ref, self._size
        finally:
            self.close()

    def close(self) -> None:
        """Ends it; harmless after the end. A `finish` under way in another thread still stores all or nothing."""
        with contextlib.suppress(OSError):  # the disk is full, which `write` or `finish` has told
            self._file.close()
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._archive.parent.rename(_aside_in(self._archive.parents[1])), ignore_errors=True)


def _check_name(ref: SourceRef) -> None:
    """Raises OrcError for a file name that no archive of its kind can have."""
    if text := FILE_NAME.fault(ref.file_name):
        raise fault(f"the source's file name {text}")
    if ref.kind is SourceKind.SCRIPT and not (stem := ref.file_name.removesuffix(".py")).isidentifier():
        advice = f"rename it to {re.sub('[^A-Za-z0-9_]', '_', stem)}.py"
        raise fault(f"{shown(ref.file_name)} can't be imported: {shown(stem)} is no module's name; {advice}")
    try:
        if ref.kind is SourceKind.WHEEL:
            parse_wheel_filename(ref.file_name)
        elif ref.kind is SourceKind.SDIST:
            parse_sdist_filename(ref.file_name)
    except (InvalidWheelFilename, InvalidSdistFilename) as failure:
        form = "NAME-VERSION.tar.gz" if ref.kind is SourceKind.SDIST else "NAME-VERSION-py3-none-any.whl"
        text = f"{shown(ref.file_name)} is no name that a {ref.kind.name.lower()} has"
        raise fault(f"{text}: rename it as it was built, {form}, or build one with `python -m build`") from failure


def _hex(digest: str) -> str:
    if text := DIGEST.fault(digest):
        raise fault(f"the source's digest {text}")
    return digest.removeprefix("sha256:")


def _aside_in(root: Path) -> Path:
    return root / f"{_ASIDE}{uuid.uuid4().hex}"


def _project_root(tree: Path) -> Path:
    """The tree, or its only folder where that is a project and no package, as in zips that GitHub makes."""
    inner, *others = [*tree.iterdir()] or [tree]
    is_package = inner.name.isidentifier() and (inner / "__init__.py").exists()
    return inner if _is_project(inner) and not is_package and not others else tree


def _is_project(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _PROJECT_FILES)


def _touched(folder: Path) -> float:
    """When the folder, or what lies in it, was last written to."""
    return max(path.stat().st_mtime for path in (folder, *folder.iterdir()))


def _sync(path: Path) -> None:
    """Has a file or a folder written to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
