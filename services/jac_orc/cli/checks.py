"""What `jac-orc doctor` finds: one line per thing that was looked at, and what mends a fault."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.StrEnum):
    """How a check came out."""

    OK = "ok"
    FAULT = "fault"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    found: str
    fix: str = ""
    """For a fault: the command that mends it, or the file to edit."""


def ok(name: str, found: str) -> Check:
    """It is as it shall be."""
    return Check(name, State.OK, found)


def fault(name: str, found: str, fix: str) -> Check:
    """It isn't."""
    return Check(name, State.FAULT, found, fix)


def skipped(name: str, why: str) -> Check:
    """It wasn't looked at, or doesn't matter here."""
    return Check(name, State.SKIPPED, why)
