"""Numbers and names in the tree that must agree with each other and with the code."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from jac_orc.core import config
from jac_orc.errors import PermissionDeniedError
from jac_orc.pod_manager import policy
from jac_orc.pod_manager.backends.kube import builders, objects
from jac_orc.pod_manager.backends.kube.objects import Record
from jac_orc.pod_manager.backends.kube.pods import Cluster, Runtime
from jac_orc.pod_manager.model import ModuleSpec
from jac_orc.pod_manager.settings import Settings
from tests.kustomize.rendering import (
    COMPONENTS,
    OVERLAYS,
    TREE,
    WAYS_IN,
    Document,
    container,
    containers,
    named,
    of_kind,
    pods,
    render,
    render_upon,
)


def settings(documents: list[Document]) -> Settings:
    """The pod manager's settings, as the variables of its container say."""
    environ = {each["name"]: str(each.get("value", "from-pod")) for each in container(documents, "pod-manager")["env"]}
    unknown = {name.removeprefix("POD_MANAGER_").lower() for name in environ} - set(Settings.__dataclass_fields__)
    assert not unknown, f"no such settings: {unknown}"
    return config.load(Settings, environ, prefix="POD_MANAGER_")


def bootstrap(documents: list[Document]) -> Any:
    (config_map,) = [each for each in of_kind(documents, "ConfigMap") if "envoy.yaml" in each["data"]]
    return yaml.safe_load(config_map["data"]["envoy.yaml"])


def port_of(documents: list[Document], name: str, port: str) -> int:
    (found,) = [each["containerPort"] for each in container(documents, name)["ports"] if each["name"] == port]
    return int(found)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_pod_manager_runs_in_the_cluster(overlay: str) -> None:
    documents = render(overlay)
    read = settings(documents)
    assert read.backend == "kubernetes"
    assert (read.namespace, read.pod_name) == ("from-pod", "from-pod")
    assert {read.host, read.xds_host, read.front_host} == {"0.0.0.0"}
    assert read.auto_deploy is (overlay == "local")
    assert ("*" in read.allowed_hosts) is (overlay != "local")
    ports = {each["name"]: each["port"] for each in named(documents, "Service", read.service)["spec"]["ports"]}
    assert ports == {"grpc": read.port, "peers": read.peers_port}
    assert ports == {name: port_of(documents, "pod-manager", name) for name in ports}
    assert named(documents, "PersistentVolumeClaim", read.store_claim)
    assert named(documents, "ServiceAccount", read.module_account)
    mounts = {each["mountPath"]: each["name"] for each in container(documents, "pod-manager")["volumeMounts"]}
    assert {mounts[str(read.state_dir)], mounts[str(read.cache_dir)]} == {"store"}


def test_envoy_finds_the_pod_manager() -> None:
    documents = render("production")
    clusters = {cluster["name"]: cluster for cluster in bootstrap(documents)["static_resources"]["clusters"]}
    endpoint = clusters["xds"]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    address = endpoint["address"]["socket_address"]
    service = named(documents, "Service", address["address"])
    assert [port["port"] for port in service["spec"]["ports"]] == [address["port_value"]]
    assert service["spec"]["clusterIP"] == "None"
    fallback = clusters["xds"]["load_assignment"]["endpoints"][1]
    standby = fallback["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
    assert fallback["priority"] == 1
    assert standby["port_value"] == address["port_value"]
    assert named(documents, "Service", standby["address"])["spec"] == {
        key: value for key, value in service["spec"].items() if key != "clusterIP"
    }
    assert address["port_value"] == settings(documents).xds_port == port_of(documents, "pod-manager", "xds")


def test_envoy_is_reached_where_it_listens() -> None:
    documents = render("production")
    assert port_of(documents, "envoy", "http") == settings(documents).front_port
    (status,) = bootstrap(documents)["static_resources"]["listeners"]
    port = status["address"]["socket_address"]["port_value"]
    assert port_of(documents, "envoy", "status") == port
    annotations = named(documents, "Deployment", "jac-orc-gateway")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port)


