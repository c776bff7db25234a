"""The one tree of errors, and the one table that ties a reason to its class and its gRPC status.

A reason is a name of the enum `jac_orc.v1.ErrorReason` without its prefix. Servers raise these classes and an
interceptor turns them into a `google.rpc.Status`; clients turn a status back into the same class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from jac_orc.v1 import errors_pb2

__all__ = [
    "AlreadyExistsError",
    "CancelledError",
    "DeadlineExceededError",
    "FailedPreconditionError",
    "InternalError",
    "InvalidArgumentError",
    "NotFoundError",
    "OrcError",
    "PermissionDeniedError",
    "ResourceExhaustedError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "UnknownError",
    "error",
    "from_status",
    "to_status",
]

DOMAIN = "jac_orc"
_REASON_PREFIX = "ERROR_REASON_"

# A failure travels in HTTP/2 headers, of which common peers take 8 KiB in all. The message is there twice: in
# `grpc-message`, percent-encoded, and with the details in a status written as base64.
MAX_MESSAGE_BYTES = 1800
MAX_STATUS_BYTES = 4200
MAX_METADATA_CHARS = 300
_ROOM_FOR_TYPE = 80


class OrcError(Exception):
    """Any failure that this system tells of.

    `code` is the gRPC status number, `reason` one of the closed list, `metadata` what the reason's comment in
    `errors.proto` promises, `details` further messages of the status (field violations, the module's exception).
    """

    code: int = code_pb2.UNKNOWN

    def __init__(
        self,
        reason: str,
        message: str,
        metadata: Mapping[str, str] | None = None,
        details: Sequence[Message] = (),
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.details = tuple(details)


class InvalidArgumentError(OrcError):
    """The request is at fault, whatever the state of the system."""

    code = code_pb2.INVALID_ARGUMENT


class NotFoundError(OrcError):
    """The named thing doesn't exist."""

    code = code_pb2.NOT_FOUND


class AlreadyExistsError(OrcError):
    """The thing exists, and differs."""

    code = code_pb2.ALREADY_EXISTS


class PermissionDeniedError(OrcError):
    """The caller may not do this, whoever it is."""

    code = code_pb2.PERMISSION_DENIED


class UnauthenticatedError(OrcError):
    """The caller has not said who it is."""

    code = code_pb2.UNAUTHENTICATED


class ResourceExhaustedError(OrcError):
    """A limit is reached."""

    code = code_pb2.RESOURCE_EXHAUSTED


class FailedPreconditionError(OrcError):
    """The state of the system, or of what it was given, doesn't let this succeed."""

    code = code_pb2.FAILED_PRECONDITION


class DeadlineExceededError(OrcError):
    """The deadline passed first."""

    code = code_pb2.DEADLINE_EXCEEDED


class UnavailableError(OrcError):
    """Not now; a later try may succeed."""

    code = code_pb2.UNAVAILABLE


class UnimplementedError(OrcError):
    """This version doesn't do that."""

    code = code_pb2.UNIMPLEMENTED


class InternalError(OrcError):
    """A fault of this system."""

    code = code_pb2.INTERNAL


class CancelledError(OrcError):
    """The caller, or something on the way, gave the call up."""

    code = code_pb2.CANCELLED


class UnknownError(OrcError):
    """The module's code raised something that maps to nothing better."""

    code = code_pb2.UNKNOWN


_REASONS_BY_CLASS: Mapping[type[OrcError], str] = {
    InvalidArgumentError: """
        MODULE_NAME_INVALID MODULE_MISMATCH SPEC_INVALID NOT_CALLABLE ARGUMENTS_DO_NOT_BIND MALFORMED_REQUEST
        UNKNOWN_FIELD TOO_DEEP CONTENT_TYPE_NOT_SUPPORTED ARGUMENT_NOT_CONVERTIBLE SOURCE_INVALID
    """,
    NotFoundError: """
        MODULE_NOT_FOUND FUNCTION_NOT_FOUND OBJECT_LOST ROUTE_NOT_FOUND DISTRIBUTION_UNKNOWN SOURCE_NOT_FOUND
    """,
    AlreadyExistsError: "MODULE_SPEC_DIFFERS NAME_TAKEN",
    PermissionDeniedError: "MODULE_REFUSED NAME_NOT_EXPOSED HOST_NOT_ALLOWED REQUIREMENT_REFUSED POLICY_REFUSED",
    UnauthenticatedError: "UNAUTHENTICATED",
    ResourceExhaustedError: "TOO_LARGE QUEUE_FULL OBJECT_LIMIT QUOTA_EXCEEDED OUT_OF_MEMORY",
    FailedPreconditionError: """
        MODULE_IMPORT_FAILED ENVIRONMENT_FAILED INTERFACE_INCOMPATIBLE OBJECTS_APART PYTHON_NOT_FOUND
        CLUSTER_REFUSED POD_UNSCHEDULABLE IMAGE_UNAVAILABLE POD_FAILED
    """,
    DeadlineExceededError: "DEADLINE_EXCEEDED",
    UnavailableError: "MODULE_UNAVAILABLE GUEST_DIED POD_STOPPING SOURCE_NOT_STORED CLUSTER_UNAVAILABLE",
    UnimplementedError: "VALUE_NOT_REPRESENTABLE NOT_IMPLEMENTED",
    InternalError: "INTERNAL",
    CancelledError: "CANCELLED",
    UnknownError: "EXCEPTION_RAISED",
}
REASONS: Mapping[str, type[OrcError]] = {
    reason: kind for kind, reasons in _REASONS_BY_CLASS.items() for reason in reasons.split()
}

_BY_CODE: Mapping[int, type[OrcError]] = {cls.code: cls for cls in OrcError.__subclasses__()}

# What an exception of the module's own code becomes, by the class nearest to it (contract: Errors).
EXCEPTION_CODES: Mapping[str, int] = {
    "ValueError": code_pb2.INVALID_ARGUMENT,
    "TypeError": code_pb2.INVALID_ARGUMENT,
    "ArithmeticError": code_pb2.INVALID_ARGUMENT,
    "LookupError": code_pb2.INVALID_ARGUMENT,
    "FileNotFoundError": code_pb2.NOT_FOUND,
    "PermissionError": code_pb2.PERMISSION_DENIED,
    "NotImplementedError": code_pb2.UNIMPLEMENTED,
    "TimeoutError": code_pb2.DEADLINE_EXCEEDED,
    "MemoryError": code_pb2.RESOURCE_EXHAUSTED,
}


def error(
    reason: str, message: str, metadata: Mapping[str, str] | None = None, details: Sequence[Message] = ()
) -> OrcError:
    """The error of a reason, of the class that the table gives it.

    Raises KeyError for a reason outside the closed list.
    """
    return REASONS[reason](reason, message, metadata, details)


def exception_raised(mro: Sequence[str], info: errors_pb2.ExceptionInfo) -> OrcError:
    """The error for an exception of the module's code; `mro` names its built-in base classes, nearest first."""
    code = next((EXCEPTION_CODES[name] for name in mro if name in EXCEPTION_CODES), code_pb2.UNKNOWN)
    text = f"{info.type}: {info.message}" if info.message else info.type
    return _BY_CODE[code]("EXCEPTION_RAISED", text, {"type": info.type}, [info])


def to_status(failure: OrcError, call_id: str = "") -> status_pb2.Status:
    """The failure as it goes over the wire, cut to what the headers of a response may hold.

    `call_id` becomes part of its metadata. Calls may share one failure, so the failure itself has none.
    """
    status = status_pb2.Status(code=failure.code, message=_cut(_utf8(failure.message)))
    metadata = {_utf8(key): _utf8(value)[:MAX_METADATA_CHARS] for key, value in failure.metadata.items()}
    if call_id:
        metadata["call_id"] = call_id
    info = error_details_pb2.ErrorInfo(reason=failure.reason, domain=DOMAIN, metadata=metadata)
    status.details.add().Pack(info)
    for detail in failure.details:
        room = MAX_STATUS_BYTES - status.ByteSize() - _ROOM_FOR_TYPE
        fitting = _fitting(detail, room) if isinstance(detail, errors_pb2.ExceptionInfo) else detail
        if fitting.ByteSize() <= room:
            status.details.add().Pack(fitting)
    return status


def _cut(text: str) -> str:
    """The text without its middle where it would be long in `grpc-message`, which writes a byte as up to three."""

    def cost(part: str) -> int:
        return sum(1 if " " <= char <= "~" and char != "%" else 3 * len(char.encode()) for char in part)

    if cost(text) <= MAX_MESSAGE_BYTES:
        return text
    half = len(text[:MAX_MESSAGE_BYTES]) // 2
    while cost(text[:half] + text[-half:]) > MAX_MESSAGE_BYTES:
        half = half * 3 // 4
    return f"{text[:half]} … {text[-half:]}"


def _fitting(info: errors_pb2.ExceptionInfo, room: int) -> errors_pb2.ExceptionInfo:
    """The exception in so many bytes: what is least telling goes first, of texts the half that is."""
    fitting = errors_pb2.ExceptionInfo()
    fitting.CopyFrom(info)
    for field in ("exceptions", "cause", "notes"):
        if fitting.ByteSize() > room:
            fitting.ClearField(field)
    while fitting.ByteSize() > room and (fitting.traceback or fitting.message):
        if len(fitting.traceback) > len(fitting.message):
            fitting.traceback = fitting.traceback[len(fitting.traceback) // 2 + 1 :]
        else:
            fitting.message = fitting.message[: len(fitting.message) // 2]
    return fitting


def _utf8(text: str) -> str:
    """Text that protobuf takes: lone surrogates are written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def from_call(failure: Any) -> OrcError | None:
    """Return the failure of a `grpc.RpcError` as its server reports it, or that the deadline passed; else None."""
    for name, value in failure.trailing_metadata() or ():
        if name == "grpc-status-details-bin" and isinstance(value, bytes):
            return from_status(status_pb2.Status.FromString(value))
    if failure.code().value[0] == code_pb2.DEADLINE_EXCEEDED:
        return error("DEADLINE_EXCEEDED", "the deadline passed before the answer")
    if failure.code().value[0] == code_pb2.CANCELLED and failure.details() == "CANCELLED":
        # gRPC's library ends a call so that reaches a server which has just stopped to take calls.
        return error("POD_STOPPING", "the pod stopped before the call began; it is safe to retry", {"begun": "false"})
    return None


def from_status(status: status_pb2.Status) -> OrcError:
    """The failure that a status tells of; one without an ErrorInfo of ours gets the reason `INTERNAL`."""
    reason, metadata, details = "INTERNAL", dict[str, str](), list[Message]()
    for packed in status.details:
        info = error_details_pb2.ErrorInfo()
        if packed.Unpack(info) and info.domain == DOMAIN:
            reason, metadata = info.reason, dict(info.metadata)
            continue
        for kind in (errors_pb2.ExceptionInfo, error_details_pb2.BadRequest):
            message = kind()
            if packed.Unpack(message):
                details.append(message)
    failure = _BY_CODE.get(status.code, OrcError)(reason, status.message, metadata, details)
    failure.code = status.code  # one that nothing here raises has no class
    return failure
