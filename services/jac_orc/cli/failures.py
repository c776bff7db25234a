"""What goes wrong in a command before any pod manager can tell of it."""

from __future__ import annotations


class UsageError(Exception):
    """What was asked for makes no sense; the message says why."""


class CallError(Exception):
    """A call has failed, and no pod manager says why."""


class Unreachable(CallError):
    """Nothing answers there."""
