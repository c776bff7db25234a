"""The commands that deal with modules through the front port, and the one that finds what is wrong with that."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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


Url = Annotated[
    str,
    typer.Option(
        "--url",
        metavar="URL",
        show_default=False,
        help="The front port. Else $JAC_ORC_URL, $POD_MANAGER_URL, or http://127.0.0.1:8080.",
    ),
]
Context = Annotated[
    str,
    typer.Option(
        "--context",
        metavar="NAME",
        show_default=False,
        help="A cluster instead, as the kubeconfig names it; kubectl forwards a port. Else $JAC_ORC_CONTEXT.",
    ),
]
Namespace = Annotated[
    str,
    typer.Option(
        "--namespace",
        metavar="NAME",
        show_default=False,
        help="Where in the cluster. Else $JAC_ORC_NAMESPACE, or jac-orc.",
    ),
]
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
Requirements = Annotated[
    list[str] | None,
    typer.Option("--requirement", "-r", metavar="REQ", help="What to install, 'numpy>=2'. May be given often."),
]
Constraints = Annotated[
    list[str] | None,
    typer.Option("--constraint", "-c", metavar="REQ", help="Bounds whatever is installed, 'numpy<2.4'."),
]
Replicas = Annotated[int | None, typer.Option(help="How many pods.", min=0, show_default="1")]
Workers = Annotated[int | None, typer.Option(help="How many processes in each pod.", min=1, show_default="1")]
Env = Annotated[
    list[str] | None, typer.Option("--env", metavar="NAME=VALUE", help="An environment variable of the module's.")
]
Python = Annotated[str, typer.Option(metavar="VERSION", help="The Python of the module, 3.12.", show_default=False)]
Timeout = Annotated[
    float | None, typer.Option(metavar="SECONDS", help="How long a call may take.", min=0, show_default="300")
]
ImportTimeout = Annotated[
    float | None, typer.Option(metavar="SECONDS", help="How long its import may take.", min=0, show_default="300")
]
Cpu = Annotated[str, typer.Option(metavar="N", help="Cores of each pod, 500m or 2.", show_default=False)]
Memory = Annotated[str, typer.Option(metavar="BYTES", help="Memory of each pod, 512Mi.", show_default=False)]
MinReplicas = Annotated[
    int | None, typer.Option(help="In a cluster, the least number of pods.", min=1, show_default="1")
]
MaxReplicas = Annotated[
    int | None, typer.Option(help="And the largest: between them it follows the load.", min=1, show_default=False)
]
TargetCpu = Annotated[
    int | None,
    typer.Option(metavar="PERCENT", help="The share of its --cpu that this aims at.", min=1, show_default="80"),
]
Gpu = Annotated[int, typer.Option(metavar="N", help="GPUs of each pod.", min=0, show_default=False)]
Secrets = Annotated[
    list[str] | None,
    typer.Option("--secret", metavar="NAME", help="A secret whose entries become variables."),
]
Image = Annotated[
    str,
    typer.Option(metavar="IMAGE", help="In a cluster, an image with its environment.", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (create, plan, list_, get, scale, delete, logs, dev, doctor):
        app.command(command.__name__.rstrip("_"))(command)


def create(
    module: ModuleOrSource = "",
    requirement: Requirements = None,
    constraint: Constraints = None,
    source: Source = None,
    replicas: Replicas = None,
    workers: Workers = None,
    env: Env = None,
    python: Python = "",
    timeout: Timeout = None,
    import_timeout: ImportTimeout = None,
    cpu: Cpu = "",
    memory: Memory = "",
    gpu: Gpu = 0,
    secret: Secrets = None,
    image: Image = "",
    min_replicas: MinReplicas = None,
    max_replicas: MaxReplicas = None,
    target_cpu: TargetCpu = None,
    update: Annotated[bool, typer.Option("--update", help="Change it where it is deployed otherwise.")] = False,
    no_wait: NoWait = False,
    output: Format = Output.TABLE,
    url: Url = "",
    context: Context = "",
    namespace: Namespace = "",
) -> None:
    """Deploy a module."""
    from jac_orc.cli.commands import Creation
    from jac_orc.cli.deploying import Options

    options = Options(
        requirement or (), constraint or (), replicas, workers, env or (), python, timeout, import_timeout,
        cpu, memory, gpu, secret or (), image, min_replicas, max_replicas, target_cpu,
    )  # fmt: skip
    _run("create", (url, context, namespace), output, Creation(module, source, options, update, not no_wait))


def plan(
    module: ModuleOrSource = "",
    requirement: Requirements = None,
    constraint: Constraints = None,
    source: Source = None,
    replicas: Replicas = None,
    workers: Workers = None,
    env: Env = None,
    python: Python = "",
    timeout: Timeout = None,
    import_timeout: ImportTimeout = None,
    cpu: Cpu = "",
    memory: Memory = "",
    gpu: Gpu = 0,
    secret: Secrets = None,
    image: Image = "",
    min_replicas: MinReplicas = None,
    max_replicas: MaxReplicas = None,
    target_cpu: TargetCpu = None,
    output: Annotated[PlanOutput, typer.Option("--output", "-o", help="YAML, or JSON.")] = PlanOutput.YAML,
    url: Url = "",
    context: Context = "",
    namespace: Namespace = "",
) -> None:
    """Print what creating a module would make, and make nothing: in a cluster the objects, else the whole spec."""
    from jac_orc.cli.commands import Creation
    from jac_orc.cli.deploying import Options

    options = Options(
        requirement or (), constraint or (), replicas, workers, env or (), python, timeout, import_timeout,
        cpu, memory, gpu, secret or (), image, min_replicas, max_replicas, target_cpu,
    )  # fmt: skip
    _run("plan", (url, context, namespace), output, Creation(module, source, options))


def image_build(
    tag: Annotated[str, typer.Option("--tag", "-t", metavar="IMAGE", help="What the image is called.")],
    base: Annotated[str, typer.Option(metavar="IMAGE", help="The product's image, which it is built upon.")],
    module: ModuleOrSource = "",
    requirement: Requirements = None,
    constraint: Constraints = None,
    source: Source = None,
    python: Python = "",
    tool: Annotated[
        str, typer.Option(metavar="NAME", show_default="docker, podman or buildah", help="What builds it.")
    ] = "",
    option: Annotated[
        list[str] | None, typer.Option(metavar="OPTION", help="A further option of its build. May be given often.")
    ] = None,
    push: Annotated[bool, typer.Option("--push", help="Push it to its registry.")] = False,
) -> None:
    """Build an image with a module's environment and code in it, for `create --image`."""
    from jac_orc.cli.deploying import Options
    from jac_orc.cli.failures import CallError, UsageError
    from jac_orc.cli.image import Image, build
    from jac_orc.client.packing import PackingError

    options = Options(requirement or (), constraint or (), python=python)
    try:
        build(Image(module, tag, base, source, options, tool, push, option or ()))
    except (UsageError, CallError, PackingError) as failure:
        print(f"jac-orc image build: {failure}", file=sys.stderr)
        sys.exit(2 if isinstance(failure, UsageError) else 1)


