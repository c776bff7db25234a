"""What the pod manager speaks of: module specs, modules, pods. Plain data; messages and files are made elsewhere."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import keyword
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jac_orc.errors import OrcError, error
from jac_orc.pod_manager.sources import SourceRef

MAX_NAME_CHARS = 200
INPUTS = ("requirements", "constraints", "python_version", "source")
"""The fields of a spec that its environment is resolved from; with equal ones a lock stays right."""


@dataclass(frozen=True)
class Resources:
    """What each pod may use, in Kubernetes' notation; empty: the default of where it runs."""

    cpu: str = ""
    memory: str = ""
    gpu: int = 0
    cpu_limit: str = ""
    memory_limit: str = ""
    tmp: str = ""


@dataclass(frozen=True)
class Autoscaling:
    """How many pods there may be, and the share of the CPU that they request, in percent, which is aimed at."""

    min_replicas: int
    max_replicas: int
    target_cpu: int


@dataclass(frozen=True)
class Toleration:
    """A taint that pods tolerate, in Kubernetes' words; empty: unset."""

    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None


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
    annotations: Mapping[str, str] = field(default_factory=dict)
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    affinity: Mapping[str, Any] = field(default_factory=dict)
    priority_class: str = ""
    service_account: str = ""

    def revision(self, *, labelled: bool = False) -> str:
        """Return a hash of what a pod is made from: pods of one revision are alike.

        With `labelled`, labels are part of it.
        """
        content = dataclasses.asdict(self)
        del content["replicas"], content["autoscaling"]
        if not labelled:
            del content["labels"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

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


def known(kind: Any, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a document that a dataclass has: what a newer version has added is left out."""
    return {each.name: document[each.name] for each in dataclasses.fields(kind) if each.name in document}


def spec_from_document(document: Mapping[str, Any]) -> ModuleSpec:
    """Return the spec of a document, `dataclasses.asdict` of one; fields that it lacks have their defaults.

    Raises TypeError or AttributeError for what was none.
    """
    lists = {name: tuple(document.get(name, ())) for name in ("requirements", "constraints", "secrets")}
    source = SourceRef(**document["source"]) if document.get("source") else None
    resources = Resources(**known(Resources, document.get("resources", {})))
    tolerations = tuple(Toleration(**known(Toleration, each)) for each in document.get("tolerations", ()))
    autoscaling = Autoscaling(**document["autoscaling"]) if document.get("autoscaling") else None
    parts = {"source": source, "resources": resources, "autoscaling": autoscaling, "tolerations": tolerations}
    return ModuleSpec(**{**document, **lists, **parts})


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
    """Where it takes calls; empty if it takes none, or none any more."""
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
        """Whether everything is as the spec says, and the pods of an older one take no more calls."""
        rolled_out = self.observed_generation == self.generation
        taking = [pod for pod in self.pods if pod.phase is not PodPhase.DRAINING or pod.address]
        return rolled_out and len(self.ready) == len(taking) == self.spec.replicas


def phase_of(module: Module, work: ModulePhase) -> ModulePhase:
    """Return the phase of a module as it is; `work` is what is being done until it has pods that import."""
    if module.phase is ModulePhase.DELETING:
        return ModulePhase.DELETING
    if module.ready:
        return ModulePhase.READY
    if module.error is not None:
        return ModulePhase.FAILED
    if module.spec.replicas == 0:
        return ModulePhase.IDLE
    return ModulePhase.IMPORTING if any(pod.phase is PodPhase.IMPORTING for pod in module.pods) else work


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


def is_standard_library(module_name: str) -> bool:
    """Whether Python itself brings the module."""
    return module_name.partition(".")[0] in sys.stdlib_module_names
