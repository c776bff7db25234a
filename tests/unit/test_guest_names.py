"""Which names the guest resolves (contract: What is exposed), and what it knows of a function's parameters."""

from __future__ import annotations

import importlib
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from os import system
from pathlib import Path
from typing import Any

import pytest

from jac_orc.guest.binding import binds_as_one_list, signature_of
from jac_orc.guest.describe import describe
from jac_orc.guest.failures import Refusal
from jac_orc.guest.host_access import HostAccess
from jac_orc.guest.names import Names
from jac_orc.guest.objects import Objects

PACKAGE = {
    "__init__.py": """
import math
import os as system
from ctypes import CDLL
from math import sqrt
from os import getcwd
from pickle import loads
from subprocess import run
from . import loaded
PI = 3.14
TABLE = {"a": 1}
_secret = 1
def area(radius): return PI * radius
class Circle:
    '''A circle.'''
    def __init__(self, radius): self.radius = radius
    def grow(self, by=1): return by
    def _private(self): pass
    @staticmethod
    def unit(): return 1
""",
    "loaded.py": "def shown(): return 1\nimport math as inner",
    "lazy.py": "def late(): return 2",
    "listed.py": "__all__ = ['shown', 'Absent']\ndef shown(): return 1\ndef hidden(): return 2\nfrom . import loaded",
    "unlisted.py": "__all__ = []\ndef shown(): return 1",
    "aliases.py": """
from functools import partial
longest, total, Table, Failure, widest = max, sum, dict, ValueError, partial(max, key=len)
run, read, kind, reach, late, loaded = eval, open, type, getattr, partial(eval), __import__
""",
    "broken.py": "import jac_no_such_module",
    "_internal.py": "def f(): pass",
}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Any]:
    """A package of the user's own."""
    directory = tmp_path / "orc_unit_shop"
    directory.mkdir()
    for name, text in PACKAGE.items():
        (directory / name).write_text(text)
    sys.path.insert(0, str(tmp_path))
    importlib.invalidate_caches()
    yield Names("orc_unit_shop", importlib.import_module("orc_unit_shop"), HostAccess())
    sys.path.remove(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "orc_unit_shop"]:
        del sys.modules[name]


def names_of(module: str) -> Any:
    return Names(module, importlib.import_module(module), HostAccess())


def refusal(names: Any, path: str) -> dict[str, Any]:
    with pytest.raises(Refusal) as caught:
        names.resolve(path)
    error: dict[str, Any] = caught.value.error
    return error


@pytest.mark.parametrize(
    "path", ["area", "Circle", "Circle.grow", "Circle.unit", "PI", "TABLE", "TABLE.get", "sqrt", "loaded.shown",
             "lazy.late", "listed.shown", "lazy"],
)  # fmt: skip
def test_public_names_resolve(shop: Any, path: str) -> None:
    value, name = shop.resolve(path), path.rpartition(".")[2]
    assert getattr(value, "__name__", name).rpartition(".")[2] == name


@pytest.mark.parametrize("path", ["_secret", "_internal.f", "__dict__", "Circle._private", "area.__globals__",
                                  "TABLE.__class__", "__builtins__", "Circle.grow.__code__"])  # fmt: skip
def test_private_names_are_refused(shop: Any, path: str) -> None:
    assert refusal(shop, path)["reason"] == "NAME_NOT_EXPOSED"


@pytest.mark.parametrize("path", ["math", "math.sqrt", "system", "system.getcwd", "loaded.inner", "system.path.join"])
def test_other_packages_modules_are_refused(shop: Any, path: str) -> None:
    error = refusal(shop, path)
    assert error["reason"] == "NAME_NOT_EXPOSED" and "leads out of orc_unit_shop" in error["message"]


@pytest.mark.parametrize("path", ["getcwd", "run", "CDLL", "loads"])
def test_functions_of_refused_modules_are_refused(shop: Any, path: str) -> None:
    """Where they were written counts, the C part of a refused module included (`pickle.loads` comes from `_pickle`)."""
    assert refusal(shop, path)["reason"] == "NAME_NOT_EXPOSED"


