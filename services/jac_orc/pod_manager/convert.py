"""Protobuf messages to the pod manager's model and back."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import yaml
from google.protobuf import struct_pb2, timestamp_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from jac_orc.errors import OrcError, error, to_status
from jac_orc.pod_manager.model import (
    Autoscaling,
    LogLine,
    Module,
    ModuleSpec,
    Resources,
    Toleration,
    check_name,
)
from jac_orc.pod_manager.sources import SourceRef
from jac_orc.pod_manager.spec_checks import Violation, violations
from jac_orc.v1 import pod_manager_pb2 as pb

# A response's headers hold no more.
_MOST_FAULTS = 10
_MOST_BYTES = 1600
# Fields of the wire that this version doesn't act on: asking for one is refused, never ignored.
_NOT_YET = ("expose",)
_AUTOSCALED = ("replicas", "is the autoscaler's to choose; change `autoscaling`, its `min_replicas` and `max_replicas`")


def spec_from(message: pb.ModuleSpec) -> ModuleSpec:
    """The spec with its defaults filled in; raises OrcError for a faulty one, one field violation per fault.

    A source must be an uploaded one by now (`uploads.store`).
    """
    check_name(message.module_name)
    fields = _set_fields(message)
    if unsupported := [name for name in fields if name in _NOT_YET]:
        message_text = f"not implemented yet in a module spec: {', '.join(unsupported)}"
        raise error("NOT_IMPLEMENTED", message_text, {"fields": ",".join(unsupported)})
    spec = ModuleSpec(**{name: _READ[name](value) if name in _READ else value for name, value in fields.items()})
    _check(spec)
    return spec.scaled_to(spec.replicas)


def _set_fields(message: Message) -> dict[str, Any]:
    return {field.name: value for field, value in message.ListFields()}


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9


def _plain(value: struct_pb2.Value) -> Any:
    """Return what a Value has, with whole numbers as ints: it has floats only, which Kubernetes refuses for ints."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return {name: _plain(each) for name, each in value.struct_value.fields.items()}
    if kind == "list_value":
        return [_plain(each) for each in value.list_value.values]
    if kind == "number_value":
        return int(value.number_value) if value.number_value.is_integer() else value.number_value
    return None if kind in (None, "null_value") else getattr(value, kind)


def _autoscaling_from(message: pb.Autoscaling) -> Autoscaling:
    least = message.min_replicas if message.HasField("min_replicas") else 1
    missing = {"target_concurrency": message.target_concurrency != 0, "min_replicas": least == 0}
    if fields := ",".join(f"autoscaling.{name}" for name, is_asked in missing.items() if is_asked):
        text = f"not implemented yet: {fields}; there is autoscaling by CPU, `target_cpu`, from 1 pod on"
        raise error("NOT_IMPLEMENTED", text, {"fields": fields})
    return Autoscaling(least, message.max_replicas, message.target_cpu)


_READ: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("requirements", "constraints", "secrets"), tuple),
    **dict.fromkeys(("env", "labels", "annotations", "node_selector"), dict),
    **dict.fromkeys(("timeout", "import_timeout"), _seconds),
    "source": lambda source: SourceRef(source.uploaded.digest, source.uploaded.file_name),
    "resources": lambda resources: Resources(**_set_fields(resources)),
    "autoscaling": _autoscaling_from,
    "tolerations": lambda tolerations: tuple(Toleration(**_set_fields(each)) for each in tolerations),
    "affinity": lambda affinity: {name: _plain(each) for name, each in affinity.fields.items()},
}
"""What a spec has in place of a field of the message, where that is not the same."""


def _check(spec: ModuleSpec) -> None:
    """Raises OrcError for a faulty spec."""
    if faults := violations(spec):
        raise _invalid(faults)


