"""What the pod manager speaks of: module specs, modules, pods. Plain data; messages and files are made elsewhere."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import keyword
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from jac_orc.errors import OrcError, error
from jac_orc.pod_manager.sources import SourceRef

MAX_NAME_CHARS = 200
MAX_ENTRIES = 1000
"""How many requirements, constraints, environment variables and labels a spec may have, each."""
MAX_REPLICAS = 1000
MAX_TARGET_CPU = 1000
MAX_WORKERS = 128
MAX_CONCURRENCY = 1000
MAX_QUEUE = 100_000
MAX_GPUS = 1024
MIN_MEMORY = 24
"""Mi of a pod. Nothing starts with less, and where a container runtime itself has too little nobody is told why."""
MAX_IMAGE_CHARS = 500
MAX_TIMEOUT = 86_400.0
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_HASH = re.compile(r"sha(256|384|512):[0-9a-fA-F]{64,128}\Z")
_PYTHON_VERSION = re.compile(r"3\.\d{1,2}(\.\d{1,2})?\Z")
# Kubernetes' own forms, on every backend: what is fit for one machine shall be fit for a cluster.
_CPU = re.compile(r"(\d{1,6}m|\d{1,4}(\.\d{1,3})?)\Z")
_MEMORY = re.compile(r"(\d{1,15}(?:\.\d{1,3})?)(Ki|Mi|Gi|Ti|k|M|G|T|)\Z")
_BYTES = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_LABEL_NAME = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?\Z")
_OWN_LABELS = ("app.kubernetes.io/", "jac-orc.dev/")
# Of the distribution project's reference grammar what people write: REGISTRY:PORT/PATH:TAG@DIGEST.
_IMAGE = re.compile(
    r"([a-zA-Z0-9.-]+(:\d+)?/)?[a-z0-9]+([._/-]+[a-z0-9]+)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?\Z"
)
_OWN_SECRETS = "jac-orc-"
_SECRET = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")


@dataclass(frozen=True)
class Resources:
    """What each pod may use, in Kubernetes' notation; empty: the default of where it runs."""

    cpu: str = ""
    memory: str = ""
    gpu: int = 0


@dataclass(frozen=True)
class Autoscaling:
    """How many pods there may be, and the share of the CPU that they request, in percent, which is aimed at."""

    min_replicas: int
    max_replicas: int
    target_cpu: int


