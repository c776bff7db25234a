"""Sets the working directory and the import path of the module's code, and explains what is missing."""

from __future__ import annotations

import os
import sys
from typing import Any

_MOST_NAMED = 5
_own: list[str] = []
_directory: list[str] = []
_why: list[str] = []
_left_out: dict[str, str] = {}


def enter(document: Any) -> None:
    """Work in LOAD's `directory`, and import from its `folders` of the user's own code, or else from the directory.

    At home the current directory comes first, even before the standard library. Here the standard library comes first:
    other packages rely on it, and the policy judges a module by its name.
    """
    os.chdir(document["directory"])
    _own[:] = document["folders"]
    _directory[:] = [os.getcwd()]
    _left_out.update(document["left_out"])
    _why[:] = filter(None, [document["failure"]])
    installed = _installed()
    index = sys.path.index(installed[0]) if installed else len(sys.path)
    sys.path[index:index] = _own or [document["directory"]]


def hint(failure: BaseException) -> str:
    """Return what the module's code may lack, if this is why it fails; empty: nothing that is known."""
    if type(failure).__name__ == "PackageNotFoundError" and _why:
        advice = "write the version to pyproject.toml, or mend the build (there is no Git repository where it runs)"
        return "the source's own metadata could not be built: %s; %s" % (_why[0], advice)
    for path in _missing(failure) if _left_out else ():
        parts = os.path.relpath(path, _directory[0]).split(os.sep)
        above = ["/".join(parts[: end + 1]) for end in range(len(parts))]
        for entry in [each + end for each in above for end in ("/", "")]:
            if entry in _left_out:
                folder, _, name = entry.rstrip("/").rpartition("/")
                line, file = "!/%s%s" % (name, entry[len(entry.rstrip("/")) :]), os.path.join(folder, ".orcignore")
                reason = "%s was left out of the source by %s" % (entry, _left_out[entry])
                return "%s; to include it, add %s to %s" % (reason, line, file)
    return ""


def _missing(failure: BaseException) -> list[str]:
    """Return the paths of what the code has not found, files or modules."""
    if isinstance(failure, FileNotFoundError) and isinstance(failure.filename, (str, bytes)):
        return [os.fsdecode(failure.filename)]
    if isinstance(failure, ImportError) and failure.name:
        name = failure.name.replace(".", "/")
        if not isinstance(failure, ModuleNotFoundError):  # the name of a module that lacks another
            name += "/" + str(failure).partition("import name '")[2].partition("'")[0]
        return [os.path.join(folder, name + ending) for folder in _own for ending in ("", ".py")]
    return []


def advice(name: str) -> str:
    """Return what to do if there is no such module: which modules there are instead, nearest first."""
    import difflib
    import inspect

    entries = [entry for folder in filter(os.path.isdir, _own or _installed()) for entry in os.scandir(folder)]
    code = [entry for entry in entries if entry.path not in _own]  # `src` is in another one
    names = {entry.name if entry.is_dir() else inspect.getmodulename(entry.name) or "" for entry in code}
    there = [each for each in names if each.isidentifier() and not each.startswith("_")]
    there.sort(key=lambda each: (-difflib.SequenceMatcher(None, each.lower(), name.lower()).ratio(), each))
    what = "put it at the top of the source or in src/" if _own else "add what provides it to `requirements`"
    return "%s, or name what is there: %s" % (what, ", ".join(there[:_MOST_NAMED])) if there else what


def _installed() -> list[str]:
    return [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
