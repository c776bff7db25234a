"""The module server's process, from its settings to its end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable

import uvloop

from jac_orc.core import addresses, config, lifecycle, logs
from jac_orc.core.draining import not_begun
from jac_orc.core.server import Server
from jac_orc.core.tasks import Tasks
from jac_orc.errors import OrcError
from jac_orc.module_server.calls import Calls
from jac_orc.module_server.idle_guest import IdleGuest
from jac_orc.module_server.peers import Peers, place_of
from jac_orc.module_server.servicer import POD_SERVICE, SERVICE, ModuleServicer, PodServicer
from jac_orc.module_server.settings import Settings
from jac_orc.module_server.spare import assigned

logger = logging.getLogger(__name__)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_REPORT_AGAIN = 1.0
_KEPT_BYTES = 32 * 1024 * 1024


async def run(spare_fd: int | None, idle: IdleGuest | None) -> int:
    """Serve until stopped, a spare server once it has its module; return the exit code."""
    if spare_fd is not None:
        given = asyncio.create_task(assigned(spare_fd))
        stop = asyncio.create_task(lifecycle.stop_requested(None))
        await asyncio.wait([given, stop], return_when=asyncio.FIRST_COMPLETED)
        is_given = given.done() and given.result()
        given.cancel()
        stop.cancel()
        if not is_given:
            return 0
    try:
        settings = config.load(Settings)
    except config.ConfigurationError as failure:
        print(f"module server: {failure}", file=sys.stderr)
        return 2
    pod = settings.pod_name or socket.gethostname()
    logs.set_up(settings.log_level, settings.log_file, pod=pod, module=settings.module_name)
    if idle is not None and not idle.fits(settings.guest_python):
        idle.stop()
        idle = None
    return await serve(settings, idle)


async def serve(settings: Settings, idle: IdleGuest | None = None) -> int:
    """Serves until told to stop; returns the exit code."""
    lifecycle.keep_private(settings.lifeline_fd, settings.notify_fd, settings.environment_fd)
    hurry = asyncio.Event()
    stop = asyncio.create_task(lifecycle.stop_requested(settings.lifeline_fd, hurry))
    gone = asyncio.Event()
    tasks = Tasks()
    server = Server()

    def on_serving(serving: bool) -> None:
        tasks.start(server.set_serving(serving))

    calls = Calls(settings, on_serving, gone.set, _reporter(settings, tasks))
    peers = Peers(settings.module_name, settings.pod_manager_url)
    servicer = ModuleServicer(calls, peers, settings)
    server.register(SERVICE, servicer, raw=True)
    server.register(POD_SERVICE, PodServicer(calls))
    port = await server.start(addresses.join(settings.host, settings.port))
    logger.info("listening on %s:%d, importing %s", settings.host, port, settings.module_name)
    lifecycle.notify(settings.notify_fd, {"importing": settings.module_name}, last=False)

    place = place_of(settings.module_name, await asyncio.to_thread(_address, settings), port)
    starting = asyncio.create_task(calls.start(place, idle))
    await asyncio.wait([starting, stop], return_when=asyncio.FIRST_COMPLETED)
    exit_code = 0
    if starting.done() and (failure := starting.exception()) is not None:
        if not isinstance(failure, OrcError):
            raise failure
        logger.error("%s", failure.message)
        lifecycle.tell_failure(failure, settings.termination_log, settings.notify_fd)
        exit_code = 1
    elif starting.done():
        await server.set_serving(True)
        logger.info("serving %s", settings.module_name)
        lifecycle.notify(settings.notify_fd, {"port": port})
        _keep_freed_memory()
        if (reason := await _first(stop, gone)) is None:
            logger.error("the module's environment is gone: ending, so that it is made again")
            exit_code = 1
        else:
            logger.info("stopping: %s", reason)
            if reason in lifecycle.SIGNALS:
                tasks.start(report(settings, calls.restarts, stops=True))
            await drain(server, calls, settings, hurry)
    await server.drain(0, before_cut=lambda: calls.refuse_waiting(not_begun()))
    starting.cancel()
    stop.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await calls.stop(hurry)
    await servicer.stop()
    await peers.stop()
    await tasks.cancel()
    return exit_code


async def _first(stop: asyncio.Task[str], gone: asyncio.Event) -> str | None:
    """Return why the server must stop, or None if its module's environment is gone before."""
    broken = asyncio.create_task(gone.wait())
    await asyncio.wait([stop, broken], return_when=asyncio.FIRST_COMPLETED)
    broken.cancel()
    return stop.result() if stop.done() else None


def _reporter(settings: Settings, tasks: Tasks) -> Callable[[int], None]:
    """Return what reports a new count of replaced guests, instead of the one being reported."""
    reporting: list[asyncio.Task[None]] = []

    def on_restart(count: int) -> None:
        while reporting:
            reporting.pop().cancel()
        reporting.append(tasks.start(report(settings, count)))

    return on_restart


async def report(settings: Settings, count: int, *, stops: bool = False) -> None:
    """Report how many guests were replaced, and whether the pod stops, until the pod manager receives it."""
    message = {
        "module": settings.module_name, "pod": settings.pod_name, "pid": os.getpid(), "guest_restarts": count,
        "stops": stops,
    }  # fmt: skip
    while settings.reports is not None and not lifecycle.report(settings.reports, message):
        await asyncio.sleep(_REPORT_AGAIN)


async def drain(server: Server, calls: Calls, settings: Settings, hurry: asyncio.Event) -> None:
    """Lame duck, then no new calls, then the end of those in flight, or of the time that they have."""
    loop = asyncio.get_running_loop()
    grace = min(settings.timeout, settings.max_drain)
    end = loop.time() + settings.lame_duck + grace
    await server.lame_duck(settings.lame_duck, grace, hurry)
    await server.drain(end - loop.time(), hurry=hurry, before_cut=lambda: calls.refuse_waiting(not_begun()))


def _address(settings: Settings) -> str:
    """The IP address at which the pod is reached."""
    if settings.pod_address is not None:
        return settings.pod_address
    host = settings.host.strip("[]")
    try:
        return socket.gethostbyname(socket.gethostname()) if host in ("0.0.0.0", "::") else host  # noqa: S104
    except OSError:  # a host without a name of its own: nobody can reach it but from itself
        return "127.0.0.1"


def _keep_freed_memory() -> None:
    """Has malloc keep what large messages have used for the next ones.

    Page faults for memory that glibc had just given back were a third of the time that a large array took here.
    """
    import ctypes

    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):  # glibc's
        for option in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
            library.mallopt(option, _KEPT_BYTES)


def main(idle: IdleGuest | None) -> None:
    """Run the server with settings from the environment; `idle` is a guest that has been started ahead."""
    try:
        sys.exit(uvloop.run(run(config.spare_fd(), idle)))
    except OSError as failure:
        logger.error("%s", failure)
        sys.exit(2)
