"""Reading users' archives, any of which may be hostile: zips, wheels and source distributions.

An archive's names are checked before its contents are read: all of them in a zip, whose directory is a list of them; in
a tar, which has none, each when its header comes. Contents are then read in pieces, up to what the headers declare, so
that neither a bomb nor a lie costs more memory than a piece, or more disk than the limits. What the headers themselves
may take is bounded, too, before zipfile or tarfile makes objects of them.

Every fault of an archive is an OrcError, SOURCE_INVALID or TOO_LARGE, whose message shows an archive's own text only
short and escaped; where the disk fails it is OSError. What had been unpacked until then is left to the caller.
"""

from __future__ import annotations

import contextlib
import enum
import gzip
import io
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from jac_orc.errors import OrcError, error
from jac_orc.pod_manager.texts import path_fault, shown

_CHUNK = 16 * 1024
_MAX_SEGMENT_BYTES = 255  # what Linux takes
_NOT_PLAIN = "is no plain file or folder"

# zipfile takes the whole directory of a zip into memory, and any other compression can't be undone in pieces.
_DIRECTORY_ENTRY = b"PK\x01\x02"
_DIRECTORY_HEADER = struct.Struct("<4s24xHHH12x")  # its signature; how long its name, extra and comment are
_DIRECTORY_BYTES = 2048
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # an entry, an entry strongly, the directory

_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)
_EXTENSION_BYTES = 4096
_HEADER_BYTES = 2560  # on the average: two headers, a short extension, what fills the last block
_PADDING_BYTES = 1024 * 1024

# What zipfile and tarfile raise for archives that are damaged, or made to look so.
_BROKEN = (
    zipfile.BadZipFile, gzip.BadGzipFile, tarfile.TarError, zlib.error, struct.error, EOFError, ValueError,
    RuntimeError, ArithmeticError, LookupError,
)  # fmt: skip


class SourceKind(enum.Enum):
    """What a source is, by the ending of its file name."""

    ZIP = ".zip"
    WHEEL = ".whl"
    SDIST = ".tar.gz"
    SCRIPT = ".py"

    @property
    def is_installed(self) -> bool:
        """Whether it is installed into the environment, rather than imported from a folder."""
        return self in (SourceKind.WHEEL, SourceKind.SDIST)


# What an archive of a kind must hold.
_MUST_HOLD = {SourceKind.WHEEL: r"[^/]+\.dist-info/METADATA", SourceKind.SDIST: r"[^/]+/PKG-INFO"}


@dataclass(frozen=True)
class SourceLimits:
    """What one source may have."""

    archive_bytes: int = 256 * 1024 * 1024
    """The size of the archive."""
    unpacked_bytes: int = 1024 * 1024 * 1024
    """The size of its files together."""
    files: int = 20_000
    """How many files and folders it may hold, also folders that are only named on the way to others."""
    depth: int = 50
    """How many segments a path may have."""
    path_bytes: int = 1000
    """How long a path may be."""


