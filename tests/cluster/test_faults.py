"""What goes wrong in clusters, made for real: each is told, harms nobody else, and leaves nothing behind."""

from __future__ import annotations

import base64
import io
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.cluster.installation import NAMESPACE, Installation, wait_until
from tests.cluster.kubectl import bring_back, forwarded, kill, kubectl, kubectl_json

Deploy = Callable[..., Any]

BYSTANDER = ("math", "sqrt", 16)


def reason(response: httpx.Response) -> str:
    """The reason of a failure, in whose form it is told."""
    assert response.status_code >= 400, response.text
    return str(response.json()["details"][0]["reason"])


@pytest.fixture
def bystander(deployed: Deploy, installation: Installation) -> Iterator[None]:
    """A module that is not harmed."""
    deployed("math")
    yield
    assert installation.answers(*BYSTANDER)


@contextmanager
def applied(document: str) -> Iterator[None]:
    kubectl("-n", NAMESPACE, "apply", "-f", "-", stdin=document)
    try:
        yield
    finally:
        kubectl("-n", NAMESPACE, "delete", "--ignore-not-found", "-f", "-", stdin=document)


def nothing_left(installation: Installation, name: str) -> None:
    wait_until(lambda: not installation.objects(name))
    assert installation.module(name) is None


def test_the_quota_is_used_up(installation: Installation, bystander: None) -> None:
    used = len(kubectl_json("-n", NAMESPACE, "get", "pods")["items"])
    quota = f"""
apiVersion: v1
kind: ResourceQuota
metadata: {{name: orc-test}}
spec: {{hard: {{pods: "{used}"}}}}
"""
    with applied(quota):
        wait_until(lambda: "used" in kubectl_json("-n", NAMESPACE, "get", "resourcequota", "orc-test")["status"])
        response = installation.create("colorsys")
        assert reason(response) == "QUOTA_EXCEEDED"
        assert "orc-test" in response.json()["message"]
        nothing_left(installation, "colorsys")
    assert installation.create("colorsys").status_code == 200
    installation.delete("colorsys")


def test_a_pod_that_uses_more_memory_than_it_may(installation: Installation, bystander: None) -> None:
    response = installation.create("statistics", resources={"memory": "24Mi"})
    assert reason(response) == "OUT_OF_MEMORY"
    nothing_left(installation, "statistics")


def test_a_secret_that_is_not_there(installation: Installation, bystander: None) -> None:
    response = installation.create("colorsys", secrets=["no-such-secret"])
    assert reason(response) == "POD_FAILED"
    assert "no-such-secret" in response.json()["message"]
    nothing_left(installation, "colorsys")


def test_a_secret_reaches_the_module(installation: Installation, deployed: Deploy) -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: orc-test}\nstringData: {TZ: UTC+3, LANG: x}\n"
    with applied(secret):
        deployed("time", secrets=["orc-test"])
        assert installation.call("time", "strftime", "%z").json() == {"result": "-0300"}


def test_an_image_that_is_not_there(installation: Installation, bystander: None) -> None:
    variable = "POD_MANAGER_IMAGE"
    deployment = ("-n", NAMESPACE, "set", "env", "deployment/jac-orc-pod-manager")
    kubectl(*deployment, f"{variable}=docker.io/library/no-such-image:1")
    try:
        installation.settle("jac-orc-pod-manager")
        response = installation.create("colorsys")
        assert reason(response) == "IMAGE_UNAVAILABLE"
        assert "no-such-image" in response.json()["message"]
        nothing_left(installation, "colorsys")
    finally:
        kubectl(*deployment, f"{variable}-")
        installation.settle("jac-orc-pod-manager")


def test_the_pod_manager_has_no_right_any_more(installation: Installation, bystander: None) -> None:
    binding = kubectl("-n", NAMESPACE, "get", "rolebinding", "jac-orc-pod-manager", "--output", "yaml")
    kubectl("-n", NAMESPACE, "delete", "rolebinding", "jac-orc-pod-manager")
    try:
        response = wait_until(lambda: refused(installation))
        assert reason(response) == "CLUSTER_REFUSED"
        assert "jac-orc doctor" in response.json()["message"]
        assert installation.answers(*BYSTANDER)
    finally:
        kubectl("-n", NAMESPACE, "apply", "-f", "-", stdin=binding)
    wait_until(lambda: installation.create("colorsys").status_code == 200)
    installation.delete("colorsys")


def refused(installation: Installation) -> httpx.Response | None:
    response = installation.create("colorsys")
    if response.status_code == 200:  # the API server had the binding in its cache still
        installation.delete("colorsys")
        return None
    return response


