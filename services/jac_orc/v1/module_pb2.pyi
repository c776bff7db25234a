import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import httpbody_pb2 as _httpbody_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.rpc import status_pb2 as _status_pb2
from jac_orc.v1 import value_pb2 as _value_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MemberKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MEMBER_KIND_UNSPECIFIED: _ClassVar[MemberKind]
    MEMBER_KIND_FUNCTION: _ClassVar[MemberKind]
    MEMBER_KIND_CLASS: _ClassVar[MemberKind]
    MEMBER_KIND_CONSTANT: _ClassVar[MemberKind]
    MEMBER_KIND_GENERATOR: _ClassVar[MemberKind]
    MEMBER_KIND_COROUTINE: _ClassVar[MemberKind]

class ParameterKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PARAMETER_KIND_UNSPECIFIED: _ClassVar[ParameterKind]
    PARAMETER_KIND_POSITIONAL_ONLY: _ClassVar[ParameterKind]
    PARAMETER_KIND_POSITIONAL_OR_KEYWORD: _ClassVar[ParameterKind]
    PARAMETER_KIND_VAR_POSITIONAL: _ClassVar[ParameterKind]
    PARAMETER_KIND_KEYWORD_ONLY: _ClassVar[ParameterKind]
    PARAMETER_KIND_VAR_KEYWORD: _ClassVar[ParameterKind]
MEMBER_KIND_UNSPECIFIED: MemberKind
MEMBER_KIND_FUNCTION: MemberKind
MEMBER_KIND_CLASS: MemberKind
MEMBER_KIND_CONSTANT: MemberKind
MEMBER_KIND_GENERATOR: MemberKind
MEMBER_KIND_COROUTINE: MemberKind
PARAMETER_KIND_UNSPECIFIED: ParameterKind
PARAMETER_KIND_POSITIONAL_ONLY: ParameterKind
PARAMETER_KIND_POSITIONAL_OR_KEYWORD: ParameterKind
PARAMETER_KIND_VAR_POSITIONAL: ParameterKind
PARAMETER_KIND_KEYWORD_ONLY: ParameterKind
PARAMETER_KIND_VAR_KEYWORD: ParameterKind

class GetPodStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetPodStatusResponse(_message.Message):
    __slots__ = ("stuck_calls", "guest_replacements")
    class GuestReplacementsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    STUCK_CALLS_FIELD_NUMBER: _ClassVar[int]
    GUEST_REPLACEMENTS_FIELD_NUMBER: _ClassVar[int]
    stuck_calls: int
    guest_replacements: _containers.ScalarMap[str, int]
    def __init__(self, stuck_calls: _Optional[int] = ..., guest_replacements: _Optional[_Mapping[str, int]] = ...) -> None: ...

class CallRequest(_message.Message):
    __slots__ = ("module_name", "method", "args", "kwargs", "obj_id")
    class KwargsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _struct_pb2.Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ...) -> None: ...
    MODULE_NAME_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    KWARGS_FIELD_NUMBER: _ClassVar[int]
    OBJ_ID_FIELD_NUMBER: _ClassVar[int]
    module_name: str
    method: str
    args: _containers.RepeatedCompositeFieldContainer[_struct_pb2.Value]
    kwargs: _containers.MessageMap[str, _struct_pb2.Value]
    obj_id: str
    def __init__(self, module_name: _Optional[str] = ..., method: _Optional[str] = ..., args: _Optional[_Iterable[_Union[_struct_pb2.Value, _Mapping]]] = ..., kwargs: _Optional[_Mapping[str, _struct_pb2.Value]] = ..., obj_id: _Optional[str] = ...) -> None: ...

class CallResponse(_message.Message):
    __slots__ = ("result",)
    RESULT_FIELD_NUMBER: _ClassVar[int]
    result: _struct_pb2.Value
    def __init__(self, result: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ...) -> None: ...

class StreamRequest(_message.Message):
    __slots__ = ("module_name", "method", "args", "kwargs", "obj_id")
    class KwargsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _struct_pb2.Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ...) -> None: ...
    MODULE_NAME_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    KWARGS_FIELD_NUMBER: _ClassVar[int]
    OBJ_ID_FIELD_NUMBER: _ClassVar[int]
    module_name: str
    method: str
    args: _containers.RepeatedCompositeFieldContainer[_struct_pb2.Value]
    kwargs: _containers.MessageMap[str, _struct_pb2.Value]
    obj_id: str
    def __init__(self, module_name: _Optional[str] = ..., method: _Optional[str] = ..., args: _Optional[_Iterable[_Union[_struct_pb2.Value, _Mapping]]] = ..., kwargs: _Optional[_Mapping[str, _struct_pb2.Value]] = ..., obj_id: _Optional[str] = ...) -> None: ...

