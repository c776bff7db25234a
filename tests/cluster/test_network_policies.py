"""Who reaches what in the overlay `production`, tried from pods of each kind; needs a network that enforces policies.

Every target listens, which a pod shows that may reach it, and what a policy forbids is dropped: the attempt times out.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.base import Document, apply
from tests.cluster.conftest import API_KEY, PRODUCTION
from tests.cluster.installation import Installation, wait_until
from tests.cluster.kubectl import image, kubectl, kubectl_json, new_namespace

Address = tuple[str, int]

PROBE = Path(__file__).with_name("probe.py").read_text()
LINK_LOCAL = ("169.254.77.77", 80)  # of the range, and at the port, of clouds' metadata services
INDEX = "pypi.org"

GATEWAY = {"gateway", "gateway by TLS", "gateway's Service"}
OUTSIDE = {
    "API server",
    "API server's node",
    "other namespace's pod",
    "other namespace's Service",
    "link-local address",
}
ALLOWED = {
    "other namespace's pod": {*GATEWAY, "gateway's status", *OUTSIDE, "package index"},
    "plain pod": {*GATEWAY, "gateway's status", *OUTSIDE, "package index"},
    "module": {*GATEWAY, "pod manager for peers", "module's other pod", "another module", "package index"},
    "builder": {"package index"},
    "gateway": {"pod manager", "pod manager's xDS", "module's other pod", "another module"},
    "pod manager": {"module's other pod", "another module", "API server", "API server's node", "package index"},
}
"""What a pod of each kind reaches. A plain pod, in our namespace but without our labels, is left alone."""

# A module's own code: what it may do at the gateway, and at the port that its server uses.
UNINVITED = f"""
import grpc, json, urllib.error, urllib.request
from jac_orc.v1 import pod_manager_pb2 as pb, pod_manager_pb2_grpc

def status(path, **headers):
    headers["content-type"] = "application/json"
    url = "http://jac-orc-gateway.{PRODUCTION}.svc" + path
    request = urllib.request.Request(url, b"{{}}" if "create" in path else None, headers)
    try:
        return urllib.request.urlopen(request, timeout=10).status
    except urllib.error.HTTPError as failure:
        return failure.code

found = {{"create": status("/create_pod/calendar"), "list": status("/v1/modules")}}
found["with a key"] = status("/v1/modules", **{{"x-api-key": "{API_KEY}"}})
stub = pod_manager_pb2_grpc.PodManagerServiceStub(grpc.insecure_channel("jac-orc-pod-manager.{PRODUCTION}.svc:50052"))
try:
    stub.CreateModule(pb.CreateModuleRequest(spec=pb.ModuleSpec(module_name="calendar")), timeout=10)
except grpc.RpcError as failure:
    found["at the peers' port"] = failure.code().name
print(json.dumps(found))
"""


def pod(namespace: str, name: str, *command: str, labels: dict[str, str] | None = None) -> Document:
    """A pod of the product's image, as the restricted level wants it."""
    container = {
        "name": name, "image": image(), "imagePullPolicy": "IfNotPresent", "command": command,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
    }  # fmt: skip
    security = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": labels or {}},
        "spec": {
            "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": False, "securityContext": security,
            "containers": [container],
        },
    }  # fmt: skip


def run_in(namespace: str, pod: str, code: str, *arguments: str) -> Any:
    """What the code prints there, read as JSON; the gateway's own container may have no Python."""
    container = ("-c", "drainer") if pod.startswith("jac-orc-gateway") else ()
    return json.loads(kubectl("-n", namespace, "exec", pod, *container, "--", "python", "-c", code, *arguments))


def outcomes(namespace: str, pod: str, targets: dict[str, Address]) -> dict[str, str]:
    """How an attempt to connect to each target from the pod ends: `open`, `refused` or `dropped`."""
    found: dict[str, str] = run_in(namespace, pod, PROBE, json.dumps(targets))
    return found


