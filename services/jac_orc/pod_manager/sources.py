"""Users' source archives, kept by the SHA-256 of their bytes: `HEX/FILE_NAME`, and for a zip what it holds, `HEX/tree`.

Whatever is stored is made aside, in a folder that nothing looks up, and renamed in when it is whole and found good;
what is removed is renamed aside first. A process that is killed leaves nothing half-made in sight, and of several
that store the same bytes the first rename wins. The archive outlives a crash of the machine.

An archive may be hostile: its names are checked before its contents are read, and these are read in pieces and counted
as they come, whatever the headers say.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import hashlib
import io
import os
import re
import shutil
import stat
import struct
import sys
import tarfile
import time
import uuid
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename

from jac_orc.errors import OrcError, error

_ASIDE = ".aside-"
_TREE = "tree"
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,199}")
_PROJECT_FILES = ("pyproject.toml", "setup.py", "requirements.txt")
_CHUNK = 16 * 1024
_MAX_SEGMENT_BYTES = 255  # what Linux takes
_NOT_PLAIN = "is no plain file or folder"

# zipfile takes the whole directory of a zip into memory, and any other compression can't be undone in pieces.
_DIRECTORY_ENTRY = b"PK\x01\x02"
_DIRECTORY_BYTES = 2048
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # an entry, an entry strongly, the directory

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
class SourceRef:
    """How a module's spec names a source that is stored."""

    digest: str
    """`sha256:` and the SHA-256 of the archive's bytes in hexadecimal."""
    file_name: str
    """The archive's file name; its ending tells its kind."""

    @property
    def kind(self) -> SourceKind:
        """Raises OrcError for a file name of another ending."""
        for kind in SourceKind:
            if self.file_name.endswith(kind.value):
                return kind
        raise _fault(f"the file name {_shown(self.file_name)} must end in .zip, .whl or .tar.gz")


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


class Sources:
    """The sources below one directory. All of it blocks; it raises OrcError, and OSError where the disk fails."""

    def __init__(self, root: Path, limits: SourceLimits = SourceLimits()) -> None:
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
        checked, packed = _Contents(self._limits), io.BytesIO()
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

    def archive(self, ref: SourceRef) -> Path:
        """The archive under the ref's file name, whichever it was stored under."""
        stored = self._stored(ref)
        archive = stored.with_name(ref.file_name)
        with contextlib.suppress(FileExistsError):
            os.link(stored, archive)
        return archive

    def folder(self, ref: SourceRef) -> Path:
        """The folder with a zip's files, unpacked again where it has been removed."""
        if ref.kind is not SourceKind.ZIP:
            raise _fault(f"{_shown(ref.file_name)} is no zip")
        stored = self._stored(ref)
        tree = stored.with_name(_TREE)
        if not tree.is_dir():
            aside = self._new_aside()
            try:
                _read_zip(stored, ref.kind, self._limits, aside / _TREE)
                _moved(aside / _TREE, tree)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
        return _project_root(tree)

    def remove_unused(self, used: Collection[str], older_than: float) -> None:
        """Removes what was left half-made, and the sources whose digest isn't among the used ones.

        It spares what has been stored, asked for or written to in the last `older_than` seconds: a source for a spec
        that is yet to come, or an upload under way.
        """
        before = time.time() - older_than
        for found in list(self._root.iterdir()) if self._root.exists() else ():
            is_aside, digest = found.name.startswith(_ASIDE), f"sha256:{found.name}"
            if not is_aside and (digest in used or not _DIGEST.fullmatch(digest)):
                continue
            with contextlib.suppress(FileNotFoundError):  # another process removes it, too
                if _touched(found) > before:
                    continue
                doomed = found.rename(_aside_in(self._root))
                if _touched(doomed) > before:  # it was asked for just now
                    _moved(doomed, found)
                shutil.rmtree(doomed, ignore_errors=True)

    def _stored(self, ref: SourceRef) -> Path:
        """An archive of the ref's digest and kind, whatever its file name."""
        _check_name(ref)
        home = self._root / _hex(ref.digest)
        with contextlib.suppress(FileNotFoundError):
            os.utime(home)
            for name in os.listdir(home):
                if name.endswith(ref.kind.value):
                    return home / name
        text = f"no {ref.kind.value} with the digest {ref.digest} is stored; upload it first"
        raise error("SOURCE_NOT_FOUND", text, {"digest": ref.digest, "file_name": ref.file_name})

    def _store(self, archive: Path, ref: SourceRef) -> None:
        """Takes in the archive, which is alone in a folder aside."""
        with contextlib.suppress(OrcError):
            self.check(ref)
            return
        if ref.kind is SourceKind.SDIST:
            _read_sdist(archive, self._limits)
        else:
            _read_zip(archive, ref.kind, self._limits, archive.with_name(_TREE))
        home = self._root / _hex(ref.digest)
        _sync(archive)
        _sync(archive.parent)
        if not _moved(archive.parent, home):  # the same bytes are there, as another kind or since just now
            archive.replace(home / ref.file_name)
            _sync(home)
        _sync(self._root)

    def _new_aside(self) -> Path:
        aside = _aside_in(self._root)
        aside.mkdir(parents=True)
        aside.chmod(0o755)
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
                raise _too_large(self._sources._limits, "archive_bytes")
            self._file.write(data)
            self._hash.update(data)
        except BaseException:
            self.close()
            raise

    def finish(self) -> tuple[SourceRef, int]:
        """Checks the archive and stores it; the size, too. That it is stored already is no fault."""
        try:
            os.fchmod(self._file.fileno(), 0o644)
            self._file.flush()
            ref = SourceRef(f"sha256:{self._hash.hexdigest()}", self._archive.name)
            if self._expected_digest not in ("", ref.digest):
                raise _fault(f"the archive's digest is {ref.digest}, not {self._expected_digest}")
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


