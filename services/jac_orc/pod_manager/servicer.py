"""PodManagerService: each method converts, calls, converts."""

from __future__ import annotations

from collections.abc import AsyncIterator

from jac_orc.core.methods import Context
from jac_orc.errors import error
from jac_orc.pod_manager import convert, pages, pod_reports, uploads
from jac_orc.pod_manager.modules import Modules
from jac_orc.pod_manager.sources import Sources
from jac_orc.v1 import pod_manager_pb2 as pb

_DEFAULT_PAGE = 100
_LARGEST_PAGE = 1000
_DEFAULT_TAIL = 100


class PodManagerServicer:
    """Answers for the modules of one pod manager."""

    def __init__(self, modules: Modules, sources: Sources) -> None:
        self._modules = modules
        self._sources = sources

    async def UploadSource(
        self, requests: AsyncIterator[pb.UploadSourceRequest], context: Context
    ) -> pb.UploadSourceResponse:
        return await uploads.receive(self._sources, requests)

    async def CreateModule(self, request: pb.CreateModuleRequest, context: Context) -> pb.CreateModuleResponse:
        spec = convert.spec_from(await self.stored(request.spec))
        module = await self._modules.create(spec, wait=_wait(request))
        return pb.CreateModuleResponse(module=convert.module_message(module))

    async def GetModule(self, request: pb.GetModuleRequest, context: Context) -> pb.GetModuleResponse:
        message = convert.module_message(self._modules.get(request.module_name))
        if request.ask_pods or not request.HasField("ask_pods"):
            await pod_reports.fill(message.status.pods)
        return pb.GetModuleResponse(module=message)

    async def ListModules(self, request: pb.ListModulesRequest, context: Context) -> pb.ListModulesResponse:
        if request.page_size < 0:
            raise error("MALFORMED_REQUEST", "page_size can't be negative", {"field": "page_size"})
        size = min(request.page_size or _DEFAULT_PAGE, _LARGEST_PAGE)
        # The token holds the last name of the page before, so that a page stays right while modules come and go.
        last = pages.last_name(request.page_token)
        rest = [module for module in self._modules.backend.modules() if module.name > last]
        token = pages.token(rest[size - 1].name) if len(rest) > size else ""
        messages = [convert.module_message(module) for module in rest[:size]]
        return pb.ListModulesResponse(modules=messages, next_page_token=token)

    async def UpdateModule(self, request: pb.UpdateModuleRequest, context: Context) -> pb.UpdateModuleResponse:
        name, paths = request.spec.module_name, list(request.update_mask.paths)
        paths = paths or [field.name for field in pb.ModuleSpec.DESCRIPTOR.fields]
        spec = await self.stored(request.spec)
        module = await self._modules.update(
            name, lambda module: convert.merged(module, spec, paths), wait=_wait(request)
        )
        return pb.UpdateModuleResponse(module=convert.module_message(module))

    async def ScaleModule(self, request: pb.ScaleModuleRequest, context: Context) -> pb.ScaleModuleResponse:
        module = await self._modules.update(
            request.module_name, lambda module: convert.scaled(module, request.replicas), wait=_wait(request)
        )
        return pb.ScaleModuleResponse(module=convert.module_message(module))

    async def DeleteModule(self, request: pb.DeleteModuleRequest, context: Context) -> pb.DeleteModuleResponse:
        await self._modules.delete(request.module_name)
        return pb.DeleteModuleResponse()

    async def WatchModules(
        self, request: pb.WatchModulesRequest, context: Context
    ) -> AsyncIterator[pb.WatchModulesResponse]:
        await context.send_initial_metadata(())  # the caller knows that it watches, even while nothing happens
        async for response in self.watch(request):
            yield response

    async def ReadLogs(self, request: pb.ReadLogsRequest, context: Context) -> AsyncIterator[pb.ReadLogsResponse]:
        lines = self.logs(request)
        await context.send_initial_metadata(())
        async for response in lines:
            yield response

    async def stored(self, spec: pb.ModuleSpec) -> pb.ModuleSpec:
        """The spec with the source that it brings along stored, and named instead."""
        return await uploads.store(self._sources, spec)

    async def watch(self, request: pb.WatchModulesRequest) -> AsyncIterator[pb.WatchModulesResponse]:
        """The answers to a WatchModules."""
        async for module, gone in self._modules.backend.watch():
            if request.module_name in ("", module.name):
                event = pb.WATCH_EVENT_DELETED if gone else pb.WATCH_EVENT_CHANGED
                yield pb.WatchModulesResponse(event=event, module=convert.module_message(module))

    def logs(self, request: pb.ReadLogsRequest) -> AsyncIterator[pb.ReadLogsResponse]:
        """The answers to a ReadLogs; raises OrcError at once for a request that has none."""
        name = self._modules.get(request.module_name).name
        tail = request.tail if request.HasField("tail") else _DEFAULT_TAIL
        if tail < 0:
            raise error("MALFORMED_REQUEST", "tail can't be negative", {"field": "tail"})
        lines = self._modules.backend.logs(name, follow=request.follow, tail=tail)
        return (convert.log_message(line) async for line in lines)

    async def PlanModule(self, request: pb.PlanModuleRequest, context: Context) -> pb.PlanModuleResponse:
        spec = self._modules.completed(convert.spec_from(await self.stored(request.spec)))
        manifests = convert.yaml_stream(await self._modules.backend.plan(spec))
        return pb.PlanModuleResponse(spec=convert.spec_message(spec), manifests=manifests)


def _wait(request: pb.CreateModuleRequest | pb.UpdateModuleRequest | pb.ScaleModuleRequest) -> bool:
    return request.wait if request.HasField("wait") else True
