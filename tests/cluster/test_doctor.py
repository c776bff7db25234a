"""`jac-orc doctor` on a namespace in which everything is well, and on others in which something is wrong on purpose."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.base import ROOT, Document, apply, base
from tests.cluster.installation import wait_until
from tests.cluster.kubectl import kubectl, kubectl_json
from tests.e2e.commands import refusal, run


@pytest.fixture
def doctor(variables: dict[str, str]) -> Callable[..., dict[str, Any]]:
    """What the doctor finds in a namespace, by the names of the checks; `code` is how it must end."""

    def examine(namespace: str, code: int = 1, **more: str) -> dict[str, Any]:
        done = run("doctor", "--namespace", namespace, "-o", "json", **{**variables, **more})
        assert done.returncode == code, done.stdout + done.stderr
        return {check.pop("name"): check for check in json.loads(done.stdout)["checks"]}

    return examine


def is_fault(check: dict[str, str], *told: str) -> bool:
    """Whether it is a fault with a fix, of which all of that is told."""
    assert check["state"] == "fault" and check["fix"], check
    assert all(text in check["found"] + " " + check["fix"] for text in told), check
    return True


def test_a_system_that_is_well(doctor: Callable[..., dict[str, Any]], system: str, variables: dict[str, str]) -> None:
    found = doctor(system, 0)
    assert list(found) == [
        "API server", "namespace", "pod manager", "rights", "store", "gateway", "services", "way in", "answer",
    ]  # fmt: skip
    assert found.pop("way in")["state"] == "skipped"
    assert {check["state"] for check in found.values()} == {"ok"}
    current = {"KUBECONFIG": variables["KUBECONFIG"], "PATH": variables["PATH"], "JAC_ORC_NAMESPACE": system}
    printed = run("doctor", **current)
    assert printed.returncode == 0 and "CHECK " in printed.stdout


def test_no_namespace(doctor: Callable[..., dict[str, Any]]) -> None:
    found = doctor("orc-nowhere")
    assert found.pop("API server")["state"] == "ok"
    assert is_fault(found.pop("namespace"), "no namespace orc-nowhere", "apply -k kustomize/overlays")
    assert {check["state"] for check in found.values()} == {"skipped"}


def test_a_namespace_that_is_being_deleted(doctor: Callable[..., dict[str, Any]], namespace: str) -> None:
    metadata = {"name": "held", "namespace": namespace, "finalizers": ["jac-orc.dev/test"]}
    apply([{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}])
    kubectl("delete", "namespace", namespace, "--wait=false")
    try:
        found = doctor(namespace)
        assert is_fault(found.pop("namespace"), "is being deleted", "wait --for=delete", "apply -k")
        assert found.pop("API server")["state"] == "ok"
        assert {check["state"] for check in found.values()} == {"skipped"}
    finally:
        kubectl(
            "-n", namespace, "patch", "configmap", "held", "--type=merge", '--patch={"metadata":{"finalizers":null}}'
        )


def test_an_empty_namespace(doctor: Callable[..., dict[str, Any]], namespace: str) -> None:
    found = doctor(namespace)
    assert is_fault(found["pod manager"], "no Deployment jac-orc-pod-manager")
    assert is_fault(found["gateway"], "no Deployment jac-orc-gateway")
    assert is_fault(found["rights"], "get, list, watch", "apply -f kustomize/base/pod-manager/role.yaml")
    assert is_fault(found["store"], "no PersistentVolumeClaim jac-orc-store")
    services = "no Service jac-orc-pod-manager, jac-orc-xds, jac-orc-gateway"
    assert is_fault(found["services"], services, "apply -k kustomize/overlays")
    assert is_fault(found["answer"], "no Service jac-orc-gateway")


def mend(check: dict[str, str]) -> None:
    """Does what the fix says, a command of kubectl."""
    program, *arguments = check["fix"].split()
    assert program == "kubectl"
    kubectl(*(str(ROOT / each) if each.startswith("kustomize/") else each for each in arguments))


def test_rights_that_are_missing(doctor: Callable[..., dict[str, Any]], namespace: str) -> None:
    documents = base(namespace, "Role", "RoleBinding", "ServiceAccount")
    apply(documents)
    assert doctor(namespace)["rights"]["state"] == "ok"
    (role,) = (each for each in documents if each["kind"] == "Role")
    rules = [rule for rule in role["rules"] if rule["resources"] not in (["services"], ["pods/log"])]
    apply([{**role, "rules": [*rules, {"apiGroups": [""], "resources": ["services"], "verbs": ["get", "patch"]}]}])
    found = doctor(namespace)["rights"]
    assert is_fault(found, "jac-orc-pod-manager may not get pods/log; create services")
    mend(found)
    assert doctor(namespace)["rights"]["state"] == "ok"
    kubectl("-n", namespace, "delete", "rolebinding", "jac-orc-pod-manager")
    found = doctor(namespace)["rights"]
    assert is_fault(found, "create rolebinding")
    mend(found)
    assert doctor(namespace)["rights"]["state"] == "ok"


def test_someone_who_may_only_look(
    doctor: Callable[..., dict[str, Any]], namespace: str, context: str, tmp_path: Path
) -> None:
    """As no subject may be reviewed by them, the Role itself is compared; what they may not see is skipped."""
    apply(base(namespace, "Role", "RoleBinding", "ServiceAccount"))
    kubectl("-n", namespace, "create", "serviceaccount", "looker")
    role = ("--verb=get,list", "--resource=roles,rolebindings,serviceaccounts,deployments,pods,persistentvolumeclaims")
    kubectl("-n", namespace, "create", "role", "looker", *role)
    kubectl("-n", namespace, "create", "rolebinding", "looker", "--role=looker", f"--serviceaccount={namespace}:looker")
    token = kubectl("-n", namespace, "create", "token", "looker").strip()
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(kubectl("config", "view", "--raw", "--minify", "--flatten", "--context", context))
    kubectl("--kubeconfig", str(kubeconfig), "config", "set-credentials", "looker", "--token", token)
    kubectl("--kubeconfig", str(kubeconfig), "config", "set-context", context, "--user", "looker")
    found = doctor(namespace, KUBECONFIG=str(kubeconfig))
    assert found["rights"]["state"] == "ok"
    for name in ("namespace", "services", "way in"):
        assert found[name]["state"] == "skipped" and "you may not look at it" in found[name]["found"]
    kubectl("-n", namespace, "delete", "rolebinding", "jac-orc-pod-manager")
    assert is_fault(doctor(namespace, KUBECONFIG=str(kubeconfig))["rights"], "create rolebinding")


def test_storage_that_is_not_there(doctor: Callable[..., dict[str, Any]], namespace: str) -> None:
    (claim,) = base(namespace, "PersistentVolumeClaim")
    if not any(is_default(each) for each in kubectl_json("get", "storageclass")["items"]):
        apply([claim])
        assert is_fault(doctor(namespace)["store"], "pending", "no default one", "components/node-local-store")
        kubectl("-n", namespace, "delete", "persistentvolumeclaim", "jac-orc-store")
    claim["spec"]["storageClassName"] = "orc-nowhere"
    apply([claim])
    assert is_fault(doctor(namespace)["store"], "no storage class orc-nowhere", "kustomize/base/store/claim.yaml")


def test_a_volume_that_a_former_claim_has_left(doctor: Callable[..., dict[str, Any]], namespace: str) -> None:
    former = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": "jac-orc-store"}
    volume = {
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": namespace},
        "spec": {
            "storageClassName": namespace, "capacity": {"storage": "50Gi"}, "accessModes": ["ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/tmp"},
            "claimRef": {**former, "uid": "00000000-0000-0000-0000-000000000000"},
        },
    }  # fmt: skip
    (claim,) = base(namespace, "PersistentVolumeClaim")
    claim["spec"]["storageClassName"] = namespace
    try:
        apply([volume])
        wait_until(lambda: kubectl_json("get", "persistentvolume", namespace)["status"].get("phase") == "Released")
        apply([claim])
        wait_until(lambda: doctor(namespace)["store"]["state"] == "fault")
        found = doctor(namespace)["store"]
        assert is_fault(found, "is pending", f"the PersistentVolume {namespace} is still", f"delete pv {namespace}, ")
    finally:
        kubectl("delete", "persistentvolume", namespace, "--ignore-not-found", "--wait=false")


def test_a_node_port_is_a_way_in(doctor: Callable[..., dict[str, Any]], namespace: str) -> None:
    (front,) = (each for each in base(namespace, "Service") if each["metadata"]["name"] == "jac-orc-gateway")
    front["spec"]["type"] = "NodePort"
    apply([front])
    made = kubectl_json("-n", namespace, "get", "service", "jac-orc-gateway")
    (number,) = (each["nodePort"] for each in made["spec"]["ports"] if each["name"] == "http")
    found = doctor(namespace)
    assert is_fault(found["services"], "no Service jac-orc-pod-manager, jac-orc-xds", "apply -k")
    assert found["Service jac-orc-gateway"] == {"state": "ok", "found": f"port {number} of each node", "fix": ""}
    assert "way in" not in found


def is_default(storage_class: Document) -> bool:
    annotations = storage_class["metadata"].get("annotations", {})
    return bool(annotations.get("storageclass.kubernetes.io/is-default-class") == "true")


def test_pods_that_do_not_run(doctor: Callable[..., dict[str, Any]], namespace: str) -> None:
    documents = base(namespace, "Deployment", "ServiceAccount")
    for document in documents:
        if document["kind"] == "Deployment":
            document["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.invalid/orc:1"
    apply(documents)
    wait_until(lambda: doctor(namespace)["pod manager"]["found"].startswith("the pod "))
    assert is_fault(doctor(namespace)["pod manager"], "registry.invalid/orc:1 can't be pulled", "`images`")
    kubectl("-n", namespace, "delete", "serviceaccount", "jac-orc-gateway")
    kubectl("-n", namespace, "delete", "replicaset,pod", "-l", "app.kubernetes.io/name=jac-orc-gateway", "--now")
    wait_until(lambda: "refuses the pods" in doctor(namespace)["gateway"]["found"])
    assert is_fault(doctor(namespace)["gateway"], "jac-orc-gateway", "describe replicaset")


def test_a_secret_that_is_not_there(doctor: Callable[..., dict[str, Any]], namespace: str) -> None:
    """As with the component `api-keys`; the pods' states tell nothing of it."""
    documents = base(namespace, "Deployment", "ServiceAccount", "ConfigMap")
    for document in documents:
        if document["metadata"]["name"] == "jac-orc-gateway" and document["kind"] == "Deployment":
            pod = document["spec"]["template"]["spec"]
            pod["volumes"].append({"name": "api-keys", "secret": {"secretName": "jac-orc-api-keys"}})
            pod["initContainers"][0]["volumeMounts"].append({"name": "api-keys", "mountPath": "/keys"})
    apply(documents)
    wait_until(lambda: "jac-orc-api-keys" in doctor(namespace)["gateway"]["found"])
    assert is_fault(doctor(namespace)["gateway"], 'secret "jac-orc-api-keys" not found', "describe pod jac-orc-gateway")


