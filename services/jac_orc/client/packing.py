"""Packs a folder of the user's code into one archive, and tells which modules are in it.

What is left out: what Git would ignore, what the folder's `.orcignore` files name, and what never is source. A folder
that is left out isn't even looked into. Equal contents give equal bytes, so that an archive's digest tells whether
anything has changed.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import io
import itertools
import keyword
import os
import re
import stat
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pathspec.patterns.gitignore import GitIgnorePatternError
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

__all__ = ["Packed", "PackingError", "Tree", "importable", "pack", "walk"]

MAX_FILES = 20_000
MAX_BYTES = 256 * 1024 * 1024
_MOST_COUNTED = 10 * MAX_FILES  # behind that it is clear enough which folder has too many
_MOST_LEFT_OUT = 1000
_LEVEL = 4  # of deflate: half the time of the usual 6, and a few per cent larger
_LEAST_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip archive can tell
_MODE = stat.S_IFREG | 0o644


def _any_of(patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(map(fnmatch.translate, patterns.split())))


# The last line: what editors write beside a file that is open, or while they save.
_NEVER_SOURCE = _any_of("""
    .git .hg .svn __pycache__ *.py[co] .venv venv node_modules .mypy_cache .ruff_cache .pytest_cache .tox .nox
    *.egg-info .DS_Store
    .*.sw? *~ .#* #*# 4913 *___jb_tmp___ *___jb_old___ .goutputstream-*
""")
# Importable as they are, but what a module is deployed for.
_NOT_THE_MODULE = _any_of("""
    test tests test_* *_test conftest doc docs example examples sample samples bench benchmarks script scripts tools
    setup noxfile tasks fabfile dodo versioneer manage build dist
""")
_MODULE_FILE = re.compile(r"([^./]+)(?:\.py|\.(?:cpython|abi3)[^/]*\.so)")


class PackingError(Exception):
    """The folder can't be packed; the message names what is at fault and what to do."""


@dataclass(frozen=True)
class Packed:
    """A folder as a zip archive."""

    data: bytes
    files: int
    """How many files are in it."""
    missed: tuple[str, ...] = ()
    """What a .gitignore leaves out although the code names it; folders end with a slash."""

    @property
    def digest(self) -> str:
        """The archive's SHA-256, as the pod manager writes digests."""
        return f"sha256:{hashlib.sha256(self.data).hexdigest()}"


