"""Which modules give access to the host: the list in `host_access.txt`, and the operator's changes to it.

The pod manager decides by it what a call may deploy. The guest decides by it what a path of names may lead to.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "host_access.txt")


@functools.cache
def listed() -> dict[str, str]:
    """Return the modules of the list, each with what it gives access to."""
    with open(_FILE, encoding="utf-8") as file:
        entries = [line.split(None, 1) for line in file if line.strip() and not line.startswith("#")]
    return {name: access.strip() for name, access in entries}


def entry_for(name: str, entries: Collection[str]) -> str:
    """Return the entry that is the module or a package above it, the nearest one; empty if there is none."""
    for path in (name, name.lstrip("_")):  # `_io` is the C part of `io`
        entry = path
        while entry and entry not in entries:
            entry = entry.rpartition(".")[0]
        if entry:
            return entry
    return ""


class HostAccess:
    """The list under one policy: `refused` adds modules to it, `allowed` takes modules off it."""

    def __init__(self, allowed: Iterable[str] = (), refused: Iterable[str] = ()) -> None:
        self._listed = listed()
        self._allowed = frozenset(allowed)
        self._refused = frozenset(refused)

    def refusing(self, name: str) -> str:
        """Return the operator's entry that refuses the module; empty if none does."""
        return entry_for(name, self._refused)

    def of(self, name: str) -> str:
        """Return what the module gives access to; empty for one that only computes or that the operator allows."""
        return "" if entry_for(name, self._allowed) else self.always_of(name)

    def always_of(self, name: str) -> str:
        """Return what the module gives access to, whatever the operator allows."""
        entry = entry_for(name, self._listed)
        return self._listed[entry] if entry else ""
