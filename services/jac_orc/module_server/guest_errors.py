"""What a guest tells of failures, made into errors; a guest that tells it in another shape than agreed is at fault."""

from __future__ import annotations

import json
import signal
from typing import Any

from jac_orc.errors import REASONS, NotFoundError, OrcError, error, exception_raised
from jac_orc.guest.failures import MAX_LOGGED_CHARS
from jac_orc.module_server.frames import FrameError
from jac_orc.v1 import errors_pb2

_MAX_CAUSES = 3
_MAX_MEMBERS = 5
_ELSEWHERE = "OBJECT_ELSEWHERE"


class ObjectElsewhere(NotFoundError):
    """The call has not run, since it names an object that its guest doesn't have."""

    def __init__(self, obj_id: str, message: str) -> None:
        super().__init__("OBJECT_LOST", message, {"obj_id": obj_id})
        self.obj_id = obj_id


def read(body: bytes) -> tuple[OrcError, str]:
    """Return the error in the body of a frame and the traceback for the log, empty if the module's code raised nothing.

    Raises FrameError for what is no error.
    """
    try:
        document = json.loads(body)
        return from_document(document), _text(document.get("log"), MAX_LOGGED_CHARS)
    except (ValueError, RecursionError) as failure:
        raise FrameError("an error that is no JSON") from failure


def from_document(document: Any) -> OrcError:
    """The error that a guest tells of; raises FrameError for what is not of that shape."""
    if not isinstance(document, dict) or not isinstance(document.get("reason"), str):
        raise FrameError("an error without a reason")
    reason, metadata = document["reason"], document.get("metadata", {})
    if not isinstance(metadata, dict) or not (reason in REASONS or reason == _ELSEWHERE):
        raise FrameError(f"an error of the reason {reason[:50]}")
    if reason == "EXCEPTION_RAISED":
        mro = document.get("mro")
        if not isinstance(mro, list):
            raise FrameError("an exception without classes")
        return exception_raised([name for name in mro if isinstance(name, str)], _exception(document.get("exception")))
    message = _text(document.get("message"), 4000)
    texts = {_text(key, 200): _text(value, 200) for key, value in metadata.items() if value}
    if reason == _ELSEWHERE:
        return ObjectElsewhere(texts.get("obj_id", ""), message)
    return error(reason, message, texts)


def of_exit(code: int) -> OrcError:
    """What the calls of a process that has ended are told."""
    if code >= 0:
        how, metadata = f"ended with exit code {code}", {"exit_code": str(code)}
    else:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = str(-code)
        how, metadata = f"was killed by {name}", {"signal": name}
        if name == "SIGKILL":
            how += ", as it is where memory runs out, or where another call of it would not end"
    return error("GUEST_DIED", f"the process that runs the module {how}", metadata)


def of_import(module_name: str, body: bytes) -> tuple[OrcError, str]:
    """Return why the module can't be imported, and the traceback for the log."""
    try:
        failure, trace = read(body)
    except FrameError as fault:
        return error("MODULE_IMPORT_FAILED", f"importing {module_name} failed: the guest sent {fault}"), ""
    lines = [f"importing {module_name} failed: {failure.message}"]
    for detail in failure.details:
        if isinstance(detail, errors_pb2.ExceptionInfo):
            lines += [*detail.notes, detail.traceback[-600:]]
    metadata = {"type": failure.metadata.get("type", "")}
    return error("MODULE_IMPORT_FAILED", "\n".join(lines).strip(), metadata, failure.details), trace


def _exception(data: Any, depth: int = 0) -> errors_pb2.ExceptionInfo:
    if not isinstance(data, dict) or not all(isinstance(data.get(name, []), list) for name in ("notes", "exceptions")):
        raise FrameError("an exception of another shape")
    info = errors_pb2.ExceptionInfo(
        type=_text(data.get("type"), 200), message=_text(data.get("message"), 1000),
        traceback=_text(data.get("traceback"), 2500), notes=[_text(note, 1000) for note in data.get("notes", [])][:5],
    )  # fmt: skip
    if depth < _MAX_CAUSES:
        if data.get("cause"):
            info.cause.CopyFrom(_exception(data["cause"], depth + 1))
        info.exceptions.extend(_exception(member, depth + 1) for member in data.get("exceptions", [])[:_MAX_MEMBERS])
    return info


def _text(value: Any, limit: int) -> str:
    """Text that protobuf takes: lone surrogates are written as escapes."""
    return str(value or "")[:limit].encode("utf-8", "backslashreplace").decode()
