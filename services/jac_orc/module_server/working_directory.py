"""The pod's working directory, in which its guests run: a copy of the user's own code, or an empty directory.

The code is imported from the copy, too, so that `__file__`, relative paths and what is written next to either agree, as
they do at home. The stored source, which other pods use, stays as it is. Restarted guests and servers of the pod find
what was written; the backend removes the directory with the pod.

Little is imported at the top, as a server's first guest waits for it.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Sequence
from typing import Any


def prepare(directory: str, module: str, folders: Sequence[str], home: str = "") -> dict[str, Any]:
    """Create the directory unless it exists; return what the guest receives of it.

    `folders` are where the module is imported from, as stored; the last one has all of the user's code. `home` has what
    else is known of it. Empty `directory`: a temporary one, which this process removes at its end. Raises OSError.
    """
    root = folders[-1] if folders else ""
    directory = directory or _temporary(root)
    package = module.partition(".")[0] if root and _is_package(module, folders) else ""
    copy = os.path.join(directory, package) if package else directory
    inner = [copy + each[len(root) :] if f"{each}/".startswith(f"{root}/") else each for each in folders]
    imported = [directory] if package else inner
    if not root:
        os.makedirs(directory, exist_ok=True)
    elif not os.path.isdir(directory):
        _create(directory, root, package, home, os.path.relpath(imported[0], directory))
    return {
        "directory": directory,
        "folders": imported,
        "failure": _read(home, "about/failure.txt"),
        "left_out": json.loads(_read(home, "left-out.json") or "{}"),
    }


def _read(home: str, path: str) -> str:
    """Return the text of a file in the folder; empty if there is none."""
    if not home:
        return ""
    try:
        with open(os.path.join(home, path), encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def _is_package(module: str, folders: Sequence[str]) -> bool:
    """Return whether the source itself is the module's package, rather than a folder that has it."""
    from importlib.machinery import PathFinder  # noqa: PLC0415

    is_package = os.path.isfile(os.path.join(folders[-1], "__init__.py"))
    return is_package and PathFinder.find_spec(module.partition(".")[0], list(folders)) is None


def _create(directory: str, source: str, package: str, home: str, imported: str) -> None:
    """Fill the directory under another name first, so that a half-filled one is never used.

    The metadata of the source goes to where it is imported from, as the paths in it are relative to that.
    """
    import shutil  # noqa: PLC0415

    aside = f"{directory}.new"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        shutil.copytree(source, os.path.join(aside, package), symlinks=True)
        about = os.path.join(home, "about")
        for name in os.listdir(about) if home and os.path.isdir(about) else ():
            if name.endswith(".dist-info"):
                target = os.path.join(aside, imported, name)
                shutil.copytree(os.path.join(about, name), target, dirs_exist_ok=True)
        os.rename(aside, directory)
    except shutil.Error as failure:  # it lists the files that can't be copied
        raise OSError(failure.args[0][0][2]) from failure
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@functools.cache
def _temporary(_source: str) -> str:
    import atexit  # noqa: PLC0415
    import shutil  # noqa: PLC0415
    import tempfile  # noqa: PLC0415

    folder = tempfile.mkdtemp(prefix="jac-orc-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return os.path.join(folder, "work")
