"""Which Python interpreters this machine has."""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from jac_orc.errors import error
from jac_orc.pod_manager.installer import run_uv

_OLDEST = Version("3.10")  # what the guest runs on


@dataclass(frozen=True)
class Interpreter:
    """An interpreter: its path and its whole version, `3.11.2`."""

    path: str
    version: str


def own() -> Interpreter:
    """The one that runs this, outside of its virtual environment."""
    return Interpreter(str(Path(sys.executable).resolve()), platform.python_version())


async def find(version: str) -> Interpreter:
    """The newest one of a version like `3.12` or `3.12.1`, or this process's own for an empty one.

    Raises OrcError with the reason PYTHON_NOT_FOUND that names those that there are.
    """
    if not version or own().version == version or own().version.startswith(version + "."):
        return own()
    found = await _installed()
    fitting = [each for each in found if f"{each.version}.".startswith(version + ".")]
    if fitting:
        return max(fitting, key=lambda each: Version(each.version))
    there = sorted({each.version for each in [*found, own()]}, reverse=True)
    text = f"this machine has no Python {version}; it has {', '.join(there)}"
    raise error("PYTHON_NOT_FOUND", text, {"python_version": version, "versions": ",".join(there)})


async def _installed() -> list[Interpreter]:
    """CPython's ordinary builds that are new enough, as the installer finds them."""
    listed = await run_uv(
        "python", "list", "--only-installed", "--output-format", "json", tell=lambda _: None, timeout=60
    )
    return [
        Interpreter(each["path"], each["version"])
        for each in json.loads(listed)
        if each["implementation"] == "cpython" and each["variant"] == "default"
        if Version(each["version"]) >= _OLDEST
    ]
