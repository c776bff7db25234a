"""ModuleService: each method converts, calls, converts."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from google.api import httpbody_pb2
from google.protobuf import json_format

from jac_orc.core.server import Context
from jac_orc.errors import OrcError, error, to_status
from jac_orc.module_server.calls import Calls
from jac_orc.module_server.codecs import value
from jac_orc.v1 import module_pb2


class ModuleServicer:
    """Answers the calls of one module."""

    def __init__(self, module_name: str, calls: Calls) -> None:
        self._module_name = module_name
        self._calls = calls

    async def Call(self, request: module_pb2.CallRequest, context: Context) -> module_pb2.CallResponse:
        self._refuse_objects(request.obj_id)
        body = value.body(request.args, request.kwargs)
        answer = await self._run(request, context, "call", request.method, body)
        return module_pb2.CallResponse(result=value.result(answer))

    async def RunModule(self, request: module_pb2.RunModuleRequest, context: Context) -> module_pb2.RunModuleResponse:
        self._refuse_objects(request.obj_id)
        answer = await self._run(request, context, "pack", request.method_name, request.body.data)
        return module_pb2.RunModuleResponse(body=_json(answer))

    async def CallJson(self, request: module_pb2.CallJsonRequest, context: Context) -> module_pb2.CallJsonResponse:
        answer = await self._run(request, context, "call", None, request.body.data)
        return module_pb2.CallJsonResponse(body=_json(answer))

    async def CallNamed(self, request: module_pb2.CallNamedRequest, context: Context) -> module_pb2.CallNamedResponse:
        answer = await self._run(request, context, "named", request.method_name, request.body.data)
        return module_pb2.CallNamedResponse(body=_json(answer))

    async def Describe(self, request: module_pb2.DescribeRequest, context: Context) -> module_pb2.DescribeResponse:
        self._check_module(request.module_name)
        answer = await self._calls.call({"op": "describe"}, timeout=context.time_remaining())
        return json_format.ParseDict(json.loads(answer), module_pb2.DescribeResponse())

    async def Stream(
        self, request: module_pb2.StreamRequest, context: Context
    ) -> AsyncIterator[module_pb2.StreamResponse]:
        self._refuse_objects(request.obj_id)
        body = value.body(request.args, request.kwargs)
        async with contextlib.aclosing(self._items(request, request.method, body)) as items:
            async for item in items:
                yield module_pb2.StreamResponse(result=value.result(item))

    async def Session(self, request: Any, context: Context) -> None:
        raise _not_implemented("Session")

    async def StreamJson(
        self, request: module_pb2.StreamJsonRequest, context: Context
    ) -> AsyncIterator[module_pb2.StreamJsonResponse]:
        async with contextlib.aclosing(self._lines(self._items(request, None, request.body.data))) as lines:
            async for line in lines:
                yield module_pb2.StreamJsonResponse(body=_json(line))

    async def ReleaseObject(self, request: module_pb2.ReleaseObjectRequest, context: Context) -> None:
        raise _not_implemented("ReleaseObject")

    async def RenewObject(self, request: module_pb2.RenewObjectRequest, context: Context) -> None:
        raise _not_implemented("RenewObject")

    async def GetOpenApi(self, request: module_pb2.GetOpenApiRequest, context: Context) -> None:
        raise _not_implemented("GetOpenApi")

    async def GetProto(self, request: module_pb2.GetProtoRequest, context: Context) -> None:
        raise _not_implemented("GetProto")

    async def _run(self, request: Any, context: Context, style: str, method: str | None, body: bytes) -> bytes:
        self._check_call(request, method)
        control = {"op": "call", "style": style, "method": method}
        return await self._calls.call(control, body, timeout=context.time_remaining())

    def _items(self, request: Any, method: str | None, body: bytes) -> AsyncGenerator[bytes]:
        self._check_call(request, method)
        return self._calls.stream({"op": "stream", "style": "call", "method": method}, body)

    async def _lines(self, items: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        """The items as lines; a failure after the first is the last line, as the status has been sent by then."""
        begun = False
        async with contextlib.aclosing(items):
            try:
                async for item in items:
                    begun = True
                    yield item + b"\n"
            except OrcError as failure:
                if not begun:
                    raise
                status = json_format.MessageToDict(to_status(failure), preserving_proto_field_name=True)
                yield json.dumps({"error": status}, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"

    def _check_call(self, request: Any, method: str | None) -> None:
        self._check_module(request.module_name)
        if method == "":
            raise error("MALFORMED_REQUEST", "no method is named", {"field": "method"})

    def _check_module(self, named: str) -> None:
        if named and named != self._module_name:
            message = f"this is the server of {self._module_name}, and the request names {named[:200]}"
            raise error("MODULE_MISMATCH", message, {"module": self._module_name})

    def _refuse_objects(self, obj_id: str) -> None:
        if obj_id:
            raise error("NOT_IMPLEMENTED", "calls on objects are not implemented yet")


def _json(document: bytes) -> httpbody_pb2.HttpBody:
    return httpbody_pb2.HttpBody(content_type="application/json", data=document)


def _not_implemented(method: str) -> Exception:
    return error("NOT_IMPLEMENTED", f"{method} is not implemented yet")
