"""The command `jac-orc`."""

from __future__ import annotations

import enum
import io
import itertools
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import platformdirs
import typer
from typer.core import TyperGroup

from jac_orc.cli import modules

_STATE_DIR = platformdirs.user_state_path("jac-orc")
_CACHE_DIR = platformdirs.user_cache_path("jac-orc")


class LogLevel(enum.StrEnum):
    """The levels of the log."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Commands(TyperGroup):
    """Refuse empty words, which an unset shell variable leaves, and words that no request can carry as UTF-8."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for before, word in itertools.pairwise(["jac-orc", *args]):
            if not word or (word.startswith("--") and word.find("=") == len(word) - 1):
                text = f"nothing is given behind {word or before}; give a value, or leave it out"
                raise typer.BadParameter(text)
            if not _is_utf8(word):
                text = f"{os.fsencode(word)[:100]!r} can't be read as {sys.getfilesystemencoding()} text"
                raise typer.BadParameter(f"{text}; write it in UTF-8, in a locale like LC_ALL=C.UTF-8")
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="jac-orc",
    cls=Commands,
    help="Any Python module as a gRPC and REST service.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _root() -> None:
    pass


@app.command()
def up(
    port: Annotated[
        int, typer.Option(help="Port of the front proxy on 127.0.0.1 (REST and gRPC). 0: any.", min=0, max=65535)
    ] = 8080,
    pod_manager_port: Annotated[
        int, typer.Option(help="Port of the pod manager on 127.0.0.1. 0: any.", min=0, max=65535)
    ] = 50050,
    xds_port: Annotated[
        int, typer.Option(help="Port of the xDS server on 127.0.0.1. 0: any.", min=0, max=65535)
    ] = 18000,
    state_dir: Annotated[
        Path, typer.Option(help="Where modules, pods and logs are kept.", file_okay=False)
    ] = _STATE_DIR,
    cache_dir: Annotated[
        Path, typer.Option(help="Where the modules' environments are kept.", file_okay=False)
    ] = _CACHE_DIR,
    auto_deploy: Annotated[bool, typer.Option(help="Whether a call to a module deploys it.")] = True,
    policy: Annotated[
        Path | None,
        typer.Option(
            help="A YAML file with the operator's policy: allow, refuse, guess, requirements, secrets, images.",
            dir_okay=False,
        ),
    ] = None,
    spares: Annotated[
        int,
        typer.Option(
            help="Module servers that wait, so that a module starts at once; each takes some 31 MB.", min=0, max=100
        ),
    ] = 1,
    front_workers: Annotated[
        int,
        typer.Option(
            help="Threads of the front proxy. 0: one for every two cores, as modules need the others.", min=0, max=1024
        ),
    ] = 0,
    log_level: Annotated[LogLevel, typer.Option(help="The least level that is logged.")] = LogLevel.INFO,
) -> None:
    """Run everything on this machine: pod manager, Envoy, and modules as child processes. Ctrl-C stops it all."""
    import asyncio

    from jac_orc.cli.up import Options, UsageError, run

    options = Options(
        port,
        pod_manager_port,
        xds_port,
        state_dir.absolute(),
        cache_dir.absolute(),
        auto_deploy,
        policy,
        spares,
        front_workers,
        log_level.value,
    )
    try:
        sys.exit(asyncio.run(run(options)))
    except UsageError as failure:
        print(f"jac-orc up: {failure}", file=sys.stderr)
        sys.exit(2)


modules.register(app)


@app.command()
def version() -> None:
    """Print the version."""
    import importlib.metadata

    print(importlib.metadata.version("jac-cloud-orc"))


def _is_utf8(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _prepare_streams() -> None:
    """Open closed standard streams on /dev/null, as git does, and escape what the locale's encoding can't express."""
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free descriptor, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def main() -> None:
    """Run the command."""
    _prepare_streams()
    app()