class Contents:
    """The names in an archive and their declared sizes; refuses what isn't a path of its own within the limits."""

    def __init__(self, limits: SourceLimits) -> None:
        self.files = set[str]()
        self.folders = set[str]()
        self._named_folders = set[str]()
        self._limits = limits
        self._bytes = 0

    def add(self, path: str, *, is_folder: bool, size: int) -> None:
        segments, encoded = path.split("/"), path.encode("utf-8", "surrogatepass")
        longest = max(map(len, encoded.split(b"/")))
        refuse_if = {
            "isn't named in UTF-8": re.search("[\ud800-\udfff]", path),
            "has an absolute path": path.startswith("/"),
            "has a backslash in its path": "\\" in path,
            "has a NUL in its path": "\0" in path,
            "has a drive letter": re.match("[A-Za-z]:", path),
            "has a colon in its first folder, which would end it in a list of folders": ":" in path.partition("/")[0],
            (unsafe := path_fault(path)): unsafe,
            'has an empty segment, "." or ".." in its path': not {"", ".", ".."}.isdisjoint(segments),
            f"has more than {self._limits.depth} segments": len(segments) > self._limits.depth,
            f"has a path of more than {self._limits.path_bytes} bytes": len(encoded) > self._limits.path_bytes,
            f"has a segment of more than {_MAX_SEGMENT_BYTES} bytes": longest > _MAX_SEGMENT_BYTES,
            "is there twice": path in self.files or path in self._named_folders,
            "is both a file and a folder": not is_folder and path in self.folders,
            "has a size that can't be": size < 0 or (is_folder and size),
        }
        _refuse(path, refuse_if)
        (self._named_folders if is_folder else self.files).add(path)
        folder = path if is_folder else path.rpartition("/")[0]
        while folder and folder not in self.folders:
            _refuse(folder, {"is both a file and a folder": folder in self.files})
            self.folders.add(folder)
            folder = folder.rpartition("/")[0]
        self._bytes += size
        if len(self.files) + len(self.folders) > self._limits.files:
            raise too_large(self._limits, "files")
        if self._bytes > self._limits.unpacked_bytes:
            raise too_large(self._limits, "unpacked_bytes")

    def check_whole(self, kind: SourceKind) -> None:
        """Raises OrcError where the archive isn't what one of its kind must be."""
        if not self.files:
            raise fault("the archive has no files")
        if kind is SourceKind.SDIST and len({path.partition("/")[0] for path in self.files | self.folders}) > 1:
            raise fault("the sdist must have one folder at its top, and nothing else")
        if kind in _MUST_HOLD and not any(re.fullmatch(_MUST_HOLD[kind], path) for path in self.files):
            raise fault(f"the {kind.name.lower()} has no {_MUST_HOLD[kind].rpartition('/')[2]}")


class _ZipFile(io.FileIO):
    """A zip as zipfile reads it, but checked first: zipfile makes an object of each entry and cuts names at a NUL."""

    def __init__(self, path: Path, limits: SourceLimits) -> None:
        super().__init__(path)
        self.checks = True  # until zipfile has read the directory; from then on it reads contents
        self._limits = limits

    def read(self, size: int | None = -1, /) -> bytes:
        if (size or 0) > self._limits.files * _DIRECTORY_BYTES + 128 * 1024:
            raise fault("the directory of the zip is too large")
        data = super().read(-1 if size is None else size) or b""
        start = count = 0
        while self.checks and data.startswith(_DIRECTORY_ENTRY, start) and len(data) - start >= _DIRECTORY_HEADER.size:
            *_, name, extra, comment = _DIRECTORY_HEADER.unpack_from(data, start)
            begin = start + _DIRECTORY_HEADER.size
            path = data[begin : begin + name]
            _refuse(path.decode("utf-8", "replace"), {"has a NUL in its path": b"\0" in path})
            start, count = begin + name + extra + comment, count + 1
            if count > self._limits.files:
                raise too_large(self._limits, "files")
        return data


