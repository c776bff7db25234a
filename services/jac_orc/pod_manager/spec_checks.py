"""What a module spec may contain: one place, for every backend and every way in.

The kernel and Kubernetes set the limits. A spec that fits one machine fits a cluster, too.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from jac_orc.core.config import MODULE_ENV_PREFIX
from jac_orc.pod_manager.model import INPUTS, ModuleSpec, Resources, Toleration, is_standard_library
from jac_orc.pod_manager.requirements import requirement_fault
from jac_orc.pod_manager.sources import DIGEST, FILE_NAME
from jac_orc.pod_manager.texts import Rule, shown, value_fault

Violation = tuple[str, str]
"""A field, such as `requirements[2]`, `env[HOME]` or `resources.cpu`, and what is wrong with it."""

MAX_ENTRIES = 1000
"""How many requirements, constraints, environment variables, labels and secrets a spec may have, each."""
MAX_SPEC_BYTES = 192 * 1024
"""The size of a spec as JSON. In a cluster it is in an annotation, and these have 256 KiB together."""
MAX_VARIABLE_BYTES = 128 * 1024 - 1
"""The size of NAME=VALUE: the kernel takes no longer string."""
MAX_REPLICAS = 1000
MIN_MEMORY = 24
"""Mi of a pod. Nothing starts with less, and some container runtimes then fail without a reason."""
MIN_TMP = 1
"""Mi of /tmp. Kubernetes takes a size limit of 0 for none, and a few bytes hold nothing."""
MAX_TIMEOUT = 86_400.0
MAX_ANNOTATION_BYTES = 32 * 1024
"""The size of all annotations together; in a cluster an object has them twice, in its record, too."""
MAX_AFFINITY_BYTES = 16 * 1024

_UNITS = {
    "m": 1e-3, "": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip
_DNS_LABEL = "[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_DNS_NAME = rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*"
_QUALIFIED = "[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
# Names of labels and annotations by which something else than the module's code decides what its pods may do: this
# system and its network policies, Kubernetes, meshes, networks, runtimes, injectors of secrets and identities.
_RESERVED_DOMAINS = (
    "jac-orc.dev", "kubernetes.io", "k8s.io",
    # Meshes and injectors of sidecars.
    "istio.io", "linkerd.io", "kuma.io", "hashicorp.com", "k8s.aws", "openservicemesh.io", "flomesh.io",
    "nsm.nginx.com", "networkservicemesh.io", "dapr.io", "getambassador.io", "telepresence.io",
    "instrumentation.opentelemetry.io", "sidecar.opentelemetry.io", "jaegertracing.io", "admission.datadoghq.com",
    "ad.datadoghq.com", "dynatrace.com", "co.elastic.logs", "stackrox.io", "fairwinds.com",
    # Networks.
    "cncf.io", "multus-cni.io", "projectcalico.org", "cilium.io", "ovn.org", "antrea.io", "spidernet.io",
    # Clouds.
    "amazonaws.com", "gke.io", "gke-gcsfuse", "gke-parallelstore", "aliyun.com", "alibabacloud.com",
    "cloud.tencent.com", "openshift.io",
    # Secrets and identities.
    "banzaicloud.io", "bank-vaults.io", "1password.io", "conjur.org", "akeyless", "infisical.com", "spiffe.io",
    # Runtimes.
    "nri.io", "containerd.io", "crun.io", "crio.io", "cri-o.io",
)  # fmt: skip
_RESERVED_PREFIXES = (
    "io.kubernetes.", "io.katacontainers.", "io.containerd.", "run.oci.", "org.systemd.", "org.criu.", "dev.gvisor.",
)  # fmt: skip
_RESERVED_NAMES = (
    "pod-template-hash", "controller-revision-hash", "controller-uid", "job-name", "k8s-app", "istio",
    "aadpodidbinding",
)  # fmt: skip
_FREE_NAMES = ("cluster-autoscaler.kubernetes.io/safe-to-evict", "karpenter.sh/do-not-disrupt")
# Taints that keep nodes for the cluster's own pods, or that empty nodes before they are removed.
_CLUSTER_TAINTS = (
    "CriticalAddonsOnly", "ToBeDeletedByClusterAutoscaler", "DeletionCandidateOfClusterAutoscaler",
    "karpenter.sh/disrupted", "karpenter.sh/disruption", "karpenter.sh/unregistered",
)  # fmt: skip
_CLUSTER_TAINT_DOMAINS = ("kubernetes.io", "k8s.io", "node.cilium.io")
_NODE_FAILURES = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_AFFINITIES = ("nodeAffinity", "podAffinity", "podAntiAffinity")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_HOSTNAME = "kubernetes.io/hostname"
_MODULE_LABEL = "jac-orc.dev/module"
_OWN_OBJECTS = "jac-orc-"
# The distribution project's reference grammar: REGISTRY:PORT/PATH:TAG@DIGEST.
_HOST = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_PATH = "[a-z0-9]+(?:(?:[.]|__?|-+)[a-z0-9]+)*"
_IMAGE = (
    rf"(?:{_HOST}(?:\.{_HOST})*(?::\d{{1,5}})?/)?{_PATH}(?:/{_PATH})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)

LABEL_NAME = Rule(
    317, rf"(?:(?=[^/]{{1,253}}/){_DNS_NAME}/)?{_QUALIFIED}", "a label's name like team or example.com/team"
)
LABEL_VALUE = Rule(63, f"(?:{_QUALIFIED})?", "a label's value: letters, digits and -_. between letters or digits")
CPU = Rule(10, r"(?!0*(\.0*)?m?\Z)(\d{1,6}m|\d{1,4}(\.\d{1,3})?)", "a number of cores like 500m or 2")
MEMORY = Rule(25, r"\d{1,15}(\.\d{1,3})?(Ki|Mi|Gi|Ti|k|M|G|T|)", "a number of bytes like 512Mi or 2Gi")


def amount(quantity: str) -> float:
    """Return how many cores or bytes a quantity like 500m or 512Mi is."""
    number = quantity.rstrip("".join(_UNITS))
    return float(number) * _UNITS[quantity.removeprefix(number)]


def tmp_fault(size: str) -> str:
    """Return what is wrong with a size limit of /tmp; empty if nothing is."""
    if (fault := MEMORY.fault(size)) or amount(size) >= MIN_TMP * 2**20:
        return fault
    return f"must be at least {MIN_TMP}Mi, not {size[:25]}"


# What each string of a spec may be. A field with several strings has one violation for each that is faulty.
_STRINGS: Mapping[str, Callable[[str], str]] = {
    "requirements": requirement_fault,
    "constraints": requirement_fault,
    "python_version": Rule(10, r"3\.\d{1,2}(\.\d{1,2})?", "a version of Python 3 like 3.12 or 3.12.1").fault,
    "image": Rule(500, _IMAGE, "a name of an image like registry.example/shop:1.0").fault,
    "secrets": Rule(253, _DNS_NAME, "a name of a Secret like shop-keys").fault,
    "resources.cpu": CPU.fault,
    "resources.memory": MEMORY.fault,
    "resources.cpu_limit": CPU.fault,
    "resources.memory_limit": MEMORY.fault,
    "resources.tmp": tmp_fault,
    "priority_class": Rule(253, _DNS_NAME, "a name of a PriorityClass like batch-low").fault,
    "service_account": Rule(253, _DNS_NAME, "a name of a ServiceAccount like shop-reader").fault,
    "source.uploaded.digest": DIGEST.fault,
    "source.uploaded.file_name": FILE_NAME.fault,
}
_NUMBERS = {
    "replicas": (0, MAX_REPLICAS),
    "workers": (1, 128),
    "max_concurrency": (1, 1000),
    "queue": (0, 100_000),
    "resources.gpu": (0, 1024),
    "autoscaling.min_replicas": (1, MAX_REPLICAS),
    "autoscaling.max_replicas": (1, MAX_REPLICAS),
    "autoscaling.target_cpu": (1, 1000),
}
_LISTS = (
    "requirements", "constraints", "env", "labels", "secrets", "annotations", "node_selector", "tolerations",
)  # fmt: skip


def violations(spec: ModuleSpec) -> list[Violation]:
    """Return the spec's faults, one for each thing to change."""
    too_many = [
        (name, f"has {len(getattr(spec, name)):,} entries, of at most {MAX_ENTRIES:,}")
        for name in _LISTS
        if len(getattr(spec, name)) > MAX_ENTRIES
    ]
    if faults := too_many or list(_size_violations(spec)):  # to check each of the strings would take long
        return faults
    return [
        *_string_violations(spec),
        *_number_violations(spec),
        *_entry_violations(spec),
        *_toleration_violations(spec.tolerations),
        *_affinity_violations(spec.affinity),
        *_pod_affinity_violations(spec),
        *_resource_violations(spec.resources),
        *_conflicts(spec),
    ]