class _Contents:
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
            raise _too_large(self._limits, "files")
        if self._bytes > self._limits.unpacked_bytes:
            raise _too_large(self._limits, "unpacked_bytes")

    def check_whole(self, kind: SourceKind) -> None:
        """Raises OrcError where the archive isn't what one of its kind must be."""
        if not self.files:
            raise _fault("the archive has no files")
        if kind is SourceKind.SDIST and len({path.partition("/")[0] for path in self.files | self.folders}) > 1:
            raise _fault("the sdist must have one folder at its top, and nothing else")
        if kind in _MUST_HOLD and not any(re.fullmatch(_MUST_HOLD[kind], path) for path in self.files):
            raise _fault(f"the {kind.name.lower()} has no {_MUST_HOLD[kind].rpartition('/')[2]}")


class _ZipFile(io.FileIO):
    """A zip as zipfile reads it, which makes an object of every entry before they can be counted: so they are here."""

    def __init__(self, path: Path, limits: SourceLimits) -> None:
        super().__init__(path)
        self._limits = limits

    def read(self, size: int | None = -1, /) -> bytes:
        if (size or 0) > self._limits.files * _DIRECTORY_BYTES + 128 * 1024:
            raise _fault("the directory of the zip is too large")
        data = super().read(-1 if size is None else size) or b""
        if data.startswith(_DIRECTORY_ENTRY) and data.count(_DIRECTORY_ENTRY) > self._limits.files:
            raise _too_large(self._limits, "files")
        return data


def _read_zip(archive: Path, kind: SourceKind, limits: SourceLimits, target: Path) -> None:
    """Reads all of a zip, and unpacks it if it is no wheel. Raises OrcError where anything is wrong with it."""
    contents, archive_bytes, left = _Contents(limits), archive.stat().st_size, limits.unpacked_bytes
    with _faults_told(), _ZipFile(archive, limits) as file, zipfile.ZipFile(file, metadata_encoding="utf-8") as packed:
        entries = packed.infolist()
        for entry in entries:
            path, is_folder = entry.orig_filename, entry.orig_filename.endswith("/")
            contents.add(path.removesuffix("/"), is_folder=is_folder, size=entry.file_size)
            kinds = (0, stat.S_IFDIR if is_folder else stat.S_IFREG)
            refuse_if = {
                _NOT_PLAIN: stat.S_IFMT(entry.external_attr >> 16) not in kinds,
                "is encrypted": entry.flag_bits & _ENCRYPTED,
                "is neither stored nor deflated": entry.compress_type not in _COMPRESSIONS,
                "has a damaged header": path != entry.filename or not 0 <= entry.header_offset < archive_bytes,
            }
            _refuse(path, refuse_if)
        contents.check_whole(kind)
        if sum(entry.compress_size for entry in entries) > archive_bytes:
            raise _fault("the entries of the zip overlap")
        for folder in ("", *sorted(contents.folders)) if kind is SourceKind.ZIP else ():
            (target / folder).mkdir()
            (target / folder).chmod(0o755)
        for entry in entries:
            if entry.is_dir():
                continue
            chunks = _chunks(packed, entry, left, limits)
            if kind is SourceKind.WHEEL:
                left -= sum(map(len, chunks))
                continue
            with (target / entry.filename).open("xb") as unpacked:
                os.fchmod(unpacked.fileno(), 0o755 if entry.external_attr >> 16 & 0o111 else 0o644)
                left -= sum(map(unpacked.write, chunks))


