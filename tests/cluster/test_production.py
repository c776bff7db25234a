"""The overlay `production`: two of each, under the restricted level, replaced without a failed call, for who has an API
key; with the component `tls` at the gateway itself, too."""

from __future__ import annotations

import json
import ssl
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.conftest import API_KEY, PRODUCTION
from tests.cluster.installation import Installation, wait_until
from tests.cluster.kubectl import forwarded, kubectl, kubectl_json
from tests.e2e.commands import run
from tests.feature.front_files import api_keys

DEPLOYMENTS = ("jac-orc-pod-manager", "jac-orc-gateway")
BODY = {"method": "sqrt", "args": [16]}
CLIENT = {"x-api-key": API_KEY}


@pytest.fixture
def certificate(production_folder: Path) -> Path:
    """What the gateway shows."""
    return production_folder / "tls.crt"


def is_ready(pod: Any) -> bool:
    return any((each["type"], each["status"]) == ("Ready", "True") for each in pod["status"]["conditions"])


def test_two_of_each_are_ready_under_the_restricted_level(production: Installation) -> None:
    labels = kubectl_json("get", "namespace", PRODUCTION)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    pods = kubectl_json("-n", PRODUCTION, "get", "pods")["items"]
    assert all(is_ready(pod) for pod in pods)
    names = sorted(pod["metadata"]["labels"]["app.kubernetes.io/name"] for pod in pods)
    assert names == ["jac-orc-gateway"] * 2 + ["jac-orc-pod-manager"] * 2 + ["math"] * 2


def test_a_call_through_a_port_forward(production: Installation) -> None:
    with forwarded(PRODUCTION, "service/jac-orc-gateway", "http") as address:
        response = httpx.post(f"http://{address}/v1/modules/math:call", json=BODY, headers=CLIENT, trust_env=False)
    assert (response.status_code, response.json()) == (200, {"result": 4.0})


def test_who_has_no_key(production: Installation, variables: dict[str, str]) -> None:
    response = httpx.post(f"{production.http.base_url}/create_pod/colorsys", json={}, trust_env=False)
    assert (response.status_code, response.json()["details"][0]["reason"]) == (401, "UNAUTHENTICATED")
    assert production.module("colorsys") is None
    place = variables | {"JAC_ORC_NAMESPACE": PRODUCTION}
    refused = run("list", **place)
    assert refused.returncode == 1 and "JAC_ORC_API_KEY" in refused.stderr, refused.stderr
    listed = run("list", "-o", "json", **place, JAC_ORC_API_KEY=API_KEY)
    assert [each["name"] for each in json.loads(listed.stdout)["modules"]] == ["math"], listed.stderr
    examined = run("doctor", "-o", "json", **place)
    found = {check["name"]: check for check in json.loads(examined.stdout)["checks"]}["answer"]
    assert found["state"] == "fault" and "JAC_ORC_API_KEY" in found["fix"]


def test_a_call_by_tls(production: Installation, certificate: Path) -> None:
    """At the gateway itself."""
    with forwarded(PRODUCTION, "service/jac-orc-gateway-tls", "https") as address:
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
        change = {"stringData": {"api-keys.yaml": api_keys(alice=API_KEY, bob=other)}}
        kubectl("-n", PRODUCTION, "patch", "secret", "jac-orc-api-keys", "-p", json.dumps(change))
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
        kubectl("-n", PRODUCTION, "rollout", "restart", *(f"deployment/{name}" for name in DEPLOYMENTS))
        for name in DEPLOYMENTS:
            production.settle(name)
    with capsys.disabled():
        print(f"\n  both Deployments replaced at 50 calls/s: {calls}; the API meanwhile: {requests}")
    for name in DEPLOYMENTS:
        assert len(production.pods(name)) == 2 and not before[name] & set(production.pods(name))
    assert (calls.failed, requests.failed) == (0, 0)


@pytest.mark.timeout(600)
def test_a_changed_policy_takes_effect(production: Installation, production_folder: Path) -> None:
    """The ConfigMap's new name replaces the pod managers; they replace the pods of modules; no call fails."""

    def why(**spec: Any) -> str:
        response = production.create("colorsys", **spec)
        return str(response.json()["details"][0]["reason"]) if response.status_code == 403 else ""

    def environment() -> dict[str, str]:
        deployment = kubectl_json("-n", PRODUCTION, "get", "deployment", "math")
        return {
            each["name"]: each.get("value", "")
            for each in deployment["spec"]["template"]["spec"]["containers"][0]["env"]
        }

    assert why(secrets=["other"]) == "POLICY_REFUSED"
    before = set(production.pods("math"))
    policy = "secrets: [module-*]\nrefuse: [colorsys]\n"
    (production_folder / "kustomize/components/policy/policy.yaml").write_text(policy)
    with production.load("math", "sqrt", 16, rate=20) as calls:
        kubectl(
            "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=kubectl("kustomize", str(production_folder))
        )
        production.settle("jac-orc-pod-manager")
        assert why() == "MODULE_REFUSED"
        wait_until(lambda: environment()["REFUSED_MODULES"] == "colorsys")
        wait_until(lambda: len(now := set(production.pods("math"))) == 2 and not before & now)
    assert calls.failed == 0, calls
