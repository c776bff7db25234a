"""What a module spec may contain: one place, for every backend and every way in.

The kernel and Kubernetes set the limits. A spec that fits one machine fits a cluster, too.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping

from jac_orc.core.config import MODULE_ENV_PREFIX
from jac_orc.pod_manager.model import Autoscaling, ModuleSpec, Resources, is_standard_library
from jac_orc.pod_manager.requirements import requirement_fault
from jac_orc.pod_manager.sources import DIGEST, FILE_NAME
from jac_orc.pod_manager.texts import rule, shown, value_fault

Violation = tuple[str, str]
"""A field, such as `requirements[2]`, `env[HOME]` or `resources.cpu`, and what is wrong with it."""

MAX_ENTRIES = 1000
"""How many requirements, constraints, environment variables, labels and secrets a spec may have, each."""
MAX_SPEC_BYTES = 192 * 1024
"""The size of a spec as JSON. In a cluster it is in an annotation, and these have 256 KiB together."""
MAX_VARIABLE_BYTES = 128 * 1024 - 1
"""The size of NAME=VALUE: the kernel takes no longer string."""
MAX_REPLICAS = 1000
MAX_TARGET_CPU = 1000
MAX_WORKERS = 128
MAX_CONCURRENCY = 1000
MAX_QUEUE = 100_000
MAX_GPUS = 1024
MIN_MEMORY = 24
"""Mi of a pod. Nothing starts with less, and some container runtimes then fail without a reason."""
MAX_TIMEOUT = 86_400.0

_BYTES = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_MEMORY = re.compile(r"(\d{1,15}(?:\.\d{1,3})?)(Ki|Mi|Gi|Ti|k|M|G|T|)")
_DNS_LABEL = "[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_DNS_NAME = rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*"
_QUALIFIED = "[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_OWN_LABELS = ("app.kubernetes.io/", "jac-orc.dev/")
_OWN_SECRETS = "jac-orc-"
# The distribution project's reference grammar: REGISTRY:PORT/PATH:TAG@DIGEST.
_HOST = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_PATH = "[a-z0-9]+(?:(?:[.]|__?|-+)[a-z0-9]+)*"
_IMAGE = (
    rf"(?:{_HOST}(?:\.{_HOST})*(?::\d{{1,5}})?/)?{_PATH}(?:/{_PATH})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)

VARIABLE_NAME = rule(256, "[A-Za-z_][A-Za-z0-9_]*", "a name of an environment variable")
LABEL_NAME = rule(
    317, rf"(?:(?=[^/]{{1,253}}/){_DNS_NAME}/)?{_QUALIFIED}", "a label's name like team or example.com/team"
)
LABEL_VALUE = rule(63, f"(?:{_QUALIFIED})?", "a label's value: letters, digits and -_. between letters or digits")
SECRET = rule(253, _DNS_NAME, "a name of a Secret like shop-keys")
IMAGE = rule(500, _IMAGE, "a name of an image like registry.example/shop:1.0")
PYTHON_VERSION = rule(10, r"3\.\d{1,2}(\.\d{1,2})?", "a version like 3.12")
CPU = rule(10, r"(?!0*(\.0*)?m?\Z)(\d{1,6}m|\d{1,4}(\.\d{1,3})?)", "a number of cores like 500m or 2")
MEMORY = rule(25, _MEMORY.pattern, "a number of bytes like 512Mi or 2Gi")

# What each string of a spec may be. A field with several strings has one violation for each that is faulty.
_STRINGS: Mapping[str, Callable[[str], str]] = {
    "requirements": requirement_fault,
    "constraints": requirement_fault,
    "python_version": PYTHON_VERSION.fault,
    "image": IMAGE.fault,
    "secrets": SECRET.fault,
    "resources.cpu": CPU.fault,
    "resources.memory": MEMORY.fault,
    "source.uploaded.digest": DIGEST.fault,
    "source.uploaded.file_name": FILE_NAME.fault,
}
_NUMBERS = {
    "replicas": (0, MAX_REPLICAS),
    "workers": (1, MAX_WORKERS),
    "max_concurrency": (1, MAX_CONCURRENCY),
    "queue": (0, MAX_QUEUE),
}
_LISTS = ("requirements", "constraints", "env", "labels", "secrets")


def violations(spec: ModuleSpec) -> list[Violation]:
    """Return the spec's faults, one for each thing to change."""
    too_many = [
        (name, f"has {len(getattr(spec, name)):,} entries, of at most {MAX_ENTRIES:,}")
        for name in _LISTS
        if len(getattr(spec, name)) > MAX_ENTRIES
    ]
    if too_many:  # to check each of them would take long
        return too_many
    found = [
        *(
            (field, fault)
            for field, check in _STRINGS.items()
            for field, text in _strings(spec, field)
            if (fault := check(text))
        ),
        *_number_violations(spec),
        *_variable_violations(spec.env),
        *_label_violations(spec.labels),
        *_resource_violations(spec.resources),
        *([] if spec.autoscaling is None else _autoscaling_violations(spec.autoscaling)),
        *_conflicts(spec),
    ]
    return found or list(_size_violations(spec))


