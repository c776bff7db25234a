"""The list of modules that give access to the host: it is complete for this Python, and no path leads around it."""

from __future__ import annotations

import argparse
import dataclasses
import enum
import functools
import gc
import importlib
import json
import operator
import optparse
import pkgutil
import re
import shlex
import subprocess
import sys
import sysconfig
import time
import traceback
import types
import typing
import warnings
import xml.sax.saxutils
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from jac_orc.errors import PermissionDeniedError
from jac_orc.guest import host_access
from jac_orc.guest.binding import Parameters
from jac_orc.guest.failures import Refusal
from jac_orc.guest.host_access import HostAccess
from jac_orc.guest.names import Names
from jac_orc.pod_manager.policy import Policy
from tests.support import SERVICES

LIST = Path(host_access.__file__).with_suffix(".txt")
COMPUTING = [
    line
    for line in Path(__file__).with_name("computing_modules.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
KINDS = {"processes", "files", "network", "code", "interpreter", "memory"}


def public_modules() -> Iterator[str]:
    """The modules of this Python's standard library that can be deployed, submodules included."""
    for name in sys.stdlib_module_names:
        if not name.startswith("_"):
            yield name
            yield from _submodules(Path(sysconfig.get_path("stdlib")) / name, name)


def _submodules(folder: Path, package: str) -> Iterator[str]:
    for found in pkgutil.iter_modules([str(folder)]):
        if not found.name.startswith("_"):
            yield f"{package}.{found.name}"
            if found.ispkg:
                yield from _submodules(folder / found.name, f"{package}.{found.name}")


def computes(name: str) -> bool:
    return any(fnmatchcase(name, entry) for entry in COMPUTING)


def test_every_module_of_the_standard_library_is_judged() -> None:
    host = HostAccess()
    unknown = [name for name in public_modules() if not host.of(name) and not computes(name)]
    assert unknown == [], "add each to host_access.txt, with what it gives access to, or to computing_modules.txt"


def test_no_module_is_in_both_lists() -> None:
    host = HostAccess()
    assert [name for name in COMPUTING if host.of(name.removesuffix(".*"))] == []


def test_the_list_is_sorted_and_says_what_each_module_gives_access_to() -> None:
    lines = [line for line in LIST.read_text().splitlines() if line and not line.startswith("#")]
    names = [line.split()[0] for line in lines]
    assert names == sorted(set(names)) and set(names) == set(host_access.listed())
    for line in lines:
        access = re.fullmatch(r"\S+ +(\w+(?:, \w+)*)", line)
        assert access and set(access[1].split(", ")) <= KINDS, line
        parents = line.split()[0].split(".")[:-1]
        assert not any(".".join(parents[: n + 1]) in names for n in range(len(parents))), f"{line}: covered already"


_OBJECTS = """
import contextlib, functools, importlib, io, json, sys
from jac_orc.guest.host_access import HostAccess
from jac_orc.guest.names import Names
host, leaks, cached = HostAccess(), [], type(functools.lru_cache(len))
for name in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(ImportError):  # of another Python, or a pattern
        for path, value in Names(name, importlib.import_module(name), host).walk():
            home = type(value).__module__
            if not isinstance(value, (type, cached)) and host.of(home) and home not in ("builtins", "types"):
                leaks.append(name + "." + path)
print(leaks)
"""


def test_nothing_public_of_a_computing_module_is_an_object_with_access_to_the_host() -> None:
    """An open file or a parser that opens files would give what the module itself doesn't."""
    command = [sys.executable, "-W", "ignore", "-c", _OBJECTS]
    found = subprocess.run(
        command,
        input=json.dumps(COMPUTING),
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(SERVICES)},
    )
    assert found.stdout == "[]\n"


# Ways to the host that are easy to miss, each through public names alone. All of them read the file `secret`; those
# that run code write what they read to the file `found`.


def _code(secret: Path) -> str:
    return f"open({str(secret.with_name('found'))!r}, 'w').write(open({str(secret)!r}).read()) and int"


def _dataclasses(secret: Path) -> Any:
    """A call of the class evaluates its annotations, to convert the arguments."""
    made = dataclasses.make_dataclass("Made", [("a", _code(secret))])
    return Parameters().fitted(made, [1], {})


def _functools(secret: Path) -> Any:
    """Registering takes the class from the annotations, and evaluates them."""
    hinted: Any = types.SimpleNamespace(__annotations__={"a": _code(secret)})
    return functools.singledispatch(_code).register(hinted)


def _optparse(secret: Path) -> Any:
    secret.with_name("code").write_text(_code(secret))
    return optparse.Values().read_file(str(secret.with_name("code")))


def _typing(secret: Path) -> Any:
    return typing.get_type_hints(typing.NamedTuple("Hinted", [("a", _code(secret))]))


_any: Any = {"shlex": shlex, "sax": xml.sax.saxutils, "enum": enum}  # whose annotations know nothing of this
WAYS: dict[str, Callable[[Path], Any]] = {
    "argparse": lambda secret: argparse.ArgumentParser(fromfile_prefix_chars="@").parse_known_args([f"@{secret}"]),
    "dataclasses": _dataclasses,
    "functools": _functools,
    "operator": lambda secret: operator.attrgetter("__globals__")(_code)["Path"](secret).read_text(),
    "optparse": _optparse,
    "shlex": lambda secret: _any["shlex"].shlex("").sourcehook(str(secret))[1].read(),
    "traceback": lambda secret: traceback.FrameSummary(str(secret), 1, "f").line,
    "typing": _typing,
    "warnings": lambda secret: warnings.formatwarning("", Warning, str(secret), 1),
    "xml.sax": lambda secret: _any["sax"].prepare_input_source(str(secret)).getByteStream().read(),
}


@pytest.mark.parametrize("module", WAYS)
@pytest.mark.filterwarnings("ignore:unclosed file")
def test_modules_that_read_files_in_passing_are_on_the_list(module: str, tmp_path: Path) -> None:
    secret, found = tmp_path / "secret", tmp_path / "found"
    secret.write_text("orc-secret")
    result = str(WAYS[module](secret))
    gc.collect()  # closes the files here, where the warning is ignored
    assert "orc-secret" in (found.read_text() if found.exists() else result)
    with pytest.raises(PermissionDeniedError):
        Policy().check_call(module)


def test_a_module_that_writes_into_loaded_modules_is_on_the_list() -> None:
    _any["enum"].global_enum(enum.Enum("Put", {"ORC_PUT": 1}, module="keyword"))
    assert vars(sys.modules["keyword"]).pop("ORC_PUT").value == 1
    with pytest.raises(PermissionDeniedError):
        Policy().check_call("enum")


REACHING: list[tuple[str, Callable[[Names], Any]]] = [
    ("xml.dom", lambda names: names.check_result(names.resolve("getDOMImplementation")("minidom"))),
    ("cmd", lambda names: names.resolve_in(names.resolve("Cmd")(stdout=sys.__stdout__), "stdout")),
    ("time", lambda names: names.resolve("clock_settime")),
    ("time", lambda names: names.resolve("pthread_getcpuclockid")),
]


@pytest.mark.parametrize(("module", "reach"), REACHING)
def test_neither_objects_nor_single_functions_lead_to_the_host(module: str, reach: Callable[[Names], Any]) -> None:
    names = Names(module, importlib.import_module(module), HostAccess())
    with pytest.raises(Refusal, match="access to the host"):
        reach(names)


def test_an_operator_may_allow_a_single_function() -> None:
    names = Names("time", importlib.import_module("time"), HostAccess(allowed=["time.clock_settime"]))
    assert names.resolve("clock_settime") is time.clock_settime


def test_no_method_is_handed_out_that_formats_texts() -> None:
    names = Names("string", importlib.import_module("string"), HostAccess())
    formatter = names.resolve("Formatter")()
    method, _ = names.resolve_in(formatter, "get_field")("0.format", ["{0.__class__}"], {})
    with pytest.raises(Refusal, match="format"):
        names.check_result(method)
