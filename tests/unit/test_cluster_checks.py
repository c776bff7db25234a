"""What `jac-orc doctor` makes of a cluster's objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from jac_orc.cli import cluster_checks
from jac_orc.cli.checks import Check, State
from jac_orc.cli.forward import Cluster

NOW = 1_790_000_000.0
SINCE = "2026-09-21T13:20:00Z"  # 53 minutes before
CLUSTER = Cluster("c", "n")
KUSTOMIZE = Path(__file__).parents[2] / "kustomize"


def deployment(replicas: int = 1, ready: int = 0, *conditions: dict[str, Any]) -> dict[str, Any]:
    return {
        "metadata": {"name": "d"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "d"}}},
        "status": {"readyReplicas": ready, "conditions": list(conditions)},
    }


def pod(name: str = "p", since: str = SINCE, *conditions: dict[str, str], **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "uid": f"u-{name}", "creationTimestamp": since},
        "status": {"phase": "Pending", "conditions": list(conditions), **status},
    }


def condition(kind: str, status: str, message: str = "", reason: str = "") -> dict[str, str]:
    return {"type": kind, "status": status, "message": message, "reason": reason, "lastTransitionTime": SINCE}


def waiting(reason: str, message: str = "", name: str = "c") -> dict[str, Any]:
    return {"name": name, "image": "i", "state": {"waiting": {"reason": reason, "message": message}}}


def workload(found: dict[str, Any] | None, *pods: dict[str, Any], events: Sequence[Any] = ()) -> Check:
    return cluster_checks.workload("pod manager", "d", found, pods, events, NOW, CLUSTER)


def is_fault(check: Check, *told: str) -> bool:
    """Whether it is a fault with a fix, of which all of that is told."""
    assert check.state is State.FAULT and check.fix, check
    assert all(text in check.found + " " + check.fix for text in told), check
    return True


@pytest.mark.parametrize(
    ("version", "is_old"), [("v1.34.4", False), ("v1.30.0-eks-1", False), ("v1.29.9+k3s1", True), ("v1.23.1", True)]
)
def test_versions(version: str, is_old: bool) -> None:
    check = cluster_checks.version("API server", {"major": "1", "minor": "x", "gitVersion": version})
    assert is_fault(check, version, "1.30") if is_old else check.state is State.OK


def test_a_server_without_a_version() -> None:
    assert is_fault(cluster_checks.version("API server", {}))


def test_the_manifests_need_that_version() -> None:
    assert cluster_checks.LEAST_VERSION == (1, 30)
    assert any("sleep:" in file.read_text() for file in KUSTOMIZE.rglob("*.yaml"))


def test_workloads_that_are_well() -> None:
    assert workload(deployment(2, 2)).state is State.OK
    surging = pod("new", SINCE, condition("Ready", "False"), containerStatuses=[waiting("ContainerCreating")])
    assert workload(deployment(1, 1), surging).state is State.OK
    evicted = pod("old", phase="Failed")
    assert workload(deployment(1, 1), evicted).state is State.OK


def test_workloads_that_are_not() -> None:
    assert is_fault(workload(None), "no Deployment d", "kubectl --context c apply -k")
    assert is_fault(workload(deployment(0)), "scaled to no pod", "--replicas 1")
    quota = condition("ReplicaFailure", "True", 'pods "d-1" is forbidden: exceeded quota')
    assert is_fault(workload(deployment(1, 0, quota)), "quota", "describe replicaset,pod --selector app=d")
    creating = pod(containerStatuses=[waiting("ContainerCreating")])
    assert is_fault(
        workload(deployment(), creating),
        "0 of 1 pods ready; a container waits: ContainerCreating",
        "describe replicaset,pod",
    )
    running = pod(containerStatuses=[{"name": "c", "state": {"running": {}}}])
    assert is_fault(workload(deployment(), running), "0 of 1 pods ready")
    told = [("FailedMount", "no volume", "u-p"), ("FailedMount", 'secret "s" not found', "u-p")]
    told += [("FailedMount", "another pod's", "u-q")]
    events = [
        {"reason": why, "message": text, "lastTimestamp": f"2026-09-21T13:20:0{n}Z", "involvedObject": {"uid": uid}}
        for n, (why, text, uid) in enumerate(told)
    ]
    for ready in (0, 1):  # those of the last rollout may be ready still
        assert is_fault(workload(deployment(1, ready), creating, events=events), 'p waits: secret "s" not found')
    assert workload(deployment(1, 1), running, events=events).state is State.OK


def test_pods_that_cannot_become_ready() -> None:
    unpulled = waiting("ImagePullBackOff", "Back-off pulling")
    assert is_fault(workload(deployment(), pod(containerStatuses=[unpulled])), "the pod p: the image i", "`images`")
    ahead = pod(initContainerStatuses=[unpulled], containerStatuses=[waiting("PodInitializing")])
    assert is_fault(workload(deployment(), ahead), "the pod p: the image i")
    ended = {"exitCode": 2, "reason": "Error", "message": "no store"}
    crashing = {**waiting("CrashLoopBackOff"), "restartCount": 3, "lastState": {"terminated": ended}}
    told = ("exit code 2, 4 times", "no store", f"{CLUSTER.kubectl} logs p --all-containers --previous")
    assert is_fault(workload(deployment(), pod(containerStatuses=[crashing])), *told)
    stuck = pod("p", SINCE, condition("PodScheduled", "False", "0/1 nodes are available", "Unschedulable"))
    assert is_fault(workload(deployment(), stuck), "0/1 nodes are available", "describe pod p")


def test_an_image_that_can_not_be_pulled_for_an_upgrade() -> None:
    """The former pod serves on, so the Deployment has as many ready pods as it wants."""
    for reason in ("ErrImagePull", "ImagePullBackOff"):
        new = pod("new", SINCE, containerStatuses=[waiting(reason, "no such tag")])
        assert is_fault(
            workload(deployment(1, 1), new), "the pod new", "no such tag", "an image that the nodes can pull"
        )


def test_of_several_pods_the_newest_tells() -> None:
    old = pod("old", "2026-09-21T13:00:00Z", containerStatuses=[waiting("ImagePullBackOff")])
    new = pod("new", SINCE, containerStatuses=[waiting("CreateContainerConfigError", "no config map")])
    assert is_fault(workload(deployment(1, 1), old, new), "the pod new", "no config map")


def claim(phase: str = "Pending", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "store"}, "spec": spec, "status": {"phase": phase}}


def store(found: dict[str, Any], *classes: str, events: tuple[str, ...] = ()) -> Check:
    documents = [{"metadata": {"name": each}} for each in classes]
    told = [{"message": text, "lastTimestamp": f"2026-09-21T13:20:0{9 - n}Z"} for n, text in enumerate(events)]
    return cluster_checks.store("store", found, documents, [], told, CLUSTER)


def test_the_store() -> None:
    bound = claim("Bound")
    bound["status"]["capacity"] = {"storage": "50Gi"}
    assert store(bound).state is State.OK
    assert is_fault(store(claim()), "no default one", "there are: none", "node-local-store")
    assert is_fault(store(claim(storageClassName="x"), "fast", "slow"), "no storage class x", "fast, slow")
    refused = store(claim(storageClassName="fast"), "fast", events=("only ReadWriteOnce", "older"))
    assert is_fault(refused, "is pending: only ReadWriteOnce")
    assert is_fault(store(claim(storageClassName="y", volumeName="v"), "fast"), "its storage class is y")
    assert is_fault(store(claim("Lost", storageClassName="fast"), "fast"), "is lost")


def volume(name: str, phase: str, of: str, claimed_by: str = "") -> dict[str, Any]:
    namespace, _, claim_name = claimed_by.partition("/")
    claimed = {"claimRef": {"namespace": namespace, "name": claim_name}} if claimed_by else {}
    return {"metadata": {"name": name}, "spec": {"storageClassName": of, **claimed}, "status": {"phase": phase}}


def released(found: dict[str, Any], *classes: str, name: str = "jac-orc-store", of: str = "local") -> Check:
    claimed_by = f"{CLUSTER.namespace}/store"
    volumes = [volume("other", "Available", of), volume(name, "Released", of, claimed_by)]
    documents = [{"metadata": {"name": each}} for each in classes]
    return cluster_checks.store("store", found, documents, volumes, [], CLUSTER)


def test_a_volume_that_a_former_claim_has_left() -> None:
    left = released(claim(storageClassName="local"))
    mends = f"{CLUSTER.kubectl} delete pv jac-orc-store, and then again {CLUSTER.install}"
    assert is_fault(left, "is pending: the PersistentVolume jac-orc-store is still", mends)
    assert is_fault(released(claim(storageClassName="", volumeName="v"), name="v", of=""), "delete pv v,")
    for other in (
        released(claim(storageClassName="local"), "local"),  # of a class that makes new ones
        released(claim(storageClassName="local"), of="another"),
        released(claim(), of=""),
    ):
        assert "delete pv" not in other.fix
    assert released(claim("Bound", storageClassName="local")).state is State.OK


def test_a_volume_of_another_install_is_not_ours() -> None:
    found = claim(storageClassName=cluster_checks.NODE_LOCAL)
    of_another = volume("first", "Bound", cluster_checks.NODE_LOCAL, "first/store")
    for volumes in ([of_another], [{**of_another, "status": {"phase": "Released"}}]):
        check = cluster_checks.store("store", found, [], volumes, [], CLUSTER)
        assert is_fault(check, "no PersistentVolume for it", "apply -k")
    ours = volume("second", "Available", cluster_checks.NODE_LOCAL, f"{CLUSTER.namespace}/store")
    waits = cluster_checks.store("store", found, [], [of_another, ours], [], CLUSTER)
    assert "no PersistentVolume" not in waits.found


def refusal(uid: str, message: str, moment: str = SINCE, kind: str = "Job") -> dict[str, Any]:
    return {"involvedObject": {"kind": kind, "name": uid, "uid": uid}, "message": message, "lastTimestamp": moment}


def test_pods_that_were_refused() -> None:
    happened = NOW - 3200

    def check(*events: dict[str, Any], makers: tuple[dict[str, Any], ...] = (), later: float = 5) -> list[Check]:
        return cluster_checks.refusals("refused pods", events, makers, happened + later, CLUSTER)

    full = refusal("j", 'Error creating: pods "j-x" is forbidden: exceeded quota: small')
    before = refusal("j", full["message"].replace("j-x", "j-y"), SINCE.replace(":20:", ":19:"))
    (found,) = check(full, before)
    assert is_fault(found, "Job j, 5 s ago: the cluster's quota", "exceeded quota: small", "edit resourcequota")
    security = 'Error creating: pods "r-x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot'
    of_set = refusal("r", security, kind="ReplicaSet")
    (found,) = check(of_set)
    assert is_fault(found, "ReplicaSet r", "violates PodSecurity", "pod-security.kubernetes.io/enforce=baseline")
    assert len(check(full, of_set)) == 2
    assert check(full, later=3600) == []
    made = {"metadata": {"uid": "j"}, "spec": {}, "status": {"active": 1}}
    waiting = {"metadata": {"uid": "r"}, "spec": {"replicas": 1}, "status": {"replicas": 0}}
    (found,) = check(full, of_set, makers=(made, waiting))
    assert found.found.startswith("ReplicaSet r")


def test_a_node_port_that_another_service_has() -> None:
    found: dict[str, dict[str, Any] | None] = {"jac-orc-xds": {}, "jac-orc-gateway": None}
    other = {"metadata": {"name": "front", "namespace": "first"}, "spec": {"ports": [{"nodePort": 30080}]}}
    told = (
        "no Service jac-orc-gateway; node port 30080 belongs to the Service front in the namespace first",
        "nodePort",
    )
    assert is_fault(cluster_checks.services("services", found, [other], CLUSTER), *told)
    nothing = cluster_checks.services("services", {**found, "jac-orc-xds": None}, [other], CLUSTER)
    assert is_fault(nothing, "apply -k") and "node port" not in nothing.found


def test_services() -> None:
    there = cluster_checks.services("services", {"a": {}, "b": {}}, [], CLUSTER)
    assert there.state is State.OK and there.found == "a, b"
    missing = cluster_checks.services("services", {"a": {}, "b": None, "c": None}, [], CLUSTER)
    assert is_fault(missing, "there is no Service b, c", "kubectl --context c apply -k")


def test_a_service_that_is_a_way_in() -> None:
    def check(kind: str, *addresses: dict[str, str]) -> list[Check]:
        ports = [{"name": "http", "port": 80, "nodePort": 30080}, {"name": "grpc", "port": 8081, "nodePort": 30081}]
        status = {"loadBalancer": {"ingress": list(addresses)} if addresses else {}}
        document = {"metadata": {"name": "s"}, "spec": {"type": kind, "ports": ports}, "status": status}
        return cluster_checks.open_service(document, CLUSTER)

    assert check("ClusterIP") == []
    assert check("NodePort") == [Check("Service s", State.OK, "port 30080 of each node")]
    (balanced,) = check("LoadBalancer", {"ip": "192.0.2.1"}, {"hostname": "lb.example"})
    assert balanced == Check("Service s", State.OK, "port 80 at 192.0.2.1, lb.example")
    (waits,) = check("LoadBalancer")
    assert is_fault(waits, "no controller has given it an address", "describe service s")


def test_autoscaling() -> None:
    scalers = [{"metadata": {"name": "math"}}, {"metadata": {"name": "shop"}}]
    assert cluster_checks.autoscaling("autoscaling", scalers, True, CLUSTER).state is State.OK
    unmeasured = cluster_checks.autoscaling("autoscaling", scalers, False, CLUSTER)
    assert is_fault(unmeasured, "no metrics.k8s.io", "math, shop", "install metrics-server")


def test_ingresses() -> None:
    classes = {"nginx": {"spec": {"controller": "example.com/nginx"}}}

    def check(status: dict[str, Any], **spec: Any) -> Check:
        document = {"metadata": {"name": "rest"}, "spec": spec, "status": status}
        return cluster_checks.way_in("Ingress", document, classes, CLUSTER)

    address = {"loadBalancer": {"ingress": [{"hostname": "lb.example"}, {"ip": "192.0.2.1"}]}}
    taken = check(address, ingressClassName="nginx")
    assert taken.state is State.OK and "lb.example, 192.0.2.1" in taken.found
    assert is_fault(check(address), "names no class", "settings.yaml", "nginx")
    assert is_fault(check(address, ingressClassName="x"), "no IngressClass x", "settings.yaml", "there are: nginx")
    assert is_fault(check({}, ingressClassName="nginx"), "no controller", "example.com/nginx")
    metadata = {"name": "rest", "annotations": {"kubernetes.io/ingress.class": "old"}}
    annotated = {"metadata": metadata, "spec": {}, "status": address}
    assert cluster_checks.way_in("Ingress", annotated, classes, CLUSTER).state is State.OK


def test_gateways() -> None:
    def check(*conditions: dict[str, str], of_class: str = "contour", **status: Any) -> Check:
        document = {
            "metadata": {"name": "public"}, "spec": {"gatewayClassName": of_class},
            "status": {"conditions": list(conditions), **status},
        }  # fmt: skip
        classes = {"contour": {"metadata": {"name": "contour"}, "spec": {"controllerName": "example.com/contour"}}}
        return cluster_checks.way_in("Gateway", document, classes, CLUSTER)

    taken = check(condition("Programmed", "True"), addresses=[{"value": "192.0.2.1"}])
    assert taken.state is State.OK and "192.0.2.1" in taken.found
    assert check(condition("Programmed", "True")).state is State.OK
    assert is_fault(check(), "no controller has given it an address", "example.com/contour", "describe gateway public")
    refused = check(condition("Accepted", "True"), condition("Programmed", "False", "no address"))
    assert is_fault(refused, "no controller has given it an address: no address")
    assert is_fault(check(of_class="x"), "no GatewayClass x", "settings.yaml")
