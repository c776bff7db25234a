"""Admission of calls, and the guests that run them.

A pod has `workers` guests. Each is kept running: one that ends or is stuck is replaced, at once or, when it keeps
crashing, after a pause that doubles. A call waits for one of `max_concurrency` places, in a queue of bounded length,
then goes to the guest with the fewest calls, or to the one that has the object that it names.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from functools import partial

from jac_orc.core import traces
from jac_orc.core.tasks import Tasks
from jac_orc.errors import OrcError, error
from jac_orc.guest.wire import CREDIT_AT_FIRST, STYLES
from jac_orc.module_server.guest_errors import ObjectElsewhere
from jac_orc.module_server.guest_process import Guest
from jac_orc.module_server.idle_guest import IdleGuest
from jac_orc.module_server.messages import Messages
from jac_orc.module_server.receivers import Receiver
from jac_orc.module_server.settings import Settings
from jac_orc.v1 import module_pb2

logger = logging.getLogger(__name__)

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 5.0
_STABLE_AFTER = 10.0
_CREDIT_STEP = CREDIT_AT_FIRST // 2
_METHODS = module_pb2.DESCRIPTOR.services_by_name["ModuleService"].methods_by_name


class Calls:
    """Runs calls in guests, as many at a time and as many waiting as the settings allow."""

    def __init__(
        self, settings: Settings, on_serving: Callable[[bool], None], on_gone: Callable[[], None] = lambda: None,
        on_restart: Callable[[int], None] = lambda count: None,
    ) -> None:  # fmt: skip
        """`on_serving` receives whether there is a guest, `on_restart` how many guests were replaced so far.

        `on_gone` is called if the interpreter no longer exists.
        """
        self._on_gone = on_gone
        self._on_restart = on_restart
        self.restarts = 0
        self.replacements: Counter[str] = Counter()
        """How many guests were replaced, by cause (`Pod.guest_replacements`)."""
        self._settings = settings
        self._on_serving = on_serving
        self._place = ""
        self._idle: IdleGuest | None = None
        self._free = settings.max_concurrency
        self._queue: deque[Call] = deque()
        self._guests: list[Guest] = []
        self._retired: set[Guest] = set()
        self._last_guest = 0
        self._failure: OrcError | None = None
        self._tasks = Tasks()

    async def start(self, place: str, idle: IdleGuest | None = None) -> None:
        """Starts the guests; raises OrcError where the module can't be imported.

        `place` is what the ids of objects begin with that any guest of this pod makes, `idle` a guest that has been
        started ahead.
        """
        self._place = place
        self._idle = idle
        for _ in range(self._settings.workers):
            slot = _Slot(await self._new_guest())
            self._add(slot.guest)
            self._tasks.supervise("keeping a guest", partial(self._keep, slot))

    def refuse_waiting(self, failure: OrcError) -> None:
        """End the calls that wait for their turn."""
        waiting, self._queue = self._queue, deque()
        for call in waiting:
            call.set_exception(failure)

    async def stop(self, hurry: asyncio.Event) -> None:
        """Ends the guests, once `hurry` is set at once."""
        await self._tasks.cancel()
        await asyncio.gather(*(guest.stop(hurry) for guest in [*self._guests, *self._retired]))

    # --- calls ---

    async def stream(self, style: int, body: bytes, seconds: float | None) -> AsyncGenerator[bytes]:
        """Yield the messages of a call that sends several; closing this closes the generator. Raises OrcError.

        The guest is at most `CREDIT_AT_FIRST` messages ahead of the reader. The call ends after `seconds`. If that is
        None, it ends once no message has been sent and read for as long as the settings let a call take. It ends on
        time even if its reader doesn't read, and releases its place.
        """
        messages = Messages(traces.call_id())
        call = self.begin(messages, style, body, self._settings.timeout if seconds is None else seconds)
        taken = 0
        try:
            while (message := await messages.next()) is not None:
                if seconds is None:
                    call.extend()
                yield message
                taken += 1
                if taken % _CREDIT_STEP == 0:
                    call.add_credit(_CREDIT_STEP)
        finally:
            call.abandon()

    def begin(
        self, receiver: Receiver, style: int, body: bytes, timeout: float | None,
        guest: Guest | None = None,
    ) -> Call:  # fmt: skip
        """Starts a call, or has it wait for its turn; raises OrcError where it can't even wait.

        The receiver gets everything that comes of it, a failure after `timeout` seconds included. `guest` is the one
        that it must run in, if it lives.
        """
        call = Call(self, receiver, style, body, guest)
        if self._free > 0 and not self._queue and (chosen := self._choose(guest)) is not None:
            self._free -= 1
            call.launch(chosen)
        elif len(self._queue) < self._settings.queue:
            self._check_hope()
            self._queue.append(call)
        else:
            raise self._full()
        if timeout is not None:
            call.limit(timeout)
        return call

    def _full(self) -> OrcError:
        settings = self._settings
        limits = {"queue": str(settings.queue), "max_concurrency": str(settings.max_concurrency)}
        text = f"{settings.queue} calls are waiting already, which is all that `queue` allows"
        return error("QUEUE_FULL", text, limits)

    def _check_hope(self) -> None:
        """Raises OrcError where there is no guest and the last attempt to start one has failed."""
        if self._failure is not None and not any(guest.alive for guest in self._guests):
            raise error("MODULE_UNAVAILABLE", self._failure.message)

    def _choose(self, wanted: Guest | None = None) -> Guest | None:
        """The wanted guest, or the one with the fewest calls; None where none lives."""
        if wanted is not None and wanted.alive:
            return wanted
        guests = self._guests
        if len(guests) == 1:
            return guests[0] if guests[0].alive else None
        return min((guest for guest in guests if guest.alive), key=lambda guest: guest.load, default=None)

    def release_place(self) -> None:
        """Gives a place to the next call that waits."""
        self._free += 1
        self._serve_queue()

    def forget(self, call: Call) -> None:
        """Takes a call out of the queue."""
        with contextlib.suppress(ValueError):
            self._queue.remove(call)

    def _serve_queue(self) -> None:
        while self._queue and self._free > 0 and (guest := self._choose(self._queue[0].guest)) is not None:
            self._free -= 1
            self._queue.popleft().launch(guest)

    @property
    def stuck(self) -> int:
        """How many calls go on although they were cancelled; each keeps a place."""
        return sum(guest.stuck for guest in (*self._guests, *self._retired))

    # --- guests ---

    def guest_beside(self, obj_id: str) -> Guest:
        """The guest that has the object, or any; raises OrcError, which is ObjectElsewhere for one of another pod."""
        if obj_id and not self.is_of_this_pod(obj_id):
            raise ObjectElsewhere(obj_id[:200], "the object is not here")
        guest = self.holder(obj_id) if obj_id else self._choose()
        if guest is None and obj_id:
            text = f"the process that had the object {obj_id[:200]!r} is gone"
            raise error("OBJECT_LOST", text, {"obj_id": obj_id[:200]})
        if guest is None:
            self._check_hope()
            raise error("MODULE_UNAVAILABLE", "the module is being started again")
        return guest

    def is_of_this_pod(self, obj_id: str) -> bool:
        """Whether the id is, or looks like, one of an object that a guest of this pod has made."""
        return obj_id.startswith(self._place + "-")

    def holder(self, obj_id: str) -> Guest | None:
        """The living guest that has an object of this pod, as its id says; None where it is gone."""
        number = obj_id[len(self._place) + 1 :].partition("-")[0]
        return next((guest for guest in self._guests if str(guest.number) == number and guest.alive), None)

    async def _new_guest(self) -> Guest:
        self._last_guest += 1
        idle, self._idle = self._idle, None
        return await Guest.start(self._settings, self._last_guest, f"{self._place}-{self._last_guest}", idle)

    def _add(self, guest: Guest) -> None:
        self._guests.append(guest)
        self._failure = None
        self._on_serving(True)
        self._serve_queue()

    async def _keep(self, slot: _Slot) -> None:
        """Start another guest whenever the slot's one takes no more calls."""
        loop = asyncio.get_running_loop()
        pause = 0.0
        while True:
            started, guest = loop.time(), slot.guest
            await guest.retired.wait()
            if guest in self._guests:
                self._guests.remove(guest)
                self._retired.add(guest)
                self.replacements[guest.cause] += bool(guest.cause)
                guest.ended.add_done_callback(partial(self._forget_guest, guest, is_counted=bool(guest.cause)))
                self._on_serving(bool(self._guests))
                self.restarts += 1
                self._on_restart(self.restarts)
            pause = 0.0 if loop.time() - started > _STABLE_AFTER else pause
            slot.guest, pause = await self._restart(pause)
            self._add(slot.guest)

    def _forget_guest(self, guest: Guest, _: object, *, is_counted: bool) -> None:
        self._retired.discard(guest)
        self.replacements[guest.cause] += not is_counted

    async def _restart(self, pause: float) -> tuple[Guest, float]:
        """A new guest, and the pause before the next one should it end soon."""
        while True:
            await asyncio.sleep(pause)
            pause = min(max(_FIRST_PAUSE, pause * 2), _LONGEST_PAUSE)
            try:
                return await self._new_guest(), pause
            except (OrcError, OSError) as fault:  # the latter: no memory, process or descriptor is left
                text = fault.message if isinstance(fault, OrcError) else str(fault)
                failure = error("MODULE_UNAVAILABLE", f"the module can't be started again: {text}")
                logger.error("%s", failure.message)
                self._failure = failure
                if not await asyncio.to_thread(os.path.exists, self._settings.guest_python):
                    self._on_gone()
                if not self._guests:
                    self.refuse_waiting(failure)


