"""grpc.health.v1 of the pod manager, which also answers for modules that have no pod ready to answer themselves."""

from __future__ import annotations

from grpc_health.v1 import health, health_pb2

from jac_orc.core.methods import Context
from jac_orc.pod_manager.backends.base import Backend


class HealthServicer(health.aio.HealthServicer):  # type: ignore[misc]
    """A check with the metadata `x-module` asks for that module; Envoy sends it here while no pod of it is ready."""

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self._backend = backend

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> health_pb2.HealthCheckResponse:
        name = str(dict(context.invocation_metadata() or ()).get("x-module", ""))
        if not name:
            return await super().Check(request, context)
        module = self._backend.get(name)
        serving = health_pb2.HealthCheckResponse.ServingStatus
        if module is None:
            return health_pb2.HealthCheckResponse(status=serving.SERVICE_UNKNOWN)
        return health_pb2.HealthCheckResponse(status=serving.SERVING if module.ready else serving.NOT_SERVING)