def _value(spec: ModuleSpec, field: str) -> Any:
    """Return what a field like `resources.cpu` has; None if the spec lacks what it is in."""
    value: Any = spec
    for name in field.replace("uploaded.", "").split("."):
        value = getattr(value, name, None)
    return value


def _string_violations(spec: ModuleSpec) -> Iterator[Violation]:
    for field, check in _STRINGS.items():
        value = _value(spec, field)
        strings = {field: value} if value and isinstance(value, str) else {}
        if isinstance(value, tuple):
            strings = {f"{field}[{index}]": text for index, text in enumerate(value)}
        yield from ((at, fault) for at, text in strings.items() if (fault := check(text)))


def _number_violations(spec: ModuleSpec) -> Iterator[Violation]:
    for field, (least, most) in _NUMBERS.items():
        value = _value(spec, field)
        if value is not None and not least <= value <= most:
            yield field, f"must be from {least} to {most}, not {value}"
    for name in ("timeout", "import_timeout"):
        seconds = getattr(spec, name)
        if not 0 < seconds <= MAX_TIMEOUT:
            yield name, f"must be more than 0 s and at most {MAX_TIMEOUT:g} s, not {seconds:g} s"


def _entry_violations(spec: ModuleSpec) -> Iterator[Violation]:
    for field, (name_fault, entry_fault) in _MAPS.items():
        for name, value in getattr(spec, field).items():
            if fault := name_fault(name):
                yield field, fault
            elif fault := entry_fault(name, value):
                yield f"{field}[{name}]", fault
    size = sum(len(f"{name}{value}".encode("utf-8", "surrogatepass")) for name, value in spec.annotations.items())
    if size > MAX_ANNOTATION_BYTES and max(map(len, spec.annotations.values())) <= MAX_ANNOTATION_BYTES:
        yield "annotations", f"have {size:,} bytes together, of at most {MAX_ANNOTATION_BYTES:,}"


