"""The first call of a module deploys it, once, and answers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.e2e.system import System

MODULES: list[tuple[str, str, list[Any], Any]] = [
    ("statistics", "mean", [[1, 2, 3, 4]], 2.5),
    ("json", "dumps", [{"a": [1, None]}], '{"a": [1, null]}'),
    ("math", "sqrt", [9], 3.0),
    ("fractions", "Fraction", [1, 3], "1/3"),
    ("numpy", "linalg.norm", [[3.0, 4.0]], 5.0),
    ("PIL", "ImageColor.getrgb", ["#ff8000"], [255, 128, 0]),
    ("sklearn.linear_model", "ridge_regression", [[[1.0], [2.0]], [1.0, 2.0], 0.0], [1.0]),
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("attempt", ["first", "again"])
def test_the_sample_call_answers_letter_by_letter(system: System, attempt: str) -> None:
    response = system.post("/run_module?module_name=numpy&method_name=array", b'{"args": [16, 20, 24], "kwargs": {}}')
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.content == b'{"result":[16,20,24]}'


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("module", "method", "args", "result"), MODULES, ids=[row[0] for row in MODULES])
def test_a_module_is_deployed_by_its_first_call(
    system: System, module: str, method: str, args: list[Any], result: Any
) -> None:
    answer = system.call(module, method, *args)
    assert answer == pytest.approx(result) if isinstance(result, list) else answer == result
    assert system.module(module)["status"]["phase"] == "MODULE_PHASE_READY"


def test_thirty_first_calls_at_once_deploy_once(system: System) -> None:
    system.http.delete("/v1/modules/colorsys")
    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda _: system.call("colorsys", "rgb_to_yiq", 1, 1, 1)[0], range(30)))
    assert answers == pytest.approx([1.0] * 30)
    module = system.module("colorsys")
    assert len(module["status"]["pods"]) == 1
    assert module["status"]["pods"][0]["restarts"] == 0
    assert len(system.pids("server", "colorsys")) == 1
    assert len(system.pids("guest", "colorsys")) == 1


def test_arguments_are_packed_into_one_list_only_on_the_original_route(system: System) -> None:
    response = system.try_call("numpy", "array", 16, 20, 24)
    assert response.status_code == 400
    assert system.call("numpy", "array", [16, 20, 24]) == [16, 20, 24]


def test_what_binds_is_not_packed(system: System) -> None:
    response = system.post("/run_module?module_name=math&method_name=gcd", {"args": [12, 18, 24]})
    assert response.json() == {"result": 6}


def test_named_arguments_by_the_short_route(system: System) -> None:
    assert system.post("/modules/statistics/mean", {"data": [1, 2, 3]}).content == b'{"result":2}'
    assert system.post("/modules/math/sqrt", {"x": 9}).json() == {"result": 3.0}
    assert system.post("/modules/numpy/linalg.norm", {"x": [3.0, 4.0]}).json() == {"result": 5.0}


def test_without_auto_deploy_only_deployed_modules_answer(new_system: Any) -> None:
    system = new_system("--no-auto-deploy").start()
    response = system.try_call("math", "sqrt", 9)
    assert response.status_code == 404
    assert response.json()["details"][0]["reason"] == "MODULE_NOT_FOUND"
    assert system.http.get("/v1/modules").json()["modules"] == []
    assert system.http.post("/create_pod/math").status_code == 200
    assert system.call("math", "sqrt", 9) == 3.0
