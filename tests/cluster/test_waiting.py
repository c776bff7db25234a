"""What a cluster can't give at once: a pod waits for its node, and is refused at once if a rule forbids it."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from tests.cluster.installation import NAMESPACE, Installation, wait_until
from tests.cluster.kubectl import kubectl, kubectl_json
from tests.cluster.test_faults import applied, nothing_left, reason
from tests.cluster.test_figures import pod_manager
from tests.e2e.commands import run


@contextmanager
def scheduling_timeout(installation: Installation, seconds: float) -> Iterator[None]:
    """The pod manager, with that setting."""
    deployment = ("-n", NAMESPACE, "set", "env", "deployment/jac-orc-pod-manager")
    kubectl(*deployment, f"POD_MANAGER_SCHEDULING_TIMEOUT={seconds:g}")
    try:
        installation.settle("jac-orc-pod-manager")
        yield
    finally:
        kubectl(*deployment, "POD_MANAGER_SCHEDULING_TIMEOUT-")
        installation.settle("jac-orc-pod-manager")


@contextmanager
def cordoned() -> Iterator[None]:
    """A cluster without a node that takes pods."""
    nodes = [each["metadata"]["name"] for each in kubectl_json("get", "nodes")["items"]]
    kubectl("cordon", *nodes)
    try:
        yield
    finally:
        kubectl("uncordon", *nodes)


def unbuilt() -> dict[str, list[str]]:
    """What a module requires that no environment has been built for."""
    return {"requirements": ["six"], "constraints": [f"six!=0.{time.time_ns()}"]}


def doing(installation: Installation, name: str) -> str:
    """What the module says that it is doing."""
    module = installation.module(name)
    return str(module["status"].get("progress", "")) if module else ""


def test_a_create_waits_for_a_node_and_an_update_too(
    installation: Installation, deployed: Callable[..., Any], variables: dict[str, str]
) -> None:
    deployed("math")
    with ThreadPoolExecutor() as pool:
        with cordoned():
            created = pool.submit(run, "create", "colorsys", **variables)
            built = pool.submit(functools.partial(installation.create, "six", **unbuilt()))
            updated = pool.submit(installation.http.patch, "/v1/modules/math", json={"env": {"A": "1"}})
            names = ("colorsys", "six", "math")
            wait_until(lambda: all(doing(installation, each).startswith("waiting for a node: 0/") for each in names))
            assert installation.answers("math", "sqrt", 16)
            _, before = pod_manager(installation)
            time.sleep(4)  # for longer than states that time alone changes are looked at again
            _, after = pod_manager(installation)
            assert after - before < 1, "it waits busily"
            assert not any(each.done() for each in (created, built, updated))
        assert created.result().returncode == 0, created.result()
        assert "colorsys: starting: waiting for a node: 0/" in created.result().stderr
        for response in (built.result(), updated.result()):
            assert response.status_code == 200, response.text
    assert installation.call("six", "ensure_str", "a").json() == {"result": "a"}
    for name in ("colorsys", "six"):
        installation.discard(name)


def test_no_node_comes_in_time(installation: Installation, deployed: Callable[..., Any]) -> None:
    """The create fails and leaves nothing; the update is rolled back."""
    deployed("math")
    with scheduling_timeout(installation, 5), ThreadPoolExecutor() as pool, cordoned():
        begin = time.monotonic()
        waiting = [
            pool.submit(installation.create, "colorsys"),
            pool.submit(functools.partial(installation.create, "six", **unbuilt())),
            pool.submit(installation.http.patch, "/v1/modules/math", json={"env": {"A": "1"}}),
        ]
        for response in [each.result() for each in waiting]:
            assert reason(response) == "POD_UNSCHEDULABLE"
            assert "no node can take the pod for " in response.json()["message"]
        assert 5 <= time.monotonic() - begin < 20
        assert installation.module("math")["spec"]["env"] == {}
        assert installation.answers("math", "sqrt", 16)
    for name in ("colorsys", "six"):
        nothing_left(installation, name)


QUOTA = """
apiVersion: v1
kind: ResourceQuota
metadata: {name: orc-test}
spec: {hard: {pods: "1"}}
"""
PROBE = """
apiVersion: v1
kind: Pod
metadata: {name: orc-test}
spec: {containers: [{name: one, image: none, resources: {limits: {memory: 2Gi}}}]}
"""
LIMITS = """
apiVersion: v1
kind: LimitRange
metadata: {name: orc-test}
spec: {limits: [{type: Container, max: {memory: 1Gi}}]}
"""


@pytest.mark.parametrize(
    ("rule", "told", "why"),
    [(QUOTA, "QUOTA_EXCEEDED", "exceeded quota: orc-test"), (LIMITS, "CLUSTER_REFUSED", "maximum memory usage")],
    ids=["quota", "limits"],
)
def test_a_build_that_is_refused_its_pod(
    installation: Installation, variables: dict[str, str], rule: str, told: str, why: str
) -> None:
    required = unbuilt()
    with applied(rule):
        probe = ("-n", NAMESPACE, "create", "--dry-run=server", "-f", "-")
        wait_until(lambda: why in kubectl(*probe, stdin=PROBE, check=False))  # API servers learn of rules with a delay
        begin = time.monotonic()
        response = installation.create("six", **required)
        assert reason(response) == told
        assert why in response.json()["message"]
        assert time.monotonic() - begin < 5
        printed = run("doctor", "-o", "json", **variables)
        found = [each for each in json.loads(printed.stdout)["checks"] if each["state"] == "fault"]
        (refused,) = (each for each in found if each["name"] == "refused pods" and why in each["found"])
        assert ("edit resourcequota" in refused["fix"]) is (rule is QUOTA)
        nothing_left(installation, "six")
    response = installation.create("six", **required)
    assert response.status_code == 200, response.text
    installation.discard("six")