def _reserved(name: str) -> str:
    """Return why nobody may set a label or an annotation of that name; empty if anybody may."""
    domain = name.rpartition("/")[0] or name  # some runtimes' annotations are a domain alone
    is_reserved = name in _RESERVED_NAMES or _is_below(domain, _RESERVED_DOMAINS)
    if name in _FREE_NAMES or not (is_reserved or name.startswith(_RESERVED_PREFIXES)):
        return ""
    return "is reserved: it could change what protects or connects the pods; give yours another name"


def _is_below(domain: str, domains: Iterable[str]) -> bool:
    return any(f".{domain}".endswith(f".{each}") for each in domains)


_MAPS: Mapping[str, tuple[Callable[[str], str], Callable[[str, str], str]]] = {
    "env": (
        Rule(256, "[A-Za-z_][A-Za-z0-9_]*", "a name of an environment variable").fault,
        lambda name, value: value_fault(value, MAX_VARIABLE_BYTES - len(f"{MODULE_ENV_PREFIX}{name}=")),
    ),
    "labels": (LABEL_NAME.fault, lambda name, value: _reserved(name) or LABEL_VALUE.fault(value)),
    "annotations": (LABEL_NAME.fault, lambda name, value: _reserved(name) or value_fault(value, MAX_ANNOTATION_BYTES)),
    "node_selector": (LABEL_NAME.fault, lambda _, value: LABEL_VALUE.fault(value)),
}
"""What is wrong with a name in a map, and with an entry whose name is right."""


def _toleration_violations(tolerations: Sequence[Toleration]) -> Iterator[Violation]:
    for index, each in enumerate(tolerations):
        at = f"tolerations[{index}]"
        is_clusters = each.key in _CLUSTER_TAINTS or _is_below(each.key.rpartition("/")[0], _CLUSTER_TAINT_DOMAINS)
        is_node_failure = each.key in _NODE_FAILURES and each.effect == "NoExecute"
        if not each.key:
            yield f"{at}.key", "is missing; without it, any taint is tolerated, the control plane's too"
        elif fault := LABEL_NAME.fault(each.key):
            yield f"{at}.key", fault
        elif is_clusters and not is_node_failure:
            text = "is a taint by which the cluster keeps pods off a node; of these, only not-ready and unreachable"
            yield f"{at}.key", f"{text} may be tolerated, with the effect NoExecute"
        if each.operator not in ("", "Equal", "Exists"):
            yield f"{at}.operator", f"{shown(each.operator, 60)} is not Equal or Exists"
        if fault := LABEL_VALUE.fault(each.value):
            yield f"{at}.value", fault
        elif each.value and each.operator == "Exists":
            yield f"{at}.value", "must be empty for the operator Exists"
        if each.effect not in ("", "NoSchedule", "PreferNoSchedule", "NoExecute"):
            yield f"{at}.effect", f"{shown(each.effect, 60)} is not NoSchedule, PreferNoSchedule or NoExecute"
        if each.toleration_seconds is not None:
            if each.effect != "NoExecute":
                yield f"{at}.toleration_seconds", "needs the effect NoExecute"
            elif not 0 <= each.toleration_seconds < 2**31:
                yield f"{at}.toleration_seconds", f"must be from 0 to {2**31 - 1}"


