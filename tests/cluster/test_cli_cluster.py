"""`jac-orc` against a cluster: the same commands, the port that is forwarded for them, `plan`, and `doctor` on a
namespace in which everything is well and on others in which something is wrong on purpose."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.installation import wait_until
from tests.cluster.kubectl import image, kubectl, kubectl_json, new_namespace
from tests.e2e.commands import Running, run
from tests.support import children, running

ROOT = Path(__file__).parents[2]
ENVOY = "docker.io/envoyproxy/envoy:v1.40-latest"
TOOLS = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

Document = dict[str, Any]


@pytest.fixture(scope="module")
def context() -> str:
    """The context of the cluster, as the kubeconfig names it."""
    return kubectl("config", "current-context").strip()


@pytest.fixture(scope="module")
def variables(context: str) -> dict[str, str]:
    """The environment of commands for the cluster."""
    return {"KUBECONFIG": os.environ["KUBECONFIG"], "JAC_ORC_CONTEXT": context, "PATH": TOOLS}


@pytest.fixture
def namespace() -> Iterator[str]:
    """One with nothing in it."""
    with new_namespace("jac-orc-cli") as name:
        yield name


@pytest.fixture(scope="module")
def system(context: str) -> Iterator[str]:
    """The namespace of a whole system; its claim is bound to a volume that nobody uses."""
    with new_namespace("jac-orc-cli") as name:
        volume = {
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {
                "storageClassName": name, "capacity": {"storage": "50Gi"}, "accessModes": ["ReadWriteMany"],
                "hostPath": {"path": "/tmp"},
            },
        }  # fmt: skip
        documents = base(name)
        for document in documents:
            if document["kind"] == "PersistentVolumeClaim":
                document["spec"] |= {"storageClassName": name, "volumeName": name}
        try:
            apply([volume, *documents])
            for deployment in ("jac-orc-pod-manager", "jac-orc-gateway"):
                kubectl("-n", name, "rollout", "status", f"deployment/{deployment}", "--timeout=180s")
            yield name
        finally:
            kubectl("delete", "persistentvolume", name, "--ignore-not-found", "--wait=false")


def base(namespace: str, *kinds: str) -> list[Document]:
    """What `kustomize/base` makes, of these kinds only, if any are named: in another namespace, and with a store that
    is the pod manager's own, as which volumes a cluster can make isn't known."""
    rendered = kubectl("kustomize", str(ROOT / "kustomize" / "base"))
    documents = list(yaml.safe_load_all(rendered.replace("namespace: jac-orc\n", f"namespace: {namespace}\n")))
    for document in documents:
        if document["kind"] == "Deployment":
            pod = document["spec"]["template"]["spec"]
            pod["terminationGracePeriodSeconds"] = 5
            own = {"name": "store", "emptyDir": {}}
            pod["volumes"] = [own if each["name"] == "store" else each for each in pod["volumes"]]
            for container in [*pod["containers"], *pod.get("initContainers", ())]:
                container["image"] = ENVOY if container["name"] == "envoy" else image()
                del container["resources"]
    return [each for each in documents if each["kind"] != "Namespace" and (not kinds or each["kind"] in kinds)]


def apply(documents: list[Document]) -> None:
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(documents))


def result(done: subprocess.CompletedProcess[str]) -> str:
    """What a command that has succeeded has printed."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refusal(done: subprocess.CompletedProcess[str], code: int = 1) -> str:
    """What a command that has failed has told."""
    assert done.returncode == code and done.stdout == "", done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


# --- the commands through a port-forward ---


