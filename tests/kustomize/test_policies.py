"""What holds for every object of every overlay."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.kustomize.rendering import (
    COMPONENTS,
    OVERLAYS,
    ROOT,
    WAYS_IN,
    Document,
    containers,
    name_of,
    of_kind,
    pods,
    render,
    render_upon,
)

LABELS = {f"app.kubernetes.io/{name}" for name in ("name", "component", "part-of", "managed-by")}
# Gives the folder of a node to the user that everything else runs as, which only root can; in `local` alone.
ROOTS = {"store-owner"}
# Serves nobody: it waits for its end.
UNPROBED = {"drainer"}

BUILT = [*OVERLAYS, *(f"production upon {name}" for name in WAYS_IN), *(f"base with {name}" for name in COMPONENTS)]


@pytest.fixture(scope="module", params=BUILT)
def documents(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    """The objects of each overlay, of `production` as it may be combined, and of the base with each component."""
    name: str = request.param
    if name.startswith("production upon "):
        parts = ["api-keys", "high-availability", "monitoring", "network-policies", "policy", "quotas"]
        return render_upon(tmp_path_factory.mktemp("upon"), f"overlays/{name.removeprefix('production upon ')}", parts)
    if name.startswith("base with "):
        return render_upon(tmp_path_factory.mktemp("with"), "base", [name.removeprefix("base with ")])
    return render(name)


def test_production_is_made_of_those_components() -> None:
    """Or `production upon …`, above, would test something else."""
    text = (ROOT / "kustomize/overlays/production/kustomization.yaml").read_text()
    names = re.findall(r"^  - \.\./\.\./components/([a-z-]+)$", text, re.MULTILINE)
    assert names == ["api-keys", "high-availability", "monitoring", "network-policies", "policy", "quotas"]


def test_names_keep_out_of_the_way_of_modules(documents: list[Document]) -> None:
    """A module's objects are named like `numpy` or `sklearn-linear-model-1a2b3c4d5e`."""
    for document in documents:
        assert re.fullmatch(r"jac-orc(-[a-z0-9-]+)?", document["metadata"]["name"]), name_of(document)
        if document["kind"] in ("Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"):
            assert document["metadata"]["name"].startswith("jac-orc-"), name_of(document)


def test_everything_is_in_one_namespace(documents: list[Document]) -> None:
    for document in documents:
        clusterwide = document["kind"] in ("Namespace", "PersistentVolume")
        assert document["metadata"].get("namespace") == (None if clusterwide else "jac-orc"), name_of(document)
    for binding in of_kind(documents, "RoleBinding"):
        assert [subject["namespace"] for subject in binding["subjects"]] == ["jac-orc"]
    for volume in of_kind(documents, "PersistentVolume"):
        assert volume["spec"]["claimRef"]["namespace"] == "jac-orc"


def test_everything_is_labelled(documents: list[Document]) -> None:
    for document in documents:
        missing = LABELS - set(document["metadata"].get("labels", {}))
        assert not missing or document["kind"] == "Namespace", f"{name_of(document)} lacks {missing}"
        assert document["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "kustomize"
    for name, template in pods(documents):
        assert set(template["metadata"]["labels"]) >= LABELS, name


def test_images_have_fixed_tags(documents: list[Document], request: pytest.FixtureRequest) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    local = request.node.callspec.params["documents"] == "local"
    for _, container in containers(documents):
        image, _, tag = container["image"].rpartition(":")
        assert image and "/" not in tag and tag != "latest", container["image"]
        assert container["imagePullPolicy"] == "IfNotPresent", container["image"]
        if not local:
            assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag), container["image"]
        if image == "jac-cloud-orc":
            assert tag == ("dev" if local else version)


def test_containers_may_do_no_more_than_they_need(documents: list[Document]) -> None:
    for pod, container in containers(documents):
        for setting in ("hostNetwork", "hostPID", "hostIPC"):
            assert setting not in pod
        security = {**pod["securityContext"], **container["securityContext"]}
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"]["drop"] == ["ALL"]
        assert "privileged" not in security
        if container["name"] in ROOTS:
            assert security["capabilities"]["add"] == ["CHOWN"]
        else:
            assert security["runAsNonRoot"] is True, container["name"]
            assert (security["runAsUser"], security["runAsGroup"]) == (65532, 65532)
            assert "add" not in security["capabilities"]
        for volume in pod["volumes"]:
            assert set(volume) - {"name"} <= {"configMap", "emptyDir", "persistentVolumeClaim", "secret"}
            assert "emptyDir" not in volume or "sizeLimit" in volume["emptyDir"]


def test_containers_say_what_they_take(documents: list[Document]) -> None:
    for _, container in containers(documents):
        assert set(container["resources"]["requests"]) >= {"cpu", "memory"}, container["name"]
        assert set(container["resources"]["limits"]) >= {"cpu", "memory"}, container["name"]


def test_containers_that_run_on_are_probed(documents: list[Document]) -> None:
    for pod, container in containers(documents):
        runs_on = container in pod["containers"] or container.get("restartPolicy") == "Always"
        probes = {"startupProbe", "readinessProbe", "livenessProbe"}
        if runs_on and container["name"] not in UNPROBED:
            assert probes <= set(container), container["name"]


def test_only_the_pod_manager_talks_to_the_cluster(documents: list[Document]) -> None:
    silent = {
        account["metadata"]["name"]
        for account in of_kind(documents, "ServiceAccount")
        if account.get("automountServiceAccountToken") is False
    }
    assert silent == {"jac-orc-gateway", "jac-orc-module"}
    for name, template in pods(documents):
        assert template["spec"]["serviceAccountName"] == name
        assert template["spec"]["enableServiceLinks"] is False, "links would set variables like POD_MANAGER_PORT"


def test_rights_are_few(documents: list[Document]) -> None:
    assert not of_kind(documents, "ClusterRole", "ClusterRoleBinding")
    (role,) = of_kind(documents, "Role")
    for rule in role["rules"]:
        assert set(rule) == {"apiGroups", "resources", "verbs"}
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert not {"secrets", "configmaps", "serviceaccounts", "pods/exec", "roles"} & set(rule["resources"])
    (binding,) = of_kind(documents, "RoleBinding")
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [subject["name"] for subject in binding["subjects"]] == ["jac-orc-pod-manager"]


def test_selectors_find_pods(documents: list[Document]) -> None:
    labels = [template["metadata"]["labels"] for _, template in pods(documents)]
    ports = {
        port["name"]: port["containerPort"]
        for _, container in containers(documents)
        for port in container.get("ports", ())
    }
    for service in of_kind(documents, "Service"):
        assert any(service["spec"]["selector"].items() <= each.items() for each in labels), name_of(service)
        assert all(port["targetPort"] in ports and port["appProtocol"] for port in service["spec"]["ports"])
    for budget in of_kind(documents, "PodDisruptionBudget"):
        assert any(budget["spec"]["selector"]["matchLabels"].items() <= each.items() for each in labels)
    for deployment in of_kind(documents, "Deployment"):
        for spread in deployment["spec"]["template"]["spec"].get("topologySpreadConstraints", ()):
            assert spread["labelSelector"]["matchLabels"] == deployment["spec"]["selector"]["matchLabels"]


def test_settings_have_been_filled_in(documents: list[Document]) -> None:
    assert "set-by-settings" not in str(documents)
    assert "jac-orc-settings" not in str(documents)
