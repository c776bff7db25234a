"""Modules with `autoscaling`: their autoscaler keeps them within its bounds and, in a cluster that measures pods, gives
them as many pods as their load needs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cluster.base import apply
from tests.cluster.installation import NAMESPACE, URL, Installation, wait_until
from tests.cluster.kubectl import kubectl, kubectl_json, node_parts
from tests.e2e.commands import run

Deploy = Callable[..., Any]

MODULE = "colorsys"
AUTOSCALING = {"min_replicas": 2, "max_replicas": 4, "target_cpu": 80}


STILL = {"spec": {"behavior": {"scaleUp": {"selectPolicy": "Disabled"}, "scaleDown": {"selectPolicy": "Disabled"}}}}
"""An autoscaler with this leaves any number of pods within its bounds as it is, whatever is measured."""


@pytest.fixture
def module(deployed: Deploy, installation: Installation) -> Any:
    """A module with autoscaling that ignores the load, all of whose pods are ready."""
    made = deployed(MODULE, autoscaling=AUTOSCALING)
    kubectl("-n", NAMESPACE, "patch", "hpa", MODULE, "--type=merge", "-p", json.dumps(STILL))
    wait_until(lambda: ready(installation) == AUTOSCALING["min_replicas"])
    return made


def is_measured() -> bool:
    return "metrics.k8s.io" in kubectl("api-versions")


@pytest.fixture
def unmeasured() -> Iterator[None]:
    """The cluster has no metrics API, or not during the test."""
    found = kubectl_json("get", "apiservices")["items"]
    services = [each for each in found if each["spec"].get("group") == "metrics.k8s.io"]
    if services:
        node_parts()  # only on a cluster that is there for tests
    for each in services:
        kubectl("delete", "apiservice", each["metadata"]["name"])
    wait_until(lambda: not is_measured())
    yield
    for each in services:
        kept = {key: each["metadata"][key] for key in ("name", "labels") if key in each["metadata"]}
        apply([{"apiVersion": each["apiVersion"], "kind": each["kind"], "metadata": kept, "spec": each["spec"]}])
    if services:
        wait_until(is_measured)
        wait_until(lambda: "CPU" in kubectl("top", "node", check=False))


def scaler() -> Any:
    """The module's autoscaler; None where it has none."""
    found = kubectl_json("-n", NAMESPACE, "get", "hpa", "-l", f"app.kubernetes.io/name={MODULE}")["items"]
    return found[0] if found else None


def bounds() -> tuple[int, int]:
    spec = scaler()["spec"]
    return spec["minReplicas"], spec["maxReplicas"]


def replicas() -> int:
    return int(kubectl_json("-n", NAMESPACE, "get", "deployment", MODULE)["spec"]["replicas"])


def ready(installation: Installation) -> int:
    return int(installation.module(MODULE)["status"]["ready_replicas"])


def scale_by_kubectl(count: int) -> None:
    kubectl("-n", NAMESPACE, "scale", "deployment", MODULE, f"--replicas={count}")


def changed(installation: Installation, **changes: Any) -> Any:
    """The module once all of its pods are as that says."""
    response = installation.http.patch(f"/v1/modules/{MODULE}", json=changes)
    assert response.status_code == 200, response.text
    return response.json()


def test_a_module_has_an_autoscaler_of_its_own(module: Any, installation: Installation) -> None:
    assert module["spec"]["replicas"] == replicas() == 2
    made = scaler()
    assert [each["uid"] for each in made["metadata"]["ownerReferences"]] == [module["uid"]]
    assert made["spec"]["scaleTargetRef"]["name"] == made["metadata"]["name"] == MODULE
    assert bounds() == (2, 4)
    assert made["spec"]["metrics"][0]["containerResource"]["target"]["averageUtilization"] == 80
    scale_by_kubectl(3)
    wait_until(lambda: installation.module(MODULE)["spec"]["replicas"] == 3)
    again = installation.create(MODULE, autoscaling=AUTOSCALING)
    assert again.status_code == 200, again.text
    assert (again.json()["generation"], again.json()["spec"]["replicas"]) == (module["generation"], 3)


@pytest.mark.parametrize(("count", "kept"), [(1, 2), (5, 4)])
def test_it_keeps_the_pods_within_its_bounds(module: Any, installation: Installation, count: int, kept: int) -> None:
    scale_by_kubectl(count)
    wait_until(lambda: replicas() == kept)
    wait_until(lambda: ready(installation) == kept)