def test_ways_in_that_lead_nowhere(doctor: Callable[..., dict[str, Any]], namespace: str) -> None:
    backend = {"service": {"name": "jac-orc-gateway", "port": {"name": "http"}}}
    rules = [{"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]
    ingress_class = f"orc-{namespace}"

    def ingress(name: str, class_name: str) -> Document:
        spec = {"ingressClassName": class_name, "rules": rules}
        metadata = {"name": name, "namespace": namespace}
        return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec}

    nobody = {
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": ingress_class},
        "spec": {"controller": "orc.example/nobody"},
    }  # fmt: skip
    try:
        apply([nobody, ingress("one", "orc-nowhere"), ingress("other", ingress_class)])
        found = doctor(namespace)
    finally:
        kubectl("delete", "ingressclass", ingress_class)
    settings = "kustomize/overlays/ingress/settings.yaml"
    assert is_fault(found["Ingress one"], "no IngressClass orc-nowhere", settings, ingress_class)
    assert is_fault(found["Ingress other"], "no controller", "orc.example/nobody")


def test_gateways_that_lead_nowhere(doctor: Callable[..., dict[str, Any]], namespace: str) -> None:
    if "gateway.networking.k8s.io" not in kubectl("api-versions"):
        pytest.skip("needs a cluster with the Gateway API")
    kind = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass"}
    gateway_class = f"orc-{namespace}"

    def gateway(name: str, class_name: str) -> Document:
        listeners = [{"name": "http", "protocol": "HTTP", "port": 80}]
        spec = {"gatewayClassName": class_name, "listeners": listeners}
        return {**kind, "kind": "Gateway", "metadata": {"name": name, "namespace": namespace}, "spec": spec}

    nobody = {**kind, "metadata": {"name": gateway_class}, "spec": {"controllerName": "orc.example/nobody"}}
    try:
        apply([nobody, gateway("one", "orc-nowhere"), gateway("other", gateway_class)])
        found = doctor(namespace)
    finally:
        kubectl("delete", "gatewayclass", gateway_class)
    settings = "kustomize/overlays/gateway-api/settings.yaml"
    assert is_fault(found["Gateway one"], "no GatewayClass orc-nowhere", settings, gateway_class)
    assert is_fault(found["Gateway other"], "no controller", "orc.example/nobody")


def test_an_envoy_without_a_pod_manager(
    doctor: Callable[..., dict[str, Any]], system: str, variables: dict[str, str]
) -> None:
    """It has its configuration from before, and answers UNAVAILABLE."""
    kubectl("-n", system, "scale", "deployment", "jac-orc-pod-manager", "--replicas=0")
    try:
        of_it = ("get", "pods", "-l", "app.kubernetes.io/name=jac-orc-pod-manager")
        wait_until(lambda: not kubectl_json("-n", system, *of_it)["items"])
        found = doctor(system)
        assert is_fault(found["pod manager"], "scaled to no pod", "--replicas 1")
        assert is_fault(found["answer"], "no server could take the call")
        told = refusal(run("list", **variables, JAC_ORC_NAMESPACE=system))
        assert told.endswith("\nthis says why: jac-orc doctor\n")
        mend(found["pod manager"])
    finally:
        kubectl("-n", system, "scale", "deployment", "jac-orc-pod-manager", "--replicas=1")
        kubectl("-n", system, "rollout", "status", "deployment/jac-orc-pod-manager", "--timeout=120s")
    assert doctor(system, 0)["answer"]["state"] == "ok"