class StreamResponse(_message.Message):
    __slots__ = ("result",)
    RESULT_FIELD_NUMBER: _ClassVar[int]
    result: _struct_pb2.Value
    def __init__(self, result: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ...) -> None: ...

class CallPythonRequest(_message.Message):
    __slots__ = ("module_name", "method", "args", "kwargs", "target", "keep")
    class KwargsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _value_pb2.PythonValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_value_pb2.PythonValue, _Mapping]] = ...) -> None: ...
    MODULE_NAME_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    KWARGS_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    module_name: str
    method: str
    args: _containers.RepeatedCompositeFieldContainer[_value_pb2.PythonValue]
    kwargs: _containers.MessageMap[str, _value_pb2.PythonValue]
    target: _value_pb2.PythonValue
    keep: bool
    def __init__(self, module_name: _Optional[str] = ..., method: _Optional[str] = ..., args: _Optional[_Iterable[_Union[_value_pb2.PythonValue, _Mapping]]] = ..., kwargs: _Optional[_Mapping[str, _value_pb2.PythonValue]] = ..., target: _Optional[_Union[_value_pb2.PythonValue, _Mapping]] = ..., keep: _Optional[bool] = ...) -> None: ...

class CallPythonResponse(_message.Message):
    __slots__ = ("result", "is_large")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    IS_LARGE_FIELD_NUMBER: _ClassVar[int]
    result: _value_pb2.PythonValue
    is_large: bool
    def __init__(self, result: _Optional[_Union[_value_pb2.PythonValue, _Mapping]] = ..., is_large: _Optional[bool] = ...) -> None: ...

class StreamPythonRequest(_message.Message):
    __slots__ = ("module_name", "method", "args", "kwargs", "target")
    class KwargsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _value_pb2.PythonValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_value_pb2.PythonValue, _Mapping]] = ...) -> None: ...
    MODULE_NAME_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    KWARGS_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    module_name: str
    method: str
    args: _containers.RepeatedCompositeFieldContainer[_value_pb2.PythonValue]
    kwargs: _containers.MessageMap[str, _value_pb2.PythonValue]
    target: _value_pb2.PythonValue
    def __init__(self, module_name: _Optional[str] = ..., method: _Optional[str] = ..., args: _Optional[_Iterable[_Union[_value_pb2.PythonValue, _Mapping]]] = ..., kwargs: _Optional[_Mapping[str, _value_pb2.PythonValue]] = ..., target: _Optional[_Union[_value_pb2.PythonValue, _Mapping]] = ...) -> None: ...

class StreamPythonResponse(_message.Message):
    __slots__ = ("result", "is_large")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    IS_LARGE_FIELD_NUMBER: _ClassVar[int]
    result: _value_pb2.PythonValue
    is_large: bool
    def __init__(self, result: _Optional[_Union[_value_pb2.PythonValue, _Mapping]] = ..., is_large: _Optional[bool] = ...) -> None: ...

class CallBatchRequest(_message.Message):
    __slots__ = ("module_name", "calls", "goes_on")
    MODULE_NAME_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    GOES_ON_FIELD_NUMBER: _ClassVar[int]
    module_name: str
    calls: _containers.RepeatedCompositeFieldContainer[BatchCall]
    goes_on: bool
    def __init__(self, module_name: _Optional[str] = ..., calls: _Optional[_Iterable[_Union[BatchCall, _Mapping]]] = ..., goes_on: _Optional[bool] = ...) -> None: ...

class BatchCall(_message.Message):
    __slots__ = ("method", "args", "kwargs", "target", "keep", "silent")
    class KwargsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _value_pb2.PythonValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_value_pb2.PythonValue, _Mapping]] = ...) -> None: ...
    METHOD_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    KWARGS_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    SILENT_FIELD_NUMBER: _ClassVar[int]
    method: str
    args: _containers.RepeatedCompositeFieldContainer[_value_pb2.PythonValue]
    kwargs: _containers.MessageMap[str, _value_pb2.PythonValue]
    target: _value_pb2.PythonValue
    keep: bool
    silent: bool
    def __init__(self, method: _Optional[str] = ..., args: _Optional[_Iterable[_Union[_value_pb2.PythonValue, _Mapping]]] = ..., kwargs: _Optional[_Mapping[str, _value_pb2.PythonValue]] = ..., target: _Optional[_Union[_value_pb2.PythonValue, _Mapping]] = ..., keep: _Optional[bool] = ..., silent: _Optional[bool] = ...) -> None: ...

class CallBatchResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchResult]
    def __init__(self, results: _Optional[_Iterable[_Union[BatchResult, _Mapping]]] = ...) -> None: ...

class BatchResult(_message.Message):
    __slots__ = ("index", "result", "status")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    index: int
    result: _value_pb2.PythonValue
    status: _status_pb2.Status
    def __init__(self, index: _Optional[int] = ..., result: _Optional[_Union[_value_pb2.PythonValue, _Mapping]] = ..., status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class PutValueRequest(_message.Message):
    __slots__ = ("size", "data", "module_name", "obj_id")
    SIZE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    MODULE_NAME_FIELD_NUMBER: _ClassVar[int]
    OBJ_ID_FIELD_NUMBER: _ClassVar[int]
    size: int
    data: bytes
    module_name: str
    obj_id: str
    def __init__(self, size: _Optional[int] = ..., data: _Optional[bytes] = ..., module_name: _Optional[str] = ..., obj_id: _Optional[str] = ...) -> None: ...

class PutValueResponse(_message.Message):
    __slots__ = ("result",)
    RESULT_FIELD_NUMBER: _ClassVar[int]
    result: _value_pb2.PythonValue
    def __init__(self, result: _Optional[_Union[_value_pb2.PythonValue, _Mapping]] = ...) -> None: ...

class GetValueRequest(_message.Message):
    __slots__ = ("module_name", "obj_id")
    MODULE_NAME_FIELD_NUMBER: _ClassVar[int]
    OBJ_ID_FIELD_NUMBER: _ClassVar[int]
    module_name: str
    obj_id: str
    def __init__(self, module_name: _Optional[str] = ..., obj_id: _Optional[str] = ...) -> None: ...

class GetValueResponse(_message.Message):
    __slots__ = ("size", "data")
    SIZE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    size: int
    data: bytes
    def __init__(self, size: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ("module_name", "timeout")
    MODULE_NAME_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    module_name: str
    timeout: str
    def __init__(self, module_name: _Optional[str] = ..., timeout: _Optional[str] = ...) -> None: ...

class DescribeResponse(_message.Message):
    __slots__ = ("module_name", "version", "documentation", "members")
    MODULE_NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTATION_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    module_name: str
    version: str
    documentation: str
    members: _containers.RepeatedCompositeFieldContainer[Member]
    def __init__(self, module_name: _Optional[str] = ..., version: _Optional[str] = ..., documentation: _Optional[str] = ..., members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ...) -> None: ...

class Member(_message.Message):
    __slots__ = ("name", "kind", "signature", "documentation", "parameters", "type")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTATION_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: MemberKind
    signature: str
    documentation: str
    parameters: _containers.RepeatedCompositeFieldContainer[Parameter]
    type: str
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[MemberKind, str]] = ..., signature: _Optional[str] = ..., documentation: _Optional[str] = ..., parameters: _Optional[_Iterable[_Union[Parameter, _Mapping]]] = ..., type: _Optional[str] = ...) -> None: ...

class Parameter(_message.Message):
    __slots__ = ("name", "kind", "type", "optional", "default_value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    OPTIONAL_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: ParameterKind
    type: str
    optional: bool
    default_value: str
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[ParameterKind, str]] = ..., type: _Optional[str] = ..., optional: _Optional[bool] = ..., default_value: _Optional[str] = ...) -> None: ...

class ReleaseObjectRequest(_message.Message):
    __slots__ = ("obj_id", "timeout", "module_name", "obj_ids")
    OBJ_ID_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    MODULE_NAME_FIELD_NUMBER: _ClassVar[int]
    OBJ_IDS_FIELD_NUMBER: _ClassVar[int]
    obj_id: str
    timeout: str
    module_name: str
    obj_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, obj_id: _Optional[str] = ..., timeout: _Optional[str] = ..., module_name: _Optional[str] = ..., obj_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ReleaseObjectResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RenewObjectRequest(_message.Message):
    __slots__ = ("obj_id", "lease", "timeout", "module_name")
    OBJ_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    MODULE_NAME_FIELD_NUMBER: _ClassVar[int]
    obj_id: str
    lease: _duration_pb2.Duration
    timeout: str
    module_name: str
    def __init__(self, obj_id: _Optional[str] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., timeout: _Optional[str] = ..., module_name: _Optional[str] = ...) -> None: ...

