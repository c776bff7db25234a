"""Packs a folder of the user's code into one archive, and tells which modules are in it.

What is left out: what Git would ignore, what the folder's `.orcignore` files name, and what never is source. A folder
that is left out isn't even looked into. Empty folders and executable bits are kept. Equal contents give equal bytes, so
an archive's digest changes only with its contents.
"""

from __future__ import annotations

import fnmatch
import functools
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

__all__ = ["Packed", "PackingError", "Tree", "importable", "is_name", "pack", "walk"]

MAX_FILES = 20_000
MAX_BYTES = 256 * 1024 * 1024
_MOST_COUNTED = 10 * MAX_FILES  # behind that it is clear enough which folder has too many
_MOST_LEFT_OUT = 1000
_LEVEL = 4  # of deflate: half the time of the usual 6, and a few per cent larger
_LEAST_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip archive can tell
_DOS_FOLDER = 0x10  # without it some readers take a folder for a file


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
_NEVER, GIT = "never", (".gitignore", ".git/info/exclude")
"""Rules that leave out: those above, and Git's; `.orcignore` is the third kind."""
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
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Paths within the archive that a file with rules leaves out, with the file's name; folders end with a slash."""

    @property
    def digest(self) -> str:
        """The archive's SHA-256, as the pod manager writes digests."""
        return f"sha256:{hashlib.sha256(self.data).hexdigest()}"


