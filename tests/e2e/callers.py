"""Callers that don't stop while something is done to a module."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.e2e.system import System, wait_until


@contextmanager
def calls_all_the_while(system: System, module: str, method: str, *args: Any) -> Iterator[list[Any]]:
    """Four callers until fifty calls after the block; yields what they get."""
    answers: list[Any] = []
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            response = system.try_call(module, method, *args)
            answers.append(response.json().get("result", response.text))

    callers = [threading.Thread(target=run) for _ in range(4)]
    for caller in callers:
        caller.start()
    try:
        wait_until(lambda: len(answers) > 20)
        yield answers
        seen = len(answers)
        wait_until(lambda: len(answers) > seen + 50)
    finally:
        stop.set()
        for caller in callers:
            caller.join()
