"""Environments of the peers and of our own modules: `.build/bench/NAME`, from `requirements/bench-NAME.txt`."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

from bench.processes import ROOT, SERVICES
from bench.results import progress

SUBJECTS = ROOT / "bench" / "subjects"


class NotInstalled(Exception):
    """The environment could not be created."""


def python(name: str) -> Path:
    """Return the interpreter of an environment, which is created if its requirements have changed."""
    requirements = _requirements(name)
    directory = ROOT / ".build" / "bench" / name
    stamp, interpreter = directory / "made.stamp", directory / "bin" / "python"
    key = hashlib.sha256(sys.version.encode() + requirements.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != key:
        progress(f"installing {requirements.name}")
        stamp.unlink(missing_ok=True)
        _uv("venv", "--clear", "--python", sys.executable, str(directory))
        _uv("pip", "install", "--require-hashes", "--python", str(interpreter), "--requirement", str(requirements))
        stamp.write_text(key)
    return interpreter


def own() -> Path:
    """Return the interpreter of the environment that also has the benchmark's own modules and the Python client."""
    interpreter = python("grpc")
    (site,) = interpreter.parents[1].glob("lib/python*/site-packages")
    paths, text = site / "bench.pth", f"{SERVICES}\n{SUBJECTS}\n"
    if not paths.exists() or paths.read_text() != text:
        paths.write_text(text)
    return interpreter


def version(name: str, distribution: str) -> str:
    """Return the pinned version of a distribution; empty if it isn't pinned."""
    found = re.search(rf"^{re.escape(distribution)}==([^\s;]+)", _requirements(name).read_text(), re.MULTILINE)
    return found[1] if found else ""


def _requirements(name: str) -> Path:
    path = ROOT / "requirements" / f"bench-{name}.txt"
    return path if path.exists() else ROOT / "requirements" / f"{name}.txt"


def _uv(*arguments: str) -> None:
    command = [str(Path(sys.executable).with_name("uv")), "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotInstalled(" ".join(done.stderr.split())[-300:])
