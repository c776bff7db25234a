"""Runs the installer, `uv`, and hands on what it tells while it runs.

It reads its own environment variables (`UV_DEFAULT_INDEX`, `UV_CACHE_DIR`, …), by which an operator says where packages
come from; nothing here knows of them.
"""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Callable

import uv

from jac_orc.core.processes import ManagedProcess, dying_with_parent
from jac_orc.errors import error
from jac_orc.pod_manager.installer_environment import Redaction, environment
from jac_orc.pod_manager.model import ModulePhase

Tell = Callable[[str], None]
"""Takes one line of the installer's output."""

MAX_PROGRESS = 200
"""How many characters of a line tell how far it is."""
_STAGES = {
    "Resolved": ModulePhase.BUILDING,
    "Downloading": ModulePhase.DOWNLOADING,
    "Building": ModulePhase.BUILDING,
    "Prepared": ModulePhase.BUILDING,
    "Installed": ModulePhase.BUILDING,
}
_FIRST_LINES, _LAST_LINES = 3, 12
_MAX_LINE, _KEPT_LINES = 2000, 1000
_AFTER_END = 1.0  # for what it wrote last; a process that a build has left in a session of its own may hold the pipe
_LONG_WORD = re.compile(r"(\S{50})\S{100,}(\S{50})")  # a requirement or an address that says no more when it is whole


def stage_of(line: str) -> ModulePhase | None:
    """What the installer does from this line on; None for a line that is a detail."""
    return _STAGES.get(line.partition(" ")[0])


async def run_uv(*arguments: str, tell: Tell, timeout: float) -> str:
    """What it writes to standard output; the lines of its standard error go to `tell` as they come.

    Raises OrcError with the reason ENVIRONMENT_FAILED and the lines that matter where it fails or takes longer than
    `timeout` seconds. Ending this ends the installer and what it has started.
    """
    process = ManagedProcess.start_piped(dying_with_parent([uv.find_uv_bin(), *arguments]), environment())
    lines: list[str] = []
    reading = asyncio.gather(process.stdout.read(), _follow(process.stderr, lines, tell))
    try:
        async with asyncio.timeout(timeout):
            await process.ended.wait()
            await asyncio.wait([reading], timeout=_AFTER_END)
    except TimeoutError:
        text = f"installing took longer than the {timeout:g} s that POD_MANAGER_INSTALL_TIMEOUT allows"
        raise error("ENVIRONMENT_FAILED", "\n".join([text, *lines[-_LAST_LINES:]])) from None
    finally:
        process.signal(signal.SIGKILL)
        await process.ended.wait()
        process.close_output()
        output, _ = await reading
    if process.returncode != 0:
        hint = "\nthe policy allows no builds (`builds: false`): require versions that have wheels"
        told = _telling(lines) + (hint if "--no-build" in arguments else "")
        raise error("ENVIRONMENT_FAILED", f"the requirements can't be installed:\n{told}")
    return output.decode("utf-8", "replace")


async def _follow(reader: asyncio.StreamReader, lines: list[str], tell: Tell) -> None:
    rest, redacted = b"", Redaction()

    def shortened(line: bytes) -> str:
        return _LONG_WORD.sub(r"\1…\2", redacted(line.decode("utf-8", "replace")))[:_MAX_LINE].rstrip()

    while data := await reader.read(64 * 1024):
        *whole, rest = (rest + data).split(b"\n")
        if len(rest) > _MAX_LINE:
            whole, rest = [*whole, rest], b""
        for text in map(shortened, whole):
            if text:
                lines.append(text)
                tell(text)
        del lines[:-_KEPT_LINES]
    if rest:
        lines.append(shortened(rest))


def _telling(lines: list[str]) -> str:
    """The lines that matter: where the error begins, and the last ones."""
    begin = next((i for i, line in enumerate(lines) if line.lstrip("× ").startswith(("error", "Failed"))), 0)
    told = [line.strip() for line in lines[begin:]]
    if len(told) > _FIRST_LINES + _LAST_LINES:
        told = [*told[:_FIRST_LINES], "…", *told[-_LAST_LINES:]]
    return "\n".join(told)