def _strings(spec: ModuleSpec, field: str) -> Iterator[Violation]:
    """Yield the strings of a field that are set, each with the field's name and the string's index in it."""
    names = field.replace("uploaded.", "").split(".")
    value: object = spec
    for name in names:
        value = getattr(value, name, "")
    if isinstance(value, tuple | list):
        yield from ((f"{field}[{index}]", text) for index, text in enumerate(value))
    elif value:
        yield field, str(value)


def _number_violations(spec: ModuleSpec) -> Iterator[Violation]:
    for name, (least, most) in _NUMBERS.items():
        if not least <= getattr(spec, name) <= most:
            yield name, f"must be from {least} to {most}, not {getattr(spec, name)}"
    for name in ("timeout", "import_timeout"):
        seconds = getattr(spec, name)
        if not 0 < seconds <= MAX_TIMEOUT:
            yield name, f"must be more than 0 s and at most {MAX_TIMEOUT:g} s, not {seconds:g} s"


def _variable_violations(env: Mapping[str, str]) -> Iterator[Violation]:
    for name, value in env.items():
        if fault := VARIABLE_NAME.fault(name):
            yield "env", fault
        elif fault := value_fault(value, MAX_VARIABLE_BYTES - len(f"{MODULE_ENV_PREFIX}{name}=")):
            yield f"env[{name}]", fault


def _label_violations(labels: Mapping[str, str]) -> Iterator[Violation]:
    for name, value in labels.items():
        if fault := LABEL_NAME.fault(name):
            yield "labels", fault
        elif name.startswith(_OWN_LABELS):
            yield f"labels[{name}]", "is a label of the system's own; give yours another name"
        elif fault := LABEL_VALUE.fault(value):
            yield f"labels[{name}]", fault


def _resource_violations(resources: Resources) -> Iterator[Violation]:
    memory = resources.memory
    quantity = _MEMORY.fullmatch(memory)
    if quantity and float(quantity[1]) * _BYTES[quantity[2]] < MIN_MEMORY * 2**20:
        yield "resources.memory", f"must be at least {MIN_MEMORY}Mi, as no pod starts with less, not {memory[:25]}"
    if not 0 <= resources.gpu <= MAX_GPUS:
        yield "resources.gpu", f"must be from 0 to {MAX_GPUS}, not {resources.gpu}"


def _autoscaling_violations(autoscaling: Autoscaling) -> Iterator[Violation]:
    limits = {"min_replicas": MAX_REPLICAS, "max_replicas": MAX_REPLICAS, "target_cpu": MAX_TARGET_CPU}
    for name, limit in limits.items():
        if not 1 <= getattr(autoscaling, name) <= limit:
            yield f"autoscaling.{name}", f"must be from 1 to {limit}, not {getattr(autoscaling, name)}"
    least, most = autoscaling.min_replicas, autoscaling.max_replicas
    if 1 <= most < least <= MAX_REPLICAS:
        yield "autoscaling.min_replicas", f"must be at most max_replicas, {most}, not {least}"


def _conflicts(spec: ModuleSpec) -> Iterator[Violation]:
    """Yield what the rest of the spec, or the system, doesn't go with."""
    if spec.image:
        for name in ("requirements", "constraints", "source", "python_version"):
            if getattr(spec, name):
                yield name, "is part of the image already; give one or the other"
    for index, name in enumerate(spec.secrets):
        if name.startswith(_OWN_SECRETS):
            yield f"secrets[{index}]", f"{shown(name, 60)} is one of the system's own; give yours another name"
    if spec.source is not None and is_standard_library(spec.module_name):
        package = spec.module_name.partition(".")[0]
        yield "source", f"{package} is a module of the standard library; give your own another name"


def _size_violations(spec: ModuleSpec) -> Iterator[Violation]:
    sizes = {name: len(json.dumps(value)) for name, value in dataclasses.asdict(spec).items()}
    if sum(sizes.values()) > MAX_SPEC_BYTES:
        largest = max(sizes, key=lambda name: sizes[name])
        text = f"takes {sizes[largest]:,} bytes as JSON; a whole spec may take {MAX_SPEC_BYTES:,}"
        yield largest, f"{text}, so that it fits into an object of a cluster"
