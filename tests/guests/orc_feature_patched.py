"""Replaces what the guest might need: as gevent does, and worse."""

from __future__ import annotations

import builtins
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

_sleep, _open = time.sleep, open


def _broken(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("this is replaced")


for _module, _names in {
    threading: "Thread Lock RLock Event Condition Semaphore Timer _start_new_thread _allocate_lock get_ident",
    time: "sleep monotonic",
    os: "_exit write read fork",
    select: "select poll",
    sys: "excepthook unraisablehook",
    builtins: "open print",
}.items():
    for _name in _names.split():
        setattr(_module, _name, _broken)
socket.socket = socket.socketpair = _broken  # type: ignore[assignment,misc]


def slow(seconds: float) -> str:
    _sleep(seconds)
    return "slept"


def items(n: int) -> Iterator[int]:
    for i in range(n):
        _sleep(0.003)
        yield i


class Thing:
    """Stays in the pod."""

    def name(self) -> str:
        return "thing"


def fails() -> None:
    raise ValueError("as usual")
