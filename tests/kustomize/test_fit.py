"""Numbers and names in the tree that must agree with each other and with the code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from jac_orc.core import config
from jac_orc.pod_manager.settings import Settings
from tests.kustomize.rendering import OVERLAYS, Document, container, named, of_kind, render, render_upon


def settings(documents: list[Document]) -> Settings:
    """The pod manager's settings, as the variables of its container say."""
    environ = {each["name"]: str(each.get("value", "from-pod")) for each in container(documents, "pod-manager")["env"]}
    unknown = {name.removeprefix("POD_MANAGER_").lower() for name in environ} - set(Settings.__dataclass_fields__)
    assert not unknown, f"no such settings: {unknown}"
    return config.load(Settings, environ, prefix="POD_MANAGER_")


def bootstrap(documents: list[Document]) -> Any:
    (config_map,) = of_kind(documents, "ConfigMap")
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
    assert at_most < pod["terminationGracePeriodSeconds"]
    probe = envoy["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > pod["terminationGracePeriodSeconds"]
    assert drainer["command"][-1] == bootstrap(documents)["admin"]["address"]["pipe"]["path"]


def test_a_pod_manager_has_time_for_its_calls() -> None:
    documents = render("production")
    pod = named(documents, "Deployment", "jac-orc-pod-manager")["spec"]["template"]["spec"]
    before = container(documents, "pod-manager")["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert before + settings(documents).stop_grace + 5 < pod["terminationGracePeriodSeconds"]


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


def test_production_has_two_of_each() -> None:
    documents = render("production")
    assert [each["spec"]["replicas"] for each in of_kind(documents, "Deployment")] == [2, 2]
    assert len(of_kind(documents, "PodDisruptionBudget")) == 2
    (namespace,) = of_kind(documents, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
