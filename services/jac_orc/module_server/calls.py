"""Admission of calls, and the guests that run them.

A pod has `workers` guests. Each is kept running: one that ends or is stuck is replaced, at once or, when it keeps
crashing, after a pause that doubles. A call waits for one of `max_concurrency` places, in a queue of bounded length,
then goes to the guest with the fewest calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from functools import partial
from typing import Any

from jac_orc.core.tasks import Tasks
from jac_orc.errors import OrcError, error
from jac_orc.module_server.guest_process import Guest, GuestSettings
from jac_orc.module_server.settings import Settings

logger = logging.getLogger(__name__)

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 5.0
_STABLE_AFTER = 10.0


class Calls:
    """Runs calls in guests, as many at a time and as many waiting as the settings allow."""

    def __init__(self, settings: Settings, on_serving: Callable[[bool], None]) -> None:
        self._settings = settings
        self._on_serving = on_serving
        self._guest_settings = GuestSettings(
            python=settings.guest_python,
            module_name=settings.module_name,
            refused=settings.refused,
            import_timeout=settings.import_timeout,
            cancel_grace=settings.cancel_grace,
        )
        self._places = asyncio.Semaphore(settings.max_concurrency)
        self._waiting = 0
        self._guests: list[Guest] = []
        self._retired: set[Guest] = set()
        self._last_failure: OrcError | None = None
        self._changed = asyncio.Event()
        self._tasks = Tasks()

    async def start(self) -> None:
        """Starts the guests; raises OrcError where the module can't be imported."""
        for _ in range(self._settings.workers):
            guest = await Guest.start(self._guest_settings)
            self._add(guest)
            self._tasks.start(self._keep(guest))

    async def stop(self) -> None:
        """Ends the guests."""
        await self._tasks.cancel()
        await asyncio.gather(*(guest.stop() for guest in [*self._guests, *self._retired]))

    async def call(self, control: dict[str, Any], *attachments: bytes, timeout: float | None = None) -> bytes:
        """The body of the guest's answer; raises OrcError.

        Without a `timeout` in seconds, the caller's own deadline, the settings' one holds.
        """
        async with self._limited(self._settings.timeout if timeout is None else timeout):
            await self._enter()
            try:
                guest = await self._pick()
                return await guest.call(control, *attachments)
            finally:
                self._places.release()

    async def stream(self, control: dict[str, Any], *attachments: bytes) -> AsyncGenerator[bytes]:
        """The bodies of the items of a generator; closing this closes it. Raises OrcError.

        Each item may take as long as the settings let a call take; the caller's deadline ends the whole.
        """
        await self._enter()
        try:
            guest = await self._pick()
            async with contextlib.aclosing(guest.stream(control, *attachments)) as items:
                while True:
                    async with self._limited(self._settings.timeout):
                        item = await anext(items, None)
                    if item is None:
                        return
                    yield item
        finally:
            self._places.release()

    @contextlib.asynccontextmanager
    async def _limited(self, seconds: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            text = f"the call took longer than {seconds:g} s"
            raise error("DEADLINE_EXCEEDED", text, {"timeout": f"{seconds:g}s"}) from None

    async def _enter(self) -> None:
        if self._places.locked() and self._waiting >= self._settings.queue:
            limits = {"queue": str(self._settings.queue), "max_concurrency": str(self._settings.max_concurrency)}
            text = f"{self._waiting} calls are waiting already, which is all that `queue` allows"
            raise error("QUEUE_FULL", text, limits)
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1

    async def _pick(self) -> Guest:
        """The running guest with the fewest calls; waits for one that is being started again."""
        while not (guests := [guest for guest in self._guests if guest.alive]):
            if self._last_failure is not None:
                raise error("MODULE_UNAVAILABLE", f"the module can't be started again: {self._last_failure.message}")
            self._changed.clear()
            await self._changed.wait()
        return guests[0] if len(guests) == 1 else min(guests, key=lambda guest: guest.load)

    def _add(self, guest: Guest) -> None:
        self._guests.append(guest)
        self._last_failure = None
        self._changed.set()
        self._on_serving(True)

    async def _keep(self, guest: Guest) -> None:
        """Starts another guest whenever this one takes no more calls."""
        loop = asyncio.get_running_loop()
        pause = 0.0
        while True:
            started = loop.time()
            await guest.retired.wait()
            self._guests.remove(guest)
            self._retired.add(guest)
            guest.ended.add_done_callback(partial(self._forget, guest))
            self._on_serving(bool(self._guests))
            logger.warning("a guest takes no more calls; starting another")
            pause = 0.0 if loop.time() - started > _STABLE_AFTER else pause
            guest, pause = await self._restart(pause)
            self._add(guest)

    def _forget(self, guest: Guest, _: object) -> None:
        self._retired.discard(guest)

    async def _restart(self, pause: float) -> tuple[Guest, float]:
        """A new guest, and the pause before the next one should it end soon."""
        while True:
            await asyncio.sleep(pause)
            pause = min(max(_FIRST_PAUSE, pause * 2), _LONGEST_PAUSE)
            try:
                return await Guest.start(self._guest_settings), pause
            except OrcError as failure:
                logger.error("the module can't be started again: %s", failure.message)
                self._last_failure = failure
                self._changed.set()
