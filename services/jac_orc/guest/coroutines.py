"""Coroutines of the module's code, all on one loop; calls wait for them in their threads."""

from __future__ import annotations

import contextlib
import os
import traceback
from typing import TYPE_CHECKING, Any

from .failures import Cancelled, Refusal, qualified_name
from .own import Lock, Turn, exit_now, get_ident, start_new_thread

_LAST_SECONDS = 1.0
"""How long tasks that are cancelled at the end of the process may take; exit handlers have to run, too."""

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator


class Loop:
    """The event loop; it is made when the first coroutine needs it.

    A coroutine that the main thread waits for runs there, as it does at home. In between the loop runs in a thread of
    its own, where what coroutines have left in it goes on. One that can't change threads, as with gevent's selectors,
    runs only while its thread waits for a coroutine, and each thread has its own.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main = get_ident()
        self._of_threads: dict[int, asyncio.AbstractEventLoop] = {}
        self._is_taken = False
        self._stopped, self._returned = Turn(), Turn()
        self.is_fork = False
        os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        self._lock = Lock()
        self.is_fork = True

    def coroutine(self, awaitable: Any) -> Coroutine:
        """The awaitable, to be started on the loop."""
        import asyncio  # takes a while, and most modules never need it

        me = get_ident()
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                if _can_move(self._loop):
                    start_new_thread(self._run, ())
                else:
                    self._of_threads[me] = self._loop
            if self._of_threads and me not in self._of_threads:
                self._of_threads[me] = asyncio.new_event_loop()
        return Coroutine(self, self._of_threads.get(me, self._loop), awaitable)

    def runs_here(self) -> bool:
        """Whether a coroutine that this thread waits for runs in it."""
        return bool(self._of_threads) or get_ident() == self._main

    def _run(self) -> None:
        assert self._loop is not None
        while True:
            try:
                self._loop.run_forever()
            except BaseException:  # what the loop uses has been replaced
                traceback.print_exc()
            self._stopped.give()
            self._returned.wait()

    def end(self) -> None:
        """End what coroutines have left in the loop, as `asyncio.run` does. The main thread calls this at its end."""
        if self._loop is None or self._of_threads.get(get_ident(), self._loop) is not self._loop:
            return
        with contextlib.suppress(BaseException):  # what the module's code has replaced, or has closed
            if self.take(_LAST_SECONDS / 2):
                self._loop.run_until_complete(_end_tasks())

    # Only the main thread calls the following two; what handlers of signals raise doesn't interrupt them.

    def take(self, seconds: float = -1) -> bool:
        """Stop the loop in its own thread; return whether it has stopped in time."""
        if self._of_threads:
            return True
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._is_taken = self._stopped.wait(seconds)
        return self._is_taken

    def give_back(self) -> None:
        """Let it run in its own thread again, if it has been taken."""
        if self._is_taken:
            self._is_taken = False
            self._returned.give()


async def _end_tasks() -> None:
    import asyncio

    loop = asyncio.get_running_loop()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    done = (await asyncio.wait(tasks, timeout=_LAST_SECONDS))[0] if tasks else ()
    for task in done:
        if not task.cancelled() and task.exception() is not None:
            text = "unhandled exception during asyncio.run() shutdown"
            loop.call_exception_handler({"message": text, "exception": task.exception(), "task": task})
    await asyncio.wait_for(loop.shutdown_asyncgens(), _LAST_SECONDS / 2)


def _can_move(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the loop can run in one thread after another: asyncio's own and uvloop's can."""
    selector = getattr(loop, "_selector", None)
    return selector is None or type(selector).__module__ == "selectors"


