"""How fast and how light the system is on a cluster; each test prints what it has measured."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.cluster.installation import NAMESPACE, Installation, wait_until
from tests.cluster.kubectl import kubectl, kubectl_json, node_processes

Deploy = Callable[..., Any]

OURS = "app.kubernetes.io/managed-by=jac-orc-pod-manager"


def told(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with capsys.disabled():
        print(f"\n  {text}")


def test_a_call_to_a_module_that_is_not_there(installation: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    installation.delete("colorsys")
    begin = time.monotonic()
    assert installation.create("colorsys").status_code == 200
    assert installation.call("colorsys", "rgb_to_hsv", 1, 0, 0).json() == {"result": [0.0, 1.0, 1]}
    seconds = time.monotonic() - begin
    installation.delete("colorsys")
    told(capsys, f"created to the first answer, standard library: {seconds:.1f} s (at most 5)")
    assert seconds <= 5


def test_a_pod_that_is_ready_is_called_soon(installation: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    installation.delete("textwrap")
    command = [
        "kubectl", "-n", NAMESPACE, "get", "pods", "-l", "app.kubernetes.io/name=textwrap", "--watch", "-o",
        "jsonpath={.status.conditions[?(@.type=='Ready')].status}{'\\n'}",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        installation.http.post("/v1/modules", json={"module_name": "textwrap"}, params={"wait": "false"})
        while "True" not in watching.stdout.readline():
            continue
        begin = time.monotonic()
        wait_until(lambda: installation.answers("textwrap", "indent", "a", "b"))
        seconds = time.monotonic() - begin
        watching.terminate()
    installation.delete("textwrap")
    told(capsys, f"from the pod's being ready to an answer: {seconds * 1000:.0f} ms (at most 500)")
    assert seconds <= 0.5


def nodes(installation: Installation) -> set[str]:
    """The pods that answer."""
    return {installation.call("platform", "node").json()["result"] for _ in range(40)}


def test_scaling_up(installation: Installation, deployed: Deploy, capsys: pytest.CaptureFixture[str]) -> None:
    deployed("platform")
    begin = time.monotonic()
    response = installation.http.post("/v1/modules/platform:scale", json={"replicas": 5})
    assert response.status_code == 200, response.text
    wait_until(lambda: len(nodes(installation)) == 5)
    seconds = time.monotonic() - begin
    told(capsys, f"from 1 to 5 pods, all of which answer: {seconds:.1f} s (at most 6)")
    assert seconds <= 6


def test_rolling_updates_under_load(
    installation: Installation, deployed: Deploy, capsys: pytest.CaptureFixture[str]
) -> None:
    deployed("math", replicas=3)
    with installation.load("math", "sqrt", 16) as load:
        updates = 0
        while load.calls < 14_000:
            updates += 1
            response = installation.http.patch("/v1/modules/math", json={"env": {"VERSION": str(updates)}})
            assert response.status_code == 200, response.text
        time.sleep(4)
    told(capsys, f"{updates} rolling updates of three pods, one after the other, at 200 calls/s: {load}")
    assert load.failed == 0


def test_a_pod_is_deleted_under_load(
    installation: Installation, deployed: Deploy, capsys: pytest.CaptureFixture[str]
) -> None:
    deployed("math", replicas=3)
    wait_until(lambda: installation.module("math")["status"]["ready_replicas"] == 3)
    with installation.load("math", "sqrt", 16) as load:
        for pod in installation.pods("math")[:2]:
            kubectl("-n", NAMESPACE, "delete", "pod", pod)
    told(capsys, f"two of three pods deleted, one after the other, at 200 calls/s: {load}")
    assert load.failed == 0


def test_a_pod_is_killed_under_load(
    installation: Installation, deployed: Deploy, capsys: pytest.CaptureFixture[str]
) -> None:
    deployed("math", replicas=3)
    wait_until(lambda: installation.module("math")["status"]["ready_replicas"] == 3)
    victim = installation.pods("math")[0]
    with installation.load("math", "sqrt", 16) as load:
        time.sleep(1)
        victims = node_processes(f"HOSTNAME={victim}")
        assert victims  # the server, with which its guest goes
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        time.sleep(12)
        wait_until(lambda: installation.module("math")["status"]["ready_replicas"] == 3)
    told(capsys, f"kill -9 of one of three pods at 200 calls/s: {load} (at most 0.1 %)")
    assert load.failed <= load.calls / 1000


def test_the_pod_manager_is_away_while_pods_change(
    installation: Installation, deployed: Deploy, capsys: pytest.CaptureFixture[str]
) -> None:
    """Envoy knows only pods that are gone when the pod manager returns."""
    deployed("colorsys")
    scale = ("-n", NAMESPACE, "scale", "deployment", "jac-orc-pod-manager")
    began = time.monotonic()
    kubectl(*scale, "--replicas=0")
    try:
        kubectl("-n", NAMESPACE, "wait", "--for=delete", "pod", "-l", "app.kubernetes.io/name=jac-orc-pod-manager")
        kubectl("-n", NAMESPACE, "delete", "pod", *installation.pods("colorsys"), "--grace-period=1")
        kubectl("-n", NAMESPACE, "rollout", "status", "deployment/colorsys", "--timeout=60s")
        assert not installation.answers("colorsys", "rgb_to_hsv", 1, 0, 0)
        time.sleep(max(0.0, began + 20 - time.monotonic()))  # Envoy tries to reconnect less and less often
    finally:
        kubectl(*scale, "--replicas=1")
    away = time.monotonic() - began
    wait_until(lambda: installation.pods("jac-orc-pod-manager"))
    ready = ("wait", "--for=condition=Ready", "pod", "-l", "app.kubernetes.io/name=jac-orc-pod-manager")
    kubectl("-n", NAMESPACE, *ready, "--timeout=60s")
    begin = time.monotonic()
    wait_until(lambda: installation.answers("colorsys", "rgb_to_hsv", 1, 0, 0))
    seconds = time.monotonic() - begin
    told(
        capsys,
        f"from the return of a pod manager that was away for {away:.0f} s to an answer: {seconds:.1f} s (at most 3)",
    )
    assert seconds <= 3


def pod_manager(installation: Installation) -> tuple[float, float]:
    """Its memory in MiB and the seconds of processor time that it has used."""
    pod = installation.pods("jac-orc-pod-manager")[0]
    script = (
        "import os, json; status = open('/proc/1/status').read();"
        "stat = open('/proc/1/stat').read().split(')')[1].split();"
        "print(json.dumps([int(status.split('VmRSS:')[1].split()[0]) / 1024,"
        " (int(stat[11]) + int(stat[12])) / os.sysconf('SC_CLK_TCK')]))"
    )
    memory, seconds = json.loads(
        kubectl("-n", NAMESPACE, "exec", pod, "-c", "pod-manager", "--", "python", "-c", script)
    )
    return memory, seconds


def reads() -> float:
    """How many objects and lists have been read from the API server, leases apart."""
    total = 0.0
    for line in kubectl("get", "--raw", "/metrics").splitlines():
        is_read = line.startswith("apiserver_request_total{") and ('verb="GET"' in line or 'verb="LIST"' in line)
        if is_read and 'resource="leases"' not in line and 'resource=""' not in line:
            total += float(line.rpartition(" ")[2])
    return total


def test_calls_read_nothing_from_the_api_server(
    installation: Installation, deployed: Deploy, capsys: pytest.CaptureFixture[str]
) -> None:
    deployed("math", replicas=2)
    before = reads()
    with installation.load("math", "sqrt", 16) as load:
        time.sleep(5)
    more = reads() - before
    told(capsys, f"reads from the API server during {load.calls} calls: {more:.0f}, by all of the cluster")
    assert more < load.calls / 20


def watched(installation: Installation) -> set[str]:
    """The names of the modules that a watch begins with."""
    names = set[str]()
    with installation.http.stream("GET", "/v1/modules:watch", timeout=3) as response:
        try:
            names.update(json.loads(line)["module"]["name"] for line in response.iter_lines())
        except httpx.ReadTimeout:
            return names
    return names


def are_seen() -> bool:
    """Whether the cluster's own controllers, which change some 20 objects a second, are through with the modules'."""
    kinds = "deployments,poddisruptionbudgets"
    found = kubectl_json("-n", NAMESPACE, "get", kinds, "--selector", OURS)["items"]
    return all(each["metadata"]["generation"] == each["status"].get("observedGeneration") for each in found)


@pytest.mark.timeout(600)
def test_many_modules(installation: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"statistics.many{number}" for number in range(300)]
    begin = time.monotonic()
    for name in names:
        response = installation.http.post(
            "/v1/modules", json={"module_name": name, "replicas": 0}, params={"wait": "false"}
        )
        assert response.status_code == 200, response.text
    seconds = time.monotonic() - begin
    wait_until(lambda: len(watched(installation)) >= 300)
    wait_until(are_seen, 240)
    time.sleep(10)
    _, before = pod_manager(installation)
    time.sleep(30)
    memory, after = pod_manager(installation)
    share = (after - before) / 30 * 100
    told(
        capsys,
        f"300 modules, created one by one in {seconds:.0f} s: the pod manager has {memory:.0f} MiB (at most 200)"
        f" and uses {share:.1f} % of a core (at most 2)",
    )
    # By the cluster itself, and for once not in the foreground: it takes minutes to collect all that belongs to them.
    kubectl("-n", NAMESPACE, "delete", "deployments", "--selector", OURS, "--cascade=background")
    wait_until(lambda: installation.http.get("/v1/modules").json()["modules"] == [])
    assert memory <= 200
    assert share <= 2
