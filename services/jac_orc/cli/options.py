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


@dataclass(frozen=True)
class Place:
    """What a command was told of where its pod manager is; empty: nothing."""

    url: Annotated[
        str,
        typer.Option(
            metavar="URL",
            show_default=False,
            help="The front port. Else $JAC_ORC_URL, $POD_MANAGER_URL, or http://127.0.0.1:8080.",
        ),
    ] = ""
    context: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            show_default=False,
            help="A cluster instead, as the kubeconfig names it; kubectl forwards a port. Else $JAC_ORC_CONTEXT.",
        ),
    ] = ""
    namespace: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            show_default=False,
            help="Where in the cluster. Else $JAC_ORC_NAMESPACE, or jac-orc.",
        ),
    ] = ""

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
        Path | None, typer.Option(metavar="PATH", help="Its code: a folder, or a .zip, .whl or .tar.gz file.")
    ] = None


@dataclass(frozen=True)
class Packages:
    """What a module's environment has in it; None and empty: not given."""

    requirement: Annotated[
        list[str] | None,
        typer.Option("--requirement", "-r", metavar="REQ", help="What to install, 'numpy>=2'. May be given often."),
    ] = None
    constraint: Annotated[
        list[str] | None,
        typer.Option("--constraint", "-c", metavar="REQ", help="Bounds whatever is installed, 'numpy<2.4'."),
    ] = None
    python: Annotated[
        str, typer.Option(metavar="VERSION", help="The Python of the module, 3.12.", show_default=False)
    ] = ""


@dataclass(frozen=True)
class Spec(Packages):
    """What to deploy; None and empty: not given."""

    replicas: Annotated[int | None, typer.Option(help="How many pods.", min=0, max=INT32_MAX, show_default="1")] = None
    workers: Annotated[
        int | None, typer.Option(help="How many processes in each pod.", min=1, max=INT32_MAX, show_default="1")
    ] = None
    env: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="An environment variable of the module's.")
    ] = None
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="How long a call may take.", min=0, show_default="300")
    ] = None
    import_timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="How long its import may take.", min=0, show_default="300")
    ] = None
    cpu: Annotated[
        str, typer.Option(metavar="N", help="Cores that each pod requests, 500m or 2.", show_default=False)
    ] = ""
    memory: Annotated[
        str, typer.Option(metavar="BYTES", help="Memory that each pod requests, 512Mi.", show_default=False)
    ] = ""
    cpu_limit: Annotated[
        str, typer.Option(metavar="N", help="Cores beyond which a pod is throttled.", show_default="none")
    ] = ""
    memory_limit: Annotated[
        str, typer.Option(metavar="BYTES", help="Memory beyond which a pod is killed.", show_default="--memory")
    ] = ""
    tmp: Annotated[str, typer.Option(metavar="BYTES", help="Size of a pod's /tmp.", show_default="2Gi")] = ""
    gpu: Annotated[
        int, typer.Option(metavar="N", help="GPUs of each pod.", min=0, max=INT32_MAX, show_default=False)
    ] = 0
    secret: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A secret whose entries become variables.")
    ] = None
    image: Annotated[
        str, typer.Option(metavar="IMAGE", help="In a cluster, an image with its environment.", show_default=False)
    ] = ""
    label: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Label of its pods. May be given often.")
    ] = None
    annotation: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Annotation of its pods. May be given often.")
    ] = None
    node_selector: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="In a cluster, a label that its nodes must have. May be given often."),
    ] = None
    toleration: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY[=VALUE][:EFFECT]", help="In a cluster, a taint that its pods tolerate. May be given often."
        ),
    ] = None
    priority_class: Annotated[
        str, typer.Option(metavar="NAME", help="In a cluster, the PriorityClass of its pods.", show_default=False)
    ] = ""
    service_account: Annotated[
        str, typer.Option(metavar="NAME", help="In a cluster, the ServiceAccount of its pods.", show_default=False)
    ] = ""
    min_replicas: Annotated[
        int | None, typer.Option(help="In a cluster, the least number of pods.", min=1, max=INT32_MAX, show_default="1")
    ] = None
    max_replicas: Annotated[
        int | None,
        typer.Option(
            help="And the largest: between them it follows the load. 0 ends that.",
            min=0,
            max=INT32_MAX,
            show_default=False,
        ),
    ] = None
    target_cpu: Annotated[
        int | None,
        typer.Option(
            metavar="PERCENT", help="The share of its --cpu that this aims at.", min=1, max=INT32_MAX, show_default="80"
        ),
    ] = None


@dataclass(frozen=True)
class Image:
    """How an image is built."""

    tag: Annotated[str, typer.Option("--tag", "-t", metavar="IMAGE", help="What the image is called.")]
    base: Annotated[str, typer.Option(metavar="IMAGE", help="The product's image, which it is built upon.")]
    tool: Annotated[
        str, typer.Option(metavar="NAME", show_default="docker, podman or buildah", help="What builds it.")
    ] = ""
    option: Annotated[
        list[str] | None, typer.Option(metavar="OPTION", help="A further option of its build. May be given often.")
    ] = None
    push: Annotated[bool, typer.Option("--push", help="Push it to its registry.")] = False


@dataclass(frozen=True)
class Up:
    """How everything runs on this machine."""

    port: Annotated[
        int, typer.Option(help="Port of the front proxy on 127.0.0.1 (REST and gRPC). 0: any.", min=0, max=65535)
    ] = 8080
    pod_manager_port: Annotated[
        int, typer.Option(help="Port of the pod manager on 127.0.0.1. 0: any.", min=0, max=65535)
    ] = 50050
    xds_port: Annotated[int, typer.Option(help="Port of the xDS server on 127.0.0.1. 0: any.", min=0, max=65535)] = (
        18000
    )
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
        typer.Option(
            help="Module servers that wait, so that a module starts at once; each takes some 31 MB.", min=0, max=100
        ),
    ] = 1
    front_workers: Annotated[
        int,
        typer.Option(
            help="Threads of the front proxy. 0: one for every two cores, as modules need the others.", min=0, max=1024
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


def _parameters(of: Callable[..., object]) -> list[inspect.Parameter]:
    hints = typing.get_type_hints(of, include_extras=True)
    found = inspect.signature(of).parameters.values()
    return [each.replace(annotation=hints[each.name], kind=inspect.Parameter.KEYWORD_ONLY) for each in found]
