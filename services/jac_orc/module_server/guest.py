"""The guest: the process in which a user's module lives. Standard library only, for any Python from 3.8.

It is run by path as `python -I guest.py FD SERVER_PID` by the interpreter of the module's own environment, so nothing
of the server is importable here and nothing of the user's is there. FD is one end of a socket pair; what goes over it
are frames (both directions alike, all numbers big-endian):

    u32 length of the control document | u32 number of attachments | u64 length of each attachment
    control document (a JSON object)   | attachments (bytes)

The server's first frame is `{"op": "load", "module": name, "refused": [top-level names], "max_answer": bytes}`; the
guest answers `{"op": "loaded", …}` or `{"op": "failed", "error": {…}}`. Then calls, any number at a time:

    {"op": "call", "id": 7, "style": "call" | "pack" | "named", "method": "linalg.norm"} + [JSON body]
    {"op": "stream", …as a call…, "credit": 16}        {"op": "credit", "id": 7, "items": 8}
    {"op": "describe", "id": 8}                        {"op": "cancel", "id": 7}

each answered once, in any order, by `{"id": 7}` + [JSON body] or `{"id": 7, "error": {…}}`. A stream sends its items
before that, each as `{"id": 7, "item": true}` + [JSON body], as many as it has credit for. An error is
`{"reason", "message", "metadata"}`, for an exception of the module's code with `"exception"` (type, message,
traceback, notes, cause) and `"mro"`. End of file ends the guest.
"""

from __future__ import annotations

import ast
import asyncio
import base64
import collections
import contextlib
import ctypes
import dataclasses
import datetime
import difflib
import enum
import importlib
import inspect
import json
import keyword
import math
import os
import re
import signal
import socket
import struct
import sys
import threading
import time
import traceback
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    Document = dict[str, Any]

MAX_DEPTH = 100
MAX_DIGITS = 100_000  # of an int: the time for more grows with their square, and nothing else runs meanwhile
MAX_MESSAGE_CHARS = 1000
MAX_TRACEBACK_CHARS = 2500
MAX_DOCUMENTATION_CHARS = 20000
_QUICK = 0.002
_IDLE_LOOKS = 25
_HEAD = struct.Struct("!II")
_SIZE = struct.Struct("!Q")


