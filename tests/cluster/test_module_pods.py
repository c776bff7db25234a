"""What a module's pods may see and do, and how a cluster's operators deal with them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.installation import NAMESPACE, Installation, wait_until
from tests.cluster.kubectl import kubectl, kubectl_json
from tests.unit.source_parts import zip_of

Deploy = Callable[..., Any]

SPY = """
import os
from importlib.metadata import metadata
from pathlib import Path

def below(folder):
    return sorted(os.path.join(at, name) for at, folders, files in os.walk(folder) for name in [*folders, *files])

def read(path):
    return Path(path).read_text()

def write(path):
    Path(path).write_text("x")

def seen_by_build():
    return metadata("orc_spy")["Summary"].split()
"""
BACKEND = """
import os
from pathlib import Path
from zipfile import ZipFile

def metadata():
    seen = " ".join(os.listdir("/store/sources"))
    return f"Metadata-Version: 2.1\\nName: orc_spy\\nVersion: 1\\nSummary: {seen}\\n"

def prepare_metadata_for_build_wheel(directory, config_settings=None):
    info = Path(directory, "orc_spy-1.dist-info")
    info.mkdir()
    info.joinpath("METADATA").write_text(metadata())
    return info.name

def build_wheel(directory, config_settings=None, metadata_directory=None):
    about = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    with ZipFile(Path(directory, "orc_spy-1-py3-none-any.whl"), "w") as wheel:
        for name, text in (("METADATA", metadata()), ("WHEEL", about), ("RECORD", "")):
            wheel.writestr(f"orc_spy-1.dist-info/{name}", text)
    return Path(wheel.filename).name
"""
PROJECT = """
[project]
name = "orc_spy"
version = "1"
dynamic = ["dependencies"]
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


def zipped(**files: str) -> dict[str, str]:
    """A module spec's source of these files, by their names without `.py`."""
    entries = [(f"{name}.py" if "." not in name else name, text.encode()) for name, text in files.items()]
    return {"zip": base64.b64encode(zip_of(*entries)).decode()}


def pods(name: str) -> list[Any]:
    """The pods of a module that aren't ending."""
    found = kubectl_json("-n", NAMESPACE, "get", "pods", "-l", f"jac-orc.dev/module={name}")["items"]
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def evict(pod: str) -> str:
    """What the API server answers to an eviction."""
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction"
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": NAMESPACE}}
    return kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction), check=False)


def budget(name: str) -> Any:
    return kubectl_json("-n", NAMESPACE, "get", "pdb", "-l", f"jac-orc.dev/module={name}")["items"][0]


def test_a_pod_that_hangs_can_be_evicted(installation: Installation) -> None:
    source = zipped(orc_hangs="import time\ntime.sleep(3600)\n")
    spec = {"module_name": "orc_hangs", "source": source}
    try:
        assert installation.http.post("/v1/modules?wait=false", json=spec).status_code == 200
        (hung,) = wait_until(lambda: [pod for pod in pods("orc_hangs") if pod["status"]["phase"] == "Running"])
        wait_until(lambda: budget("orc_hangs")["status"].get("expectedPods") == 1)
        assert "Success" in evict(hung["metadata"]["name"])
        wait_until(lambda: [pod for pod in pods("orc_hangs") if pod["metadata"]["uid"] != hung["metadata"]["uid"]])
    finally:
        installation.delete("orc_hangs")


def test_pods_that_answer_are_evicted_one_at_a_time(installation: Installation, deployed: Deploy) -> None:
    deployed("colorsys", replicas=2)
    wait_until(lambda: budget("colorsys")["status"].get("disruptionsAllowed") == 1)
    one, other = (pod["metadata"]["name"] for pod in pods("colorsys"))
    assert "Success" in evict(one)
    assert "disruption budget" in evict(other)
    wait_until(lambda: installation.module("colorsys")["status"]["ready_replicas"] == 2)


