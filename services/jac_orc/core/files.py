"""Files that are whole or not there, and directories that other users of the machine can't look into."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def open_private(path: str | Path, mode: str, *, encoding: str | None = None, errors: str | None = None) -> IO[Any]:
    """Open a file as `open` does; if that creates it, only its owner can read it."""
    return open(path, mode, encoding=encoding, errors=errors, opener=_opener)


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def private_directory(path: Path) -> None:
    """Create the directory, or take it from everybody but its owner, with all that is in it.

    Raises OSError if it can't be made private: it is a symbolic link, it is shared like /tmp, or something in it
    belongs to another user.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = _own(path)
    if stat.S_ISLNK(mode):
        raise NotADirectoryError(f"{path} is a symbolic link; name the directory that it leads to")
    if mode & stat.S_ISVTX:
        raise PermissionError(f"{path} is shared by all users of the machine")
    if stat.S_IMODE(mode) & 0o077:
        path.chmod(0o700)
        _tighten(path)


def _tighten(directory: Path) -> None:
    for path in directory.iterdir():
        mode = _own(path)
        if stat.S_ISLNK(mode):
            continue
        path.chmod(stat.S_IMODE(mode) & 0o700)
        if stat.S_ISDIR(mode):
            _tighten(path)


def _own(path: Path) -> int:
    """Return the mode of what is at the path; raises PermissionError if it belongs to another user."""
    status = path.lstat()
    if status.st_uid != os.geteuid():
        raise PermissionError(f"{path} belongs to another user, {status.st_uid}")
    return status.st_mode


def remove_tree(folder: Path) -> None:
    """Remove a folder that other code has filled, as far as possible; it may hold folders that can't be written to."""
    import shutil  # noqa: PLC0415 - takes a millisecond, and module servers don't need it

    def allow(remove: Callable[[str], None], path: str, _: object) -> None:
        with contextlib.suppress(OSError):
            for each in (os.path.dirname(path), path):
                if not os.path.islink(each):
                    os.chmod(each, 0o700)
            if remove in (os.unlink, os.rmdir):
                remove(path)
            else:
                shutil.rmtree(path, ignore_errors=True)

    shutil.rmtree(folder, onerror=allow)


def moved(made: Path, place: Path) -> bool:
    """Return whether the folder has been moved to its place; it isn't if one with something in it is there already."""
    try:
        made.rename(place)
    except OSError as failure:
        if failure.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def write_json(file: Path, document: Any, *, durable: bool = True, mode: int = 0o600) -> None:
    """Write the file so that a crash leaves the old one or the new one; `durable`: a crash of the machine, too."""
    aside = file.with_name(f".{file.name}.{os.urandom(16).hex()}")
    try:
        with open_private(aside, "w", encoding="utf-8") as stream:
            os.fchmod(stream.fileno(), mode)
            json.dump(document, stream, indent=1, sort_keys=True)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        aside.rename(file)
    finally:
        aside.unlink(missing_ok=True)


def read_json(file: Path) -> Any:
    """The file's document; None if there is no such file. Raises ValueError for one that is no JSON."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
