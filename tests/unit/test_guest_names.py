"""Which names the guest resolves (contract: What is exposed), and what it knows of a function's parameters."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jac_orc.guest.binding import binds_as_one_list, signature_of
from jac_orc.guest.failures import Refusal
from jac_orc.guest.names import Names
from jac_orc.pod_manager.policy import REFUSED

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
    yield Names("orc_unit_shop", importlib.import_module("orc_unit_shop"), sorted(REFUSED))
    sys.path.remove(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "orc_unit_shop"]:
        del sys.modules[name]


def names_of(module: str) -> Any:
    return Names(module, importlib.import_module(module), sorted(REFUSED))


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
     ("json", "loads"), ("xml.etree", "ElementTree.fromstring"), ("email", "utils"), ("bisect", "bisect_left")],
)  # fmt: skip
def test_the_standard_library_is_there(module: str, path: str) -> None:
    assert names_of(module).resolve(path) is not None


def test_an_allowed_module_hands_out_its_own_names() -> None:
    assert names_of("glob").resolve("escape")("*") == "[*]"


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
