"""Where the module's code runs, and where it is imported from."""

from __future__ import annotations

import os
import sys
from typing import Any

_MOST_NAMED = 5
_own: list[str] = []
_why: list[str] = []


def enter(document: Any) -> None:
    """Work in LOAD's `directory`, and import from its `folders` of the user's own code, or else from the directory.

    At home the current directory comes first, even before the standard library. Here the standard library comes first:
    other packages rely on it, and the policy judges a module by its name.
    """
    os.chdir(document["directory"])
    _own[:] = document["folders"]
    _why[:] = filter(None, [document["failure"]])
    installed = _installed()
    index = sys.path.index(installed[0]) if installed else len(sys.path)
    sys.path[index:index] = _own or [document["directory"]]


def hint(failure: BaseException) -> str:
    """Return what the module's code may lack, if this is why it fails; empty: nothing that is known."""
    if type(failure).__name__ == "PackageNotFoundError" and _why:
        return "the source's own metadata could not be built: %s" % _why[0]
    return ""


def advice(name: str) -> str:
    """Return what to do if there is no such module: which modules there are instead, nearest first."""
    import difflib
    import inspect

    entries = [entry for folder in filter(os.path.isdir, _own or _installed()) for entry in os.scandir(folder)]
    code = [entry for entry in entries if entry.path not in _own]  # `src` is in another one
    names = {entry.name if entry.is_dir() else inspect.getmodulename(entry.name) or "" for entry in code}
    there = [each for each in names if each.isidentifier() and not each.startswith("_")]
    there.sort(key=lambda each: (-difflib.SequenceMatcher(None, each.lower(), name.lower()).ratio(), each))
    what = "give a source that has it at its top or in src/" if _own else "require what provides it"
    return "%s, or name what is there: %s" % (what, ", ".join(there[:_MOST_NAMED])) if there else what


def _installed() -> list[str]:
    return [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
