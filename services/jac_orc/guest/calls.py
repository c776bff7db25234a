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
_CANCELLED = "cancelled"
OF_CLIENT = 1
"""The style of a CREDIT that the client of a session gives for items; others are the server's, for frames."""


class Unfinished(Exception):
    """A call that needs the result of one that has not ended yet."""

    def __init__(self, promise: Promise) -> None:
        super().__init__()
        self.promise = promise


class Promise:
    """A result that will be there; `waiting` are the frames of the calls that need it, None once it is."""

    def __init__(self) -> None:
        self.waiting: list[Frame] | None = []
        self.value: Any = None
        self.size = 0  # what it is taken to weigh while it is kept
        self.failure: BaseException | None = None


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

    __slots__ = ("_calls", "_credit", "_window", "number", "promise", "running")

    def __init__(self, calls: Calls, number: int) -> None:
        self._calls = calls
        self.number = number
        # Its thread's id, or its coroutine while it awaits one, or _CANCELLED.
        self.running: Any = threading.get_ident()
        self.promise: Promise | None = None
        self._window: Credit | None = None
        self._credit: Credit | None = None

    def send(self, *parts: Any) -> None:
        """Sends an ITEM of these parts when the server has given credit for one."""
        self._calls.credit(self, "_window", wire.CREDIT_AT_FIRST).acquire()
        self._calls.send_item(self.number, parts)

    def take_credit(self) -> None:
        """Waits until the client wants one more item."""
        self._calls.credit(self, "_credit", 0).acquire()

    def add_credit(self, items: int, *, of_client: bool) -> None:
        """Lets it send so many more."""
        name, at_first = ("_credit", 0) if of_client else ("_window", wire.CREDIT_AT_FIRST)
        self._calls.credit(self, name, at_first).release(items)

    def wait_for(self, awaitable: Any) -> Any:
        """The result of a coroutine, which a cancelled call has cancelled."""
        return self._calls.wait_for(self, awaitable)

    def wake(self) -> None:
        """Wakes it where it waits for credit."""
        for credit in (self._window, self._credit):
            if credit is not None:
                credit.release(1)


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
        self._waiting: dict[int, Promise | None] = {}  # calls that wait for another's result, with their own one's
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
        kind, style, _, number, body = incoming
        if kind == wire.CALL:
            self._started += 1
            self._is_calling = True
            if not self._watched.is_set():
                self._watched.set()
            self._run(incoming, me)
            with self._lock:
                if self._leader is me:
                    self._is_calling = False
        elif kind == wire.CANCEL:
            self._wire.send(frame(wire.HEARD, number=number))
            self._cancel(number)
        elif kind == wire.CREDIT:
            call = self._running.get(number)
            if call is not None:
                call.add_credit(wire.COUNT.unpack(body)[0], of_client=style == OF_CLIENT)
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

    def _run(self, incoming: Frame, me: object = None, resumed: bool = False) -> None:
        """Answer a call, then those that waited for its result; `resumed`: the call waited itself."""
        ready = self._answer(incoming, me, resumed)
        while ready:
            incoming, *others = ready
            for other in others:
                threading.Thread(target=self._run, args=(other, None, True), daemon=True, name="calls").start()
            self._started += 1
            ready = self._answer(incoming, me, resumed=True)

    def _answer(self, incoming: Frame, me: object, resumed: bool) -> list[Frame]:
        """Run a call and send its answer; return the calls that can run now."""
        _, style, session, number, body = incoming
        call = Call(self, number)
        token = current.set(number)
        answer, missing = b"", None
        try:
            try:
                with self._lock:
                    if resumed and number not in self._waiting:
                        return []  # cancelled, and answered, while it waited
                    self._waiting.pop(number, None)
                    self._running[number] = call
                answer = self._requests.perform(call, style, session, body)
            except Unfinished as failure:
                missing = failure.promise
            finally:
                # In one step, so that a CANCEL always finds the call either running or waiting.
                with self._lock:
                    self._running.pop(number, None)
                    interrupted = call.running is _CANCELLED
                    if missing is not None and not interrupted:
                        self._waiting[number] = call.promise
                if interrupted:
                    _meet_interrupt()
            if missing is not None:
                if interrupted:
                    raise Cancelled
                return self._wait(incoming, missing)
            data = HEAD.pack(wire.ANSWER, 0, 0, number, len(answer)) + answer
        except BaseException as failure:
            data = frame(wire.ERROR, number=number, body=error_body(failure))
            if call.promise is not None:
                call.promise.failure = failure
        finally:
            self._output.finish(number)
            current.reset(token)
        if me is not None and self._leader is me:
            self._wire.reply(data)
        else:
            self._wire.send(data)
        try:
            return self._settle(call.promise) if call.promise is not None else []
        finally:
            call.promise = None  # whose failure's traceback leads back here: a circle, that keeps what is in it alive

    def _wait(self, incoming: Frame, promise: Promise) -> list[Frame]:
        """Queue a waiting call behind the result that it needs; return it if the result has just come."""
        with self._lock:
            if promise.waiting is None:
                return [incoming]
            promise.waiting.append(incoming)
        return []

    def _settle(self, promise: Promise) -> list[Frame]:
        """The calls that have waited for this result, apart from those that have been cancelled."""
        with self._lock:
            waiting, promise.waiting = promise.waiting or [], None
            return [incoming for incoming in waiting if incoming[3] in self._waiting]

    def _cancel(self, number: int) -> None:
        """Interrupts the call: a coroutine is cancelled, a thread has Cancelled raised in it at its next step."""
        with self._lock:
            call = self._running.get(number)
            was_waiting = number in self._waiting
            promise = self._waiting.pop(number, None)
            if call is not None and call.running is not _CANCELLED:
                if isinstance(call.running, int):
                    thread, call.running = call.running, _CANCELLED
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(Cancelled))
                    call.wake()
                else:
                    call.running.cancel()
        if was_waiting:
            self._wire.send(frame(wire.ERROR, number=number, body=error_body(Cancelled())))
        if promise is not None:
            promise.failure = Cancelled()
            for incoming in self._settle(promise):
                self._run(incoming, resumed=True)

    def wait_for(self, call: Call, awaitable: Any) -> Any:
        running: Coroutine = self._loop.coroutine(awaitable)
        with self._lock:
            if call.running is not _CANCELLED:
                call.running = running
        if call.running is not running:
            awaitable.close()
            raise Cancelled
        value = running.start().result()  # from here on it's the coroutine that is cancelled, and never this thread
        with self._lock:
            if running.is_cancelled:
                raise Cancelled
            if call.running is running:
                call.running = threading.get_ident()
        return value

    def credit(self, call: Call, name: str, at_first: int) -> Credit:
        with self._lock:
            credit: Credit | None = getattr(call, name)
            if credit is None:
                credit = Credit(at_first)
                setattr(call, name, credit)
            return credit

    def send_item(self, number: int, parts: Any) -> None:
        size = sum(map(len, parts))
        self._wire.send(HEAD.pack(wire.ITEM, 0, 0, number, size), *parts)


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