def pack(folder: Path) -> Packed:
    """The folder's files as an archive; raises PackingError."""
    tree = walk(folder)
    if not tree.files:
        text = f"{folder} has no files to pack: it is empty, or .gitignore and .orcignore leave all of it out"
        raise PackingError(f"{text}; give the folder with the code")
    tree.check_limits()
    # A path that was left out is named as a whole string, or as a part of a path in one.
    left_out: dict[bytes, list[str]] = {}
    for path in tree.left_out:
        left_out.setdefault(os.fsencode(path.rstrip("/").rpartition("/")[2]), []).append(path)
    mention = re.compile(rb"[\"'/](" + b"|".join(map(re.escape, left_out)) + rb")(?=[\"'/])")
    mentioned = set[bytes]()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for name in sorted(tree.files):
            try:
                content = (tree.root / name).read_bytes()
            except FileNotFoundError:  # removed meanwhile
                continue
            except OSError as failure:
                raise _unreadable(tree.root / name, failure) from failure
            info = zipfile.ZipInfo(name, _LEAST_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # Unix, wherever it is packed
            info.external_attr = _MODE << 16
            try:
                archive.writestr(info, content)
            except UnicodeEncodeError as failure:
                raise PackingError(f"the name of {os.fsencode(name)!r} is not UTF-8; rename the file") from failure
            if name.endswith(".py"):
                mentioned.update(mention.findall(content))
        count = len(archive.namelist())
    missed = tuple(sorted(path for name in mentioned for path in left_out.get(name, ())))
    return Packed(buffer.getvalue(), count, missed)


def importable(paths: Iterable[str]) -> list[str]:
    """The top-level names that can be imported from these files: those in `src/` if there are any, else the others.

    A folder without `__init__.py` counts only where there is nothing else: it may be a namespace, or just a folder.
    """
    names = [tuple(path.split("/")) for path in paths]
    in_source = [name[1:] for name in names if name[0] == "src" and len(name) > 1]
    layouts = (names,) if ("__init__.py",) in in_source else (in_source, names)
    for layout, kind in itertools.product(layouts, (_is_module, _is_in_namespace)):
        if found := {name for path in layout if (name := kind(path)) and _is_wanted(name)}:
            return sorted(found)
    return []


def _is_module(path: tuple[str, ...]) -> str:
    """The module's name where the file is a top-level module, or makes a folder a package."""
    if len(path) == 2 and path[1] == "__init__.py":
        return path[0]
    match = _MODULE_FILE.fullmatch(path[0]) if len(path) == 1 else None
    return match[1] if match else ""


def _is_in_namespace(path: tuple[str, ...]) -> str:
    return path[0] if len(path) > 1 and path[-1].endswith(".py") and path[0] != "src" else ""


def _is_wanted(name: str) -> bool:
    legal = name.isidentifier() and name.isascii() and not keyword.iskeyword(name) and not name.startswith("_")
    return legal and not _NOT_THE_MODULE.match(name)


# --- what is in a folder ---


@dataclass
class Tree:
    """What of a folder is packed."""

    root: Path
    ignores: Ignores
    files: dict[str, int] = field(default_factory=dict)
    """Sizes by path within the folder."""
    folders: list[Path] = field(default_factory=list)
    """The folders in which these files are, or may come to be."""
    left_out: list[str] = field(default_factory=list)
    """What a .gitignore leaves out, the first thousand; folders end with a slash."""

    def check_limits(self) -> None:
        """Raises PackingError where it is too much to be source code."""
        advice = "list what the module doesn't need in a file .orcignore there, in the form of a .gitignore"
        if len(self.files) > MAX_FILES:
            most, count = _heaviest(dict.fromkeys(self.files, 1))
            text = f"{self.root} has more than {MAX_FILES:,} files to pack, most of them in {most} ({count:,})"
            raise PackingError(f"{text}; {advice}")
        if (total := sum(self.files.values())) > MAX_BYTES:
            largest = max(self.files, key=lambda name: self.files[name])
            most, size = largest, self.files[largest]
            if size * 2 < total:
                most, size = _heaviest(self.files)
            text = f"{self.root} has {_mebibytes(total)} to pack, of at most {_mebibytes(MAX_BYTES)}"
            raise PackingError(f"{text}, most of it in {most} ({_mebibytes(size)}); {advice}")


def _heaviest(weights: Mapping[str, int]) -> tuple[str, int]:
    """The folder that has most, and how much; as deep as one has more than half of what the one above has."""
    folder, total = "", sum(weights.values())
    while True:
        below: Counter[str] = Counter()
        for path, weight in weights.items():
            if path.startswith(folder) and (end := path.find("/", len(folder))) >= 0:
                below[path[: end + 1]] += weight
        name, weight = max(below.items(), key=lambda item: item[1], default=("", 0))
        if not name or (folder and weight * 2 <= total):
            return folder or "the folder itself", total
        folder, total = name, weight


def _mebibytes(size: int) -> str:
    return f"{size / 1024 / 1024:,.0f} MiB"


def walk(folder: Path) -> Tree:
    """Looks through the folder; raises PackingError.

    Links to files and folders within it are followed, each under its own name; those that lead out, nowhere or round
    in a circle are refused, since what they stand for can't be taken along.
    """
    try:
        root = folder.resolve(strict=True)
    except (OSError, RuntimeError):
        raise PackingError(f"{folder} is no folder") from None
    if not root.is_dir():
        raise PackingError(f"{folder} is no folder")
    tree = Tree(root, Ignores(root))
    # Each with the real paths of all folders on the way to it, to notice circles.
    pending = [("", frozenset({str(root)}), str(root))]
    while pending and len(tree.files) < _MOST_COUNTED:
        path, way, real = pending.pop()
        entries = _entries(root / path)
        if path and any(entry.name == "pyvenv.cfg" for entry in entries):
            continue  # a virtual environment, whatever its name
        tree.folders.append(root / path)
        for entry in entries:
            name = path + entry.name
            if (found := _look(entry, name, tree)) is None:
                continue
            if stat.S_ISDIR(found.st_mode):
                target = _target(entry, root, way) if entry.is_symlink() else f"{real}/{entry.name}"
                pending.append((f"{name}/", way | {target}, target))
            elif stat.S_ISREG(found.st_mode):
                if entry.is_symlink():
                    _target(entry, root, frozenset())
                tree.files[name] = found.st_size
    return tree


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):  # removed meanwhile
        return []
    except OSError as failure:
        raise _unreadable(folder, failure) from failure


def _look(entry: os.DirEntry[str], name: str, tree: Tree) -> os.stat_result | None:
    """What the entry is, links followed; None if it is ignored or gone."""
    try:
        is_folder = entry.is_dir(follow_symlinks=False)
        if tree.ignores.ignored(name, is_folder=is_folder):
            if len(tree.left_out) < _MOST_LEFT_OUT and tree.ignores.is_git_alone(name, is_folder=is_folder):
                tree.left_out.append(f"{name}/" if is_folder else name)
            return None
        if not entry.is_symlink():
            return entry.stat(follow_symlinks=False)
        found = None
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found = entry.stat()
        # To Git a link is never a folder; whoever writes `data/` means one all the same.
        if found is not None and stat.S_ISDIR(found.st_mode) and tree.ignores.ignored(name, is_folder=True):
            return None
        if found is None and os.path.lexists(entry.path):
            raise _bad_link(entry, "which isn't there")
        return found
    except FileNotFoundError:
        return None
    except OSError as failure:
        if entry.is_symlink():
            raise _bad_link(entry, failure.strerror or str(failure)) from failure
        raise _unreadable(Path(entry.path), failure) from failure


