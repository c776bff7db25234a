"""Replaces what the guest might need: as gevent does, and worse."""

from __future__ import annotations

import builtins
import contextvars
import inspect
import json
import keyword
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
import types
from collections.abc import Iterator
from typing import Any

_sleep, _open = time.sleep, open


def _broken(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("this is replaced")


for _module, _names in {
    contextvars: "copy_context",
    inspect: "isawaitable signature getattr_static",
    json: "dumps loads",
    keyword: "iskeyword",
    os: "_exit write read fork urandom getpid",
    select: "select poll",
    signal: "signal getsignal",
    struct: "pack Struct",
    sys: "excepthook unraisablehook",
    threading: "Thread Lock RLock Event Condition Semaphore Timer _start_new_thread _allocate_lock get_ident",
    time: "sleep monotonic",
    traceback: "extract_tb format_exception print_exc",
    types: "ModuleType",
    builtins: "open print repr hasattr callable vars iter __import__",
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
