"""Keeps one child process running, and has it die with this process."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jac_orc.core import liveness
from jac_orc.core.files import open_private
from jac_orc.core.processes import ManagedProcess, dying_with_parent

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 10.0
_STABLE_AFTER = 10.0


@dataclass
class Child:
    """A child process that is started again whenever it ends."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    output: Path
    answers: liveness.Answers
    liveness_period: float
    pass_fds: Sequence[int] = ()
    process: ManagedProcess | None = field(default=None, init=False)

    async def start(self) -> None:
        """Starts the process once."""
        with open_private(self.output, "ab") as output:
            # Started from the main thread, with whose end the kernel sends the signal (prctl(2)).
            self.process = ManagedProcess.start_piped(
                dying_with_parent(self.command), self.environment, self.pass_fds, output=output
            )

    async def keep(self, say: Callable[[str], None]) -> None:
        """Starts the running process again whenever it ends, after a pause that doubles while it ends soon."""
        loop = asyncio.get_running_loop()
        pause = 0.0
        while self.process is not None:
            began = loop.time()
            probing = asyncio.create_task(self._probe(say))
            try:
                await self.process.ended.wait()
            finally:
                probing.cancel()
            pause = 0.0 if loop.time() - began > _STABLE_AFTER else max(_FIRST_PAUSE, pause * 2)
            say(f"{self.name} ended with {describe(self.process.returncode or 0)}; starting it again")
            await asyncio.sleep(min(pause, _LONGEST_PAUSE))
            await self.start()

    async def _probe(self, say: Callable[[str], None]) -> None:
        """Ends the process whenever it is hung."""
        while True:
            await liveness.hung(self.answers, self.liveness_period)
            say(f"{self.name} is hung: it does not answer; ending it")
            self.kill()

    def kill(self) -> None:
        """Kill the process, if it runs."""
        if self.process is not None:
            self.process.signal(signal.SIGKILL)

    async def stop(self, grace: float) -> None:
        """Asks it to end, waits for the grace in seconds, then kills it."""
        if self.process is not None:
            await self.process.stop(grace)


def describe(code: int) -> str:
    """An exit code in words."""
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