class Coroutine:
    """A coroutine that runs on the loop."""

    def __init__(self, owner: Loop, loop: asyncio.AbstractEventLoop, coroutine: Any) -> None:
        self._owner = owner
        self._loop = loop
        self._awaitable = coroutine
        self._task: asyncio.Task[Any] | None = None
        self._failure: BaseException | None = None
        self._value: Any = None
        self._ended = Turn()
        self._has_ended = False
        self._runs_here = False
        self.is_cancelled = False

    def cancel(self) -> None:
        """Cancels it; it has ended when it yields to that."""
        self.is_cancelled = True
        self._loop.call_soon_threadsafe(self._cancel)

    def result(self) -> Any:
        """Run it in the caller's context to its end; return its result, or raise its exception."""
        if self._owner.runs_here():
            self._run_here()
        else:
            self._loop.call_soon_threadsafe(self._start)
            self._ended.wait()
        if self._failure is not None:
            raise self._failure
        return self._value

    def _run_here(self) -> None:
        try:
            self._owner.take()
            self._runs_here = True
            self._loop.call_soon(self._start)
            try:
                while not self._has_ended:
                    self._loop.run_forever()
            except BaseException:  # a signal's handler raised while the loop waited
                self._loop.call_soon(self._cancel)
                while not self._has_ended:
                    self._loop.run_forever()
                raise
        finally:
            self._runs_here = False
            self._owner.give_back()

    def _start(self) -> None:
        self._task = self._loop.create_task(self._run())
        if self.is_cancelled:
            self._cancel()

    def _cancel(self) -> None:
        """Cancels the task behind its first step, as one that is cancelled before that would never come to its end."""
        if self._task is not None:
            self._loop.call_soon(self._task.cancel)

    def _at_home(self) -> Any:
        """The awaitable, or what waits for it where it belongs to a loop of the module's own; that runs until then."""
        import asyncio

        loop = self._awaitable.get_loop() if asyncio.isfuture(self._awaitable) else self._loop
        if loop is self._loop:
            return self._awaitable
        if loop.is_running():
            return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_await(self._awaitable), loop))
        return asyncio.to_thread(loop.run_until_complete, self._awaitable)

    async def _run(self) -> None:
        import asyncio

        try:
            self._value = await self._at_home()
        except asyncio.CancelledError as failure:
            self._failure = Cancelled() if self.is_cancelled else failure
        except BaseException as failure:  # kept from the loop, which SystemExit would end
            self._failure = failure
        finally:
            if self._owner.is_fork:
                exit_now(0)  # this is a fork: the call that waits for the result is in its parent
            self._has_ended = True
            if self._runs_here:
                self._loop.stop()
            else:
                self._ended.give()


async def _await(awaitable: Any) -> Any:
    return await awaitable


class Stream:
    """Reads an async iterator as `async for` does: in one task and one context, an item whenever one is wanted."""

    def __init__(self, iterable: Any) -> None:
        self._iterable = iterable
        self._task: asyncio.Task[None] | None = None
        self._item: asyncio.Future[list[Any]]
        self._wanted: asyncio.Future[bool] | None = None
        self._is_closing = False
        self._failure: BaseException | None = None

    async def next(self) -> list[Any]:
        """Return the next item in a list, which is empty at the end."""
        import asyncio

        self._item = asyncio.get_running_loop().create_future()
        if self._task is None:
            self._task = asyncio.create_task(self._read())
        elif self._task.done():  # cancelled between items, by a timeout of the module's code
            self._item.set_result([])
        elif self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(True)
        try:
            item = await self._item
        except asyncio.CancelledError:
            if not self._is_closing:
                self._task.cancel()
            await asyncio.wait([self._task])
            raise
        if self._failure is not None:
            raise self._failure
        return item

    async def close(self) -> None:
        """Close the iterator, if it has begun and not come to its end."""
        if self._task is not None and not self._task.done():
            if self._wanted is not None and not self._wanted.done():
                self._wanted.set_result(False)
            await self._task
            if self._failure is not None:
                raise self._failure

    async def _read(self) -> None:
        import asyncio

        loop = asyncio.get_running_loop()
        try:
            iterator = aiter(self._iterable)
            try:
                while True:
                    item = [await anext(iterator)]
                    if self._item.done():  # it has been cancelled
                        break
                    self._wanted = loop.create_future()
                    self._item.set_result(item)
                    if not await self._wanted:
                        break
            except StopAsyncIteration:
                pass
            finally:
                self._is_closing = True
                if hasattr(iterator, "aclose"):
                    await iterator.aclose()
        except BaseException as failure:  # kept from the loop, which SystemExit would end
            self._failure = failure
        finally:
            if not self._item.done():
                self._item.set_result([])


@contextlib.contextmanager
def items_of(result: Any, wait_for: Callable[[Any], Any], loop: Loop) -> Iterator[Iterator[Any]]:
    """The items of a generator, an async generator or any other iterable, which cleans up at the end of this."""
    if hasattr(result, "__aiter__"):
        stream = Stream(result)
        try:
            yield _awaited(stream, wait_for)
        finally:
            loop.coroutine(stream.close()).result()
    elif hasattr(result, "__iter__") and not isinstance(result, (str, bytes, bytearray, dict)):
        iterator = iter(result)
        try:
            yield iterator
        finally:
            if hasattr(iterator, "close"):
                iterator.close()
    else:
        name = qualified_name(type(result))
        raise Refusal("VALUE_NOT_REPRESENTABLE", "the result is no stream of items but a %s" % name, type=name)


def _awaited(stream: Stream, wait_for: Callable[[Any], Any]) -> Iterator[Any]:
    while True:
        item = wait_for(stream.next())
        if not item:
            return
        yield item.pop()
