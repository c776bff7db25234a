"""`python -m jac_orc.pod_manager`: the pod manager, on this machine or in a cluster, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from functools import partial

import grpc
import uvloop

from jac_orc.core import addresses, config, files, lifecycle, logs
from jac_orc.core.server import Server
from jac_orc.core.tasks import Tasks, report_working
from jac_orc.errors import OrcError
from jac_orc.pod_manager import distributions, policy
from jac_orc.pod_manager.activator import Activator
from jac_orc.pod_manager.backends.base import Backend
from jac_orc.pod_manager.backends.local import LocalBackend
from jac_orc.pod_manager.environments import Environments, Limits
from jac_orc.pod_manager.health import HealthServicer
from jac_orc.pod_manager.held_calls import HeldLimits
from jac_orc.pod_manager.locks import Locks
from jac_orc.pod_manager.modules import Modules
from jac_orc.pod_manager.peers import peers_server
from jac_orc.pod_manager.publisher import Publisher
from jac_orc.pod_manager.rest import RestServicer
from jac_orc.pod_manager.servicer import PodManagerServicer
from jac_orc.pod_manager.settings import Settings
from jac_orc.pod_manager.sources import SourceLimits, Sources
from jac_orc.pod_manager.xds import resources
from jac_orc.pod_manager.xds.listener import listener
from jac_orc.pod_manager.xds.routes import routes
from jac_orc.pod_manager.xds.server import XdsServer
from jac_orc.pod_manager.xds.snapshot import Snapshot
from jac_orc.v1 import module_pb2, pod_manager_pb2, rest_pb2

logger = logging.getLogger(__name__)

_TELLING_SECONDS = 0.5
_SERVICES = ("jac_orc.v1.PodManagerService", "jac_orc.v1.PodManagerRestService")
_XDS_OPTIONS = (
    ("grpc.so_reuseport", 0),
    # Envoy pings every few seconds to notice a dead control plane; by default that is taken for an attack.
    ("grpc.http2.min_ping_interval_without_data_ms", 1000),
    ("grpc.http2.max_ping_strikes", 0),
)


class PodManager:
    """All parts of the pod manager, wired; `address` is where Envoy reaches it."""

    def __init__(
        self, settings: Settings, address: str, allowed: policy.Policy, backend: Backend, sources: Sources
    ) -> None:
        self._settings = settings
        self._address = address
        self.modules = Modules(backend, allowed, auto_deploy=settings.auto_deploy)
        module_service = module_pb2.DESCRIPTOR.services_by_name["ModuleService"]
        limits = settings.held_calls, settings.held_bytes, settings.held_calls_total, settings.held_bytes_total
        self._activator = Activator(module_service, self.modules, HeldLimits(*limits))
        self._server = Server(HealthServicer(backend))
        native = PodManagerServicer(self.modules, sources)
        service = pod_manager_pb2.DESCRIPTOR.services_by_name["PodManagerService"]
        self._server.register(service, native, waiting="request")
        rest = rest_pb2.DESCRIPTOR.services_by_name["PodManagerRestService"]
        self._server.register(rest, RestServicer(native, self.modules), waiting="request")
        self._server.add_streams(module_service, self._activator.behaviours())
        self._peers = peers_server(self.modules)
        self.snapshot = Snapshot()
        self._xds = grpc.aio.server(options=_XDS_OPTIONS)
        XdsServer(self.snapshot).add_to(self._xds)
        self._publisher = Publisher(backend, self.snapshot, (address, settings.port))
        self._faults = backend.faults
        self._tasks = Tasks(self._faults)

    async def start(self) -> None:
        """Listens and begins to follow the backend; raises OSError where a port is taken."""
        settings = self._settings
        self.snapshot.set(resources.pod_manager_cluster(self._address, settings.port))
        self.snapshot.set(routes(settings.allowed_hosts))
        front = partial(listener, settings.front_host, api_keys=settings.api_keys, log=settings.access_log)
        self.snapshot.set(front(settings.front_port))
        if settings.certificate:
            self.snapshot.set(front(settings.tls_port, certificate=settings.certificate))
        await self._server.start(addresses.join(settings.host, settings.port))
        if settings.peers_port is not None:
            await self._peers.start(addresses.join(settings.host, settings.peers_port))
        xds_address = addresses.join(settings.xds_host, settings.xds_port)
        try:
            self._xds.add_insecure_port(xds_address)
        except RuntimeError as failure:
            raise OSError(f"can't listen on {xds_address}: {failure}") from failure
        await self.modules.start()
        self._publisher.publish_all()
        self._tasks.supervise("publishing modules to Envoy", self._publisher.follow)
        self._tasks.supervise("closing connections to pods that are gone", self._activator.follow)
        await self._xds.start()
        await self._show_health()
        self._tasks.supervise("showing the health", self._follow_faults)

    async def _show_health(self) -> None:
        """Show the faults in the health of the services.

        The whole server is NOT_SERVING, and so not ready in a cluster, only while this very process is broken. While
        the API server is away, or one module can't be published, all pod managers are in the same state: they stay
        ready, as Envoy needs one and their calls go on, and only the services that change modules are NOT_SERVING.
        """
        impaired = _SERVICES if self._faults.is_impaired else ()
        await self._server.set_serving(not self._faults.is_broken, impaired=impaired)

    async def _follow_faults(self) -> None:
        while True:
            await self._show_health()
            report_working()
            await self._faults.changed()

    async def stop(self, hurry: asyncio.Event | None = None) -> None:
        """Let requests in flight end within a grace, and the calls that it forwards as a pod does; pods go on."""
        settings = self._settings
        await self._server.health.enter_graceful_shutdown()
        draining = self._server.drain(settings.max_drain, settings.stop_grace, hurry=hurry)
        stopping = asyncio.gather(draining, self._peers.drain(settings.stop_grace, hurry=hurry), self._xds.stop(0))
        await asyncio.wait([stopping], timeout=max(0.0, settings.stop_grace - _TELLING_SECONDS))
        await self.modules.stop()  # while those who wait can still be told
        await stopping
        await self._tasks.cancel()
        await self._activator.stop()


async def serve(settings: Settings, allowed: policy.Policy) -> None:
    """Runs until told to stop."""
    lifecycle.keep_private(settings.lifeline_fd, settings.notify_fd)
    hurry = asyncio.Event()
    stop = asyncio.create_task(lifecycle.stop_requested(settings.lifeline_fd, hurry))
    limits = SourceLimits(settings.source_archive_bytes, settings.source_unpacked_bytes, settings.source_files)
    sources = Sources(settings.state_dir / "sources", limits)
    environments = Environments(
        settings.cache_dir / "environments",
        Locks(settings.state_dir / "locks", sources, allowed, settings.install_timeout),
        Limits(settings.cache_bytes, settings.cache_days * 86_400),
        timeout=settings.install_timeout,
    )
    backend: Backend
    address = settings.host
    if settings.backend == "kubernetes":
        from jac_orc.pod_manager.backends.kube.start import kubernetes_backend

        backend, address = await kubernetes_backend(settings, environments, sources, allowed)
    else:
        backend = LocalBackend(settings, environments, sources, allowed)
    manager = PodManager(settings, address, allowed, backend, sources)
    await backend.start()
    await manager.start()
    ahead = asyncio.create_task(asyncio.to_thread(distributions.load))  # so that no creation waits for it
    if settings.backend == "local":
        admin = settings.state_dir / "envoy-admin.sock"
        bootstrap = resources.bootstrap("front", ("127.0.0.1", settings.xds_port), str(admin))
        await asyncio.to_thread(files.write_json, settings.state_dir / "envoy.json", bootstrap)
    logger.info("listening on %s:%d, xDS on %s:%d", settings.host, settings.port, settings.xds_host, settings.xds_port)
    lifecycle.notify(settings.notify_fd, {"ready": True})
    logger.info("stopping: %s", await stop)
    await ahead
    if settings.backend == "local":
        await asyncio.gather(manager.stop(hurry), backend.stop())  # at once: a pod that ends now is not started again
    else:
        await manager.stop(hurry)
        await backend.stop()  # which has told till now how far the creations are that are waited for


def make_directories(settings: Settings) -> None:
    """Create what is missing; on a machine with other users, so that they can't look into it."""
    if settings.backend == "local":
        for name in ("", "locks", "logs", "modules", "pods", "sources", "working"):
            files.private_directory(settings.state_dir / name)
        files.private_directory(settings.cache_dir / "environments")
    else:
        # A builder mounts an empty folder over this one, which the container runtime would otherwise make as root's.
        sources = settings.state_dir / "sources"
        with contextlib.suppress(OSError):
            if sources.stat().st_uid != os.getuid():
                sources.rmdir()
        sources.mkdir(parents=True, exist_ok=True)


def main() -> None:
    """Runs the pod manager with settings from the environment."""
    try:
        settings = config.load(Settings, prefix="POD_MANAGER_")
        allowed = policy.load(settings.policy_file)
    except config.ConfigurationError as failure:
        print(f"pod manager: {failure}", file=sys.stderr)
        sys.exit(2)
    logs.set_up(settings.log_level, pod=settings.pod_name or "pod-manager")
    try:
        make_directories(settings)
        uvloop.run(serve(settings, allowed))
    except (OSError, OrcError, config.ConfigurationError) as failure:
        logger.error("%s", failure)
        sys.exit(2)


if __name__ == "__main__":
    main()