def test_it_doesnt_stay_without_pods(module: Any, installation: Installation) -> None:
    scale_by_kubectl(0)
    wait_until(lambda: replicas() == AUTOSCALING["min_replicas"])
    wait_until(lambda: ready(installation) == AUTOSCALING["min_replicas"])


def test_an_autoscaler_deleted_by_kubectl_is_made_anew(module: Any, installation: Installation) -> None:
    before = scaler()["metadata"]["uid"]
    kubectl("-n", NAMESPACE, "delete", "hpa", MODULE)
    wait_until(lambda: (made := scaler()) and made["metadata"]["uid"] != before)
    assert bounds() == (2, 4)


def test_other_bounds_bring_the_pods_within_them(module: Any, installation: Installation) -> None:
    more = changed(installation, autoscaling={"min_replicas": 3})
    assert (more["status"]["ready_replicas"], bounds()) == (3, (3, 4))
    less = changed(installation, autoscaling={"min_replicas": 1, "max_replicas": 1})
    assert (less["status"]["ready_replicas"], bounds()) == (1, (1, 1))
    assert {pod["name"] for pod in less["status"]["pods"]} < {pod["name"] for pod in more["status"]["pods"]}
    assert replicas() == 1


def test_an_update_keeps_how_many_pods_there_are(module: Any, installation: Installation) -> None:
    scale_by_kubectl(3)
    wait_until(lambda: ready(installation) == 3)
    updated = changed(installation, env={"A": "1"})
    assert (updated["spec"]["replicas"], updated["status"]["ready_replicas"], replicas()) == (3, 3, 3)
    assert bounds() == (2, 4)


def test_nobody_else_says_how_many_pods_there_are(module: Any, installation: Installation) -> None:
    for response in (
        installation.http.post(f"/v1/modules/{MODULE}:scale", json={"replicas": 3}),
        installation.http.patch(f"/v1/modules/{MODULE}", json={"replicas": 3}),
    ):
        assert response.status_code == 400, response.text
        assert response.json()["details"][0]["reason"] == "SPEC_INVALID"
        assert "change `autoscaling`" in response.json()["message"]
    assert replicas() == 2


def test_without_autoscaling_there_is_no_autoscaler(module: Any, installation: Installation) -> None:
    assert changed(installation, autoscaling=None)["spec"]["replicas"] == 2
    assert scaler() is None
    assert changed(installation, replicas=1)["status"]["ready_replicas"] == replicas() == 1
    changed(installation, autoscaling=AUTOSCALING)
    assert bounds() == (2, 4)


def test_a_command_ends_it(module: Any) -> None:
    done = run("create", MODULE, "--update", "--max-replicas", "0", "--replicas", "1", JAC_ORC_URL=URL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (scaler(), replicas()) == (None, 1)


def test_it_goes_with_its_module(module: Any, installation: Installation) -> None:
    installation.delete(MODULE)
    wait_until(lambda: scaler() is None)


def doctor(variables: dict[str, str]) -> Any:
    """What the doctor finds about autoscaling."""
    done = run("doctor", "-o", "json", **variables)
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == any(check["state"] == "fault" for check in checks.values()), done.stdout + done.stderr
    return checks["autoscaling"]


def test_the_doctor_tells_that_nothing_is_measured(module: Any, unmeasured: None, variables: dict[str, str]) -> None:
    found = doctor(variables)
    assert found["state"] == "fault" and "install metrics-server" in found["fix"]
    assert "metrics.k8s.io" in found["found"] and MODULE in found["found"]


def test_load_brings_more_pods_and_no_call_fails(
    deployed: Deploy, installation: Installation, variables: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    if not is_measured():
        pytest.skip("needs a cluster with metrics-server")
    deployed(MODULE, autoscaling={"min_replicas": 1, "max_replicas": 3, "target_cpu": 25}, resources={"cpu": "200m"})
    assert replicas() == 1
    begin = time.monotonic()
    with installation.load(MODULE, "rgb_to_hsv", 0.1, 0.2, 0.3, rate=100) as calls:
        wait_until(lambda: ready(installation) > 1, 180)
        seconds = time.monotonic() - begin
    with capsys.disabled():
        print(f"\n  {MODULE} has {ready(installation)} pods {seconds:.0f} s after the load began: {calls}")
    assert calls.failed == 0, calls
    assert doctor(variables)["state"] == "ok"
