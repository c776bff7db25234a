"""Deploying a module from a command: the spec from its options, and what is told while it goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Iterable

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from jac_orc.cli import show
from jac_orc.cli.failures import CallError, UsageError
from jac_orc.cli.options import Packages, Spec
from jac_orc.cli.remote import Remote
from jac_orc.errors import OrcError
from jac_orc.v1 import pod_manager_pb2 as pb

_TARGET_CPU = 80


def spec(options: Packages, name: str) -> pb.ModuleSpec:
    """The module's spec, with those fields only that were given; raises UsageError."""
    given = options if isinstance(options, Spec) else Spec(**vars(options))
    requirements, constraints = given.requirement or (), given.constraint or ()
    for text in (*requirements, *constraints):
        if text.endswith(".txt") or os.path.isfile(text):
            advice = "give the requirements themselves, -r 'numpy>=2' -r pandas, and code of your own by --source"
            raise UsageError(f"{text[:100]} is a file; {advice}")
    resources = pb.Resources(**{field.name: getattr(given, field.name) for field in pb.Resources.DESCRIPTOR.fields})
    return pb.ModuleSpec(
        module_name=name,
        requirements=requirements,
        constraints=constraints,
        replicas=given.replicas,
        workers=given.workers,
        env=_pairs("--env", given.env),
        python_version=given.python,
        timeout=_duration("--timeout", given.timeout),
        import_timeout=_duration("--import-timeout", given.import_timeout),
        resources=resources if resources.ByteSize() else None,
        secrets=given.secret or (),
        image=given.image,
        autoscaling=_autoscaling(given),
        labels=_pairs("--label", given.label),
        annotations=_pairs("--annotation", given.annotation),
        node_selector=_pairs("--node-selector", given.node_selector),
        tolerations=[_toleration(text) for text in given.toleration or ()],
        priority_class=given.priority_class,
        service_account=given.service_account,
    )


def _autoscaling(given: Spec) -> pb.Autoscaling | None:
    """That which was given; an empty one is none, by which it is ended."""
    if not given.max_replicas:
        if given.min_replicas is not None or given.target_cpu is not None:
            raise UsageError("--min-replicas and --target-cpu need --max-replicas, up to which a module is scaled")
        return None if given.max_replicas is None else pb.Autoscaling()
    target_cpu = _TARGET_CPU if given.target_cpu is None else given.target_cpu
    return pb.Autoscaling(min_replicas=given.min_replicas, max_replicas=given.max_replicas, target_cpu=target_cpu)


def _pairs(option: str, texts: Iterable[str] | None) -> dict[str, str]:
    pairs = dict[str, str]()
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise UsageError(f"{option} {text[:100]}: expected NAME=VALUE")
        pairs[name] = value
    return pairs


def _toleration(text: str) -> pb.Toleration:
    """Return the toleration of a taint, written as for `kubectl taint`; without a value, of any value."""
    taint, _, effect = text.partition(":")
    key, equals, value = taint.partition("=")
    if not key:
        raise UsageError(f"--toleration {text[:100]}: expected KEY[=VALUE][:EFFECT]")
    return pb.Toleration(key=key, operator="Equal" if equals else "Exists", value=value, effect=effect)


def _duration(option: str, seconds: float | None) -> Duration | None:
    if seconds is None:
        return None
    try:
        duration = Duration()
        duration.FromNanoseconds(round(seconds * 1e9))
    except (ValueError, OverflowError):
        raise UsageError(f"{option} {seconds}: expected a number of seconds") from None
    return duration


def given(spec: pb.ModuleSpec) -> list[str]:
    """The paths of the fields that a spec sets, apart from the module's name."""
    names = [field.name for field, _ in spec.ListFields() if field.name not in ("module_name", "resources")]
    return [*names, *(f"resources.{field.name}" for field, _ in spec.resources.ListFields())]


async def create(remote: Remote, spec: pb.ModuleSpec, *, update: bool, wait: bool) -> pb.Module:
    """Deploys the module; with `update` one that is deployed otherwise is changed in the fields that the spec sets."""
    try:
        request = pb.CreateModuleRequest(spec=cleared(spec), wait=wait)
        created = await remote.call(remote.modules.CreateModule, request)
    except OrcError as failure:
        if failure.reason != "MODULE_SPEC_DIFFERS" or not update:
            raise
    else:
        return created.module
    if not given(spec):  # an empty mask would be one of all fields
        print(f"no option says what to change: {spec.module_name} stays as it is", file=sys.stderr)
        found = await remote.call(remote.modules.GetModule, pb.GetModuleRequest(module_name=spec.module_name))
        return found.module
    return await change(remote, spec, wait=wait)


async def differing(remote: Remote, spec: pb.ModuleSpec) -> list[str]:
    """The fields in which a complete spec differs from the deployed module's; none where it isn't deployed."""
    try:
        found = await remote.call(remote.modules.GetModule, pb.GetModuleRequest(module_name=spec.module_name))
    except OrcError as failure:
        if failure.reason != "MODULE_NOT_FOUND":
            raise
        return []
    ignored = {"replicas"} if spec.HasField("autoscaling") and found.module.spec.HasField("autoscaling") else set()
    names = [field.name for field in spec.DESCRIPTOR.fields if field.name not in ignored]
    return [name for name in names if getattr(spec, name) != getattr(found.module.spec, name)]


async def change(remote: Remote, spec: pb.ModuleSpec, *, wait: bool = True) -> pb.Module:
    """Changes the fields of the module that the spec sets."""
    request = pb.UpdateModuleRequest(spec=cleared(spec), update_mask=FieldMask(paths=given(spec)), wait=wait)
    return (await remote.call(remote.modules.UpdateModule, request)).module


def cleared(spec: pb.ModuleSpec) -> pb.ModuleSpec:
    """The spec without an autoscaling that says nothing: a module has none, or one that is whole."""
    cleared = pb.ModuleSpec()
    cleared.CopyFrom(spec)
    if not spec.autoscaling.ByteSize():
        cleared.ClearField("autoscaling")
    return cleared


@contextlib.asynccontextmanager
async def watched(remote: Remote, name: str, progress: show.Progress) -> AsyncIterator[None]:
    """Tells what is being done to the module meanwhile."""

    async def follow() -> None:
        # Without it less is told; whatever is wrong, the call beside it says so.
        with contextlib.suppress(OrcError, CallError):
            request = pb.WatchModulesRequest(module_name=name)
            async for change in remote.stream(remote.modules.WatchModules, request):
                if change.event == pb.WATCH_EVENT_CHANGED and (text := show.progress(change.module)):
                    progress.tell(text)

    task = asyncio.create_task(follow())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