@pytest.fixture(scope="module")
def strangers() -> Iterator[str]:
    """Another namespace, with a pod `stranger` that serves at port 8000; skips where no policy is enforced."""
    with new_namespace("orc-stranger") as namespace:
        serve = ("python", "-m", "http.server", "8000", "--directory", "/tmp")
        server = pod(namespace, "stranger", *serve, labels={"app": "stranger"})
        service = {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "stranger", "namespace": namespace},
            "spec": {"selector": {"app": "stranger"}, "ports": [{"port": 8000}]},
        }  # fmt: skip
        nothing = {
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "nothing", "namespace": namespace},
            "spec": {"podSelector": {}, "policyTypes": ["Egress"]},
        }  # fmt: skip
        apply([server, service, nothing])
        kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/stranger", "--timeout=60s")
        target = {"API server": service_address("default", "kubernetes", 443)}
        with contextlib.suppress(AssertionError):
            wait_until(lambda: outcomes(namespace, "stranger", target)["API server"] == "dropped", 10)
        if outcomes(namespace, "stranger", target)["API server"] != "dropped":
            pytest.skip("needs a cluster whose network enforces NetworkPolicies")
        kubectl("-n", namespace, "delete", "networkpolicy", "nothing")
        wait_until(lambda: outcomes(namespace, "stranger", target)["API server"] == "open")
        yield namespace


def service_address(namespace: str, name: str, port: int) -> Address:
    return kubectl_json("-n", namespace, "get", "service", name)["spec"]["clusterIP"], port


def pod_address(namespace: str, name: str, port: int) -> Address:
    return kubectl_json("-n", namespace, "get", "pod", name)["status"]["podIP"], port


@contextmanager
def link_local_server() -> Iterator[dict[str, Address]]:
    """Listen at a link-local address of the node; yields nothing if the node is not this machine."""
    if "ORC_TEST_NODE" not in os.environ:
        yield {}
        return
    command = ["ip", "address", "{}", f"{LINK_LOCAL[0]}/32", "dev", "lo"]
    subprocess.run([part.format("replace") for part in command], check=True)
    try:
        with socket.create_server(LINK_LOCAL):  # the kernel completes connections that are never accepted
            yield {"link-local address": LINK_LOCAL}
    finally:
        subprocess.run([part.format("delete") for part in command], check=True)


@pytest.fixture(scope="module")
def pods(production: Installation, strangers: str) -> Iterator[dict[str, tuple[str, str]]]:
    """The namespace and name of a pod of each kind, and a second module."""
    response = production.create("fractions")
    assert response.status_code == 200, response.text
    builder = {"app.kubernetes.io/name": "jac-orc-environment", "app.kubernetes.io/part-of": "jac-orc"}
    sleep = ("sleep", "600")
    apply([pod(PRODUCTION, "plain", *sleep), pod(PRODUCTION, "builder", *sleep, labels=builder)])
    kubectl("-n", PRODUCTION, "wait", "--for=condition=Ready", "pod/plain", "pod/builder", "--timeout=60s")
    names = {"module": "math", "gateway": "jac-orc-gateway", "pod manager": "jac-orc-pod-manager"}
    yield {
        "other namespace's pod": (strangers, "stranger"),
        "plain pod": (PRODUCTION, "plain"),
        "builder": (PRODUCTION, "builder"),
        **{kind: (PRODUCTION, production.pods(name)[1]) for kind, name in names.items()},
    }
    kubectl("-n", PRODUCTION, "delete", "pod", "plain", "builder")
    production.discard("fractions")


