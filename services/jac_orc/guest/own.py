"""What the guest takes of the standard library, as it is before the module's code can replace it (gevent does).

`start.py` does the same for the builtins.

Threads are started, and waited for, by the interpreter's own locks.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import types
from _thread import allocate_lock, get_ident, start_new_thread

Lock = allocate_lock
sleep, monotonic = time.sleep, time.monotonic
exit_now, write = os._exit, os.write
__all__ = ["Lock", "Turn", "exit_now", "get_ident", "keep_modules", "monotonic", "sleep", "start_new_thread", "write"]


class Turn:
    """Wakes the one thread that waits for it, now or next. Several `give` before that wake it once."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = Lock()
        self._lock.acquire()

    def give(self) -> None:
        with contextlib.suppress(RuntimeError):  # it is given
            self._lock.release()

    def wait(self, seconds: float = -1) -> bool:
        """Return whether it has been given, within so many seconds if they are not negative."""
        return self._lock.acquire(timeout=seconds)


_LIVE = frozenset(("builtins", "importlib", "signal", "sys"))  # of these the guest uses what the module's code has set


def keep_modules(package: str | None) -> None:
    """Replace the modules that modules of this package have imported by copies of what they are now."""
    copies: dict[str, types.ModuleType] = {}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] != package:
            continue
        for attribute, value in list(vars(module).items()):
            if isinstance(value, types.ModuleType) and value.__name__.partition(".")[0] not in {package, *_LIVE}:
                if value.__name__ not in copies:
                    copies[value.__name__] = types.ModuleType(value.__name__, value.__doc__)
                    vars(copies[value.__name__]).update(vars(value))
                setattr(module, attribute, copies[value.__name__])
