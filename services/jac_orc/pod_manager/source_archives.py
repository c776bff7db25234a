"""Reading users' archives, any of which may be hostile: zips, wheels and source distributions.

An archive's names are checked before its contents are read: all of them in a zip, whose directory is a list of them; in
a tar, which has none, each when its header comes. Contents are then read in pieces and counted as they come, whatever
the headers say, so that neither a bomb nor a lie costs more memory than a piece, or more disk than the limits. What the
headers themselves may take is bounded, too: a zip's before zipfile makes objects of them, and a tar's are read here.

Every fault of an archive is an OrcError, SOURCE_INVALID or TOO_LARGE, whose message shows an archive's own text only
short and escaped; where the disk fails it is OSError. What had been unpacked until then is left to the caller.
"""

from __future__ import annotations

import contextlib
import enum
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
from pathlib import Path
from typing import IO

from jac_orc.errors import OrcError, error
from jac_orc.pod_manager.texts import path_fault, shown

_CHUNK = 16 * 1024
_MAX_SEGMENT_BYTES = 255  # what Linux takes
_NOT_PLAIN = "is no plain file or folder"

# zipfile takes the whole directory of a zip into memory, and any other compression can't be undone in pieces.
_DIRECTORY_ENTRY = b"PK\x01\x02"
_DIRECTORY_HEADER = struct.Struct("<4s24xHHH12x")  # its signature; how long its name, extra and comment are
_DIRECTORY_BYTES = 2048
_LOCAL_ENTRY = b"PK\x03\x04"
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # an entry, an entry strongly, the directory
_PATCH = 0x20

_TAR_BLOCK = 512
_EXTENDING = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME)  # a header for the next entry, or for all
_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)
_EXTENSION_BYTES = 4096
_HEADER_BYTES = 2560  # on the average: two headers, a short extension, what fills the last block
_PADDING_BYTES = 1024 * 1024

# What zipfile and tarfile raise for archives that are damaged, or made to look so.
_BROKEN = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, struct.error, EOFError, ValueError, RuntimeError, ArithmeticError,
    LookupError,
)  # fmt: skip


class SourceKind(enum.Enum):
    """What an archive is, by the ending of its file name."""

    ZIP = ".zip"
    WHEEL = ".whl"
    SDIST = ".tar.gz"


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
        self._limits = limits

    def read(self, size: int | None = -1, /) -> bytes:
        if (size or 0) > self._limits.files * _DIRECTORY_BYTES + 128 * 1024:
            raise fault("the directory of the zip is too large")
        data = super().read(-1 if size is None else size) or b""
        start = count = 0
        while data.startswith(_DIRECTORY_ENTRY, start) and len(data) - start >= _DIRECTORY_HEADER.size:
            *_, name, extra, comment = _DIRECTORY_HEADER.unpack_from(data, start)
            begin = start + _DIRECTORY_HEADER.size
            path = data[begin : begin + name]
            _refuse(path.decode("utf-8", "replace"), {"has a NUL in its path": b"\0" in path})
            start, count = begin + name + extra + comment, count + 1
            if count > self._limits.files:
                raise too_large(self._limits, "files")
        return data

    def content(self, entry: zipfile.ZipInfo) -> Iterator[bytes]:
        """Yield all that an entry's bytes unpack to, whatever size its header declares."""
        self.seek(entry.header_offset)
        signature, name, extra = _LOCAL_HEADER.unpack(self._exactly(_LOCAL_HEADER.size))
        is_same = signature == _LOCAL_ENTRY and self._exactly(name) == entry.filename.encode()
        _refuse(entry.filename, {"has a damaged header": not is_same})
        self.seek(extra, os.SEEK_CUR)
        left, crc, inflate = entry.compress_size, 0, zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        rest = b""
        while left or rest:
            if not rest:
                rest = self._exactly(min(left, _CHUNK))
                left -= len(rest)
            data, rest = rest, b""
            if entry.compress_type == zipfile.ZIP_DEFLATED:
                data = inflate.decompress(data, _CHUNK)
                rest = inflate.unconsumed_tail
                if inflate.eof:
                    left = 0
            crc = zlib.crc32(data, crc)
            yield data
        if entry.compress_type == zipfile.ZIP_DEFLATED:
            yield (data := inflate.flush())  # a few bytes, of input that is read already
            crc = zlib.crc32(data, crc)
            if not inflate.eof:
                raise EOFError("it ends too early")
        if crc != entry.CRC:
            raise zipfile.BadZipFile(f"Bad CRC-32 of {shown(entry.filename)}")

    def _exactly(self, size: int) -> bytes:
        if len(data := super().read(size) or b"") < size:
            raise EOFError("it ends too early")
        return data


