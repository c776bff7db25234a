"""Runs calls: in which thread and context, how they are cancelled, and what they send.

One thread leads: it reads a frame and runs the call in it at once, so that a quick call costs no change of threads. A
monitor that wakes only while calls run gives the lead to another thread when one call has lasted for `_QUICK` seconds;
the thread of the slow call answers it when it is done, and then waits to lead again.

The main thread has imported the module, and runs every call for which it is free, so that what the import has bound to
its thread works. While another thread leads, it passes its next call to the main thread once that is free.
Each call runs in a copy of the context that the import has left.
"""

from __future__ import annotations

import contextvars
import ctypes
import os
import traceback
import types
from typing import TYPE_CHECKING, Any

from . import wire
from .coroutines import Loop
from .failures import Cancelled, error_body
from .output import current
from .own import Lock, Turn, exit_now, get_ident, sleep, start_new_thread
from .signals import Mask, interrupt
from .wire import HEAD, frame

if TYPE_CHECKING:
    from .coroutines import Coroutine
    from .output import Output
    from .wire import Frame, Wire

_QUICK = 0.002
_IDLE_LOOKS = 25
_SHIELDED, _CANCELLED, _INTERRUPTED = "shielded", "cancelled", "interrupted"


class Credit:
    """How much a call may send, which its thread waits for."""

    __slots__ = ("_count", "_lock", "_more")

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = Lock()
        self._more = Turn()

    def acquire(self) -> None:
        while True:
            with self._lock:
                if self._count:
                    self._count -= 1
                    return
            self._more.wait()

    def release(self, count: int) -> None:
        with self._lock:
            self._count += count
        self._more.give()


class Call:
    """A call that runs; its methods are for its own thread, but for `cancel` and `add_credit`."""

    __slots__ = ("_calls", "_window", "number", "running")

    def __init__(self, calls: Calls, number: int) -> None:
        self._calls = calls
        self.number = number
        # Its thread's id, or its coroutine while it awaits one, or _SHIELDED while its thread must not be interrupted.
        # Once it is cancelled: _INTERRUPTED where a Cancelled is on its way to the thread, or _CANCELLED.
        self.running: Any = get_ident()
        self._window: Credit | None = None

    def send(self, *parts: Any) -> None:
        """Sends an ITEM of these parts when the server has given credit for one; raises Cancelled."""
        self._send(wire.ITEM, parts, self._window or self._open_window())

    def send_error(self, index: int, body: bytes) -> None:
        """Sends the failure of a call of this batch; raises Cancelled."""
        self._send(wire.CALL_ERROR, (wire.COUNT.pack(index), body))

    def add_credit(self, items: int) -> None:
        """Lets it send so many more."""
        self._open_window().release(items)

    def _open_window(self) -> Credit:
        """What it may send, made once."""
        with self._calls.lock:
            self._window = self._window or Credit(wire.CREDIT_AT_FIRST)
            return self._window

    def _send(self, kind: int, parts: Any, credit: Credit | None = None) -> None:
        self._shield()
        if credit is not None:
            credit.acquire()
        if self.running is _SHIELDED:
            self._calls.wire.send(HEAD.pack(kind, 0, self.number, sum(map(len, parts))), *parts)
        with self._calls.lock:
            if self.running is _CANCELLED:
                raise Cancelled
            self.running = get_ident()

    def cancel(self) -> None:
        """Interrupts it: a coroutine is cancelled, a thread has Cancelled raised in it at its next step.

        The caller holds the lock of the calls.
        """
        if isinstance(self.running, int):
            thread, self.running = self.running, _INTERRUPTED
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(Cancelled))
        elif self.running is _SHIELDED:
            self.running = _CANCELLED
            if self._window is not None:
                self._window.release(1)  # it may be waiting for credit
        elif self.running not in (_CANCELLED, _INTERRUPTED):
            self.running.cancel()

    def is_cancelled(self) -> bool:
        """Return whether it has been cancelled. The caller holds the lock of the calls."""
        if isinstance(self.running, (int, str)):
            return self.running in (_CANCELLED, _INTERRUPTED)
        return bool(self.running.is_cancelled)

    def _shield(self) -> None:
        """Has a cancellation not interrupt the call's thread, which it could anywhere; raises Cancelled.

        A thread that is interrupted within an import, or while it has a lock of `threading`, leaves these unusable.
        """
        with self._calls.lock:
            if not isinstance(self.running, int):
                raise Cancelled
            self.running = _SHIELDED

    def wait_for(self, awaitable: Any) -> Any:
        """The result of a coroutine, which a cancelled call has cancelled."""
        try:
            self._shield()
            running: Coroutine = self._calls.loop.coroutine(awaitable)
            with self._calls.lock:
                if self.running is _CANCELLED:
                    raise Cancelled
                self.running = running
        except Cancelled:
            if isinstance(awaitable, (types.CoroutineType, types.GeneratorType)):
                awaitable.close()
            raise
        try:
            value = running.result()  # from here on it's the coroutine that is cancelled, and never this thread
        finally:
            with self._calls.lock:
                if not running.is_cancelled:
                    self.running = get_ident()
        if running.is_cancelled:
            raise Cancelled
        return value