def _invalid(faults: Sequence[Violation]) -> OrcError:
    """Return the error that reports a spec's faults: one field violation per fault, as many as fit."""
    request = error_details_pb2.BadRequest()
    for field, text in faults[:_MOST_FAULTS]:
        request.field_violations.add(field=field, description=text)
        if request.ByteSize() > _MOST_BYTES:
            del request.field_violations[-1]
            break
    text = "; ".join(f"{each.field}: {each.description}" for each in request.field_violations)
    fields = {field.partition("[")[0] for field, _ in faults}
    return error("SPEC_INVALID", text, {"fields": ",".join(sorted(fields))}, [request])


def spec_message(spec: ModuleSpec) -> pb.ModuleSpec:
    """The spec as a message."""
    fields = dataclasses.asdict(spec)
    for name in ("timeout", "import_timeout"):
        fields[name] = datetime.timedelta(seconds=fields[name])
    fields["source"] = spec.source and {"uploaded": fields["source"]}
    fields["affinity"] = fields["affinity"] or None
    fields["resources"] = None if spec.resources == Resources() else fields["resources"]
    return pb.ModuleSpec(**fields)


def merged(module: Module, changes: pb.ModuleSpec, paths: Iterable[str]) -> ModuleSpec:
    """The module's spec with the fields at these paths, `replicas` or `resources.cpu`, taken from `changes`.

    Raises OrcError for a path that leads to no field.
    """
    message, mask = spec_message(module.spec), FieldMask(paths=paths)
    for path in mask.paths:
        if not FieldMask(paths=[path]).IsValidForDescriptor(pb.ModuleSpec.DESCRIPTOR):  # type: ignore[arg-type]
            raise error("UNKNOWN_FIELD", f"a module spec has no field {path[:100]!r}", {"field": path[:100]})
        if path == "module_name" and changes.module_name != module.name:
            raise error("MODULE_MISMATCH", "a module's name can't change", {"module": module.name})
    mask.MergeMessage(changes, message, replace_message_field=True, replace_repeated_field=True)
    if message.HasField("autoscaling"):
        if message.HasField("replicas") and message.replicas != module.spec.replicas:
            raise _invalid([_AUTOSCALED])
        message.replicas = module.spec.replicas
    return spec_from(message)


def scaled(module: Module, replicas: int) -> ModuleSpec:
    """The module's spec with that many pods; raises OrcError for a number that can't be, or isn't the caller's."""
    if module.spec.autoscaling is not None:
        raise _invalid([_AUTOSCALED])
    spec = dataclasses.replace(module.spec, replicas=replicas)
    _check(spec)
    return spec


def module_message(module: Module) -> pb.Module:
    """The module as a message."""
    message = pb.Module(
        name=module.name,
        spec=spec_message(module.spec),
        status=pb.ModuleStatus(
            phase=f"MODULE_PHASE_{module.phase.value}",
            pods=[pb.Pod(**{**vars(pod), "phase": f"POD_PHASE_{pod.phase.value}"}) for pod in module.pods],
            ready_replicas=len(module.ready),
            observed_generation=module.observed_generation,
            progress=module.progress,
            error=None if module.error is None else to_status(module.error),
        ),
        uid=module.uid,
        generation=module.generation,
        create_time=_timestamp(module.create_time),
        update_time=_timestamp(module.update_time),
    )
    if module.lock is not None:
        message.status.environment.python_version = module.lock.python_version
        message.status.environment.packages.extend(module.lock.packages)
        message.status.environment.digest = module.lock.digest
    return message


def _timestamp(seconds: float) -> timestamp_pb2.Timestamp:
    timestamp = timestamp_pb2.Timestamp()
    timestamp.FromNanoseconds(round(seconds * 1000) * 1_000_000)
    return timestamp


class _Dumper(yaml.SafeDumper):
    """Writes what stands in several places in each of them, and not as references, which people don't expect."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def yaml_stream(documents: list[dict[str, Any]]) -> str:
    """The documents as YAML, in their order and that of their keys; empty for none."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=120) if documents else ""


def log_message(line: LogLine) -> pb.ReadLogsResponse:
    """The log line as a message."""
    message = pb.ReadLogsResponse(pod=line.pod, stream=line.stream, text=line.text, call_id=line.call_id)
    if line.time:
        message.time.FromJsonString(line.time)
    return message
