"""The commands that deal with modules through the front port, and the one that finds what is wrong with that."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from jac_orc.cli import deploying, show, sources
from jac_orc.cli.dev import develop
from jac_orc.cli.doctor import examine
from jac_orc.cli.first_call import first_call
from jac_orc.cli.image import build
from jac_orc.cli.options import INT32_MAX, Code, Image, Packages, Place, PlanTarget, Spec, Target, grouped
from jac_orc.cli.place import address, find
from jac_orc.cli.remote import Remote, reported
from jac_orc.v1 import pod_manager_pb2 as pb

Name = Annotated[str, typer.Argument(metavar="MODULE", help="The module's import name.", show_default=False)]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Don't wait until it is done.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (create, plan, list_, get, scale, delete, logs, dev):
        app.command(command.__name__.rstrip("_"))(grouped(_connected(command)))
    app.command()(grouped(doctor))
    image = typer.Typer(help="Images of modules, for clusters.", no_args_is_help=True)
    image.command("build")(grouped(image_build))
    app.add_typer(image, name="image")


def _connected(command: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """The command run to its end, without its first parameter: the pod manager, which it gets connected."""

    @functools.wraps(command)
    def run(*, target: Place, **given: Any) -> None:
        async def connected() -> None:
            async with address(find(target)) as found, Remote(found, target.options) as remote:
                await command(remote, target=target, **given)

        with reported(command.__name__.rstrip("_"), target.options):
            asyncio.run(connected())

    signature = inspect.signature(command)
    run.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])  # type: ignore[attr-defined]
    return run


async def create(
    remote: Remote,
    *,
    code: Code,
    spec: Spec,
    update: Annotated[
        bool, typer.Option("--update", help="If it is deployed otherwise, change what options are given for.")
    ] = False,
    no_wait: NoWait = False,
    target: Target,
) -> None:
    """Deploy a module."""
    begin = time.monotonic()
    name, source = sources.find(code)
    wanted = deploying.spec(spec, name)
    later = f"jac-orc get {name}{remote.options}"
    try:
        with show.Progress() as progress:
            await _upload(remote, wanted, source, progress)
            async with deploying.watched(remote, name, progress):
                module = await deploying.create(remote, wanted, update=update, wait=not no_wait)
    except asyncio.CancelledError:
        text = f"if it was begun, {name} goes on being deployed; this tells how it goes: {later}"
        print(f"jac-orc create: {text}", file=sys.stderr)
        raise
    if target.output == "json":
        show.document(module)
    elif no_wait:
        show.say(f"{name} is {show.phase(module)}; this tells how it goes: {later}")
    else:
        show.say(show.readiness(module, time.monotonic() - begin, remote.options))
        if module.status.ready_replicas:
            show.say(f"a first call to try:\n\n  {await first_call(remote, module)}\n")


async def plan(remote: Remote, *, code: Code, spec: Spec, target: PlanTarget) -> None:
    """Print what creating a module would make, and make nothing: in a cluster the objects, else the whole spec."""
    name, source = sources.find(code)
    wanted = deploying.spec(spec, name)
    with show.Progress() as progress:
        await _upload(remote, wanted, source, progress)
    planned = await remote.call(remote.modules.PlanModule, pb.PlanModuleRequest(spec=deploying.cleared(wanted)))
    if differing := await deploying.differing(remote, planned.spec):
        text = f"{name} is deployed with another spec; it differs in {', '.join(differing)}"
        print(f"{text}: jac-orc create needs --update, and changes what options are given for", file=sys.stderr)
    if target.output == "json":
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


async def list_(remote: Remote, *, target: Target) -> None:
    """List the modules that are deployed."""
    found = pb.ListModulesResponse()
    while True:
        request = pb.ListModulesRequest(page_size=1000, page_token=found.next_page_token)
        page = await remote.call(remote.modules.ListModules, request)
        found.modules.extend(page.modules)
        found.next_page_token = page.next_page_token
        if not page.next_page_token:
            break
    if target.output == "json":
        show.document(found)
    else:
        show.modules(found.modules, remote.options)


async def get(remote: Remote, *, module: Name, target: Target) -> None:
    """Tell all about a module."""
    found = await remote.call(remote.modules.GetModule, pb.GetModuleRequest(module_name=module))
    if target.output == "json":
        show.document(found.module)
    else:
        show.module(found.module)


async def scale(
    remote: Remote,
    *,
    module: Name,
    replicas: Annotated[
        int, typer.Argument(metavar="N", help="How many pods.", min=0, max=INT32_MAX, show_default=False)
    ],
    no_wait: NoWait = False,
    target: Target,
) -> None:
    """Set how many pods a module has."""
    begin = time.monotonic()
    request = pb.ScaleModuleRequest(module_name=module, replicas=replicas, wait=not no_wait)
    with show.Progress() as progress:
        async with deploying.watched(remote, module, progress):
            scaled = (await remote.call(remote.modules.ScaleModule, request)).module
    if target.output == "json":
        show.document(scaled)
    elif no_wait:
        later = f"jac-orc get {module}{remote.options}"
        show.say(f"{module} is to have {show.pods(replicas)}; this tells how it goes: {later}")
    else:
        show.say(f"{module} has {show.ready_pods(scaled)} ({time.monotonic() - begin:.1f} s)")


async def delete(remote: Remote, *, module: Name, target: Target) -> None:
    """Remove a module and everything made for it."""
    answer = await remote.call(remote.modules.DeleteModule, pb.DeleteModuleRequest(module_name=module))
    if target.output == "json":
        show.document(answer)
    else:
        show.say(f"{module} is deleted")


async def logs(
    remote: Remote,
    *,
    module: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines as they come.")] = False,
    tail: Annotated[
        int | None, typer.Option(help="How many lines of each pod.", min=0, max=INT32_MAX, show_default="100")
    ] = None,
    target: Target,
) -> None:
    """Print what a module's pods have logged."""
    async for line in remote.log_lines(module, follow=follow, tail=tail):
        if target.output == "json":
            show.document(line, indent=None)
        else:
            show.say(show.log_line(line))


async def dev(
    remote: Remote,
    *,
    path: Annotated[Path, typer.Argument(help="The code: a folder or a .py file.", exists=True, show_default=False)],
    module: Annotated[
        str, typer.Option(help="The module's import name; may be left out where the code has only one.")
    ] = "",
    spec: Spec,
    target: Place,
) -> None:
    """Deploy code, and deploy it again at each save. Ctrl-C ends that; the module stays."""
    await develop(remote, path, module, spec)


def doctor(*, target: Target) -> None:
    """Find what is wrong, and tell how to mend it: in the cluster of --context or $KUBECONFIG, else on this machine."""
    with reported("doctor"):
        healthy = asyncio.run(examine(target, as_json=target.output == "json"))
    sys.exit(0 if healthy else 1)


def image_build(*, image: Image, code: Code, packages: Packages) -> None:
    """Build an image with a module's environment and code in it, for `create --image`."""
    with reported("image build"):
        build(image, code, packages)