@pytest.mark.parametrize("name", ["longest", "total", "Table", "Failure", "widest"])
def test_builtins_that_only_compute_may_have_other_names(shop: Any, name: str) -> None:
    assert callable(shop.resolve("aliases." + name))


@pytest.mark.parametrize("name", ["run", "read", "kind", "reach", "late", "loaded"])
def test_builtins_that_reach_further_are_refused_by_any_name(shop: Any, name: str) -> None:
    assert refusal(shop, "aliases." + name)["reason"] == "NAME_NOT_EXPOSED"


def test_an_empty_all_hides_nothing(shop: Any) -> None:
    assert shop.resolve("unlisted.shown")() == 1


@pytest.mark.parametrize("path", ["listed.hidden", "listed.loaded", "listed.loaded.shown"])
def test_names_outside_all_are_refused(shop: Any, path: str) -> None:
    error = refusal(shop, path)
    assert error["reason"] == "NAME_NOT_EXPOSED" and "__all__" in error["message"]


@pytest.mark.parametrize(
    "path", ["nothing", "listed.Absent", "lazy.nothing", "area.nothing", "", ".", "area.", ".area", "a b", "a-b", "1",
             "for", "area()", "../x", "é" * 300, "lazy.late.nothing", "x" * 10_000, "\ud800"],
)  # fmt: skip
def test_names_that_are_not_there_are_not_found(shop: Any, path: str) -> None:
    error = refusal(shop, path)
    assert error["reason"] == "FUNCTION_NOT_FOUND"
    assert len(error["message"]) < 400 and len(error["metadata"]["method"]) <= 200


def test_near_matches_are_named(shop: Any) -> None:
    error = refusal(shop, "aera")
    assert error["metadata"]["near"] == "area" and "did you mean area?" in error["message"]
    assert refusal(shop, "Circle.grw")["metadata"]["near"] == "grow"
    assert "_secret" not in refusal(shop, "secret")["message"], "private names are not told"


def test_an_object_that_does_not_tell_its_names_has_no_near_ones(shop: Any) -> None:
    shop.module.table = type("Table", (), {"__dir__": lambda self: sorted([1, "a"])})()  # type: ignore[type-var]
    error = refusal(shop, "table.rows")
    assert (error["reason"], error["metadata"]["near"]) == ("FUNCTION_NOT_FOUND", "")


def test_a_name_that_is_missing_is_asked_for_once(shop: Any) -> None:
    asked: list[str] = []

    def absent(*place: Any) -> Any:
        asked.append(place[-1])
        raise AttributeError(place[-1])

    vars(shop.module).update(__getattr__=absent, counter=type("Counter", (), {"__getattr__": absent})())
    del shop.module.__path__
    assert refusal(shop, "counter.nowhere")["reason"] == refusal(shop, "nothing")["reason"] == "FUNCTION_NOT_FOUND"
    assert asked == ["nowhere", "nothing"]


def test_a_value_that_hides_its_class_is_one_as_any_other(shop: Any) -> None:
    def fails(self: Any, *args: Any) -> Any:
        raise RuntimeError("working outside of context")

    own = {"__class__": property(fails), "__getattr__": fails, "__call__": fails, "__doc__": 5}
    shop.module.current = current = type("Proxy", (), own)()  # as werkzeug's proxies are, outside of a request
    assert shop.resolve("current") is current
    shop.check_result(current)
    assert ("current", current) in list(shop.walk())
    assert b"current" in describe(shop)
    assert Objects(shop, "here", 60, 10, 10**9).keep(current, [])["type"].endswith("Proxy")


def test_a_class_that_is_made_at_run_time_is_the_modules_own(shop: Any) -> None:
    shop.module.Pair = types.new_class("Pair")  # whose `__module__` is `types`
    assert shop.resolve("Pair") is shop.module.Pair
    shop.module.Lookup = types.DynamicClassAttribute
    assert refusal(shop, "Lookup")["reason"] == "NAME_NOT_EXPOSED"


def test_a_submodule_that_cannot_be_imported_raises_its_own_error(shop: Any) -> None:
    with pytest.raises(ModuleNotFoundError, match="jac_no_such_module"):
        shop.resolve("broken")


