"""The overlay `production`: two of each, under the restricted level, replaced without a failed call, for who has an API
key; with the component `tls` at the gateway itself, too."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.installation import Installation, wait_until
from tests.cluster.kubectl import forwarded, image, kubectl, kubectl_json, new_namespace
from tests.cluster.overlay import api_keys_secret, certificate_secret, installed, render
from tests.e2e.commands import run
from tests.feature.front_files import api_keys

NAMESPACE = "orc-production"
DEPLOYMENTS = ("jac-orc-pod-manager", "jac-orc-gateway")
BODY = {"method": "sqrt", "args": [16]}
KEY = "k" * 32
CLIENT = {"x-api-key": KEY}

# A port-forward leads to one pod and ends with it; a node port leads to all.
NODE_PORT = {
    "target": {"kind": "Service", "name": "jac-orc-gateway"},
    "patch": "- {op: add, path: /spec/type, value: NodePort}",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the overlay is built."""
    return tmp_path_factory.mktemp("production")


@pytest.fixture
def certificate(folder: Path) -> Path:
    """What the gateway shows."""
    return folder / "tls.crt"


@pytest.fixture(scope="module")
def production(folder: Path) -> Iterator[Installation]:
    """The overlay, installed anew and reached at a node's port, with a module."""
    secrets = [api_keys_secret(folder, alice=KEY), certificate_secret(folder, "jac-orc-gateway-tls", "orc.test")]
    more = {
        "components": ["no-store", "kustomize/components/tls"], "secretGenerator": secrets, "patches": [NODE_PORT],
    }  # fmt: skip
    with installed(render(folder, "production", NAMESPACE, {}, **more), NAMESPACE):
        system = Installation(NAMESPACE, node_address(), CLIENT)
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
        response = httpx.post(f"http://{address}/v1/modules/math:call", json=BODY, headers=CLIENT, trust_env=False)
    assert (response.status_code, response.json()) == (200, {"result": 4.0})


def test_who_has_no_key(production: Installation, variables: dict[str, str]) -> None:
    response = httpx.post(f"{production.http.base_url}/create_pod/colorsys", json={}, trust_env=False)
    assert (response.status_code, response.json()["details"][0]["reason"]) == (401, "UNAUTHENTICATED")
    assert production.module("colorsys") is None
    place = variables | {"JAC_ORC_NAMESPACE": NAMESPACE}
    refused = run("list", **place)
    assert refused.returncode == 1 and "JAC_ORC_API_KEY" in refused.stderr, refused.stderr
    listed = run("list", "-o", "json", **place, JAC_ORC_API_KEY=KEY)
    assert [each["name"] for each in json.loads(listed.stdout)["modules"]] == ["math"], listed.stderr
    examined = run("doctor", "-o", "json", **place)
    found = {check["name"]: check for check in json.loads(examined.stdout)["checks"]}["answer"]
    assert found["state"] == "fault" and "JAC_ORC_API_KEY" in found["fix"]


def test_a_call_by_tls(production: Installation, certificate: Path) -> None:
    """At the gateway itself."""
    with forwarded(NAMESPACE, "service/jac-orc-gateway-tls", "https") as address:
        context = ssl.create_default_context(cafile=certificate)
        with httpx.Client(base_url=f"https://{address}", verify=context, trust_env=False) as client:
            called = partial(client.post, "/v1/modules/math:call", json=BODY, extensions={"sni_hostname": "orc.test"})
            assert called().status_code == 401
            response = called(headers=CLIENT)
    assert (response.status_code, response.json()) == (200, {"result": 4.0})


def test_a_key_that_is_added(production: Installation) -> None:
    """It holds once the kubelets have brought it, and no call fails meanwhile."""
    other = "o" * 32
    with production.load("math", "sqrt", 16, rate=20) as calls:
        change = {"stringData": {"api-keys.yaml": api_keys(alice=KEY, bob=other)}}
        kubectl("-n", NAMESPACE, "patch", "secret", "jac-orc-api-keys", "-p", json.dumps(change))
        as_bob = partial(production.http.post, "/v1/modules/math:call", json=BODY, headers={"x-api-key": other})
        wait_until(lambda: as_bob().status_code == 200, 150)
    assert calls.failed == 0, calls


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
