from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_REASON_UNSPECIFIED: _ClassVar[ErrorReason]
    ERROR_REASON_MODULE_NAME_INVALID: _ClassVar[ErrorReason]
    ERROR_REASON_MODULE_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_MODULE_SPEC_DIFFERS: _ClassVar[ErrorReason]
    ERROR_REASON_MODULE_REFUSED: _ClassVar[ErrorReason]
    ERROR_REASON_MODULE_MISMATCH: _ClassVar[ErrorReason]
    ERROR_REASON_MODULE_UNAVAILABLE: _ClassVar[ErrorReason]
    ERROR_REASON_MODULE_IMPORT_FAILED: _ClassVar[ErrorReason]
    ERROR_REASON_SPEC_INVALID: _ClassVar[ErrorReason]
    ERROR_REASON_ENVIRONMENT_FAILED: _ClassVar[ErrorReason]
    ERROR_REASON_FUNCTION_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_NAME_NOT_EXPOSED: _ClassVar[ErrorReason]
    ERROR_REASON_NOT_CALLABLE: _ClassVar[ErrorReason]
    ERROR_REASON_ARGUMENTS_DO_NOT_BIND: _ClassVar[ErrorReason]
    ERROR_REASON_MALFORMED_REQUEST: _ClassVar[ErrorReason]
    ERROR_REASON_UNKNOWN_FIELD: _ClassVar[ErrorReason]
    ERROR_REASON_TOO_LARGE: _ClassVar[ErrorReason]
    ERROR_REASON_TOO_DEEP: _ClassVar[ErrorReason]
    ERROR_REASON_VALUE_NOT_REPRESENTABLE: _ClassVar[ErrorReason]
    ERROR_REASON_EXCEPTION_RAISED: _ClassVar[ErrorReason]
    ERROR_REASON_GUEST_DIED: _ClassVar[ErrorReason]
    ERROR_REASON_QUEUE_FULL: _ClassVar[ErrorReason]
    ERROR_REASON_DEADLINE_EXCEEDED: _ClassVar[ErrorReason]
    ERROR_REASON_OBJECT_LOST: _ClassVar[ErrorReason]
    ERROR_REASON_OBJECT_LIMIT: _ClassVar[ErrorReason]
    ERROR_REASON_NOT_IMPLEMENTED: _ClassVar[ErrorReason]
    ERROR_REASON_ROUTE_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_CONTENT_TYPE_NOT_SUPPORTED: _ClassVar[ErrorReason]
    ERROR_REASON_HOST_NOT_ALLOWED: _ClassVar[ErrorReason]
    ERROR_REASON_UNAUTHENTICATED: _ClassVar[ErrorReason]
    ERROR_REASON_INTERNAL: _ClassVar[ErrorReason]
    ERROR_REASON_INTERFACE_INCOMPATIBLE: _ClassVar[ErrorReason]
    ERROR_REASON_ARGUMENT_NOT_CONVERTIBLE: _ClassVar[ErrorReason]
    ERROR_REASON_OBJECTS_APART: _ClassVar[ErrorReason]
    ERROR_REASON_CANCELLED: _ClassVar[ErrorReason]
    ERROR_REASON_DISTRIBUTION_UNKNOWN: _ClassVar[ErrorReason]
    ERROR_REASON_REQUIREMENT_REFUSED: _ClassVar[ErrorReason]
    ERROR_REASON_PYTHON_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_SOURCE_INVALID: _ClassVar[ErrorReason]
    ERROR_REASON_SOURCE_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_SOURCE_NOT_STORED: _ClassVar[ErrorReason]
    ERROR_REASON_NAME_TAKEN: _ClassVar[ErrorReason]
    ERROR_REASON_CLUSTER_UNAVAILABLE: _ClassVar[ErrorReason]
    ERROR_REASON_CLUSTER_REFUSED: _ClassVar[ErrorReason]
    ERROR_REASON_QUOTA_EXCEEDED: _ClassVar[ErrorReason]
    ERROR_REASON_POD_UNSCHEDULABLE: _ClassVar[ErrorReason]
    ERROR_REASON_IMAGE_UNAVAILABLE: _ClassVar[ErrorReason]
    ERROR_REASON_OUT_OF_MEMORY: _ClassVar[ErrorReason]
    ERROR_REASON_POD_FAILED: _ClassVar[ErrorReason]
    ERROR_REASON_POLICY_REFUSED: _ClassVar[ErrorReason]
    ERROR_REASON_POD_STOPPING: _ClassVar[ErrorReason]