class Refusal(Exception):
    """A call that fails for a reason of this system's closed list, not by an exception of the module's code."""

    def __init__(self, reason: str, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.error = {"reason": reason, "message": message[:MAX_MESSAGE_CHARS], "metadata": metadata}


class Cancelled(BaseException):
    """Raised in the thread of a call that its caller has given up."""


# --- the wire ---------------------------------------------------------------------------------------------------------


class Wire:
    """Frames over a socket; any thread may send, one receives."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._file = sock.makefile("rb", buffering=1 << 18)
        self._lock = threading.Lock()
        self._process = os.getpid()

    def receive(self) -> tuple[Document, list[bytes]]:
        """The next control document and its attachments; raises EOFError at the end."""
        length, count = _HEAD.unpack(self._read(_HEAD.size))
        sizes = [_SIZE.unpack(self._read(_SIZE.size))[0] for _ in range(count)]
        control = json.loads(self._read(length))
        return control, [self._read(size) for size in sizes]

    def send(self, control: Document, *attachments: bytes) -> None:
        """Sends one frame, whole."""
        document = json.dumps(control).encode()
        head = [_HEAD.pack(len(document), len(attachments)), *(_SIZE.pack(len(part)) for part in attachments)]
        frame = b"".join([*head, document, *attachments])
        if os.getpid() != self._process:
            os._exit(0)  # a fork of the module's code that went on: the answer is its parent's to give
        with self._lock:
            self._socket.sendall(frame)

    def _read(self, size: int) -> bytes:
        data: bytes = self._file.read(size)
        if len(data) < size:
            raise EOFError
        return data


# --- names ------------------------------------------------------------------------------------------------------------


class Names:
    """Which names of the module may be reached, and what they stand for (contract: What is exposed)."""

    def __init__(self, name: str, module: types.ModuleType, refused: list[str]) -> None:
        self.name = name
        self.module = module
        self._package = name.partition(".")[0]
        self._refused = frozenset(refused) - {self._package}

    def resolve(self, path: str) -> Any:
        """What a dotted path stands for; raises Refusal where there is nothing, or nothing that is exposed."""
        segments = path.split(".")
        for segment in segments:
            if not segment.isidentifier() or keyword.iskeyword(segment):
                raise Refusal("FUNCTION_NOT_FOUND", "%s is no name of a function" % _quote(path), method=path[:200])
            if segment.startswith("_"):
                raise Refusal("NAME_NOT_EXPOSED", "%s is private" % _quote(path), method=path[:200])
        value = self.module
        for index, segment in enumerate(segments):
            value = self._step(value, segment, ".".join(segments[: index + 1]))
        return value

    def _step(self, owner: Any, segment: str, path: str) -> Any:
        exported = getattr(owner, "__all__", None) if isinstance(owner, types.ModuleType) else None
        try:
            value = self._attribute(owner, segment)
        except AttributeError:
            near = difflib.get_close_matches(segment, self.public(owner), n=3)
            hint = "; did you mean %s?" % ", ".join(near) if near else ""
            message = "%s has no function %s%s" % (self.name, _quote(path), hint)
            raise Refusal("FUNCTION_NOT_FOUND", message, method=path[:200], near=",".join(near)) from None
        if exported is not None and segment not in exported:
            message = "%s is not exported by %s (__all__)" % (_quote(path), owner.__name__)
            raise Refusal("NAME_NOT_EXPOSED", message, method=path[:200])
        is_module = isinstance(value, types.ModuleType)
        home = value.__name__ if is_module else getattr(value, "__module__", None) if callable(value) else None
        home = home.partition(".")[0] if isinstance(home, str) else self._package
        if home.lstrip("_") in self._refused or (is_module and home != self._package):
            message = "%s leads out of %s into %s" % (_quote(path), self._package, home)
            raise Refusal("NAME_NOT_EXPOSED", message, method=path[:200])
        return value

    def _attribute(self, owner: Any, segment: str) -> Any:
        """The attribute; a submodule that nothing has imported yet is imported."""
        try:
            return getattr(owner, segment)
        except AttributeError:
            if not hasattr(owner, "__path__"):
                raise
            name = "%s.%s" % (owner.__name__, segment)
            try:
                return importlib.import_module(name)
            except ModuleNotFoundError as failure:
                if failure.name != name:
                    raise
                raise AttributeError(segment) from None

    def public(self, owner: Any) -> list[str]:
        """The public names of a module, a class or an object, sorted."""
        exported = getattr(owner, "__all__", None) if isinstance(owner, types.ModuleType) else None
        names = dir(owner) if exported is None else [name for name in exported if isinstance(name, str)]
        return sorted(name for name in names if not name.startswith("_"))

    def walk(self) -> Iterator[tuple[str, Any]]:
        """Every exposed value that is there, as (dotted path, value), submodules of the package included."""
        seen, waiting = set(), [("", self.module)]
        while waiting:
            prefix, owner = waiting.pop(0)
            seen.add(id(owner))
            for name in self.public(owner):
                if name not in vars(owner):
                    continue
                try:
                    value = self._step(owner, name, prefix + name)
                except Refusal:
                    continue
                if not isinstance(value, types.ModuleType):
                    yield prefix + name, value
                elif id(value) not in seen and (hasattr(owner, "__all__") or prefix == ""):
                    seen.add(id(value))
                    waiting.append((prefix + name + ".", value))


def _quote(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "…")


# --- values -----------------------------------------------------------------------------------------------------------


def parse_body(data: bytes) -> Document:
    """The JSON object in a body; raises Refusal for anything else. NaN and doubled keys are no JSON here."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as failure:
        raise Refusal("MALFORMED_REQUEST", "the body is not UTF-8: %s" % failure) from None
    try:
        body = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_object) if text.strip() else {}
    except RecursionError:
        raise _too_deep() from None
    except ValueError as failure:
        if _DIGITS_FAULT in str(failure):
            raise Refusal("TOO_LARGE", _TOO_MANY_DIGITS, limit=str(MAX_DIGITS)) from None
        raise Refusal("MALFORMED_REQUEST", "the body is not JSON: %s" % str(failure)[:300]) from None
    if not isinstance(body, dict):
        raise Refusal("MALFORMED_REQUEST", "the body must be a JSON object, not %s" % _json_kind(body))
    return body


_DIGITS_FAULT = "integer string conversion"
_TOO_MANY_DIGITS = "an int has more than the %d digits that are allowed" % MAX_DIGITS


def _no_constant(name: str) -> None:
    raise ValueError("%s is no JSON number" % name)


def _object(pairs: list[tuple[str, Any]]) -> Document:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, count in collections.Counter(name for name, _ in pairs).items() if count > 1]
        raise ValueError("the key %s stands twice in one object" % _quote(names[0]))
    return result


def _json_kind(value: Any) -> str:
    kinds = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")


def _too_deep() -> Refusal:
    return Refusal("TOO_DEEP", "the value is nested deeper than %d levels" % MAX_DEPTH, limit=str(MAX_DEPTH))


def decode(value: Any, depth: int = 0) -> Any:
    """An argument as Python sees it; `{"$bytes": …}` and `{"$value": …}` are the two escapes."""
    kind = type(value)
    if kind is list:
        if depth >= MAX_DEPTH:
            raise _too_deep()
        return [decode(item, depth + 1) for item in value]
    if kind is float and math.isinf(value):
        raise Refusal("MALFORMED_REQUEST", "a number is larger than a float can be")
    if kind is not dict:
        return value
    if depth >= MAX_DEPTH:
        raise _too_deep()
    if len(value) == 1:
        if "$bytes" in value:
            return _decode_bytes(value["$bytes"])
        if "$value" in value and isinstance(value["$value"], dict):
            return {key: decode(item, depth + 1) for key, item in value["$value"].items()}
    if "obj_id" in value:
        raise Refusal("NOT_IMPLEMENTED", "objects as arguments are not implemented yet")
    return {key: decode(item, depth + 1) for key, item in value.items()}


