"""One pod on this machine: a module server process that is started again whenever it ends, until it is drained.

The process outlives the pod manager. What is needed to find it again (process id, start time, port) stands in the
pod's file, and the next pod manager adopts it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import json
import logging
import os
import signal
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jac_orc.core import addresses, config, files, lifecycle, liveness
from jac_orc.core.processes import ManagedProcess, start_time
from jac_orc.core.tasks import Tasks, report_working, turn
from jac_orc.errors import OrcError, error
from jac_orc.pod_manager.backends.base import server_environment, stop_seconds
from jac_orc.pod_manager.backends.spares import Spares
from jac_orc.pod_manager.environments import Environments
from jac_orc.pod_manager.model import ModuleSpec, Pod, PodPhase
from jac_orc.pod_manager.policy import Policy, fingerprint
from jac_orc.pod_manager.settings import Settings
from jac_orc.pod_manager.sources import Sources

logger = logging.getLogger(__name__)

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 30.0
_STABLE_AFTER = 30.0
_LAME_DUCK = 0.3
_LONGEST_TURN = 5.0
_SAVE_AGAIN = 2.0


class Host:
    """What the modules of this machine have in common."""

    def __init__(self, settings: Settings, policy: Policy, environments: Environments, sources: Sources) -> None:
        self.settings = settings
        self.environments = environments
        self.sources = sources
        self.policy = policy
        self.pod_manager_url = addresses.join(settings.host, settings.port)
        # So that pods of another policy are replaced.
        self.run_id = f"{settings.run_id} {fingerprint(policy.environment)}".strip()
        self.pods = settings.state_dir / "pods"
        self.logs = settings.state_dir / "logs"
        self.working = settings.state_dir / "working"
        self.reports = settings.state_dir / "reports.sock"
        # More than there are cores would only keep each other from getting ready; each waits half of its time.
        self.turns = asyncio.Semaphore(2 * (os.cpu_count() or 1))
        self.spares = Spares(settings, self.logs / "spares.log", self.turns)


@dataclass(frozen=True)
class Runtime:
    """What the module's code runs in."""

    interpreter: Path
    folders: tuple[Path, ...]
    """Where the user's own code is."""
    source: Path | None
    """The folder with all that is stored of it, its metadata included."""
    held_fd: int
    """The environment's lock, which the pod holds as long as it lives."""


@dataclass(frozen=True)
class PodRecord:
    """The pod's file. `pid`, `start_ticks` and `port` are of the running process; 0: there is none, or not yet."""

    name: str
    module_name: str
    revision: str
    generation: int
    run_id: str
    pid: int = 0
    start_ticks: int = 0
    port: int = 0
    restarts: int = 0
    """How often anything of the pod was restarted before this process."""
    guest_restarts: int = 0
    """How often this process has replaced a guest."""
    draining: bool = False
    """Whether this process has been asked to stop."""

    def counting(self, pid: int, restarts: int) -> PodRecord:
        """Return the record with these replaced guests, if it is of this process."""
        return dataclasses.replace(self, guest_restarts=restarts) if pid == self.pid else self


