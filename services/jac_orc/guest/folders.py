"""Where the module's code runs, and where it is imported from."""

from __future__ import annotations

import os
import sys

_MOST_NAMED = 5
_own: list[str] = []


def enter(directory: str, folders: list[str]) -> None:
    """Make this the working directory, and import from the folders of the user's own code, or else from the directory.

    At home the current directory comes first, even before the standard library. Here the standard library comes first:
    other packages rely on it, and the policy judges a module by its name.
    """
    os.chdir(directory)
    _own[:] = folders
    installed = _installed()
    index = sys.path.index(installed[0]) if installed else len(sys.path)
    sys.path[index:index] = folders or [directory]


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
