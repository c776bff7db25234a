"""PodManagerRestService: strict JSON to PodManagerService's messages, and its answers to JSON."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, TypeVar

from google.api import httpbody_pb2
from google.protobuf import json_format
from google.protobuf.message import Message

from jac_orc.core import traces
from jac_orc.core.methods import Context
from jac_orc.errors import OrcError, error
from jac_orc.pod_manager import convert, pod_reports
from jac_orc.pod_manager.model import Module, ModuleSpec
from jac_orc.pod_manager.modules import Modules
from jac_orc.pod_manager.servicer import PodManagerServicer
from jac_orc.v1 import pod_manager_pb2 as pb
from jac_orc.v1 import rest_pb2

M = TypeVar("M", bound=Message)

_MOST_UNREAD = 256 * 1024 * 1024
"""How many bytes of a refused upload are read; a client that sends more finds its connection reset."""

# Sent first on a stream, since Envoy's transcoder holds the response's headers back until there is a message.
_BEGIN = httpbody_pb2.HttpBody(content_type="application/json")


class RestServicer:
    """The REST faces of a PodManagerServicer."""

    def __init__(self, native: PodManagerServicer, modules: Modules) -> None:
        self._native = native
        self._modules = modules

    async def CreatePod(self, request: rest_pb2.CreatePodRequest, context: Context) -> rest_pb2.CreatePodResponse:
        spec = _named(_parse(request.body, pb.ModuleSpec()), request.module_name)
        answer = await self._native.CreateModule(_with_wait(pb.CreateModuleRequest(spec=spec), request), context)
        return rest_pb2.CreatePodResponse(body=_body(answer.module))

    async def DeletePod(self, request: rest_pb2.DeletePodRequest, context: Context) -> rest_pb2.DeletePodResponse:
        answer = await self._native.DeleteModule(pb.DeleteModuleRequest(module_name=request.module_name), context)
        return rest_pb2.DeletePodResponse(body=_body(answer))

    async def RestCreateModule(
        self, request: rest_pb2.RestCreateModuleRequest, context: Context
    ) -> rest_pb2.RestCreateModuleResponse:
        spec = _parse(request.body, pb.ModuleSpec())
        answer = await self._native.CreateModule(_with_wait(pb.CreateModuleRequest(spec=spec), request), context)
        return rest_pb2.RestCreateModuleResponse(body=_body(answer.module))

    async def RestListModules(
        self, request: rest_pb2.RestListModulesRequest, context: Context
    ) -> rest_pb2.RestListModulesResponse:
        native = pb.ListModulesRequest(page_size=request.page_size, page_token=request.page_token)
        return rest_pb2.RestListModulesResponse(body=_body(await self._native.ListModules(native, context)))

    async def RestGetModule(
        self, request: rest_pb2.RestGetModuleRequest, context: Context
    ) -> rest_pb2.RestGetModuleResponse:
        answer = await self._native.GetModule(pb.GetModuleRequest(module_name=request.module_name), context)
        return rest_pb2.RestGetModuleResponse(body=_body(answer.module))

    async def GetMetrics(self, request: rest_pb2.GetMetricsRequest, context: Context) -> rest_pb2.GetMetricsResponse:
        text = await pod_reports.metrics(self._modules.backend.modules())
        return rest_pb2.GetMetricsResponse(body=httpbody_pb2.HttpBody(content_type=pod_reports.TEXT, data=text))

    async def RestUpdateModule(
        self, request: rest_pb2.RestUpdateModuleRequest, context: Context
    ) -> rest_pb2.RestUpdateModuleResponse:
        patch = await self._stored(_document(request.body))

        def change(module: Module) -> ModuleSpec:
            document = patched(_to_document(convert.spec_message(module.spec)), patch)
            return convert.merged(module, _named(from_document(document, pb.ModuleSpec()), module.name), patch)

        wait = request.wait if request.HasField("wait") else True
        changed = await self._modules.update(request.module_name, change, wait=wait)
        return rest_pb2.RestUpdateModuleResponse(body=_body(convert.module_message(changed)))

    async def _stored(self, patch: dict[str, Any]) -> dict[str, Any]:
        """The patch with the source that it brings along named instead."""
        if patch.get("source") is None:
            return patch
        spec = await self._native.stored(from_document({"source": patch["source"]}, pb.ModuleSpec()))
        return {**patch, "source": _to_document(spec.source)}

    async def RestUploadSource(
        self, requests: AsyncIterator[rest_pb2.RestUploadSourceRequest], context: Context
    ) -> rest_pb2.RestUploadSourceResponse:
        pieces = (
            pb.UploadSourceRequest(file_name=each.file_name, digest=each.digest, data=each.body.data)
            async for each in requests
        )
        try:
            return rest_pb2.RestUploadSourceResponse(body=_body(await self._native.UploadSource(pieces, context)))
        except OrcError:
            await _read_on(requests)
            raise

    async def RestScaleModule(
        self, request: rest_pb2.RestScaleModuleRequest, context: Context
    ) -> rest_pb2.RestScaleModuleResponse:
        native = _parse(request.body, pb.ScaleModuleRequest())
        document = _document(request.body)
        if list(document) != ["replicas"] or document["replicas"] is None:
            raise error("MALFORMED_REQUEST", 'the body must be {"replicas": N}', {"field": "replicas"})
        native.module_name = request.module_name
        answer = await self._native.ScaleModule(_with_wait(native, request), context)
        return rest_pb2.RestScaleModuleResponse(body=_body(answer.module))

    async def RestDeleteModule(
        self, request: rest_pb2.RestDeleteModuleRequest, context: Context
    ) -> rest_pb2.RestDeleteModuleResponse:
        answer = await self._native.DeleteModule(pb.DeleteModuleRequest(module_name=request.module_name), context)
        return rest_pb2.RestDeleteModuleResponse(body=_body(answer))

    async def RestWatchModules(
        self, request: rest_pb2.RestWatchModulesRequest, context: Context
    ) -> AsyncIterator[rest_pb2.RestWatchModulesResponse]:
        native = pb.WatchModulesRequest(module_name=request.module_name)
        yield rest_pb2.RestWatchModulesResponse(body=_BEGIN)
        async for answer in self._native.watch(native):
            yield rest_pb2.RestWatchModulesResponse(body=_body(answer, end=b"\n"))

    async def RestReadLogs(
        self, request: rest_pb2.RestReadLogsRequest, context: Context
    ) -> AsyncIterator[rest_pb2.RestReadLogsResponse]:
        native = pb.ReadLogsRequest(module_name=request.module_name, follow=request.follow)
        if request.HasField("tail"):
            native.tail = request.tail
        answers = self._native.logs(native)
        yield rest_pb2.RestReadLogsResponse(body=_BEGIN)
        async for answer in answers:
            yield rest_pb2.RestReadLogsResponse(body=_body(answer, end=b"\n"))

    async def RestPlanModule(
        self, request: rest_pb2.RestPlanModuleRequest, context: Context
    ) -> rest_pb2.RestPlanModuleResponse:
        spec = _parse(request.body, pb.ModuleSpec())
        answer = await self._native.PlanModule(pb.PlanModuleRequest(spec=spec), context)
        return rest_pb2.RestPlanModuleResponse(body=_body(answer))


async def _read_on(requests: AsyncIterator[rest_pb2.RestUploadSourceRequest]) -> None:
    """Read the rest of a refused upload, within a limit: HTTP/1 clients may read only after they have sent all."""
    unread = _MOST_UNREAD
    async for request in requests:
        unread -= len(request.body.data)
        if unread < 0:
            break


def _parse(body: httpbody_pb2.HttpBody, message: M) -> M:
    """The message of a JSON body, empty for an empty one; raises OrcError for anything that it isn't exactly."""
    parsed = from_document(_document(body), message)
    traces.set_module(parsed.module_name)  # type: ignore[attr-defined]
    return parsed


