"""What can't be installed or imported, and what happens to environments while modules run."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import tarfile
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.local_system import LocalSystem
from tests.e2e.system import System, reason, wait_until

NO_COMPILER = """
import sys
from setuptools import Extension, setup
setup(name="orc-built", version="1", ext_modules=[Extension("orc_built", ["orc_built.c"])])
"""


def source(**files: str) -> dict[str, Any]:
    contents = {name.replace("__", "."): b64encode(text.encode()).decode() for name, text in files.items()}
    return {"files": {"contents": contents}}


def refused(system: System, **spec: Any) -> Any:
    """The body of a refused creation, which leaves nothing."""
    before = system.building()
    response = system.post("/v1/modules", spec)
    assert response.status_code == 400, response.text
    assert system.left(spec["module_name"]) == []
    assert system.http.get(f"/v1/modules/{spec['module_name']}").status_code == 404
    assert system.call("math", "sqrt", 9) == 3.0, "others are unharmed"
    # One empty environment is always kept ready.
    wait_until(lambda: len(system.building() - before) <= 1)
    return response.json()


@pytest.mark.parametrize(
    ("requirements", "words"),
    [
        (["orc-guest-version==9.9"], "orc-guest-version==9.9"),
        (["orc-guest-version==1.0", "orc-guest-version==2.0"], "unsatisfiable"),
        (["numpy==1.26.4", "numpy>=2"], "unsatisfiable"),
        (["tensorflow==1.15.0"], "tensorflow==1.15.0"),  # never built for a Python as new
    ],
    ids=["missing", "conflict", "conflict of the index", "not for this Python"],
)
def test_requirements_that_cannot_be_met(system: System, requirements: list[str], words: str) -> None:
    body = refused(system, module_name="orc_guest_version", requirements=requirements)
    assert body["details"][0]["reason"] == "ENVIRONMENT_FAILED"
    assert words in body["message"], body["message"]
    assert len(body["message"].splitlines()) <= 20


def test_a_build_that_fails_tells_the_compilers_words(system: System) -> None:
    data = io.BytesIO()
    files = {"PKG-INFO": "Metadata-Version: 2.1\nName: orc-built\nVersion: 1\n", "setup.py": NO_COMPILER,
             "orc_built.c": "#error there is no such thing as a compiler here\n"}  # fmt: skip
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"orc_built-1/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    sdist = {"file_name": "orc_built-1.tar.gz", "data": b64encode(data.getvalue()).decode()}
    body = refused(system, module_name="orc_built", source={"sdist": sdist})
    assert body["details"][0]["reason"] == "ENVIRONMENT_FAILED"
    assert "orc-built" in body["message"] and "gcc" in body["message"], body["message"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("project = 5", "no table"),
        ("[project", "can't be read"),
        ("[project]\nname = 'x'\nversion = '1'\ndependencies = 'numpy'", "dependencies"),
        ("tool = 1\n", "no table"),
        ("[project]\nname = 'x'\nversion = '1'\ndynamic = 3", "no list"),
        ("[tool.poetry.dependencies]\nnumpy = '*'", "poetry-core"),
    ],
    ids=["a number", "half", "a string", "tool", "dynamic", "for Poetry only"],
)
def test_a_project_file_that_makes_no_sense(system: System, text: str, words: str) -> None:
    body = refused(system, module_name="orc_odd", source=source(orc_odd__py="", pyproject__toml=text))
    assert body["details"][0]["reason"] == "SOURCE_INVALID"
    assert words in body["message"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dependencies = ['orc-guest-nowhere']", ["orc-guest-nowhere"]),
        ("requires-python = '>=3.99'", [">=3.99", "not 3.", "`python_version`"]),
    ],
    ids=["missing", "another Python"],
)
def test_a_project_whose_needs_cannot_be_met(system: System, text: str, words: list[str]) -> None:
    files = source(orc_odd__py="", pyproject__toml=f"[project]\nname = 'x'\nversion = '1'\n{text}")
    body = refused(system, module_name="orc_odd", source=files)
    assert body["details"][0]["reason"] == "ENVIRONMENT_FAILED"
    assert all(word in body["message"] for word in words), body["message"]


def test_a_requirements_file_that_wants_another_index(system: System) -> None:
    text = "orc-guest-version\n--extra-index-url https://evil.example/simple\n"
    body = refused(system, module_name="orc_odd", source=source(orc_odd__py="", requirements__txt=text))
    assert body["details"][0]["reason"] == "SOURCE_INVALID"
    assert "requirements.txt, line 2: '--extra-index-url' is not taken" in body["message"]


def test_what_is_installed_is_named_where_the_module_is_not_in_it(system: System) -> None:
    body = refused(system, module_name="Orc_Guest_Version", requirements=["orc-guest-version==1.0"])
    assert body["details"][0]["reason"] == "MODULE_IMPORT_FAILED"
    assert "add what provides it to `requirements`, or name what is there: orc_guest_version" in body["message"]


def test_what_the_source_has_is_named_where_the_module_is_not_in_it(system: System) -> None:
    body = refused(system, module_name="orc_odd", source=source(orc_even__py="", manage__py=""))
    assert body["details"][0]["reason"] == "MODULE_IMPORT_FAILED"
    assert "of the source or in src/, or name what is there: orc_even, manage" in body["message"]


def test_an_import_that_takes_too_long_is_ended(system: System) -> None:
    files = source(orc_slow__py="import time\ntime.sleep(60)\n")
    body = refused(system, module_name="orc_slow", source=files, import_timeout="1s")
    assert body["details"][0]["reason"] == "MODULE_IMPORT_FAILED"
    assert "import_timeout" in body["message"]


def test_a_deletion_ends_what_is_under_way(system: System) -> None:
    project = """
    [project]
    name = "orc-stuck"
    version = "1"
    dynamic = ["dependencies"]
    [build-system]
    requires = []
    build-backend = "orc_backend"
    backend-path = ["."]
    """
    files = source(orc_stuck__py="", orc_backend__py="import time\ntime.sleep(100)\n", pyproject__toml=project)
    answers: list[Any] = []
    spec = {"module_name": "orc_stuck", "source": files}
    creating = threading.Thread(target=lambda: answers.append(system.post("/v1/modules", spec)))
    creating.start()
    wait_until(lambda: system.http.get("/v1/modules/orc_stuck").status_code == 200)
    time.sleep(0.5)  # the installer has begun
    begin = time.monotonic()
    assert system.http.delete("/v1/modules/orc_stuck").status_code == 200
    assert time.monotonic() - begin < 5
    creating.join(5)
    assert (answers[0].status_code, reason(answers[0])) == (503, "MODULE_UNAVAILABLE"), answers[0].text
    assert "deleted" in answers[0].json()["message"]
    assert system.http.get("/v1/modules/orc_stuck").status_code == 404 and system.left("orc_stuck") == []


def test_a_python_that_is_not_there(system: System) -> None:
    for spec in ({"module_name": "orc_odd", "source": source(orc_odd__py="")}, {"module_name": "sched"}):
        body = refused(system, **spec, python_version="3.99")
        assert body["details"][0]["reason"] == "PYTHON_NOT_FOUND"
        assert "3.11" in body["message"] or "3.1" in body["message"]


def test_each_state_of_a_creation_is_told(system: System) -> None:
    events: list[Any] = []

    def watch() -> None:
        with system.http.stream("GET", "/v1/modules:watch?module_name=orc_slow", timeout=60) as response:
            for line in response.iter_lines():
                events.append(json.loads(line))
                if events[-1]["event"] == "WATCH_EVENT_DELETED":
                    return

    watching = threading.Thread(target=watch)
    watching.start()
    code = "import time, orc_guest_version\ntime.sleep(1)\n"
    asked = f"orc-guest-version<2,!=0.{time.time_ns()}"  # what was never asked before
    files = source(orc_slow__py=code, requirements__txt=asked)
    response = system.post("/v1/modules", {"module_name": "orc_slow", "source": files})
    assert response.status_code == 200, response.text
    logs = [json.loads(line) for line in system.http.get("/v1/modules/orc_slow:logs").text.splitlines()]
    assert any(line["stream"] == "installer" for line in logs), logs
    system.http.delete("/v1/modules/orc_slow")
    watching.join(20)
    phases = list(dict.fromkeys(event["module"]["status"]["phase"].removeprefix("MODULE_PHASE_") for event in events))
    assert phases[0] == "RESOLVING" and phases[-1] == "DELETING", phases
    told = [phase for phase in phases if phase in ("RESOLVING", "BUILDING", "IMPORTING", "READY")]
    assert told in (["RESOLVING", "BUILDING", "IMPORTING", "READY"], ["RESOLVING", "IMPORTING", "READY"]), phases


def test_environments_that_are_removed_are_made_again(new_system: Callable[..., LocalSystem]) -> None:
    system = new_system()
    system.cache = system.directory / "cache"
    system.start()
    body = {"module_name": "orc_guest_version", "requirements": ["orc-guest-version==1.0"]}
    module = system.post("/v1/modules", body).json()
    assert system.call("orc_guest_version", "version") == "1.0"
    shutil.rmtree(system.cache)
    assert system.call("orc_guest_version", "version") == "1.0", "a guest that runs goes on"
    (guest,) = system.pids("guest", "orc_guest_version")
    os.kill(guest, signal.SIGKILL)
    wait_until(lambda: system.answers("orc_guest_version", "version"))
    assert system.call("orc_guest_version", "version") == "1.0"
    again = system.module("orc_guest_version")
    assert again["status"]["environment"] == module["status"]["environment"], "the very same"
    response = system.post("/v1/modules/orc_guest_version:scale", {"replicas": 2})
    assert response.status_code == 200, response.text


def test_a_spare_server_becomes_the_module(new_system: Callable[..., LocalSystem]) -> None:
    system = new_system().start("--spares", "2")
    spares: set[int] = wait_until(lambda: len(found := set(system.pids("server"))) == 2 and found)
    assert system.call("math", "sqrt", 9) == 3.0
    spec = {"module_name": "orc_guest_version", "requirements": ["orc-guest-version<2"], "env": {"A": "1"}}
    system.post("/v1/modules", spec)
    assert system.call("orc_guest_version", "version"), "one with another interpreter, and variables of its own"
    ports = {pod["address"] for name in ("math", "orc_guest_version") for pod in system.module(name)["status"]["pods"]}
    assert len(ports) == 2
    wait_until(lambda: len(system.pids("server")) == 4)
    assert spares <= set(system.pids("server")), "the spare ones have become pods, and others have been started"
    texts = [json.loads(line)["text"] for line in system.http.get("/v1/modules/math:logs").text.splitlines()]
    assert "serving math" in texts
    (pod_manager,) = system.pids("pod_manager")
    os.kill(pod_manager, signal.SIGKILL)
    assert system.call("math", "sqrt", 16) == 4.0
    wait_until(lambda: len(system.pids("server")) == 4 and spares <= set(system.pids("server")))
    assert system.interrupt() == 0
    assert system.pids() == []


def test_bad_environments_leave_no_reason_unknown(system: System) -> None:
    response = system.post("/v1/modules", {"module_name": "colorsys", "constraints": ["not a requirement!"]})
    assert (response.status_code, reason(response)) == (400, "SPEC_INVALID")
    assert "constraints" in response.json()["message"]