def test_a_gateway_has_time_to_drain() -> None:
    documents = render("production")
    drainer, envoy = container(documents, "drainer"), container(documents, "envoy")
    pod = named(documents, "Deployment", "jac-orc-gateway")["spec"]["template"]["spec"]
    at_least, at_most = (
        float(drainer["args"][drainer["args"].index(name) + 1]) for name in ("--at-least", "--at-most")
    )
    assert at_least < float(envoy["args"][envoy["args"].index("--drain-time-s") + 1]) < at_most
    assert settings(documents).max_drain < at_most < pod["terminationGracePeriodSeconds"]
    assert envoy["livenessProbe"]["httpGet"]["path"] != "/ready", "an Envoy that drains isn't ready"
    assert drainer["command"][-1] == bootstrap(documents)["admin"]["address"]["pipe"]["path"]


def test_a_pod_manager_has_time_for_its_calls() -> None:
    documents = render("production")
    pod = named(documents, "Deployment", "jac-orc-pod-manager")["spec"]["template"]["spec"]
    before = container(documents, "pod-manager")["lifecycle"]["preStop"]["sleep"]["seconds"]
    of_calls = max(settings(documents).stop_grace, settings(documents).max_drain)
    assert before + of_calls + 5 < pod["terminationGracePeriodSeconds"]


def test_policies_open_the_ports_that_are_listened_on() -> None:
    documents = render("production")
    opened = {
        policy["metadata"]["name"]: {
            port["port"] for rule in policy["spec"].get("ingress", ()) for port in rule["ports"]
        }
        for policy in of_kind(documents, "NetworkPolicy")
    }
    read = settings(documents)
    assert opened["jac-orc-pod-manager"] == {read.port, read.peers_port, read.xds_port}
    assert opened["jac-orc-gateway"] == {read.front_port, read.tls_port, port_of(documents, "envoy", "status")}
    assert opened["jac-orc-everyone"] == set()


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254",
     "fe80::a9fe:a9fe"],
)  # fmt: skip
def test_no_policy_opens_a_clouds_metadata_service(address: str) -> None:
    blocks = [block for policy in of_kind(render("production"), "NetworkPolicy") for block in address_blocks(policy)]
    assert len(blocks) == 6, "two each for modules, builders and the pod manager"
    for cidr, *excepted in blocks:
        assert all(type(each) is type(cidr) and each.subnet_of(cidr) for each in excepted), "or no API server takes it"
        is_in = [ipaddress.ip_address(address) in network for network in (cidr, *excepted)]
        assert not is_in[0] or any(is_in[1:]), f"{cidr} without {excepted}"


def test_policies_apply_to_all_pods_of_the_system_and_to_no_others() -> None:
    documents, cluster, spec = render("production"), Cluster("jac-orc", "jac-cloud-orc:1"), ModuleSpec("shop")
    module, build = objects.deployment(cluster, Record.first(spec), Runtime()), builders.builder(cluster, spec, [])
    templates = {
        **dict(pods(documents)),
        "jac-orc-modules": module["spec"]["template"],
        "jac-orc-builders": build["spec"]["template"],
    }
    ours = {name: template["metadata"]["labels"] for name, template in templates.items()}
    for each in of_kind(documents, "NetworkPolicy"):
        selected = each["spec"]["podSelector"]["matchLabels"].items()
        found = {name for name, labels in ours.items() if selected <= labels.items()}
        name = each["metadata"]["name"]
        assert found == (set(ours) if name == "jac-orc-everyone" else {name})


def address_blocks(policy: Document) -> list[list[Any]]:
    """The networks that a policy opens to its pods, each followed by what is excepted of it."""
    peers = [peer for rule in policy["spec"].get("egress", ()) for peer in rule.get("to", ())]
    blocks = [peer["ipBlock"] for peer in peers if "ipBlock" in peer]
    return [list(map(ipaddress.ip_network, [each["cidr"], *each.get("except", ())])) for each in blocks]


