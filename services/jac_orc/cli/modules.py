"""The commands that deal with modules through the front port, and the one that finds what is wrong with that."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from jac_orc.cli.options import INT32_MAX, Code, Image, Packages, Place, PlanTarget, Spec, Target, grouped

Name = Annotated[str, typer.Argument(metavar="MODULE", help="The module's import name.", show_default=False)]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Don't wait until it is done.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (create, plan, list_, get, scale, delete, logs, dev, doctor):
        app.command(command.__name__.rstrip("_"))(grouped(command))
    images = typer.Typer(help="Images of modules, for clusters.", no_args_is_help=True)
    images.command("build")(grouped(image_build))
    app.add_typer(images, name="image")


def create(
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
    _run("create", target, code, spec, update, not no_wait)


def plan(*, code: Code, spec: Spec, target: PlanTarget) -> None:
    """Print what creating a module would make, and make nothing: in a cluster the objects, else the whole spec."""
    _run("plan", target, code, spec)


def image_build(*, image: Image, code: Code, packages: Packages) -> None:
    """Build an image with a module's environment and code in it, for `create --image`."""
    from jac_orc.cli import image as images
    from jac_orc.cli import remote

    with remote.reported("image build"):
        images.build(image, code, packages)


def list_(*, target: Target) -> None:
    """List the modules that are deployed."""
    _run("list_", target)


def get(*, module: Name, target: Target) -> None:
    """Tell all about a module."""
    _run("get", target, module)


def scale(
    *,
    module: Name,
    replicas: Annotated[
        int, typer.Argument(metavar="N", help="How many pods.", min=0, max=INT32_MAX, show_default=False)
    ],
    no_wait: NoWait = False,
    target: Target,
) -> None:
    """Set how many pods a module has."""
    _run("scale", target, module, replicas, not no_wait)


def delete(*, module: Name, target: Target) -> None:
    """Remove a module and everything made for it."""
    _run("delete", target, module)


def logs(
    *,
    module: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines as they come.")] = False,
    tail: Annotated[
        int | None, typer.Option(help="How many lines of each pod.", min=0, max=INT32_MAX, show_default="100")
    ] = None,
    target: Target,
) -> None:
    """Print what a module's pods have logged."""
    _run("logs", target, module, follow, tail)


def dev(
    *,
    folder: Annotated[
        Path, typer.Argument(help="The folder with the code.", exists=True, file_okay=False, show_default=False)
    ],
    module: Annotated[
        str, typer.Option(help="The module's import name; may be left out where the folder has only one.")
    ] = "",
    spec: Spec,
    place: Place,
) -> None:
    """Deploy a folder's code, and deploy it again at each save. Ctrl-C ends that; the module stays."""
    from jac_orc.cli import dev as development
    from jac_orc.cli import remote

    remote.run("dev", place, lambda found: development.develop(found, folder, module, spec))


def doctor(*, target: Target) -> None:
    """Find what is wrong, and tell how to mend it: in the cluster of --context or $KUBECONFIG, else on this machine."""
    import asyncio

    from jac_orc.cli import doctor as examination
    from jac_orc.cli import remote

    with remote.reported("doctor"):
        healthy = asyncio.run(examination.examine(target, as_json=target.output == "json"))
    sys.exit(0 if healthy else 1)


def _run(name: str, target: Target | PlanTarget, *arguments: Any) -> None:
    """Run the command of that name in `commands`."""
    from jac_orc.cli import commands, remote

    command = partial(getattr(commands, name), as_json=target.output == "json")
    remote.run(name.rstrip("_"), target, lambda found: command(found, *arguments))
