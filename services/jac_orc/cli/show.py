"""What the commands print: results on standard output, what is under way on standard error."""

from __future__ import annotations

import datetime
import io
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from jac_orc.v1 import pod_manager_pb2 as pb

_MANY = 4  # packages in a line
_WIDE = 10_000  # characters a line, where no terminal has a width
_IN_OTHER_ROWS = ("module_name", "python_version", "replicas", "requirements", "source")
_NAME = re.compile(r"[A-Za-z0-9._-]+")


class Progress:
    """Tells on standard error what is under way: on a terminal a line that changes, elsewhere a line per change.

    With `after` nothing is told in the first seconds: what is done by then needs no explanation.
    """

    def __init__(self, *, live: bool = True, after: float = 0.0) -> None:
        self._console = Console(stderr=True)
        self._live = live and self._console.is_terminal and not self._console.is_dumb_terminal
        self._begin = time.monotonic() + after
        self._status: Status | None = None
        self._last = ""

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def tell(self, text: str) -> None:
        """Tells what is done now."""
        if text == self._last or time.monotonic() < self._begin:
            return
        self._last = text
        if not self._live:
            print(printable(text), file=sys.stderr, flush=True)
        elif self._status is None:
            self._status = self._console.status(Text(printable(text)))
            self._status.start()
        else:
            self._status.update(Text(printable(text)))


def say(text: str) -> None:
    """Prints a result."""
    print(printable(text), flush=True)


