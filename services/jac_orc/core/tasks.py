"""Background tasks that are neither lost nor left behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine
from typing import Any
from weakref import WeakValueDictionary

from jac_orc.errors import OrcError

logger = logging.getLogger(__name__)


class NamedLocks:
    """A lock per name, kept only while somebody holds or awaits it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def __getitem__(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())


@contextlib.asynccontextmanager
async def turn(turns: asyncio.Semaphore, longest: float) -> AsyncIterator[None]:
    """Waits for one of the turns and holds it for the block, but no more than `longest` seconds.

    What takes longer is likely waiting itself, and shall not keep others from their turns.
    """
    await turns.acquire()
    held = True

    def give_back() -> None:
        nonlocal held
        if held:
            held = False
            turns.release()

    timer = asyncio.get_running_loop().call_later(longest, give_back)
    try:
        yield
    finally:
        timer.cancel()
        give_back()


class Tasks:
    """Keeps tasks alive while they run, logs what they raise, and ends them all at once."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Runs the coroutine in the background."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        failure = None if task.cancelled() else task.exception()
        if isinstance(failure, OrcError):  # told to whoever asked for it
            logger.info("%s: %s", failure.reason, failure.message)
        elif failure is not None:
            logger.error("a background task failed", exc_info=failure)

    async def cancel(self) -> None:
        """Cancels the tasks and awaits their end."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
