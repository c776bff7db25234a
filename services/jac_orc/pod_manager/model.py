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

from packaging.requirements import InvalidRequirement, Requirement

from jac_orc.errors import OrcError, error
from jac_orc.pod_manager.sources import SourceRef

MAX_NAME_CHARS = 200
MAX_REPLICAS = 1000
MAX_WORKERS = 128
MAX_CONCURRENCY = 1000
MAX_QUEUE = 100_000
MAX_TIMEOUT = 86_400.0
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_HASH = re.compile(r"sha(256|384|512):[0-9a-fA-F]{64,128}\Z")
_PYTHON_VERSION = re.compile(r"3\.\d{1,2}(\.\d{1,2})?\Z")


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

    def revision(self) -> str:
        """A hash of what a pod is made from: pods of one revision are alike."""
        content = dataclasses.asdict(self)
        del content["replicas"], content["labels"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def inputs(self) -> tuple[object, ...]:
        """What its environment is resolved from; with equal inputs a lock stays right."""
        return (self.requirements, self.constraints, self.python_version, self.source)

    def differing_fields(self, other: ModuleSpec) -> list[str]:
        """The names of the fields in which the specs differ."""
        return [f.name for f in dataclasses.fields(self) if getattr(self, f.name) != getattr(other, f.name)]


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
    for segment in name.split("."):
        if not segment.isidentifier() or not segment.isascii() or keyword.iskeyword(segment):
            raise error("MODULE_NAME_INVALID", f"{name!r} is no import name")
    if any(segment.startswith("_") for segment in name.split(".")):
        raise error("NAME_NOT_EXPOSED", f"{name!r} is private")


def violations(spec: ModuleSpec) -> list[tuple[str, str]]:
    """The spec's faults as (field, what is wrong)."""
    found = [
        (name, fault)
        for name in ("requirements", "constraints")
        for fault in map(_requirement_fault, getattr(spec, name))
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
    if spec.source is not None and is_standard_library(spec.module_name):
        package = spec.module_name.partition(".")[0]
        found.append(("source", f"{package} is a module of the standard library; give your own another name"))
    if spec.python_version and not _PYTHON_VERSION.match(spec.python_version):
        found.append(("python_version", f"{spec.python_version[:50]!r} is no version like 3.12"))
    return found


def _requirement_fault(text: str) -> str:
    pin, *hashes = split_hashes(text)
    try:
        requirement = Requirement(pin)
    except InvalidRequirement as fault:
        return f"{text[:100]!r} is no PEP 508 requirement: {str(fault).splitlines()[0]}"
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
