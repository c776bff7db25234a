"""The overlay `production`: two of each, under the restricted level, replaced without a failed call."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.cluster.installation import Installation, wait_until
from tests.cluster.kubectl import forwarded, image, kubectl, kubectl_json, new_namespace
from tests.cluster.overlay import installed, render

NAMESPACE = "orc-production"
DEPLOYMENTS = ("jac-orc-pod-manager", "jac-orc-gateway")
BODY = {"method": "sqrt", "args": [16]}

# A port-forward leads to one pod and ends with it; a node port leads to all.
NODE_PORT = {
    "target": {"kind": "Service", "name": "jac-orc-gateway"},
    "patch": "- {op: add, path: /spec/type, value: NodePort}",
}


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The overlay, installed anew and reached at a node's port, with a module."""
    folder = tmp_path_factory.mktemp("production")
    with installed(render(folder, "production", NAMESPACE, {}, patches=[NODE_PORT]), NAMESPACE):
        system = Installation(NAMESPACE, node_address())
        wait_until(system.responds)
        response = system.create("math", replicas=2)
        assert response.status_code == 200, response.text
        wait_until(lambda: system.module("math")["status"].get("ready_replicas") == 2)
        yield system
        system.http.close()


def node_address() -> str:
    """Where a node takes calls for the gateway."""
    service = kubectl_json("-n", NAMESPACE, "get", "service", "jac-orc-gateway")
    (port,) = (each["nodePort"] for each in service["spec"]["ports"] if each["name"] == "http")
    node = kubectl_json("get", "nodes")["items"][0]
    (address, *_) = (each["address"] for each in node["status"]["addresses"] if each["type"] == "InternalIP")
    return f"http://{address}:{port}"


def is_ready(pod: Any) -> bool:
    return any((each["type"], each["status"]) == ("Ready", "True") for each in pod["status"]["conditions"])


def test_two_of_each_are_ready_under_the_restricted_level(production: Installation) -> None:
    labels = kubectl_json("get", "namespace", NAMESPACE)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    pods = kubectl_json("-n", NAMESPACE, "get", "pods")["items"]
    assert all(is_ready(pod) for pod in pods)
    names = sorted(pod["metadata"]["labels"]["app.kubernetes.io/name"] for pod in pods)
    assert names == ["jac-orc-gateway"] * 2 + ["jac-orc-pod-manager"] * 2 + ["math"] * 2


def test_a_call_through_a_port_forward(production: Installation) -> None:
    with forwarded(NAMESPACE, "service/jac-orc-gateway", "http") as address:
        response = httpx.post(f"http://{address}/v1/modules/math:call", json=BODY, trust_env=False)
    assert (response.status_code, response.json()) == (200, {"result": 4.0})


@pytest.mark.timeout(600)
def test_both_are_replaced_under_load(production: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    """Calls of the module and of the API, while all four pods are replaced."""
    before = {name: set(production.pods(name)) for name in DEPLOYMENTS}
    with (
        production.load("math", "sqrt", 16, rate=50) as calls,
        production.requests("GET", "/v1/modules", rate=5) as requests,
    ):
        kubectl("-n", NAMESPACE, "rollout", "restart", *(f"deployment/{name}" for name in DEPLOYMENTS))
        for name in DEPLOYMENTS:
            production.settle(name)
    with capsys.disabled():
        print(f"\n  both Deployments replaced at 50 calls/s: {calls}; the API meanwhile: {requests}")
    for name in DEPLOYMENTS:
        assert len(production.pods(name)) == 2 and not before[name] & set(production.pods(name))
    assert (calls.failed, requests.failed) == (0, 0)


def connects(namespace: str, pod: str, host: str, port: int) -> bool:
    """Whether a connection from the pod to there comes about."""
    code = f"import socket; socket.create_connection(({host!r}, {port}), 3)"
    told = kubectl("-n", namespace, "exec", pod, "--", "python", "-c", code, check=False)
    assert not told or "timed out" in told or "Connection refused" in told, told
    return not told


@pytest.fixture
def stranger() -> Iterator[Callable[[str, int], bool]]:
    """Whether a pod of another namespace connects to a place; skips the test where the cluster enforces no policy."""
    policy = {
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "nothing"},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"]},
    }  # fmt: skip
    api = kubectl_json("-n", "default", "get", "service", "kubernetes")["spec"]["clusterIP"]
    with new_namespace("orc-stranger") as namespace:
        options = ("--image", image(), "--image-pull-policy", "IfNotPresent", "--command", "--", "sleep", "600")
        kubectl("-n", namespace, "run", "stranger", *options)
        kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/stranger", "--timeout=60s")
        kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(policy))
        try:
            wait_until(lambda: not connects(namespace, "stranger", api, 443), 10)
        except AssertionError:
            pytest.skip("needs a cluster whose network enforces NetworkPolicies")
        kubectl("-n", namespace, "delete", "networkpolicy", "nothing")
        wait_until(lambda: connects(namespace, "stranger", api, 443))
        yield lambda host, port: connects(namespace, "stranger", host, port)


def test_only_who_needs_to_talks_to_whom(production: Installation, stranger: Callable[[str, int], bool]) -> None:
    module, gateway, pod_manager = (
        kubectl_json("-n", NAMESPACE, "get", "pod", production.pods(name)[0])["status"]["podIP"]
        for name in ("math", "jac-orc-gateway", "jac-orc-pod-manager")
    )
    api = kubectl_json("-n", "default", "get", "service", "kubernetes")["spec"]["clusterIP"]
    assert stranger(gateway, 8080)
    for host, port in ((module, 50051), (pod_manager, 50050), (pod_manager, 18000)):
        assert not stranger(host, port), f"a stranger reaches {host}:{port}"
    from_module = {
        place: connects(NAMESPACE, production.pods("math")[1], *place)
        for place in ((module, 50051), (pod_manager, 50050), (pod_manager, 18000), (api, 443))
    }
    assert from_module == {
        (module, 50051): True,
        (pod_manager, 50050): True,
        (pod_manager, 18000): False,
        (api, 443): False,
    }
