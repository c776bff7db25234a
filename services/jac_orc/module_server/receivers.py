"""What a guest's answers go to, and what it keeps of calls that were cancelled."""

from __future__ import annotations

import asyncio
from typing import Protocol

from jac_orc.errors import OrcError


class Receiver(Protocol):
    """What receives the messages and the end of a call."""

    call_id: str
    """The call's id, under which its output is logged."""

    def add(self, body: bytes) -> None:
        """Takes a message that comes before the last one; raises FrameError where none may come, or none so soon."""
        ...

    def add_failure(self, index: int, failure: OrcError) -> None:
        """Takes the failure of a call of a batch; raises FrameError where none may come."""
        ...

    def set_result(self, body: bytes) -> None:
        """The call has ended."""
        ...

    def set_exception(self, failure: OrcError) -> None:
        """The call has failed."""
        ...


class GuestCall(Receiver, Protocol):
    """A call as its guest sees it."""

    def function(self) -> str:
        """Return what it calls, for the log."""
        ...


class Abandoned:
    """A call that was cancelled, at `since` by the loop's clock, and goes on."""

    __slots__ = ("call", "is_stuck", "since", "timer")

    def __init__(self, call: GuestCall, since: float) -> None:
        self.call = call
        self.since = since
        self.is_stuck = False
        """Whether it should have ended."""
        self.timer: asyncio.TimerHandle