def from_document(document: dict[str, Any], message: M) -> M:
    """Return the message that the document describes. Raises OrcError if it describes none."""
    _check_fields(document, message.DESCRIPTOR)
    try:
        return json_format.ParseDict(document, message, max_recursion_depth=20)
    except RecursionError:  # the text of a failure shows the value
        raise error("TOO_DEEP", "the body is nested too deep") from None
    except json_format.ParseError as failure:
        raise error("SPEC_INVALID", str(failure)[:500]) from None


def _check_fields(document: dict[str, Any], descriptor: Any, at: str = "") -> None:
    """Raises OrcError for a field that there is none of, and where an object of ours is something else."""
    known = {field.name: field for field in descriptor.fields}
    for name, value in document.items():
        path = f"{at}{name[:100]}"
        if (field := known.get(name)) is None:
            text = f"unknown field {path!r}; known are {', '.join(sorted(known))}"
            raise error("UNKNOWN_FIELD", text, {"field": path})
        inner = field.message_type
        _check_base64(field, value, path)
        if inner is None or field.is_repeated or inner.file.package != descriptor.file.package:
            continue
        if isinstance(value, dict):
            _check_fields(value, inner, f"{path}.")
        elif value is not None:
            raise error("SPEC_INVALID", f"{path} must be an object", {"fields": path})


