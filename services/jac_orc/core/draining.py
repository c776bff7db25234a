"""The calls of a server that have not ended, and how they end when the server stops."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Literal

from jac_orc.errors import OrcError, error

Waiting = Literal["call", "request", "watch"]
"""How long a server that drains waits for a call: as long as it drains; for a shorter time; or not at all."""

CUT_SECONDS = 0.5
"""How long calls that are ended have to send their status."""
_LOOK_SECONDS = 0.02
_LAME_DUCKS = 10  # how many times the lame duck is repeated while new calls come


def stopped() -> OrcError:
    """Return the failure of a call that the end of its server cuts short."""
    text = "the pod stopped before the call had ended; the call may have run in part, so a retry may repeat its effects"
    return error("POD_STOPPING", text, {"begun": "true"})


def not_begun() -> OrcError:
    """Return the failure of a call that waited in a pod until that stopped."""
    return error("POD_STOPPING", "the pod stopped before the call began; it is safe to retry", {"begun": "false"})


class Group:
    """Calls that have not ended, which includes that their answer is sent."""

    def __init__(self) -> None:
        self.begun = 0
        """How many calls have begun so far."""
        self.failure: OrcError | None = None
        """Why the calls are ended, once they are."""
        self._ends: dict[Any, Callable[[OrcError], object]] = {}

    def __len__(self) -> int:
        return len(self._ends)

    def add(self, context: Any, end: Callable[[OrcError], object]) -> None:
        """Add a call; `end` ends it with a failure."""
        self.begun += 1
        self._ends[context] = end
        context.add_done_callback(self._discard)

    def _discard(self, context: Any) -> None:
        self._ends.pop(context, None)

    def end(self) -> None:
        """End every call, as its server stops."""
        self.failure = stopped()
        for end in list(self._ends.values()):
            end(self.failure)


class OpenCalls:
    """The open calls of a server, by how long it waits for them."""

    def __init__(self) -> None:
        self.groups: dict[Waiting, Group] = {"call": Group(), "request": Group(), "watch": Group()}

    async def quiet(self, seconds: float, at_most: float, hurry: asyncio.Event) -> None:
        """Return once no new call has come for `seconds`, after a few times that, or when `hurry` is set."""
        calls, loop = self.groups["call"], asyncio.get_running_loop()
        end = loop.time() + min(at_most, _LAME_DUCKS * seconds)
        begun = -1
        while calls.begun != begun and loop.time() < end and not hurry.is_set():
            begun = calls.begun
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await hurry.wait()

    async def wait_for(
        self, waiting: Waiting | None, stopping: asyncio.Future[None], seconds: float,
        hurry: asyncio.Event | None = None,
    ) -> None:  # fmt: skip
        """Wait until such calls, or all, have ended; for `seconds` at most, and only until `hurry` is set."""
        groups = [self.groups[waiting]] if waiting else [*self.groups.values()]
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while any(groups) and loop.time() < end and not stopping.done() and not (hurry and hurry.is_set()):
            await asyncio.wait([stopping], timeout=_LOOK_SECONDS)

    def end(self, waiting: Waiting | None = None) -> None:
        """End such calls, or all. A call that can't be ended as its caller doesn't read is reset by the next time."""
        for group in [self.groups[waiting]] if waiting else self.groups.values():
            group.end()