class LocalPod:
    """Keeps one module server running, from now on; `on_change` is called after each change of `state`.

    `process` is one that an earlier pod manager has started and that answers calls; None: one is started.
    """

    def __init__(
        self, host: Host, spec: ModuleSpec, record: PodRecord, on_change: Callable[[], None],
        prepare: Callable[[], Awaitable[Runtime]], process: ManagedProcess | None = None,
    ) -> None:  # fmt: skip
        self._prepare = prepare
        self._host = host
        self.spec = spec
        self._on_change = on_change
        self.record = record
        self.phase = PodPhase.READY if process else PodPhase.STARTING
        self.failure: OrcError | None = None
        self._process = process
        self._pause = 0.0
        self._takes_calls = True
        self._is_saved = True
        self._saving: asyncio.Future[None] | None = None
        self._writing = asyncio.Lock()
        self._tasks = Tasks()
        self._task = self._tasks.supervise(f"keeping pod {record.name}", self._keep)

    @property
    def state(self) -> Pod:
        """The pod as it is now."""
        address = f"127.0.0.1:{self.record.port}" if self.record.port and self._takes_calls else ""
        restarts = self.record.restarts + self.record.guest_restarts
        return Pod(self.record.name, self.phase, address, restarts, self.record.generation)

    async def count_guests(self, pid: int, restarts: int) -> None:
        """Record how often the pod's process, if it is this one, has replaced a guest."""
        counted = self.record.counting(pid, restarts).guest_restarts
        if counted != self.record.guest_restarts:
            await self._update(guest_restarts=counted)
            self._on_change()

    async def drain(self) -> None:
        """Let calls in flight end, then end the process and remove what is left of the pod."""
        self._set_phase(PodPhase.DRAINING)
        await self.detach(release=False)
        if self._process is not None:
            if not self.record.draining:  # a second signal would end its calls at once
                self._process.signal(signal.SIGTERM)
            await self._update(draining=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAME_DUCK):
                    await self._process.ended.wait()
            self._takes_calls = False
            self._on_change()
            await self._process.end_within(stop_seconds(self.spec, self._host.settings, _LAME_DUCK))
        await asyncio.to_thread(forget, self._host, self.record.name)

    async def detach(self, *, release: bool = True) -> None:
        """Stops keeping the process running, which goes on."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._saving is not None:
            await asyncio.wait([self._saving])  # else it could write the file of a pod that is gone
        if release and self._process is not None:
            self._process.release()

    @property
    def _file(self) -> Path:
        return self._host.pods / f"{self.record.name}.json"

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            if self._process is None:
                async with turn(self._host.turns, _LONGEST_TURN):
                    await self._try_to_launch()
            if self._process is not None:
                probing = self._tasks.supervise(
                    f"probing pod {self.record.name}", functools.partial(self._probe, self._process)
                )
                try:
                    await self._ended(self._process)
                finally:
                    probing.cancel()
                logger.warning("pod %s has ended", self.record.name)
            stable = self.failure is None and loop.time() - started > _STABLE_AFTER
            self._pause = 0.0 if stable else max(self._pause, _FIRST_PAUSE if self.failure else 0.0)
            self._process = None
            restarts = self.state.restarts + 1
            self.record = dataclasses.replace(
                self.record, pid=0, start_ticks=0, port=0, restarts=restarts, guest_restarts=0
            )
            self._set_phase(PodPhase.CRASHED)
            await self._update()
            await asyncio.sleep(self._pause)
            self._pause = min(max(_FIRST_PAUSE, self._pause * 2), _LONGEST_PAUSE)

    async def _probe(self, process: ManagedProcess) -> None:
        """End the process whenever it is hung."""
        report_working()
        while True:
            await liveness.hung(self._answers, self._host.settings.liveness_period)
            logger.error("pod %s is hung: its server does not answer health checks; ending it", self.record.name)
            process.signal(signal.SIGKILL)

    async def _answers(self) -> bool:
        return not self.record.port or await liveness.grpc_answers(f"127.0.0.1:{self.record.port}")

    async def _ended(self, process: ManagedProcess) -> None:
        """Wait for the end of the process; try again in the meantime to write a state file that couldn't be written."""
        while not process.ended.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if self._is_saved else _SAVE_AGAIN):
                    await process.ended.wait()
            if not self._is_saved:
                await self._update()

    async def _try_to_launch(self) -> None:
        try:
            await self._launch()
        except OSError as failure:
            self.failure = error("MODULE_UNAVAILABLE", f"the module server can't be started: {failure}")
            if self._process is not None:
                await self._process.stop(stop_seconds(self.spec, self._host.settings, _LAME_DUCK))

    async def _launch(self) -> None:
        """Starts the process and waits until the module can be called; `failure` says why it can't."""
        self._set_phase(PodPhase.STARTING)
        try:
            runtime = await self._prepare()  # the environment may have been removed since the last time
        except OrcError as failure:
            self.failure = failure
            return
        # No pipe: uvloop closes a pipe's descriptor twice, and its number may be another file's by then.
        reader, writer = socket.socketpair()
        with reader:
            with writer:  # nothing is awaited in here: another task could release the environment
                output = self._host.logs / f"{self.record.name}.log"
                descriptors = {"NOTIFY_FD": writer.fileno(), "ENVIRONMENT_FD": runtime.held_fd}
                self._process = self._host.spares.start_server(self._environment(runtime), output, descriptors)
            await self._update(pid=self._process.pid, start_ticks=start_time(self._process.pid) or 0, port=0)
            async with contextlib.aclosing(_lines(reader)) as lines:
                async for told in lines:
                    if "port" in told:
                        self.failure = None
                        await self._update(port=told["port"])
                        self._set_phase(PodPhase.READY)
                        return
                    if "error" in told:
                        self.failure = lifecycle.failure_told(told)
                        return
                    self._set_phase(PodPhase.IMPORTING)
        self.failure = error("MODULE_UNAVAILABLE", "the module server has ended before it could answer calls")

    def _environment(self, runtime: Runtime) -> dict[str, str]:
        return {
            **config.environment(),
            **server_environment(
                self.spec, self._host.settings, self._host.pod_manager_url, self._host.policy, _LAME_DUCK
            ),
            "HOST": "127.0.0.1",
            "PORT": "0",
            "GUEST_PYTHON": str(runtime.interpreter),
            "SOURCE_FOLDERS": os.pathsep.join(map(str, runtime.folders)),
            "SOURCE_HOME": str(runtime.source or ""),
            "WORKING_DIRECTORY": str(self._host.working / self.record.name),
            "POD_NAME": self.record.name,
            "REPORTS": str(self._host.reports),
            "LOG_FILE": str(self._host.logs / f"{self.record.name}.log"),
        }

    async def _update(self, **changes: Any) -> None:
        """Record the changes; while the file can't be written, the pod serves all the same."""
        self.record = dataclasses.replace(self.record, **changes)
        async with self._writing:
            document = dataclasses.asdict(self.record)
            # Not durable: no process outlives the machine.
            write = functools.partial(files.write_json, self._file, document, durable=False)
            self._saving = asyncio.ensure_future(asyncio.to_thread(write))
            try:
                await asyncio.shield(self._saving)
                self._is_saved = True
            except OSError as failure:
                self._is_saved = False
                logger.warning("the state of pod %s can't be written: %s", self.record.name, failure)

    def _set_phase(self, phase: PodPhase) -> None:
        self.phase = phase
        self._on_change()


