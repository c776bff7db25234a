"""Protobuf messages to the pod manager's model and back."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Sequence
from typing import Any

import yaml
from google.protobuf import struct_pb2, timestamp_pb2
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import error_details_pb2

from jac_orc.errors import OrcError, error, to_status
from jac_orc.pod_manager.model import (
    Autoscaling,
    LogLine,
    Module,
    ModuleSpec,
    Pod,
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
_RESOURCES = pb.Resources.DESCRIPTOR.fields
_AUTOSCALED = ("replicas", "is the autoscaler's to choose; change `autoscaling`, its `min_replicas` and `max_replicas`")


def spec_from(message: pb.ModuleSpec) -> ModuleSpec:
    """The spec with its defaults filled in; raises OrcError for a faulty one, one field violation per fault.

    A source must be an uploaded one by now (`uploads.store`).
    """
    check_name(message.module_name)
    unsupported = [field.name for field, _ in message.ListFields() if field.name in _NOT_YET]
    if unsupported:
        message_text = f"not implemented yet in a module spec: {', '.join(unsupported)}"
        raise error("NOT_IMPLEMENTED", message_text, {"fields": ",".join(unsupported)})
    given = {
        field: getattr(message, field)
        for field in ("replicas", "workers", "max_concurrency", "queue")
        if message.HasField(field)
    }
    for field in ("timeout", "import_timeout"):
        if message.HasField(field):
            duration = getattr(message, field)
            given[field] = duration.seconds + duration.nanos / 1e9
    source = None
    if message.HasField("source"):
        source = SourceRef(message.source.uploaded.digest, message.source.uploaded.file_name)
    spec = ModuleSpec(
        module_name=message.module_name,
        requirements=tuple(message.requirements),
        constraints=tuple(message.constraints),
        source=source,
        env=dict(message.env),
        python_version=message.python_version,
        labels=dict(message.labels),
        resources=Resources(**{field.name: getattr(message.resources, field.name) for field in _RESOURCES}),
        secrets=tuple(message.secrets),
        image=message.image,
        autoscaling=_autoscaling_from(message.autoscaling) if message.HasField("autoscaling") else None,
        annotations=dict(message.annotations),
        node_selector=dict(message.node_selector),
        tolerations=tuple(map(_toleration_from, message.tolerations)),
        affinity={name: _plain(each) for name, each in message.affinity.fields.items()},
        priority_class=message.priority_class,
        service_account=message.service_account,
        **given,
    )
    _check(spec)
    return spec.scaled_to(spec.replicas)


def _toleration_from(message: pb.Toleration) -> Toleration:
    seconds = message.toleration_seconds if message.HasField("toleration_seconds") else None
    return Toleration(message.key, message.operator, message.value, message.effect, seconds)


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
    message = pb.ModuleSpec(
        module_name=spec.module_name,
        requirements=spec.requirements,
        replicas=spec.replicas,
        env=dict(spec.env),
        workers=spec.workers,
        max_concurrency=spec.max_concurrency,
        queue=spec.queue,
        python_version=spec.python_version,
        labels=dict(spec.labels),
        constraints=spec.constraints,
        secrets=spec.secrets,
        image=spec.image,
        annotations=dict(spec.annotations),
        node_selector=dict(spec.node_selector),
        tolerations=[pb.Toleration(**dataclasses.asdict(each)) for each in spec.tolerations],
        priority_class=spec.priority_class,
        service_account=spec.service_account,
    )
    if spec.affinity:
        message.affinity.update(spec.affinity)
    if spec.resources != Resources():
        message.resources.CopyFrom(pb.Resources(**dataclasses.asdict(spec.resources)))
    if spec.autoscaling is not None:
        message.autoscaling.CopyFrom(pb.Autoscaling(**dataclasses.asdict(spec.autoscaling)))
    message.timeout.FromTimedelta(datetime.timedelta(seconds=spec.timeout))
    message.import_timeout.FromTimedelta(datetime.timedelta(seconds=spec.import_timeout))
    if spec.source is not None:
        uploaded = pb.UploadedSource(digest=spec.source.digest, file_name=spec.source.file_name)
        message.source.uploaded.CopyFrom(uploaded)
    return message


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
            pods=[_pod_message(pod) for pod in module.pods],
            ready_replicas=len(module.ready),
            observed_generation=module.observed_generation,
            progress=module.progress,
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
    if module.error is not None:
        message.status.error.CopyFrom(to_status(module.error))
    return message


def _pod_message(pod: Pod) -> pb.Pod:
    return pb.Pod(
        name=pod.name,
        phase=f"POD_PHASE_{pod.phase.value}",
        address=pod.address,
        restarts=pod.restarts,
        generation=pod.generation,
    )


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
