"""The ways on which a call reaches a module: each makes one call, and tells its answer in a form to compare."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import quote

import grpc
from google.protobuf import struct_pb2
from google.rpc import status_pb2

from jac_orc.client.connection import Connection
from jac_orc.client.messages import Remote
from jac_orc.errors import OrcError
from jac_orc.v1 import errors_pb2, module_pb2, module_pb2_grpc
from tests.suite import forms

_TIMEOUT = 30.0


class Raised(Exception):
    """The module's own exception, as the caller is told of it."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {forms.without_addresses(message)}")


class Failed(Exception):
    """Any other failure of a call."""


class Way(Protocol):
    """A way to call; what it calls results, targets and arguments are its own."""

    name: str

    def argument(self, value: Any) -> Any:
        """A Python value as an argument; raises Failed where it has no form."""

    def collection(self, items: Any) -> Any:
        """A list, tuple or dict of arguments."""

    def call(self, target: Any, path: str, args: Sequence[Any], kwargs: Mapping[str, Any], *, inner: bool) -> Any:
        """The result of a call, of a function or in a target; `inner` if it is for another call."""

    def item(self, result: Any, index: Any) -> Any:
        """An item of a result."""

    def items(self, result: Any) -> list[Any]:
        """What an iterator gives, or the list that it is."""

    def expected(self, value: Any) -> Any:
        """What this way must tell of the value that the local call has returned."""

    def told(self, result: Any) -> Any:
        """A result in the form in which it is compared."""

    def agree(self, expected: Any, told: Any) -> bool:
        """Whether it is what was expected."""

    def close(self) -> None:
        """Ends the connection."""


class _JsonLike:
    """What the ways have in common whose values are JSON's."""

    def argument(self, value: Any) -> Any:
        if isinstance(value, bytes):
            return {"$bytes": base64.b64encode(value).decode()}
        if isinstance(value, (list, tuple, set, frozenset, range)):
            return [self.argument(item) for item in value]
        if isinstance(value, dict):
            if all(isinstance(name, str) for name in value):
                plain = {name: self.argument(item) for name, item in value.items()}
                return {"$value": plain} if {"$bytes", "$value", "obj_id"} & value.keys() else plain
        elif not isinstance(value, complex):
            form = forms.as_json(value)
            if not isinstance(form, forms.Reference):
                return form
        raise Failed(f"{value!r} has no JSON form")

    def collection(self, items: Any) -> Any:
        return list(items) if isinstance(items, tuple) else items

    def call(self, target: Any, path: str, args: Sequence[Any], kwargs: Mapping[str, Any], *, inner: bool) -> Any:
        if target is None:
            return self._send(path, args, kwargs, "")
        if not _is_reference(target):
            raise Failed(f"{path or 'the call'} is asked of {target!r}, which is no object")
        return self._send(path, args, kwargs, target["obj_id"])

    def item(self, result: Any, index: Any) -> Any:
        return self.call(result, "__getitem__", [index], {}, inner=True) if _is_reference(result) else result[index]

    def items(self, result: Any) -> list[Any]:
        return self._stream(result["obj_id"]) if _is_reference(result) else list(result)

    def told(self, result: Any) -> Any:
        return forms.read_json(result)

    def _send(self, path: str, args: Sequence[Any], kwargs: Mapping[str, Any], obj_id: str) -> Any:
        raise NotImplementedError

    def _stream(self, obj_id: str) -> list[Any]:
        raise NotImplementedError


def _is_reference(result: Any) -> bool:
    return isinstance(result, dict) and isinstance(result.get("obj_id"), str)


class Rest(_JsonLike):
    """`POST /v1/modules/{m}:call`."""

    name = "rest"

    def __init__(self, port: int, module: str) -> None:
        self._module = module
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)

    def expected(self, value: Any) -> Any:
        return forms.as_json(value)

    def agree(self, expected: Any, told: Any) -> bool:
        return forms.equal(expected, told, ordered=True)

    def close(self) -> None:
        self._connection.close()

    def _send(self, path: str, args: Sequence[Any], kwargs: Mapping[str, Any], obj_id: str) -> Any:
        body = {"method": path, "args": args, "kwargs": kwargs, **({"obj_id": obj_id} if obj_id else {})}
        return json.loads(self._post(f"/v1/modules/{self._module}:call", body))["result"]

    def _stream(self, obj_id: str) -> list[Any]:
        found = []
        for line in self._post(f"/v1/modules/{self._module}:stream", {"obj_id": obj_id}).splitlines():
            item = json.loads(line)
            if "error" in item:
                raise _rest_failure(item["error"])
            found.append(item["result"])
        return found

    def _post(self, path: str, body: Any) -> bytes:
        data = json.dumps(body, allow_nan=False).encode()
        self._connection.request("POST", path, data, {"content-type": "application/json"})
        response = self._connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise _rest_failure(json.loads(answer))
        return answer


def _rest_failure(error: Any) -> Exception:
    for detail in error["details"]:
        if detail["@type"] == "type.googleapis.com/jac_orc.v1.ExceptionInfo":
            return Raised(detail["type"], detail["message"])
    return Failed(f"{error['details'][0]['reason']}: {error['message']}")