@pytest.mark.parametrize(("module", "path"), [("random", "_os"), ("statistics", "math"), ("json", "scanner"),
                                              ("random", "_urandom"), ("statistics", "sqrt")])  # fmt: skip
def test_the_standard_library_hands_out_no_other_module(module: str, path: str) -> None:
    assert refusal(names_of(module), path)["reason"] == "NAME_NOT_EXPOSED"


@pytest.mark.parametrize(
    ("module", "path"),
    [("statistics", "mean"), ("math", "sqrt"), ("heapq", "nlargest"), ("fractions", "Fraction.limit_denominator"),
     ("json", "loads"), ("xml", "etree.ElementPath.xpath_tokenizer"), ("email", "utils"), ("bisect", "bisect_left")],
)  # fmt: skip
def test_the_standard_library_is_there(module: str, path: str) -> None:
    assert names_of(module).resolve(path) is not None


@pytest.mark.parametrize(
    ("module", "path"),
    [("os", "path.join"), ("os", "path.exists"), ("os", "getcwd"), ("os.path", "realpath"), ("pathlib", "Path.home"),
     ("glob", "escape"), ("urllib.request", "urlopen"), ("http.client", "HTTPConnection"), ("io", "open"),
     ("pickle", "loads"), ("concurrent.futures", "ProcessPoolExecutor"), ("operator", "attrgetter"),
     ("multiprocessing", "Process"), ("logging.handlers", "SocketHandler"), ("shutil", "get_terminal_size"),
     ("xml.etree.ElementTree", "parse"), ("subprocess", "run"), ("socket", "create_connection")],
)  # fmt: skip
def test_a_module_that_gives_access_leads_to_its_own_names(module: str, path: str) -> None:
    assert names_of(module).resolve(path) is not None


@pytest.mark.parametrize(
    ("module", "path", "closed"),
    [("urllib", "request", "urllib.request"), ("urllib", "request.urlopen", "urllib.request"),
     ("urllib", "robotparser.RobotFileParser", "urllib.robotparser"), ("http", "client", "http.client"),
     ("http", "server.HTTPServer", "http.server"), ("http", "cookiejar.MozillaCookieJar", "http.cookiejar"),
     ("concurrent", "futures", "concurrent.futures"), ("xml", "sax.parse", "xml.sax"),
     ("xml", "dom.minidom.parse", "xml.dom.minidom"), ("xml.etree", "ElementTree.parse", "xml.etree.ElementTree"),
     ("wsgiref", "simple_server.make_server", "wsgiref.simple_server"), ("ntpath", "exists", "genericpath"),
     ("ntpath", "os", "leads out of ntpath"), ("concurrent", "futures.ProcessPoolExecutor", "concurrent.futures")],
)  # fmt: skip
def test_no_submodule_leads_to_the_host(module: str, path: str, closed: str) -> None:
    """Whatever the guest may import: calling the package is not a way to what a call may not deploy."""
    error = refusal(names_of(module), path)
    assert error["reason"] == "NAME_NOT_EXPOSED" and closed in error["message"]
    assert f"create the module {closed} to call it" in error["message"] or "leads out of" in error["message"]


@pytest.mark.parametrize(("module", "path"), [("urllib", "parse.quote"), ("http", "HTTPStatus"), ("ntpath", "join"),
                                              ("http.cookies", "SimpleCookie"),
                                              ("xml.parsers", "expat.model.XML_CTYPE_ANY"),
                                              ("email", "utils.parseaddr"), ("datetime", "datetime.now")])  # fmt: skip
def test_what_computes_is_reached(module: str, path: str) -> None:
    assert names_of(module).resolve(path) is not None


