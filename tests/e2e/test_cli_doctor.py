"""`jac-orc doctor` and `jac-orc plan` on one machine, and what is told where a cluster can't be reached."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.commands import parse, refusal, run
from tests.e2e.system import System

TOOLS = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def checks(done: subprocess.CompletedProcess[str], code: int) -> dict[str, Any]:
    """What a command for JSON has found, by the names of the checks."""
    assert done.returncode == code, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["healthy"] is (code == 0)
    return {check.pop("name"): check for check in document["checks"]}


def test_a_system_that_is_well(system: System) -> None:
    url = f"http://127.0.0.1:{system.port}"
    found = checks(run("doctor", "--url", url, "-o", "json"), 0)
    assert list(found) == ["Python", "uv", "Envoy", "state directory", "cache directory", "ports", "pod manager"]
    assert found.pop("ports")["state"] == "skipped"
    assert {check["state"] for check in found.values()} == {"ok"}
    printed = run("doctor", JAC_ORC_URL=url)
    assert printed.returncode == 0 and printed.stdout.startswith(f"this machine, and {url}\n\nCHECK ")


def test_a_machine_with_faults(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        done = run("doctor", "--url", url, "-o", "json", XDG_STATE_HOME=str(tmp_path / "file" / "state"))
    found = checks(done, 1)
    assert (found["pod manager"]["state"], found["state directory"]["state"]) == ("fault", "fault")
    assert "jac-orc up" in found["pod manager"]["fix"] and "--state-dir" in found["state directory"]["fix"]
    printed = run("doctor", "--url", url)
    assert printed.returncode == 1 and "→ jac-orc up" in printed.stdout


def test_something_else_answers(tmp_path: Path) -> None:
    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    with server:
        assert server.stdout is not None
        port = server.stdout.readline().split(" port ")[1].split()[0]
        found = checks(run("doctor", "--url", f"127.0.0.1:{port}", "-o", "json"), 1)
        server.kill()
    assert "no pod manager answers" in found["pod manager"]["found"]


def test_a_pod_manager_elsewhere_says_nothing_of_this_machine() -> None:
    found = checks(run("doctor", "--url", "http://orc.invalid", "-o", "json"), 1)
    assert list(found) == ["pod manager"]


def test_a_plan_is_the_whole_spec(system: System) -> None:
    url = f"http://127.0.0.1:{system.port}"
    planned = run("plan", "PIL", "--env", "A=1", "--url", url)
    document = json.loads(run("plan", "PIL", "--env", "A=1", "-o", "json", "--url", url).stdout)
    spec, manifests = document["spec"], document["manifests"]
    assert (spec["module_name"], spec["requirements"], spec["env"]) == ("PIL", ["pillow"], {"A": "1"})
    assert bool(manifests) is system.has_manifests
    assert planned.returncode == 0 and ("no manifests" in planned.stderr) is not system.has_manifests
    assert list(yaml.safe_load_all(planned.stdout)) == (list(yaml.safe_load_all(manifests)) or [spec])
    refused = run("plan", "_x", "--url", url)
    assert refused.returncode == 1 and "private" in refused.stderr and refused.stdout == ""


def test_a_plan_of_ones_own_code(system: System, tmp_path: Path) -> None:
    (tmp_path / "orc_planned.py").write_text("X = 1\n")
    url = f"http://127.0.0.1:{system.port}"
    spec = json.loads(run("plan", "--source", str(tmp_path), "-o", "json", "--url", url).stdout)["spec"]
    assert spec["module_name"] == "orc_planned" and spec["source"]["uploaded"]["digest"].startswith("sha256:")
    assert system.left("orc_planned") == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "--url", "http://127.0.0.1:1", "--context", "c"],
        ["list", "--url", "http://127.0.0.1:1", "--namespace", "n"],
        ["list", "--namespace", "n"],
        ["plan"],
        ["plan", "math", "--update"],
        ["plan", "math", "--output", "table"],
        ["doctor", "extra"],
        ["doctor", "--url", "ftp://127.0.0.1"],
        ["doctor", "--url", "127.0.0.1", "--context", "c"],
    ],
    ids=" ".join,
)
def test_bad_usage(arguments: list[str]) -> None:
    assert refusal(parse(*arguments), code=2)


def test_without_kubectl() -> None:
    done = run("list", "--context", "c", PATH="/nowhere")
    assert (
        done.returncode == 2 and "kubectl, which commands with --context need" in done.stderr and "--url" in done.stderr
    )


def test_a_cluster_that_is_not_there(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    clusters = [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}]
    contexts = [{"name": "here", "context": {"cluster": "c", "user": "u"}}]
    users = [{"name": "u", "user": {"token": "t"}}]
    kubeconfig.write_text(json.dumps({"clusters": clusters, "contexts": contexts, "users": users}))
    variables = {"PATH": TOOLS, "KUBECONFIG": str(kubeconfig)}
    unknown = run("list", "--context", "there", **variables)
    assert unknown.returncode == 2 and "no context there" in unknown.stderr
    gone = run("list", JAC_ORC_CONTEXT="here", **variables)
    assert gone.returncode == 1 and "127.0.0.1:1 was refused" in gone.stderr and "jac-orc doctor" in gone.stderr
    assert len(gone.stderr.splitlines()) == 1
    found = checks(run("doctor", "--context", "here", "-o", "json", **variables), 1)
    assert found.pop("API server")["state"] == "fault"
    assert {check["state"] for check in found.values()} == {"skipped"}
    found = checks(run("doctor", "--context", "there", "-o", "json", **variables), 1)
    assert "kubectl config get-contexts" in found["API server"]["fix"]
