"""Background tasks that are neither lost nor left behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextvars import ContextVar
from typing import Any
from weakref import WeakValueDictionary

from jac_orc.errors import OrcError

logger = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0


def is_cancelled() -> bool:
    """Return whether the current task is being cancelled; if not, a CancelledError is that of something it awaited."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


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
    with contextlib.ExitStack() as held:  # closed once, by the timer or at the end
        held.callback(turns.release)
        held.callback(asyncio.get_running_loop().call_later(longest, held.close).cancel)
        yield


class Faults:
    """The supervised tasks that fail now, by name.

    A task that raised is broken: this process does not do its work. A task is impaired while only a part of its work
    fails, or while it waits for another system, for which every process waits alike.
    """

    def __init__(self) -> None:
        self._broken: dict[str, bool] = {}
        self._changed = asyncio.Event()

    @property
    def is_broken(self) -> bool:
        """Whether a task is broken."""
        return any(self._broken.values())

    @property
    def is_impaired(self) -> bool:
        """Whether a task is broken or impaired."""
        return bool(self._broken)

    def set(self, name: str, broken: bool | None) -> None:
        """Record that the task is broken or impaired; None: it works."""
        if self._broken.get(name) != broken:
            self._broken.pop(name, None)
            if broken is not None:
                self._broken[name] = broken
            self._changed.set()

    async def changed(self) -> None:
        """Wait for the next change; one waiter only."""
        await self._changed.wait()
        self._changed.clear()


_fault: ContextVar[Callable[[bool | None], None]] = ContextVar("_fault")


def report_working() -> None:
    """Report, from within a supervised task, that it does its work again."""
    _fault.get(_ignored)(None)


def report_impaired() -> None:
    """Report, from within a supervised task, that a part of its work fails."""
    _fault.get(_ignored)(False)


def _ignored(_: bool | None) -> None:
    """Take the report of a task that is not supervised."""


def every(seconds: float, work: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[None]]:
    """Return work for `Tasks.supervise` that does this one again and again, with pauses."""

    async def repeat() -> None:
        while True:
            await work()
            report_working()
            await asyncio.sleep(seconds)

    return repeat


class Tasks:
    """Keeps tasks alive while they run, logs what they raise, and ends them all at once.

    `faults` shows which of the supervised tasks fail.
    """

    def __init__(self, faults: Faults | None = None) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._faults = faults or Faults()

    def start(self, coroutine: Coroutine[Any, Any, Any], name: str | None = None) -> asyncio.Task[Any]:
        """Run the coroutine in the background."""
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def supervise(self, name: str, work: Callable[[], Awaitable[object]]) -> asyncio.Task[None]:
        """Run work that must not end: whenever it does, log why and run it again, after a pause that doubles.

        The task counts as failing until the work calls `report_working`.
        """
        return self.start(self._supervised(name, work), f"supervised: {name}")

    async def _supervised(self, name: str, work: Callable[[], Awaitable[object]]) -> None:
        loop, pause = asyncio.get_running_loop(), _FIRST_PAUSE
        _fault.set(lambda broken: self._faults.set(name, broken))
        while True:
            began = loop.time()
            failure: BaseException = RuntimeError(f"{name} has ended by itself")
            try:
                await work()
            except asyncio.CancelledError as cancelled:
                if is_cancelled():
                    self._faults.set(name, None)
                    raise
                failure = cancelled  # that of something it awaited
            except Exception as raised:  # noqa: BLE001 - logged below, and visible in the faults
                failure = raised
            if loop.time() - began > _LONGEST_PAUSE:
                pause = _FIRST_PAUSE
            if isinstance(failure, OrcError):  # what another system answered
                logger.warning("%s: %s; trying again in %.1f s", name, failure.message, pause)
            else:
                logger.error("%s failed; trying again in %.1f s", name, pause, exc_info=failure)
            self._faults.set(name, not isinstance(failure, OrcError))
            import random  # noqa: PLC0415 - takes 1 ms, and is seldom needed

            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads the load, no secret
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        failure = None if task.cancelled() else task.exception()
        if isinstance(failure, OrcError):  # told to whoever asked for it
            logger.info("%s: %s", failure.reason, failure.message)
        elif failure is not None:
            logger.error("a background task failed", exc_info=failure)

    async def cancel(self) -> None:
        """Cancel the tasks and await their end."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