def _decode_bytes(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, TypeError):
        raise Refusal("MALFORMED_REQUEST", 'the value of "$bytes" is not base64') from None


class Walk:
    """What one walk through a value knows: the containers that it is in, and how many more items fit."""

    def __init__(self, max_bytes: int) -> None:
        self.parents: set[int] = set()
        self._max_bytes = max_bytes
        self._room = max_bytes // 2  # an item has at least a character and a comma

    def take(self, items: int) -> None:
        """Counts items before they are looked at; raises Refusal where they can't fit."""
        self._room -= items
        if self._room < 0:
            raise _too_large("the answer", self._max_bytes)


def _too_large(what: str, limit: int) -> Refusal:
    return Refusal("TOO_LARGE", "%s has more than the %d bytes that are allowed" % (what, limit), limit=str(limit))


class NoJsonForm(Exception):
    """A value that has no exact JSON form."""


def encode_result(value: Any, max_bytes: int = 1 << 26) -> bytes:
    """`{"result":…}` as bytes; raises Refusal for a value without an exact JSON form, or a larger one."""
    try:
        plain = {"result": encode(value, 0, Walk(max_bytes))}
        text = json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except Refusal:
        raise
    except NoJsonForm as failure:
        message = "the result has no exact JSON form (%s), and objects are not implemented yet" % failure
        raise Refusal("VALUE_NOT_REPRESENTABLE", message, type=qualified_name(type(value))) from None
    except Exception as failure:
        if _DIGITS_FAULT in str(failure):
            raise Refusal("TOO_LARGE", _TOO_MANY_DIGITS, limit=str(MAX_DIGITS)) from None
        message = "the result could not be read: its own code raised %s" % qualified_name(type(failure))
        raise Refusal("VALUE_NOT_REPRESENTABLE", message, type=qualified_name(type(value))) from failure
    if len(text) > max_bytes:
        raise _too_large("the answer", max_bytes)
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate: JSON can escape it, UTF-8 can't hold it
        return json.dumps(plain, allow_nan=False, separators=(",", ":")).encode()


def encode(value: Any, depth: int, walk: Walk) -> Any:
    """The value as what `json.dumps` writes exactly (contract: JSON values); raises NoJsonForm."""
    kind = type(value)
    if value is None or kind in (str, int, bool):
        return value
    if kind is float:
        return _encode_float(value)
    if depth >= MAX_DEPTH:
        raise NoJsonForm("nested deeper than %d levels" % MAX_DEPTH)
    if id(value) in walk.parents:
        raise NoJsonForm("it contains itself")
    if kind not in (list, tuple, dict):
        if isinstance(value, enum.Enum):
            return encode(value.value, depth + 1, walk)
        scalar = _encode_scalar(value)
        if scalar is not None:
            return scalar[0]
    walk.parents.add(id(value))
    try:
        return _encode_container(value, depth + 1, walk)
    finally:
        walk.parents.discard(id(value))