def pack(folder: Path, package: str = "") -> Packed:
    """The folder's files as an archive, within a folder of the package's name if there is one; raises PackingError."""
    tree = walk(folder)
    if not tree.files:
        text = f"{folder} has no files to pack: it is empty, or .gitignore and .orcignore leave all of it out"
        raise PackingError(f"{text}; give the folder with the code")
    tree.check_limits()
    # A path that was left out is named as a whole string, or as a part of a path in one.
    left_out: dict[bytes, list[str]] = {}
    for path in (path for path, rules in tree.left_out.items() if rules in GIT):
        left_out.setdefault(os.fsencode(path.rstrip("/").rpartition("/")[2]), []).append(path)
    mention = re.compile(rb"[\"'/](" + b"|".join(map(re.escape, left_out)) + rb")(?=[\"'/])")
    mentioned = set[bytes]()
    buffer, prefix = io.BytesIO(), f"{package}/" if package else ""
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for name in sorted([*tree.files, *tree.empty()]):
            try:
                content = b"" if name.endswith("/") else (tree.root / name).read_bytes()
                is_executable = (tree.root / name).stat().st_mode & stat.S_IXUSR
            except FileNotFoundError:  # it has just been removed
                continue
            except OSError as failure:
                raise _unreadable(tree.root / name, failure) from failure
            info = zipfile.ZipInfo(f"{prefix}{name}", _LEAST_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # Unix, wherever it is packed
            if name.endswith("/"):
                info.external_attr = (stat.S_IFDIR | 0o755) << 16 | _DOS_FOLDER
            else:
                info.external_attr = (stat.S_IFREG | (0o755 if is_executable else 0o644)) << 16
            try:
                archive.writestr(info, content)
            except UnicodeEncodeError as failure:
                raise PackingError(f"the name of {os.fsencode(name)!r} is not UTF-8; rename the file") from failure
            if name.endswith(".py"):
                mentioned.update(mention.findall(content))
        count = sum(not name.endswith("/") for name in archive.namelist())
    missed = tuple(sorted(path for name in mentioned for path in left_out.get(name, ())))
    return Packed(buffer.getvalue(), count, missed, {f"{prefix}{path}": rules for path, rules in tree.left_out.items()})


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
    return is_name(name) and not _NOT_THE_MODULE.match(name)


def is_name(name: str) -> bool:
    """Return whether a top-level module of this name can be deployed."""
    return name.isidentifier() and name.isascii() and not keyword.iskeyword(name) and not name.startswith("_")


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
    left_out: dict[str, str] = field(default_factory=dict)
    """What a .gitignore or .orcignore leaves out, the first thousand, with its name; folders end with a slash."""

    def empty(self) -> list[str]:
        """Return the folders, each with a slash at its end, that have nothing to pack: code may list or fill them."""
        filled = {folder for path in self.files for folder in _folders_above(path)}
        names = (f"{os.path.relpath(folder, self.root)}/" for folder in self.folders)
        return [name for name in names if name not in filled and name != "./"]

    def check_limits(self) -> None:
        """Raises PackingError where it is too much to be source code."""
        advice = "list what the module doesn't need in a file .orcignore there, in the form of a .gitignore"
        if len(self.files) > MAX_FILES:
            most, count = _heaviest(dict.fromkeys(self.files, 1))
            text = f"{self.root} has more than {MAX_FILES:,} files to pack, most of them in {most} ({count:,})"
            raise PackingError(f"{text}; {advice}")
        if (total := sum(self.files.values())) > MAX_BYTES:
            most, size = _heaviest(self.files)
            text = f"{self.root} has {_mebibytes(total)} to pack, of at most {_mebibytes(MAX_BYTES)}"
            raise PackingError(f"{text}, most of it in {most} ({_mebibytes(size)}); {advice}")


def _heaviest(weights: Mapping[str, int]) -> tuple[str, int]:
    """The file, or else the deepest folder, that has more than half of it all, and how much it has."""
    within: Counter[str] = Counter()
    for path, weight in weights.items():
        for each in (path, *_folders_above(path)):
            within[each] += weight
    heaviest = max((each for each, weight in within.items() if 2 * weight > within[""]), key=len)
    return heaviest or "the folder itself", within[heaviest]


def _mebibytes(size: int) -> str:
    return f"{size / 1024 / 1024:,.0f} MiB"


def watched(path: Path) -> Tree:
    """Return what to watch for changes of a folder, or of a single file; raises PackingError."""
    if path.is_dir():
        return walk(path)
    root = Path(os.path.realpath(path)).parent
    return Tree(root, OnlyFile(root, path.name), {path.name: 0} if path.exists() else {}, [root])


def walk(folder: Path) -> Tree:
    """Looks through the folder; raises PackingError.

    Links to files and folders within it are followed, each under its own name; those that lead out, nowhere or round
    in a circle are refused, since what they stand for can't be taken along.
    """
    root = Path(os.path.realpath(folder))
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
    is_folder = entry.is_dir(follow_symlinks=False)
    if rules := tree.ignores.left_out_by(name, is_folder=is_folder):
        if rules != _NEVER and len(tree.left_out) < _MOST_LEFT_OUT:
            tree.left_out[f"{name}/" if is_folder else name] = rules
        return None
    try:
        found = entry.stat()
    except OSError as failure:
        if not os.path.lexists(entry.path):  # removed meanwhile
            return None
        if entry.is_symlink():
            raise _bad_link(entry, failure.strerror or str(failure)) from failure
        raise _unreadable(entry.path, failure) from failure
    # To Git a link is never a folder, but a user who writes `data/` means one.
    is_link_to_folder = entry.is_symlink() and stat.S_ISDIR(found.st_mode)
    return None if is_link_to_folder and tree.ignores.left_out_by(name, is_folder=True) else found


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


def _unreadable(path: Path | str, failure: OSError) -> PackingError:
    return PackingError(f"{path} can't be read: {failure.strerror or failure}")


# --- what is ignored ---


class Ignores:
    """What is left out of a folder. Within a Git repository the rules of the folders above it count, too.

    As in Git the last pattern that matches decides, in the file that is nearest; any `.orcignore` before any
    `.gitignore`. Rules are read once.
    """

    def __init__(self, root: Path) -> None:
        self._rules = functools.cache(_rules)
        self._top = next((folder for folder in (root, *root.parents) if os.path.exists(folder / ".git")), root)
        self._base = "" if self._top == root else f"{root.relative_to(self._top).as_posix()}/"
        if any(folder and self._decisive(folder) for folder in _folders_above(f"{self._base}x")):
            # A repository that leaves this folder out has no say in it.
            self._top, self._base = root, ""

    def left_out_by(self, path: str, *, is_folder: bool) -> str:
        """Return the rules that leave out a path within the folder, of which no folder is left out; empty: none do."""
        if _NEVER_SOURCE.match(path.rpartition("/")[2]):
            return _NEVER
        return self._decisive(f"{self._base}{path}{'/' if is_folder else ''}")

    def _decisive(self, path: str) -> str:
        for kind in (".orcignore", *GIT):
            for folder in _folders_above(path):
                rules, within = self._rules(f"{self._top}/{folder}{kind}"), path[len(folder) :]
                for pattern, ignores in rules:
                    if pattern.search(within):
                        return kind if ignores else ""
        return ""


class OnlyFile(Ignores):
    """Leaves out all but one file."""

    def __init__(self, root: Path, name: str) -> None:
        super().__init__(root)
        self._name = name

    def left_out_by(self, path: str, *, is_folder: bool) -> str:
        return "" if path == self._name else _NEVER


def _folders_above(path: str) -> Iterator[str]:
    """The folders that a path is in, the nearest first and the top, the empty path, last."""
    end = path.rstrip("/").rfind("/")
    while end >= 0:
        yield path[: end + 1]
        end = path.rfind("/", 0, end)
    yield ""


def _rules(file: str) -> list[tuple[re.Pattern[str], bool]]:
    """The patterns of a file, the last one first, and whether they ignore; none if it isn't there.

    Raises PackingError. The pattern of a folder matches a path that ends with a slash.
    """
    try:
        text = Path(file).read_bytes().removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return []
    except OSError as failure:
        raise _unreadable(file, failure) from failure
    return [rule for line in text.split("\n") if (rule := _compiled(line.removesuffix("\r")))][::-1]


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
