"""Python environments, built once per lock.

An environment is built aside, under a name that nothing looks up, and renamed to its lock's digest when it is complete,
so that a half-built one is never seen. Builders of the same one in several processes may race: the first rename wins.
Whoever uses one holds its folder by a shared lock (flock), which pods inherit; only what nobody holds is removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
import logging
import os
import re
import shutil
import signal
import time
import uuid
import venv
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jac_orc.core import config, files
from jac_orc.core.processes import ManagedProcess, dying_with_parent, start_time
from jac_orc.core.tasks import Tasks, turn
from jac_orc.errors import error
from jac_orc.pod_manager import interpreters
from jac_orc.pod_manager.installer import Tell, run_uv
from jac_orc.pod_manager.installer_environment import basic_environment
from jac_orc.pod_manager.locks import Locks
from jac_orc.pod_manager.model import Lock, ModuleSpec
from jac_orc.pod_manager.requirements import installer_file

logger = logging.getLogger(__name__)

_BUILDING, _REMOVING = ".building-", ".removing-"
_COMPILED = "compiled.stamp"  # holds the size in bytes
_USED = "used.stamp"
_LOCK = "lock.json"
_SETTINGS = "pyvenv.cfg"  # names the standard library, and so code that each interpreter of the environment runs
_REPLACED = (
    f"what was installed has put a file in the place of {_SETTINGS}, {_COMPILED}, {_USED} or {_LOCK}, which are the "
    "environment's own; leave out the requirement or the source that has it"
)
_LONGEST_TURN = 10.0  # what takes longer waits for the network, or is so large that it shall not hold up the others


@dataclass(frozen=True)
class Limits:
    """When environments are removed that nobody uses."""

    size: int = 20 * 1024**3
    """How many bytes all of them may have together; those not used for longest go first."""
    age: float = 30 * 86_400.0
    """Seconds after its last use."""


@dataclass
class _Build:
    task: asyncio.Task[None] | None = None
    listeners: list[Tell] = field(default_factory=list)

    def tell(self, line: str) -> None:
        for listener in self.listeners:
            listener(line)


class Environment:
    """An environment that is held: nobody removes it before `release`."""

    def __init__(self, root: Path, fd: int) -> None:
        self.interpreter = root / "bin" / "python"
        self.fd = fd
        """Its folder, locked; a process that inherits it holds the environment, too."""

    def release(self) -> None:
        """Lets go of it."""
        os.close(self.fd)


def needs_none(lock: Lock) -> bool:
    """Whether an empty environment of this process's own interpreter is what the lock asks for."""
    return not lock.text and lock.python == interpreters.own().path


