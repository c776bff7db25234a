"""A running system as its users see it: its front port, what it runs on, what it leaves behind.

`LocalSystem` is one `jac-orc up`, `ClusterSystem` one that is installed in a cluster. Tests that need more than both
have are marked `one_machine`, or make a `new_system`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx

ROLES = {
    "pod_manager": "-m jac_orc.pod_manager ",
    "server": "-m jac_orc.module_server ",
    "guest": "/guest/start.py ",
    "envoy": "/envoy.",
}
"""What is in the command lines of a system's parts, and of nothing else's."""


def parent(pid: int) -> int:
    """The parent of a process; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def wait_until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """What the condition answers once it is true; fails the test where it doesn't get so."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < end, f"not so within {seconds:g} s: {condition}"
        time.sleep(0.03)
    return answer


def reason(response: httpx.Response) -> str:
    """The reason in a JSON error body, whose form is checked on the way."""
    assert response.headers["content-type"] == "application/json", response.text
    body = response.json()
    assert set(body) == {"code", "message", "details"}, body
    assert body["code"] > 0, body
    assert body["message"], body
    info = body["details"][0]
    assert info["@type"] == "type.googleapis.com/google.rpc.ErrorInfo", body
    assert info["domain"] == "jac_orc", body
    return str(info["reason"])


def tool(name: str) -> str:
    """A program that is installed beside this interpreter."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert found, f"{name} is not installed"
    return found


def logged_errors(lines: Iterable[str]) -> list[str]:
    """The texts of the errors among lines of logs."""
    told = [json.loads(line) for line in lines if line.startswith('{"time"')]
    return [line["text"] for line in told if line.get("level") in ("error", "critical")]


class System(ABC):
    """What tests do with any system; `start` first, `end` last."""

    http: httpx.Client
    port: int
    traces_of_two_pods: int
    """How many traces a module of two pods has."""
    has_manifests: bool
    """Whether modules are objects of a cluster."""

    @abstractmethod
    def start(self) -> System:
        """Returns once it is ready."""

    @abstractmethod
    def end(self) -> None:
        """Leaves nothing of it, whatever has happened to it."""

    def connect(self, url: str) -> None:
        """Has calls sent there."""
        self.disconnect()
        self.http = httpx.Client(base_url=url, timeout=60, trust_env=False, limits=httpx.Limits(max_connections=64))
        self.port = self.http.base_url.port or 80

    def disconnect(self) -> None:
        """Closes all connections."""
        if hasattr(self, "http"):
            self.http.close()

    # --- calls ---

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        """A POST of JSON, or of bytes as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"content-type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
        return self.http.post(path, content=content, headers=sent)

    def call(self, module: str, method: str, *args: Any, **kwargs: Any) -> Any:
        """The result of a call, which must succeed."""
        response = self.try_call(module, method, *args, **kwargs)
        assert response.status_code == 200, response.text
        return response.json()["result"]

    def try_call(self, module: str, method: str, *args: Any, **kwargs: Any) -> httpx.Response:
        """The answer to a call."""
        return self.post(f"/v1/modules/{module}:call", {"method": method, "args": args, "kwargs": kwargs})

    def answers(self, module: str, method: str, *args: Any) -> bool:
        """Whether a call succeeds now."""
        try:
            return self.try_call(module, method, *args).status_code == 200
        except httpx.TransportError:
            return False

    def module(self, name: str) -> Any:
        """The module's resource."""
        response = self.http.get(f"/v1/modules/{name}")
        assert response.status_code == 200, response.text
        return response.json()

    # --- processes ---

    @abstractmethod
    def pids(self, role: str = "", module: str = "") -> list[int]:
        """The processes of this system: all, or those of a role, and of a module."""

    def parts(self) -> set[int]:
        """The processes that last: the installer and what compiles in the background come and go.

        So does a child of a server that has not executed its program yet, and until then has the server's command line.
        """
        by_role = {role: set(self.pids(role)) for role in ROLES}
        begun = {pid for role, pids in by_role.items() if role != "guest" for pid in pids if parent(pid) in pids}
        return set().union(*by_role.values()) - begun

    @abstractmethod
    def server_at(self, module: str, address: str) -> int:
        """The process of the module's pod there."""

    @abstractmethod
    def places(self) -> set[tuple[str, str]]:
        """The hosts and ports on which anything of it listens."""

    @abstractmethod
    def meeting_place(self, module: str) -> tuple[Path, Path]:
        """A new directory that the module's only pod and the tests share: as the pod names it, and as tests do."""

    @abstractmethod
    def logged_errors(self) -> list[str]:
        """What its parts and modules have logged as errors."""

    # --- what it keeps ---

    @abstractmethod
    def stored(self, pattern: str) -> set[str]:
        """What fits the pattern, `environments/…` or `sources/…`, of what the system keeps."""

    def building(self) -> set[str]:
        """The environments that it builds, or has left half built."""
        return self.stored("environments/.building-*")

    @abstractmethod
    def traces(self, module: str) -> list[str]:
        """What there is of a module besides what is stored."""

    def left(self, module: str) -> list[str]:
        """What is left of a module after its end."""
        return self.traces(module)

    @abstractmethod
    def remove(self, module: str) -> None:
        """Removes the module, if it is there; returns once nothing is left of it."""