@dataclass
class _Slot:
    """One of the pod's guests, which is replaced whenever it ends."""

    guest: Guest


def deadline_exceeded(seconds: float) -> OrcError:
    """The failure of a call that took too long."""
    return error("DEADLINE_EXCEEDED", f"the call took longer than {seconds:g} s", {"timeout": f"{seconds:g}s"})


def standstill(seconds: float) -> OrcError:
    """Return the failure of a stream without a deadline that went on too slowly."""
    text = f"no item was sent and read for {seconds:g} s, the module's `timeout`; a deadline of your own can be longer"
    return error("DEADLINE_EXCEEDED", text, {"timeout": f"{seconds:g}s"})


class Call:
    """A call that waits or runs; the guest's answer goes through it to its receiver."""

    __slots__ = (
        "_body", "_calls", "_extended", "_id", "_receiver", "_style", "_timer", "call_id", "guest", "has_moved",
        "seconds",
    )  # fmt: skip

    def __init__(self, calls: Calls, receiver: Receiver, style: int, body: bytes, guest: Guest | None) -> None:
        self._calls = calls
        self._receiver: Receiver | None = receiver
        self.call_id = receiver.call_id
        self._style = style
        self._body = body
        self.guest = guest
        self._id = 0
        self._timer: asyncio.TimerHandle | None = None
        self.seconds = 0.0
        self._extended = 0.0  # when its time last began anew; 0: never
        self.has_moved = False

    def function(self) -> str:
        """Return the method and the function that it calls, for the log."""
        method = STYLES[self._style]
        return f"{method} {traces.function_in(self._body, _METHODS[method].input_type)}".strip()

    def launch(self, guest: Guest) -> None:
        """Sends it to a guest."""
        self.guest = guest
        self._id = guest.begin(self, self._style, self._body)

    def limit(self, seconds: float) -> None:
        """Make it fail in so many seconds."""
        if self._timer is not None:
            self._timer.cancel()
        self.seconds = seconds
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)

    def extend(self) -> None:
        """Start its time anew."""
        self._extended = asyncio.get_running_loop().time()

    def add_credit(self, items: int) -> None:
        """Lets it send so many more messages before its last one."""
        if self._id and self.guest is not None and self._receiver is not None:
            self.guest.add_credit(self._id, items)

    def abandon(self) -> None:
        """Cancels it; nothing more comes of it. Its place is free when the guest has ended it."""
        if self._receiver is None:
            return
        self._receiver = None
        if self._timer is not None:
            self._timer.cancel()
        if self._id and self.guest is not None:
            self.guest.abandon(self._id, self._calls.release_place)
        else:
            self._calls.forget(self)

    def add(self, body: bytes) -> None:
        assert self._receiver is not None
        self._receiver.add(body)

    def add_failure(self, index: int, failure: OrcError) -> None:
        assert self._receiver is not None
        self._receiver.add_failure(index, failure)

    def set_result(self, body: bytes) -> None:
        receiver, self._receiver = self._receiver, None
        self._end()
        assert receiver is not None
        receiver.set_result(body)

    def set_exception(self, failure: OrcError) -> None:
        if self._receiver is None:
            return  # abandoned on behalf of another call of the guest that has just died
        if isinstance(failure, ObjectElsewhere) and self._calls.is_of_this_pod(failure.obj_id):
            if self._has_moved_to(self._calls.holder(failure.obj_id)):
                return
            failure = objects_apart() if self.has_moved else error("OBJECT_LOST", failure.message, failure.metadata)
        receiver, self._receiver = self._receiver, None
        self._end()
        receiver.set_exception(failure)

    def _has_moved_to(self, guest: Guest | None) -> bool:
        """Whether it runs again, once, in the guest of this pod that has the object."""
        if guest is None or self.has_moved or guest is self.guest:
            return False
        self.has_moved = True
        self.launch(guest)
        return True

    def _expire(self) -> None:
        loop, receiver = asyncio.get_running_loop(), self._receiver
        if (left := self._extended + self.seconds - loop.time()) > 0:
            self._timer = loop.call_later(left, self._expire)
            return
        self.abandon()
        if receiver is not None:
            receiver.set_exception(standstill(self.seconds) if self._extended else deadline_exceeded(self.seconds))

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._id:
            self._calls.release_place()


def objects_apart() -> OrcError:
    """The failure of a call that names objects of several processes."""
    text = "the objects that this call names are not in the same process, so they can't be used together"
    return error("OBJECTS_APART", text)