def test_the_gateway_has_the_files_that_the_pod_manager_names(tmp_path: Path) -> None:
    documents = render_upon(tmp_path, "base", ["api-keys", "tls"])
    read = settings(documents)
    mounts = {each["mountPath"]: each["name"] for each in container(documents, "envoy")["volumeMounts"]}
    pod = named(documents, "Deployment", "jac-orc-gateway")["spec"]["template"]["spec"]
    volumes = {path: each for path, name in mounts.items() for each in pod["volumes"] if each["name"] == name}
    keys, certificate = Path(read.api_keys), Path(read.certificate)
    items = [{"key": keys.name, "path": keys.name}]
    assert volumes[str(keys.parent)]["secret"] == {"secretName": "jac-orc-api-keys", "items": items}
    files = named(documents, "ConfigMap", volumes[str(certificate.parent)]["configMap"]["name"])["data"]
    (told,) = yaml.safe_load(files[certificate.name])["resources"]
    folder = told["tls_certificate"].pop("watched_directory")["path"]
    secret = volumes[folder]["secret"]
    assert secret["secretName"] == "jac-orc-gateway-tls"
    assert {file["filename"] for file in told["tls_certificate"].values()} == {
        f"{folder}/{each['path']}" for each in secret["items"]
    }
    (port,) = named(documents, "Service", "jac-orc-gateway-tls")["spec"]["ports"]
    assert port_of(documents, "envoy", port["targetPort"]) == read.tls_port


def test_local_is_reached_on_the_node() -> None:
    service = named(render("local"), "Service", "jac-orc-gateway")
    assert service["spec"]["type"] == "NodePort"
    assert [(port["port"], port["nodePort"]) for port in service["spec"]["ports"]] == [(80, 30080)]
    for overlay in set(OVERLAYS) - {"local"}:
        assert "type" not in named(render(overlay), "Service", "jac-orc-gateway")["spec"], overlay


def test_the_autoscaler_alone_sets_the_number_of_gateways(tmp_path: Path) -> None:
    documents = render_upon(tmp_path, "base", ["high-availability", "autoscaling"])
    assert "replicas" not in named(documents, "Deployment", "jac-orc-gateway")["spec"]
    (scaler,) = of_kind(documents, "HorizontalPodAutoscaler")
    assert named(documents, "Deployment", scaler["spec"]["scaleTargetRef"]["name"])


