"""A value that comes in parts and becomes an object: its parts go to one guest as they come."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator

from jac_orc.core import traces
from jac_orc.errors import OrcError, error
from jac_orc.guest.protowire import VARINT, Malformed, fields, key, text, varint
from jac_orc.guest.wire import STYLES
from jac_orc.module_server.calls import Calls, deadline_exceeded
from jac_orc.module_server.frames import FrameError
from jac_orc.module_server.guest_process import Guest
from jac_orc.module_server.settings import Settings

_STYLE = STYLES.index("PutValue")
_LEAST_HELD = 2 * 1024 * 1024  # one large page, which the guest uses from the first byte on
_numbers = itertools.count(1)


class Uploads:
    """Limits the values that are being uploaded, by their number and by their bytes together.

    Bytes count once they have arrived. A client that announces much and sends little must not block others.
    """

    def __init__(self, calls: Calls, settings: Settings) -> None:
        self.calls = calls
        self._settings = settings
        self._count = 0
        self._bytes = 0

    def admit(self, module_name: str, size: int) -> None:
        """Count a value of this size; raises OrcError if it isn't for this module, too large, or one too many."""
        own, limit = self._settings.module_name, self._settings.max_value_bytes
        if module_name not in ("", own):
            text = f"this is the server of {own}, and the request names {traces.shown(module_name)}"
            raise error("MODULE_MISMATCH", text, {"module": own})
        if size > limit:
            text = f"a value of {size} bytes, more than the {limit} that the setting MAX_VALUE_BYTES allows"
            raise error("TOO_LARGE", text, {"limit": str(limit), "setting": "MAX_VALUE_BYTES"})
        most = self._settings.queue + self._settings.max_concurrency
        if self._count >= most:
            text = f"{most} values are being uploaded, which is the limit; try again later"
            raise error("QUEUE_FULL", text, {"queue": str(self._settings.queue)})
        self._count += 1

    def hold(self, more: int) -> None:
        """Count more bytes of a value; raises OrcError if those of all together are too many."""
        limit = self._settings.max_value_bytes
        if self._bytes + more > limit:
            text = f"the values being uploaded have {limit} bytes, the limit (MAX_VALUE_BYTES); try again later"
            raise error("QUEUE_FULL", text, {"limit": str(limit), "setting": "MAX_VALUE_BYTES"})
        self._bytes += more

    def dismiss(self, held: int) -> None:
        """Count a value no more, nor the bytes that it held."""
        self._count -= 1
        self._bytes -= held


class Upload:
    """One such value; `aclose` ends it."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self._calls = uploads.calls
        self._number = next(_numbers)
        self._guest: Guest | None = None
        self._size = 0
        self._come = 0
        self._held = 0

    async def add(self, request: bytes) -> None:
        """Passes on a PutValueRequest; returns when there is room for more.

        Raises OrcError, which is ObjectElsewhere if the value shall go to another pod.
        """
        size, data, module_name, obj_id = 0, memoryview(b""), "", ""
        try:
            for number, value in fields(request):
                if number == 1 and isinstance(value, int):
                    size = value
                elif number == 2 and isinstance(value, memoryview):
                    data = value
                elif number == 3:
                    module_name = text(value)
                elif number == 4:
                    obj_id = text(value)
        except Malformed as failure:
            raise error("MALFORMED_REQUEST", f"the request is malformed: {failure}") from None
        if self._guest is None:
            guest = self._calls.guest_beside(obj_id)
            self._uploads.admit(module_name, size)
            self._guest, self._size = guest, size
        self._come += len(data)
        if self._come > self._size:
            raise error("MALFORMED_REQUEST", f"more has come than the {self._size} bytes that the first part says")
        held = min(self._size, max(self._come, _LEAST_HELD))
        self._uploads.hold(held - self._held)
        self._held = held
        if data or not self._come:
            self._guest.send_part(self._number, self._size, data)
            await self._guest.writable()

    async def finish(self, timeout: float) -> bytes:
        """Have the guest make an object of what has come; return the PutValueResponse. Raises OrcError."""
        if self._guest is None:
            raise error("MALFORMED_REQUEST", "the call came without a message")
        if self._come < self._size:
            raise error("MALFORMED_REQUEST", f"of {self._size} bytes, {self._come} have come")
        answer = _Answer(traces.call_id())
        body = key(1, VARINT) + varint(self._number)
        call = self._calls.begin(answer, _STYLE, body, timeout, guest=self._guest)
        try:
            return await answer
        finally:
            call.abandon()

    async def aclose(self) -> None:
        """Forgets it, if it hasn't become an object."""
        if self._guest is not None:
            self._guest.drop(self._number)
            self._uploads.dismiss(self._held)


async def in_time(requests: AsyncIterator[bytes], seconds: float) -> AsyncGenerator[bytes]:
    """The requests; raises OrcError if one of them takes longer to come."""
    while True:
        try:
            async with asyncio.timeout(seconds):
                request = await anext(requests, None)
        except TimeoutError:
            raise deadline_exceeded(seconds) from None
        if request is None:
            return
        yield request


class _Answer(asyncio.Future[bytes]):
    """What the guest answers."""

    def __init__(self, call_id: str) -> None:
        super().__init__()
        self.call_id = call_id

    def add(self, body: bytes) -> None:
        raise FrameError("an item of no stream")

    def add_failure(self, index: int, failure: OrcError) -> None:
        raise FrameError("a failure in no batch")

    # The task that awaits it may just have been cancelled, and has not abandoned the call yet.
    def set_result(self, body: bytes) -> None:
        if not self.done():
            super().set_result(body)

    def set_exception(self, failure: OrcError) -> None:  # type: ignore[override]
        if not self.done():
            super().set_exception(failure)
