"""`jac-orc create`, `list`, `get`, `scale`, `logs` and `delete` as commands."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.commands import COMMAND, Running, environment, parse, refusal, result, run
from tests.e2e.local_system import LocalSystem
from tests.e2e.system import System, wait_until

Orc = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def orc(system: System) -> Orc:
    """Runs the command against the shared system."""

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run(*arguments, JAC_ORC_URL=f"http://127.0.0.1:{system.port}")

    return command


@pytest.fixture
def name(system: System) -> Iterator[str]:
    """A module of the standard library that is deployed neither before nor after the test."""
    for when in ("before", "after"):
        system.remove("colorsys")
        if when == "before":
            yield "colorsys"


def test_create_tells_what_it_does_what_came_of_it_and_what_to_try(system: System, orc: Orc, name: str) -> None:
    created = orc("create", name)
    first, *rest = result(created).splitlines()
    assert re.fullmatch(r"colorsys is ready: 1 pod, Python 3\.\d+\.\d+ \(\d+\.\d s\)", first)
    assert f"curl http://127.0.0.1:{system.port}/" in "\n".join(rest)
    assert "colorsys: starting\n" in created.stderr
    assert "\x1b" not in created.stdout + created.stderr
    assert system.call(name, "rgb_to_hsv", 0, 0, 0) == [0.0, 0.0, 0]


def test_the_call_to_try_succeeds(orc: Orc, name: str) -> None:
    line = next(line for line in result(orc("create", name)).splitlines() if "curl" in line)
    answer = subprocess.run(["bash", "-c", f"{line.strip()} --silent --fail"], capture_output=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert isinstance(json.loads(answer.stdout), dict)


def test_create_as_json(orc: Orc, name: str) -> None:
    module = json.loads(result(orc("create", name, "--replicas", "2", "--env", "A=1=2", "--output", "json")))
    assert module["name"] == name
    assert module["spec"]["env"] == {"A": "1=2"}
    assert module["spec"]["replicas"] == 2 and module["status"]["ready_replicas"] in (1, 2)
    assert module["status"]["phase"] == "MODULE_PHASE_READY"


def test_create_does_not_change_a_module_unless_told_to(system: System, orc: Orc, name: str) -> None:
    asked = ("--env", "A=1", "--timeout", "10", "--memory", "256Mi")
    result(orc("create", name, *asked))
    result(orc("create", name, *asked))
    assert "differs in" not in orc("plan", name, *asked).stderr
    assert "it differs in resources, env, workers, timeout" in orc("plan", name, "--workers", "2").stderr
    told = refusal(orc("create", name, "--workers", "2"))
    assert told.startswith("jac-orc create: colorsys is deployed with another spec; it differs in")
    assert "--update" in told and "jac-orc delete colorsys" in told
    assert "is ready" in result(orc("create", name, "--workers", "2", "--timeout", "2.5", "--cpu", "500m", "--update"))
    spec = system.module(name)["spec"]
    assert (spec["workers"], spec["timeout"], spec["env"]) == (2, "2.500s", {"A": "1"})
    assert (spec["resources"]["cpu"], spec["resources"]["memory"]) == ("500m", "256Mi")
    generation = system.module(name)["generation"]
    unchanged = orc("create", name, "--update")
    assert "is ready" in result(unchanged) and "colorsys stays as it is" in unchanged.stderr
    assert system.module(name)["generation"] == generation


def test_create_without_waiting(system: System, orc: Orc, name: str) -> None:
    assert "jac-orc get colorsys" in result(orc("create", name, "--no-wait"))
    wait_until(lambda: system.module(name)["status"]["ready_replicas"] == 1)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-r", "a b"], ["jac-orc create: requirements[0]: 'a b' is no PEP 508 requirement"]),
        (
            ["-r", "a b", "--env", "1=2"],
            ["jac-orc create: the request has 2 faults:\n", "\n  requirements[0]: 'a b' ", "\n  env: '1' is not a"],
        ),
        (["-r", "no-such-distribution-of-jac-orc"], ["jac-orc create: ", "no-such-distribution-of-jac-orc"]),
        (["-r", "numpy", "-c", "a b"], ["jac-orc create: ", "constraints[0]: 'a b'"]),
    ],
    ids=["requirement", "two faults", "unknown distribution", "constraint"],
)
def test_create_with_a_bad_spec(system: System, orc: Orc, arguments: list[str], told: list[str]) -> None:
    printed = refusal(orc("create", "orc_cli_missing", *arguments))
    assert all(text in printed for text in told), printed
    assert not system.left("orc_cli_missing")


@pytest.mark.parametrize(("module", "told"), [("a-b", "no import name"), ("_x", "private")])
def test_create_of_what_is_no_module_for_this(orc: Orc, module: str, told: str) -> None:
    assert told in refusal(orc("create", module))


@pytest.mark.parametrize(
    "arguments",
    [
        ["create"],
        ["create", "math", "--env", "A"],
        ["create", "math", "--env", "=1"],
        ["create", "math", "-r", "requirements.txt"],
        ["create", "math", "-r", "x" * 5000 + ".txt"],
        *(
            ["create", "math", option, ""]
            for option in ("--python", "--source", "--requirement", "-r", "--constraint", "--env", "--url")
        ),
        ["create", "math", "--python="],
        ["create", "", "--source", "."],
        ["dev", ".", "--module", ""],
        ["get", ""],
        ["create", "math", "--replicas", "many"],
        ["create", "math", "--timeout", "nan"],
        ["create", "math", "--source", "nothing.zip"],
        ["create", "math", "--source", "nothing"],
        ["create", "math", "--output", "yaml"],
        ["list", "extra"],
        ["list", "--url", "ftp://127.0.0.1"],
        ["list", "--url", "http://127.0.0.1:port"],
        ["list", "--url", "http://127.0.0.1/path"],
        ["get"],
        ["scale", "math"],
        ["scale", "math", "-1"],
        ["scale", "math", "many"],
        ["delete"],
        ["logs", "math", "--tail", "-1"],
        ["dev"],
        ["dev", "nothing"],
        ["nonsense"],
    ],
    ids=" ".join,
)
def test_bad_usage(arguments: list[str]) -> None:
    assert refusal(parse(*arguments), code=2)


def test_bad_usage_of_the_process_itself(orc: Orc) -> None:
    assert "Missing argument" in refusal(orc("scale", "math"), code=2)


def test_bad_usage_is_told_short() -> None:
    assert "nothing is given behind --python" in refusal(parse("create", "math", "--python", ""), code=2)
    for option in ("-r", "--env"):
        assert len(refusal(parse("create", "math", option, "x" * 5000 + ".txt"), code=2)) < 400


def test_a_long_requirement_is_no_file(orc: Orc) -> None:
    told = refusal(orc("create", "math", "-r", "numpy==1 --hash=sha256:" + "0" * 300))
    assert "is no hash like" in told


def test_list(orc: Orc, name: str) -> None:
    result(orc("create", name))
    heading, *lines = result(orc("list")).splitlines()
    assert heading.split() == ["MODULE", "PHASE", "PODS", "PYTHON", "AGE", "FROM"]
    (mine,) = [line.split() for line in lines if line.startswith("colorsys ")]
    assert mine[1:3] == ["ready", "1/1"] and mine[-2:] == ["standard", "library"]
    modules = json.loads(result(orc("list", "-o", "json")))["modules"]
    assert name in [module["name"] for module in modules]


def test_an_empty_list(new_system: Callable[..., LocalSystem]) -> None:
    url = f"http://127.0.0.1:{new_system().start().port}"
    listed = run("list", JAC_ORC_URL=url)
    assert result(listed) == "" and "no module is deployed" in listed.stderr
    assert json.loads(result(run("list", "-o", "json", JAC_ORC_URL=url))) == {"modules": [], "next_page_token": ""}


def test_get(system: System, orc: Orc, name: str) -> None:
    result(orc("create", name, "--env", "COLOUR=rot"))
    shown = result(orc("get", name))
    assert re.search(r"^module +colorsys$", shown, re.MULTILINE)
    assert re.search(r"^pods +1 of 1 answer$", shown, re.MULTILINE)
    assert re.search(r"^env +COLOUR=rot$", shown, re.MULTILINE)
    (pod,) = system.module(name)["status"]["pods"]
    assert pod["name"].startswith("colorsys-")
    assert re.search(rf"^{pod['name']} +ready +{pod['address']} +0 +1$", shown, re.MULTILINE)
    assert json.loads(result(orc("get", name, "--output", "json"))) == system.module(name)


@pytest.mark.parametrize("command", [["get"], ["delete"], ["logs"], ["scale", "2"]], ids=lambda words: words[0])
def test_a_module_that_is_not_there(orc: Orc, command: list[str]) -> None:
    told = refusal(orc(command[0], "orc_cli_missing", *command[1:]))
    assert (
        told
        == f"jac-orc {command[0]}: no module orc_cli_missing is deployed\nthis lists those that are: jac-orc list\n"
    )


def test_scale(system: System, orc: Orc, name: str) -> None:
    result(orc("create", name))
    scaled = orc("scale", name, "2")
    assert re.fullmatch(r"colorsys has 2 pods \(\d+\.\d s\)\n", result(scaled))
    assert system.module(name)["status"]["ready_replicas"] == 2
    module = json.loads(result(orc("scale", name, "1", "-o", "json")))
    assert module["status"]["ready_replicas"] == module["spec"]["replicas"] == 1
    assert "has no pods" in result(orc("scale", name, "0"))
    assert "is to have 1 pod" in result(orc("scale", name, "1", "--no-wait"))


def test_logs(system: System, orc: Orc, deploy: Callable[..., Any]) -> None:
    deploy("orc_guest_crashing", requirements=["orc-guest-crashing"])
    said = ["first", "second", "\x1b[31mred"]
    for text in said:
        system.call("orc_guest_crashing", "say", text)
    wait_until(lambda: "red" in result(orc("logs", "orc_guest_crashing")))
    shown = result(orc("logs", "orc_guest_crashing")).splitlines()
    line = next(line for line in shown if line.endswith("second"))
    (pod,) = system.module("orc_guest_crashing")["status"]["pods"]
    assert re.fullmatch(rf"\d\d:\d\d:\d\d {pod['name']} #[0-9a-f-]{{36}} \| second", line)
    assert any(line.endswith(r"\x1b[31mred") for line in shown)
    last = result(orc("logs", "orc_guest_crashing", "--tail", "1", "-o", "json")).splitlines()
    (line,) = [line for line in map(json.loads, last) if line["pod"] == pod["name"]]
    assert line["text"] == said[-1] and line["stream"] in ("stdout", "stderr")
    assert result(orc("logs", "orc_guest_crashing", "--tail", "0")) == ""


def test_logs_are_followed_until_ctrl_c(system: System, deploy: Callable[..., Any], tmp_path: Path) -> None:
    deploy("orc_guest_crashing", requirements=["orc-guest-crashing"])
    url = f"http://127.0.0.1:{system.port}"
    following = Running(tmp_path, "logs", "-f", "orc_guest_crashing", "--url", url)
    try:
        following.wait(lambda: "serving" in following.output)
        system.call("orc_guest_crashing", "say", "while it is followed")
        following.wait(lambda: "| while it is followed\n" in following.output)
        assert following.interrupt() == 130
        assert following.errors == ""
    finally:
        following.end()


def test_delete(system: System, orc: Orc, name: str) -> None:
    result(orc("create", name))
    assert result(orc("delete", name)) == "colorsys is deleted\n"
    assert not system.left(name)
    result(orc("create", name))
    assert json.loads(result(orc("delete", name, "-o", "json"))) == {}


def test_where_the_pod_manager_is(system: System) -> None:
    here, nowhere = f"http://127.0.0.1:{system.port}", "http://127.0.0.1:1"
    assert run("list", "--url", here, JAC_ORC_URL=nowhere, POD_MANAGER_URL=nowhere).returncode == 0
    assert run("list", JAC_ORC_URL=here, POD_MANAGER_URL=nowhere).returncode == 0
    assert run("list", POD_MANAGER_URL=here).returncode == 0
    assert run("list", "--url", f"localhost:{system.port}").returncode == 0
    assert run("list", JAC_ORC_URL=here, http_proxy=nowhere).returncode == 0


def test_no_pod_manager() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        for arguments in (["list"], ["create", "math"], ["logs", "-f", "math"]):
            told = refusal(run(*arguments, "--url", url))
            advice = "start one with jac-orc up, or name another with --url or --context"
            assert told == f"jac-orc {arguments[0]}: no pod manager answers at {url}: {advice}\n"


def test_nobody_reads(orc: Orc, system: System, name: str) -> None:
    result(orc("create", name))
    url = f"http://127.0.0.1:{system.port}"
    for arguments in (["list"], ["list", "-o", "json"], ["get", name], ["logs", name]):
        reader, writer = os.pipe()
        os.close(reader)
        command = [*COMMAND, *arguments, "--url", url]
        done = subprocess.run(
            command, env=environment(), stdout=writer, stderr=subprocess.PIPE, timeout=30, check=False
        )
        os.close(writer)
        assert done.returncode == 1 and done.stderr == b"", done.stderr


def test_ctrl_c_while_a_module_is_deployed(system: System, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "orc_cli_slow.py").write_text("import time\ntime.sleep(3)\n")
    url = f"http://127.0.0.1:{system.port}"
    creating = Running(tmp_path, "create", "--source", str(tmp_path / "code"), "--url", url)
    try:
        creating.wait(lambda: "importing" in creating.errors)
        assert creating.interrupt() == 128 + signal.SIGINT
        assert creating.output == "" and "Traceback" not in creating.errors
        assert "jac-orc get orc_cli_slow" in creating.errors
        wait_until(lambda: system.module("orc_cli_slow")["status"]["ready_replicas"] == 1)
    finally:
        creating.end()
        system.http.delete("/v1/modules/orc_cli_slow")