class RunModule(Rest):
    """`POST /run_module?module_name=M&method_name=F`, the route of the original system."""

    name = "run_module"

    def _send(self, path: str, args: Sequence[Any], kwargs: Mapping[str, Any], obj_id: str) -> Any:
        query = f"module_name={self._module}&method_name={quote(path)}" + (f"&obj_id={obj_id}" if obj_id else "")
        return json.loads(self._post(f"/run_module?{query}", {"args": args, "kwargs": kwargs}))["result"]


class Call(_JsonLike):
    """The rpc `Call` through the front port, its module named by metadata."""

    name = "call"

    def __init__(self, port: int, module: str) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self._stub = module_pb2_grpc.ModuleServiceStub(self._channel)
        self._metadata = (("x-module", module),)

    def expected(self, value: Any) -> Any:
        return forms.as_value(forms.as_json(value))

    def agree(self, expected: Any, told: Any) -> bool:
        return forms.equal(expected, told, ordered=False)

    def close(self) -> None:
        self._channel.close()

    def _send(self, path: str, args: Sequence[Any], kwargs: Mapping[str, Any], obj_id: str) -> Any:
        named = {name: _to_value(arg) for name, arg in kwargs.items()}
        request = module_pb2.CallRequest(method=path, args=map(_to_value, args), kwargs=named, obj_id=obj_id)
        try:
            return _from_value(self._stub.Call(request, metadata=self._metadata, timeout=_TIMEOUT).result)
        except grpc.RpcError as failure:
            raise _grpc_failure(failure) from None

    def _stream(self, obj_id: str) -> list[Any]:
        stream = self._stub.Stream(module_pb2.StreamRequest(obj_id=obj_id), metadata=self._metadata, timeout=_TIMEOUT)
        try:
            return [_from_value(response.result) for response in stream]
        except grpc.RpcError as failure:
            raise _grpc_failure(failure) from None


def _to_value(plain: Any) -> struct_pb2.Value:
    if isinstance(plain, dict):
        fields = {name: _to_value(item) for name, item in plain.items()}
        return struct_pb2.Value(struct_value=struct_pb2.Struct(fields=fields))
    if isinstance(plain, list):
        return struct_pb2.Value(list_value=struct_pb2.ListValue(values=map(_to_value, plain)))
    if plain is None:
        return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
    if isinstance(plain, bool):
        return struct_pb2.Value(bool_value=plain)
    if isinstance(plain, str):
        return struct_pb2.Value(string_value=plain)
    if int(float(plain)) != int(plain):
        raise Failed(f"no double holds {plain}")
    return struct_pb2.Value(number_value=plain)


def _from_value(value: struct_pb2.Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return {name: _from_value(item) for name, item in value.struct_value.fields.items()}
    if kind == "list_value":
        return [_from_value(item) for item in value.list_value.values]
    assert kind, "a Value with nothing in it"
    return None if kind == "null_value" else getattr(value, kind)


def _grpc_failure(failure: Any) -> Exception:
    trailing = dict(failure.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailing.get("grpc-status-details-bin", b""))
    for detail in status.details:
        info = errors_pb2.ExceptionInfo()
        if detail.Unpack(info):
            return Raised(info.type, info.message)
    return Failed(f"{failure.code().name}: {failure.details()}")


class InPython:
    """A `Connection`, whose values are Python's. What is for another call is kept in the pod."""

    name = "python"

    def __init__(self, port: int, module: str) -> None:
        self._connection = Connection(f"127.0.0.1:{port}", module, timeout=_TIMEOUT)

    def argument(self, value: Any) -> Any:
        return value

    def collection(self, items: Any) -> Any:
        return items

    def call(self, target: Any, path: str, args: Sequence[Any], kwargs: Mapping[str, Any], *, inner: bool) -> Any:
        return _raising(lambda: self._connection.invoke(path, args, kwargs, target=target, kept=inner))

    def item(self, result: Any, index: Any) -> Any:
        return self.call(result, "__getitem__", [index], {}, inner=True)

    def items(self, result: Any) -> list[Any]:
        iterator = self._connection.invoke("__iter__", target=result, kept=True)
        found = []
        while True:
            try:
                found.append(self.call(iterator, "__next__", [], {}, inner=False))
            except Raised as end:
                if "StopIteration" in str(end):
                    return found
                raise

    def expected(self, value: Any) -> Any:
        return value

    def told(self, result: Any) -> Any:
        if isinstance(result, (list, tuple)) and type(result) in (list, tuple):
            return type(result)(map(self.told, result))
        if isinstance(result, dict) and type(result) is dict:
            return {name: self.told(item) for name, item in result.items()}
        return _raising(lambda: self._connection.get(result)) if isinstance(result, Remote) else result

    def agree(self, expected: Any, told: Any) -> bool:
        return forms.same(expected, told)

    def close(self) -> None:
        self._connection.close()


def _raising(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except OrcError as failure:
        for detail in failure.details:
            if isinstance(detail, errors_pb2.ExceptionInfo):
                raise Raised(detail.type, detail.message) from None
        raise Failed(f"{failure.reason}: {failure.message}") from None


WAYS: tuple[type[Rest | RunModule | Call | InPython], ...] = (Rest, RunModule, Call, InPython)
