"""The user's own code as the commands take it: a folder, which is packed, or an archive."""

from __future__ import annotations

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
from jac_orc.client.packing import Packed, importable, pack, walk
from jac_orc.v1 import pod_manager_pb2 as pb

_PIECE_BYTES = 256 * 1024
_MOST_NAMED = 20
_KINDS = (".zip", ".whl", ".tar.gz")


@dataclass(frozen=True)
class Source:
    """An archive that can be uploaded."""

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
    if not path.is_dir() and not path.name.endswith(_KINDS):
        raise UsageError(f"{path} is neither a folder nor a file of the kinds {', '.join(_KINDS)}")
    source = read_folder(path) if path.is_dir() else Source(path.name, Packed(path.read_bytes(), 1))
    source.hint()
    return code.module or only_name(path), source


def read_folder(folder: Path) -> Source:
    """The folder, packed; raises PackingError."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-.") or "source"
    return Source(f"{name}.zip", pack(folder))


def only_name(path: Path) -> str:
    """The one top-level name that can be imported from the source; raises UsageError where that isn't clear."""
    names = _names(path)
    if len(names) == 1:
        return names[0]
    if names:
        told = ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
        raise UsageError(f"{path} has several modules: {told}; name the one to deploy")
    text = "has no module at its top or in src/; give what has it there, or name the one to deploy"
    raise UsageError(f"{path} {text}")


def _names(path: Path) -> list[str]:
    if path.is_dir():
        return importable(walk(path).files)
    try:
        if not path.name.endswith(".tar.gz"):
            with zipfile.ZipFile(path) as archive:
                return importable(archive.namelist())
        with tarfile.open(path) as unpacked:  # a source distribution has all in one folder
            return importable(name.partition("/")[2] for name in unpacked.getnames())
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile) as failure:
        raise UsageError(f"{path} can't be read: {failure}") from None


async def upload(remote: Remote, source: Source) -> pb.ModuleSource:
    """Stores the archive with the pod manager; returns how module specs name it."""
    uploaded = await remote.send(remote.modules.UploadSource, _pieces(source))
    return pb.ModuleSource(uploaded=uploaded.source)


async def _pieces(source: Source) -> AsyncIterator[pb.UploadSourceRequest]:
    data = source.packed.data
    yield pb.UploadSourceRequest(file_name=source.file_name, digest=source.packed.digest, data=data[:_PIECE_BYTES])
    for start in range(_PIECE_BYTES, len(data), _PIECE_BYTES):
        yield pb.UploadSourceRequest(data=data[start : start + _PIECE_BYTES])
