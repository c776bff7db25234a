"""How a call fails: by a refusal of this system, or by an exception of the module's code, told as data."""

from __future__ import annotations

import contextlib
import json
import os
import traceback
from typing import Any

from .folders import hint

Document = Any  # a JSON object

MAX_MESSAGE_CHARS = 1000
MAX_TRACEBACK_CHARS = 2500
MAX_CAUSES = 3
MAX_MEMBERS = 5
_MAX_HINT = 700
MAX_LOGGED_CHARS = 32 * 1024
_MAX_BODY = 1000 * 1000  # of an ERROR or a FAILED; the server takes a little more
_OWN_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep
_IMPORT_FRAMES = frozenset(
    """
    import_module _gcd_import _find_and_load _find_and_load_unlocked _load_unlocked exec_module
    _call_with_frames_removed
    """.split()
)


class Refusal(Exception):
    """A call that fails for a reason of this system's closed list, not by an exception of the module's code."""

    def __init__(self, reason: str, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.metadata = metadata
        self.error = {"reason": reason, "message": message[:MAX_MESSAGE_CHARS], "metadata": metadata}


class Cancelled(BaseException):
    """Raised in the thread of a call that its caller has given up."""


def quote(text: str) -> str:
    """A text of the caller's, as it is shown in a message."""
    return repr(text if len(text) <= 200 else text[:200] + "…")


def qualified_name(cls: type) -> str:
    """A class's module and qualified name, `builtins.ValueError`, whatever code its metaclass has."""
    try:
        module = type.__getattribute__(cls, "__module__")
    except AttributeError:
        module = "?"
    if module == "pathlib._local":  # in Python 3.13, and no other
        module = "pathlib"
    return "%s.%s" % (module, type.__getattribute__(cls, "__qualname__"))


def error_of(failure: BaseException) -> Document:
    """The error document of whatever a call raised."""
    kind: Any = type(failure)  # its `__class__` may be code that fails
    if issubclass(kind, Refusal):
        return getattr(failure, "error")  # noqa: B009 - which the types don't tell here
    if issubclass(kind, Cancelled):
        return Refusal("DEADLINE_EXCEEDED", "the call was cancelled").error
    data = exception_data(failure)
    names = map(qualified_name, type.mro(kind))
    mro = [name[len("builtins.") :] for name in names if name.startswith("builtins.")]
    return {"reason": "EXCEPTION_RAISED", "message": data["message"], "exception": data, "mro": mro}


def error_body(failure: BaseException) -> bytes:
    """The error document as the body of a frame, with the traceback for the log where the module's code raised."""
    try:
        document = error_of(failure)
    except BaseException:  # of its class's code
        data = {"type": "builtins.BaseException", "message": "", "traceback": ""}
        document = {"reason": "EXCEPTION_RAISED", "message": "", "exception": data, "mro": []}
    if "exception" in document:
        document["log"] = _logged(failure)
    body = json.dumps(document).encode()
    if len(body) > _MAX_BODY:
        for field in ("cause", "exceptions"):
            document["exception"].pop(field, None)
        body = json.dumps(document).encode()
    return body


def _logged(failure: BaseException) -> str:
    """The traceback as Python prints it, causes included, without this package's frames at its top; cut if long."""
    try:
        tb = _kept(failure, "__traceback__")
        while tb is not None and tb.tb_frame.f_code.co_filename.startswith(_OWN_FOLDER):
            tb = tb.tb_next
        text = "".join(traceback.format_exception(type(failure), failure, tb)).rstrip()
    except BaseException as second:
        return "%s\n(its traceback can't be formatted: %s)" % (qualified_name(type(failure)), type(second).__name__)
    if len(text) <= MAX_LOGGED_CHARS:
        return text
    part = MAX_LOGGED_CHARS // 2 - 10
    return "%s\n  …\n%s" % (text[:part], text[-part:])


def exception_data(failure: BaseException, depth: int = 0) -> Document:
    """An exception as data; where its own code interferes, its class is all that is sure."""
    try:
        return _exception_data(failure, depth)
    except BaseException:
        return {"type": qualified_name(type(failure)), "message": "", "traceback": ""}


def _hint(failure: BaseException) -> str:
    """Return what to add to the exception's message, for a reason that its code can't know."""
    try:
        found = hint(failure)
    except BaseException:  # of the exception's own code, or the module's code has replaced what this uses
        return ""
    return " (%s)" % found[:_MAX_HINT] if found else ""


def _traceback(failure: BaseException) -> str:
    tb = _kept(failure, "__traceback__")
    frames = [frame for frame in traceback.extract_tb(tb) if not frame.filename.startswith(_OWN_FOLDER)]
    while frames and "importlib" in frames[0].filename and frames[0].name in _IMPORT_FRAMES:
        frames.pop(0)
    if issubclass(type(failure), SyntaxError):  # the file and the line are the exception's own
        frames = [frame for frame in frames if "importlib" not in frame.filename]
        place = traceback.format_exception_only(type(failure), failure)[:-1]
    else:
        place = []
    return "".join([*traceback.format_list(frames), *place])


def _exception_data(failure: BaseException, depth: int) -> Document:
    try:
        message = str.__str__(str(failure))  # which a subclass of str may be
    except BaseException as second:
        message = "<its text can't be made: %s>" % type(second).__name__
    try:
        text = _traceback(failure)
    except BaseException:  # what formats it has been replaced
        text = ""
    found = _hint(failure)
    data: Document = {
        "type": qualified_name(type(failure)),
        "message": message[: MAX_MESSAGE_CHARS - len(found)] + found,
        "traceback": text[-MAX_TRACEBACK_CHARS // (depth + 1) :],
    }
    with contextlib.suppress(BaseException):
        notes = getattr(failure, "__notes__", None)
        if isinstance(notes, list) and notes:
            data["notes"] = [str.__str__(str(note))[:200] for note in notes[:5]]
    if depth >= MAX_CAUSES:
        return data
    cause = _kept(failure, "__cause__")
    if cause is None and not _kept(failure, "__suppress_context__"):
        cause = _kept(failure, "__context__")
    if cause is not None:
        data["cause"] = exception_data(cause, depth + 1)
    with contextlib.suppress(BaseException):
        members = getattr(failure, "exceptions", None)  # an exception group, of any Python and of its backport
        if isinstance(members, (tuple, list)) and members and all(isinstance(one, BaseException) for one in members):
            data["exceptions"] = [exception_data(member, depth + 1) for member in members[:MAX_MEMBERS]]
    return data


def _kept(failure: BaseException, name: str) -> Any:
    """What Python itself keeps by this name, which the exception's class may have replaced by code."""
    return getattr(BaseException, name).__get__(failure)