@dataclass(frozen=True)
class ModuleSpec:
    """What to deploy; the fields are those of `jac_orc.v1.ModuleSpec`, with their defaults filled in."""

    module_name: str
    requirements: tuple[str, ...] = ()
    replicas: int = 1
    env: Mapping[str, str] = field(default_factory=dict)
    workers: int = 1
    max_concurrency: int = 16
    queue: int = 1000
    timeout: float = 300.0
    python_version: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    source: SourceRef | None = None
    constraints: tuple[str, ...] = ()
    import_timeout: float = 300.0
    resources: Resources = Resources()
    secrets: tuple[str, ...] = ()
    image: str = ""
    autoscaling: Autoscaling | None = None

    def revision(self) -> str:
        """A hash of what a pod is made from: pods of one revision are alike."""
        content = dataclasses.asdict(self)
        del content["replicas"], content["labels"], content["autoscaling"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def inputs(self) -> tuple[object, ...]:
        """What its environment is resolved from; with equal inputs a lock stays right."""
        return (self.requirements, self.constraints, self.python_version, self.source)

    @property
    def needs_install(self) -> bool:
        """Whether anything is installed into its environment."""
        return bool(self.requirements) or self.source is not None

    def scaled_to(self, replicas: int) -> ModuleSpec:
        """The spec with that many pods, or the nearest number that its autoscaling allows."""
        if self.autoscaling is not None:
            replicas = min(max(replicas, self.autoscaling.min_replicas), self.autoscaling.max_replicas)
        return dataclasses.replace(self, replicas=replicas)

    def differing_fields(self, other: ModuleSpec) -> list[str]:
        """The names of the fields in which the specs differ; what an autoscaler has chosen is no difference."""
        if self.autoscaling is not None and other.autoscaling is not None:
            other = dataclasses.replace(other, replicas=self.replicas)
        return [f.name for f in dataclasses.fields(self) if getattr(self, f.name) != getattr(other, f.name)]

    def must_equal(self, other: ModuleSpec) -> None:
        """Raises OrcError if the other one, which somebody wants this deployed module to have, differs."""
        if differing := self.differing_fields(other):
            text = f"{self.module_name} is deployed with another spec; it differs in {', '.join(differing)}"
            raise error("MODULE_SPEC_DIFFERS", text, {"module": self.module_name, "fields": ",".join(differing)})


def spec_from_document(document: Mapping[str, Any]) -> ModuleSpec:
    """The spec that `dataclasses.asdict` has made a document of; fields that this lacks have their defaults.

    Raises TypeError or AttributeError for what was none.
    """
    lists = {name: tuple(document.get(name, ())) for name in ("requirements", "constraints", "secrets")}
    source = SourceRef(**document["source"]) if document.get("source") else None
    resources = Resources(**document.get("resources", {}))
    autoscaling = Autoscaling(**document["autoscaling"]) if document.get("autoscaling") else None
    return ModuleSpec(**{**document, **lists, "source": source, "resources": resources, "autoscaling": autoscaling})


@dataclass(frozen=True)
class Lock:
    """What an environment consists of, exactly."""

    python: str
    """The path of the interpreter that it is made with."""
    python_version: str
    """Its version, `3.11.2`."""
    text: str
    """The distributions as a requirements file, each pinned, with its hashes where it has any."""

    @property
    def digest(self) -> str:
        """What tells this environment from others; equal locks share one."""
        content = [self.python, self.python_version, platform.machine(), platform.libc_ver()[0], self.text]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:24]

    @property
    def packages(self) -> list[str]:
        """The pinned distributions without their hashes, `numpy==2.3.5`."""
        lines = [line for line in self.text.splitlines() if line and not line.startswith((" ", "#"))]
        return [line.removesuffix("\\").strip() for line in lines]


class ModulePhase(enum.Enum):
    """What a module is doing, in short; as `jac_orc.v1.ModulePhase`."""

    RESOLVING = "RESOLVING"
    DOWNLOADING = "DOWNLOADING"
    BUILDING = "BUILDING"
    STARTING = "STARTING"
    IMPORTING = "IMPORTING"
    READY = "READY"
    FAILED = "FAILED"
    DELETING = "DELETING"
    IDLE = "IDLE"


class PodPhase(enum.Enum):
    """What a pod is doing; as `jac_orc.v1.PodPhase`."""

    STARTING = "STARTING"
    IMPORTING = "IMPORTING"
    READY = "READY"
    DRAINING = "DRAINING"
    CRASHED = "CRASHED"


@dataclass(frozen=True)
class Pod:
    """One running replica as it is now."""

    name: str
    phase: PodPhase
    address: str
    restarts: int
    generation: int


@dataclass(frozen=True)
class Module:
    """A deployed module as it is now. Times are seconds since the epoch."""

    spec: ModuleSpec
    uid: str
    generation: int
    create_time: float
    update_time: float
    phase: ModulePhase
    pods: tuple[Pod, ...] = ()
    observed_generation: int = 0
    """The last generation that all pods were of."""
    error: OrcError | None = None
    """Why the current generation could not be deployed."""
    lock: Lock | None = None
    """What its environment consists of; None before that is resolved."""
    progress: str = ""
    """What is being done just now, for people; empty where nothing is."""

    @property
    def name(self) -> str:
        """The module's import name."""
        return self.spec.module_name

    @property
    def ready(self) -> tuple[Pod, ...]:
        """The pods that take calls."""
        return tuple(pod for pod in self.pods if pod.phase is PodPhase.READY)

    @property
    def settled(self) -> bool:
        """Whether everything is as the spec says, and the pods of an older one are gone."""
        rolled_out = self.observed_generation == self.generation
        return rolled_out and len(self.ready) == len(self.pods) == self.spec.replicas


