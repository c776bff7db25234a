"""The modules as a REST resource, and the two original routes about pods."""

from __future__ import annotations

import base64
import itertools
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.e2e.system import System, reason, wait_until


def test_create_answers_the_module(deploy: Callable[..., Any], system: System) -> None:
    module = deploy("textwrap", labels={"team": "a"}, env={"A": "b"}, timeout="5s")
    assert module["name"] == "textwrap"
    assert module["spec"]["labels"] == {"team": "a"}
    assert module["spec"]["timeout"] == "5s"
    assert module["status"]["phase"] == "MODULE_PHASE_READY"
    assert module["status"]["ready_replicas"] == 1
    assert system.module("textwrap") == module


def test_an_equal_create_changes_nothing(deploy: Callable[..., Any], system: System) -> None:
    first = deploy("textwrap", labels={"team": "a"})
    second = system.post("/v1/modules", {"module_name": "textwrap", "labels": {"team": "a"}})
    third = system.post("/create_pod/textwrap", {"labels": {"team": "a"}})
    assert second.json() == third.json() == first


def test_another_spec_is_refused_and_the_fields_are_named(deploy: Callable[..., Any], system: System) -> None:
    first = deploy("textwrap", labels={"team": "a"})
    response = system.post("/v1/modules", {"module_name": "textwrap", "env": {"A": "b"}, "replicas": 2})
    assert response.status_code == 409
    assert reason(response) == "MODULE_SPEC_DIFFERS"
    assert set(response.json()["details"][0]["metadata"]["fields"].split(",")) == {"env", "labels", "replicas"}
    assert system.module("textwrap") == first


def test_create_with_wait_false_answers_at_once(deploy: Callable[..., Any], system: System) -> None:
    deploy("textwrap")
    system.http.delete("/v1/modules/textwrap")
    response = system.post("/v1/modules?wait=false", {"module_name": "textwrap"})
    assert response.status_code == 200
    assert response.json()["status"]["ready_replicas"] == 0
    wait_until(lambda: system.module("textwrap")["status"]["phase"] == "MODULE_PHASE_READY")
    assert system.call("textwrap", "shorten", "a b", 10) == "a b"


def test_a_creation_under_way_keeps_nobody_waiting(system: System) -> None:
    """Another spec is refused at once, a change changes it, and what is deleted stays so whoever still waits."""
    name = "orc_sleeps"
    code = base64.b64encode(b"import time\ntime.sleep(600)\n").decode()
    spec = {"module_name": name, "source": {"files": {"contents": {f"{name}.py": code}}}}
    system.remove(name)
    with ThreadPoolExecutor(2) as callers:
        creations = [callers.submit(system.post, "/v1/modules", spec) for _ in range(2)]
        wait_until(lambda: system.http.get(f"/v1/modules/{name}").status_code == 200)
        begin = time.monotonic()
        other = system.post("/v1/modules", {**spec, "env": {"A": "1"}})
        assert (other.status_code, reason(other)) == (409, "MODULE_SPEC_DIFFERS")
        changed = system.http.patch(f"/v1/modules/{name}?wait=false", json={"env": {"A": "1"}})
        assert (changed.status_code, changed.json()["spec"]["env"]) == (200, {"A": "1"})
        assert time.monotonic() - begin < 5
        assert not any(creation.done() for creation in creations)
        assert system.http.delete(f"/v1/modules/{name}").status_code == 200
        for creation in creations:
            assert (creation.result().status_code, reason(creation.result())) == (503, "MODULE_UNAVAILABLE")
    time.sleep(1)
    assert system.http.get(f"/v1/modules/{name}").status_code == 404
    assert system.left(name) == []


@pytest.mark.parametrize("path", ["/v1/modules/textwrap", "/delete_pod/textwrap"])
def test_delete_leaves_nothing(deploy: Callable[..., Any], system: System, path: str) -> None:
    deploy("textwrap", replicas=2)
    wait_until(lambda: len(system.traces("textwrap")) >= system.traces_of_two_pods)
    response = system.http.delete(path)
    assert (response.status_code, response.json()) == (200, {})
    assert system.left("textwrap") == []
    for again in (system.http.get("/v1/modules/textwrap"), system.http.delete(path)):
        assert again.status_code == 404
        assert reason(again) == "MODULE_NOT_FOUND"


def test_scale_to_three_and_back(deploy: Callable[..., Any], system: System) -> None:
    deploy("orc_guest_crashing")
    up = system.post("/v1/modules/orc_guest_crashing:scale", {"replicas": 3})
    assert up.status_code == 200, up.text
    assert up.json()["status"]["ready_replicas"] == 3
    wait_until(lambda: len({system.call("orc_guest_crashing", "process") for _ in range(12)}) == 3)
    down = system.post("/v1/modules/orc_guest_crashing:scale", {"replicas": 1})
    assert down.json()["status"]["ready_replicas"] == 1
    wait_until(lambda: len(system.module("orc_guest_crashing")["status"]["pods"]) == 1)
    assert len({system.call("orc_guest_crashing", "process") for _ in range(12)}) == 1
    assert len(system.pids("server", "orc_guest_crashing")) == 1


