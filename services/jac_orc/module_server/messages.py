"""The messages of a stream on their way from the guest to the task that sends them on."""

from __future__ import annotations

import asyncio
from collections import deque

from jac_orc.core import traces
from jac_orc.errors import OrcError
from jac_orc.guest.wire import CREDIT_AT_FIRST
from jac_orc.module_server.frames import FrameError


class Messages:
    """The messages of a call that have arrived and are not read yet, then its end."""

    def __init__(self, call_id: str) -> None:
        self.call_id = call_id
        self._messages: deque[bytes] = deque()
        self._has_ended = False
        self._failure: OrcError | None = None
        self._arrived = asyncio.Event()
        self._trace = traces.current.get()

    def add(self, body: bytes) -> None:
        if len(self._messages) >= CREDIT_AT_FIRST:
            raise FrameError("more items than it has credit for")
        self._messages.append(body)
        self._arrived.set()

    def add_failure(self, index: int, failure: OrcError) -> None:
        raise FrameError("a failure in no batch")

    def set_result(self, body: bytes) -> None:
        self._has_ended = True
        self._arrived.set()

    def set_exception(self, failure: OrcError) -> None:
        """End with a failure. If the call's time is up, log that now, and drop what may never be read.

        The task that reads these messages may be waiting for its client, which gets the failure once it reads on.
        """
        self._failure = failure
        self.set_result(b"")
        if failure.reason == "DEADLINE_EXCEEDED":
            self._messages.clear()
            if self._trace is not None:
                self._trace.fail(failure)

    async def next(self) -> bytes | None:
        """Return the next message, None at the end; raises OrcError if the call has failed."""
        while not self._messages and not self._has_ended:
            self._arrived.clear()
            await self._arrived.wait()
        if self._messages:
            return self._messages.popleft()
        if self._failure is not None:
            raise self._failure
        return None