@pytest.fixture
def orc(system: str, variables: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command against the whole system."""
    return lambda *arguments: run(*arguments, **variables, JAC_ORC_NAMESPACE=system)


@pytest.fixture
def module(orc: Callable[..., Any], system: str) -> Iterator[str]:
    """A module of the standard library, deployed for the test."""
    result(orc("create", "colorsys"))
    yield "colorsys"
    orc("delete", "colorsys")


def test_the_commands(orc: Callable[..., subprocess.CompletedProcess[str]], system: str) -> None:
    created = orc("create", "textwrap", "--replicas", "2")
    assert "textwrap is ready" in result(created) and "importing" in created.stderr
    assert f"--namespace {system} port-forward service/jac-orc-gateway 8080:http &\n  curl http://127.0.0.1:8080/" in (
        created.stdout
    )
    wait_until(lambda: "2/2" in result(orc("list")))
    assert json.loads(result(orc("get", "textwrap", "-o", "json")))["status"]["ready_replicas"] == 2
    assert "textwrap has 1 pod" in result(orc("scale", "textwrap", "1"))
    assert "serving" in result(orc("logs", "textwrap"))
    assert result(orc("delete", "textwrap")) == "textwrap is deleted\n"
    refusal(orc("get", "textwrap"))


def test_what_is_told_names_the_cluster_again(system: str, variables: dict[str, str], context: str) -> None:
    place = ("--context", context, "--namespace", system)
    elsewhere = {**variables, "JAC_ORC_CONTEXT": "", "JAC_ORC_URL": "http://127.0.0.1:1"}
    told = refusal(run("get", "orc_cli_missing", *place, **elsewhere))
    assert told.endswith(f"jac-orc list {' '.join(place)}\n")


@pytest.fixture
def following(module: str, system: str, variables: dict[str, str], tmp_path: Path) -> Iterator[Callable[[], Running]]:
    """Begins to follow the module's logs."""
    begun: list[Running] = []

    def begin() -> Running:
        begun.append(Running(tmp_path, "logs", "-f", module, **variables, JAC_ORC_NAMESPACE=system))
        begun[-1].wait(lambda: "serving" in begun[-1].output)
        return begun[-1]

    yield begin
    for each in begun:
        each.end()


def kubectl_of(command: Running) -> int:
    """The process id of the kubectl that forwards its port; 0 while there is none."""
    return next(iter(filter(running, children(command.process.pid))), 0)


def test_no_process_is_left(following: Callable[[], Running]) -> None:
    interrupted = following()
    child = kubectl_of(interrupted)
    assert interrupted.interrupt() == 130 and interrupted.errors == ""
    assert not running(child)
    killed = following()
    child = kubectl_of(killed)
    killed.end()
    wait_until(lambda: not running(child), 5)


def test_a_connection_that_is_lost_is_made_again(
    following: Callable[[], Running], module: str, orc: Callable[..., subprocess.CompletedProcess[str]], system: str
) -> None:
    command = following()

    def pods() -> set[str]:
        return {line.split()[1] for line in command.output.splitlines()}

    child = kubectl_of(command)
    os.kill(child, signal.SIGKILL)
    command.wait(lambda: kubectl_of(command) not in (0, child))
    result(orc("scale", module, "2"))
    command.wait(lambda: len(pods()) == 2)
    kubectl("-n", system, "delete", "pod", "-l", "app.kubernetes.io/name=jac-orc-gateway")
    kubectl("-n", system, "rollout", "status", "deployment/jac-orc-gateway", "--timeout=120s")
    wait_until(lambda: orc("scale", module, "3").returncode == 0)
    command.wait(lambda: len(pods()) == 3)
    assert command.interrupt() == 130 and command.errors == ""


def test_a_connection_that_cannot_be_made_again_ends_the_command(following: Callable[[], Running], system: str) -> None:
    command = following()
    try:
        kubectl("-n", system, "delete", "service", "jac-orc-gateway")
        os.kill(kubectl_of(command), signal.SIGKILL)
        assert command.process.wait(60) == 1
        assert "the connection to the cluster is lost" in command.errors and "Traceback" not in command.errors
        assert len(command.errors.splitlines()) == 1
    finally:
        apply(base(system, "Service"))


def test_what_cannot_be_reached(namespace: str, variables: dict[str, str], context: str) -> None:
    def told(code: int, *arguments: str) -> str:
        return refusal(run("list", *arguments, **variables), code)

    assert "no context orc-nowhere" in told(2, "--context", "orc-nowhere")
    assert "isn't in the namespace orc-nowhere" in told(1, "--namespace", "orc-nowhere")
    assert f"isn't in the namespace {namespace}" in told(1, "--namespace", namespace)
    apply(base(namespace, "Service"))
    doctor = f"jac-orc doctor --context {context} --namespace {namespace}\n"
    missing = told(1, "--namespace", namespace)
    assert f"no pod of jac-orc-gateway runs in the namespace {namespace}" in missing and missing.endswith(doctor)


# --- plan ---


def test_a_plan_is_what_is_made(orc: Callable[..., subprocess.CompletedProcess[str]], system: str) -> None:
    planned = result(orc("plan", "statistics", "--replicas", "2"))
    assert result(orc("plan", "statistics", "--replicas", "2")) == planned
    documents = list(yaml.safe_load_all(planned))
    assert [each["kind"] for each in documents] == ["Deployment", "Service", "PodDisruptionBudget"]
    kubectl("apply", "--dry-run=server", "-f", "-", stdin=planned)
    refusal(orc("get", "statistics"))
    result(orc("create", "statistics", "--replicas", "2"))
    made = kubectl_json("-n", system, "get", "deployment", "statistics")
    wanted = documents[0]["spec"]["template"]["spec"]["containers"][0]
    container = made["spec"]["template"]["spec"]["containers"][0]
    assert {key: container[key] for key in ("image", "command", "ports")} == {
        key: wanted[key] for key in ("image", "command", "ports")
    }
    again = list(yaml.safe_load_all(result(orc("plan", "statistics", "--replicas", "2"))))
    assert again[0]["metadata"]["annotations"].items() <= made["metadata"]["annotations"].items()
    assert again[1]["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    result(orc("delete", "statistics"))


def test_a_plan_of_what_is_not_built(orc: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    (tmp_path / "orc_planned.py").write_text("X = 1\n")
    own, *_ = yaml.safe_load_all(result(orc("plan", "--source", str(tmp_path))))
    assert own["metadata"]["name"].startswith("orc-planned-")
    assert "/store/sources/" in yaml.safe_dump(own["spec"]["template"]["spec"]["containers"][0]["env"])
    planned = result(orc("plan", "numpy", "-r", "numpy>=2"))
    assert [each["kind"] for each in yaml.safe_load_all(planned)][-1] == "Job"
    kubectl("apply", "--dry-run=server", "-f", "-", stdin=planned)
    document = json.loads(result(orc("plan", "numpy", "-r", "numpy>=2", "-o", "json")))
    assert document["manifests"] == planned and document["spec"]["requirements"] == ["numpy>=2"]


# --- doctor ---


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
        "API server", "namespace", "pod manager", "rights", "module account", "store", "gateway", "services", "way in",
        "answer",
    ]  # fmt: skip
    assert found.pop("way in")["state"] == "skipped"
    assert {check["state"] for check in found.values()} == {"ok"}
    current = {"KUBECONFIG": variables["KUBECONFIG"], "PATH": TOOLS, "JAC_ORC_NAMESPACE": system}
    printed = run("doctor", **current)
    assert printed.returncode == 0 and "CHECK " in printed.stdout


def test_no_namespace(doctor: Callable[..., dict[str, Any]]) -> None:
    found = doctor("orc-nowhere")
    assert found.pop("API server")["state"] == "ok"
    assert is_fault(found.pop("namespace"), "no namespace orc-nowhere", "apply -k kustomize/overlays")
    assert {check["state"] for check in found.values()} == {"skipped"}


def test_an_empty_namespace(doctor: Callable[..., dict[str, Any]], namespace: str) -> None:
    found = doctor(namespace)
    assert is_fault(found["pod manager"], "no Deployment jac-orc-pod-manager")
    assert is_fault(found["gateway"], "no Deployment jac-orc-gateway")
    assert is_fault(found["rights"], "get, list, watch", "apply -f kustomize/base/pod-manager/role.yaml")
    assert is_fault(found["module account"], "no ServiceAccount jac-orc-module")
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
    found = doctor(namespace)
    assert (found["rights"]["state"], found["module account"]["state"]) == ("ok", "ok")


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
    assert (found["rights"]["state"], found["module account"]["state"]) == ("ok", "ok")
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

    route = {
        **kind, "kind": "HTTPRoute", "metadata": {"name": "rest", "namespace": namespace},
        "spec": {"parentRefs": [{"name": "other"}]},
    }  # fmt: skip
    nobody = {**kind, "metadata": {"name": gateway_class}, "spec": {"controllerName": "orc.example/nobody"}}
    try:
        apply([nobody, gateway("one", "orc-nowhere"), gateway("other", gateway_class), route])
        found = doctor(namespace)
    finally:
        kubectl("delete", "gatewayclass", gateway_class)
    settings = "kustomize/overlays/gateway-api/settings.yaml"
    assert is_fault(found["Gateway one"], "no GatewayClass orc-nowhere", settings, gateway_class)
    assert is_fault(found["Gateway other"], f"{gateway_class} isn't accepted")
    assert is_fault(found["HTTPRoute rest"], "no Gateway has taken it")


def test_an_envoy_without_a_pod_manager(
    doctor: Callable[..., dict[str, Any]], system: str, variables: dict[str, str]
) -> None:
    """It has its configuration from before, and answers 503."""
    kubectl("-n", system, "scale", "deployment", "jac-orc-pod-manager", "--replicas=0")
    try:
        of_it = ("get", "pods", "-l", "app.kubernetes.io/name=jac-orc-pod-manager")
        wait_until(lambda: not kubectl_json("-n", system, *of_it)["items"])
        found = doctor(system)
        assert is_fault(found["pod manager"], "scaled to no pod", "--replicas 1")
        assert is_fault(found["answer"], "503")
        told = refusal(run("list", **variables, JAC_ORC_NAMESPACE=system))
        assert told.endswith("\nthis says why: jac-orc doctor\n")
        mend(found["pod manager"])
    finally:
        kubectl("-n", system, "scale", "deployment", "jac-orc-pod-manager", "--replicas=1")
        kubectl("-n", system, "rollout", "status", "deployment/jac-orc-pod-manager", "--timeout=120s")
    assert doctor(system, 0)["answer"]["state"] == "ok"