@dataclass(frozen=True)
class LogLine:
    """One line of a pod's log; `time` is ISO 8601, or empty where the line has none."""

    time: str
    pod: str
    stream: str
    text: str
    call_id: str = ""
    """The call that printed it; empty where none did."""


def check_name(name: str) -> None:
    """Raises OrcError unless the name is one that can be imported and deployed."""
    if not name:
        raise error("MODULE_NAME_INVALID", "no module is named; give its import name, for example numpy")
    if len(name) > MAX_NAME_CHARS:
        raise error("MODULE_NAME_INVALID", f"a module's name has at most {MAX_NAME_CHARS} characters, not {len(name)}")
    segments = name.split(".")
    if not all(segment.isidentifier() and not keyword.iskeyword(segment) for segment in segments):
        text = f"{name!r} is no import name; give what stands behind `import`, such as numpy or PIL.Image"
        raise error("MODULE_NAME_INVALID", text)
    if not name.isascii():
        text = f"{name!r} has letters beyond ASCII, and only names within ASCII can be deployed; rename the module"
        raise error("MODULE_NAME_INVALID", text)
    if any(segment.startswith("_") for segment in segments):
        text = f"{name!r} is private: what begins with an underscore can't be deployed"
        raise error("NAME_NOT_EXPOSED", text)


def violations(spec: ModuleSpec) -> list[tuple[str, str]]:
    """The spec's faults as (field, what is wrong)."""
    found = [
        (name, f"has {len(getattr(spec, name)):,} entries, of at most {MAX_ENTRIES:,}")
        for name in ("requirements", "constraints", "env", "labels", "secrets")
        if len(getattr(spec, name)) > MAX_ENTRIES
    ]
    if found:  # to look at each of them would take long
        return found
    found = [
        (name, fault)
        for name in ("requirements", "constraints")
        for fault in map(requirement_fault, getattr(spec, name))
        if fault
    ]
    for name, least, most in (
        ("replicas", 0, MAX_REPLICAS),
        ("workers", 1, MAX_WORKERS),
        ("max_concurrency", 1, MAX_CONCURRENCY),
        ("queue", 0, MAX_QUEUE),
    ):
        if not least <= getattr(spec, name) <= most:
            found.append((name, f"must be from {least} to {most}, not {getattr(spec, name)}"))
    for name in ("timeout", "import_timeout"):
        seconds = getattr(spec, name)
        if not 0 < seconds <= MAX_TIMEOUT:
            found.append((name, f"must be more than 0 s and at most {MAX_TIMEOUT:g} s, not {seconds:g} s"))
    for name, value in spec.env.items():
        if not _VARIABLE.match(name):
            found.append(("env", f"{name[:100]!r} is no name of an environment variable"))
        if "\0" in value:
            found.append(("env", f"the value of {name[:100]} has a NUL character"))
    for name, value in spec.labels.items():
        if name.startswith(_OWN_LABELS):
            found.append(("labels", f"{name[:100]!r} is a label of the system's own"))
        elif not _LABEL_NAME.match(name) or not _LABEL_VALUE.match(value):
            found.append(("labels", f"{name[:100]}={value[:100]} is no label: at most 63 letters, digits and -_."))
    found += _resource_violations(spec.resources)
    if spec.autoscaling is not None:
        found += _autoscaling_violations(spec.autoscaling)
    if spec.image and (len(spec.image) > MAX_IMAGE_CHARS or not _IMAGE.match(spec.image)):
        found.append(("image", f"{spec.image[:100]!r} is no name of an image like registry.example/shop:1.0"))
    if spec.image:
        installed = [
            name for name in ("requirements", "constraints", "source", "python_version") if getattr(spec, name)
        ]
        found += [(name, "is what the image has in it already; give one or the other") for name in installed]
    found += [("secrets", f"{each[:100]!r} is no name of a secret") for each in spec.secrets if not _SECRET.match(each)]
    own = [each for each in spec.secrets if each.startswith(_OWN_SECRETS)]
    found += [("secrets", f"{each[:100]!r} is one of the system's own; give yours another name") for each in own]
    if spec.source is not None and is_standard_library(spec.module_name):
        package = spec.module_name.partition(".")[0]
        found.append(("source", f"{package} is a module of the standard library; give your own another name"))
    if spec.python_version and not _PYTHON_VERSION.match(spec.python_version):
        found.append(("python_version", f"{spec.python_version[:50]!r} is no version like 3.12"))
    return found


