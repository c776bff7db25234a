"""The whole system on the cluster that KUBECONFIG names, as the overlay `local` installs it, seen from outside."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import httpx

from tests.cluster.kubectl import delete_namespace, end_pods, image, kubectl, kubectl_json

ROOT = Path(__file__).parents[2]
NAMESPACE = "jac-orc"
URL = "http://127.0.0.1:30080"
_OVERLAY_IMAGE = "jac-cloud-orc:dev"


def wait_until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Return what the condition returns once that is true; fail the test if it does not become so.

    Waits ever longer between two attempts: one that runs kubectl costs as much as what it waits for.
    """
    end, pause = time.monotonic() + seconds, 0.05
    while not (answer := condition()):
        assert time.monotonic() < end, f"not so within {seconds:g} s: {condition}"
        time.sleep(pause)
        pause = min(1.2 * pause, 0.5)
    return answer


@dataclass
class Load:
    """What callers at a steady rate have got."""

    calls: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        """How many calls have failed."""
        return sum(self.failures.values())

    def __str__(self) -> str:
        return f"{self.failed} of {self.calls} calls failed {dict(self.failures) or ''}".strip()


class Installation:
    """A running system in a namespace; calls go through the gateway at that address, with those headers."""

    def __init__(self, namespace: str = NAMESPACE, url: str = URL, headers: Mapping[str, str] | None = None) -> None:
        self.namespace = namespace
        self.http = httpx.Client(base_url=url, headers=headers, timeout=120, trust_env=False)

    def create(self, name: str, **spec: Any) -> httpx.Response:
        """The answer to a creation."""
        return self.http.post("/v1/modules", json={"module_name": name, **spec})

    def module(self, name: str) -> Any:
        """The module's resource; None where there is none."""
        response = self.http.get(f"/v1/modules/{name}")
        return response.json() if response.status_code == 200 else None

    def call(self, name: str, method: str, *args: Any) -> httpx.Response:
        """The answer to a call."""
        return self.http.post(f"/v1/modules/{name}:call", json={"method": method, "args": args})

    def responds(self) -> bool:
        """Whether the pod manager answers through the gateway now."""
        try:
            return self.http.get("/v1/modules").status_code == 200
        except httpx.HTTPError:
            return False

    def answers(self, name: str, method: str, *args: Any) -> bool:
        """Whether a call succeeds now."""
        try:
            return self.call(name, method, *args).status_code == 200
        except httpx.HTTPError:
            return False

    def delete(self, name: str) -> None:
        """Removes the module, if it is there."""
        assert self.http.delete(f"/v1/modules/{name}").status_code in (200, 404)

    def discard(self, name: str) -> None:
        """Remove the module, if it is there, without the time that its pods drain: nobody calls them any more."""
        if self.module(name) is None:
            return
        deleting = Thread(target=self.delete, args=(name,))
        deleting.start()
        wait_until(lambda: not deleting.is_alive() or self._is_going(name))
        end_pods(self.namespace, f"--selector=app.kubernetes.io/name={name}")
        deleting.join()

    def _is_going(self, name: str) -> bool:
        module = self.module(name)
        return module is None or module["status"]["phase"] == "MODULE_PHASE_DELETING"

    def objects(self, name: str) -> list[str]:
        """What the namespace has of a module: `kind/name`."""
        kinds = (
            "deployments,replicasets,pods,services,endpointslices,poddisruptionbudgets,horizontalpodautoscalers,jobs"
        )
        found = kubectl_json("-n", self.namespace, "get", kinds)["items"]
        return [
            f"{each['kind']}/{each['metadata']['name']}"
            for each in found
            if each["metadata"]["name"].startswith(name) or "environment" in each["metadata"]["name"]
        ]

    def pods(self, component: str) -> list[str]:
        """The names of the system's own pods, `pod-manager` or `gateway`, or of a module's."""
        found = kubectl_json("-n", self.namespace, "get", "pods", "-l", f"app.kubernetes.io/name={component}")
        return [each["metadata"]["name"] for each in found["items"] if "deletionTimestamp" not in each["metadata"]]

    def settle(self, deployment: str) -> None:
        """Waits until one of the system's Deployments is as it shall be, its old pods gone, and the gateway answers."""
        kubectl("-n", self.namespace, "rollout", "status", f"deployment/{deployment}", "--timeout=120s")
        label = f"app.kubernetes.io/name={deployment}"
        wait_until(
            lambda: "deletionTimestamp" not in kubectl("-n", self.namespace, "get", "pods", "-l", label, "-o", "json")
        )
        wait_until(lambda: self.http.get("/v1/modules").status_code == 200)

    @contextmanager
    def load(self, name: str, method: str, *args: Any, rate: float = 200) -> Iterator[Load]:
        """Calls at that rate a second, over 32 connections, for as long as the block runs; then their outcome."""
        body = {"method": method, "args": args}
        with self.requests("POST", f"/v1/modules/{name}:call", body, rate=rate) as load:
            yield load

    @contextmanager
    def requests(self, method: str, path: str, body: Any = None, *, rate: float) -> Iterator[Load]:
        """As `load`, with any request that is to be answered by 200."""
        load, stop = Load(), False

        async def run() -> None:
            limits = httpx.Limits(max_connections=32)
            async with httpx.AsyncClient(
                base_url=self.http.base_url, headers=self.http.headers, timeout=60, trust_env=False, limits=limits
            ) as client:
                begin, tasks = time.monotonic(), set[asyncio.Task[None]]()
                while not stop:
                    await asyncio.sleep(max(0.0, begin + load.calls / rate - time.monotonic()))
                    load.calls += 1
                    task = asyncio.create_task(one(client))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                await asyncio.gather(*tasks)

        async def one(client: httpx.AsyncClient) -> None:
            try:
                response = await client.request(method, path, json=body)
                if response.status_code != 200:
                    load.failures[f"{response.status_code} {response.text[:300]}"] += 1
            except httpx.HTTPError as failure:
                load.failures[repr(failure)] += 1

        thread = Thread(target=lambda: asyncio.run(run()))
        thread.start()
        try:
            wait_until(lambda: load.calls > rate / 2)
            yield load
            seen = load.calls
            wait_until(lambda: load.calls > seen + rate)
        finally:
            stop = True
            thread.join()


def install(folder: Path = ROOT / "kustomize/overlays/local", namespace: str = NAMESPACE) -> None:
    """Apply an overlay, with the image under test, and wait until its pods are ready."""
    rendered = kubectl("kustomize", str(folder))
    assert _OVERLAY_IMAGE in rendered
    kubectl("apply", "--server-side", "-f", "-", stdin=rendered.replace(_OVERLAY_IMAGE, image()))
    for name in ("jac-orc-pod-manager", "jac-orc-gateway"):
        kubectl("-n", namespace, "rollout", "status", f"deployment/{name}", "--timeout=180s")


def uninstall(namespace: str = NAMESPACE) -> None:
    """Remove everything that `install` has created, and all modules."""
    delete_namespace(namespace)
    kubectl("delete", "persistentvolume", namespace, "--ignore-not-found", "--timeout=60s")
