"""The options that commands share, in groups: a command takes the group, and its users see the options."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import shlex
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
import typer

INT32_MAX = 2**31 - 1
"""The largest number that an int32 field of a request can hold."""

Texts = list[str] | None


def _text(metavar: str, text: str, default: str | bool = False) -> Any:
    """Return an option that is empty unless it is given; `default` says what applies then."""
    return typer.Option(metavar=metavar, help=text, show_default=default)


def _texts(metavar: str, text: str, *names: str) -> Any:
    """Return an option that may be given often."""
    return typer.Option(*names, metavar=metavar, help=f"{text} May be given often.")


def _number(
    text: str, least: int, default: str | bool = False, *, metavar: str | None = None, most: int = INT32_MAX
) -> Any:
    """Return an option that takes a whole number; `default` says what applies if it isn't given."""
    return typer.Option(metavar=metavar, help=text, min=least, max=most, show_default=default)


def _port(server: str) -> Any:
    return _number(f"Port of the {server}. 0: any.", 0, True, most=65535)


def _seconds(text: str) -> Any:
    return typer.Option(metavar="SECONDS", help=text, min=0, show_default="300")


@dataclass(frozen=True)
class Place:
    """What a command was told of where its pod manager is; empty: nothing."""

    url: Annotated[
        str, _text("URL", "The front port. Else $JAC_ORC_URL, $POD_MANAGER_URL, or http://127.0.0.1:8080.")
    ] = ""
    context: Annotated[
        str,
        _text("NAME", "A cluster instead, as the kubeconfig names it; kubectl forwards a port. Else $JAC_ORC_CONTEXT."),
    ] = ""
    namespace: Annotated[str, _text("NAME", "Where in the cluster. Else $JAC_ORC_NAMESPACE, or jac-orc.")] = ""

    @property
    def options(self) -> str:
        """It again, to put behind a command that people shall run for the same pod manager."""
        given = {"--url": self.url, "--context": self.context, "--namespace": self.namespace}
        return "".join(f" {option} {shlex.quote(value)}" for option, value in given.items() if value)


@dataclass(frozen=True)
class Target(Place):
    """Where the pod manager is, and how a command prints its result."""

    output: Annotated[Literal["table", "json"], typer.Option("--output", "-o", help="A table for people, or JSON.")] = (
        "table"
    )


@dataclass(frozen=True)
class PlanTarget(Place):
    """Where the pod manager is, and how a plan is printed."""

    output: Annotated[Literal["yaml", "json"], typer.Option("--output", "-o", help="YAML, or JSON.")] = "yaml"


@dataclass(frozen=True)
class Code:
    """A module, by its name, by its code, or both."""

    module: Annotated[
        str, typer.Argument(help="The module's import name; may be left out where the source has only one.")
    ] = ""
    source: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Its code: the folder of a project or a package, or a .py, .zip, .whl or .tar.gz file.",
            exists=True,
        ),
    ] = None


@dataclass(frozen=True)
class Packages:
    """What a module's environment has in it; None and empty: not given."""

    requirement: Annotated[Texts, _texts("REQ", "What to install, 'numpy>=2'.", "--requirement", "-r")] = None
    constraint: Annotated[Texts, _texts("REQ", "Bounds whatever is installed, 'numpy<2.4'.", "--constraint", "-c")] = (
        None
    )
    python: Annotated[str, _text("VERSION", "The Python of the module, 3.12.")] = ""


