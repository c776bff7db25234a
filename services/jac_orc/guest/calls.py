"""Runs calls: in which thread, how they are cancelled, and what they send.

One thread leads: it reads a frame and runs the call in it at once, so that a quick call costs no change of threads. A
monitor that wakes only while calls run gives the lead to another thread when one call has lasted for `_QUICK` seconds;
the thread of the slow call answers it when it is done, and then waits to lead again.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

from . import wire
from .coroutines import Loop
from .failures import Cancelled, error_body
from .output import current
from .wire import HEAD, frame

if TYPE_CHECKING:
    from .coroutines import Coroutine
    from .output import Output
    from .wire import Frame, Wire

_QUICK = 0.002
_IDLE_LOOKS = 25
_SHIELDED, _CANCELLED, _INTERRUPTED = "shielded", "cancelled", "interrupted"


class Credit:
    """How much a call may send. A semaphore that any number can be added to at once, which Python 3.8's can't."""

    __slots__ = ("_changed", "_count")

    def __init__(self, count: int) -> None:
        self._count = count
        self._changed = threading.Condition(threading.Lock())

    def acquire(self) -> None:
        with self._changed:
            while not self._count:
                self._changed.wait()
            self._count -= 1

    def release(self, count: int) -> None:
        with self._changed:
            self._count += count
            self._changed.notify_all()


class Call:
    """A call that runs."""

    __slots__ = ("_calls", "_window", "number", "running")

    def __init__(self, calls: Calls, number: int) -> None:
        self._calls = calls
        self.number = number
        # Its thread's id, or its coroutine while it awaits one, or _SHIELDED while its thread must not be interrupted.
        # Once it is cancelled: _INTERRUPTED where a Cancelled is on its way to the thread, or _CANCELLED.
        self.running: Any = threading.get_ident()
        self._window: Credit | None = None

    def send(self, *parts: Any) -> None:
        """Sends an ITEM of these parts when the server has given credit for one; raises Cancelled."""
        self._calls.send_frame(wire.ITEM, self, parts, self._credit())

    def send_error(self, index: int, body: bytes) -> None:
        """Sends the failure of a call of this batch; raises Cancelled."""
        self._calls.send_frame(wire.CALL_ERROR, self, (wire.COUNT.pack(index), body))

    def add_credit(self, items: int) -> None:
        """Lets it send so many more."""
        self._credit().release(items)

    def _credit(self) -> Credit:
        return self._window or self._calls.open_window(self)

    def open_window(self) -> Credit:
        """Makes what it may send, once."""
        self._window = self._window or Credit(wire.CREDIT_AT_FIRST)
        return self._window

    def wait_for(self, awaitable: Any) -> Any:
        """The result of a coroutine, which a cancelled call has cancelled."""
        return self._calls.wait_for(self, awaitable)

    def wake(self) -> None:
        """Wakes it where it waits for credit."""
        if self._window is not None:
            self._window.release(1)


class Calls:
    """The calls of one guest; `requests` performs them."""

    def __init__(self, link: Wire, output: Output, requests: Any, loop: Loop) -> None:
        self._wire = link
        self._output = output
        self._requests = requests
        self._loop = loop
        self._unlock()
        os.register_at_fork(after_in_child=self._unlock)
        self._running: dict[int, Call] = {}
        self._leader: object = None
        self._started = 0  # how many calls leaders have started, by which the monitor tells one from the next
        self._is_calling = False  # whether the leader is in a call
        self._followers: list[Follower] = []
        self._watched = threading.Event()  # set while the monitor looks

    def serve(self) -> None:
        """Leads in this thread; never returns, the end of the wire ends the process."""
        threading.Thread(target=self._monitor, daemon=True, name="monitor").start()
        self._follow(lead=True)

    def _unlock(self) -> None:
        """Makes the lock. A fork gets a new one, as the thread that held the old one doesn't exist in the child."""
        self._lock = threading.Lock()

    # --- threads ---

    def _follow(self, lead: bool = False) -> None:
        """The life of a thread: leads until it is in a slow call, then waits to be given the lead again."""
        me = Follower()
        if lead:
            self._leader = me
        try:
            while True:
                while self._leader is me:
                    self._take(me)
                with self._lock:
                    self._followers.append(me)
                me.turn.acquire()
        except (EOFError, OSError):
            os._exit(0)  # the server is gone
        except BaseException:
            traceback.print_exc()
            os._exit(1)  # without a leader nothing would be answered any more

    def _take(self, me: Follower) -> None:
        """Reads one frame and does what it says."""
        incoming = self._wire.receive()
        kind, _, number, body = incoming
        if kind == wire.CALL:
            self._started += 1
            self._is_calling = True
            if not self._watched.is_set():
                self._watched.set()
            self._answer(incoming, me)
            with self._lock:
                if self._leader is me:
                    self._is_calling = False
        elif kind == wire.CANCEL:
            self._wire.send(frame(wire.HEARD, number=number))
            self._cancel(number)
        elif kind == wire.CREDIT:
            call = self._running.get(number)
            if call is not None:
                call.add_credit(wire.COUNT.unpack(body)[0])
        else:
            self._requests.control(incoming)

    def _monitor(self) -> None:
        idle = 0
        while True:
            seen = self._started
            time.sleep(_QUICK)
            if self._is_calling and self._started == seen:
                self._hand_over(seen)
            idle = 0 if self._started != seen or self._is_calling else idle + 1
            if idle > _IDLE_LOOKS:
                self._watched.clear()
                if self._started == seen:  # else a call began just now and saw the event set
                    self._watched.wait()
                idle = 0

    def _hand_over(self, started: int) -> None:
        """Gives the lead to another thread, unless the slow call has ended just now."""
        with self._lock:
            if not self._is_calling or self._started != started:
                return
            self._is_calling = False
            if self._followers:
                self._leader = self._followers.pop()
                self._leader.turn.release()
            else:
                self._leader = None
                threading.Thread(target=self._follow, args=(True,), daemon=True, name="calls").start()
        self._wire.flush()

    # --- a call's life ---

    def _answer(self, incoming: Frame, me: object) -> None:
        """Run a call and send its answer."""
        _, style, number, body = incoming
        call = Call(self, number)
        token = current.set(number)
        try:
            try:
                with self._lock:
                    self._running[number] = call
                answer = self._requests.perform(call, style, body)
            finally:
                with self._lock:
                    self._running.pop(number, None)
                if call.running is _INTERRUPTED:
                    _meet_interrupt()
            data = HEAD.pack(wire.ANSWER, 0, number, len(answer)) + answer
        except BaseException as failure:
            data = frame(wire.ERROR, number=number, body=error_body(failure))
        finally:
            self._output.finish(number)
            current.reset(token)
        if self._leader is me:
            self._wire.reply(data)
        else:
            self._wire.send(data)

    def _cancel(self, number: int) -> None:
        """Interrupts the call: a coroutine is cancelled, a thread has Cancelled raised in it at its next step."""
        with self._lock:
            call = self._running.get(number)
            if call is None or call.running in (_CANCELLED, _INTERRUPTED):
                return
            if isinstance(call.running, int):
                thread, call.running = call.running, _INTERRUPTED
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(Cancelled))
            elif call.running is _SHIELDED:
                call.running = _CANCELLED
                call.wake()
            else:
                call.running.cancel()

    def _shield(self, call: Call) -> None:
        """Has a cancellation not interrupt the call's thread, which it could anywhere; raises Cancelled.

        A thread that is interrupted within an import, or while it has a lock of `threading`, leaves these unusable.
        """
        with self._lock:
            if not isinstance(call.running, int):
                raise Cancelled
            call.running = _SHIELDED

    def wait_for(self, call: Call, awaitable: Any) -> Any:
        try:
            self._shield(call)
            running: Coroutine = self._loop.coroutine(awaitable)
            with self._lock:
                if call.running is _CANCELLED:
                    raise Cancelled
                call.running = running
        except Cancelled:
            awaitable.close()
            raise
        try:
            value = running.start().result()  # from here on it's the coroutine that is cancelled, and never this thread
        finally:
            with self._lock:
                if not running.is_cancelled:
                    call.running = threading.get_ident()
        if running.is_cancelled:
            raise Cancelled
        return value

    def open_window(self, call: Call) -> Credit:
        with self._lock:
            return call.open_window()

    def send_frame(self, kind: int, call: Call, parts: Any, credit: Credit | None = None) -> None:
        self._shield(call)
        if credit is not None:
            credit.acquire()
        if call.running is _SHIELDED:
            self._wire.send(HEAD.pack(kind, 0, call.number, sum(map(len, parts))), *parts)
        with self._lock:
            if call.running is _CANCELLED:
                raise Cancelled
            call.running = threading.get_ident()


class Follower:
    """A thread that can be given the lead."""

    def __init__(self) -> None:
        self.turn = threading.Semaphore(0)


def _meet_interrupt() -> None:
    """Waits for a Cancelled that may still be on its way to this thread, so that the next call doesn't meet it.

    It comes at one of the next steps of the interpreter, or has come and the module's code has swallowed it.
    """
    for _ in range(20):
        time.sleep(0.0005)