ERROR_REASON_UNSPECIFIED: ErrorReason
ERROR_REASON_MODULE_NAME_INVALID: ErrorReason
ERROR_REASON_MODULE_NOT_FOUND: ErrorReason
ERROR_REASON_MODULE_SPEC_DIFFERS: ErrorReason
ERROR_REASON_MODULE_REFUSED: ErrorReason
ERROR_REASON_MODULE_MISMATCH: ErrorReason
ERROR_REASON_MODULE_UNAVAILABLE: ErrorReason
ERROR_REASON_MODULE_IMPORT_FAILED: ErrorReason
ERROR_REASON_SPEC_INVALID: ErrorReason
ERROR_REASON_ENVIRONMENT_FAILED: ErrorReason
ERROR_REASON_FUNCTION_NOT_FOUND: ErrorReason
ERROR_REASON_NAME_NOT_EXPOSED: ErrorReason
ERROR_REASON_NOT_CALLABLE: ErrorReason
ERROR_REASON_ARGUMENTS_DO_NOT_BIND: ErrorReason
ERROR_REASON_MALFORMED_REQUEST: ErrorReason
ERROR_REASON_UNKNOWN_FIELD: ErrorReason
ERROR_REASON_TOO_LARGE: ErrorReason
ERROR_REASON_TOO_DEEP: ErrorReason
ERROR_REASON_VALUE_NOT_REPRESENTABLE: ErrorReason
ERROR_REASON_EXCEPTION_RAISED: ErrorReason
ERROR_REASON_GUEST_DIED: ErrorReason
ERROR_REASON_QUEUE_FULL: ErrorReason
ERROR_REASON_DEADLINE_EXCEEDED: ErrorReason
ERROR_REASON_OBJECT_LOST: ErrorReason
ERROR_REASON_OBJECT_LIMIT: ErrorReason
ERROR_REASON_NOT_IMPLEMENTED: ErrorReason
ERROR_REASON_ROUTE_NOT_FOUND: ErrorReason
ERROR_REASON_CONTENT_TYPE_NOT_SUPPORTED: ErrorReason
ERROR_REASON_HOST_NOT_ALLOWED: ErrorReason
ERROR_REASON_UNAUTHENTICATED: ErrorReason
ERROR_REASON_INTERNAL: ErrorReason
ERROR_REASON_INTERFACE_INCOMPATIBLE: ErrorReason
ERROR_REASON_ARGUMENT_NOT_CONVERTIBLE: ErrorReason
ERROR_REASON_OBJECTS_APART: ErrorReason
ERROR_REASON_CANCELLED: ErrorReason
ERROR_REASON_DISTRIBUTION_UNKNOWN: ErrorReason
ERROR_REASON_REQUIREMENT_REFUSED: ErrorReason
ERROR_REASON_PYTHON_NOT_FOUND: ErrorReason
ERROR_REASON_SOURCE_INVALID: ErrorReason
ERROR_REASON_SOURCE_NOT_FOUND: ErrorReason
ERROR_REASON_SOURCE_NOT_STORED: ErrorReason
ERROR_REASON_NAME_TAKEN: ErrorReason
ERROR_REASON_CLUSTER_UNAVAILABLE: ErrorReason
ERROR_REASON_CLUSTER_REFUSED: ErrorReason
ERROR_REASON_QUOTA_EXCEEDED: ErrorReason
ERROR_REASON_POD_UNSCHEDULABLE: ErrorReason
ERROR_REASON_IMAGE_UNAVAILABLE: ErrorReason
ERROR_REASON_OUT_OF_MEMORY: ErrorReason
ERROR_REASON_POD_FAILED: ErrorReason
ERROR_REASON_POLICY_REFUSED: ErrorReason
ERROR_REASON_POD_STOPPING: ErrorReason

class ExceptionInfo(_message.Message):
    __slots__ = ("type", "message", "traceback", "notes", "cause", "exceptions")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    EXCEPTIONS_FIELD_NUMBER: _ClassVar[int]
    type: str
    message: str
    traceback: str
    notes: _containers.RepeatedScalarFieldContainer[str]
    cause: ExceptionInfo
    exceptions: _containers.RepeatedCompositeFieldContainer[ExceptionInfo]
    def __init__(self, type: _Optional[str] = ..., message: _Optional[str] = ..., traceback: _Optional[str] = ..., notes: _Optional[_Iterable[str]] = ..., cause: _Optional[_Union[ExceptionInfo, _Mapping]] = ..., exceptions: _Optional[_Iterable[_Union[ExceptionInfo, _Mapping]]] = ...) -> None: ...