@dataclass(frozen=True)
class Spec(Packages):
    """What to deploy; None and empty: not given."""

    replicas: Annotated[int | None, _number("How many pods.", 0, "1")] = None
    workers: Annotated[int | None, _number("How many processes in each pod.", 1, "1")] = None
    env: Annotated[Texts, _texts("NAME=VALUE", "An environment variable of the module's.")] = None
    timeout: Annotated[float | None, _seconds("How long a call may take.")] = None
    import_timeout: Annotated[float | None, _seconds("How long its import may take.")] = None
    cpu: Annotated[str, _text("N", "Cores that each pod requests, 500m or 2.")] = ""
    memory: Annotated[str, _text("BYTES", "Memory that each pod requests, 512Mi.")] = ""
    cpu_limit: Annotated[str, _text("N", "Cores beyond which a pod is throttled.", "none")] = ""
    memory_limit: Annotated[str, _text("BYTES", "Memory beyond which a pod is killed.", "--memory")] = ""
    tmp: Annotated[str, _text("BYTES", "Size of a pod's /tmp.", "2Gi")] = ""
    gpu: Annotated[int, _number("GPUs of each pod.", 0, metavar="N")] = 0
    secret: Annotated[Texts, _texts("NAME", "A secret whose entries become variables.")] = None
    image: Annotated[str, _text("IMAGE", "In a cluster, an image with its environment.")] = ""
    label: Annotated[Texts, _texts("NAME=VALUE", "Label of its pods.")] = None
    annotation: Annotated[Texts, _texts("NAME=VALUE", "Annotation of its pods.")] = None
    node_selector: Annotated[Texts, _texts("NAME=VALUE", "In a cluster, a label that its nodes must have.")] = None
    toleration: Annotated[Texts, _texts("KEY[=VALUE][:EFFECT]", "In a cluster, a taint that its pods tolerate.")] = None
    priority_class: Annotated[str, _text("NAME", "In a cluster, the PriorityClass of its pods.")] = ""
    service_account: Annotated[str, _text("NAME", "In a cluster, the ServiceAccount of its pods.")] = ""
    min_replicas: Annotated[int | None, _number("In a cluster, the least number of pods.", 1, "1")] = None
    max_replicas: Annotated[
        int | None, _number("And the largest: between them it follows the load. 0 ends that.", 0)
    ] = None
    target_cpu: Annotated[
        int | None, _number("The share of its --cpu that this aims at.", 1, "80", metavar="PERCENT")
    ] = None


@dataclass(frozen=True)
class Image:
    """How an image is built."""

    tag: Annotated[str, typer.Option("--tag", "-t", metavar="IMAGE", help="What the image is called.")]
    base: Annotated[str, typer.Option(metavar="IMAGE", help="The product's image, which it is built upon.")]
    tool: Annotated[str, _text("NAME", "What builds it.", "docker, podman or buildah")] = ""
    option: Annotated[Texts, _texts("OPTION", "A further option of its build.")] = None
    push: Annotated[bool, typer.Option("--push", help="Push it to its registry.")] = False


@dataclass(frozen=True)
class Up:
    """How everything runs on this machine."""

    port: Annotated[int, _port("front proxy on 127.0.0.1 (REST and gRPC)")] = 8080
    pod_manager_port: Annotated[int, _port("pod manager on 127.0.0.1")] = 50050
    xds_port: Annotated[int, _port("xDS server on 127.0.0.1")] = 18000
    state_dir: Annotated[Path, typer.Option(help="Where modules, pods and logs are kept.", file_okay=False)] = (
        platformdirs.user_state_path("jac-orc")
    )
    cache_dir: Annotated[Path, typer.Option(help="Where the modules' environments are kept.", file_okay=False)] = (
        platformdirs.user_cache_path("jac-orc")
    )
    auto_deploy: Annotated[bool, typer.Option(help="Whether a call to a module deploys it.")] = True
    policy: Annotated[
        Path | None,
        typer.Option(
            help="A YAML file with the operator's policy: allow, refuse, guess, requirements, secrets, images.",
            dir_okay=False,
        ),
    ] = None
    spares: Annotated[
        int,
        _number("Module servers that wait, so that a module starts at once; each takes some 31 MB.", 0, True, most=100),
    ] = 1
    front_workers: Annotated[
        int,
        _number(
            "Threads of the front proxy. 0: one for every two cores, as modules need the others.", 0, True, most=1024
        ),
    ] = 0
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], typer.Option(help="The least level that is logged.")
    ] = "info"


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the fields of its groups as parameters in their place, for Typer, which reads signatures."""
    own = _parameters(command)
    groups: dict[str, Any] = {each.name: each.annotation for each in own if dataclasses.is_dataclass(each.annotation)}
    parameters = [one for each in own for one in (_parameters(groups[each.name]) if each.name in groups else [each])]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in dataclasses.fields(group)})
        command(**given)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


@functools.cache  # evaluating the hints of a group takes milliseconds, and commands share groups
def _parameters(of: Callable[..., object]) -> list[inspect.Parameter]:
    hints = typing.get_type_hints(of, include_extras=True)
    found = inspect.signature(of).parameters.values()
    return [each.replace(annotation=hints[each.name], kind=inspect.Parameter.KEYWORD_ONLY) for each in found]