def read_zip(archive: Path, kind: SourceKind, limits: SourceLimits, target: Path) -> None:
    """Reads all of a zip, and unpacks it if it is no wheel. Raises OrcError where anything is wrong with it."""
    contents, archive_bytes = Contents(limits), archive.stat().st_size
    allowed = stat.S_IMODE(target.parent.stat().st_mode)  # what is unpacked into a private folder is private
    with _faults_told(), _ZipFile(archive, limits) as file, zipfile.ZipFile(file, metadata_encoding="utf-8") as packed:
        file.checks, entries = False, packed.infolist()
        for entry in entries:
            path, is_folder = entry.filename, entry.is_dir()
            contents.add(path.removesuffix("/"), is_folder=is_folder, size=entry.file_size)
            kinds = (0, stat.S_IFDIR if is_folder else stat.S_IFREG)
            refuse_if = {
                _NOT_PLAIN: stat.S_IFMT(entry.external_attr >> 16) not in kinds,
                "is encrypted": entry.flag_bits & _ENCRYPTED,
                "is neither stored nor deflated": entry.compress_type not in _COMPRESSIONS,
                "has a damaged header": not 0 <= entry.header_offset < archive_bytes,
            }
            _refuse(path, refuse_if)
        contents.check_whole(kind)
        if sum(entry.compress_size for entry in entries) > archive_bytes:
            raise fault("the entries of the zip overlap")
        for folder in ("", *sorted(contents.folders)) if kind is SourceKind.ZIP else ():
            (target / folder).mkdir()
            (target / folder).chmod(0o755 & allowed)
        for entry in entries:
            if entry.is_dir():
                continue
            with packed.open(entry) as content:
                chunks = iter(partial(content.read, _CHUNK), b"")
                if kind is SourceKind.WHEEL:
                    size = sum(map(len, chunks))
                else:
                    with (target / entry.filename).open("xb") as unpacked:
                        os.fchmod(unpacked.fileno(), (0o755 if entry.external_attr >> 16 & 0o111 else 0o644) & allowed)
                        size = sum(map(unpacked.write, chunks))
            _refuse(entry.filename, {f"has {size} bytes, but {entry.file_size} in its header": size < entry.file_size})


class _Tar(gzip.GzipFile):
    """What a gzip file holds. TarFile reads headers only, as it seeks over files' contents; this bounds the headers."""

    def __init__(self, archive: Path, left: int) -> None:
        super().__init__(archive, "rb")
        self.last = b""
        self._left = left

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= _EXTENSION_BYTES:
            raise fault("the archive has a header that is too long")
        self._left -= size
        if self._left < 0:
            raise fault("the archive has more in it than its files")
        self.last = super().read(size)
        return self.last


def read_sdist(archive: Path, limits: SourceLimits) -> None:
    """Reads all of a source distribution. Raises OrcError where anything is wrong with it."""
    contents = Contents(limits)
    with (
        _faults_told(),
        _Tar(archive, limits.files * _HEADER_BYTES + _PADDING_BYTES) as file,
        tarfile.open(fileobj=file, mode="r:", encoding="utf-8") as tar,
    ):
        for entry in tar:
            _refuse(entry.name, {_NOT_PLAIN: entry.type not in _PLAIN or entry.issparse()})
            contents.add(entry.name, is_folder=entry.isdir(), size=entry.size)
        if file.last != bytes(tarfile.BLOCKSIZE):  # TarFile takes a damaged header for the end
            raise fault("the archive has a damaged header, or no end")
        contents.check_whole(SourceKind.SDIST)
        while rest := file.read(_EXTENSION_BYTES):
            if any(rest):
                raise fault("the archive has something behind its end")


@contextlib.contextmanager
def _faults_told() -> Iterator[None]:
    """What zipfile and tarfile raise becomes an OrcError."""
    try:
        yield
    except UnicodeDecodeError as failure:
        name = failure.object.decode("utf-8", "backslashreplace")
        raise fault(f"the archive's entry {shown(name)} isn't named in UTF-8") from failure
    except _BROKEN as failure:
        raise fault(f"the archive can't be read: {shown(str(failure) or 'it ends too early')[1:-1]}") from failure


def _refuse(entry: str, refuse_if: Mapping[str, object]) -> None:
    """Raises OrcError for the first fault of the entry that is so."""
    for why, is_so in refuse_if.items():
        if is_so:
            raise error("SOURCE_INVALID", f"the archive's entry {shown(entry)} {why}", {"entry": shown(entry)})


def fault(text: str) -> OrcError:
    return error("SOURCE_INVALID", text)


def too_large(limits: SourceLimits, field: str) -> OrcError:
    limit, setting = getattr(limits, field), f"POD_MANAGER_SOURCE_{field.upper()}"
    most = f"{limit:,} {'files and folders' if field == 'files' else 'bytes'}"
    what = "what the archive holds" if field == "unpacked_bytes" else "the archive"
    text = f"{what} has more than the {most} that the setting {setting} allows"
    return error("TOO_LARGE", text, {"limit": str(limit), "setting": setting})
