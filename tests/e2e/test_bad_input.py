"""Bad input: each is answered by a 4xx with a reason, nothing hangs, and the next call works."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.system import System, reason

LONG = "a" * 10_000


@pytest.fixture(autouse=True)
def the_next_call_works(system: System) -> Iterator[None]:
    """After each bad request here."""
    yield
    assert system.call("math", "sqrt", 9) == 3.0


CALLS = [
    ("unknown function", "math", "sqrtt", [], 404, "FUNCTION_NOT_FOUND"),
    ("unknown in a submodule", "numpy", "linalg.nrom", [], 404, "FUNCTION_NOT_FOUND"),
    ("empty segment", "math", "a..b", [], 404, "FUNCTION_NOT_FOUND"),
    ("keyword", "math", "class", [], 404, "FUNCTION_NOT_FOUND"),
    ("empty function", "math", "", [], 400, "MALFORMED_REQUEST"),
    ("private", "statistics", "_sum", [[1]], 403, "NAME_NOT_EXPOSED"),
    ("dunder", "math", "sqrt.__class__", [], 403, "NAME_NOT_EXPOSED"),
    ("private foreign module", "random", "_os.getcwd", [], 403, "NAME_NOT_EXPOSED"),
    ("foreign module", "statistics", "math.sqrt", [9], 403, "NAME_NOT_EXPOSED"),
    ("a foreign module's function", "orc_guest_slow", "time.sleep", [0], 403, "NAME_NOT_EXPOSED"),
    ("refused: os", "os", "getcwd", [], 403, "MODULE_REFUSED"),
    ("refused: subprocess", "subprocess", "run", ["true"], 403, "MODULE_REFUSED"),
    ("refused: a submodule", "os.path", "join", ["a"], 403, "MODULE_REFUSED"),
    ("private module", "_socket", "gethostname", [], 403, "NAME_NOT_EXPOSED"),
    ("unknown module", "orc_guest_nowhere", "f", [], 404, "DISTRIBUTION_UNKNOWN"),
    ("unknown standard-library submodule", "json.nowhere", "f", [], 400, "MODULE_IMPORT_FAILED"),
    ("a constant with arguments", "math", "pi", [1], 400, "NOT_CALLABLE"),
    ("a module as function", "numpy", "linalg", [], 400, "NOT_CALLABLE"),
]


@pytest.mark.parametrize(
    ("module", "method", "args", "status", "why"), [row[1:] for row in CALLS], ids=[row[0] for row in CALLS]
)
def test_what_is_called(system: System, module: str, method: str, args: list[Any], status: int, why: str) -> None:
    response = system.try_call(module, method, *args)
    assert (response.status_code, reason(response)) == (status, why), response.text


def test_near_matches_are_named(system: System) -> None:
    body = system.try_call("math", "sqrtt").json()
    assert "sqrt" in body["details"][0]["metadata"]["near"].split(",")
    assert "sqrt" in body["message"]


@pytest.mark.parametrize(
    ("args", "kwargs", "parameter"),
    [([], {}, "first"), ([1, 2], {}, "first"), ([1], {"third": 3}, "third"), ([1], {"first": 1}, "first")],
    ids=["missing", "too many", "unknown", "twice"],
)
def test_arguments_that_do_not_bind(system: System, args: list[int], kwargs: dict[str, int], parameter: str) -> None:
    response = system.try_call("orc_guest_values", "record", *args, **kwargs)
    assert (response.status_code, reason(response)) == (400, "ARGUMENTS_DO_NOT_BIND"), response.text
    assert response.json()["details"][0]["metadata"]["parameter"] == parameter
    assert parameter in response.json()["message"]


BODIES = [
    ("no JSON", b'{"method":', 400, "MALFORMED_REQUEST"),
    ("two documents", b"{} {}", 400, "MALFORMED_REQUEST"),
    ("bad UTF-8", b'{"method":"sqrt","args":["\xff"]}', 400, "MALFORMED_REQUEST"),
    ("NUL", b"\x00", 400, "MALFORMED_REQUEST"),
    ("NaN", b'{"method":"sqrt","args":[NaN]}', 400, "MALFORMED_REQUEST"),
    ("a key twice", b'{"method":"sqrt","method":"exp","args":[1]}', 400, "MALFORMED_REQUEST"),
    ("empty", b"", 400, "MALFORMED_REQUEST"),
    ("an array", b"[1]", 400, "MALFORMED_REQUEST"),
    ("a string", b'"sqrt"', 400, "MALFORMED_REQUEST"),
    ("null", b"null", 400, "MALFORMED_REQUEST"),
    ("no method", b'{"args":[1]}', 400, "MALFORMED_REQUEST"),
    ("method of another type", b'{"method":1}', 400, "MALFORMED_REQUEST"),
    ("args of another type", b'{"method":"sqrt","args":9}', 400, "MALFORMED_REQUEST"),
    ("kwargs of another type", b'{"method":"sqrt","kwargs":[]}', 400, "MALFORMED_REQUEST"),
    ("unknown field", b'{"method":"sqrt","args":[9],"arg":1}', 400, "UNKNOWN_FIELD"),
    ("no base64", b'{"method":"sqrt","args":[{"$bytes":"?"}]}', 400, "MALFORMED_REQUEST"),
    ("too deep", b'{"method":"sqrt","args":[' + b"[" * 101 + b"]" * 101 + b"]}", 400, "TOO_DEEP"),
    ("far too deep", b'{"method":"sqrt","args":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}", 400, "TOO_DEEP"),
]


@pytest.mark.parametrize(("body", "status", "why"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES])
def test_bodies(system: System, body: bytes, status: int, why: str) -> None:
    response = system.post("/v1/modules/math:call", body)
    assert (response.status_code, reason(response)) == (status, why), response.text


@pytest.mark.parametrize("body", [b"[]", b"{", b'"x"', b"\xff{}"], ids=["array", "no JSON", "string", "bad UTF-8"])
@pytest.mark.parametrize(
    "path",
    [
        "/run_module?module_name=math&method_name=sqrt",
        "/modules/math/sqrt",
        "/v1/modules",
        "/create_pod/math",
        "/v1/modules:plan",
        "/v1/modules/math:scale",
    ],
)
def test_bodies_on_every_route(system: System, path: str, body: bytes) -> None:
    response = system.post(path, body)
    assert (response.status_code, reason(response)) == (400, "MALFORMED_REQUEST"), response.text


@pytest.mark.timeout(60)
def test_a_body_that_is_too_large(system: System) -> None:
    response = system.post("/v1/modules/math:call", b"[" + b"1," * (33 << 20) + b"1]")
    assert (response.status_code, reason(response)) == (413, "TOO_LARGE"), response.text


PATHS = [
    ("GET", "/nowhere", 404, "ROUTE_NOT_FOUND"),
    ("POST", "/modules/math", 404, "ROUTE_NOT_FOUND"),
    ("POST", "/v1/modules/math:nothing", 404, "ROUTE_NOT_FOUND"),
    ("DELETE", "/v1/modules", 404, "ROUTE_NOT_FOUND"),
    ("POST", "/run_module?module_name=math&method_name=sqrt&colour=red", 400, "MALFORMED_REQUEST"),
    ("POST", "/v1/modules/math:call?colour=red", 400, "MALFORMED_REQUEST"),
    ("POST", "/modules/math/sqrt?colour=red", 400, "MALFORMED_REQUEST"),
    ("GET", "/v1/modules?colour=red", 400, "MALFORMED_REQUEST"),
    ("GET", "/v1/modules?page_size=many", 400, "MALFORMED_REQUEST"),
    ("GET", "/v1/modules?page_size=-1", 400, "MALFORMED_REQUEST"),
    ("GET", "/v1/modules/math:logs?tail=-1", 400, "MALFORMED_REQUEST"),
    ("POST", "/v1/modules/math:call?timeout=soon", 400, "MALFORMED_REQUEST"),
    ("POST", "/run_module?module_name=../../x&method_name=f", 400, "MODULE_NAME_INVALID"),
    ("POST", "/create_pod/..%2F..%2Fx", 400, "MODULE_NAME_INVALID"),
    ("DELETE", "/v1/modules/..%2F..%2Fx", 400, "MODULE_NAME_INVALID"),
    ("POST", "/run_module?module_name=&method_name=f", 400, "MODULE_NAME_INVALID"),
    ("POST", "/run_module?method_name=f", 400, "MODULE_NAME_INVALID"),
    ("POST", "/run_module", 400, "MODULE_NAME_INVALID"),
    ("POST", "/run_module?module_name=math", 400, "MALFORMED_REQUEST"),
    ("POST", f"/run_module?module_name={LONG}&method_name=f", 400, "MODULE_NAME_INVALID"),
    ("POST", f"/create_pod/{LONG}", 400, "MODULE_NAME_INVALID"),
    ("GET", f"/v1/modules/{LONG}", 400, "MODULE_NAME_INVALID"),
    ("POST", "/run_module?module_name=ma%20th&method_name=f", 400, "MODULE_NAME_INVALID"),
    ("POST", "/run_module?module_name=ma%00th&method_name=f", 400, "MALFORMED_REQUEST"),
    ("POST", "/run_module?module_name=math%0d%0ax:%20y&method_name=f", 400, "MALFORMED_REQUEST"),
    ("POST", "/run_module?module_name=caf%C3%A9&method_name=f", 400, "MODULE_NAME_INVALID"),
    ("POST", "/run_module?module_name=math.&method_name=f", 400, "MODULE_NAME_INVALID"),
    ("POST", f"/run_module?module_name=math&method_name={LONG}", 404, "FUNCTION_NOT_FOUND"),
    ("POST", "/modules/math/..%2Fos", 404, "FUNCTION_NOT_FOUND"),
    ("GET", "/v1/modules/orc_guest_nowhere", 404, "MODULE_NOT_FOUND"),
    ("DELETE", "/v1/modules/orc_guest_nowhere", 404, "MODULE_NOT_FOUND"),
    ("DELETE", "/delete_pod/orc_guest_nowhere", 404, "MODULE_NOT_FOUND"),
    ("GET", "/v1/modules/orc_guest_nowhere:logs", 404, "MODULE_NOT_FOUND"),
]


@pytest.mark.parametrize(
    ("verb", "path", "status", "why"), PATHS, ids=[f"{row[0]} {row[1]}".replace(LONG, "LONG") for row in PATHS]
)
def test_paths_and_queries(system: System, verb: str, path: str, status: int, why: str) -> None:
    body = {"content": b"{}", "headers": {"content-type": "application/json"}} if verb == "POST" else {}
    response = system.http.request(verb, path, **body)  # type: ignore[arg-type]
    assert reason(response) == why, response.text
    assert response.status_code == status


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"module_name": "textwrap", "colour": "red"}, "UNKNOWN_FIELD"),
        ({"module_name": "textwrap", "replicas": "many"}, "SPEC_INVALID"),
        ({"module_name": "textwrap", "replicas": -1, "workers": 0, "timeout": "0s"}, "SPEC_INVALID"),
        ({"module_name": "textwrap", "requirements": ["not a requirement"]}, "SPEC_INVALID"),
        ({"module_name": "textwrap", "requirements": ["x @ file:///etc"]}, "SPEC_INVALID"),
        ({"module_name": "textwrap", "requirements": ["--index-url=http://x"]}, "SPEC_INVALID"),
        ({"module_name": "textwrap", "env": {"A=B": "c"}}, "SPEC_INVALID"),
        ({"module_name": "textwrap", "python_version": "2"}, "SPEC_INVALID"),
        ({"module_name": "../../x"}, "MODULE_NAME_INVALID"),
        ({"module_name": LONG}, "MODULE_NAME_INVALID"),
        ({"module_name": ""}, "MODULE_NAME_INVALID"),
        ({}, "MODULE_NAME_INVALID"),
        ({"module_name": "_socket"}, "NAME_NOT_EXPOSED"),
    ],
    ids=lambda value: json.dumps(value)[:80] if isinstance(value, dict) else value,
)
def test_specs(system: System, spec: Any, why: str) -> None:
    response = system.post("/v1/modules", spec)
    assert reason(response) == why, response.text
    assert response.status_code in (400, 403)
    assert system.left("textwrap") == []


def test_every_fault_of_a_spec_is_a_field_violation(system: System) -> None:
    response = system.post("/v1/modules", {"module_name": "textwrap", "replicas": -1, "workers": 0, "timeout": "0s"})
    violations = response.json()["details"][1]["field_violations"]
    assert [violation["field"] for violation in violations] == ["replicas", "workers", "timeout"]


def test_what_is_not_implemented_says_so(system: System) -> None:
    response = system.post("/v1/modules", {"module_name": "textwrap", "expose": ["a"]})
    assert (response.status_code, reason(response)) == (501, "NOT_IMPLEMENTED"), response.text


@pytest.mark.one_machine("secrets are a cluster's")
def test_what_one_machine_does_not_have_is_not_implemented(system: System) -> None:
    response = system.post("/v1/modules", {"module_name": "textwrap", "secrets": ["a"]})
    assert (response.status_code, reason(response)) == (501, "NOT_IMPLEMENTED"), response.text


def test_objects_that_nobody_made_are_lost(system: System) -> None:
    for path, body in (
        ("/run_module?module_name=math&method_name=sqrt&obj_id=x", {}),
        ("/run_module?module_name=math&obj_id=math-127.0.0.1-1-1-0", {}),
        ("/v1/modules/math:call", {"method": "sqrt", "args": [{"obj_id": "x"}]}),
        ("/v1/objects/math-127.0.0.1-1-1-0:renew", {}),
    ):
        response = system.post(path, body)
        assert (response.status_code, reason(response)) == (404, "OBJECT_LOST"), response.text


def test_a_requirement_that_does_not_exist_leaves_nothing(system: System) -> None:
    spec = {"module_name": "textwrap", "requirements": ["orc-guest-nowhere==9"]}
    response = system.post("/v1/modules", spec)
    assert (response.status_code, reason(response)) == (400, "ENVIRONMENT_FAILED"), response.text
    assert "orc-guest-nowhere" in response.json()["message"]
    assert system.left("textwrap") == []
    assert system.http.get("/v1/modules/textwrap").status_code == 404


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_content_types(system: System, kind: str) -> None:
    headers = {"content-type": kind} if kind else {}
    response = system.http.post("/modules/math/sqrt", content=b'{"x":9}', headers=headers)
    assert (response.status_code, reason(response)) == (415, "CONTENT_TYPE_NOT_SUPPORTED"), response.text


@pytest.mark.parametrize(
    "headers", [{"host": "evil.example"}, {"origin": "https://evil.example"}, {"sec_fetch_site": "cross-site"}], ids=str
)
def test_foreign_hosts_and_origins(system: System, headers: dict[str, str]) -> None:
    response = system.post("/modules/math/sqrt", {"x": 9}, **headers)
    assert (response.status_code, reason(response)) == (403, "HOST_NOT_ALLOWED"), response.text


def test_a_host_on_this_machine_may_name_the_module(system: System) -> None:
    for host in (f"localhost:{system.port}", "math.modules.local"):
        response = system.post("/run_module?method_name=sqrt&module_name=math", {"args": [9]}, host=host)
        assert response.json() == {"result": 3.0}