def test_the_volume_of_a_node_is_that_of_its_namespace(tmp_path: Path) -> None:
    """A PersistentVolume belongs to the whole cluster; of one name, a second install would take that of the first."""
    for name, (base, components) in {
        "local": ("overlays/local", []),
        "base": ("base", ["node-local-store"]),
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        documents = render_upon(folder, base, components, "orc-second")
        (volume,) = of_kind(documents, "PersistentVolume")
        assert volume["metadata"]["name"] == "orc-second"
        claim = named(documents, "PersistentVolumeClaim", "jac-orc-store")
        assert volume["spec"]["claimRef"] == {key: claim["metadata"][key] for key in ("name", "namespace")}
        assert not any(value == "jac-orc" for value in scalars(of_kind(documents, "PersistentVolume", "RoleBinding")))
        (owner,) = (each for _, each in containers(documents) if each["name"] == "store-owner")
        for each in (owner, container(documents, "pod-manager")):
            (mount,) = (mount for mount in each["volumeMounts"] if mount["mountPath"] == "/store")
            (folder_of,) = (one for one in each["env"] if f"$({one['name']})" == mount["subPathExpr"])
            assert folder_of["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.namespace"
        assert settings(documents).store_folder == "from-pod"


def scalars(value: Any) -> list[Any]:
    """All the scalars in a document, keys and labels apart."""
    if isinstance(value, dict):
        return [each for key, item in value.items() if key != "labels" for each in scalars(item)]
    return [each for item in value for each in scalars(item)] if isinstance(value, list) else [value]


def test_only_overlays_own_a_namespace(tmp_path: Path) -> None:
    """So that deleting what is built on the base leaves a namespace of the user's, and what else is in it, alone."""
    for overlay in OVERLAYS:
        assert len(of_kind(render(overlay), "Namespace")) == 1, overlay
    assert not of_kind(render_upon(tmp_path, "base", COMPONENTS, "mine"), "Namespace")


@pytest.mark.parametrize("overlay", WAYS_IN)
def test_a_kustomization_of_ones_own_sets_an_overlays_settings(overlay: str, tmp_path: Path) -> None:
    """As kustomize/README.md shows it, on the overlay itself and with what `production` adds."""
    wanted = {"restHost": "rest.mine.example", "grpcHost": "grpc.mine.example", "certificate": "my-certificate"}
    wanted |= {"gateway-api": {"gatewayClass": "my-class"}, "ingress": {"ingressClass": "my-class"}}.get(overlay, {})
    patch = yaml.safe_dump([{"op": "replace", "path": f"/data/{key}", "value": text} for key, text in wanted.items()])
    more = {
        "patches": [{"target": {"kind": "ConfigMap", "name": "jac-orc-settings"}, "patch": patch}],
        "transformers": [os.path.relpath(TREE / "overlays" / overlay / "apply-settings", tmp_path)],
    }
    for components in ([], ["api-keys", "high-availability"]):
        documents = render_upon(tmp_path, f"overlays/{overlay}", components, "mine", **more)
        found = set(scalars([each for each in documents if each["kind"] != "ConfigMap"]))
        assert set(wanted.values()) <= found
        assert not {"orc.example.com", "grpc.orc.example.com", "jac-orc-tls", "set-by-settings"} & found
        assert not {"nginx", "contour"} & found


def test_a_gateway_that_is_rolled_out_can_be_called() -> None:
    """Nodes send it connections some time after it is ready; `kubectl rollout status` waits for that."""
    for overlay in OVERLAYS:
        assert named(render(overlay), "Deployment", "jac-orc-gateway")["spec"]["minReadySeconds"] == 5


def test_production_has_two_of_each() -> None:
    documents = render("production")
    assert [each["spec"]["replicas"] for each in of_kind(documents, "Deployment")] == [2, 2]
    assert len(of_kind(documents, "PodDisruptionBudget")) == 2
    (namespace,) = of_kind(documents, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_policy_of_production_is_one_and_restricts_secrets_and_priorities(tmp_path: Path) -> None:
    documents = render("production")
    (config_map,) = [each for each in of_kind(documents, "ConfigMap") if "policy.yaml" in each["data"]]
    manager, pod = container(documents, "pod-manager"), named(documents, "Deployment", "jac-orc-pod-manager")
    file = settings(documents).policy_file
    (mounted,) = [each for each in manager["volumeMounts"] if file and each["mountPath"] == str(file.parent)]
    (volume,) = [each for each in pod["spec"]["template"]["spec"]["volumes"] if each["name"] == mounted["name"]]
    assert file and file.name in config_map["data"]
    assert volume["configMap"] == {"name": config_map["metadata"]["name"]}, "a changed policy replaces the pod managers"
    (tmp_path / "policy.yaml").write_text(config_map["data"]["policy.yaml"])
    loaded = policy.load(tmp_path / "policy.yaml")
    loaded.check(ModuleSpec("shop", secrets=("module-shop",), image="shop"))
    for refused in ({"secrets": ("tls",)}, {"priority_class": "high"}, {"service_account": "shop"}):
        with pytest.raises(PermissionDeniedError):
            loaded.check(ModuleSpec("shop", **refused))
    assert not loaded.builds, "a build could read the installer's settings"


def test_the_policy_shows_every_key(tmp_path: Path) -> None:
    """In force, or commented out with an example."""
    text = (TREE / "components" / "policy" / "policy.yaml").read_text()
    shown = re.sub(r"(?m)^# (\w+: .*)$", r"\1", text)
    (tmp_path / "policy.yaml").write_text(shown)
    policy.load(tmp_path / "policy.yaml")
    assert yaml.safe_load(shown).keys() == set(policy.KEYS)


def test_a_policy_of_ones_own_replaces_the_default(tmp_path: Path) -> None:
    default = render("production")
    (tmp_path / "policy.yaml").write_text("secrets: []\n")
    generator = {"name": "jac-orc-policy", "behavior": "replace", "files": ["policy.yaml"]}
    documents = render_upon(tmp_path, "overlays/production", namespace="orc", configMapGenerator=[generator])
    (config_map,) = [each for each in of_kind(documents, "ConfigMap") if "policy.yaml" in each["data"]]
    assert config_map["data"] == {"policy.yaml": "secrets: []\n"}
    name = config_map["metadata"]["name"]
    assert name not in [each["metadata"]["name"] for each in default]
    pod = named(documents, "Deployment", "jac-orc-pod-manager")["spec"]["template"]["spec"]
    assert {"name": name} in [each.get("configMap") for each in pod["volumes"]]
