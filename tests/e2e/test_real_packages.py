"""Packages of the index, deployed by their import names alone, and versions of one side by side."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.system import System, reason

# Import name, what it is resolved to, a call and its result. (numpy, pandas, pillow, scikit-learn: tests/suite.)
PACKAGES = [
    ("yaml", "pyyaml", "safe_load", ["a: [1, 2.5, null]"], {"a": [1, 2.5, None]}),
    ("dateutil.parser", "python-dateutil", "isoparse", ["2026-11-25T10:00:00Z"], "2026-11-25T10:00:00+00:00"),
    ("requests.utils", "requests", "unquote_unreserved", ["a%7Eb"], "a~b"),
    ("sympy", "sympy", "isprime", [2**61 - 1], True),
    ("networkx", "networkx", "is_graphical", [[2, 2, 2]], True),
    ("shapely", "shapely", "area", [{"obj": ["box", [0, 0, 2, 3]]}], 6.0),
    ("bs4", "beautifulsoup4", "BeautifulSoup", ["<p>x</p>", "html.parser"], "bs4.BeautifulSoup"),
    ("jwt", "pyjwt", "encode", [{"a": 1}, "k" * 32], "eyJ"),
    ("orjson", "orjson", "loads", ['{"a":1}'], {"a": 1}),  # native code
    ("inflection", "inflection", "pluralize", ["mouse"], "mice"),  # pure Python
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "distribution", "method", "args", "result"), PACKAGES, ids=[p[0] for p in PACKAGES])
def test_a_package_is_deployed_by_its_import_name(
    system: System, name: str, distribution: str, method: str, args: list[Any], result: Any
) -> None:
    made = [system.call(name, *arg["obj"][:1], *arg["obj"][1]) if is_made(arg) else arg for arg in args]
    got = system.call(name, method, *made)
    if isinstance(result, str) and isinstance(got, dict):
        assert got["type"] == result
    elif method == "encode":
        assert got.startswith(result)
    else:
        assert got == result
    module = system.module(name)
    assert module["spec"]["requirements"] == [distribution]
    packages = module["status"]["environment"]["packages"]
    assert any(package.startswith(f"{distribution}==") for package in packages), packages


def is_made(arg: Any) -> bool:
    return isinstance(arg, dict) and "obj" in arg


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("older", "newer", "requirements", "method"),
    [
        ("pydantic.version", "pydantic", ("pydantic==1.10.24", "pydantic>=2,<3"), "version_info"),
        ("google.protobuf.json_format", "google.protobuf.text_format", ("protobuf==3.20.3", "protobuf>=6"), ""),
    ],
    ids=["pydantic", "protobuf"],
)
def test_two_versions_of_one_package_side_by_side(
    deploy: Callable[..., Any], system: System, older: str, newer: str, requirements: tuple[str, str], method: str
) -> None:
    named = list(zip((older, newer), requirements, strict=True))
    made = {name: deploy(name, requirements=[requirement]) for name, requirement in named[::-1]}
    distribution = requirements[0].partition("==")[0]
    versions = [
        next(line.partition("==")[2] for line in packages if line.startswith(f"{distribution}=="))
        for packages in (made[name]["status"]["environment"]["packages"] for name, _ in named)
    ]
    assert versions[0] == requirements[0].partition("==")[2] and versions[1] > "2"
    if method:
        assert versions[0] in system.call(older, method)
    else:  # what was made for protobuf 3 runs beside servers with another protobuf
        name = "google.protobuf.json_format"
        empty = system.post(f"/v1/modules/{name}:call", {"method": "Parse", "args": ["{}", None]})
        assert reason(empty) == "EXCEPTION_RAISED"


GREENED = """
from gevent import monkey
monkey.patch_all()
import asyncio, gevent.pool, threading, time
local = threading.local()
local.ready = True
def sleep():
    time.sleep(0.01)
    return local.ready
def squares(n):
    return gevent.pool.Pool(3).map(lambda x: (time.sleep(0.01), x * x)[1], range(n))
def items(n):
    for i in range(n):
        time.sleep(0.001)
        yield i
async def coroutine():
    await asyncio.sleep(0.01)
    return local.ready
"""


@pytest.mark.timeout(300)
def test_a_module_that_gevent_has_patched(deploy: Callable[..., Any], system: System) -> None:
    contents = {"orc_greened.py": base64.b64encode(GREENED.encode()).decode()}
    deploy("orc_greened", requirements=["gevent"], source={"files": {"contents": contents}})
    for _ in range(2):
        assert [system.call("orc_greened", name) for name in ("sleep", "coroutine")] == [True, True]
        assert system.call("orc_greened", "squares", 4) == [0, 1, 4, 9]
        streamed = system.post("/v1/modules/orc_greened:stream", {"method": "items", "args": [3]})
        assert [json.loads(line)["result"] for line in streamed.text.splitlines()] == [0, 1, 2]


def test_a_mistyped_name_installs_nothing(system: System) -> None:
    response = system.http.post("/create_pod/nunpy", json={})
    assert (response.status_code, reason(response)) == (404, "DISTRIBUTION_UNKNOWN")
    assert "numpy" in response.json()["message"]
    called = system.try_call("reqeusts", "get", "x")
    assert (called.status_code, reason(called)) == (404, "DISTRIBUTION_UNKNOWN")
    assert system.left("nunpy") == []


def test_a_name_that_nobody_provides_is_told(system: System) -> None:
    response = system.http.post("/create_pod/orc_no_such_thing_anywhere", json={})
    assert (response.status_code, reason(response)) == (404, "DISTRIBUTION_UNKNOWN")
    assert "requirements" in response.json()["message"]
