"""The environments of the peers, and one for users' modules: `.build/bench/NAME`, of `requirements/bench-NAME.txt`."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from bench.processes import ROOT, SERVICES
from bench.report import progress

SUBJECTS = ROOT / "bench" / "subjects"


class NotInstalled(Exception):
    """The environment can't be made."""


def python(name: str) -> Path:
    """The interpreter of an environment, which is made where there is none from the requirements as they are now."""
    requirements = ROOT / "requirements" / f"bench-{name}.txt"
    place = ROOT / ".build" / "bench" / name
    stamp, interpreter = place / "made.stamp", place / "bin" / "python"
    key = hashlib.sha256(sys.version.encode() + requirements.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != key:
        progress(f"installing {requirements.name}")
        stamp.unlink(missing_ok=True)
        _uv("venv", "--clear", "--python", sys.executable, str(place))
        _uv("pip", "install", "--require-hashes", "--python", str(interpreter), "--requirement", str(requirements))
        stamp.write_text(key)
    return interpreter


def subjects() -> Path:
    """The interpreter of the environment of the benchmark's own modules; it has the client, too."""
    interpreter = python("ours")
    (site,) = interpreter.parents[1].glob("lib/python*/site-packages")
    (site / "bench.pth").write_text(f"{SERVICES}\n{SUBJECTS}\n")
    return interpreter


def _uv(*arguments: str) -> None:
    command = [str(Path(sys.executable).with_name("uv")), "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotInstalled(" ".join(done.stderr.split())[-300:])
