"""What a caller reaches through a module that a call may deploy: values, and nothing of the host."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jac_orc.client.connection import Connection
from tests.feature.module_servers import ModuleServer, failure

SECRET = "{0.__init__.__globals__}"


@pytest.fixture(scope="module")
def serving(guest_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], ModuleServer]]:
    """The server of a module, one for all tests."""
    running: dict[str, ModuleServer] = {}

    def start(module: str) -> ModuleServer:
        if module not in running:
            running[module] = ModuleServer(module, guest_python, tmp_path_factory.mktemp(module)).serving()
        return running[module]

    yield start
    for server in running.values():
        assert server.stop() == 0


def result(server: ModuleServer, method: str, *args: Any, **fields: Any) -> Any:
    return json.loads(server.call_json({"method": method, "args": list(args), **fields}))["result"]


def refused(server: ModuleServer, method: str, *args: Any, **fields: Any) -> str:
    told = failure(server.call_json, {"method": method, "args": list(args), **fields})
    assert told.error.reason == "NAME_NOT_EXPOSED", told.error.message
    return told.error.message


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("get_field", ["0.__class__.__base__.__subclasses__", [1], {}]), ("get_field", ["0[a]._x", [1], {}]),
        ("format", [SECRET, 1]), ("vformat", [SECRET, [1], {}]), ("format", ["{0:{1.__class__}}", 1, 2]),
        ("format", ["{a[__builtins__]}"]), ("format", ["{0[}].__class__}", {"}": 1}]),
        ("format", ["{0[{].__class__}", {"{": 1}]), ("vformat", ["{0[}][:].__class__}", [{"}": {":": 1}}], {}]),
        ("format", ["{0!r:{1.__class__}}", 1, 2]), ("format", ["{0:{0:{1.__class__}}}", 1, 2]),
        ("format", ["{0[!r:x].__class__}", {"!r:x": 1}]), ("format", ["{{}}{.__class__}", 1]),
        ("get_field", ["0[}]._x", [{"}": 1}], {}]),
    ],
)  # fmt: skip
def test_a_formatter_reads_no_private_name(
    serving: Callable[[str], ModuleServer], method: str, arguments: list[Any]
) -> None:
    server = serving("string")
    formatter = result(server, "Formatter")["obj_id"]
    assert "private" in refused(server, method, *arguments, obj_id=formatter)
    assert "private" in refused(server, f"Formatter.{method}", {"obj_id": formatter}, *arguments)


def test_a_formatter_formats_what_is_public(serving: Callable[[str], ModuleServer]) -> None:
    server = serving("string")
    formatter = result(server, "Formatter")["obj_id"]
    assert result(server, "format", "{0.real:>3}|{1}|", 1, "x._y", obj_id=formatter) == "  1|x._y|"
    assert result(server, "format", "{0[}]}|{{0._x}}", {"}": "1"}, obj_id=formatter) == "1|{0._x}"
    assert result(server, "format", "{0}", '{"a": {"b": {"c": {"d": {"e": 1}}}}}', obj_id=formatter)[:4] == '{"a"'
    assert result(server, "get_field", "0.real", [1], {}, obj_id=formatter) == [1, 0]


@pytest.mark.parametrize("template", ["{0._x", "{0.}", "}", "{0[a}", "{0:{0:{0:{0._x}}}}"])
def test_a_malformed_format_string_is_the_formatters_own_error(
    serving: Callable[[str], ModuleServer], template: str
) -> None:
    server = serving("string")
    formatter = result(server, "Formatter")["obj_id"]
    told = failure(server.call_json, {"method": "format", "args": [template, 1], "obj_id": formatter})
    assert (told.error.reason, told.exception.type) == ("EXCEPTION_RAISED", "builtins.ValueError"), told.error.message


@pytest.mark.parametrize("path", ["format", "data.format", "format_map", "data.format_map"])
def test_a_string_object_reads_no_private_name(serving: Callable[[str], ModuleServer], path: str) -> None:
    server = serving("collections")
    text = result(server, "UserString", "{0.format.__globals__}")["obj_id"]
    argument = {"0": {"obj_id": text}} if path.endswith("map") else {"obj_id": text}
    assert "private" in refused(server, path, argument, obj_id=text)
    hidden = result(server, "UserString", "{0[}].format.__globals__}")["obj_id"]
    assert "private" in refused(server, path, {"0": {"}": 1}} if path.endswith("map") else {"}": 1}, obj_id=hidden)
    plain = result(server, "UserString", "{0}")["obj_id"]
    assert result(server, "data.format", 1, obj_id=plain) == "1"


def test_a_class_of_texts_reads_no_private_name(serving: Callable[[str], ModuleServer]) -> None:
    """Of which `format` is a method, and `str` a base."""
    server = serving("http")
    assert "private" in refused(server, "HTTPMethod.format", "{0.__class__.__base__}", 1)
    assert "private" in refused(server, "HTTPMethod.format_map", "{a.__class__.__base__}", {"a": 1})
    assert result(server, "HTTPMethod.format", "{0.real}", 1) == "1"


def test_a_string_object_reads_no_frame(serving: Callable[[str], ModuleServer]) -> None:
    """Of a generator, whose names are public."""
    server = serving("collections")
    items = result(server, "ChainMap", {"a": 1})["obj_id"]
    views = result(server, "ChainMap.items", {"obj_id": items})
    generator = result(server, "__iter__", obj_id=views["obj_id"])["obj_id"]
    assert "a frame" in refused(server, "gi_frame", obj_id=generator)
    text = result(server, "UserString", "{0.gi_frame.f_globals}")["obj_id"]
    assert "private" in refused(server, "format", {"obj_id": generator}, obj_id=text)


def test_a_batch_reads_no_private_name(serving: Callable[[str], ModuleServer]) -> None:
    """The result of an earlier call is not encoded, and so never looked at again."""
    with Connection(f"127.0.0.1:{serving('string').port}", "string") as connection:
        batch = connection.batch()
        formatter = batch.invoke("Formatter", silent=True)
        batch.call("Formatter.get_field", formatter, "0.get_field.__globals__", (formatter,), {})
        assert batch.run()[1].reason == "NAME_NOT_EXPOSED"


@pytest.mark.parametrize("method", ["request.urlopen", "request.pathname2url", "robotparser.RobotFileParser"])
def test_a_package_that_computes_leads_to_no_submodule_with_access(
    serving: Callable[[str], ModuleServer], method: str, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("orc-secret")
    server = serving("urllib")
    message = refused(server, method, (tmp_path / "secret").as_uri())
    assert f"create the module urllib.{method.partition('.')[0]} to call it" in message
    assert result(server, "parse.quote", "a b") == "a%20b"
