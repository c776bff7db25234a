"""The guest's process: loads the module that LOAD names, then serves calls until the server is gone."""

from __future__ import annotations

import atexit
import ctypes
import importlib
import json
import os
import signal
import socket
import sys
from typing import Any

from . import wire
from .calls import Call, Calls
from .coroutines import Loop
from .failures import error_body
from .host_access import HostAccess, listed
from .json_values import MAX_DIGITS
from .names import Names
from .objects import Objects
from .output import Output
from .own import exit_now
from .requests import Requests
from .signals import keep_calls_apart
from .wire import Wire, frame

_MOST_NAMED = 5


def main(descriptor: int, server: int) -> None:
    """Runs the guest; returns when its process is to end, as any interpreter's does."""
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(MAX_DIGITS)
    link = Wire(socket.socket(fileno=descriptor))
    _die_with(server)
    keep_calls_apart(Requests.perform.__code__, [Call._send.__code__, Wire.send.__code__])
    output = Output()
    atexit.register(output.finish, 0)  # first, so that it comes after what the module's code registers
    sys.argv = [""]
    try:
        calls = load(link, output)
    except (EOFError, OSError):
        exit_now(0)  # the server is gone
    calls.serve()


def load(link: Wire, output: Output) -> Calls:
    """Import the module that LOAD names; end the process if that fails.

    LOAD has `module` and `folders` (where the user's own code is). SERVE follows when the server knows the rest:
    `allowed` and `refused` (modules, by the operator's policy), `place` (what the ids of objects here begin with) and
    the limits `max_answer`, `max_value`, `max_objects`, `max_object_bytes` (bytes, or how many) and `object_lease`
    (seconds).
    """
    document: Any = json.loads(bytes(link.receive()[3]))
    _add_folders(document["folders"])
    listed()  # reads a file, which the module's code could have replaced the means for
    try:
        module = importlib.import_module(document["module"])
    except BaseException as failure:  # a module may well call sys.exit()
        package = document["module"].partition(".")[0]
        if type(failure) is ModuleNotFoundError and failure.name == package:
            failure.__notes__ = [_advice(package, document["folders"])]
        output.finish(0)
        link.send(frame(wire.FAILED, body=error_body(failure)))
        link.receive()  # stay until SERVE arrives: if it met a closed socket, the server would lose this error
        exit_now(1)
    how: Any = json.loads(bytes(link.receive()[3]))
    names = Names(document["module"], module, HostAccess(how["allowed"], how["refused"]))
    objects = Objects(names, how["place"], how["object_lease"], how["max_objects"], how["max_object_bytes"])
    loop = Loop()
    calls = Calls(link, output, Requests(names, objects, loop, how), loop)
    link.send(frame(wire.LOADED, body=json.dumps({"python": "%d.%d.%d" % sys.version_info[:3]}).encode()))
    return calls


def _add_folders(folders: Any) -> None:
    """Has the user's own code found before what is installed, and after the standard library, which others rely on."""
    installed = _installed()
    place = sys.path.index(installed[0]) if installed else len(sys.path)
    sys.path[place:place] = folders


def _installed() -> list[str]:
    return [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]


def _advice(name: str, folders: list[str]) -> str:
    """What to do where there is no such module: what there is instead, nearest first."""
    import difflib
    import inspect

    entries = [entry for folder in filter(os.path.isdir, folders or _installed()) for entry in os.scandir(folder)]
    code = [entry for entry in entries if entry.path not in folders]  # `src` lies in one
    names = {entry.name if entry.is_dir() else inspect.getmodulename(entry.name) or "" for entry in code}
    there = [each for each in names if each.isidentifier() and not each.startswith("_")]
    there.sort(key=lambda each: (-difflib.SequenceMatcher(None, each.lower(), name.lower()).ratio(), each))
    advice = "require what provides it"
    if folders:
        advice = "give a source that has it at its top or in src/"
    return "%s, or name what is there: %s" % (advice, ", ".join(there[:_MOST_NAMED])) if there else advice


def _die_with(server: int) -> None:
    """Has the kernel end this process with its server, whatever the module's code is doing (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != server:
        exit_now(0)