def _affinity_violations(affinity: Mapping[str, object]) -> Iterator[Violation]:
    """Yield what an API server need not be asked about; it checks the rest."""
    for name, value in affinity.items():
        if name not in _AFFINITIES:
            yield "affinity", f"unknown field {shown(name, 60)}; known fields: {', '.join(_AFFINITIES)}"
        elif not isinstance(value, dict):
            yield f"affinity.{name}", "must be an object"
    try:
        size = len(json.dumps(affinity, allow_nan=False))
    except ValueError:
        yield "affinity", "has a number that JSON can't hold"
    else:
        if size > MAX_AFFINITY_BYTES:
            yield "affinity", f"has {size:,} bytes as JSON, of at most {MAX_AFFINITY_BYTES:,}"


def _pod_affinity_violations(spec: ModuleSpec) -> Iterator[Violation]:
    """Yield rules about other pods that could keep these off their nodes.

    The scheduler applies a pod's required anti-affinity in both directions: to later pods, too.
    """
    for name in ("podAffinity", "podAntiAffinity"):
        for field, term in _pod_terms(spec.affinity, name):
            for key in ("namespaces", "namespaceSelector"):
                if key in term:
                    yield f"{field}.{key}", "must be left out: a rule applies to pods of this namespace only"
            if name == "podAffinity" or f".{_REQUIRED}[" not in field:
                continue
            text = f"as a required anti-affinity keeps other pods off, too; use {_PREFERRED} for other rules"
            if term.get("topologyKey") != _HOSTNAME:
                yield f"{field}.topologyKey", f"must be {_HOSTNAME}, {text}"
            selector = term.get("labelSelector")
            labels = selector.get("matchLabels") if isinstance(selector, Mapping) else None
            if not isinstance(labels, Mapping) or labels.get(_MODULE_LABEL) != spec.module_name:
                label = f"{_MODULE_LABEL}: {spec.module_name}"
                yield f"{field}.labelSelector.matchLabels", f"must have {shown(label)}, {text}"


def _pod_terms(affinity: Mapping[str, object], name: str) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield the terms about pods, each with its field; the API server refuses terms of another form."""
    rules = affinity.get(name)
    for kind, inner in ((_REQUIRED, ""), (_PREFERRED, "podAffinityTerm")):
        listed = rules.get(kind) if isinstance(rules, Mapping) else None
        for index, each in enumerate(listed if isinstance(listed, list) else ()):
            term = each.get(inner) if inner and isinstance(each, Mapping) else each
            if isinstance(term, Mapping):
                yield f"affinity.{name}.{kind}[{index}]" + (f".{inner}" if inner else ""), term


def _resource_violations(resources: Resources) -> Iterator[Violation]:
    for name in ("memory", "memory_limit"):
        value = getattr(resources, name)
        if value and not MEMORY.fault(value) and amount(value) < MIN_MEMORY * 2**20:
            yield f"resources.{name}", f"must be at least {MIN_MEMORY}Mi, as no pod starts with less, not {value[:25]}"
    for name, rule in (("cpu", CPU), ("memory", MEMORY)):
        value, limit = getattr(resources, name), getattr(resources, f"{name}_limit")
        if value and limit and not rule.fault(value) and not rule.fault(limit) and amount(limit) < amount(value):
            yield f"resources.{name}_limit", f"must be at least {name}, {value}, not {limit}"


def _conflicts(spec: ModuleSpec) -> Iterator[Violation]:
    """Yield what the rest of the spec, or the system, doesn't go with."""
    if (scaling := spec.autoscaling) and 1 <= scaling.max_replicas < scaling.min_replicas <= MAX_REPLICAS:
        text = f"must be at most max_replicas, {scaling.max_replicas}, not {scaling.min_replicas}"
        yield "autoscaling.min_replicas", text
    if spec.image:
        for name in INPUTS:
            if getattr(spec, name):
                yield name, "is part of the image already; give one or the other"
    for index, name in enumerate(spec.secrets):
        if name.startswith(_OWN_OBJECTS):
            yield f"secrets[{index}]", f"{shown(name, 60)} is one of the system's own; give yours another name"
    if spec.priority_class.startswith("system-"):
        yield "priority_class", f"{shown(spec.priority_class, 60)} is one of Kubernetes' own; give one of the cluster's"
    if spec.service_account.startswith(_OWN_OBJECTS):
        yield "service_account", f"{shown(spec.service_account, 60)} is one of the system's own; give another one"
    if spec.source is not None and is_standard_library(spec.module_name):
        package = spec.module_name.partition(".")[0]
        yield "source", f"{package} is a module of the standard library; give your own another name"


def _size_violations(spec: ModuleSpec) -> Iterator[Violation]:
    sizes = {name: len(json.dumps(value)) for name, value in dataclasses.asdict(spec).items()}
    if sum(sizes.values()) > MAX_SPEC_BYTES:
        largest = max(sizes, key=lambda name: sizes[name])
        text = f"takes {sizes[largest]:,} bytes as JSON; a whole spec may take {MAX_SPEC_BYTES:,}"
        yield largest, f"{text}, so that it fits into an object of a cluster"
