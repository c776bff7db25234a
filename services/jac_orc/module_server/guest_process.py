"""One guest seen from the server: its process, its frames, the calls it owes an answer.

A guest is started, loads the module, answers calls, and ends: with the server, by a crash, or killed because a
cancelled call would not end. Its end fails all its calls with GUEST_DIED. What a guest sends is not trusted: a frame
that is no frame ends the guest and not the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import signal
from collections.abc import Callable
from typing import cast

from jac_orc.core.processes import ManagedProcess
from jac_orc.errors import OrcError, error
from jac_orc.guest import wire
from jac_orc.guest.large_values import PART_BYTES
from jac_orc.guest.wire import ANSWER, CALL_ERROR, COUNT, ERROR, FAILED, HEAD, HEARD, ITEM, LOADED, TOTAL, frame
from jac_orc.module_server import guest_errors
from jac_orc.module_server.frames import Frame, FrameError, FrameParser
from jac_orc.module_server.guest_log import GuestLog
from jac_orc.module_server.idle_guest import IdleGuest, folders_in
from jac_orc.module_server.receivers import Abandoned, GuestCall
from jac_orc.module_server.settings import Settings

_READ_FIRST = 0.02
_LAST_WORDS = 0.5  # seconds in which what a guest sent before its end is read
_JOINED = 64 * 1024


class Guest(asyncio.Protocol):
    """A running guest; `start` makes one."""

    def __init__(self, number: int, process: ManagedProcess, settings: Settings) -> None:
        self.number = number
        self._process = process
        self._settings = settings
        self._parser = FrameParser(max(settings.max_answer_bytes, PART_BYTES) + 1024)
        self._transport: asyncio.Transport | None = None
        self._loaded: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._has_loaded = False
        self._calls: dict[int, GuestCall] = {}
        self._abandoned: dict[int, Abandoned] = {}
        self._unheard: set[int] = set()  # of the abandoned calls, those whose CANCEL has not been read yet
        self._on_ends: dict[int, Callable[[], None]] = {}
        self._last_id = 0
        self._log = GuestLog(number, process)
        self._why_killed = ""
        self._replacing: asyncio.Task[None] | None = None
        self.cause = ""
        """Why it takes no more calls, a key of `Pod.guest_replacements`; empty while it does, or that isn't known."""
        self._is_stopped = False
        self._loop = asyncio.get_running_loop()
        self._outgoing: list[bytes | memoryview] = []
        self._writable = asyncio.Event()
        self._writable.set()
        self._read_all = asyncio.Event()
        self.retired = asyncio.Event()
        """Set when it takes no more calls: it has ended, or shall as soon as its last call has."""
        self.ended = asyncio.create_task(self._wait())
        """Done when the process has ended."""

    @classmethod
    async def start(cls, settings: Settings, number: int, place: str, idle: IdleGuest | None = None) -> Guest:
        """Starts a guest and loads the module; raises OrcError (MODULE_IMPORT_FAILED) where that fails.

        `number` is this guest's among all that the pod has had, `place` what the ids of its objects begin with, `idle`
        one that has been started ahead.
        """
        try:
            if idle is None:
                idle = IdleGuest(settings.guest_python)
            process = ManagedProcess.of(idle.child)
        except OSError as failure:
            if idle is not None:
                idle.socket.close()
            raise error("MODULE_IMPORT_FAILED", f"{settings.guest_python} can't be started: {failure}") from failure
        guest = cls(number, process, settings)
        link = idle.socket
        try:
            folders, home = folders_in(settings.source_folders), settings.source_home
            try:
                await asyncio.to_thread(idle.load, settings.module_name, folders, settings.working_directory, home)
            except OSError as failure:
                text = f"the working directory can't be created: {failure}; make room or check the permissions"
                raise error("MODULE_IMPORT_FAILED", text) from failure
            await asyncio.get_running_loop().create_connection(lambda: guest, sock=link)
            await guest._load(place)
        except BaseException:
            if guest._transport is None:  # which would own it
                link.close()
            await guest.stop(asyncio.Event())
            raise
        return guest

    async def _load(self, place: str) -> None:
        settings = self._settings
        name, timeout = settings.module_name, settings.import_timeout
        document = {
            "allowed": settings.allowed_modules, "refused": settings.refused_modules, "place": place,
            "max_answer": settings.max_answer_bytes, "max_value": settings.max_value_bytes,
            "max_objects": settings.max_objects, "max_object_bytes": settings.max_object_bytes,
            "object_lease": settings.object_lease,
        }  # fmt: skip
        try:
            self._send(frame(wire.SERVE, body=json.dumps(document).encode()))
            async with asyncio.timeout(timeout):
                kind, _, body = await self._loaded
        except TimeoutError:
            text = f"importing {name} took longer than the {timeout:g} s that its `import_timeout` allows"
            raise error("MODULE_IMPORT_FAILED", text) from None
        except OrcError as failure:
            text = f"importing {name} failed: {failure.message}"
            raise error("MODULE_IMPORT_FAILED", text, failure.metadata) from None
        if kind != LOADED:
            refusal, trace = guest_errors.of_import(name, body)
            self._log.traceback(trace)
            raise refusal
        self._has_loaded = True

    @property
    def load(self) -> int:
        """How many calls it owes an answer, abandoned ones included."""
        return len(self._calls) + len(self._abandoned)

    @property
    def stuck(self) -> int:
        """How many cancelled calls go on beyond their grace."""
        return sum(each.is_stuck for each in self._abandoned.values())

    @property
    def alive(self) -> bool:
        """Whether it takes calls."""
        return self._transport is not None and not self._transport.is_closing() and not self.retired.is_set()

    # --- calls ---

    def begin(self, receiver: GuestCall, style: int, body: bytes) -> int:
        """Sends a call whose answer the receiver gets; answers its id. Raises OrcError where the guest is gone."""
        self._last_id += 1
        self._write(frame(wire.CALL, style, self._last_id, body))
        self._calls[self._last_id] = receiver
        self._log.begin_call(self._last_id, receiver.call_id)
        return self._last_id

    def add_credit(self, call_id: int, items: int) -> None:
        """Lets the call send so many more messages before its last one."""
        if call_id in self._calls:
            self._send(frame(wire.CREDIT, number=call_id, body=COUNT.pack(items)))

    def send_part(self, number: int, size: int, data: memoryview) -> None:
        """Sends a part of a large value, which is not copied; raises OrcError where the guest is gone."""
        self._write(HEAD.pack(wire.PART, 0, number, TOTAL.size + len(data)) + TOTAL.pack(size))
        self._write(data)

    def drop(self, number: int) -> None:
        """Has the guest forget what has come of a large value, if it lives."""
        self._send(frame(wire.DROP, number=number))

    async def writable(self) -> None:
        """Returns when not too much waits to be read by the guest."""
        await self._writable.wait()

    def abandon(self, call_id: int, on_end: Callable[[], None]) -> None:
        """Cancels the call in the guest, where it keeps its place until it has ended.

        `on_end` is called then, or when the guest takes no more calls: it is replaced where such calls have all places,
        or where it doesn't even read that the call is cancelled.
        """
        call = self._calls.pop(call_id, None)
        if not self.alive:
            on_end()
        else:
            self._on_ends[call_id] = on_end
        if call is None or self._transport is None or self._transport.is_closing():
            return
        self._write(frame(wire.CANCEL, number=call_id))
        self._unheard.add(call_id)
        self._abandoned[call_id] = Abandoned(call, self._loop.time())
        self._wait_for(call_id, self._settings.cancel_grace, self._overdue)
        self._end_if_stuck()

    def _write(self, data: bytes | memoryview) -> None:
        if self._transport is None or self._transport.is_closing():
            raise error("GUEST_DIED", "the process that runs the module has ended")
        if not self._outgoing:
            if not self._calls:  # nothing is likely to come with it
                self._transport.write(data)
                return
            self._loop.call_soon(self._flush)
        self._outgoing.append(data)

    def _send(self, data: bytes | memoryview) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._write(data)

    def _flush(self) -> None:
        """Writes what one turn of the loop has brought together."""
        outgoing, self._outgoing = self._outgoing, []
        if not outgoing or self._transport is None or self._transport.is_closing():
            return
        if len(outgoing) == 1:
            self._transport.write(outgoing[0])
        elif sum(map(len, outgoing)) < _JOINED:
            self._transport.write(b"".join(outgoing))
        else:  # too large to be copied once more
            self._transport.writelines(outgoing)

    # --- what it sends ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=4 * 1024 * 1024)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        try:
            for kind, number, body in self._parser.feed(data):
                self._take(kind, number, body)
        except FrameError as failure:
            if self._transport is not None:
                self._transport.abort()  # nothing more is read from it
            self.cause = self.cause or "protocol_error"
            self.kill(f"it sent {failure}")

    def _take(self, kind: int, number: int, body: bytes) -> None:
        """Pass an answer to its receiver; raises FrameError for anything else, which ends the guest."""
        receiver = self._calls.get(number)
        if receiver is None:
            self._take_other(kind, number, body)
        elif kind == ANSWER:
            del self._calls[number]
            self._log.end_call(number)
            receiver.set_result(body)
        elif kind == ITEM:
            receiver.add(body)
        elif kind == CALL_ERROR:
            failure, trace = guest_errors.read(body[COUNT.size :])
            self._log.traceback(trace, number)
            receiver.add_failure(COUNT.unpack_from(body)[0], failure)
        elif kind == ERROR:
            failure, trace = guest_errors.read(body)
            self._log.traceback(trace, number)
            del self._calls[number]
            self._log.end_call(number)
            receiver.set_exception(failure)
        else:
            raise FrameError("an answer of another kind")
        if self.retired.is_set():
            self._end_if_stuck()

    def _take_other(self, kind: int, number: int, body: bytes) -> None:
        if kind in (LOADED, FAILED):
            if not self._loaded.done():
                self._loaded.set_result((kind, number, body))
        elif kind == HEARD:
            self._unheard.discard(number)
        elif number not in self._abandoned:
            raise FrameError(f"an answer to no call: {number}")
        elif kind not in (ITEM, CALL_ERROR):
            if kind == ERROR:
                self._log.traceback(guest_errors.read(body)[1], number)
            ended = self._abandoned.pop(number)
            ended.timer.cancel()
            if ended.is_stuck:
                self._log.unstuck(number, ended.call.function(), self._loop.time() - ended.since, self.stuck)
            self._log.end_call(number)
            self._unheard.discard(number)  # where a guest ends calls and acknowledges nothing, it would grow
            if number in self._on_ends:
                self._on_ends.pop(number)()

    # --- its end ---

    def _wait_for(self, call_id: int, seconds: float, overdue: Callable[[int], None]) -> None:
        """Call `overdue` if the cancelled call has not ended after `seconds`, by all that was sent until then."""

        def look() -> None:  # a busy loop runs its timers before it reads
            self._abandoned[call_id].timer = self._loop.call_later(_READ_FIRST, overdue, call_id)

        self._abandoned[call_id].timer = self._loop.call_later(seconds, look)

    def _overdue(self, call_id: int) -> None:
        settings, abandoned = self._settings, self._abandoned[call_id]
        if not abandoned.is_stuck:
            abandoned.is_stuck = True
            self._log.stuck(call_id, abandoned.call.function(), settings.cancel_grace, self.stuck)
        if call_id in self._unheard:
            self._wait_for(call_id, max(0.0, settings.response_grace - settings.cancel_grace), self._silent)
        elif self._heard_and_stuck() >= math.ceil(settings.max_concurrency / settings.workers):
            self._retire(call_id, "places_exhausted", "calls that were cancelled and go on have all its places")

    def _heard_and_stuck(self) -> int:
        return sum(call.is_stuck and number not in self._unheard for number, call in self._abandoned.items())

    def _silent(self, call_id: int) -> None:
        if call_id in self._unheard:
            grace = self._settings.response_grace
            self._retire(call_id, "not_responding", f"it had not read for {grace:g} s that a call is cancelled")
            self.kill()  # no call can end: C code holds the interpreter
        else:
            self._overdue(call_id)

    def _retire(self, call_id: int, cause: str, why: str) -> None:
        """Takes no more calls; the others may end first."""
        self.cause = self.cause or cause
        self._why_killed = why
        self._log.replaced(why, call_id)
        self.retired.set()
        self._give_up()
        self._end_if_stuck()

    def _give_up(self) -> None:
        """Holds no place any more for the calls that were cancelled."""
        on_ends, self._on_ends = self._on_ends, {}
        for on_end in on_ends.values():
            on_end()

    def _end_if_stuck(self) -> None:
        if self.retired.is_set() and not self._calls and not self._is_stopped:
            self._replacing = self._replacing or self._loop.create_task(self._replace())

    async def _replace(self) -> None:
        await self._end(asyncio.Event())
        self.kill()

    def connection_lost(self, exc: Exception | None) -> None:
        self._read_all.set()
        self.kill()  # the wire is closed but the process may live: such a guest is of no use

    async def _wait(self) -> None:
        """Awaits the process's end, then fails what it owes."""
        await self._process.ended.wait()
        self.cause = self.cause or ("killed" if (self._process.returncode or 0) < 0 else "exited")
        self.retired.set()
        self._writable.set()
        with contextlib.suppress(TimeoutError):  # where a process that the module has forked keeps the wire open
            async with asyncio.timeout(_LAST_WORDS):
                await self._read_all.wait()
        if self._transport is not None:
            self._transport.close()
        failure = guest_errors.of_exit(self._process.returncode or 0)
        calls = [*self._calls, *self._abandoned]
        self._log.ended(failure, self.cause, self._why_killed, calls, expected=self._is_stopped)
        for abandoned in self._abandoned.values():
            abandoned.timer.cancel()
        self._abandoned.clear()
        self._give_up()
        receivers, self._calls = list(self._calls.values()), {}
        for receiver in receivers:
            receiver.set_exception(failure)
        if not self._loaded.done():
            self._loaded.set_exception(failure)
            self._loaded.exception()  # so that asyncio does not complain if nothing awaits it
        await self._log.close()

    def kill(self, why: str = "") -> None:
        """Ends the process at once."""
        self._why_killed = self._why_killed or why
        self.retired.set()
        self._process.signal(signal.SIGKILL)

    async def stop(self, hurry: asyncio.Event) -> None:
        """End the process as an interpreter ends; return when it has ended.

        It is killed if that takes longer than `exit_grace`, once `hurry` is set, or if it doesn't respond.
        """
        self._is_stopped = True
        self.retired.set()
        await self._end(hurry)
        self.kill("its server stops it")
        await self.ended

    async def _end(self, hurry: asyncio.Event) -> None:
        """Let the process end as an interpreter ends, within `exit_grace`."""
        responds = self._has_loaded and self.stuck == self._heard_and_stuck()
        if not responds or hurry.is_set() or self._transport is None or self._transport.is_closing():
            return
        self._flush()
        self._transport.write_eof()
        grace = self._settings.exit_grace
        hurrying = asyncio.create_task(hurry.wait())
        await asyncio.wait([self.ended, hurrying], timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        hurrying.cancel()
        if not self.ended.done() and not hurry.is_set():
            self._log.slow_exit(grace)