def read_zip(archive: Path, kind: SourceKind, limits: SourceLimits, target: Path) -> None:
    """Reads all of a zip, and unpacks it if it is no wheel. Raises OrcError where anything is wrong with it."""
    contents, archive_bytes, left = Contents(limits), archive.stat().st_size, limits.unpacked_bytes
    allowed = stat.S_IMODE(target.parent.stat().st_mode)  # what is unpacked into a private folder is private
    with _faults_told(), _ZipFile(archive, limits) as file, zipfile.ZipFile(file, metadata_encoding="utf-8") as packed:
        entries = packed.infolist()
        for entry in entries:
            path, is_folder = entry.filename, entry.is_dir()
            contents.add(path.removesuffix("/"), is_folder=is_folder, size=entry.file_size)
            kinds = (0, stat.S_IFDIR if is_folder else stat.S_IFREG)
            refuse_if = {
                _NOT_PLAIN: stat.S_IFMT(entry.external_attr >> 16) not in kinds,
                "is compressed patched data": entry.flag_bits & _PATCH,
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
            chunks = _chunks(file, entry, left, limits)
            if kind is SourceKind.WHEEL:
                left -= sum(map(len, chunks))
                continue
            with (target / entry.filename).open("xb") as unpacked:
                os.fchmod(unpacked.fileno(), (0o755 if entry.external_attr >> 16 & 0o111 else 0o644) & allowed)
                left -= sum(map(unpacked.write, chunks))


def _chunks(packed: _ZipFile, entry: zipfile.ZipInfo, left: int, limits: SourceLimits) -> Iterator[bytes]:
    """Yield an entry's content in pieces; refuse more than is left, and another size than the header declares."""
    size = 0
    for chunk in packed.content(entry):
        size += len(chunk)
        if size > left:
            raise too_large(limits, "unpacked_bytes")
        yield chunk
    _refuse(entry.filename, {f"has {size} bytes, but {entry.file_size} in its header": size != entry.file_size})


class _Tar:
    """What a gzip file holds, never more of it than `left`."""

    def __init__(self, file: IO[bytes], left: int) -> None:
        self.left = left
        self._file = file
        self._gzip = zlib.decompressobj(wbits=31)

    def read(self, size: int) -> bytes:
        """So many bytes, fewer at the end only."""
        data = b""
        while len(data) < size and not self._gzip.eof:
            packed = self._gzip.unconsumed_tail or self._file.read(_CHUNK)
            if not packed:
                raise EOFError("it ends too early")
            data += self._gzip.decompress(packed, size - len(data))
        self.left -= len(data)
        if self.left < 0 or (self._gzip.eof and (self._gzip.unused_data or self._file.read(1))):
            raise fault("the archive has more in it than its files")
        return data

    def read_blocks(self, size: int) -> Iterator[bytes]:
        """So many bytes in pieces, and past what fills the last block."""
        for start in range(0, size, _CHUNK):
            wanted = min(size - start, _CHUNK)
            if len(data := self.read(wanted + -wanted % _TAR_BLOCK)) < wanted:
                raise EOFError("it ends too early")
            yield data[:wanted]


def read_sdist(archive: Path, limits: SourceLimits) -> None:
    """Reads all of a source distribution. Raises OrcError where anything is wrong with it.

    TarFile isn't for strangers' archives: it takes extensions of any size into memory, searches them in quadratic time
    before Python 3.11.10, and takes a damaged header for the end.
    """
    contents = Contents(limits)
    with _faults_told(), archive.open("rb") as file:
        tar, said = _Tar(file, limits.files * _HEADER_BYTES + _PADDING_BYTES), dict[bytes, bytes]()
        while any(block := tar.read(_TAR_BLOCK)):
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            if header.type in _EXTENDING:
                _refuse(header.name, {"is a header that is too long": not 0 <= header.size <= _EXTENSION_BYTES})
                said |= _extension(header, b"".join(tar.read_blocks(header.size)))
                continue
            path, size = said.get(b"path"), int(said.get(b"size", header.size))
            name = header.name if path is None else path.decode("utf-8", "surrogateescape")
            is_sparse = any(key.startswith(b"GNU.sparse") for key in said)
            _refuse(name, {_NOT_PLAIN: header.type not in _PLAIN or is_sparse})
            contents.add(name.rstrip("/" if header.isdir() else ""), is_folder=header.isdir(), size=size)
            tar.left += size
            for _ in tar.read_blocks(size):
                pass
            said.clear()
        contents.check_whole(SourceKind.SDIST)
        while rest := tar.read(_CHUNK):
            if any(rest):
                raise fault("the archive has something behind its end")


def _extension(header: tarfile.TarInfo, data: bytes) -> dict[bytes, bytes]:
    """What a header says of the next entry. One for all others must say nothing that changes what they are."""
    if header.type == tarfile.GNUTYPE_LONGNAME:
        return {b"path": data.partition(b"\0")[0]}
    records = dict[bytes, bytes]()
    while data.strip(b"\0"):
        length = int(data[:5].partition(b" ")[0])
        key, _, value = data[:length].partition(b" ")[2].partition(b"=")
        if length < 1 or not value.endswith(b"\n"):
            raise ValueError("an extension is damaged")
        records[key], data = value[:-1], data[length:]
    if header.type == tarfile.XHDTYPE:
        return records
    changes_others = any(key.startswith((b"path", b"size", b"GNU.sparse")) for key in records)
    _refuse(header.name, {"is a header that changes all others": changes_others})
    return {}


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
    most = f"{limit} files and folders" if field == "files" else _human(limit)
    what = "what the archive holds" if field == "unpacked_bytes" else "the archive"
    text = f"{what} has more than the {most} that the setting {setting} allows"
    return error("TOO_LARGE", text, {"limit": str(limit), "setting": setting})


def _human(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} GiB"