def forget(host: Host, name: str) -> None:
    """Removes what is left of a pod that has ended."""
    (host.pods / f"{name}.json").unlink(missing_ok=True)
    for file in host.logs.glob(f"{name}.log*"):
        file.unlink(missing_ok=True)
    for directory in (host.working / name, host.working / f"{name}.new"):
        files.remove_tree(directory)


def adopted(record: PodRecord) -> ManagedProcess | None:
    """The record's process if it runs and has served; one that has not is killed."""
    process = ManagedProcess.adopt(record.pid, record.start_ticks) if record.pid else None
    if process is None or record.port:
        return process
    process.signal(signal.SIGKILL)
    process.release()
    return None


def kill_all(state_dir: Path) -> None:
    """Kill the processes of all pods that are recorded there."""
    for file in (state_dir / "pods").glob("*.json"):
        with contextlib.suppress(OSError, ValueError, TypeError):
            record = PodRecord(**files.read_json(file))
            if process := ManagedProcess.adopt(record.pid, record.start_ticks):
                process.signal(signal.SIGKILL)


async def _lines(reader: socket.socket) -> AsyncGenerator[dict[str, Any]]:
    """The JSON lines that a service writes while it starts, until it closes its end or ends."""
    stream, writer = await asyncio.open_unix_connection(sock=reader)
    try:
        while line := await stream.readline():
            with contextlib.suppress(ValueError):  # it has ended within a line
                yield json.loads(line)
    finally:
        writer.close()