def _target(entry: os.DirEntry[str], root: Path, way: frozenset[str]) -> str:
    """The real path that a link leads to; raises PackingError for one that can't be packed."""
    real = os.path.realpath(entry.path)
    if real != str(root) and not real.startswith(f"{str(root).rstrip('/')}/"):
        raise _bad_link(entry, "which is outside of the folder")
    if real in way:
        raise _bad_link(entry, "a folder that the link itself is in")
    return real


def _bad_link(entry: os.DirEntry[str], what: str) -> PackingError:
    text = f"{entry.path} is a link to {os.readlink(entry.path)} ({what})"
    return PackingError(f"{text}; put a copy in its place, or list it in .orcignore")


def _unreadable(path: Path, failure: OSError) -> PackingError:
    return PackingError(f"{path} can't be read: {failure.strerror or failure}")


# --- what is ignored ---


class Ignores:
    """What is left out of a folder. Within a Git repository the rules of the folders above it count, too.

    As in Git the last pattern that matches decides, in the file that is nearest; any `.orcignore` before any
    `.gitignore`. Rules are read once.
    """

    def __init__(self, root: Path) -> None:
        self._top = next((folder for folder in (root, *root.parents) if os.path.exists(folder / ".git")), root)
        self._base = "" if self._top == root else f"{root.relative_to(self._top).as_posix()}/"
        self._read: dict[str, tuple[_Rules, _Rules]] = {}
        self._least = _Rules.of(self._top / ".git" / "info" / "exclude")
        if any(way and self._decide(way) for way in _folders_above(f"{self._base}x")):
            # A repository that leaves this folder out has no say in it.
            self._top, self._base, self._least = root, "", _Rules()
            self._read.clear()

    def ignored(self, path: str, *, is_folder: bool) -> bool:
        """Whether a path within the folder is left out, where the folders that it is in are not."""
        if _NEVER_SOURCE.match(path.rpartition("/")[2]):
            return True
        return self._decide(f"{self._base}{path}{'/' if is_folder else ''}")

    def is_git_alone(self, path: str, *, is_folder: bool) -> bool:
        """Whether an ignored path is source that only Git's rules leave out, and no `.orcignore`."""
        if _NEVER_SOURCE.match(path.rpartition("/")[2]):
            return False
        return self._verdict(f"{self._base}{path}{'/' if is_folder else ''}", kind=0) is None

    def _decide(self, path: str) -> bool:
        for kind in (0, 1):
            verdict = self._verdict(path, kind)
            if verdict is not None:
                return verdict
        return self._least.decide(path) or False

    def _verdict(self, path: str, kind: int) -> bool | None:
        """Return what the `.orcignore` files (kind 0) or the `.gitignore` files (kind 1) say of a path."""
        for folder in _folders_above(path):
            verdict = self._rules(folder)[kind].decide(path[len(folder) :])
            if verdict is not None:
                return verdict
        return None

    def _rules(self, folder: str) -> tuple[_Rules, _Rules]:
        if folder not in self._read:
            place = self._top / folder
            self._read[folder] = (_Rules.of(place / ".orcignore"), _Rules.of(place / ".gitignore"))
        return self._read[folder]


def _folders_above(path: str) -> Iterator[str]:
    """The folders that a path is in, the nearest first and the top, the empty path, last."""
    end = path.rstrip("/").rfind("/")
    while end >= 0:
        yield path[: end + 1]
        end = path.rfind("/", 0, end)
    yield ""


class _Rules:
    """The patterns of one file."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        compiled = [rule for line in lines if (rule := _compiled(line))]
        self._patterns = compiled[::-1]

    @classmethod
    def of(cls, file: Path) -> _Rules:
        """Those of the file, none if it isn't there; raises PackingError."""
        try:
            text = file.read_bytes().removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return cls()
        except OSError as failure:
            raise _unreadable(file, failure) from failure
        return cls(line.removesuffix("\r") for line in text.split("\n"))

    def decide(self, path: str) -> bool | None:
        """Whether the path is ignored; None where no pattern is about it. A folder's ends with a slash."""
        return next((ignored for pattern, ignored in self._patterns if pattern.search(path)), None)


def _compiled(line: str) -> tuple[re.Pattern[str], bool] | None:
    """The pattern, and whether it ignores; None for a line that has none.

    pathspec's patterns are about paths of files, and match one of a folder's for all that is in it. Here each folder is
    asked about by itself, so that the whole path has to match, as it has to in Git.
    """
    folders_within = line.rstrip().endswith("/**/")
    try:
        pattern = GitIgnoreSpecPattern(line.rstrip()[:-1] if folders_within else line)
    except (GitIgnorePatternError, re.error):  # to Git it matches nothing
        return None
    if pattern.regex is None or pattern.include is None:
        return None
    source = str(pattern.regex.pattern)
    # `name/**` is about all that is in the folder, but not itself, and `name/**/` about the folders of that.
    rest = ".*/" if folders_within else ".+" if source.endswith("/") else ""
    return re.compile(rf"(?:{source}){rest}\Z", re.DOTALL), pattern.include