def _check_base64(field: Any, value: Any, path: str) -> None:
    """Raises OrcError if a field of bytes has anything but a string, for which protobuf's parser has no clear words."""
    inner = field.message_type
    is_map = inner is not None and inner.GetOptions().map_entry
    kind = inner.fields_by_name["value"] if is_map else field
    if kind.type != kind.TYPE_BYTES:
        return
    for text in value.values() if is_map and isinstance(value, dict) else [value]:
        if text is not None and not isinstance(text, str):
            raise error("SPEC_INVALID", f"{path} must be base64, in a string", {"fields": path})


def _document(body: httpbody_pb2.HttpBody) -> dict[str, Any]:
    try:
        document = json.loads(body.data, object_pairs_hook=_object) if body.data.strip() else {}
    except RecursionError:
        raise error("TOO_DEEP", "the body is nested too deep") from None
    except ValueError as failure:
        raise error("MALFORMED_REQUEST", f"the body is not JSON: {failure}") from None
    if not isinstance(document, dict):
        raise error("MALFORMED_REQUEST", "the body must be a JSON object")
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError("a key stands twice in one object")
    return dict(pairs)


def patched(target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Return the document with the patch applied. Raises OrcError if the patch is nested too deep."""
    try:
        merged: dict[str, Any] = _merged(target, patch)
    except RecursionError:
        raise error("TOO_DEEP", "the body is nested too deep") from None
    return merged


def _merged(target: Any, patch: Any) -> Any:
    """The target with a JSON merge patch applied (RFC 7396, section 2)."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged


def _named(spec: pb.ModuleSpec, name: str) -> pb.ModuleSpec:
    """The spec with the name that the path gives; raises OrcError if it has another one."""
    if spec.module_name not in ("", name):
        text = f"the path names {name[:100]}, and the body {spec.module_name[:100]}"
        raise error("MODULE_MISMATCH", text, {"field": "module_name"})
    spec.module_name = name
    return spec


def _with_wait(native: M, request: Any) -> M:
    if request.HasField("wait"):
        native.wait = request.wait  # type: ignore[attr-defined]
    return native


def _to_document(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _body(message: Message, end: bytes = b"") -> httpbody_pb2.HttpBody:
    data = json.dumps(_to_document(message), ensure_ascii=False, separators=(",", ":")).encode() + end
    return httpbody_pb2.HttpBody(content_type="application/json", data=data)
