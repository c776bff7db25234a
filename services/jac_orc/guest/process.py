"""The guest's process: loads the module that LOAD names, then serves calls until the server is gone."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import importlib
import json
import os
import signal
import socket
import sys
import traceback
from importlib.machinery import BuiltinImporter
from typing import Any

from . import folders, wire
from .calls import Call, Calls
from .coroutines import Loop
from .failures import error_body
from .host_access import HostAccess, listed
from .json_values import MAX_DIGITS
from .names import Names
from .objects import Objects
from .output import Output
from .own import exit_now, keep_modules
from .requests import Requests
from .signals import keep_calls_apart
from .wire import Wire, frame

_UNUSABLE = error_body(
    RuntimeError("it replaces what Python's own modules use, such as isinstance or len; restore it after use")
)  # made before the module can replace what makes it


def main(descriptor: int, server: int) -> None:
    """Runs the guest; returns when its process is to end, as any interpreter's does."""
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(MAX_DIGITS)
    link = Wire(socket.socket(fileno=descriptor))
    _die_with(server)
    own = (Call._send, Wire.send, Loop.take, Loop.give_back)
    keep_calls_apart(Requests.perform.__code__, [function.__code__ for function in own])
    output = Output()
    atexit.register(output.finish, 0)  # first, so that it comes after what the module's code registers
    _look_like_a_command()
    keep_modules(__package__)
    try:
        calls = load(link, output)
    except (EOFError, OSError):
        exit_now(0)  # the server is gone
    calls.serve()
    calls.loop.end()


def load(link: Wire, output: Output) -> Calls:
    """Import the module that LOAD names; end the process if that fails.

    LOAD has `module`, `directory` (to work in), `folders` (in it, where the user's own code is) and `failure` (why that
    has no metadata). SERVE follows when the server knows the rest: `allowed` and `refused` (modules, by the operator's
    policy), `place` (what the ids of objects here begin with) and the limits `max_answer`, `max_value`, `max_objects`,
    `max_object_bytes` (bytes, or how many) and `object_lease` (seconds).
    """
    document: Any = json.loads(bytes(link.receive()[3]))
    folders.enter(document)
    listed()  # reads a file, which the module's code could have replaced the means for
    try:
        module = importlib.import_module(document["module"])
    except BaseException as failure:  # a module may well call sys.exit()
        package = document["module"].partition(".")[0]
        if type(failure) is ModuleNotFoundError and failure.name == package:
            failure.__notes__ = [folders.advice(package)]
        output.finish(0)
        link.send(frame(wire.FAILED, body=error_body(failure)))
        link.receive()  # stay until SERVE arrives: if it met a closed socket, the server would lose this error
        exit_now(1)
    body = bytes(link.receive()[3])
    try:
        how: Any = json.loads(body)
        names = Names(document["module"], module, HostAccess(how["allowed"], how["refused"]))
        objects = Objects(names, how["place"], how["object_lease"], how["max_objects"], how["max_object_bytes"])
        loop = Loop()
        calls = Calls(link, output, Requests(names, objects, loop, how), loop)
        link.send(frame(wire.LOADED, body=json.dumps({"python": "%d.%d.%d" % sys.version_info[:3]}).encode()))
    except Exception:
        link.send(frame(wire.FAILED, body=_UNUSABLE))
        with contextlib.suppress(Exception):  # which may use the same
            traceback.print_exc()
        exit_now(1)
    return calls


def _look_like_a_command() -> None:
    """Make this process's `__main__` and arguments what they are in `python -c`."""
    sys.argv = ["-c"]
    if hasattr(sys, "orig_argv"):
        sys.orig_argv = [sys.executable, "-c", ""]
    own = vars(sys.modules["__main__"])
    for name in ("__file__", "__cached__", *(name for name in list(own) if not name.startswith("__"))):
        own.pop(name, None)
    own.update(__doc__=None, __loader__=BuiltinImporter, __spec__=None)


def _die_with(server: int) -> None:
    """Has the kernel end this process with its server, whatever the module's code is doing (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != server:
        exit_now(0)
