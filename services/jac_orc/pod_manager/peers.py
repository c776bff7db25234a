"""The port at which module servers ask where their module's other pods are.

A module's code can do what its server can. On the API's own port it could create modules without an API key, so in a
cluster the network policies close that port to modules and leave them this one.
"""

from __future__ import annotations

from jac_orc.core.methods import Context
from jac_orc.core.server import Server
from jac_orc.pod_manager.modules import Modules
from jac_orc.v1 import pod_manager_pb2 as pb


class PeersServicer:
    """PodManagerService for module servers."""

    def __init__(self, modules: Modules) -> None:
        self._modules = modules

    async def GetModule(self, request: pb.GetModuleRequest, context: Context) -> pb.GetModuleResponse:
        """Return the addresses of the module's pods, without the spec: its variables are no business of others."""
        module = self._modules.get(request.module_name)
        status = pb.ModuleStatus(pods=[pb.Pod(address=pod.address) for pod in module.pods])
        return pb.GetModuleResponse(module=pb.Module(name=module.name, status=status))


def peers_server(modules: Modules) -> Server:
    """Return a server, not started yet, that has this one method."""
    server = Server()
    service = pb.DESCRIPTOR.services_by_name["PodManagerService"]
    server.register(service, PeersServicer(modules), only=("GetModule",))
    return server