def _chunks(packed: zipfile.ZipFile, entry: zipfile.ZipInfo, left: int, limits: SourceLimits) -> Iterator[bytes]:
    """An entry's content. zipfile would stop at the declared size and be content; so it is told another."""
    declared, entry.file_size, size = entry.file_size, sys.maxsize, 0
    with packed.open(entry) as content:
        while chunk := content.read(_CHUNK):
            size += len(chunk)
            if size > left:
                raise _too_large(limits, "unpacked_bytes")
            yield chunk
    _refuse(entry.filename, {f"has {size} bytes, but {declared} in its header": size != declared})


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
            raise _fault("the archive has more in it than its files")
        return data

    def read_blocks(self, size: int) -> Iterator[bytes]:
        """So many bytes in pieces, and past what fills the last block."""
        for start in range(0, size, _CHUNK):
            wanted = min(size - start, _CHUNK)
            if len(data := self.read(wanted + -wanted % _TAR_BLOCK)) < wanted:
                raise EOFError("it ends too early")
            yield data[:wanted]


def _read_sdist(archive: Path, limits: SourceLimits) -> None:
    """Reads all of a source distribution. Raises OrcError where anything is wrong with it.

    TarFile isn't for strangers' archives: it takes extensions of any size into memory, searches them in quadratic time
    before Python 3.11.10, and takes a damaged header for the end.
    """
    contents = _Contents(limits)
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
                raise _fault("the archive has something behind its end")


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
        raise _fault(f"the archive's entry {_shown(name)} isn't named in UTF-8") from failure
    except _BROKEN as failure:
        raise _fault(f"the archive can't be read: {_shown(str(failure) or 'it ends too early')[1:-1]}") from failure


def _check_name(ref: SourceRef) -> None:
    """Raises OrcError for a file name that no archive of its kind can have."""
    if not _FILE_NAME.fullmatch(ref.file_name):
        raise _fault(f"the file name {_shown(ref.file_name)} must be one of at most 200 letters, digits and ._+!-")
    try:
        if ref.kind is SourceKind.WHEEL:
            parse_wheel_filename(ref.file_name)
        elif ref.kind is SourceKind.SDIST:
            parse_sdist_filename(ref.file_name)
    except (InvalidWheelFilename, InvalidSdistFilename) as failure:
        raise _fault(str(failure)) from failure


def _hex(digest: str) -> str:
    if not (match := _DIGEST.fullmatch(digest)):
        raise _fault(f"the digest {_shown(digest)} must be sha256: and 64 hexadecimal digits in lower case")
    return match[1]


def _aside_in(root: Path) -> Path:
    return root / f"{_ASIDE}{uuid.uuid4().hex}"


def _moved(made: Path, place: Path) -> bool:
    """Whether the folder has been moved to its place; it isn't where one is there already."""
    try:
        made.rename(place)
    except OSError as failure:
        if failure.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _project_root(tree: Path) -> Path:
    """The tree, or its only folder where that is a project and no package, as in zips that GitHub makes."""
    inner, *others = [*tree.iterdir()] or [tree]
    is_project = any((inner / name).is_file() for name in _PROJECT_FILES) and not (inner / "__init__.py").exists()
    return inner if is_project and not others else tree


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


def _refuse(entry: str, refuse_if: Mapping[str, object]) -> None:
    """Raises OrcError for the first fault of the entry that is so."""
    for why, is_so in refuse_if.items():
        if is_so:
            raise error("SOURCE_INVALID", f"the archive's entry {_shown(entry)} {why}", {"entry": _shown(entry)})


def _fault(text: str) -> OrcError:
    return error("SOURCE_INVALID", text)


def _too_large(limits: SourceLimits, field: str) -> OrcError:
    limit, setting = getattr(limits, field), f"SOURCE_{field.upper()}"
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


def _shown(text: str) -> str:
    """Text of a stranger for a message: short, with control characters as escapes."""
    shown = repr(text)[1:-1]
    return f"'{shown[:100]}…'" if len(shown) > 100 else f"'{shown}'"
