"""Functions that harm the process they run in."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time


def pid() -> int:
    return os.getpid()


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def leave(code: int) -> None:
    os._exit(code)


def kill(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(10)


def segfault() -> None:
    ctypes.string_at(0)


def exit_all() -> None:
    sys.exit(3)


def close_output() -> str:
    os.close(1)
    os.close(2)
    return "closed"


def close_everything() -> str:
    os.closerange(0, 100)
    return "closed"


def fork_and_return() -> int:
    """Both processes go on with the call; the child's answer must not count."""
    return os.fork()


def fork_and_exit() -> int:
    child = os.fork()
    if child == 0:
        os._exit(0)
    return os.waitpid(child, 0)[1]


def leave_a_child() -> int:
    """Starts a process that goes on."""
    return subprocess.Popen(["sleep", "600"]).pid


def change_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(os.getpid(), number)
        time.sleep(0.05)


def write_to_stdin() -> str:
    return sys.stdin.read()