LEADING_OUT = """
import ctypes, functools, io, operator, os, pathlib, subprocess, sys, threading, typing
run_bound = functools.partial(subprocess.run, ["true"])
run_cached = functools.lru_cache(subprocess.getoutput)
run_twice = functools.partial(functools.partial(os.system, "true"))
read = pathlib.Path("/etc/hostname").read_text
here = pathlib.Path.cwd
value = io.BytesIO(b"x").getvalue
Path, BytesIO, FileIO, getpid = pathlib.Path, io.BytesIO, io.FileIO, os.getpid
ROOT = pathlib.Path("/")
class Mine(pathlib.PurePath): pass
class Worker(threading.Thread):
    def run(self): pass
class Holder:
    run = staticmethod(subprocess.run)
    environ = os.environ
BUFFER = io.BytesIO(b"x")
TABLE = {}
WORKER = Worker()
by_price = operator.itemgetter(1)
Prices = typing.List[int]
half = functools.partial(divmod, 1)
show = functools.singledispatch(lambda value: "")
reduce = functools.reduce
def buffer(): return io.BytesIO(b"x")
def path(): return pathlib.Path("/")
"""


@pytest.fixture
def leading(tmp_path: Path) -> Iterator[Any]:
    """A module of the user's own, with much that is not its own."""
    (tmp_path / "orc_unit_leading.py").write_text(LEADING_OUT)
    sys.path.insert(0, str(tmp_path))
    importlib.invalidate_caches()
    yield Names("orc_unit_leading", importlib.import_module("orc_unit_leading"), HostAccess((), ["statistics"]))
    sys.path.remove(str(tmp_path))
    del sys.modules["orc_unit_leading"]


@pytest.mark.parametrize(
    "path", ["run_bound", "run_cached", "run_twice", "read", "here", "value", "Path", "BytesIO", "FileIO", "getpid",
             "ROOT.read_text", "Holder.run", "Path.home", "os", "os.getpid", "reduce",
             "show.register"],
)  # fmt: skip
def test_functions_from_modules_with_access_are_not_handed_out(leading: Any, path: str) -> None:
    assert refusal(leading, path)["reason"] == "NAME_NOT_EXPOSED"


@pytest.mark.parametrize("path", ["Mine", "Worker", "WORKER.start", "WORKER.is_alive", "BUFFER.getvalue", "TABLE.get",
                                  "by_price", "Prices", "half", "Worker.run", "buffer", "path"])  # fmt: skip
def test_the_modules_own_names_are(leading: Any, path: str) -> None:
    assert leading.resolve(path) is not None


def test_methods_of_objects_are_reached_whatever_their_class(leading: Any) -> None:
    """The module's own code has returned the object."""
    assert leading.resolve_in(leading.module.path(), "is_dir")() is True
    assert leading.resolve_in(leading.module.buffer(), "read")() == b"x"
    leading.check_result(leading.module.Path)
    leading.check_result(leading.module.read)
    for value in (leading.module.getpid, leading.module.os, leading.module.run_bound):
        with pytest.raises(Refusal):
            leading.check_result(value)


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        ("_io.FileIO", "; create the module io to call it"),
        ("io.open", "; create the module io to call it"),
        ("_frozen_importlib_external.SourceFileLoader", "(code, files)"),
    ],
)
def test_the_advice_names_a_module_that_can_be_created(value: str, advice: str) -> None:
    module, _, name = value.rpartition(".")
    with pytest.raises(Refusal) as caught:
        names_of("itertools").check_result(getattr(importlib.import_module(module), name))
    assert str(caught.value).endswith(advice)


@pytest.mark.parametrize("value", [object, int, [].append, {}.get, ValueError])
def test_built_in_classes_and_methods_may_be_results(value: Any) -> None:
    names_of("itertools").check_result(value)


def test_a_refused_module_is_closed_to_all_and_an_allowed_one_open(leading: Any) -> None:
    leading.module.mean = importlib.import_module("statistics").mean
    assert "policy refuses" in refusal(leading, "mean")["message"]
    allowing = Names("orc_unit_leading", leading.module, HostAccess(["subprocess"], []))
    assert allowing.resolve("run_bound") and allowing.resolve("Holder.run")
    assert refusal(allowing, "Path")["reason"] == "NAME_NOT_EXPOSED"


def test_a_package_of_ones_own_may_have_submodules_named_like_those_with_access(shop: Any, tmp_path: Path) -> None:
    (tmp_path / "orc_unit_shop" / "os.py").write_text("def system(command): return command")
    assert shop.resolve("os.system")("x") == "x"