def test_the_budget_of_an_older_version_is_changed(installation: Installation, deployed: Deploy) -> None:
    deployed("colorsys")
    older = [
        {"op": "remove", "path": "/spec/unhealthyPodEvictionPolicy"},
        {"op": "remove", "path": "/metadata/annotations"},
    ]
    kubectl("-n", NAMESPACE, "patch", "pdb", "colorsys", "--type=json", "-p", json.dumps(older))
    wait_until(lambda: budget("colorsys")["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow")


def test_a_module_sees_its_own_source_alone(installation: Installation, deployed: Deploy) -> None:
    code = zipped(orc_secret="PASSWORD = 'hunter2'\ndef where(): return __file__\n")
    digest = deployed("orc_secret", source=code)["spec"]["source"]["uploaded"]["digest"]
    assert installation.call("orc_secret", "where").json()["result"] == "/tmp/work/orc_secret.py"
    secret = f"/store/sources/{digest.removeprefix('sha256:')}/tree/orc_secret.py"
    source = zipped(orc_spy=SPY, backend=BACKEND, **{"pyproject.toml": PROJECT})
    digest = deployed("orc_spy", source=source)["spec"]["source"]["uploaded"]["digest"]
    own = f"/store/sources/{digest.removeprefix('sha256:')}"
    found = installation.call("orc_spy", "below", "/store").json()["result"]
    assert found and [path for path in found if not f"{own}/".startswith(f"{path}/") and not path.startswith(own)] == []
    assert installation.call("orc_spy", "seen_by_build").json()["result"] == [digest.removeprefix("sha256:")]
    for method, path in (
        ("read", secret),
        ("read", f"{own}/../../locks"),
        ("write", f"{own}/x"),
        ("write", "/store/x"),
    ):
        refused = installation.call("orc_spy", method, path)
        assert refused.status_code >= 400 and "hunter2" not in refused.text, (method, path)


def test_a_module_sees_its_own_environment_alone(installation: Installation, deployed: Deploy) -> None:
    for name in ("orc_spy_one", "orc_spy_two"):
        info = f"{name}-1.dist-info"
        wheel = zip_of(
            (f"{name}.py", SPY.encode()),
            (f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n".encode()),
            (f"{info}/WHEEL", b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
            (f"{info}/RECORD", b""),
        )
        data = base64.b64encode(wheel).decode()
        made = deployed(name, source={"wheel": {"file_name": f"{name}-1-py3-none-any.whl", "data": data}})
        own = f"/store/environments/{made['status']['environment']['digest']}"
        assert installation.call(name, "below", "/store/sources").json()["result"] == []
        found = installation.call(name, "below", "/store").json()["result"]
        assert f"{own}/lock.json" in found
        assert [path for path in found if path not in ("/store/environments", own) and not path.startswith(own)] == []
        assert installation.call(name, "write", f"{own}/x").status_code >= 400


def test_a_pod_that_fills_its_tmp_is_replaced(installation: Installation, deployed: Deploy) -> None:
    source = zipped(orc_fills="def fill():\n    open('/tmp/large', 'wb').write(bytes(64 << 20))\n")
    deployed("orc_fills", source=source, resources={"tmp": "8Mi"})
    (pod,) = pods("orc_fills")
    assert installation.call("orc_fills", "fill").status_code == 200
    path = ("-n", NAMESPACE, "get", "pod", pod["metadata"]["name"])
    evicted = wait_until(lambda: (now := kubectl_json(*path))["status"].get("reason") == "Evicted" and now)
    assert 'EmptyDir volume "tmp"' in evicted["status"]["message"]
    wait_until(lambda: installation.module("orc_fills")["status"].get("ready_replicas") == 1)


_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_NEVER = {"key": "a", "operator": "Never"}
PLACED: dict[str, Any] = {
    "labels": {"team": "a"},
    "annotations": {"prometheus.io/scrape": "true"},
    "node_selector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoExecute", "toleration_seconds": 60}],
    "affinity": {
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 50,
                    "podAffinityTerm": {
                        "topologyKey": "kubernetes.io/hostname",
                        "labelSelector": {"matchLabels": {"team": "a"}},
                    },
                }
            ]
        }
    },
    "resources": {"cpu": "50m", "cpu_limit": "500m", "memory": "128Mi", "memory_limit": "256Mi"},
}


