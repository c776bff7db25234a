"""The command `jac-orc`."""

from __future__ import annotations

import asyncio
import io
import itertools
import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from jac_orc.cli import commands
from jac_orc.cli.options import Up, grouped
from jac_orc.cli.remote import reported


class Commands(TyperGroup):
    """Refuse empty words, which an unset shell variable leaves, and words that no request can carry as UTF-8."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for before, word in itertools.pairwise(["jac-orc", *args]):
            if not word or (word.startswith("--") and word.find("=") == len(word) - 1):
                text = f"nothing is given behind {word or before}; give a value, or leave it out"
                raise typer.BadParameter(text)
            if any("\ud800" <= char <= "\udfff" for char in word):  # bytes that are not of the locale's encoding
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


@app.command()
@grouped
def up(*, options: Up) -> None:
    """Run everything on this machine: pod manager, Envoy, and modules as child processes. Ctrl-C stops it all."""
    from jac_orc.cli.up import run  # needs what the extra `local` installs

    with reported("up"):
        asyncio.run(run(options))


commands.register(app)


@app.command()
def version() -> None:
    """Print the version."""
    import importlib.metadata

    print(importlib.metadata.version("jac-cloud-orc"))


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