def _autoscaling_violations(autoscaling: Autoscaling) -> list[tuple[str, str]]:
    found = [
        (f"autoscaling.{name}", f"must be from 1 to {most}, not {getattr(autoscaling, name)}")
        for name, most in (
            ("min_replicas", MAX_REPLICAS),
            ("max_replicas", MAX_REPLICAS),
            ("target_cpu", MAX_TARGET_CPU),
        )
        if not 1 <= getattr(autoscaling, name) <= most
    ]
    least, most = autoscaling.min_replicas, autoscaling.max_replicas
    if 1 <= most < least <= MAX_REPLICAS:
        found.append(("autoscaling.min_replicas", f"must be at most max_replicas, {most}, not {least}"))
    return found


def _resource_violations(resources: Resources) -> list[tuple[str, str]]:
    found = []
    cpu, memory = resources.cpu, resources.memory
    if cpu and not (_CPU.match(cpu) and cpu.strip("0.m")):
        found.append(("resources.cpu", f"{cpu[:50]!r} is no number of cores like 500m or 2"))
    quantity = _MEMORY.match(memory)
    if memory and not quantity:
        found.append(("resources.memory", f"{memory[:50]!r} is no number of bytes like 512Mi or 2Gi"))
    elif quantity and float(quantity[1]) * _BYTES[quantity[2]] < MIN_MEMORY * 2**20:
        found.append(("resources.memory", f"must be at least {MIN_MEMORY}Mi, as no pod starts with less, not {memory}"))
    if not 0 <= resources.gpu <= MAX_GPUS:
        found.append(("resources.gpu", f"must be from 0 to {MAX_GPUS}, not {resources.gpu}"))
    return found


def requirement_fault(text: str) -> str:
    """What is wrong with a requirement; empty where nothing is."""
    pin, *hashes = split_hashes(text)
    try:
        requirement = Requirement(pin)
    except InvalidRequirement as fault:
        return f"{text[:100]!r} is no PEP 508 requirement: {str(fault).splitlines()[0][:200]}"
    except RecursionError:
        return f"{text[:100]!r} is no PEP 508 requirement: it is nested too deep"
    if "${" in text:  # the installer would fill in the pod manager's own variables
        return f"{text[:100]!r}: variables are not filled in"
    if requirement.name.lower().endswith(_ARCHIVES):  # the installer would look for the file
        return f"{text[:100]!r} is a file's name and no distribution's"
    if requirement.url and not requirement.url.startswith(("https://", "git+https://")):
        return f"{text[:100]!r}: only https URLs are taken"
    if faulty := [each for each in hashes if not _HASH.match(each)]:
        return f"{text[:100]!r}: {faulty[0][:80]!r} is no hash like sha256:0f1e…"
    return ""


def split_hashes(requirement: str) -> list[str]:
    """The requirement, and the hashes that stand behind it: `numpy==2.3.5 --hash=sha256:…`, as in pip's files."""
    return [part.strip() for part in re.split(r"\s--hash[= ]", requirement)]


def is_standard_library(module_name: str) -> bool:
    """Whether Python itself brings the module."""
    return module_name.partition(".")[0] in sys.stdlib_module_names