@pytest.mark.parametrize("kind", ["Deployment", "Service"])
def test_a_name_that_somebody_else_uses(installation: Installation, bystander: None, kind: str) -> None:
    document = {
        "Deployment": """
apiVersion: apps/v1
kind: Deployment
metadata: {name: colorsys, labels: {mine: "yes"}}
spec:
  replicas: 0
  selector: {matchLabels: {app: mine}}
  template:
    metadata: {labels: {app: mine}}
    spec: {containers: [{name: mine, image: "mine:1"}]}
""",
        "Service": """
apiVersion: v1
kind: Service
metadata: {name: colorsys, labels: {mine: "yes"}}
spec: {selector: {app: mine}, ports: [{port: 80}]}
""",
    }[kind]
    with applied(document):
        before = kubectl_json("-n", NAMESPACE, "get", kind, "colorsys")
        response = installation.create("colorsys")
        assert reason(response) == "NAME_TAKEN"
        assert f"{kind} colorsys" in response.json()["message"]
        after = kubectl_json("-n", NAMESPACE, "get", kind, "colorsys")
        assert (after["spec"], after["metadata"]["labels"]) == (before["spec"], before["metadata"]["labels"])
        installation.delete("colorsys")
        assert kubectl_json("-n", NAMESPACE, "get", kind, "colorsys")["metadata"]["uid"] == before["metadata"]["uid"]
        assert installation.module("colorsys") is None
    nothing_left(installation, "colorsys")


def test_a_module_deleted_by_kubectl(installation: Installation, deployed: Deploy) -> None:
    deployed("colorsys")
    kubectl("-n", NAMESPACE, "delete", "deployment", "colorsys")
    wait_until(lambda: installation.module("colorsys") is None)
    nothing_left(installation, "colorsys")


def test_a_module_scaled_by_kubectl(installation: Installation, deployed: Deploy) -> None:
    deployed("colorsys")
    kubectl("-n", NAMESPACE, "scale", "deployment", "colorsys", "--replicas=2")
    wait_until(lambda: installation.module("colorsys")["status"].get("ready_replicas") == 2)
    assert installation.module("colorsys")["spec"]["replicas"] == 2
    changed = installation.http.patch("/v1/modules/colorsys", json={"env": {"A": "1"}})
    assert changed.status_code == 200, changed.text
    assert changed.json()["spec"]["replicas"] == 2


def test_fields_that_others_set_are_left_alone(installation: Installation, deployed: Deploy) -> None:
    deployed("colorsys")
    kubectl("-n", NAMESPACE, "annotate", "deployment", "colorsys", "example.com/owner=me")
    kubectl("-n", NAMESPACE, "patch", "deployment", "colorsys", "-p", '{"spec":{"minReadySeconds":1}}')
    changed = installation.http.patch("/v1/modules/colorsys", json={"env": {"A": "1"}})
    assert changed.status_code == 200, changed.text
    there = kubectl_json("-n", NAMESPACE, "get", "deployment", "colorsys")
    assert there["metadata"]["annotations"]["example.com/owner"] == "me"
    assert there["spec"]["minReadySeconds"] == 1


def test_a_service_deleted_by_kubectl_is_made_anew(installation: Installation, deployed: Deploy) -> None:
    deployed("colorsys")
    kubectl("-n", NAMESPACE, "delete", "service", "colorsys")
    wait_until(lambda: kubectl("-n", NAMESPACE, "get", "service", "colorsys", check=False).startswith("NAME"))
    wait_until(lambda: installation.answers("colorsys", "rgb_to_hsv", 1, 0, 0))


def test_a_disruption_budget_deleted_by_kubectl_is_made_anew(installation: Installation, deployed: Deploy) -> None:
    deployed("colorsys")
    kubectl("-n", NAMESPACE, "delete", "pdb", "colorsys")
    wait_until(lambda: kubectl("-n", NAMESPACE, "get", "pdb", "colorsys", check=False).startswith("NAME"))


def test_a_module_whose_record_is_damaged(installation: Installation, deployed: Deploy) -> None:
    deployed("colorsys")
    kubectl("-n", NAMESPACE, "annotate", "deployment", "colorsys", "--overwrite", "jac-orc.dev/record={")
    wait_until(lambda: "delete deployment colorsys" in fault(installation, "colorsys"))
    assert installation.answers("colorsys", "rgb_to_hsv", 1, 0, 0)
    refused = installation.http.patch("/v1/modules/colorsys", json={"env": {"A": "1"}})
    assert f"kubectl -n {NAMESPACE} delete deployment colorsys" in refused.json()["message"]
    installation.delete("colorsys")
    nothing_left(installation, "colorsys")


def test_an_image_set_by_kubectl_that_is_not_there(installation: Installation, deployed: Deploy) -> None:
    deployed("colorsys")
    kubectl("-n", NAMESPACE, "set", "image", "deployment/colorsys", "module-server=docker.io/library/no-such-image:1")
    wait_until(lambda: "no-such-image" in fault(installation, "colorsys"), 60)
    assert installation.module("colorsys")["status"]["phase"] == "MODULE_PHASE_READY"
    assert installation.answers("colorsys", "rgb_to_hsv", 1, 0, 0)


def fault(installation: Installation, name: str) -> str:
    """What the module tells is wrong."""
    return str(installation.module(name)["status"].get("error", {}).get("message", ""))


