"""`jac-orc image build`: an image of one module, with its environment and its code in it."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from google.protobuf import json_format

from jac_orc.cli import deploying, show, sources
from jac_orc.cli.failures import CallError, UsageError
from jac_orc.cli.options import Code, Image, Packages

TOOLS = ("docker", "podman", "buildah")
_ANY_OF = "docker, podman or buildah"
_SECONDS = 30.0

_FOLDER = "/opt/module"
_DOCKERFILE = f"""\
ARG BASE
FROM $BASE
USER 0
COPY . /tmp/context/
RUN env QUESTION_FILE=/tmp/context/question.json STORE={_FOLDER} LINKS={_FOLDER} UV_CACHE_DIR=/tmp/cache \\
    {{source}} python -m jac_orc.pod_manager.environment_builder && rm -rf /tmp/context /tmp/cache
USER 65532:65532
ENV MODULE_NAME={{module}} GUEST_PYTHON={_FOLDER}/environment/bin/python {{folders}}
CMD ["python", "-m", "jac_orc.module_server"]
LABEL org.opencontainers.image.title={{module}}
"""


def build(image: Image, code: Code, packages: Packages) -> None:
    """Builds it; raises UsageError, CallError where the tool fails, and PackingError."""
    tool = find_tool(image.tool)
    name, source = sources.find(code)
    with tempfile.TemporaryDirectory(prefix="jac-orc-image-") as directory:
        context = Path(directory)
        question = {"spec": _document(packages, name), "allowed_requirements": None}
        (context / "question.json").write_text(json.dumps(question), encoding="utf-8")
        folders = given = ""
        if source is not None:
            given = f"SOURCE_FILE=/tmp/context/{source.file_name}"
            (context / source.file_name).write_bytes(source.packed.data)
            if source.file_name.endswith((".zip", ".py")):
                home = f"SOURCE_HOME={_FOLDER}/source-home"
                folders = f"SOURCE_FOLDERS={_FOLDER}/source/src:{_FOLDER}/source {home}"
        text = _DOCKERFILE.format(module=name, source=given, folders=folders)
        (context / "Dockerfile").write_text(text, encoding="utf-8")
        arguments = ["--build-arg", f"BASE={image.base}", "--tag", image.tag, *(image.option or ())]
        _run(tool, "build", *arguments, directory)
    if image.push:
        _run(tool, "push", image.tag)
    show.say(f"{image.tag} has {name} in it; deploy it by: jac-orc create {name} --image {image.tag}")


def find_tool(wanted: str) -> str:
    """The tool of that name, or the first one that works; raises UsageError where there is none."""
    if wanted:
        if not shutil.which(wanted):
            raise UsageError(f"{wanted} is not installed; --tool names what builds the image, {_ANY_OF}")
        return wanted
    installed = [name for name in TOOLS if shutil.which(name)]
    if found := next((name for name in installed if name != "docker" or _has_daemon()), ""):
        return found
    why = "docker's daemon doesn't answer, and no other tool" if installed else f"none of {', '.join(TOOLS)}"
    raise UsageError(f"{why} is installed, which would build the image; --tool names one, {_ANY_OF}")


def _has_daemon() -> bool:
    """Whether docker's daemon, which does its work, answers."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        asked = ["docker", "info"]
        done = subprocess.run(asked, check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS)
        return done.returncode == 0
    return False


def _document(packages: Packages, name: str) -> dict[str, object]:
    """The part of the spec that says what to install."""
    spec = json_format.MessageToDict(deploying.spec(packages, name), preserving_proto_field_name=True)
    return {key: spec[key] for key in ("module_name", "requirements", "constraints", "python_version") if key in spec}


def _run(tool: str, *arguments: str) -> None:
    done = subprocess.run([tool, *arguments], check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise CallError(f"{tool} {arguments[0]} has ended with exit code {done.returncode}; its output says why")
