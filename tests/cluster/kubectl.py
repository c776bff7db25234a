"""The cluster that KUBECONFIG names, as tests use it: by kubectl, in namespaces of their own."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_IMAGE = "docker.io/library/jac-cloud-orc:test"


def image() -> str:
    """The image of the product that the cluster's nodes have; ORC_TEST_IMAGE names another one."""
    return os.environ.get("ORC_TEST_IMAGE", _IMAGE)


def kubectl(*arguments: str, stdin: str | None = None, check: bool = True) -> str:
    """What the command prints; fails the test where it fails, unless that is left to the caller."""
    program = _kubectl()
    done = subprocess.run([program, *arguments], check=False, input=stdin, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 or not check, f"kubectl {' '.join(arguments)}: {done.stderr}"
    return done.stdout if done.returncode == 0 else done.stderr


def kubectl_json(*arguments: str) -> Any:
    """What the command prints as JSON."""
    return json.loads(kubectl(*arguments, "--output", "json"))


@functools.cache
def _kubectl() -> str:
    """Skips the test where there is no kubectl or no cluster."""
    found = shutil.which("kubectl", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if not found or not os.environ.get("KUBECONFIG"):
        pytest.skip("needs kubectl, and KUBECONFIG naming a cluster")
    return found


@contextmanager
def new_namespace(prefix: str) -> Iterator[str]:
    """A namespace that goes at the end, with everything in it; the cluster does that while tests go on."""
    name = f"{prefix}-{uuid.uuid4().hex[:6]}"
    kubectl("create", "namespace", name)
    try:
        yield name
    finally:
        _begin_to_delete(name)


def delete_namespace(name: str) -> None:
    """Deletes the namespace, if it is there."""
    _begin_to_delete(name)
    kubectl("wait", "--for=delete", f"namespace/{name}", "--timeout=120s")


def _begin_to_delete(namespace: str) -> None:
    kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")
    end_pods(namespace)


def end_pods(namespace: str, which: str = "--all") -> None:
    """Delete pods whose owner is being deleted. They are gone at once, and the kubelet ends their processes later."""
    kubectl("-n", namespace, "delete", "pods", which, "--force", "--grace-period=0", "--wait=false")


@contextmanager
def forwarded(namespace: str, target: str, port: str) -> Iterator[str]:
    """The address on this machine that leads to a port of a pod, `pod/NAME`, or of one of a Service's."""
    command = ["-n", namespace, "port-forward", target, f":{port}", "--address", "127.0.0.1"]
    with subprocess.Popen([_kubectl(), *command], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("Forwarding from "), f"kubectl {' '.join(command)} forwards nothing"
            yield line.split()[2]
        finally:
            process.terminate()


def node_processes(variable: str) -> list[int]:
    """The ids of the processes that have this in their environment, `NAME=value`.

    Skips the test where the cluster's node is not this machine.
    """
    node_parts()
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and variable.encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def node_parts() -> Path:
    """The directory with the NAME.pid files of the parts of a cluster whose node is this machine, or skips the test."""
    if "ORC_TEST_NODE" not in os.environ:
        pytest.skip(
            "needs a cluster whose node is this machine: ORC_TEST_NODE=DIR, where its parts' NAME.pid files are"
        )
    return Path(os.environ["ORC_TEST_NODE"])


def kill(part: str) -> None:
    """Kill a part of the control plane, or the kubelet; skip the test if the cluster's node is not this machine."""
    os.kill(int((node_parts() / f"{part}.pid").read_text()), signal.SIGKILL)


def bring_back() -> None:
    """Start what was killed; ORC_TEST_NODE_UP is the command for that."""
    subprocess.run([os.environ["ORC_TEST_NODE_UP"]], check=True, capture_output=True, timeout=180)
