"""What a module's code may rely on at home: its thread, its context, its signals."""

from __future__ import annotations

import atexit
import contextvars
import decimal
import os
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

decimal.getcontext().prec = 50
_local = threading.local()
_local.ready = True
_who = contextvars.ContextVar("_who", default="nobody")
_who.set("the module")
_thread = threading.current_thread()
_state: dict[str, Any] = {}


def slow(seconds: float = 0.05) -> bool:
    """Whether the call ran on the thread that imported the module."""
    time.sleep(seconds)
    return threading.current_thread() is _thread


async def slow_coroutine(seconds: float = 0.05) -> str:
    import asyncio

    await asyncio.sleep(seconds)
    return third() + _who.get()


def slow_items() -> Iterator[str]:
    for _ in range(3):
        time.sleep(0.02)
        yield third() + _who.get()


def third() -> str:
    return str(decimal.Decimal(1) / 3)


def local() -> bool:
    return bool(_local.ready)


def is_at_home() -> bool:
    return threading.current_thread() is _thread is threading.main_thread()


def set_who(name: str) -> str:
    _who.set(name)
    return _who.get()


def who() -> str:
    return _who.get()


def alarmed(after: float, busy: float) -> str:
    """Arms an alarm whose handler raises, and is busy for so long."""

    def ring(number: int, frame: Any) -> None:
        _state["rung"] = _state.get("rung", 0) + 1
        raise TimeoutError("the alarm has rung")

    signal.signal(signal.SIGALRM, ring)
    assert signal.getsignal(signal.SIGALRM) is ring
    signal.setitimer(signal.ITIMER_REAL, after, 0)
    end = time.monotonic() + busy
    while time.monotonic() < end:
        time.sleep(0.01)
    return "no alarm"


def ring_for_ever(every: float) -> None:
    def ring(number: int, frame: Any) -> None:
        _state["rung"] = _state.get("rung", 0) + 1
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, every, every)


def stop_ringing() -> int:
    signal.setitimer(signal.ITIMER_REAL, 0, 0)
    rung: int = _state.get("rung", 0)
    return rung


def rung() -> int:
    return int(_state.get("rung", 0))


def signals_itself() -> str:
    signal.signal(signal.SIGUSR1, lambda number, frame: _state.update(user=True))
    os.kill(os.getpid(), signal.SIGUSR1)
    return str(_state["user"])


def sets_odd_handlers() -> list[str]:
    old = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    found = [str(signal.signal(signal.SIGUSR2, old) is signal.SIG_IGN)]
    for wrong in (5, "x", None):
        try:
            signal.signal(signal.SIGUSR2, wrong)  # type: ignore[arg-type]
        except TypeError as failure:
            found.append(type(failure).__name__)
    return found


class Meter:
    """Counts how often it is read."""

    def __init__(self) -> None:
        self.count = 0

    @property
    def next_id(self) -> int:
        self.count += 1
        return self.count

    def __getattr__(self, name: str) -> Any:
        if name == "missing_in_code":
            return self._nowhere.x
        if name.startswith("made_"):
            self.count += 1
            return self.count
        raise AttributeError(f"a meter measures no {name}, only made_ things")


class Broken:
    """Has a property that fails."""

    @property
    def part(self) -> int:
        return (5).missing  # type: ignore[attr-defined,no-any-return]


meter, broken = Meter(), Broken()
_asked: list[str] = []


def __getattr__(name: str) -> Any:
    if name.startswith("lazy_"):
        _asked.append(name)
        return len(_asked)
    raise AttributeError(f"module has no attribute {name!r}")


def asked() -> list[str]:
    return _asked


class Later:
    """What can be awaited and is no coroutine."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __await__(self) -> Any:
        import asyncio

        yield from asyncio.sleep(0.01).__await__()
        return self.value


def later(value: Any) -> Later:
    return Later(value)


def future(value: Any) -> Any:
    async def made() -> Any:
        import asyncio

        found = asyncio.get_running_loop().create_future()
        found.set_result(value)
        return await found

    return made()


class Worker(threading.Thread):
    """A thread of the module's own."""

    def __init__(self) -> None:
        super().__init__()
        self.ran = 0

    def run(self) -> None:
        self.ran += 1


class Settings:
    """Has attributes to set."""

    def __init__(self) -> None:
        self.level = 1

    @property
    def doubled(self) -> int:
        return 2 * self.level

    @doubled.setter
    def doubled(self, value: int) -> None:
        if value % 2:
            raise ValueError("an odd number")
        self.level = value // 2


def on_a_loop_of_its_own() -> Any:
    """A task that belongs to the loop of the calling thread, which doesn't run."""
    import asyncio

    async def later() -> int:
        await asyncio.sleep(0.01)
        return 5

    loop = asyncio.new_event_loop()
    return loop.create_task(later())


class Awaitless:
    __await__ = None


def leave(path: str, *, hangs: bool = False) -> int:
    """Have all that an interpreter does at its end write to a file."""
    buffered = _state["buffered"] = open(path + ".buffered", "a")  # noqa: SIM115 - closed at the end
    buffered.write("flushed")

    def add(line: str) -> None:
        with open(path, "a") as file:
            file.write(line + "\n")

    def at_exit() -> None:
        add("atexit")
        print("said at the end", end="")
        if hangs:
            time.sleep(60)

    def finish() -> None:
        time.sleep(0.3)
        add("thread")

    atexit.register(at_exit)
    threading.Thread(target=lambda: (threading.main_thread().join(), finish())).start()
    kept = _state["kept"] = threading.Event()
    weakref.finalize(kept, add, "finalized")
    return os.getpid()
