"""What the commands do, once they know of which pod manager."""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import AsyncIterator

from jac_orc.cli import deploying, show, sources
from jac_orc.cli.failures import CallError, Unreachable
from jac_orc.cli.first_call import first_call
from jac_orc.cli.options import Code, Spec
from jac_orc.cli.remote import Remote
from jac_orc.v1 import pod_manager_pb2 as pb

_PATIENCE = 30.0
"""Seconds for which streams that end at once are asked for again, as while a cluster's gateway is replaced."""
_RETRY_SECONDS = 0.5


async def create(remote: Remote, code: Code, options: Spec, update: bool, wait: bool, *, as_json: bool) -> None:
    """Deploys a module."""
    begin = time.monotonic()
    name, source = sources.find(code)
    spec = deploying.spec(options, name)
    later = f"jac-orc get {name}{remote.options}"
    try:
        with show.Progress() as progress:
            await _upload(remote, spec, source, progress)
            async with deploying.watched(remote, name, progress):
                module = await deploying.create(remote, spec, update=update, wait=wait)
    except asyncio.CancelledError:
        text = f"if it was begun, {name} goes on being deployed; this tells how it goes: {later}"
        print(f"jac-orc create: {text}", file=sys.stderr)
        raise
    if as_json:
        show.document(module)
    elif not wait:
        show.say(f"{name} is {show.phase(module)}; this tells how it goes: {later}")
    else:
        show.say(show.readiness(module, time.monotonic() - begin, remote.options))
        if module.status.ready_replicas:
            show.say(f"a first call to try:\n\n  {await first_call(remote, name)}\n")


async def plan(remote: Remote, code: Code, options: Spec, *, as_json: bool) -> None:
    """Prints what `create` would make."""
    name, source = sources.find(code)
    spec = deploying.spec(options, name)
    with show.Progress() as progress:
        await _upload(remote, spec, source, progress)
    planned = await remote.call(remote.modules.PlanModule, pb.PlanModuleRequest(spec=deploying.cleared(spec)))
    if differing := await deploying.differing(remote, planned.spec):
        text = f"{spec.module_name} is deployed with another spec; it differs in {', '.join(differing)}"
        print(f"{text}: jac-orc create needs --update, and changes what options are given for", file=sys.stderr)
    if as_json:
        show.document(planned)
    elif planned.manifests:
        show.say(planned.manifests.rstrip())
    else:
        show.document_yaml(planned.spec)
        print("this pod manager runs modules as processes of its machine, so there are no manifests", file=sys.stderr)


async def _upload(remote: Remote, spec: pb.ModuleSpec, source: sources.Source | None, progress: show.Progress) -> None:
    """Stores the code, and names it in the spec."""
    if source is not None:
        progress.tell(f"{spec.module_name}: uploading {source.file_name}")
        spec.source.CopyFrom(await sources.upload(remote, source))


async def list_(remote: Remote, *, as_json: bool) -> None:
    """Lists the modules."""
    found = pb.ListModulesResponse()
    while True:
        request = pb.ListModulesRequest(page_size=1000, page_token=found.next_page_token)
        page = await remote.call(remote.modules.ListModules, request)
        found.modules.extend(page.modules)
        found.next_page_token = page.next_page_token
        if not page.next_page_token:
            break
    if as_json:
        show.document(found)
    else:
        show.modules(found.modules, remote.options)


async def get(remote: Remote, name: str, *, as_json: bool) -> None:
    """Tells of one module."""
    found = await remote.call(remote.modules.GetModule, pb.GetModuleRequest(module_name=name))
    if as_json:
        show.document(found.module)
    else:
        show.module(found.module)


async def scale(remote: Remote, name: str, replicas: int, wait: bool, *, as_json: bool) -> None:
    """Sets how many pods a module has."""
    begin = time.monotonic()
    request = pb.ScaleModuleRequest(module_name=name, replicas=replicas, wait=wait)
    with show.Progress() as progress:
        async with deploying.watched(remote, name, progress):
            scaled = await remote.call(remote.modules.ScaleModule, request)
    if as_json:
        show.document(scaled.module)
    elif wait:
        show.say(f"{name} has {show.ready_pods(scaled.module)} ({time.monotonic() - begin:.1f} s)")
    else:
        show.say(f"{name} is to have {show.pods(replicas)}; this tells how it goes: jac-orc get {name}{remote.options}")


async def delete(remote: Remote, name: str, *, as_json: bool) -> None:
    """Removes a module."""
    answer = await remote.call(remote.modules.DeleteModule, pb.DeleteModuleRequest(module_name=name))
    if as_json:
        show.document(answer)
    else:
        show.say(f"{name} is deleted")


async def logs(remote: Remote, name: str, follow: bool, tail: int | None, *, as_json: bool) -> None:
    """Prints the log lines of a module."""
    async for line in log_lines(remote, name, follow=follow, tail=tail):
        if as_json:
            show.document_line(line)
        else:
            show.say(show.log_line(line))


async def log_lines(remote: Remote, name: str, *, follow: bool, tail: int | None) -> AsyncIterator[pb.ReadLogsResponse]:
    """A module's log lines. One that follows them goes on where the stream is cut off because it was long idle, or
    because the connection to a cluster was lost; lines that have come meanwhile come then."""
    seen: dict[str, int] = {}  # the times of the pods' last lines
    alive = -math.inf  # when the stream was last known to be one
    while True:
        request = pb.ReadLogsRequest(module_name=name, follow=follow, tail=tail)
        begin, before, newest = time.monotonic(), dict(seen), max(seen.values(), default=0)
        try:
            async for line in remote.stream(remote.modules.ReadLogs, request):
                moment = line.time.ToNanoseconds()
                if moment > before.get(line.pod, newest) or not moment:
                    seen[line.pod], alive = moment, time.monotonic()
                    yield line
        except CallError as failure:
            may_return = remote.address.cluster is not None or not isinstance(failure, Unreachable)
            now = time.monotonic()
            if now - begin > 1:
                alive = now
            if not (follow and may_return and now - alive < _PATIENCE):
                raise
            await asyncio.sleep(0 if alive > begin else _RETRY_SECONDS)
        if not follow:
            return
        tail = None if seen else 0
