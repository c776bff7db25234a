"""The user's own code as the commands take it: a folder, which is packed, a `.py` file, or an archive."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tarfile
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from jac_orc.cli.failures import UsageError
from jac_orc.cli.options import Code
from jac_orc.cli.remote import Remote
from jac_orc.cli.show import printable
from jac_orc.client.packing import Packed, PackingError, importable, is_name, pack, walk
from jac_orc.v1 import pod_manager_pb2 as pb

_PIECE_BYTES = 256 * 1024
_MOST_NAMED = 20
_LEFT_OUT_BYTES = 64 * 1024
_KINDS = (".zip", ".whl", ".tar.gz", ".py")
_PROJECT_FILES = {"pyproject.toml", "setup.py", "setup.cfg"}
_ARCHIVED = {"pyproject.toml", "setup.py", "requirements.txt"}
"""Files by which the pod manager takes a zip's only folder for the project."""


@dataclass(frozen=True)
class Source:
    """An archive or a script that can be uploaded."""

    file_name: str
    packed: Packed

    def hint(self) -> None:
        """Print which files of the folder were left out although the code names them, and how to include them."""
        if missed := self.packed.missed:
            named = ", ".join(missed[:_MOST_NAMED]) + (", …" if len(missed) > _MOST_NAMED else "")
            text = f".gitignore leaves out what the code names: {named}; to include it, add !/{missed[0]} to .orcignore"
            print(printable(text), file=sys.stderr, flush=True)


def find(code: Code) -> tuple[str, Source | None]:
    """Return the module's name, and its code if that is given; raises UsageError, PackingError or OSError."""
    path = code.source
    if path is None:
        if not code.module:
            raise UsageError("name a module, or give its code with --source")
        return code.module, None
    name = code.module or only_name(path)
    source = read(path, name)
    source.hint()
    return name, source


def read(path: Path, module: str) -> Source:
    """Return the code of the module, a folder's packed; raises UsageError, PackingError or OSError."""
    if not path.exists():
        raise PackingError(f"{path} is no folder or file")
    if path.is_dir():
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.resolve().name).strip("-.") or "source"
        return Source(f"{name}.zip", pack(path, _package(path, module)))
    if not path.name.endswith(_KINDS):
        raise UsageError(f"{path} is neither a folder nor a file of the kinds {', '.join(_KINDS)}")
    if path.suffix == ".py" and module != (own := _script_name(path)):
        raise UsageError(f"{path} is the module {own}, not {module}; name that, or leave the name out")
    return Source(path.name, Packed(path.read_bytes(), 1))


def only_name(path: Path) -> str:
    """The one top-level name that can be imported from the source; raises UsageError where that isn't clear."""
    if path.is_dir() and (package := _package(path)):
        return package
    names = _names(path)
    if len(names) == 1:
        return names[0]
    if names:
        told = ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
        raise UsageError(f"{path} has several modules: {told}; name the one to deploy")
    text = "has no module at its top or in src/; give what has it there, or name the one to deploy"
    raise UsageError(f"{path} {text}")


def _package(folder: Path, module: str = "") -> str:
    """Return the name of the package that the folder itself is, to be imported from the folder above; empty: none.

    `module` is what is to be deployed, if that is known. Raises UsageError if it isn't of the package.
    """
    if not (folder / "__init__.py").is_file():
        return ""
    own, wanted = folder.resolve().name, module.partition(".")[0]
    name = wanted or own
    files = walk(folder).files
    inner = {f"{name}/__init__.py", f"src/{name}/__init__.py", f"src/{name}.py"}
    if not inner.isdisjoint(files) and not _PROJECT_FILES.isdisjoint(files):
        return ""  # a project that has the package; its __init__.py is a stray one
    if not is_name(own):
        if wanted:
            return wanted
        text = f"{folder} is a package, and {own!r} can't be a module's name; rename the folder, or name the package"
        raise UsageError(f"{text}: jac-orc create NAME --source {folder}")
    if wanted in ("", own):
        return own
    if any(path.startswith((f"{wanted}.", f"{wanted}/")) for path in files):
        return ""  # a module in the folder, imported as from there
    raise UsageError(f"{folder} is the package {own}, which has no {wanted}; name {own}, or leave the name out")


def _script_name(path: Path) -> str:
    """Return the name of the module in the file; raises UsageError if it can't be imported."""
    name = path.name.removesuffix(".py")
    if name == "__init__":
        raise UsageError(f"{path} is a part of a package; give its folder, --source {path.parent}")
    if not is_name(name):
        advice = re.sub("[^A-Za-z0-9_]", "_", name).lstrip("_")
        advice = advice if is_name(advice) else f"module_{advice}"
        raise UsageError(f"{path} can't be deployed: {name!r} can't be a module's name; rename it to {advice}.py")
    return name


def _names(path: Path) -> list[str]:
    if path.is_dir():
        return importable(walk(path).files)
    if path.suffix == ".py":
        return [_script_name(path)]
    if not path.name.endswith(_KINDS):
        raise UsageError(f"{path} is neither a folder nor a file of the kinds {', '.join(_KINDS)}")
    try:
        if not path.name.endswith(".tar.gz"):
            with zipfile.ZipFile(path) as archive:
                return importable(_of_project(archive.namelist()))
        with tarfile.open(path) as unpacked:  # a source distribution has all in one folder
            return importable(name.partition("/")[2] for name in unpacked.getnames())
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile) as failure:
        raise UsageError(f"{path} can't be read: {failure}") from None


def _of_project(paths: list[str]) -> list[str]:
    """The paths in a zip, or those in its only folder if that is a project, as in zips that GitHub makes."""
    folder, *others = {path.partition("/")[0] for path in paths} or {""}
    inner = [path.partition("/")[2] for path in paths]
    is_package = folder.isidentifier() and "__init__.py" in inner
    return inner if not others and not is_package and not _ARCHIVED.isdisjoint(inner) else paths


async def upload(remote: Remote, source: Source) -> pb.ModuleSource:
    """Stores the archive with the pod manager; returns how module specs name it."""
    uploaded = await remote.send(remote.modules.UploadSource, _pieces(source))
    return pb.ModuleSource(uploaded=uploaded.source)


async def _pieces(source: Source) -> AsyncIterator[pb.UploadSourceRequest]:
    packed, data = source.packed, source.packed.data
    room, left_out = _LEFT_OUT_BYTES, dict[str, str]()
    for path, rules in packed.left_out.items():
        if (room := room - len(os.fsencode(path)) - len(rules)) < 0:
            break
        with contextlib.suppress(UnicodeEncodeError):
            path.encode()
            left_out[path] = rules
    yield pb.UploadSourceRequest(
        file_name=source.file_name, digest=packed.digest, data=data[:_PIECE_BYTES], left_out=left_out
    )
    for start in range(_PIECE_BYTES, len(data), _PIECE_BYTES):
        yield pb.UploadSourceRequest(data=data[start : start + _PIECE_BYTES])
