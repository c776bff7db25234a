"""Looks at this machine: whether `jac-orc up` can run here, and whether its pod manager answers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path

import platformdirs

from jac_orc.cli import envoy
from jac_orc.cli.checks import Check, State, fault, ok, skipped
from jac_orc.cli.failures import CallError
from jac_orc.cli.place import Address
from jac_orc.cli.remote import probe
from jac_orc.errors import OrcError

_PORTS = {"--port": 8080, "--pod-manager-port": 50050, "--xds-port": 18000}
_API_KEY = "set JAC_ORC_API_KEY to yours"
_INSTALL = "pip install 'jac-cloud-orc[local]'"
_SECONDS = 10.0


async def examine(url: str, *, expected: bool) -> list[Check]:
    """What is found. A pod manager at the URL is missed only where it is expected; elsewhere none may run yet."""
    address = Address.of(url)
    answers = await _pod_manager(address, expected)
    if not address.is_local:
        return [answers]
    return [
        ok("Python", f"{platform.python_version()}, {sys.executable}"),
        await asyncio.to_thread(_program, "uv", _uv()),
        await asyncio.to_thread(_program, "Envoy", envoy.binary()),
        _directory("state", platformdirs.user_state_path("jac-orc"), "--state-dir"),
        _directory("cache", platformdirs.user_cache_path("jac-orc"), "--cache-dir"),
        _ports(is_up=answers.state is State.OK or answers.fix == _API_KEY),
        answers,
    ]


def _uv() -> Path | None:
    with contextlib.suppress(ImportError, FileNotFoundError):
        import uv

        return Path(uv.find_uv_bin())
    return None


def _program(name: str, path: Path | None) -> Check:
    if path is None:
        return fault(name, "it isn't installed", _INSTALL)
    try:
        done = subprocess.run(
            [path, "--version"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", timeout=_SECONDS, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as failure:
        return fault(name, f"{path} doesn't run: {failure}", f"{_INSTALL} --force-reinstall")
    told = done.stdout.strip().partition("\n")[0]
    return ok(name, told if str(path) in told else f"{told}, {path}")


def _directory(name: str, path: Path, option: str) -> Check:
    """Whether it, or the nearest folder above it that exists, can be written."""
    there = next(each for each in (path, *path.parents) if each.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return ok(f"{name} directory", str(path))
    fix = f"chown {os.getuid()} {there}, or jac-orc up {option} ANOTHER"
    return fault(f"{name} directory", f"{there} can't be written", fix)


def _ports(*, is_up: bool) -> Check:
    if is_up:
        return skipped("ports", "in use by the pod manager that answers")
    for option, port in _PORTS.items():
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError as failure:
            fix = f"stop what listens there, which ss -ltnp names, or jac-orc up {option} 0"
            return fault("ports", f"{port} on 127.0.0.1 can't be used: {os.strerror(failure.errno or 0)}", fix)
    return ok("ports", f"free: {', '.join(map(str, _PORTS.values()))}")


async def _pod_manager(address: Address, expected: bool) -> Check:
    name, start = "pod manager", "jac-orc up, or name another one with --url"
    try:
        await probe(address)
    except CallError as failure:
        if expected:
            return fault(name, str(failure), start)
        return skipped(name, "none runs yet; this starts one: jac-orc up")
    except OrcError as failure:
        if failure.reason == "UNAUTHENTICATED":
            return fault(name, f"{address.url} takes only who has an API key", _API_KEY)
        return fault(name, f"{address.url} answers: {failure.message}", start)
    return ok(name, f"answers at {address.url}")
