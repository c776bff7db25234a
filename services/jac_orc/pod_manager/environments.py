"""Python environments, built once per content hash.

An environment is built aside, under a name that nothing looks up, and renamed to its hash when it is complete, so that
a half-built one is never seen. Builders of the same hash in several processes may race: the first rename wins.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import platform
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

import uv

from jac_orc.core.processes import start_time
from jac_orc.errors import error

logger = logging.getLogger(__name__)

_BUILDING = ".building-"
_LAST_LINES = 12
_MAX_OUTPUT = 64 * 1024


class Environments:
    """The environments below one directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._builds: dict[str, asyncio.Task[Path]] = {}

    async def ensure(self, requirements: Sequence[str], python_version: str) -> Path:
        """The interpreter of the environment with these requirements, which is built where it isn't there.

        `python_version` is `3.12` or alike, or empty for this process's own. Raises OrcError with the reason
        ENVIRONMENT_FAILED and the installer's last lines.
        """
        version = python_version or platform.python_version()
        content = [version, platform.machine(), platform.libc_ver()[0], sorted(requirements)]
        key = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:24]
        interpreter = self._root / key / "bin" / "python"
        if interpreter.exists():
            return interpreter
        build = self._builds.get(key)
        if build is None:
            build = self._builds[key] = asyncio.create_task(self._build(key, requirements, version))
            build.add_done_callback(lambda _: self._builds.pop(key, None))
        return await asyncio.shield(build)

    def remove_abandoned(self) -> None:
        """Removes what builders that were killed have left behind; their names tell whose it is."""
        for aside in self._root.glob(f"{_BUILDING}*"):
            pid, started, _ = aside.name.removeprefix(_BUILDING).split("-")
            if str(start_time(int(pid))) != started:
                shutil.rmtree(aside, ignore_errors=True)

    async def stop(self) -> None:
        """Ends the builds that are under way, and what they have made."""
        builds = list(self._builds.values())
        for build in builds:
            build.cancel()
        await asyncio.gather(*builds, return_exceptions=True)

    async def _build(self, key: str, requirements: Sequence[str], version: str) -> Path:
        aside = self._root / f"{_BUILDING}{os.getpid()}-{start_time(os.getpid())}-{uuid.uuid4().hex}"
        logger.info("building an environment: Python %s, %s", version, ", ".join(requirements) or "no requirements")
        try:
            await asyncio.to_thread(self._root.mkdir, parents=True, exist_ok=True)
            await _uv("venv", "--quiet", "--no-project", "--relocatable", "--python", version, str(aside))
            if requirements:
                python = str(aside / "bin" / "python")
                await _uv("pip", "install", "--quiet", "--no-progress", "--python", python, "--", *requirements)
            with contextlib.suppress(OSError):  # another process was first: its environment is as good
                await asyncio.to_thread(aside.rename, self._root / key)
        except OSError as failure:
            text = f"the environment can't be built below {self._root}: {failure}"
            raise error("ENVIRONMENT_FAILED", text) from failure
        finally:
            await asyncio.to_thread(shutil.rmtree, aside, ignore_errors=True)
        return self._root / key / "bin" / "python"


async def _uv(*arguments: str) -> None:
    """Runs the installer; raises OrcError with its last lines where it fails."""
    process = await asyncio.create_subprocess_exec(
        uv.find_uv_bin(), *arguments,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        output, _ = await process.communicate()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        lines = output[-_MAX_OUTPUT:].decode("utf-8", "replace").strip().splitlines()
        text = "\n".join(line.strip() for line in lines[-_LAST_LINES:])
        raise error("ENVIRONMENT_FAILED", f"the requirements can't be installed:\n{text}")