class Environments:
    """The environments below one directory; `concurrency` of them are built at a time."""

    def __init__(
        self, root: Path, locks: Locks, limits: Limits | None = None, *, timeout: float = 1800.0, concurrency: int = 2,
        collects: bool = True,
    ) -> None:  # fmt: skip
        """`collects`: remove what is not in use after each build, which is right only if nobody else uses `root`."""
        self.locks = locks
        self._root = root
        self._limits = limits or Limits()
        self._timeout = timeout
        self._collects = collects
        self._builds: dict[str, _Build] = {}
        self._turns = asyncio.Semaphore(concurrency)
        self._compiling: dict[str, asyncio.Task[None]] = {}
        self._tasks = Tasks()

    async def resolve(self, spec: ModuleSpec, tell: Tell) -> Lock:
        """As `Locks.resolve`, when it is this one's turn."""
        async with turn(self._turns, _LONGEST_TURN):
            return await self.locks.resolve(spec, tell)

    async def known(self, spec: ModuleSpec) -> Lock | None:
        """The lock of a spec whose environment is built; None where the installer is needed. Raises OrcError."""
        lock = await self.locks.known(spec)
        if lock is None or needs_none(lock):
            return lock
        return lock if await asyncio.to_thread(self.lock_of, lock.digest) is not None else None

    def lock_of(self, digest: str) -> Lock | None:
        """The lock that the environment was built from; None where it isn't there."""
        document = files.read_json(self._root / digest / _LOCK)
        return None if document is None else Lock(**document)

    async def ensure(self, lock: Lock, tell: Tell) -> Environment:
        """The lock's environment, held; it is built where it isn't there, and `tell` gets the installer's lines.

        Raises OrcError with the reason ENVIRONMENT_FAILED and the installer's last lines.
        """
        built = False
        while True:
            held = await asyncio.to_thread(self._hold, lock.digest)
            if held is not None:
                self._compile(lock)
                if built and self._collects:  # only now, as this one is held
                    self._tasks.start(asyncio.to_thread(self.collect))
                return held
            build = self._builds.setdefault(lock.digest, _Build())
            build.listeners.append(tell)
            if build.task is None:
                build.task = asyncio.create_task(self._build(lock, build.tell))
                build.task.add_done_callback(lambda _: self._builds.pop(lock.digest, None))
            try:
                await asyncio.shield(build.task)
                built = True
            finally:
                build.listeners.remove(tell)

    async def stop(self) -> None:
        """Ends the builds that are under way, and what they have made."""
        tasks: list[asyncio.Task[Any]] = [build.task for build in self._builds.values() if build.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(self._tasks.cancel(), *tasks, return_exceptions=True)

    def collect(self, used: Collection[str] | None = None) -> None:
        """Removes what builders that were killed have left, and environments that nobody holds beyond the limits.

        Where other machines build and use them too, `used` are the digests of those that are in use.
        """
        for aside in self._root.glob(f"{_BUILDING}*"):
            if self._is_left(aside, used is not None):
                shutil.rmtree(aside, ignore_errors=True)
        for aside in self._root.glob(f"{_REMOVING}*"):
            shutil.rmtree(aside, ignore_errors=True)
        there = sorted(self._there(), key=lambda each: each[1])
        size = sum(each[2] for each in there)
        for folder, last_use, bytes_ in there:
            too_old = time.time() - last_use > self._limits.age
            if folder.name in (used or ()):
                continue
            if (too_old or size > self._limits.size) and self._remove(folder):
                size -= bytes_

    def _is_left(self, aside: Path, is_shared: bool) -> bool:
        """Whether the builder of what was made aside has ended before it was done."""
        if is_shared:  # it may run on another machine
            return time.time() - _mtime(aside) > 2 * self._timeout
        pid, started, _ = aside.name.removeprefix(_BUILDING).split("-")  # the name tells whose it is
        return str(start_time(int(pid))) != started

    # --- using ---

    def _hold(self, digest: str) -> Environment | None:
        """The environment, locked; None where it isn't there. Another process may be removing it just now."""
        folder = self._root / digest
        while True:
            try:
                fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            except OSError:
                return None
            try:
                fcntl.flock(fd, fcntl.LOCK_SH)
                if os.fstat(fd).st_ino == folder.stat().st_ino and (folder / "bin" / "python").exists():
                    (folder / _USED).touch()
                    return Environment(folder, fd)
            except OSError:
                pass
            os.close(fd)
            if folder.exists() and not (folder / "bin" / "python").exists():  # somebody has emptied it
                shutil.rmtree(folder, ignore_errors=True)
                return None

    def _there(self) -> Iterator[tuple[Path, float, int]]:
        """Each environment with its last use and its size."""
        for folder in self._root.glob("[!.]*"):
            with contextlib.suppress(OSError):
                used = max(folder.stat().st_mtime, _mtime(folder / _USED))
                stamp = folder / _COMPILED
                yield folder, used, _size_by(stamp) or _size(folder)

    def _remove(self, folder: Path) -> bool:
        """Removes the environment unless somebody holds it."""
        try:
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:  # another process has removed it
            return True
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            aside = folder.with_name(f"{_REMOVING}{uuid.uuid4().hex}")
            folder.rename(aside)
        except OSError:
            return False
        finally:
            os.close(fd)
        shutil.rmtree(aside, ignore_errors=True)
        logger.info("removed the environment %s, which nobody uses", folder.name)
        return True

    # --- building ---

    async def _build(self, lock: Lock, tell: Tell) -> None:
        logger.info("building an environment: Python %s, %s", lock.python_version, ", ".join(lock.packages) or "empty")
        try:
            async with turn(self._turns, _LONGEST_TURN):
                aside = self._root / f"{_BUILDING}{os.getpid()}-{start_time(os.getpid())}-{uuid.uuid4().hex}"
                try:
                    await self._make_empty(aside, lock.python, tell)
                    if lock.text:
                        own = await asyncio.to_thread(_own_files, aside)
                        await self._install(lock, aside, tell)
                        if await asyncio.to_thread(_own_files, aside) != own:
                            raise error("ENVIRONMENT_FAILED", _REPLACED)
                    await asyncio.to_thread(files.write_json, aside / _LOCK, dataclasses.asdict(lock), mode=0o644)
                    # If another process was first, its environment is as good.
                    await asyncio.to_thread(files.moved, aside, self._root / lock.digest)
                finally:
                    await asyncio.to_thread(shutil.rmtree, aside, ignore_errors=True)
        except OSError as failure:
            text = f"the environment can't be built below {self._root}: {failure}"
            raise error("ENVIRONMENT_FAILED", text) from failure

    async def _make_empty(self, folder: Path, python: str, tell: Tell) -> None:
        """Make an environment without packages: of this process's own interpreter in 2 ms, of another one in 70."""
        await asyncio.to_thread(self._root.mkdir, parents=True, exist_ok=True)
        if python == interpreters.own().path:
            await asyncio.to_thread(_make_of_own, folder)
        else:
            options = ["--quiet", "--no-project", "--no-config", "--relocatable", "--python", python]
            await run_uv("venv", *options, str(folder), tell=tell, timeout=self._timeout)

    async def _install(self, lock: Lock, aside: Path, tell: Tell) -> None:
        file = aside / "requirements.txt"
        lines = re.sub(r" \\\n +", " ", lock.text).removesuffix("\n").split("\n")
        await asyncio.to_thread(file.write_text, installer_file(lines), encoding="ascii")
        # An environment must be whole without the installer's cache, which pods of modules don't mount.
        copied = ["--link-mode", "copy"] if config.environment().get("UV_LINK_MODE") == "symlink" else []
        await run_uv(
            "pip", "install", *self.locks.options, "--no-deps", *copied, "--python", str(aside / "bin" / "python"),
            "--requirements", str(file), tell=tell, timeout=self._timeout,
        )  # fmt: skip

    async def compiled(self, lock: Lock) -> None:
        """Returns once an environment is compiled as far as it can be."""
        while lock.digest in self._compiling:
            await self._compiling[lock.digest]

    def _compile(self, lock: Lock) -> None:
        """Has what is not compiled yet compiled in the background; an import compiles what it needs by itself."""
        if lock.digest not in self._compiling and not (self._root / lock.digest / _COMPILED).exists():
            self._compiling[lock.digest] = self._tasks.start(self._compiled(self._root / lock.digest, lock.python))

    async def _compiled(self, folder: Path, python: str) -> None:
        held = await asyncio.to_thread(self._hold, folder.name)
        if held is None:
            self._compiling.pop(folder.name, None)
            return
        try:
            # By the interpreter that the environment is made from, without `site`: nothing of what is installed runs,
            # neither .pth files nor a standard library that a pyvenv.cfg names.
            command = [python, "-I", "-S", "-m", "compileall", "-qq", str(folder / "lib")]
            process = ManagedProcess.start_piped(dying_with_parent(command, nice=19), basic_environment(), quiet=True)
            try:
                await process.ended.wait()
            finally:
                process.signal(signal.SIGKILL)
                await process.ended.wait()
            # Whatever it could not compile is no module of this Python; from here on the environment keeps its size.
            (folder / _COMPILED).write_text(str(await asyncio.to_thread(_size, folder)))
        except OSError as failure:
            logger.warning("the environment %s can't be compiled: %s", folder.name, failure)
        finally:
            held.release()
            self._compiling.pop(folder.name, None)


def _make_of_own(folder: Path) -> None:
    venv.EnvBuilder(symlinks=True).create(folder)
    with (folder / _SETTINGS).open("a") as settings:
        settings.write("relocatable = true\n")  # so that the installer writes scripts that find the interpreter


def _own_files(folder: Path) -> dict[str, bytes]:
    """The environment's own files at its root, which a wheel's data files could overwrite (PEP 427)."""
    files = (folder / name for name in (_SETTINGS, _COMPILED, _USED, _LOCK))
    return {file.name: file.read_bytes() for file in files if os.path.lexists(file)}


def _size_by(stamp: Path) -> int:
    """The size that an environment's stamp says; 0 if it says none."""
    try:
        return max(0, int(stamp.read_text()))
    except (OSError, ValueError):
        return 0


def _size(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())


def _mtime(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0