def _encode_float(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _encode_scalar(value: Any) -> tuple[Any] | None:
    """The JSON form in a tuple, or None where the value is no scalar that has one."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return (base64.b64encode(bytes(value)).decode(),)
    if isinstance(value, complex) and _numpy_kind(value) is None:
        return ([_encode_float(value.real), _encode_float(value.imag)],)
    if type(value) is datetime.timedelta:  # a subclass may be finer than this can tell
        return (_encode_duration(value),)
    if isinstance(value, (datetime.date, datetime.time)):
        return (value.isoformat(),)
    if _numpy_kind(value) is not None:
        return None
    for module, names in _TEXT_TYPES.items():
        loaded = sys.modules.get(module)
        if loaded is not None and isinstance(value, tuple(getattr(loaded, name) for name in names)):
            return (str(value),)
    if isinstance(value, float):
        return (_encode_float(float.__float__(value)),)
    if isinstance(value, int):
        return (int.__int__(value),)
    return (str.__str__(value),) if isinstance(value, str) else None


_TEXT_TYPES = {
    "decimal": ("Decimal",),
    "fractions": ("Fraction",),
    "uuid": ("UUID",),
    "pathlib": ("PurePath",),
    "ipaddress": (
        "IPv4Address",
        "IPv6Address",
        "IPv4Network",
        "IPv6Network",
        "IPv4Interface",
        "IPv6Interface",
    ),
}


def _encode_duration(value: datetime.timedelta) -> str:
    """Seconds with as many decimals as needed, exactly: `"3.5s"`."""
    micros = (value.days * 86400 + value.seconds) * 1000000 + value.microseconds
    sign, micros = ("-", -micros) if micros < 0 else ("", micros)
    fraction = ("%06d" % (micros % 1000000)).rstrip("0")
    return "%s%d%ss" % (sign, micros // 1000000, "." + fraction if fraction else "")


def _encode_container(value: Any, depth: int, walk: Walk) -> Any:
    if isinstance(value, dict):
        return _encode_dict(value, depth, walk)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: encode(item, depth, walk) for name, item in zip(value._fields, value)}
    if hasattr(type(value), "__dataclass_fields__"):
        fields = dataclasses.fields(value)
        return {field.name: encode(getattr(value, field.name), depth, walk) for field in fields}
    if isinstance(value, (set, frozenset)):
        return _encode_items(_sorted(value), depth, walk)
    if isinstance(value, _SEQUENCES):
        return _encode_items(value, depth, walk)
    if _numpy_kind(value) is not None:
        return _encode_numpy(value, depth, walk)
    if hasattr(type(value), "model_dump") and hasattr(type(value), "model_fields"):
        return encode(value.model_dump(), depth, walk)
    raise NoJsonForm("a %s" % qualified_name(type(value)))


_DICT_VIEWS = (type({}.keys()), type({}.values()), type({}.items()))  # type: ignore[var-annotated]
_SEQUENCES: Any = (list, tuple, range, collections.deque, *_DICT_VIEWS)


def _encode_items(items: Collection[Any], depth: int, walk: Walk) -> list[Any]:
    walk.take(len(items))
    return [item if item is None or type(item) in (str, int, bool) else encode(item, depth, walk) for item in items]


def _sorted(items: Collection[Any]) -> Collection[Any]:
    try:
        return sorted(items)
    except Exception:  # no order among them, or comparing them is code that fails
        return items


def _encode_dict(value: dict[Any, Any], depth: int, walk: Walk) -> Any:
    """An object where the keys are scalars that JSON writes differently, else an array of pairs."""
    walk.take(2 * len(value))
    keys = [_encode_key(key) for key in value]
    if None in keys or len(set(keys)) < len(keys):
        pairs = [(encode(key, depth, walk), encode(item, depth, walk)) for key, item in value.items()]
        return [list(pair) for pair in pairs]
    return {key: encode(item, depth, walk) for key, item in zip(keys, value.values())}


def _encode_key(key: Any) -> str | None:
    """A key as `json.dumps` writes it; None for one that it doesn't."""
    if isinstance(key, str):
        return str.__str__(key)
    if key is None or isinstance(key, int):
        return json.dumps(key)
    if isinstance(key, float) and math.isfinite(key):
        return float.__repr__(key)
    return None


def _numpy_kind(value: Any) -> str | None:
    """The kind letter of a NumPy scalar's or array's dtype; None for anything else."""
    numpy = sys.modules.get("numpy")
    classes: Any = (getattr(numpy, "ndarray", ()), getattr(numpy, "generic", ()))
    return str(value.dtype.kind) if isinstance(value, classes) else None


def _encode_numpy(value: Any, depth: int, walk: Walk) -> Any:
    kind, size = value.dtype.kind, value.dtype.itemsize
    exact = kind in "biuSUO" or (kind == "f" and size <= 8) or (kind == "c" and size <= 16)
    if not exact or isinstance(value, getattr(sys.modules.get("numpy.ma"), "MaskedArray", ())):
        raise NoJsonForm("a NumPy value of dtype %s" % value.dtype)
    walk.take(value.size)
    plain = value.tolist()
    # tolist gives Python's own ints, bools and strings, which need no further look.
    return plain if kind in "biuU" else encode(plain, depth, walk)


# --- errors -----------------------------------------------------------------------------------------------------------


def qualified_name(cls: type) -> str:
    """A class's module and qualified name, `builtins.ValueError`."""
    return "%s.%s" % (getattr(cls, "__module__", "?"), getattr(cls, "__qualname__", cls.__name__))


def exception_data(failure: BaseException, depth: int = 0) -> Document:
    """An exception as data; one that can't be rendered is still reported."""
    try:
        message = str(failure)
    except BaseException as second:
        message = "<its text can't be made: %s>" % type(second).__name__
    frames = [frame for frame in traceback.extract_tb(failure.__traceback__) if frame.filename != __file__]
    while frames and "importlib" in frames[0].filename and frames[0].name in _IMPORT_FRAMES:
        frames.pop(0)
    text = "".join(traceback.format_list(frames))
    data: Document = {
        "type": qualified_name(type(failure)),
        "message": message[:MAX_MESSAGE_CHARS],
        "traceback": text[-MAX_TRACEBACK_CHARS // (depth + 1) :],
    }
    notes = getattr(failure, "__notes__", None)
    if isinstance(notes, list) and notes:
        data["notes"] = [str(note)[:200] for note in notes[:5]]
    cause = failure.__cause__ or (None if failure.__suppress_context__ else failure.__context__)
    if cause is not None and depth < 3:
        data["cause"] = exception_data(cause, depth + 1)
    return data


_IMPORT_FRAMES = frozenset(
    """
    import_module _gcd_import _find_and_load _find_and_load_unlocked _load_unlocked exec_module
    _call_with_frames_removed
    """.split()
)


def error_of(failure: BaseException) -> Document:
    """The error document of whatever a call raised."""
    if isinstance(failure, Refusal):
        return failure.error
    try:
        data = exception_data(failure)
    except BaseException:  # the exception's own code interferes: its class is all that is sure
        data = {"type": qualified_name(type(failure)), "message": "", "traceback": ""}
    mro = [cls.__name__ for cls in type.mro(type(failure)) if cls.__module__ == "builtins"]
    return {"reason": "EXCEPTION_RAISED", "message": data["message"], "exception": data, "mro": mro}


# --- calls ------------------------------------------------------------------------------------------------------------


class Calls:
    """Runs calls of the module's functions; coroutines on one loop of their own.

    One thread leads: it reads a frame and runs the call in it at once, so that a quick call costs no change of
    threads. A monitor that wakes only while calls run gives the lead to another thread when one call has lasted for
    `_QUICK` seconds; the thread of the slow call answers it when it is done, and then waits to lead again.
    """

    def __init__(self, names: Names, wire: Wire, max_answer: int) -> None:
        self._names = names
        self._wire = wire
        self._max_answer = max_answer
        self._lock = threading.Lock()
        # Per call: its thread's id or its coroutine while it runs, "cancelled".
        self._running: dict[int, Any] = {}
        self._credits: dict[int, threading.Semaphore] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leader: object = None
        self._started = 0  # how many calls leaders have started, by which the monitor tells one from the next
        self._is_calling = False  # whether the leader is in a call
        self._followers: list[Follower] = []
        self._watched = threading.Event()  # set while the monitor looks

    def serve(self) -> None:
        """Leads in this thread; never returns, the end of the wire ends the process."""
        threading.Thread(target=self._monitor, daemon=True, name="monitor").start()
        self._follow(lead=True)

    def _follow(self, lead: bool = False) -> None:
        """The life of a thread: leads until it is in a slow call, then waits to be given the lead again."""
        me = Follower()
        if lead:
            self._leader = me
        try:
            while True:
                while self._leader is me:
                    self._take(me)
                with self._lock:
                    self._followers.append(me)
                me.turn.acquire()
        except (EOFError, OSError):
            os._exit(0)  # the server is gone
        except BaseException:
            traceback.print_exc()
            os._exit(1)  # without a leader nothing would be answered any more

    def _take(self, me: Follower) -> None:
        """Reads one frame and does what it says."""
        control, attachments = self._wire.receive()
        if control["op"] == "cancel":
            self.cancel(control["id"])
        elif control["op"] == "credit":
            self.add_credit(control["id"], control["items"])
        else:
            self._started += 1
            self._is_calling = True
            if not self._watched.is_set():
                self._watched.set()
            self._answer(control, attachments)
            with self._lock:
                if self._leader is me:
                    self._is_calling = False

    def _monitor(self) -> None:
        idle = 0
        while True:
            seen = self._started
            time.sleep(_QUICK)
            if self._is_calling and self._started == seen:
                self._hand_over(seen)
            idle = 0 if self._started != seen or self._is_calling else idle + 1
            if idle > _IDLE_LOOKS:
                self._watched.clear()
                if self._started == seen:  # else a call began just now and saw the event set
                    self._watched.wait()
                idle = 0

    def _hand_over(self, started: int) -> None:
        """Gives the lead to another thread, unless the slow call has ended just now."""
        with self._lock:
            if not self._is_calling or self._started != started:
                return
            self._is_calling = False
            if self._followers:
                self._leader = self._followers.pop()
                self._leader.turn.release()
            else:
                self._leader = None
                threading.Thread(target=self._follow, args=(True,), daemon=True, name="calls").start()

    def add_credit(self, call_id: int, items: int) -> None:
        """Lets a stream send so many items more."""
        credit = self._credits.get(call_id)
        if credit is not None:
            credit.release(items)

    def cancel(self, call_id: int) -> None:
        """Interrupts the call: a coroutine is cancelled, a thread has Cancelled raised in it at its next step."""
        with self._lock:
            if call_id not in self._running:
                return
            running = self._running[call_id]
            if isinstance(running, int):
                self._running[call_id] = "cancelled"
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(running), ctypes.py_object(Cancelled))
                self.add_credit(call_id, 1)  # a stream that waits for credit takes no step: wake it
            elif running != "cancelled":
                running.cancel()

    def _answer(self, control: Document, attachments: list[bytes]) -> None:
        """Runs the call and sends its answer."""
        answer: Document = {"id": control["id"]}
        parts = []
        try:
            parts.append(self._limited(self._interruptible(control, attachments)))
        except BaseException as failure:
            answer["error"] = _told(failure)
        self._wire.send(answer, *parts)

    def _limited(self, body: bytes) -> bytes:
        if len(body) > self._max_answer:
            message = "the answer has %d bytes, and %d are allowed" % (len(body), self._max_answer)
            raise Refusal("TOO_LARGE", message, limit=str(self._max_answer))
        return body

    def _interruptible(self, control: Document, attachments: list[bytes]) -> bytes:
        """Performs the call so that `cancel` reaches it, and nothing that comes after it."""
        call_id = control["id"]
        with self._lock:
            self._running[call_id] = threading.get_ident()
            if control["op"] == "stream":
                self._credits[call_id] = threading.Semaphore(control["credit"])
        try:
            return self._perform(control, attachments)
        finally:
            with self._lock:
                interrupted = self._running.pop(call_id, None) == "cancelled"
                self._credits.pop(call_id, None)
            if interrupted:
                _meet_interrupt()

    def _perform(self, control: Document, attachments: list[bytes]) -> bytes:
        if control["op"] == "describe":
            return json.dumps(describe(self._names)).encode()
        style = control["style"]
        body = parse_body(attachments[0])
        if style == "named":
            method, args = str(control["method"]), _NO_ARGUMENTS
            kwargs = {name: decode(value) for name, value in body.items()}
        else:
            method, args, kwargs = _arguments(body, control.get("method"))
        target = self._names.resolve(method)
        if isinstance(target, types.ModuleType):
            raise Refusal("NOT_CALLABLE", "%s is a module; name a function in it" % _quote(method), method=method)
        if not callable(target):
            if args or kwargs:
                raise Refusal("NOT_CALLABLE", "%s is a constant; it takes no arguments" % _quote(method), method=method)
            return self._sent(control, target)
        if style == "named":
            args, kwargs = _positional_only(target, kwargs)
        if style == "pack" and not kwargs and len(args) > 1 and _binds_as_one_list(target, args):
            args = [args]
        return self._sent(control, self._call(control["id"], target, method, args, kwargs))

    def _sent(self, control: Document, result: Any) -> bytes:
        """The answer's body: the result, or nothing after the items of a stream."""
        if control["op"] != "stream":
            return encode_result(result, self._max_answer)
        call_id = control["id"]
        items = _Items(result, lambda awaitable: self._await(call_id, awaitable), self._coroutine)
        credit = self._credits[call_id]
        try:
            for item in items:
                credit.acquire()
                self._wire.send({"id": call_id, "item": True}, encode_result(item, self._max_answer))
        finally:
            items.close()
        return b""

    def _call(self, call_id: int, target: Any, method: str, args: list[Any], kwargs: Document) -> Any:
        try:
            result = target(*args, **kwargs)
        except TypeError as failure:
            # Raised by the call itself and not by code within: the arguments are what it objects to.
            if failure.__traceback__ and failure.__traceback__.tb_next is None:
                _explain_binding(target, method, args, kwargs, failure)
            raise
        except Refusal as failure:  # the module's own code can't speak in this system's name
            raise RuntimeError(str(failure)) from failure
        return self._await(call_id, result) if inspect.iscoroutine(result) else result

    def _await(self, call_id: int, coroutine: Any) -> Any:
        running = self._coroutine(coroutine)
        with self._lock:
            if self._running.get(call_id) == "cancelled":
                running.cancel()
            else:
                self._running[call_id] = running
        value = running.result()
        with self._lock:
            if running.is_cancelled:
                raise Cancelled
            if self._running.get(call_id) is running:
                self._running[call_id] = threading.get_ident()
        return value

    def _coroutine(self, awaitable: Any) -> Coroutine:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, daemon=True, name="coroutines").start()
            return Coroutine(self._loop, awaitable)