def test_a_list_comes_in_pages(deploy: Callable[..., Any], system: System) -> None:
    names = ["keyword", "textwrap", "this"]
    for name in names:
        deploy(name)
    found: list[str] = []
    token = ""
    while True:
        page = system.http.get("/v1/modules", params={"page_size": 2, "page_token": token}).json()
        assert len(page["modules"]) <= 2
        found += [module["name"] for module in page["modules"]]
        token = page["next_page_token"]
        if not token:
            break
    everything = system.http.get("/v1/modules").json()
    assert found == [module["name"] for module in everything["modules"]] == sorted(found)
    assert set(names) <= set(found)


def test_a_watch_tells_each_change_on_a_line(deploy: Callable[..., Any], system: System) -> None:
    deploy("keyword")
    with system.http.stream("GET", "/v1/modules:watch?module_name=textwrap", timeout=10) as watch:
        assert watch.status_code == 200
        deploy("textwrap")
        system.http.delete("/v1/modules/textwrap")
        seen: list[str] = []
        for line in watch.iter_lines():
            event = json.loads(line)
            assert event["module"]["name"] == "textwrap"
            seen.append(event["module"]["status"]["phase"].removeprefix("MODULE_PHASE_"))
            if event["event"] == "WATCH_EVENT_DELETED":
                break
    assert "READY" in seen


def test_a_watch_begins_with_what_is_there(deploy: Callable[..., Any], system: System) -> None:
    deploy("textwrap")
    with system.http.stream("GET", "/v1/modules:watch") as watch:
        names = (json.loads(line)["module"]["name"] for line in watch.iter_lines())
        assert "textwrap" in itertools.islice(names, 100)


def test_what_a_module_prints_is_in_its_logs_and_never_in_an_answer(deploy: Callable[..., Any], system: System) -> None:
    deploy("orc_guest_crashing")
    with system.http.stream("GET", "/v1/modules/orc_guest_crashing:logs?follow=true") as logs:
        response = system.try_call("orc_guest_crashing", "say", "look at this")
        assert response.content == b'{"result":"said"}'
        printed: dict[str, Any] = {}
        for line in map(json.loads, logs.iter_lines()):
            if line["text"] == "look at this":
                printed[line["stream"]] = line
            if len(printed) == 2:
                break
    assert set(printed) == {"stdout", "stderr"}
    assert printed["stdout"]["pod"] == system.module("orc_guest_crashing")["status"]["pods"][0]["name"]
    assert set(printed["stdout"]) == {"time", "pod", "stream", "text", "call_id"}
    assert printed["stdout"]["call_id"] == printed["stderr"]["call_id"] != ""


def test_logs_give_as_many_last_lines_as_asked_for(deploy: Callable[..., Any], system: System) -> None:
    deploy("orc_guest_crashing")
    for number in range(5):
        system.call("orc_guest_crashing", "say", f"line {number}")

    (pod,) = system.module("orc_guest_crashing")["status"]["pods"]

    def texts(tail: int) -> list[str]:
        response = system.http.get(f"/v1/modules/orc_guest_crashing:logs?tail={tail}")
        lines = [json.loads(line) for line in response.text.splitlines()]
        return [line["text"] for line in lines if line["pod"] == pod["name"]]  # and not the installer's

    wait_until(lambda: sorted(texts(10)) == sorted([f"line {number}" for number in range(5)] * 2))
    assert len(texts(1)) == 1
    assert system.http.get("/v1/modules/orc_guest_crashing:logs?tail=0").text == ""


def test_describe_lists_functions_with_signatures(system: System) -> None:
    system.http.post("/create_pod/statistics")
    described = system.http.get("/v1/modules/statistics:describe").json()
    members = {member["name"]: member for member in described["members"]}
    assert described["module_name"] == "statistics"
    assert members["mean"]["signature"] == "(data)"
    assert members["mean"]["kind"] == "MEMBER_KIND_FUNCTION"
    assert "arithmetic mean" in members["mean"]["documentation"]
    assert not any(name.startswith("_") or name == "math" for name in members)


def test_a_plan_makes_nothing(system: System) -> None:
    response = system.post("/v1/modules:plan", {"module_name": "PIL"})
    assert response.json()["spec"]["requirements"] == ["pillow"]
    response = system.post("/v1/modules:plan", {"module_name": "tabnanny"})
    assert response.status_code == 200, response.text
    assert system.left("tabnanny") == []


def test_a_get_deploys_nothing(system: System) -> None:
    response = system.http.get("/v1/modules/quopri:describe")
    assert (response.status_code, reason(response)) == (404, "MODULE_NOT_FOUND")
    assert "/create_pod/quopri" in response.json()["message"]
    assert system.http.get("/v1/modules/quopri").status_code == 404


@pytest.mark.parametrize("verb", ["DELETE", "POST"])
def test_an_object_of_a_module_that_is_not_there_is_lost_and_deploys_nothing(system: System, verb: str) -> None:
    for name in (f"graphlib-127.0.0.1-1-1-{'a' * 32}", "nobodys_module", "x"):
        path = f"/v1/objects/{name}" + (":renew" if verb == "POST" else "")
        response = system.http.request(verb, path, json={"lease": "5s"} if verb == "POST" else None)
        assert (response.status_code, reason(response)) == (404, "OBJECT_LOST"), response.text
    names = [module["spec"]["module_name"] for module in system.http.get("/v1/modules").json()["modules"]]
    assert not {"graphlib", "nobodys_module", "x"} & set(names)