@pytest.fixture(scope="module")
def seen(
    production: Installation, strangers: str, pods: dict[str, tuple[str, str]]
) -> Iterator[dict[str, dict[str, str]]]:
    """How the attempts to connect of a pod of each kind end."""
    gateway, pod_manager, module = (
        production.pods(name)[0] for name in ("jac-orc-gateway", "jac-orc-pod-manager", "math")
    )
    (api,) = kubectl_json("-n", "default", "get", "endpointslices", "-l", "kubernetes.io/service-name=kubernetes")[
        "items"
    ]
    targets = {
        "gateway": pod_address(PRODUCTION, gateway, 8080),
        "gateway by TLS": pod_address(PRODUCTION, gateway, 8443),
        "gateway's Service": service_address(PRODUCTION, "jac-orc-gateway", 80),
        "gateway's status": pod_address(PRODUCTION, gateway, 9902),
        "pod manager": pod_address(PRODUCTION, pod_manager, 50050),
        "pod manager for peers": pod_address(PRODUCTION, pod_manager, 50052),
        "pod manager's xDS": pod_address(PRODUCTION, pod_manager, 18000),
        "module's other pod": pod_address(PRODUCTION, module, 50051),
        "another module": pod_address(PRODUCTION, production.pods("fractions")[0], 50051),
        "API server": service_address("default", "kubernetes", 443),
        "API server's node": (api["endpoints"][0]["addresses"][0], api["ports"][0]["port"]),
        "other namespace's pod": pod_address(strangers, "stranger", 8000),
        "other namespace's Service": service_address(strangers, "stranger", 8000),
    }
    with link_local_server() as link_local, ThreadPoolExecutor(len(pods)) as pool:
        targets |= {**link_local, **package_index(strangers)}
        running = {kind: pool.submit(outcomes, *place, targets) for kind, place in pods.items()}
        yield {kind: one.result() for kind, one in running.items()}


def package_index(strangers: str) -> dict[str, Address]:
    """A public address of the package index, if pods of this cluster reach one."""
    code = f"import json, socket; print(json.dumps(socket.gethostbyname({INDEX!r})))"
    with contextlib.suppress(AssertionError):  # there is no such name here
        address = run_in(strangers, "stranger", code)
        target = {"package index": (address, 443)}
        if ipaddress.ip_address(address).is_global and "open" in outcomes(strangers, "stranger", target).values():
            return target
    return {}


@pytest.mark.parametrize("kind", ALLOWED)
def test_it_reaches_what_it_needs_and_nothing_else(seen: dict[str, dict[str, str]], kind: str) -> None:
    assert seen[kind] == {target: "open" if target in ALLOWED[kind] else "dropped" for target in seen[kind]}


def test_each_target_listens(seen: dict[str, dict[str, str]]) -> None:
    for target in seen["module"]:
        assert "open" in {outcome[target] for outcome in seen.values()}, f"no pod reaches the {target}"


@pytest.mark.parametrize("kind", ALLOWED)
def test_names_are_looked_up(pods: dict[str, tuple[str, str]], kind: str) -> None:
    name = f"jac-orc-pod-manager.{PRODUCTION}.svc"
    found = run_in(*pods[kind], f"import json, socket; print(json.dumps(socket.gethostbyname({name!r})))")
    assert found == service_address(PRODUCTION, "jac-orc-pod-manager", 50050)[0]


def test_a_modules_code_needs_a_key_as_any_client(production: Installation, pods: dict[str, tuple[str, str]]) -> None:
    assert run_in(*pods["module"], UNINVITED) == {
        "create": 401, "list": 401, "with a key": 200, "at the peers' port": "UNIMPLEMENTED",
    }  # fmt: skip
    assert production.module("calendar") is None


def test_calls_find_an_object_on_the_modules_other_pod(production: Installation) -> None:
    response = production.create("random", replicas=2)
    assert response.status_code == 200, response.text
    wait_until(lambda: production.module("random")["status"].get("ready_replicas") == 2)
    made = production.call("random", "Random", 7)
    assert made.status_code == 200, made.text
    object_id = made.json()["result"]["obj_id"]
    drawn = [
        production.http.post("/v1/modules/random:call", json={"method": "random", "obj_id": object_id})
        for _ in range(20)
    ]
    assert [answer.status_code for answer in drawn] == [200] * 20, drawn[-1].text
    assert len({answer.json()["result"] for answer in drawn}) == 20
    production.discard("random")