def list_(
    output: Format = Output.TABLE,
    url: Url = "",
    context: Context = "",
    namespace: Namespace = "",
) -> None:
    """List the modules that are deployed."""
    _run("list", (url, context, namespace), output)


def get(
    module: Name,
    output: Format = Output.TABLE,
    url: Url = "",
    context: Context = "",
    namespace: Namespace = "",
) -> None:
    """Tell all about a module."""
    _run("get", (url, context, namespace), output, module)


def scale(
    module: Name,
    replicas: Annotated[int, typer.Argument(metavar="N", help="How many pods.", min=0, show_default=False)],
    no_wait: NoWait = False,
    output: Format = Output.TABLE,
    url: Url = "",
    context: Context = "",
    namespace: Namespace = "",
) -> None:
    """Set how many pods a module has."""
    _run("scale", (url, context, namespace), output, module, replicas, not no_wait)


def delete(
    module: Name,
    output: Format = Output.TABLE,
    url: Url = "",
    context: Context = "",
    namespace: Namespace = "",
) -> None:
    """Remove a module and everything made for it."""
    _run("delete", (url, context, namespace), output, module)


def logs(
    module: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines as they come.")] = False,
    tail: Annotated[int | None, typer.Option(help="How many lines of each pod.", min=0, show_default="100")] = None,
    output: Format = Output.TABLE,
    url: Url = "",
    context: Context = "",
    namespace: Namespace = "",
) -> None:
    """Print what a module's pods have logged."""
    _run("logs", (url, context, namespace), output, module, follow, tail)


def dev(
    folder: Annotated[
        Path, typer.Argument(help="The folder with the code.", exists=True, file_okay=False, show_default=False)
    ],
    module: Annotated[
        str, typer.Option(help="The module's import name; may be left out where the folder has only one.")
    ] = "",
    requirement: Requirements = None,
    constraint: Constraints = None,
    replicas: Replicas = None,
    workers: Workers = None,
    env: Env = None,
    python: Python = "",
    timeout: Timeout = None,
    import_timeout: ImportTimeout = None,
    cpu: Cpu = "",
    memory: Memory = "",
    gpu: Gpu = 0,
    secret: Secrets = None,
    image: Image = "",
    min_replicas: MinReplicas = None,
    max_replicas: MaxReplicas = None,
    target_cpu: TargetCpu = None,
    url: Url = "",
    context: Context = "",
    namespace: Namespace = "",
) -> None:
    """Deploy a folder's code, and deploy it again at each save. Ctrl-C ends that; the module stays."""
    from jac_orc.cli import dev as development
    from jac_orc.cli import remote
    from jac_orc.cli.deploying import Options
    from jac_orc.cli.place import Place

    options = Options(
        requirement or (), constraint or (), replicas, workers, env or (), python, timeout, import_timeout,
        cpu, memory, gpu, secret or (), image, min_replicas, max_replicas, target_cpu,
    )  # fmt: skip
    place = Place(url, context, namespace)
    remote.run("dev", place, lambda found: development.develop(found, folder, module, options))


def doctor(
    output: Format = Output.TABLE,
    url: Url = "",
    context: Context = "",
    namespace: Namespace = "",
) -> None:
    """Find what is wrong, and tell how to mend it: in the cluster of --context or $KUBECONFIG, else on this machine."""
    from jac_orc.cli import doctor as examination
    from jac_orc.cli import remote
    from jac_orc.cli.place import Place

    examined = examination.examine(Place(url, context, namespace), as_json=output is Output.JSON)
    if not remote.finish("doctor", examined):
        sys.exit(1)


def _run(name: str, place: tuple[str, str, str], output: Output | PlanOutput, *arguments: Any) -> None:
    """Runs the command of that name in `commands`."""
    from jac_orc.cli import commands, remote
    from jac_orc.cli.place import Place

    command = getattr(commands, name if name != "list" else "list_modules")

    async def work(found: Remote) -> None:
        await command(found, *arguments, as_json=output == "json")

    remote.run(name, Place(*place), work)