class RenewObjectResponse(_message.Message):
    __slots__ = ("lease",)
    LEASE_FIELD_NUMBER: _ClassVar[int]
    lease: _duration_pb2.Duration
    def __init__(self, lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RunModuleRequest(_message.Message):
    __slots__ = ("module_name", "method_name", "obj_id", "timeout", "body")
    MODULE_NAME_FIELD_NUMBER: _ClassVar[int]
    METHOD_NAME_FIELD_NUMBER: _ClassVar[int]
    OBJ_ID_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    module_name: str
    method_name: str
    obj_id: str
    timeout: str
    body: _httpbody_pb2.HttpBody
    def __init__(self, module_name: _Optional[str] = ..., method_name: _Optional[str] = ..., obj_id: _Optional[str] = ..., timeout: _Optional[str] = ..., body: _Optional[_Union[_httpbody_pb2.HttpBody, _Mapping]] = ...) -> None: ...

class RunModuleResponse(_message.Message):
    __slots__ = ("body",)
    BODY_FIELD_NUMBER: _ClassVar[int]
    body: _httpbody_pb2.HttpBody
    def __init__(self, body: _Optional[_Union[_httpbody_pb2.HttpBody, _Mapping]] = ...) -> None: ...

class CallJsonRequest(_message.Message):
    __slots__ = ("module_name", "timeout", "body")
    MODULE_NAME_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    module_name: str
    timeout: str
    body: _httpbody_pb2.HttpBody
    def __init__(self, module_name: _Optional[str] = ..., timeout: _Optional[str] = ..., body: _Optional[_Union[_httpbody_pb2.HttpBody, _Mapping]] = ...) -> None: ...

class CallJsonResponse(_message.Message):
    __slots__ = ("body",)
    BODY_FIELD_NUMBER: _ClassVar[int]
    body: _httpbody_pb2.HttpBody
    def __init__(self, body: _Optional[_Union[_httpbody_pb2.HttpBody, _Mapping]] = ...) -> None: ...

class CallNamedRequest(_message.Message):
    __slots__ = ("module_name", "method_name", "timeout", "body")
    MODULE_NAME_FIELD_NUMBER: _ClassVar[int]
    METHOD_NAME_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    module_name: str
    method_name: str
    timeout: str
    body: _httpbody_pb2.HttpBody
    def __init__(self, module_name: _Optional[str] = ..., method_name: _Optional[str] = ..., timeout: _Optional[str] = ..., body: _Optional[_Union[_httpbody_pb2.HttpBody, _Mapping]] = ...) -> None: ...

class CallNamedResponse(_message.Message):
    __slots__ = ("body",)
    BODY_FIELD_NUMBER: _ClassVar[int]
    body: _httpbody_pb2.HttpBody
    def __init__(self, body: _Optional[_Union[_httpbody_pb2.HttpBody, _Mapping]] = ...) -> None: ...

class StreamJsonRequest(_message.Message):
    __slots__ = ("module_name", "timeout", "body")
    MODULE_NAME_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    module_name: str
    timeout: str
    body: _httpbody_pb2.HttpBody
    def __init__(self, module_name: _Optional[str] = ..., timeout: _Optional[str] = ..., body: _Optional[_Union[_httpbody_pb2.HttpBody, _Mapping]] = ...) -> None: ...

class StreamJsonResponse(_message.Message):
    __slots__ = ("body",)
    BODY_FIELD_NUMBER: _ClassVar[int]
    body: _httpbody_pb2.HttpBody
    def __init__(self, body: _Optional[_Union[_httpbody_pb2.HttpBody, _Mapping]] = ...) -> None: ...

class GetOpenApiRequest(_message.Message):
    __slots__ = ("module_name", "timeout")
    MODULE_NAME_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    module_name: str
    timeout: str
    def __init__(self, module_name: _Optional[str] = ..., timeout: _Optional[str] = ...) -> None: ...

class GetOpenApiResponse(_message.Message):
    __slots__ = ("body",)
    BODY_FIELD_NUMBER: _ClassVar[int]
    body: _httpbody_pb2.HttpBody
    def __init__(self, body: _Optional[_Union[_httpbody_pb2.HttpBody, _Mapping]] = ...) -> None: ...

class GetProtoRequest(_message.Message):
    __slots__ = ("module_name", "timeout")
    MODULE_NAME_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    module_name: str
    timeout: str
    def __init__(self, module_name: _Optional[str] = ..., timeout: _Optional[str] = ...) -> None: ...

class GetProtoResponse(_message.Message):
    __slots__ = ("body",)
    BODY_FIELD_NUMBER: _ClassVar[int]
    body: _httpbody_pb2.HttpBody
    def __init__(self, body: _Optional[_Union[_httpbody_pb2.HttpBody, _Mapping]] = ...) -> None: ...
