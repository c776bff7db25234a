"""One guest seen from the server: its process, its frames, the calls it owes an answer.

A guest is started, loads the module, answers calls, and ends: with the server, by a crash, or killed because a
cancelled call would not end. Its end fails all its calls with GUEST_DIED. What a guest sends is not trusted: a frame
that is no frame ends the guest and not the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from jac_orc.core import config
from jac_orc.core.server import MAX_MESSAGE_BYTES
from jac_orc.errors import REASONS, OrcError, error, exception_raised
from jac_orc.module_server.frames import FrameError, FrameParser, frame
from jac_orc.v1 import errors_pb2

logger = logging.getLogger(__name__)

GUEST = Path(__file__).with_name("guest.py")
# Of this process's environment only what any program needs reaches the user's code, so that no setting leaks.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
_INHERITED_PREFIXES = ("OPENBLAS_", "OMP_", "MKL_", "CUDA_", "NVIDIA_")
_MAX_LOG_LINE = 64 * 1024
_MAX_CAUSES = 3
_CREDIT = 32
_CREDIT_STEP = 16


@dataclass(frozen=True)
class GuestSettings:
    """What a guest is started with: interpreter, module, names it must not hand out, and limits in seconds."""

    python: str
    module_name: str
    refused: tuple[str, ...]
    import_timeout: float
    cancel_grace: float


class Items:
    """The items of a stream that have come and are not yet taken; ended like a future, by a result or an exception."""

    def __init__(self) -> None:
        self._items: deque[bytes] = deque()
        self._end: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._come = asyncio.Event()

    def add(self, body: bytes) -> None:
        """Takes an item; raises FrameError for one that there was no credit for."""
        if len(self._items) >= _CREDIT:
            raise FrameError("more items than it has credit for")
        self._items.append(body)
        self._come.set()

    def done(self) -> bool:
        """Whether no more items come."""
        return self._end.done()

    def set_result(self, body: bytes) -> None:
        """No more items come."""
        self._end.set_result(body)
        self._come.set()

    def set_exception(self, failure: BaseException) -> None:
        """No more items come, for this reason."""
        self._end.set_exception(failure)
        self._end.exception()  # known here, also if nobody reads on
        self._come.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            while self._items:
                yield self._items.popleft()
            if self._end.done():
                self._end.result()
                return
            self._come.clear()
            await self._come.wait()


Answer = asyncio.Future[bytes] | Items
"""What awaits the end of a call."""


class Guest(asyncio.Protocol):
    """A running guest; `start` makes one."""

    def __init__(self, process: asyncio.subprocess.Process, settings: GuestSettings) -> None:
        self._process = process
        self._settings = settings
        self._parser = FrameParser()
        self._transport: asyncio.Transport | None = None
        self._loaded: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._calls: dict[int, Answer] = {}
        self._abandoned: dict[int, asyncio.TimerHandle] = {}
        self._last_id = 0
        self._tasks = [
            asyncio.create_task(self._copy_output(process.stdout, "stdout")),
            asyncio.create_task(self._copy_output(process.stderr, "stderr")),
        ]
        self.retired = asyncio.Event()
        """Set when it takes no more calls: it has ended, or shall as soon as its last call has."""
        self.ended = asyncio.create_task(self._wait())
        """Done when the process has ended."""

    @classmethod
    async def start(cls, settings: GuestSettings) -> Guest:
        """Starts a guest and loads the module; raises OrcError (MODULE_IMPORT_FAILED) where that fails."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        environment = {
            name: value
            for name, value in config.environment().items()
            if name in _INHERITED or name.startswith(_INHERITED_PREFIXES) or name.startswith(config.MODULE_ENV_PREFIX)
        }
        environment = {name.removeprefix(config.MODULE_ENV_PREFIX): value for name, value in environment.items()}
        with contextlib.ExitStack() as unless_started, theirs:
            unless_started.enter_context(ours)
            process = await _run(
                settings.python, "-I", "-u", str(GUEST), str(theirs.fileno()), str(os.getpid()),
                pass_fds=(theirs.fileno(),), env=environment, start_new_session=True,
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            unless_started.pop_all()
        guest = cls(process, settings)
        try:
            await asyncio.get_running_loop().create_connection(lambda: guest, sock=ours)
            await guest._load()
        except BaseException:
            await guest.stop()
            raise
        return guest

    async def _load(self) -> None:
        settings = self._settings
        load = {"op": "load", "module": settings.module_name,
                "refused": settings.refused, "max_answer": MAX_MESSAGE_BYTES}  # fmt: skip
        try:
            self._send(load)
            async with asyncio.timeout(settings.import_timeout):
                answer = await self._loaded
        except TimeoutError:
            message = f"importing {settings.module_name} took longer than {settings.import_timeout:g} s"
            raise error("MODULE_IMPORT_FAILED", message) from None
        except OrcError as failure:
            text = f"importing {settings.module_name} failed: {failure.message}"
            raise error("MODULE_IMPORT_FAILED", text, failure.metadata) from None
        if answer["op"] != "loaded":
            raise _import_failure(settings.module_name, answer.get("error"))

    @property
    def load(self) -> int:
        """How many calls it owes an answer, abandoned ones included."""
        return len(self._calls) + len(self._abandoned)

    @property
    def alive(self) -> bool:
        """Whether it takes calls."""
        return self._transport is not None and not self._transport.is_closing() and not self.retired.is_set()

    async def call(self, control: dict[str, Any], *attachments: bytes) -> bytes:
        """Sends a call and awaits its answer's body; cancelling this cancels the call in the guest.

        Raises OrcError as the guest tells it, or with the reason GUEST_DIED.
        """
        answer = asyncio.get_running_loop().create_future()
        call_id = self._begin(answer, control, attachments)
        try:
            return cast(bytes, await answer)
        except asyncio.CancelledError:
            self._abandon(call_id)
            raise

    async def stream(self, control: dict[str, Any], *attachments: bytes) -> AsyncGenerator[bytes]:
        """Sends a call of a generator and yields its items' bodies; closing this closes the generator.

        The guest is at most `_CREDIT` items ahead of who reads this. Raises OrcError as `call` does.
        """
        items = Items()
        call_id = self._begin(items, {**control, "credit": _CREDIT}, attachments)
        taken = 0
        try:
            async for body in items:
                yield body
                taken += 1
                if taken % _CREDIT_STEP == 0 and call_id in self._calls:
                    self._send({"op": "credit", "id": call_id, "items": _CREDIT_STEP})
        finally:
            self._abandon(call_id)

    def _begin(self, answer: Answer, control: dict[str, Any], attachments: Sequence[bytes]) -> int:
        self._last_id += 1
        self._send({**control, "id": self._last_id}, attachments)
        self._calls[self._last_id] = answer
        return self._last_id

    def _send(self, control: Mapping[str, Any], attachments: Sequence[bytes] = ()) -> None:
        if self._transport is None or self._transport.is_closing():
            raise error("GUEST_DIED", "the process that runs the module has ended")
        self._transport.write(frame(control, attachments))

    def _abandon(self, call_id: int) -> None:
        """Cancels the call in the guest; a guest that goes on with it for longer than the grace is replaced."""
        if self._calls.pop(call_id, None) is None or self._transport is None or self._transport.is_closing():
            return
        self._send({"op": "cancel", "id": call_id})
        loop = asyncio.get_running_loop()
        self._abandoned[call_id] = loop.call_later(self._settings.cancel_grace, self._retire)
        self._kill_if_stuck()

    def _retire(self) -> None:
        """Takes no more calls, since a cancelled one has not ended; the other calls may end first."""
        logger.warning("a cancelled call has not ended in %g s: replacing its guest", self._settings.cancel_grace)
        self.retired.set()
        self._kill_if_stuck()

    def _kill_if_stuck(self) -> None:
        if self.retired.is_set() and not self._calls:
            self.kill()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            for control, attachments in self._parser.feed(data):
                self._take(control, attachments)
        except FrameError as failure:
            logger.error("the guest sent %s: killing it", failure)
            if self._transport is not None:
                self._transport.abort()  # nothing more is read from it
            self.kill()

    def _take(self, control: dict[str, Any], attachments: list[bytes]) -> None:
        """Gives an answer to whoever awaits it; raises FrameError for what is none, which ends all that it owes."""
        if "op" in control:
            if not self._loaded.done():
                self._loaded.set_result(control)
            return
        call_id = control.get("id")
        if type(call_id) is not int or not (call_id in self._calls or call_id in self._abandoned):
            raise FrameError(f"an answer to no call: {str(call_id)[:50]}")
        if len(attachments) != ("error" not in control):
            raise FrameError(f"an answer with {len(attachments)} attachments")
        if control.get("item") is True and attachments:
            self._take_item(call_id, attachments[0])
            return
        failure = _guest_error(control["error"]) if "error" in control else None
        timer = self._abandoned.pop(call_id, None)
        if timer is not None:
            timer.cancel()
            return
        answer = self._calls.pop(call_id)
        self._kill_if_stuck()
        if answer.done():
            return
        if failure is not None:
            answer.set_exception(failure)
        else:
            answer.set_result(attachments[0])

    def _take_item(self, call_id: int, body: bytes) -> None:
        items = self._calls.get(call_id)
        if isinstance(items, Items):
            items.add(body)
        elif call_id not in self._abandoned:
            raise FrameError("an item of no stream")

    def connection_lost(self, exc: Exception | None) -> None:
        self.kill()  # the wire is closed but the process may live: such a guest is of no use

    async def _wait(self) -> None:
        """Awaits the process's end, then fails what it owes."""
        code = await self._process.wait()
        self.retired.set()
        self._kill_group()
        if self._transport is not None:
            self._transport.close()
        for timer in self._abandoned.values():
            timer.cancel()
        self._abandoned.clear()
        how, metadata = _describe_exit(code)
        failure = error("GUEST_DIED", f"the process that runs the module {how}", metadata)
        for answer in self._calls.values():
            if not answer.done():
                answer.set_exception(failure)
        if not self._loaded.done():
            self._loaded.set_exception(failure)
            self._loaded.exception()  # whoever awaits it gets it; nobody need
        self._calls.clear()
        _, pending = await asyncio.wait(self._tasks, timeout=1)  # what it still wrote; a child of its may hold the pipe
        for task in pending:
            task.cancel()

    def kill(self) -> None:
        """Ends the process at once."""
        self.retired.set()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def _kill_group(self) -> None:
        """Ends what the module's code has started and left behind in the guest's session."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def stop(self) -> None:
        """Ends the process and awaits its end."""
        self.kill()
        await self.ended

    async def _copy_output(self, reader: asyncio.StreamReader | None, stream: str) -> None:
        """Logs what the module's code prints, line by line; a line of any length is cut, never a reason to stop."""
        assert reader is not None
        rest = b""
        while data := await reader.read(_MAX_LOG_LINE):
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > _MAX_LOG_LINE:
                lines, rest = [*lines, rest], b""
            for line in lines:
                logger.info("%s", line.decode("utf-8", "backslashreplace"), extra={"stream": stream})
        if rest:
            logger.info("%s", rest.decode("utf-8", "backslashreplace"), extra={"stream": stream})


async def _run(*command: str, **options: Any) -> asyncio.subprocess.Process:
    """Starts a process; raises OrcError where its program isn't there."""
    try:
        return await asyncio.create_subprocess_exec(*command, **options)
    except OSError as failure:
        raise error("MODULE_IMPORT_FAILED", f"{command[0]} can't be started: {failure}") from failure


def _describe_exit(code: int) -> tuple[str, dict[str, str]]:
    """How a process ended, in words and as metadata."""
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = str(-code)
        return f"was killed by {name}", {"signal": name}
    return f"ended with exit code {code}", {"exit_code": str(code)}


def _guest_error(document: Any) -> OrcError:
    """The error that a guest tells of; raises FrameError for what is not of that shape."""
    if not isinstance(document, dict) or not isinstance(document.get("reason"), str):
        raise FrameError("an error without a reason")
    reason, metadata = document["reason"], document.get("metadata", {})
    if reason not in REASONS or not isinstance(metadata, dict):
        raise FrameError(f"an error of the reason {reason[:50]}")
    if reason == "EXCEPTION_RAISED":
        mro = document.get("mro")
        if not isinstance(mro, list):
            raise FrameError("an exception without classes")
        return exception_raised([name for name in mro if isinstance(name, str)], _exception(document.get("exception")))
    texts = {_text(key, 200): _text(value, 200) for key, value in metadata.items() if value}
    return error(reason, _text(document.get("message"), 4000), texts)


def _exception(data: Any, depth: int = 0) -> errors_pb2.ExceptionInfo:
    if not isinstance(data, dict) or not isinstance(data.get("notes", []), list):
        raise FrameError("an exception of another shape")
    info = errors_pb2.ExceptionInfo(
        type=_text(data.get("type"), 200), message=_text(data.get("message"), 1000),
        traceback=_text(data.get("traceback"), 2500), notes=[_text(note, 200) for note in data.get("notes", [])][:5],
    )  # fmt: skip
    if data.get("cause") and depth < _MAX_CAUSES:
        info.cause.CopyFrom(_exception(data["cause"], depth + 1))
    return info


def _text(value: Any, limit: int) -> str:
    """Text that protobuf takes: lone surrogates are written as escapes."""
    return str(value or "")[:limit].encode("utf-8", "backslashreplace").decode()


def _import_failure(module_name: str, document: Any) -> OrcError:
    try:
        failure = _guest_error(document)
    except FrameError as fault:
        return error("MODULE_IMPORT_FAILED", f"importing {module_name} failed: the guest sent {fault}")
    lines = [f"importing {module_name} failed: {failure.message}"]
    lines += [detail.traceback[-600:] for detail in failure.details if isinstance(detail, errors_pb2.ExceptionInfo)]
    metadata = {"type": failure.metadata.get("type", "")}
    return error("MODULE_IMPORT_FAILED", "\n".join(lines).strip(), metadata, failure.details)
