"""How programs are served and called: over REST, through Envoy, and with Python values."""

from __future__ import annotations

import base64
import json
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx

from jac_orc.client.connection import Connection
from jac_orc.client.messages import Remote
from jac_orc.errors import OrcError
from jac_orc.pod_manager.xds.resources import Endpoint
from jac_orc.v1 import errors_pb2
from tests.feature.xds_front import Front, eventually
from tests.parity.programs import Call, Program, Run, files_in, write
from tests.suite import forms

_ROOT = Path(__file__).parents[2]
_EXCEPTION = "type.googleapis.com/jac_orc.v1.ExceptionInfo"


class NoJsonForm(Exception):
    """An argument, or an object that is to be kept, is none over REST: a tuple, say, or a dataclass."""


class Servers:
    """The process of `tests.parity.server`."""

    def __init__(self, python: str) -> None:
        self.python = python
        command = [sys.executable, "-m", "tests.parity.server"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT)
        self._answers: dict[str, queue.SimpleQueue[dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def start(self, name: str, program: Program, module: str, folder: Path) -> int:
        """Return the port of a new server of the program, for which `name` is unique; it works in this folder."""
        source = folder.with_name(f"{folder.name}-source")
        write(program, module, source)
        self._answers[name] = queue.SimpleQueue()
        settings = {
            "module_name": module, "source_folders": str(source), "working_directory": str(folder),
            "guest_python": self.python,
        }  # fmt: skip
        self._send({"start": name, "settings": settings})
        answer = self._answers[name].get(timeout=60)
        assert "port" in answer, answer
        return int(answer["port"])

    def stop(self, name: str) -> dict[str, list[str]]:
        """Return what the module has printed, once the server has ended."""
        self._send({"stop": name})
        answer = self._answers[name].get(timeout=60)
        return {stream: answer[stream] for stream in ("stdout", "stderr")}

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._reading.join()
        assert self._process.wait(30) == 0

    def _send(self, document: Any) -> None:
        assert self._process.stdin is not None
        with self._lock:
            self._process.stdin.write(json.dumps(document) + "\n")
            self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout:
            for line in self._process.stdout:
                answer = json.loads(line)
                self._answers[answer["name"]].put(answer)


def over_python_values(servers: Servers, program: Program, module: str, folder: Path) -> tuple[Run, list[Any]]:
    """Run the program with Python's values; return also these, None for a call that has none."""
    name = f"{module}-python"
    values: list[Any] = []
    kept: dict[str, Remote] = {}
    with Connection(f"127.0.0.1:{servers.start(name, program, module, folder)}", timeout=60) as connection:
        try:
            outcomes = [_call_python(connection, call, kept, values) for call in program.calls]
        finally:
            printed = servers.stop(name)
    return Run(outcomes, printed, files_in(folder, module)), values


def _call_python(module: Connection, call: Call, kept: dict[str, Remote], values: list[Any]) -> dict[str, Any]:
    owner, _, method = call.method.partition(".")
    target, path = (kept[owner], method) if owner in kept else (None, call.method)
    values.append(None)
    try:
        if call.is_stream:
            result: Any = list(module.stream(path, call.args, call.kwargs, target=target))
        else:
            result = module.invoke(path, call.args, call.kwargs, target=target, kept=bool(call.name))
    except OrcError as failure:
        found = next((each for each in failure.details if isinstance(each, errors_pb2.ExceptionInfo)), None)
        return {"exception": _exception_of(found)} if found else {"refused": f"{failure.reason}: {failure.message}"}
    if call.name:
        kept[call.name] = result
        return {"kept": result.type_name}
    values[-1] = result
    return {"repr": repr(result)}


def _exception_of(found: errors_pb2.ExceptionInfo) -> dict[str, Any]:
    return {
        "type": found.type,
        "message": found.message,
        "notes": list(found.notes),
        "cause": _exception_of(found.cause) if found.HasField("cause") else None,
        "exceptions": list(map(_exception_of, found.exceptions)),
    }


class Rest:
    """Calls through Envoy."""

    def __init__(self, front: Front) -> None:
        self._front = front
        address = f"http://127.0.0.1:{front.port}"
        self._http = httpx.Client(base_url=address, timeout=60, trust_env=False)

    def close(self) -> None:
        self._http.close()

    def run(self, servers: Servers, program: Program, module: str, folder: Path) -> Run | None:
        """Run the program over REST; None if that has no form for what it uses."""
        name = f"{module}-rest"
        try:
            self._front.put(module, Endpoint("127.0.0.1", servers.start(name, program, module, folder)))
            eventually(lambda: self._is_routed(module))
            kept: dict[str, Any] = {}
            outcomes = [self._call(module, call, kept) for call in program.calls]
        except NoJsonForm:
            return None
        finally:
            self._front.drop(module)
            printed = servers.stop(name)
        return Run(outcomes, printed, files_in(folder, module))

    def _is_routed(self, module: str) -> bool:
        """Return whether calls reach the module, by one that reads nothing in it."""
        response = self._http.post(f"/v1/modules/{module}:call", json={"method": "_"})
        return "NAME_NOT_EXPOSED" in response.text

    def _call(self, module: str, call: Call, kept: dict[str, Any]) -> dict[str, Any]:
        owner, _, method = call.method.partition(".")
        body = {"method": call.method, "args": json_argument(call.args)}
        body["kwargs"] = {name: json_argument(arg) for name, arg in call.kwargs.items()}
        if owner in kept:
            body |= {"method": method, "obj_id": kept[owner]["obj_id"]}
        path = f"/v1/modules/{module}:{'stream' if call.is_stream else 'call'}"
        response = self._http.post(path, json=body, params={"timeout": "60S"})
        lines = [json.loads(line) for line in response.text.splitlines()]
        error = lines[-1].get("error") if response.status_code == 200 and lines else lines[-1] if lines else None
        if error:
            found = [each for each in error["details"] if each["@type"] == _EXCEPTION]
            return {"exception": _exception(found[0])} if found else {"refused": error["message"]}
        if call.is_stream:
            return {"json": [forms.read_json(line["result"]) for line in lines]}
        (answer,) = lines
        if call.name:
            if not isinstance(answer["result"], dict) or "obj_id" not in answer["result"]:
                raise NoJsonForm
            kept[call.name] = answer["result"]
            return {"kept": answer["result"]["type"]}
        return {"json": forms.read_json(answer["result"])}


def json_argument(value: Any) -> Any:
    """Return the argument as JSON has it; raises NoJsonForm."""
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if type(value) is list:
        return list(map(json_argument, value))
    if type(value) is dict and all(type(name) is str for name in value):
        plain = {name: json_argument(item) for name, item in value.items()}
        return {"$value": plain} if plain.keys() & {"$bytes", "$value", "obj_id"} else plain
    if isinstance(value, (str, int, float, type(None))):
        return value
    raise NoJsonForm


def _exception(found: dict[str, Any]) -> dict[str, Any]:
    cause = found.get("cause")
    return {
        "type": found["type"],
        "message": found.get("message", ""),
        "notes": found.get("notes", []),
        "cause": _exception(cause) if cause else None,
        "exceptions": list(map(_exception, found.get("exceptions", []))),
    }