def test_both_pod_managers_are_killed(installation: Installation, bystander: None) -> None:
    kubectl("-n", NAMESPACE, "scale", "deployment", "jac-orc-pod-manager", "--replicas=2")
    installation.settle("jac-orc-pod-manager")
    try:
        with installation.load(*BYSTANDER) as load:
            pods = installation.pods("jac-orc-pod-manager")
            kubectl("-n", NAMESPACE, "delete", "pod", *pods, "--grace-period=0", "--force")
            installation.settle("jac-orc-pod-manager")
        assert load.failed == 0, load
        wait_until(lambda: installation.create("colorsys").status_code == 200)
        installation.delete("colorsys")
    finally:
        kubectl("-n", NAMESPACE, "scale", "deployment", "jac-orc-pod-manager", "--replicas=1")
        installation.settle("jac-orc-pod-manager")


def test_a_pod_manager_that_is_stopped_ends_what_it_has_begun(installation: Installation, deployed: Deploy) -> None:
    source = io.BytesIO()
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("orc_slow_start.py", "import time\ntime.sleep(8)\nanswer = lambda: 42\n")
    (pod,) = installation.pods("jac-orc-pod-manager")
    with ThreadPoolExecutor() as pool:
        encoded = base64.b64encode(source.getvalue()).decode()
        module = pool.submit(deployed, "orc_slow_start", source={"zip": encoded})
        wait_until(lambda: installation.module("orc_slow_start"))
        kubectl("-n", NAMESPACE, "delete", "pod", pod, "--wait=false")
        assert module.result(60)["status"]["ready_replicas"] == 1
    installation.settle("jac-orc-pod-manager")
    assert installation.call("orc_slow_start", "answer").json() == {"result": 42}


def test_two_creations_at_once_by_two_pod_managers(installation: Installation) -> None:
    import grpc

    from jac_orc.v1 import pod_manager_pb2 as pb
    from jac_orc.v1 import pod_manager_pb2_grpc

    kubectl("-n", NAMESPACE, "scale", "deployment", "jac-orc-pod-manager", "--replicas=2")
    installation.settle("jac-orc-pod-manager")
    one, other = installation.pods("jac-orc-pod-manager")
    try:
        targets = [(NAMESPACE, f"pod/{pod}", "grpc") for pod in (one, other)]
        with forwarded(*targets[0]) as first, forwarded(*targets[1]) as second:
            for envs, outcome in ((("1", "1"), {"OK"}), (("1", "2"), {"OK", "ALREADY_EXISTS"})):
                channels = [grpc.insecure_channel(address) for address in (first, second)]
                stubs = [pod_manager_pb2_grpc.PodManagerServiceStub(channel) for channel in channels]
                specs = [pb.ModuleSpec(module_name="colorsys", env={"A": env}) for env in envs]
                calls = [
                    stub.CreateModule.future(pb.CreateModuleRequest(spec=spec), timeout=60)
                    for stub, spec in zip(stubs, specs, strict=True)
                ]
                codes = [call.code().name for call in calls]
                assert set(codes) == outcome, codes
                uids = {call.result().module.uid for call in calls if call.code().name == "OK"}
                assert len(uids) == 1
                stubs[0].DeleteModule(pb.DeleteModuleRequest(module_name="colorsys"))
                for channel in channels:
                    channel.close()
        nothing_left(installation, "colorsys")
    finally:
        kubectl("-n", NAMESPACE, "scale", "deployment", "jac-orc-pod-manager", "--replicas=1")
        installation.settle("jac-orc-pod-manager")


def test_the_gateway_is_killed(installation: Installation, bystander: None) -> None:
    for pod in installation.pods("jac-orc-gateway"):
        kubectl("-n", NAMESPACE, "delete", "pod", pod, "--grace-period=0", "--force")
    installation.settle("jac-orc-gateway")
    wait_until(lambda: installation.answers(*BYSTANDER), 20)


@pytest.mark.parametrize("parts", [("kube-apiserver",), ("etcd", "kube-apiserver")], ids="-".join)
def test_the_api_server_is_away(installation: Installation, bystander: None, parts: tuple[str, ...]) -> None:
    for part in parts:
        kill(part)
    try:
        with installation.load(*BYSTANDER) as load:
            response = installation.create("colorsys")
            assert reason(response) == "CLUSTER_UNAVAILABLE"
            assert response.status_code == 503
            assert "serve on" in response.json()["message"]
            assert installation.module("math")["status"]["phase"] == "MODULE_PHASE_READY"
        assert load.failed == 0, load
    finally:
        bring_back()
    wait_until(lambda: installation.create("colorsys").status_code == 200, 90)
    assert installation.answers("colorsys", "rgb_to_hsv", 1, 0, 0)
    installation.delete("colorsys")


def test_the_kubelet_is_away_for_a_while(installation: Installation, bystander: None) -> None:
    kill("kubelet")
    try:
        with installation.load(*BYSTANDER) as load:
            time.sleep(5)
        assert load.failed == 0, load
    finally:
        bring_back()
    wait_until(lambda: installation.create("colorsys").status_code == 200, 90)
    installation.delete("colorsys")
