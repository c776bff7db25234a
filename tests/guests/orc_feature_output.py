"""Functions that print, and ones that change what printing and the process itself depend on."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import io
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator

_gate = threading.Barrier(2, timeout=10)
_stop = threading.Event()


def pid() -> int:
    return os.getpid()


def says(*lines: str) -> int:
    for line in lines:
        print(line)
    return len(lines)


def says_in_each_way(text: str) -> str:
    print(text, "print")
    print(text, "stderr", file=sys.stderr)
    logging.getLogger("some.library").warning("%s logging", text)
    warnings.warn(f"{text} warning", stacklevel=1)
    sys.stdout.buffer.write(f"{text} buffer\n".encode())
    sys.stdout.writelines([f"{text} writelines\n"])
    sys.stderr.write(f"{text} partial")
    return text


def says_together(text: str) -> str:
    """Prints line by line in turn with another call."""
    for number in range(5):
        _gate.wait()
        print(f"{text} {number} be", end="")
        _gate.wait()
        print("gun")
    return text


async def says_as_coroutine(text: str) -> str:
    for number in range(3):
        print(text, number)
        await asyncio.sleep(0.02)
    await asyncio.gather(*(_say(f"{text} task {number}") for number in range(2)))
    return text


async def _say(text: str) -> None:
    await asyncio.sleep(0)
    print(text)


def says_as_generator(text: str) -> Iterator[int]:
    for number in range(3):
        print(text, number)
        yield number


def says_and_fails(text: str) -> None:
    print(text)
    raise ValueError(text)


async def says_and_fails_as_coroutine(text: str) -> None:
    print(text)
    await asyncio.sleep(0.01)
    raise ValueError(text)


def says_from_a_thread(text: str) -> None:
    thread = threading.Thread(target=print, args=(text,))
    thread.start()
    thread.join()


def says_from_a_thread_with_context(text: str) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(contextvars.copy_context().run, print, text).result()


def says_bytes() -> str:
    sys.stdout.buffer.write(b"\xff\xfe bytes\n")
    sys.stdout.write("\ud800 surrogate\n")
    sys.stdout.buffer.write(b"\x1e999\x1e not a call\n")
    return "said"


def says_much(lines: int, length: int) -> int:
    for number in range(lines):
        print(number, "x" * length)
    print("y" * 200_000)
    return lines


def says_long_lines(letter: str, lines: int) -> int:
    for _ in range(lines):
        print(letter * 60_000)
    return lines


def writes_to_descriptors(text: str) -> None:
    os.write(1, f"{text} 1\n".encode())
    os.write(2, f"{text} 2\n".encode())
    subprocess.run(["echo", text, "echo"], check=True)


# --- what breaks things ---


def closes_descriptors() -> str:
    os.close(1)
    os.close(2)
    return "closed"


def closes_streams() -> str:
    sys.stdout.close()
    sys.stderr.close()
    return "closed"


def redirects(text: str) -> str:
    sys.stdout = io.StringIO()
    sys.stderr = None  # type: ignore[assignment]
    print(text)
    return "redirected"


def replaces_print_target() -> str:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return "replaced"


def forks(how: str) -> int:
    child = os.fork()
    if child == 0:
        print("from the child")
        if how == "exit":
            os._exit(0)
        if how == "raise":
            raise ValueError("in the child")
        if how == "sys_exit":
            sys.exit(0)
        return 0
    os.waitpid(child, 0)
    return child


async def forks_in_a_coroutine(how: str) -> int:
    return forks(how)


def forks_by_multiprocessing(method: str) -> list[int]:
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        return pool.map(abs, [-1, -2, -3])


def forks_by_process() -> int:
    process = multiprocessing.get_context("fork").Process(target=print, args=("from a process",))
    process.start()
    process.join(10)
    return process.exitcode if process.exitcode is not None else -1


def starts_printing() -> str:
    def go_on() -> None:
        while not _stop.wait(0.002):
            print("on and on")

    _stop.clear()
    for _ in range(3):
        threading.Thread(target=go_on, daemon=True).start()
    return "started"


def stops_printing() -> str:
    _stop.set()
    return "stopped"


def changes_directory() -> str:
    os.chdir("/")
    os.environ.clear()
    sys.path.clear()
    sys.argv.clear()
    return os.getcwd()


def removes_directory(path: str) -> str:
    os.mkdir(path)
    os.chdir(path)
    os.rmdir(path)
    return "removed"


def sets_signal_handlers() -> str:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        try:
            signal.signal(number, lambda *_: None)
        except ValueError as failure:  # not in the main thread, which Python tells itself
            return str(failure)
    return "set"


def alarms() -> str:
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    time.sleep(0.3)
    return "alarmed"


def sends_itself(name: str) -> str:
    os.kill(os.getpid(), getattr(signal, name))
    time.sleep(0.1)
    return name


def exits(how: str) -> None:
    if how == "sys.exit":
        sys.exit(3)
    if how == "exit":
        raise SystemExit("with a message")
    if how == "interrupt":
        raise KeyboardInterrupt
    raise GeneratorExit


def lowers_recursion_limit() -> int:
    sys.setrecursionlimit(60)
    return sys.getrecursionlimit()


def restores_recursion_limit() -> None:
    sys.setrecursionlimit(1000)


def runs_a_loop(text: str) -> str:
    async def inner() -> str:
        print(text)
        await asyncio.sleep(0.01)
        return text

    return asyncio.run(inner())


def sets_hooks() -> str:
    def fails(*_: object) -> None:
        raise RuntimeError("in a hook")

    sys.excepthook = threading.excepthook = sys.unraisablehook = fails
    sys.settrace(None)
    sys.setprofile(None)
    return "set"


def raises_in_a_thread() -> str:
    def fails() -> None:
        raise ValueError("in a thread")

    thread = threading.Thread(target=fails)
    thread.start()
    thread.join()
    return "raised"
