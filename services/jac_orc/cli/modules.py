"""The commands that deal with modules through the front port, and the one that finds what is wrong with that."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jac_orc.cli.options import INT32_MAX, Packages, Place, Spec, grouped

if TYPE_CHECKING:
    from jac_orc.cli.remote import Remote


class Output(enum.StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"


class PlanOutput(enum.StrEnum):
    """How plans are printed."""

    YAML = "yaml"
    JSON = "json"


Format = Annotated[Output, typer.Option("--output", "-o", help="A table for people, or JSON.")]
ModuleOrSource = Annotated[
    str,
    typer.Argument(help="The module's import name; may be left out where the source has only one."),
]
Source = Annotated[
    Path | None, typer.Option(metavar="PATH", help="Its code: a folder, or a .zip, .whl or .tar.gz file.")
]
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
    module: ModuleOrSource = "",
    source: Source = None,
    spec: Spec,
    update: Annotated[
        bool, typer.Option("--update", help="If it is deployed otherwise, change what options are given for.")
    ] = False,
    no_wait: NoWait = False,
    output: Format = Output.TABLE,
    place: Place,
) -> None:
    """Deploy a module."""
    from jac_orc.cli.commands import Creation

    _run("create", place, output, Creation(module, source, spec, update, not no_wait))


def plan(
    *,
    module: ModuleOrSource = "",
    source: Source = None,
    spec: Spec,
    output: Annotated[PlanOutput, typer.Option("--output", "-o", help="YAML, or JSON.")] = PlanOutput.YAML,
    place: Place,
) -> None:
    """Print what creating a module would make, and make nothing: in a cluster the objects, else the whole spec."""
    from jac_orc.cli.commands import Creation

    _run("plan", place, output, Creation(module, source, spec))


def image_build(
    *,
    tag: Annotated[str, typer.Option("--tag", "-t", metavar="IMAGE", help="What the image is called.")],
    base: Annotated[str, typer.Option(metavar="IMAGE", help="The product's image, which it is built upon.")],
    module: ModuleOrSource = "",
    source: Source = None,
    packages: Packages,
    tool: Annotated[
        str, typer.Option(metavar="NAME", show_default="docker, podman or buildah", help="What builds it.")
    ] = "",
    option: Annotated[
        list[str] | None, typer.Option(metavar="OPTION", help="A further option of its build. May be given often.")
    ] = None,
    push: Annotated[bool, typer.Option("--push", help="Push it to its registry.")] = False,
) -> None:
    """Build an image with a module's environment and code in it, for `create --image`."""
    from jac_orc.cli.failures import CallError, UsageError
    from jac_orc.cli.image import Image, build
    from jac_orc.client.packing import PackingError

    try:
        build(Image(module, tag, base, source, packages, tool, push, option or ()))
    except (UsageError, CallError, PackingError) as failure:
        print(f"jac-orc image build: {failure}", file=sys.stderr)
        sys.exit(2 if isinstance(failure, UsageError) else 1)


def list_(
    *,
    output: Format = Output.TABLE,
    place: Place,
) -> None:
    """List the modules that are deployed."""
    _run("list", place, output)


def get(
    *,
    module: Name,
    output: Format = Output.TABLE,
    place: Place,
) -> None:
    """Tell all about a module."""
    _run("get", place, output, module)


def scale(
    *,
    module: Name,
    replicas: Annotated[
        int, typer.Argument(metavar="N", help="How many pods.", min=0, max=INT32_MAX, show_default=False)
    ],
    no_wait: NoWait = False,
    output: Format = Output.TABLE,
    place: Place,
) -> None:
    """Set how many pods a module has."""
    _run("scale", place, output, module, replicas, not no_wait)


def delete(
    *,
    module: Name,
    output: Format = Output.TABLE,
    place: Place,
) -> None:
    """Remove a module and everything made for it."""
    _run("delete", place, output, module)


def logs(
    *,
    module: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines as they come.")] = False,
    tail: Annotated[
        int | None, typer.Option(help="How many lines of each pod.", min=0, max=INT32_MAX, show_default="100")
    ] = None,
    output: Format = Output.TABLE,
    place: Place,
) -> None:
    """Print what a module's pods have logged."""
    _run("logs", place, output, module, follow, tail)


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


def doctor(
    *,
    output: Format = Output.TABLE,
    place: Place,
) -> None:
    """Find what is wrong, and tell how to mend it: in the cluster of --context or $KUBECONFIG, else on this machine."""
    from jac_orc.cli import doctor as examination
    from jac_orc.cli import remote

    examined = examination.examine(place, as_json=output is Output.JSON)
    if not remote.finish("doctor", examined):
        sys.exit(1)


def _run(name: str, place: Place, output: Output | PlanOutput, *arguments: Any) -> None:
    """Runs the command of that name in `commands`."""
    from jac_orc.cli import commands, remote

    command = getattr(commands, name if name != "list" else "list_modules")

    async def work(found: Remote) -> None:
        await command(found, *arguments, as_json=output == "json")

    remote.run(name, place, work)
