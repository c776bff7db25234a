"""Handlers of signals that the module's code sets: what one raises belongs to the call that it interrupts, if any.

Python runs handlers in the main thread, wherever that is: in a call, or waiting for the next one, where an exception
would end the guest, or on the way between, where it would leave the wire in the middle of a frame.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import contextlib
import signal
import sys
from typing import TYPE_CHECKING, Any

from .own import monotonic

if TYPE_CHECKING:
    import types
    from collections.abc import Callable, Collection


_set_mask = _signal.pthread_sigmask  # that of `signal` takes ten times as long
_kill_thread = _signal.pthread_kill
_ALL = tuple(map(int, signal.valid_signals()))


def keep_calls_apart(calls: types.CodeType, own: Collection[types.CodeType]) -> None:
    """Have handlers raise only in calls: below a frame of the code `calls`, and not below one of the codes in `own`."""
    set_handler, current_handler = signal.signal, signal.getsignal

    def guarded(signalnum: Any, handler: Any) -> Any:
        if callable(handler) and not isinstance(handler, signal.Handlers):
            handler = _Guarded(handler, calls, frozenset(own))
        return _unguarded(set_handler(signalnum, handler))

    def found(signalnum: Any) -> Any:
        return _unguarded(current_handler(signalnum))

    for name, function, wrapper in (("signal", set_handler, guarded), ("getsignal", current_handler, found)):
        wrapper.__name__ = wrapper.__qualname__ = name
        wrapper.__doc__, wrapper.__module__, wrapper.__annotations__ = function.__doc__, "signal", {}
        setattr(signal, name, wrapper)


def interrupt(thread: int) -> None:
    """Interrupt what a thread waits for in C code, as Ctrl-C does at home."""
    _kill_thread(thread, signal.SIGINT)


class Mask:
    """The mask of signals that threads of calls have, as the import has left it; else threads of ours block all.

    What a call blocks in its thread, to wait for it, would come to another thread, and end the process.
    """

    def __init__(self) -> None:
        self._of_calls = _set_mask(signal.SIG_BLOCK, ())

    def block_all(self) -> None:
        """Block all signals in this thread."""
        _set_mask(signal.SIG_SETMASK, _ALL)

    def restore(self) -> None:
        """Block in this thread what the import has blocked."""
        _set_mask(signal.SIG_SETMASK, self._of_calls)


class _Guarded:
    def __init__(
        self, handler: Callable[[int, Any], Any], calls: types.CodeType, own: frozenset[types.CodeType]
    ) -> None:
        self.handler = handler
        self._calls = calls
        self._own = own
        self._quiet_until = 0.0

    def __call__(self, number: int, frame: types.FrameType | None) -> None:
        try:
            self.handler(number, frame)
            return
        except BaseException as failure:
            if self._is_in_call(frame):
                raise
            lost = failure
        # Shown at most once a second: signals that come faster than one is shown would nest until the stack is full.
        now = monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + 1
            with contextlib.suppress(BaseException):  # the module may have replaced the hook
                sys.excepthook(type(lost), lost, lost.__traceback__)

    def _is_in_call(self, frame: types.FrameType | None) -> bool:
        while frame is not None and frame.f_code not in self._own:
            if frame.f_code is self._calls:
                return True
            frame = frame.f_back
        return False


def _unguarded(handler: Any) -> Any:
    return handler.handler if isinstance(handler, _Guarded) else handler