class Calls:
    """The calls of one guest; `requests` performs them."""

    def __init__(self, link: Wire, output: Output, requests: Any, loop: Loop) -> None:
        self.wire = link
        self._output = output
        self._requests = requests
        self.loop = loop
        self._unlock()
        os.register_at_fork(after_in_child=self._unlock)
        self._context = contextvars.copy_context()
        self._mask = Mask()
        self._running: dict[int, Call] = {}
        self._main = Thread()
        self._main_ident = get_ident()
        self._main_call: Call | None = None
        self._leader: Thread | None = self._main
        self._main_is_free = False  # and doesn't lead
        self._started = 0  # how many calls leaders have started, by which the monitor tells one from the next
        self._is_calling = False  # whether the leader is in a call
        self._followers: list[Thread] = []  # without the main one
        self._is_watched = False  # whether the monitor looks
        self._watch = Turn()

    def serve(self) -> None:
        """Leads in this thread, the main one; returns at the end of the wire, after this thread's last call."""
        start_new_thread(self._monitor, ())
        self._live(self._main)
        self.wire.leave_open()  # to the very end of the process, which the server takes for its end

    def _unlock(self) -> None:
        """Makes the lock. A fork gets a new one, as the thread that held the old one doesn't exist in the child."""
        self.lock = Lock()

    # --- threads ---

    def _live(self, me: Thread) -> None:
        """The life of a thread: leads until it is in a slow call, then waits to be given the lead again."""
        if me is not self._main:
            self._mask.block_all()
        try:
            while True:
                while self._leader is me:
                    incoming, me.given = me.given or self.wire.receive(), None
                    self._take(incoming, me)
                with self.lock:
                    if me is not self._main and self._leader is not me and me not in self._followers:
                        self._followers.append(me)
                me.turn.wait()
        except (EOFError, OSError):  # the server wants this process to end, or is gone
            if me is not self._main:
                with self.lock:
                    self._lead(self._main)  # as soon as it can
                    if self._main_call is not None and self._main_call.is_cancelled():
                        interrupt(self._main_ident)
        except BaseException:
            traceback.print_exc()
            exit_now(1)  # without a leader nothing would be answered any more

    def _lead(self, thread: Thread, incoming: Frame | None = None) -> None:
        """Give a thread the lead, and perhaps a frame that it is to take first. The caller holds the lock."""
        if thread is self._main:
            self._main_is_free = False
        thread.given = incoming
        self._leader = thread
        thread.turn.give()

    def _take(self, incoming: Frame, me: Thread) -> None:
        """Does what a frame says."""
        kind, _, number, body = incoming
        if kind == wire.CALL:
            if self._main_is_free:
                with self.lock:
                    self._lead(self._main, incoming)
                return
            self._started += 1
            self._is_calling = True
            if not self._is_watched:
                self._is_watched = True
                self._watch.give()
            self._answer(incoming, me)
        elif kind == wire.CANCEL:
            self.wire.send(frame(wire.HEARD, number=number))
            with self.lock:
                call = self._running.get(number)
                if call is not None:
                    call.cancel()
        elif kind == wire.CREDIT:
            call = self._running.get(number)
            if call is not None:
                call.add_credit(wire.COUNT.unpack(body)[0])
        else:
            self._requests.control(incoming)

    def _monitor(self) -> None:
        self._mask.block_all()
        idle = 0
        while True:
            seen = self._started
            sleep(_QUICK)
            if self._is_calling and self._started == seen:
                self._hand_over(seen)
            idle = 0 if self._started != seen or self._is_calling else idle + 1
            if idle > _IDLE_LOOKS:
                self._is_watched = False
                if self._started == seen:  # else a call began just now, and saw that it is watched
                    self._watch.wait()
                self._is_watched = True
                idle = 0

    def _hand_over(self, started: int) -> None:
        """Gives the lead to another thread, unless the slow call has ended just now."""
        with self.lock:
            if not self._is_calling or self._started != started:
                return
            self._is_calling = False
            if self._main_is_free:
                self._lead(self._main)
            elif self._followers:
                self._lead(self._followers.pop())
            else:
                self._leader = helper = Thread()
                start_new_thread(self._live, (helper,))
        self.wire.flush()

    # --- a call's life ---

    def _answer(self, incoming: Frame, me: Thread) -> None:
        """Run a call and send its answer."""
        if me is not self._main:
            self._mask.restore()
        data: bytes = self._context.copy().run(self._perform, incoming)
        if me is not self._main:
            self._mask.block_all()
        with self.lock:  # before the answer, so that the main thread is free for its caller's next call
            leads = self._leader is me
            if leads:
                self._is_calling = False
            elif me is self._main:
                self._main_is_free = True
        if leads:
            self.wire.reply(data)
        else:
            self.wire.send(data)

    def _perform(self, incoming: Frame) -> bytes:
        """Run a call; return the frame that answers it."""
        _, style, number, body = incoming
        call = Call(self, number)
        current.set(number)
        try:
            try:
                with self.lock:
                    self._running[number] = call
                    if call.running == self._main_ident:
                        self._main_call = call
                answer: bytes = self._requests.perform(call, style, body)
            finally:
                with self.lock:
                    self._running.pop(number, None)
                    if self._main_call is call:
                        self._main_call = None
                if call.running is _INTERRUPTED:
                    _meet_interrupt()
            return HEAD.pack(wire.ANSWER, 0, number, len(answer)) + answer
        except BaseException as failure:
            return frame(wire.ERROR, number=number, body=error_body(failure))
        finally:
            self._output.finish(number)


class Thread:
    """A thread that can lead: what wakes it, and a frame that another has read for it."""

    __slots__ = ("given", "turn")

    def __init__(self) -> None:
        self.turn = Turn()
        self.given: Frame | None = None


def _meet_interrupt() -> None:
    """Waits for a Cancelled that may still be on its way to this thread, so that the next call doesn't meet it.

    It comes at one of the next steps of the interpreter, or has come and the module's code has swallowed it.
    """
    for _ in range(20):
        sleep(0.0005)
