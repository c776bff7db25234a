"""What the guest takes of the standard library, as it is before the module's code can replace it (gevent does).

Threads are started, and waited for, by the interpreter's own locks.
"""

from __future__ import annotations

import contextlib
import os
import time
from _thread import allocate_lock, get_ident, start_new_thread

Lock = allocate_lock
sleep, monotonic = time.sleep, time.monotonic
exit_now, write = os._exit, os.write
__all__ = ["Lock", "Turn", "exit_now", "get_ident", "monotonic", "sleep", "start_new_thread", "write"]


class Turn:
    """Wakes the one thread that waits for it, or that does so next; given several times meanwhile, it wakes it once."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = Lock()
        self._lock.acquire()

    def give(self) -> None:
        with contextlib.suppress(RuntimeError):  # it is given
            self._lock.release()

    def wait(self) -> None:
        self._lock.acquire()