class Follower:
    """A thread that can be given the lead."""

    def __init__(self) -> None:
        self.turn = threading.Semaphore(0)


class _Items:
    """The items of a generator, an async generator or any other iterable, one after the other."""

    def __init__(self, result: Any, await_: Callable[[Any], Any], coroutine: Callable[[Any], Coroutine]) -> None:
        self._await = await_
        self._coroutine = coroutine
        self._async = hasattr(result, "__aiter__")
        if self._async:
            self._iterator = result.__aiter__()
        elif hasattr(result, "__iter__") and not isinstance(result, (str, bytes, bytearray, dict)):
            self._iterator = iter(result)
        else:
            name = qualified_name(type(result))
            raise Refusal("VALUE_NOT_REPRESENTABLE", "the result is no stream of items but a %s" % name, type=name)

    def __iter__(self) -> _Items:
        return self

    def __next__(self) -> Any:
        if not self._async:
            return next(self._iterator)
        try:
            return self._await(self._iterator.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """Has the generator clean up, wherever it stands."""
        if self._async and hasattr(self._iterator, "aclose"):
            self._coroutine(self._iterator.aclose()).result()
        elif hasattr(self._iterator, "close"):
            self._iterator.close()


class Coroutine:
    """A coroutine that runs on a loop in another thread; its result is awaited until it has really ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop, coroutine: Any) -> None:
        self._loop = loop
        self._task: asyncio.Task[Any] | None = None
        self._failure: BaseException | None = None
        self._value: Any = None
        self._ended = threading.Event()
        self.is_cancelled = False
        loop.call_soon_threadsafe(self._start, coroutine)

    def cancel(self) -> None:
        """Cancels it; it has ended when it yields to that."""
        self.is_cancelled = True
        self._loop.call_soon_threadsafe(lambda: self._task and self._task.cancel())

    def result(self) -> Any:
        """Its result, or what it raised, once it has ended."""
        self._ended.wait()
        if self._failure is not None:
            raise self._failure
        return self._value

    def _start(self, coroutine: Any) -> None:
        self._task = self._loop.create_task(self._run(coroutine))

    async def _run(self, coroutine: Any) -> None:
        try:
            self._value = await coroutine
        except asyncio.CancelledError:
            self._failure = Cancelled()
        except BaseException as failure:  # kept from the loop, which SystemExit would end
            self._failure = failure
        finally:
            self._ended.set()


_NO_ARGUMENTS: list[Any] = []


def _told(failure: BaseException) -> Document:
    """The error document of what ended a call."""
    cancelled = isinstance(failure, Cancelled)
    return error_of(Refusal("DEADLINE_EXCEEDED", "the call was cancelled") if cancelled else failure)


def _meet_interrupt() -> None:
    """Waits for a Cancelled that may still be on its way to this thread, so that the next call doesn't meet it.

    It comes at one of the next steps of the interpreter, or has come and the module's code has swallowed it.
    """
    for _ in range(20):
        time.sleep(0.0005)


def _arguments(body: Document, method: str | None) -> tuple[str, list[Any], Document]:
    """The method's path and the arguments out of `{"method":…,"args":…,"kwargs":…}`."""
    allowed = ("args", "kwargs", "obj_id") if method is not None else ("args", "kwargs", "obj_id", "method")
    unknown = [name for name in body if name not in allowed]
    if unknown:
        message = "unknown field %s; known are %s" % (_quote(unknown[0]), ", ".join(allowed))
        raise Refusal("UNKNOWN_FIELD", message, field=unknown[0][:200])
    if body.get("obj_id"):
        raise Refusal("NOT_IMPLEMENTED", "calls on objects are not implemented yet")
    method = body.get("method") if method is None else method
    args, kwargs = body.get("args", []), body.get("kwargs", {})
    for name, value, kind, text in (
        ("method", method, str, "a string"),
        ("args", args, list, "an array"),
        ("kwargs", kwargs, dict, "an object"),
    ):
        if not isinstance(value, kind):
            state = "is missing" if value is None else "must be %s, not %s" % (text, _json_kind(value))
            raise Refusal("MALFORMED_REQUEST", "the field %s %s" % (_quote(name), state), field=name)
    return str(method), [decode(arg) for arg in args], {name: decode(value) for name, value in kwargs.items()}


def signature_of(target: Any) -> inspect.Signature | None:
    """The signature of a callable, from itself or from the first line of its docstring; None where neither tells it."""
    with contextlib.suppress(Exception):  # a signature is the user's code: anything may come out of it
        return inspect.signature(target)
    line = (getattr(target, "__doc__", None) or "").strip().partition("\n")[0]
    found = re.match(r"[\w.]+(\(.*\))(?:\s*->.*)?$", line)
    if not found:
        return None
    try:
        function = ast.parse("def f%s: pass" % found.group(1)).body[0]
        return _signature_from_ast(function.args) if isinstance(function, ast.FunctionDef) else None
    except (SyntaxError, ValueError):  # a text that only looks like a signature
        return None


def _signature_from_ast(arguments: ast.arguments) -> inspect.Signature:
    kind = inspect.Parameter
    positional: list[tuple[ast.arg, Any]] = [(arg, kind.POSITIONAL_ONLY) for arg in arguments.posonlyargs]
    positional += [(arg, kind.POSITIONAL_OR_KEYWORD) for arg in arguments.args]
    first_default = len(positional) - len(arguments.defaults)
    found = [
        kind(arg.arg, how, default=None if index >= first_default else kind.empty)
        for index, (arg, how) in enumerate(positional)
    ]
    if arguments.vararg:
        found.append(kind(arguments.vararg.arg, kind.VAR_POSITIONAL))
    for arg, default in zip(arguments.kwonlyargs, arguments.kw_defaults):
        found.append(kind(arg.arg, kind.KEYWORD_ONLY, default=kind.empty if default is None else None))
    if arguments.kwarg:
        found.append(kind(arguments.kwarg.arg, kind.VAR_KEYWORD))
    return inspect.Signature(found)


def _positional_only(target: Any, named: Document) -> tuple[list[Any], Document]:
    """Named arguments as positional and named ones, for parameters that can't be passed by name."""
    signature, args, rest = signature_of(target), [], dict(named)
    for parameter in signature.parameters.values() if signature else ():
        if parameter.kind is not parameter.POSITIONAL_ONLY or parameter.name not in rest:
            break
        args.append(rest.pop(parameter.name))
    return args, rest


def _binds_as_one_list(target: Any, args: list[Any]) -> bool:
    """Whether the arguments don't bind as they are but one list of them does, decided without calling anything."""
    signature = signature_of(target)
    if signature is None:
        return False
    try:
        signature.bind(*args)
        return False
    except TypeError:
        pass
    try:
        signature.bind(args)
        return True
    except TypeError:
        return False


def _explain_binding(target: Any, method: str, args: list[Any], kwargs: Document, failure: TypeError) -> None:
    """Raises the Refusal that names the parameter at fault, where the signature tells that one is."""
    signature = signature_of(target)
    if signature is None:
        return
    try:
        signature.bind(*args, **kwargs)
        return
    except TypeError as reason:
        text = str(reason)
    found = re.search(r"'([^']*)'", text)
    if found:
        parameter = found.group(1)
    else:  # too many positional arguments: the last parameter that takes one
        places = [p for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        parameter = places[-1].name if places else ""
        text += ": %d given, at most %d taken" % (len(args), len(places))
    message = "%s%s: %s" % (method, str(signature)[:300], text)
    raise Refusal("ARGUMENTS_DO_NOT_BIND", message, method=method[:200], parameter=parameter[:200]) from failure


# --- describing -------------------------------------------------------------------------------------------------------


def describe(names: Names) -> Document:
    """The module's exposed members as `jac_orc.v1.DescribeResponse` in JSON."""
    module = names.module
    version = getattr(module, "__version__", "")
    return {
        "module_name": names.name,
        "version": version if isinstance(version, str) else "",
        "documentation": _documentation(module),
        "members": sorted((_member(path, value) for path, value in names.walk()), key=lambda member: member["name"]),
    }


def _documentation(value: Any) -> str:
    try:
        return (inspect.getdoc(value) or "")[:MAX_DOCUMENTATION_CHARS]
    except Exception:
        return ""


def _member(path: str, value: Any) -> Document:
    if not callable(value):
        return {"name": path, "kind": "MEMBER_KIND_CONSTANT", "type": qualified_name(type(value))}
    kind = "FUNCTION"
    if isinstance(value, type):
        kind = "CLASS"
    elif inspect.iscoroutinefunction(value):
        kind = "COROUTINE"
    elif inspect.isgeneratorfunction(value) or inspect.isasyncgenfunction(value):
        kind = "GENERATOR"
    member: Document = {"name": path, "kind": "MEMBER_KIND_" + kind, "documentation": _documentation(value)}
    signature = signature_of(value)
    if signature is not None:
        member["signature"] = _safe_text(str, signature)
        member["parameters"] = [_parameter(parameter) for parameter in signature.parameters.values()]
        member["type"] = _annotation(signature.return_annotation)
    return member


def _parameter(parameter: inspect.Parameter) -> Document:
    data: Document = {"name": parameter.name, "kind": "PARAMETER_KIND_" + parameter.kind.name}
    data["type"] = _annotation(parameter.annotation)
    data["optional"] = parameter.default is not parameter.empty or parameter.kind.name.startswith("VAR_")
    if parameter.default is not parameter.empty:
        data["default_value"] = _safe_text(repr, parameter.default)[:200]
    return data


def _annotation(annotation: Any) -> str:
    if annotation is inspect.Signature.empty:
        return ""
    return annotation if isinstance(annotation, str) else _safe_text(inspect.formatannotation, annotation)


def _safe_text(render: Callable[[Any], str], value: Any) -> str:
    try:
        return render(value)
    except Exception:
        return ""


# --- the process ------------------------------------------------------------------------------------------------------


def load(wire: Wire) -> Calls:
    """Imports the module that the first frame names; answers its names, or ends the process where it fails."""
    control, _ = wire.receive()
    try:
        module = importlib.import_module(control["module"])
    except BaseException as failure:  # a module may well call sys.exit()
        wire.send({"op": "failed", "error": error_of(failure)})
        os._exit(1)
    names = Names(control["module"], module, control["refused"])
    wire.send({"op": "loaded", "python": "%d.%d.%d" % sys.version_info[:3]})
    return Calls(names, wire, control["max_answer"])


def _die_with(server: int) -> None:
    """Has the kernel end this process with its server, whatever the module's code is doing (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != server:
        os._exit(0)


def main() -> None:
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(MAX_DIGITS)
    wire = Wire(socket.socket(fileno=int(sys.argv[1])))
    _die_with(int(sys.argv[2]))
    sys.argv = [""]
    try:
        calls = load(wire)
    except (EOFError, OSError):
        os._exit(0)  # the server is gone
    calls.serve()


if __name__ == "__main__":
    main()
