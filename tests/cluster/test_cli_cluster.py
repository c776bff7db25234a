"""`jac-orc` against a cluster: the same commands, the port that is forwarded for them, and `plan`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.base import apply, base
from tests.cluster.installation import wait_until
from tests.cluster.kubectl import kubectl, kubectl_json
from tests.e2e.commands import Running, refusal, result, run
from tests.support import children, running


@pytest.fixture
def orc(system: str, variables: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command against the whole system."""
    return lambda *arguments: run(*arguments, **variables, JAC_ORC_NAMESPACE=system)


@pytest.fixture
def module(orc: Callable[..., Any], system: str) -> Iterator[str]:
    """A module of the standard library, deployed for the test."""
    result(orc("create", "colorsys"))
    yield "colorsys"
    orc("delete", "colorsys")


def test_the_commands(orc: Callable[..., subprocess.CompletedProcess[str]], system: str) -> None:
    created = orc("create", "textwrap", "--replicas", "2")
    assert "textwrap is ready" in result(created) and "importing" in created.stderr
    assert f"--namespace {system} port-forward service/jac-orc-gateway 8080:http &\n  curl http://127.0.0.1:8080/" in (
        created.stdout
    )
    wait_until(lambda: "2/2" in result(orc("list")))
    assert json.loads(result(orc("get", "textwrap", "-o", "json")))["status"]["ready_replicas"] == 2
    assert "textwrap has 1 pod" in result(orc("scale", "textwrap", "1"))
    assert "serving" in result(orc("logs", "textwrap"))
    assert result(orc("delete", "textwrap")) == "textwrap is deleted\n"
    refusal(orc("get", "textwrap"))


def test_what_is_told_names_the_cluster_again(system: str, variables: dict[str, str], context: str) -> None:
    place = ("--context", context, "--namespace", system)
    elsewhere = {**variables, "JAC_ORC_CONTEXT": "", "JAC_ORC_URL": "http://127.0.0.1:1"}
    told = refusal(run("get", "orc_cli_missing", *place, **elsewhere))
    assert told.endswith(f"jac-orc list {' '.join(place)}\n")


@pytest.fixture
def following(module: str, system: str, variables: dict[str, str], tmp_path: Path) -> Iterator[Callable[[], Running]]:
    """Begins to follow the module's logs."""
    begun: list[Running] = []

    def begin() -> Running:
        begun.append(Running(tmp_path, "logs", "-f", module, **variables, JAC_ORC_NAMESPACE=system))
        begun[-1].wait(lambda: "serving" in begun[-1].output)
        return begun[-1]

    yield begin
    for each in begun:
        each.end()


def kubectl_of(command: Running) -> int:
    """The process id of the kubectl that forwards its port; 0 while there is none."""
    return next(iter(filter(running, children(command.process.pid))), 0)


def test_no_process_is_left(following: Callable[[], Running]) -> None:
    interrupted = following()
    child = kubectl_of(interrupted)
    assert interrupted.interrupt() == 130 and interrupted.errors == ""
    assert not running(child)
    killed = following()
    child = kubectl_of(killed)
    killed.end()
    wait_until(lambda: not running(child), 5)


def test_a_connection_that_is_lost_is_made_again(
    following: Callable[[], Running], module: str, orc: Callable[..., subprocess.CompletedProcess[str]], system: str
) -> None:
    command = following()

    def pods() -> set[str]:
        return {line.split()[1] for line in command.output.splitlines()}

    child = kubectl_of(command)
    os.kill(child, signal.SIGKILL)
    command.wait(lambda: kubectl_of(command) not in (0, child))
    result(orc("scale", module, "2"))
    command.wait(lambda: len(pods()) == 2)
    kubectl("-n", system, "delete", "pod", "-l", "app.kubernetes.io/name=jac-orc-gateway")
    kubectl("-n", system, "rollout", "status", "deployment/jac-orc-gateway", "--timeout=120s")
    wait_until(lambda: orc("scale", module, "3").returncode == 0)
    command.wait(lambda: len(pods()) == 3)
    assert command.interrupt() == 130 and command.errors == ""


def test_a_connection_that_cannot_be_made_again_ends_the_command(following: Callable[[], Running], system: str) -> None:
    command = following()
    try:
        kubectl("-n", system, "delete", "service", "jac-orc-gateway")
        os.kill(kubectl_of(command), signal.SIGKILL)
        assert command.process.wait(60) == 1
        assert "the connection to the cluster is lost" in command.errors and "Traceback" not in command.errors
        assert len(command.errors.splitlines()) == 1
    finally:
        apply(base(system, "Service"))


def test_what_cannot_be_reached(namespace: str, variables: dict[str, str], context: str) -> None:
    def told(code: int, *arguments: str) -> str:
        return refusal(run("list", *arguments, **variables), code)

    assert "no context orc-nowhere" in told(2, "--context", "orc-nowhere")
    assert "isn't in the namespace orc-nowhere" in told(1, "--namespace", "orc-nowhere")
    assert f"isn't in the namespace {namespace}" in told(1, "--namespace", namespace)
    apply(base(namespace, "Service"))
    doctor = f"jac-orc doctor --context {context} --namespace {namespace}\n"
    missing = told(1, "--namespace", namespace)
    assert f"no pod of jac-orc-gateway runs in the namespace {namespace}" in missing and missing.endswith(doctor)


# --- plan ---


def test_a_plan_is_what_is_made(orc: Callable[..., subprocess.CompletedProcess[str]], system: str) -> None:
    planned = result(orc("plan", "statistics", "--replicas", "2"))
    assert result(orc("plan", "statistics", "--replicas", "2")) == planned
    documents = list(yaml.safe_load_all(planned))
    assert [each["kind"] for each in documents] == ["Deployment", "Service", "PodDisruptionBudget"]
    kubectl("apply", "--dry-run=server", "-f", "-", stdin=planned)
    refusal(orc("get", "statistics"))
    result(orc("create", "statistics", "--replicas", "2"))
    made = kubectl_json("-n", system, "get", "deployment", "statistics")
    wanted = documents[0]["spec"]["template"]["spec"]["containers"][0]
    container = made["spec"]["template"]["spec"]["containers"][0]
    assert {key: container[key] for key in ("image", "command", "ports")} == {
        key: wanted[key] for key in ("image", "command", "ports")
    }
    again = list(yaml.safe_load_all(result(orc("plan", "statistics", "--replicas", "2"))))
    assert again[0]["metadata"]["annotations"].items() <= made["metadata"]["annotations"].items()
    assert again[1]["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    result(orc("delete", "statistics"))


def test_a_plan_of_what_is_not_built(orc: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    (tmp_path / "orc_planned.py").write_text("X = 1\n")
    own, *_ = yaml.safe_load_all(result(orc("plan", "--source", str(tmp_path))))
    assert own["metadata"]["name"].startswith("orc-planned-")
    assert "/store/sources/" in yaml.safe_dump(own["spec"]["template"]["spec"]["containers"][0]["env"])
    planned = result(orc("plan", "numpy", "-r", "numpy>=2"))
    assert [each["kind"] for each in yaml.safe_load_all(planned)][-1] == "Job"
    kubectl("apply", "--dry-run=server", "-f", "-", stdin=planned)
    document = json.loads(result(orc("plan", "numpy", "-r", "numpy>=2", "-o", "json")))
    assert document["manifests"] == planned and document["spec"]["requirements"] == ["numpy>=2"]