def test_a_remembered_name_that_has_changed_is_looked_up_anew(shop: Any) -> None:
    assert shop.resolve("PI") == shop.resolve("PI") == 3.14
    shop.module.PI = 3
    assert shop.resolve("PI") == 3
    del shop.module.PI
    assert refusal(shop, "PI")["reason"] == "FUNCTION_NOT_FOUND"


def test_walking_tells_what_resolves_and_nothing_else(shop: Any) -> None:
    found = dict(shop.walk())
    assert set(found) >= {"area", "Circle", "PI", "TABLE", "sqrt", "loaded.shown"}
    assert not {"math", "getcwd", "run", "_secret", "CDLL"} & set(found)
    for path, value in found.items():
        assert shop.resolve(path) is value


def plain(a, b, /, c, *rest, d, e=1, **more):
    """Unused."""


class Lying:
    __signature__ = "no signature"

    def __call__(self) -> None:
        pass


def documented(line: str) -> Callable[..., Any]:
    """A callable that tells its signature by its docstring only, as many C functions do."""

    class Documented:
        __doc__ = line
        __signature__ = "none"

        def __call__(self) -> None:
            pass

    return Documented()


def test_a_signature_is_the_functions_own() -> None:
    assert str(signature_of(plain)) == "(a, b, /, c, *rest, d, e=1, **more)"
    assert str(signature_of(int.bit_length)) == "(self, /)"


@pytest.mark.parametrize(
    ("line", "signature"),
    [
        ("f(a, b)\n\nText.", "(a, b)"), ("mod.f(a, /, b=1, *, c=None) -> int", "(a, /, b=None, *, c=None)"),
        ("f(*args, **kw)", "(*args, **kw)"), ("f()", "()"),
    ],
)  # fmt: skip
def test_a_signature_is_read_from_the_docstring(line: str, signature: str) -> None:
    found = signature_of(documented(line))
    assert isinstance(found, inspect.Signature) and str(found) == signature


@pytest.mark.parametrize("line", ["", "Text.", "f(a, [b])", "f(a", "f(x, x)", "f(import os)", "f(a=1, b)", "(" * 300])
def test_a_docstring_that_is_no_signature_tells_none(line: str) -> None:
    assert signature_of(documented(line)) is None


def test_a_signature_that_lies_tells_none() -> None:
    assert signature_of(Lying()) is None


def test_arguments_are_packed_only_where_one_list_binds() -> None:
    assert binds_as_one_list(lambda a: None, [1, 2])
    assert not binds_as_one_list(lambda a, b: None, [1, 2])
    assert not binds_as_one_list(lambda *a: None, [1, 2])
    assert not binds_as_one_list(lambda a, b, c: None, [1, 2])
    assert not binds_as_one_list(Lying(), [1, 2])


@pytest.mark.parametrize(
    ("module", "signatures"),
    [
        ("orc_unit_lazy_names", {"eager": "() -> None", "lazy": "(x)"}),
        ("orc_unit_lazy", {"lazy": "(x)", "plain": "(x: int) -> int", "LIMIT": "None"}),
    ],
)
def test_names_that_a_module_makes_are_described_and_read_once(
    module: str, signatures: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "guests"))
    names = names_of(module)
    assert {path: str(signature_of(value)) for path, value in names.walk()} == signatures
    assert getattr(names.module, "made", ["lazy"]) == ["lazy"]
    assert names.resolve("lazy")(5) == 5
    error = refusal(names, "gone")
    assert error["reason"] == "FUNCTION_NOT_FOUND" and "mean gone" not in error["message"]


def test_a_class_of_the_modules_own_has_what_it_inherits(shop: Any) -> None:
    import threading

    class Worker(threading.Thread):
        forbidden = staticmethod(system)

    for kind in (Worker, type("Grandchild", (Worker,), {})):
        kind.__module__ = shop.name
    shop.module.Worker, shop.module.Grandchild = Worker, Worker.__subclasses__()[0]
    assert shop.resolve("Worker.start") is threading.Thread.start is shop.resolve("Grandchild.start")
    for path in ("Worker.forbidden", "Grandchild.forbidden"):
        assert refusal(shop, path)["reason"] == "NAME_NOT_EXPOSED"
