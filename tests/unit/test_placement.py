"""Where a module's pods run, and what they carry for others: what a spec may say of it, and what becomes of that."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from google.protobuf import json_format

from jac_orc.cli.deploying import spec as spec_of_options
from jac_orc.cli.failures import UsageError
from jac_orc.cli.options import Spec
from jac_orc.errors import OrcError
from jac_orc.pod_manager import convert
from jac_orc.pod_manager.backends.kube import objects
from jac_orc.pod_manager.backends.kube.objects import Record
from jac_orc.pod_manager.backends.kube.pods import Cluster, Document, Runtime
from jac_orc.pod_manager.model import ModuleSpec, Resources, Toleration
from jac_orc.pod_manager.policy import Policy
from jac_orc.pod_manager.settings import Settings
from jac_orc.pod_manager.spec_checks import violations
from jac_orc.v1 import pod_manager_pb2 as pb

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
OWN_LABEL = {"jac-orc.dev/module": "shop"}
OWN_NODES = {
    "topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": OWN_LABEL},
}  # fmt: skip
OTHERS = {"topologyKey": "topology.kubernetes.io/zone", "labelSelector": {"matchLabels": {"app": "database"}}}
UNCONFINED: list[Any] = [
    None, {}, {"matchLabels": {}}, {"matchLabels": {"jac-orc.dev/module": "other"}},
    {"matchExpressions": [{"key": "jac-orc.dev/module", "operator": "Exists"}]},
]  # fmt: skip
ELSEWHERE: list[dict[str, Any]] = [
    {"namespaces": ["kube-system"]}, {"namespaceSelector": {}}, {"namespaceSelector": None},
    {"namespaces": [], "namespaceSelector": {"matchLabels": {}}},
]  # fmt: skip
CLUSTER = Cluster("jac-orc", "jac-cloud-orc:1", settings=Settings(store_claim="store"))
ZONES = {PREFERRED: [{"podAffinityTerm": {"topologyKey": "zone"}, "weight": 50}]}
PLACED = ModuleSpec(
    "shop",
    labels={"team": "a"},
    annotations={"prometheus.io/scrape": "true"},
    node_selector={"kubernetes.io/arch": "amd64"},
    tolerations=(Toleration("gpu", "Equal", "yes", "NoExecute", 60),),
    affinity={"podAntiAffinity": ZONES},
    priority_class="batch-low",
    service_account="shop-reader",
    resources=Resources("2", "1Gi", 0, "4", "2Gi", "5Gi"),
)


def deployment(spec: ModuleSpec) -> Document:
    return objects.deployment(CLUSTER, Record.first(spec), Runtime())


def pod(spec: ModuleSpec) -> Any:
    return deployment(spec)["spec"]["template"]


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"labels": {"app": "shop", "example.com/team": "", "version": "1"}}, []),
        ({"labels": {"azure.workload.identity/use": "true", "tags.datadoghq.com/env": "a"}}, []),
        ({"labels": {"kubernetes.io.x": "a", "notkubernetes.io/a": "a"}}, []),
        ({"labels": {"aadpodidbinding": "admin"}}, ["labels[aadpodidbinding]"]),
        ({"labels": {"app.kubernetes.io/name": "jac-orc-gateway"}}, ["labels[app.kubernetes.io/name]"]),
        ({"labels": {"app.kubernetes.io/component": "module"}}, ["labels[app.kubernetes.io/component]"]),
        ({"labels": {"jac-orc.dev/module": "x"}}, ["labels[jac-orc.dev/module]"]),
        ({"labels": {"x.jac-orc.dev/module": "x"}}, ["labels[x.jac-orc.dev/module]"]),
        ({"labels": {"istio.io/dataplane-mode": "none"}}, ["labels[istio.io/dataplane-mode]"]),
        ({"labels": {"security.istio.io/tlsMode": "disabled"}}, ["labels[security.istio.io/tlsMode]"]),
        ({"labels": {"sidecar.istio.io/inject": "false"}}, ["labels[sidecar.istio.io/inject]"]),
        ({"labels": {"pod-security.kubernetes.io/enforce": "x"}}, ["labels[pod-security.kubernetes.io/enforce]"]),
        ({"labels": {"batch.kubernetes.io/job-name": "x"}}, ["labels[batch.kubernetes.io/job-name]"]),
        ({"labels": {"pod-template-hash": "x"}}, ["labels[pod-template-hash]"]),
        ({"labels": {"k8s-app": "kube-dns"}}, ["labels[k8s-app]"]),
        ({"labels": {"App.kubernetes.io/name": "x"}}, ["labels"]), ({"labels": {"a\n": "x"}}, ["labels"]),
        ({"annotations": {"prometheus.io/scrape": "true", "text": "ä {}: \n'"}}, []),
        ({"annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}}, []),
        *(
            ({"annotations": {name: "x"}}, [f"annotations[{name}]"])
            for name in (
                "container.apparmor.security.beta.kubernetes.io/module-server",
                "seccomp.security.alpha.kubernetes.io/pod", "jac-orc.dev/record", "kubectl.kubernetes.io/restartedAt",
                "deployment.kubernetes.io/revision", "sidecar.istio.io/userVolume", "linkerd.io/inject",
                "k8s.v1.cni.cncf.io/networks", "cni.projectcalico.org/ipAddrs", "iam.amazonaws.com/role",
                "vault.hashicorp.com/agent-inject", "io.kubernetes.cri-o.Devices", "run.oci.handler",
                "v1.multus-cni.io/default-network", "networking.gke.io/interfaces", "aadpodidbinding",
                "vault.security.banzaicloud.io/vault-addr", "secrets-webhook.security.bank-vaults.io/provider",
                "ad.datadoghq.com/x.checks", "networkservicemesh.io", "dapr.io/sidecar-image", "gke-gcsfuse/volumes",
                "co.elastic.logs/raw", "admission.stackrox.io/break-glass", "gke-parallelstore/volumes",
                "cpu-quota.crio.io", "seccomp-profile.kubernetes.cri-o.io/module-server", "dev.gvisor.flag.debug",
                "org.criu.config", "devices.nri.containerd.io", "instrumentation.opentelemetry.io/inject-python",
            )
        ),
        ({"annotations": {"a": "\0"}}, ["annotations[a]"]), ({"annotations": {"a": "x" * 40_000}}, ["annotations[a]"]),
        ({"annotations": {"a": "x" * 20_000, "b": "x" * 20_000}}, ["annotations"]),
        ({"node_selector": {"kubernetes.io/hostname": "a", "gpu": ""}}, []),
        ({"node_selector": {"a b": "a"}}, ["node_selector"]), ({"node_selector": {"a": "b c"}}, ["node_selector[a]"]),
        ({"tolerations": (Toleration("gpu", "Exists"), Toleration("nvidia.com/gpu", "", "x", "NoSchedule"))}, []),
        ({"tolerations": (Toleration("node.kubernetes.io/unreachable", "Exists", "", "NoExecute", 30),)}, []),
        ({"tolerations": (Toleration("", "Exists"),)}, ["tolerations[0].key"]),
        ({"tolerations": (Toleration("node-role.kubernetes.io/control-plane", "Exists"),)}, ["tolerations[0].key"]),
        ({"tolerations": (Toleration("node-role.kubernetes.io/master", "Exists"),)}, ["tolerations[0].key"]),
        ({"tolerations": (Toleration("node.kubernetes.io/unschedulable", "Exists"),)}, ["tolerations[0].key"]),
        ({"tolerations": (Toleration("node.kubernetes.io/not-ready", "Exists"),)}, ["tolerations[0].key"]),
        *(
            ({"tolerations": (Toleration(key, "Exists", effect=effect),)}, ["tolerations[0].key"])
            for key in ("CriticalAddonsOnly", "ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted",
                        "node.cilium.io/agent-not-ready")
            for effect in ("", "NoSchedule", "NoExecute")
        ),
        ({"tolerations": (Toleration("a"), Toleration("b", "In", "x", "Never", 1))},
         ["tolerations[1].operator", "tolerations[1].effect", "tolerations[1].toleration_seconds"]),
        ({"tolerations": (Toleration("a", "Exists", "x", "NoExecute", -1),)},
         ["tolerations[0].value", "tolerations[0].toleration_seconds"]),
        ({"affinity": {"nodeAffinity": {}, "podAffinity": {}, "podAntiAffinity": {}}}, []),
        ({"affinity": {"nodeName": "a"}}, ["affinity"]),
        ({"affinity": {"nodeAffinity": []}}, ["affinity.nodeAffinity"]),
        ({"affinity": {"nodeAffinity": {"x": float("nan")}}}, ["affinity"]),
        ({"affinity": {"nodeAffinity": {"x": "y" * 20_000}}}, ["affinity"]),
        ({"priority_class": "batch-low"}, []), ({"priority_class": "system-cluster-critical"}, ["priority_class"]),
        ({"priority_class": "system-node-critical"}, ["priority_class"]), ({"priority_class": "A"}, ["priority_class"]),
        ({"service_account": "shop"}, []), ({"service_account": "jac-orc-pod-manager"}, ["service_account"]),
        ({"service_account": "a/b"}, ["service_account"]),
        ({"resources": Resources(cpu="1", cpu_limit="1000m")}, []),
        ({"resources": Resources(cpu="2", cpu_limit="1500m")}, ["resources.cpu_limit"]),
        ({"resources": Resources(memory="1Gi", memory_limit="512Mi")}, ["resources.memory_limit"]),
        ({"resources": Resources(memory_limit="1Mi")}, ["resources.memory_limit"]),
        ({"resources": Resources(tmp="1Mi")}, []), ({"resources": Resources(tmp="1.1M")}, []),
        *(({"resources": Resources(tmp=size)}, ["resources.tmp"]) for size in ("0", "0Gi", "0.0", "1023Ki", "1M")),
        ({"resources": Resources(cpu_limit="x", memory_limit="x", tmp="x")},
         ["resources.cpu_limit", "resources.memory_limit", "resources.tmp"]),
    ],
    ids=str,
)  # fmt: skip
def test_each_fault_is_told(changes: dict[str, Any], fields: list[str]) -> None:
    found = violations(dataclasses.replace(ModuleSpec("math"), **changes))
    assert sorted(field for field, _ in found) == sorted(fields)


@pytest.mark.parametrize(
    ("affinity", "fields"),
    [
        ({"podAntiAffinity": {REQUIRED: [OWN_NODES]}}, []),
        ({"podAntiAffinity": {REQUIRED: [OWN_NODES, OWN_NODES], PREFERRED: [{"podAffinityTerm": OTHERS}]}}, []),
        ({"podAffinity": {REQUIRED: [OTHERS], PREFERRED: [{"podAffinityTerm": OTHERS}]}}, []),
        ({"podAntiAffinity": {REQUIRED: [OWN_NODES, OTHERS]}},
         [f"podAntiAffinity.{REQUIRED}[1].{name}" for name in ("topologyKey", "labelSelector.matchLabels")]),
        ({"podAntiAffinity": {REQUIRED: [{**OWN_NODES, "topologyKey": "kubernetes.io/os"}]}},
         [f"podAntiAffinity.{REQUIRED}[0].topologyKey"]),
        *(
            ({"podAntiAffinity": {REQUIRED: [{**OWN_NODES, "labelSelector": selector}]}},
             [f"podAntiAffinity.{REQUIRED}[0].labelSelector.matchLabels"])
            for selector in UNCONFINED
        ),
        *(
            ({kind: {REQUIRED: [{**OWN_NODES, **more}]}}, [f"{kind}.{REQUIRED}[0].{name}" for name in more])
            for kind in ("podAffinity", "podAntiAffinity")
            for more in ELSEWHERE
        ),
        ({"podAntiAffinity": {PREFERRED: [{"weight": 100, "podAffinityTerm": {**OTHERS, "namespaceSelector": {}}}]}},
         [f"podAntiAffinity.{PREFERRED}[0].podAffinityTerm.namespaceSelector"]),
        *(({"podAntiAffinity": {REQUIRED: json.loads(form)}}, []) for form in ("null", "{}", "1", "[]", '["x", null]')),
    ],
    ids=str,
)  # fmt: skip
def test_an_affinity_leaves_other_pods_their_nodes(affinity: dict[str, Any], fields: list[str]) -> None:
    found = violations(ModuleSpec("shop", affinity=affinity))
    assert [field for field, _ in found] == [f"affinity.{field}" for field in fields]


def test_a_required_anti_affinity_names_the_label_of_the_modules_pods() -> None:
    labels = pod(ModuleSpec("shop"))["metadata"]["labels"]
    assert OWN_LABEL.items() <= labels.items()


def test_a_spec_is_the_same_behind_the_wire_and_in_a_record() -> None:
    assert convert.spec_from(convert.spec_message(PLACED)) == PLACED
    found = objects.record_of(deployment(PLACED))
    assert found is not None and found.spec == PLACED


def test_whole_numbers_of_an_affinity_stay_ints() -> None:
    message = json_format.ParseDict({"module_name": "shop", "affinity": {"podAntiAffinity": ZONES}}, pb.ModuleSpec())
    affinity = convert.spec_from(message).affinity
    assert json.dumps(affinity, sort_keys=True) == json.dumps({"podAntiAffinity": ZONES}, sort_keys=True)


def test_pods_are_what_the_spec_says() -> None:
    made, template = deployment(PLACED), pod(PLACED)
    for metadata in (made["metadata"], template["metadata"]):
        assert metadata["labels"]["team"] == "a" and metadata["annotations"]["prometheus.io/scrape"] == "true"
    spec = template["spec"]
    assert spec["nodeSelector"] == {"kubernetes.io/arch": "amd64"}
    assert spec["tolerations"] == [
        {"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 60}
    ]
    assert spec["affinity"] == {"podAntiAffinity": ZONES}
    assert (spec["priorityClassName"], spec["serviceAccountName"]) == ("batch-low", "shop-reader")
    assert spec["automountServiceAccountToken"] is False
    assert spec["volumes"][0]["emptyDir"] == {"sizeLimit": "5Gi"}
    assert spec["containers"][0]["resources"] == {
        "requests": {"cpu": "2", "memory": "1Gi", "ephemeral-storage": "5Gi"}, "limits": {"cpu": "4", "memory": "2Gi"},
    }  # fmt: skip
    plain = pod(ModuleSpec("math"))["spec"]
    assert not {"nodeSelector", "tolerations", "affinity", "priorityClassName"} & set(plain)
    assert plain["serviceAccountName"] == "jac-orc-module"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Resources(), {"requests": {"cpu": "20m", "memory": "96Mi"}}),
        (Resources(cpu="500m"), {"requests": {"cpu": "500m", "memory": "96Mi"}}),
        (Resources(cpu_limit="1"), {"requests": {"cpu": "20m", "memory": "96Mi"}, "limits": {"cpu": "1"}}),
        (Resources(cpu_limit="10m"), {"requests": {"cpu": "10m", "memory": "96Mi"}, "limits": {"cpu": "10m"}}),
        (Resources(memory="1Gi"), {"requests": {"cpu": "20m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}),
        (Resources(memory_limit="32Mi"), {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"memory": "32Mi"}}),
        (Resources(gpu=1), {"requests": {"cpu": "20m", "memory": "96Mi", "nvidia.com/gpu": "1"},
                            "limits": {"nvidia.com/gpu": "1"}}),
    ],
    ids=str,
)  # fmt: skip
def test_a_cpu_limit_is_set_only_if_it_is_asked_for(wanted: Resources, expected: Document) -> None:
    assert pod(ModuleSpec("math", resources=wanted))["spec"]["containers"][0]["resources"] == expected


# --- other versions ---


def test_fields_of_a_newer_version_are_left_out() -> None:
    record = json.loads(Record.first(PLACED).text())
    record["newer"] = record["spec"]["newer"] = record["spec"]["resources"]["newer"] = 1
    record["spec"]["tolerations"][0]["newer"] = 1
    found = objects.record_of({"metadata": {"annotations": {objects.RECORD: json.dumps(record)}}})
    assert found is not None and found.spec == PLACED


def test_whatever_pods_are_made_of_is_in_their_revision() -> None:
    changes: list[dict[str, Any]] = [
        {name: getattr(PLACED, name)}
        for name in ("labels", "annotations", "node_selector", "tolerations", "affinity", "priority_class",
                     "service_account", "resources")
    ]  # fmt: skip
    specs = [ModuleSpec("shop", **change) for change in [{}, *changes]]
    assert len({Record.first(spec).revision for spec in specs}) == len(specs)
    assert len({spec.revision() for spec in specs}) == len(specs) - 1, "processes have no labels"


# --- policy and command line ---


@pytest.mark.parametrize(
    ("policy", "spec", "key"),
    [
        (Policy(), ModuleSpec("shop"), ""), (Policy(), ModuleSpec("shop", service_account="shop"), "service_accounts"),
        (Policy(service_accounts=("sh*",)), ModuleSpec("shop", service_account="shop"), ""),
        (Policy(service_accounts=("sh",)), ModuleSpec("shop", service_account="shop"), "service_accounts"),
        (Policy(), ModuleSpec("shop", priority_class="low"), ""),
        (Policy(priority_classes=("low",)), ModuleSpec("shop", priority_class="high"), "priority_classes"),
        (Policy(priority_classes=()), ModuleSpec("shop"), ""),
    ],
    ids=str,
)  # fmt: skip
def test_accounts_and_priorities_are_the_operators_to_allow(policy: Policy, spec: ModuleSpec, key: str) -> None:
    if not key:
        policy.check(spec)
        return
    with pytest.raises(OrcError) as caught:
        policy.check(spec)
    assert (caught.value.reason, caught.value.metadata["key"]) == ("POLICY_REFUSED", key)


def test_options_say_it_too() -> None:
    made = spec_of_options(
        Spec(
            label=["team=a", "empty="], annotation=["a=b=c"], node_selector=["gpu=yes"], priority_class="low",
            toleration=["gpu", "gpu=yes", "gpu:NoExecute", "gpu=yes:NoSchedule"], service_account="shop",
            cpu_limit="2", memory_limit="1Gi", tmp="4Gi",
        ),
        "shop",
    )  # fmt: skip
    assert (dict(made.labels), dict(made.annotations)) == ({"team": "a", "empty": ""}, {"a": "b=c"})
    assert [(each.operator, each.value, each.effect) for each in made.tolerations] == [
        ("Exists", "", ""), ("Equal", "yes", ""), ("Exists", "", "NoExecute"), ("Equal", "yes", "NoSchedule"),
    ]  # fmt: skip
    assert (made.resources.cpu_limit, made.resources.memory_limit, made.resources.tmp) == ("2", "1Gi", "4Gi")
    assert (made.priority_class, made.service_account, dict(made.node_selector)) == ("low", "shop", {"gpu": "yes"})


@pytest.mark.parametrize(
    "given", [{"label": ["team"]}, {"annotation": ["=a"]}, {"toleration": [":NoSchedule"]}], ids=str
)
def test_an_option_of_another_form_is_bad_usage(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        spec_of_options(Spec(**given), "shop")