def document(message: Message, indent: int | None = 2) -> None:
    """Print a message as JSON, as REST has it, with whatever can't be seen as an escape; indent None: in one line."""
    text = json.dumps(_plain(message), indent=indent, ensure_ascii=False)
    print("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text), flush=True)


def document_yaml(message: Message) -> None:
    """Prints a message as YAML."""
    import yaml  # needed by one command only

    print(yaml.safe_dump(_plain(message), sort_keys=False), end="", flush=True)


def _plain(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table; where it goes to no terminal nothing of it is cut or wrapped."""
    on_terminal = sys.stdout.isatty()
    buffer = io.StringIO()
    width = Console().width if on_terminal else _WIDE
    console = Console(file=buffer, force_terminal=on_terminal, width=width, highlight=False, markup=False, emoji=False)
    grid = Table(*headings, box=None, pad_edge=False, header_style="bold", show_header=any(headings))
    for column in grid.columns:
        column.overflow = "fold"
    for row in rows:
        grid.add_row(*(Text(printable(cell)) for cell in row))
    console.print(grid)
    print("\n".join(line.rstrip() for line in buffer.getvalue().splitlines()), flush=True)


def printable(text: str) -> str:
    """The text without anything that a terminal would obey."""
    return "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in text)


def modules(found: Sequence[pb.Module], options: str = "") -> None:
    """Prints a line per module."""
    if not found:
        print(f"no module is deployed; this deploys one: jac-orc create numpy{options}", file=sys.stderr)
        return
    table(("MODULE", "PHASE", "PODS", "PYTHON", "AGE", "FROM"), map(_summary, found))


def _summary(module: pb.Module) -> Sequence[str]:
    spec, status = module.spec, module.status
    ready = f"{status.ready_replicas}/{spec.replicas}"
    python = status.environment.python_version or spec.python_version
    return module.name, phase(module), ready, python, _age(module.create_time), _origin(spec)


def module(found: pb.Module) -> None:
    """Prints what there is to know of a module."""
    spec, status = found.spec, found.status
    environment = status.environment
    fields = json_format.MessageToDict(spec, preserving_proto_field_name=True)
    rows = [
        ("module", found.name),
        ("phase", phase(found)),
        ("doing", status.progress),
        ("error", status.error.message),
        ("pods", f"{status.ready_replicas} of {spec.replicas} answer"),
        ("stuck calls", ", ".join(f"{pod.stuck_calls} in {pod.name}" for pod in status.pods if pod.stuck_calls)),
        ("replaced guests", ", ".join(_replacements(status.pods))),
        ("from", _origin(spec)),
        ("python", environment.python_version or spec.python_version),
        ("packages", ", ".join(environment.packages)),
        *((name, _shown(value)) for name, value in fields.items() if name not in _IN_OTHER_ROWS),
        ("created", f"{_age(found.create_time)} ago"),
        ("changed", f"{_age(found.update_time)} ago" if found.generation > 1 else ""),
    ]
    table(("", ""), [row for row in rows if row[1]])
    if status.pods:
        print()
        table(
            ("POD", "PHASE", "ADDRESS", "RESTARTS", "GENERATION"),
            ((pod.name, _pod_phase(pod), pod.address, str(pod.restarts), str(pod.generation)) for pod in status.pods),
        )


def _replacements(pods: Iterable[pb.Pod]) -> Iterator[str]:
    """How often guests were replaced: `2 in math-1 (killed)`."""
    for pod in pods:
        for cause, count in sorted(pod.guest_replacements.items()):
            yield f"{count} in {pod.name} ({cause})"


def _shown(value: Any) -> str:
    """Return a field of a spec for people: lists and maps without brackets, what is deeper as JSON."""
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    if isinstance(value, dict):
        texts = {name: text if isinstance(text, str) else json.dumps(text) for name, text in value.items()}
        return ", ".join(f"{name}={text}" for name, text in sorted(texts.items()))
    return str(value)


def phase(module: pb.Module) -> str:
    """What the module is doing, in a word."""
    name = module.status.phase
    return pb.ModulePhase.Name(name).removeprefix("MODULE_PHASE_").lower() if name in pb.ModulePhase.values() else "?"


def _pod_phase(pod: pb.Pod) -> str:
    return pb.PodPhase.Name(pod.phase).removeprefix("POD_PHASE_").lower() if pod.phase in pb.PodPhase.values() else "?"


def _origin(spec: pb.ModuleSpec) -> str:
    """Where the module's code comes from."""
    source = [spec.source.uploaded.file_name] if spec.HasField("source") else []
    return ", ".join([*source, *spec.requirements]) or spec.image or "standard library"


def progress(module: pb.Module) -> str:
    """What is being done to the module, empty where nothing is that people wait for."""
    status = module.status
    if status.phase in (pb.MODULE_PHASE_FAILED, pb.MODULE_PHASE_DELETING, pb.MODULE_PHASE_IDLE):
        return ""  # what failed tells whoever waits for it
    if status.phase != pb.MODULE_PHASE_READY:
        return f"{module.name}: {phase(module)}" + (f": {status.progress}" if status.progress else "")
    if status.progress:
        return f"{module.name}: {status.progress}"
    if status.observed_generation == module.generation:
        return ""
    others = Counter(_pod_phase(pod) for pod in status.pods if pod.phase != pb.POD_PHASE_READY)
    return f"{module.name}: {', '.join(f'{pods(n)} {phase}' for phase, n in others.items())}" if others else ""


def readiness(module: pb.Module, seconds: float, options: str = "") -> str:
    """What has become of a module: `numpy is ready: 1 pod, Python 3.11.2, numpy==2.4.6 (2.1 s)`."""
    environment = module.status.environment
    parts = [ready_pods(module)]
    if environment.python_version:
        parts.append(f"Python {environment.python_version}")
    parts += _packages(module)
    if not module.spec.replicas:
        return f"{module.name} is deployed with no pod; this starts one: jac-orc scale {module.name} 1{options}"
    return f"{module.name} is ready: {', '.join(parts)} ({seconds:.1f} s)"


def _packages(module: pb.Module) -> list[str]:
    """The first packages of its environment, those that were asked for before all others."""
    wanted = {_canonical(requirement) for requirement in module.spec.requirements}
    packages = sorted(module.status.environment.packages, key=lambda package: _canonical(package) not in wanted)
    more = len(packages) - _MANY
    return packages if more <= 1 else [*packages[:_MANY], f"{more} more packages"]


def _canonical(requirement: str) -> str:
    match = _NAME.match(requirement)
    return re.sub(r"[-_.]+", "-", match[0]).lower() if match else ""


def pods(count: int) -> str:
    """`1 pod`, `2 pods`."""
    return f"{count or 'no'} pod{'' if count == 1 else 's'}"


def ready_pods(module: pb.Module) -> str:
    """How many answer: `3 pods`, or `1 of 3 pods` while others start."""
    ready, wanted = module.status.ready_replicas, module.spec.replicas
    return pods(ready) if ready >= wanted else f"{ready} of {pods(wanted)}"


def log_line(line: pb.ReadLogsResponse) -> str:
    """A log line: local time, pod, the call that wrote it, text."""
    moment = ""
    if line.HasField("time"):
        moment = line.time.ToDatetime(datetime.UTC).astimezone().strftime("%H:%M:%S")
    origin = f"{line.pod} #{line.call_id}" if line.call_id else line.pod
    return f"{moment or ' ' * 8} {origin} | {line.text}".replace("\n", "\n" + " " * 11)


def _age(moment: Timestamp) -> str:
    seconds = max(0, int(time.time() - moment.seconds))
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