def test_pods_are_placed_as_the_spec_says(installation: Installation, deployed: Deploy) -> None:
    made = deployed("colorsys", **PLACED)
    assert {name: made["spec"][name] for name in ("labels", "annotations", "node_selector", "affinity")} == {
        name: PLACED[name] for name in ("labels", "annotations", "node_selector", "affinity")
    }
    (pod,) = pods("colorsys")
    spec, metadata = pod["spec"], pod["metadata"]
    assert (metadata["labels"]["team"], metadata["annotations"]["prometheus.io/scrape"]) == ("a", "true")
    assert spec["nodeSelector"] == PLACED["node_selector"] and spec["affinity"] == PLACED["affinity"]
    assert {"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60} in spec["tolerations"]
    assert spec["containers"][0]["resources"]["requests"] == {"cpu": "50m", "memory": "128Mi"}
    assert spec["containers"][0]["resources"]["limits"] == {"cpu": "500m", "memory": "256Mi"}
    changed = installation.http.patch("/v1/modules/colorsys", json={"labels": {"team": "b"}, "affinity": None})
    assert changed.status_code == 200, changed.text
    (replaced,) = pods("colorsys")
    assert replaced["metadata"]["labels"]["team"] == "b" and "affinity" not in replaced["spec"]


def test_accounts_and_priorities(installation: Installation, deployed: Deploy) -> None:
    priority = {
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "orc-test"}, "value": -7,
    }  # fmt: skip
    kubectl("apply", "-f", "-", stdin=json.dumps(priority))
    try:
        deployed("colorsys", priority_class="orc-test")
        assert [pod["spec"]["priority"] for pod in pods("colorsys")] == [-7]
    finally:
        kubectl("delete", "priorityclass", "orc-test")
    missing = installation.create("statistics", priority_class="orc-none")
    assert missing.status_code >= 400 and "orc-none" in missing.json()["message"]
    account = installation.create("statistics", service_account="default")
    assert account.json()["details"][0]["reason"] == "POLICY_REFUSED"
    assert installation.module("statistics") is None


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"labels": {"app.kubernetes.io/name": "jac-orc-gateway"}}, "labels[app.kubernetes.io/name]"),
        ({"annotations": {"sidecar.istio.io/inject": "false"}}, "annotations[sidecar.istio.io/inject]"),
        ({"tolerations": [{"key": "node-role.kubernetes.io/control-plane"}]}, "tolerations[0].key"),
        ({"priority_class": "system-cluster-critical"}, "priority_class"),
        ({"affinity": {"nodeName": "x"}}, "affinity"),
        ({"affinity": {"nodeAffinity": {"nodeName": "x"}}}, "affinity.nodeAffinity.nodeName"),
        ({"affinity": {"nodeAffinity": {_REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [_NEVER]}]}}}},
         f"affinity.nodeAffinity.{_REQUIRED}.nodeSelectorTerms[0].matchExpressions[0].operator"),
    ],
    ids=str,
)  # fmt: skip
def test_what_a_spec_may_not_say(installation: Installation, spec: dict[str, Any], field: str) -> None:
    for answer in (installation.create("statistics", **spec), plan("statistics", installation, spec)):
        assert answer.json()["details"][0]["reason"] == "SPEC_INVALID", answer.text
        assert answer.json()["details"][1]["field_violations"][0]["field"] == field, answer.text
    assert installation.module("statistics") is None


def plan(name: str, installation: Installation, spec: dict[str, Any]) -> Any:
    return installation.http.post("/v1/modules:plan", json={"module_name": name, **spec})
