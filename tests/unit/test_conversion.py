"""JSON arguments become what annotations say, each for itself."""

from __future__ import annotations

import collections
import functools
import gc
import importlib
import re
import sys
import types
import weakref
import zoneinfo
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from jac_orc.guest.binding import Parameters, positional_only
from jac_orc.guest.failures import Refusal

NEW_YEAR = date(2026, 1, 1)


def _imported(name: str) -> Iterator[Any]:
    folder = str(Path(__file__).parents[1] / "guests")
    sys.path.insert(0, folder)
    try:
        yield importlib.import_module(name)
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def module() -> Iterator[Any]:
    yield from _imported("orc_unit_annotated")


@pytest.fixture(scope="module")
def generics() -> Iterator[Any]:
    yield from _imported("orc_unit_generics")


def converted(function: Any, value: Any) -> Any:
    ((made,), _) = Parameters().fitted(function, [value], {})
    return made


@pytest.mark.parametrize(
    ("name", "given", "made"),
    [
        ("number", 1, 1.0), ("number", True, True), ("number", "NaN text", "NaN text"),
        ("number", "Infinity", float("inf")),
        ("numbers", [1, 2.5, "-Infinity"], [1.0, 2.5, float("-inf")]), ("whole", 3.0, 3), ("whole", 3.5, 3.5),
        ("wholes", [1, 2.0], [1, 2]), ("maybe", 1, 1.0), ("maybe", None, None), ("either", 1, 1), ("either", 1.0, 1.0),
        ("text_or_float", "NaN", "NaN"), ("text_or_float", 2, 2), ("final", "2026-01-01", NEW_YEAR),
        ("day", "2026-01-01", NEW_YEAR), ("bound", "2026-01-01", NEW_YEAR),
        ("mapped", {"5": "2026-01-01"}, {5: NEW_YEAR}), ("counted", {"a": 2}, collections.Counter(a=2)),
        ("ordered", {"a": "2026-01-01"}, collections.OrderedDict(a=NEW_YEAR)),
        ("tree", {"on": "2026-01-01", "left": {"on": "2026-01-01"}}, {"on": NEW_YEAR, "left": {"on": NEW_YEAR}}),
        ("price", "0.1", Decimal("0.1")),
    ],
)  # fmt: skip
def test_values(module: Any, name: str, given: Any, made: Any) -> None:
    found = converted(getattr(module, name), given)
    assert (found, type(found)) == (made, type(made))
    for part, wanted in zip(found, made, strict=True) if isinstance(made, list) else ():
        assert type(part) is type(wanted)


def test_classes(module: Any) -> None:
    point = module.Point(1.0, 2.0)
    for name in ("optional", "listed"):
        given = {"x": 1, "y": 2}
        found = converted(getattr(module, name), given if name == "optional" else [given])
        assert found == (point if name == "optional" else [point])
    assert converted(module.optional, None) is None
    scaled = converted(module.scaled, {"x": 2.0, "factor": 3, "on": "2026-01-01"})
    assert (scaled.x, scaled.on) == (6, NEW_YEAR)
    assert converted(module.pair, [{"x": 1, "y": 2}, 3]) == (point, 3.0)
    assert converted(module.default, {"a": []})["b"] == []
    for kind in (module.Child, module.Made):
        assert converted(kind, "2026-01-01") == NEW_YEAR
    assert type(Parameters().fitted(module.Child, ["2026-01-01"], {"weight": 2})[1]["weight"]) is float


def test_an_annotation_that_cannot_be_evaluated_harms_no_other(module: Any) -> None:
    args, _ = Parameters().fitted(module.missing, ["thing", "2026-01-01", "more"], {})
    assert args == ["thing", NEW_YEAR, "more"]
    with pytest.raises(Refusal, match="argument on"):
        Parameters().fitted(module.missing, ["thing", "no date"], {})


DAY = "2026-01-01"


def test_methods_may_name_what_is_in_their_class(module: Any) -> None:
    nest, egg = module.Nest(), module.Nest.Egg(NEW_YEAR)
    assert converted(nest.put, {"laid": DAY}) == egg
    assert converted(nest.many, [{"laid": DAY}, None]) == [egg, None]
    assert converted(nest.at, DAY) == NEW_YEAR
    assert converted(nest.weigh, "1.50") == Decimal("1.50"), "the module's names come first"


def test_generics_and_names_for_types(generics: Any) -> None:
    for name, given, made in (
        ("box", {"item": DAY}, generics.Box(NEW_YEAR)),
        ("boxes", {"item": {"item": DAY}}, generics.Box(generics.Box(NEW_YEAR))),
        ("boxes", {"item": {"item": None}}, generics.Box(generics.Box(None))),
        ("dated", {"item": DAY, "note": "a"}, generics.Dated(NEW_YEAR, "a")),
        ("DateShelf", DAY, NEW_YEAR), ("Open", DAY, NEW_YEAR), ("WithMeta", DAY, NEW_YEAR),
        ("first", [DAY], generics.First(NEW_YEAR)),
        ("film", {"on": DAY, "to": DAY, "seen": DAY}, {"on": NEW_YEAR, "to": NEW_YEAR, "seen": NEW_YEAR}),
        ("node", {"on": DAY, "next": {"on": DAY}}, generics.Node(NEW_YEAR, generics.Node(NEW_YEAR))),
        ("nested", [DAY, [[DAY]]], [NEW_YEAR, [[NEW_YEAR]]]), ("tree", [DAY, [[DAY]]], [NEW_YEAR, [[NEW_YEAR]]]),
        ("many", [DAY], [NEW_YEAR]), ("defaulted", DAY, NEW_YEAR),
        ("implicit", None, None), ("implicit", DAY, NEW_YEAR),
    ):  # fmt: skip
        assert converted(getattr(generics, name), given) == made, name
    assert converted(generics.DateShelf(NEW_YEAR).put, DAY) == NEW_YEAR
    assert Parameters().fitted(generics.unpacked, [], {"on": DAY}) == ([], {"on": NEW_YEAR})
    assert Parameters().fitted(generics.several, [DAY, 1], {})[0] == [NEW_YEAR, 1.0]
    assert Parameters().fitted(generics.days, [DAY, DAY], {"a": DAY}) == ([NEW_YEAR, NEW_YEAR], {"a": NEW_YEAR})


def test_methods_and_what_wraps_a_function(generics: Any) -> None:
    methods = generics.Methods()
    for target in (methods.one, methods.part, methods.of_class, methods.alone, methods.cached, methods):
        assert converted(target, DAY) == NEW_YEAR


def test_unions_take_what_fits(generics: Any) -> None:
    given: Any
    for name, given, made in (
        ("which_list", [1.0], [1]), ("which_list", [DAY], [NEW_YEAR]), ("list_or_date", DAY, NEW_YEAR),
        ("list_or_date", [DAY], [NEW_YEAR]), ("texts_or_dates", [DAY], [DAY]),
        ("which_class", {"on": DAY}, generics.Node(NEW_YEAR)), ("which_class", {"name": "a"}, generics.Other("a")),
        ("list_or_dict", {"a": {"name": "b"}}, {"a": generics.Other("b")}), ("date_or_int", 5, 5),
        ("literal", "r", generics.Colour.RED), ("literal", "YQ==", b"a"), ("literal", 1.0, 1), ("literal", None, None),
        ("plain_literal", "no such", "no such"),
    ):  # fmt: skip
        assert converted(getattr(generics, name), given) == made, name
    wrong: list[tuple[str, Any]] = [
        ("date_or_int", "x"), ("literal", "x"), ("which_class", {"age": 1}), ("list_or_date", {}),
    ]  # fmt: skip
    for name, given in wrong:
        with pytest.raises(Refusal, match="argument x"):
            converted(getattr(generics, name), given)


def test_enums_keys_and_containers(generics: Any) -> None:
    for name, given, made in (
        ("colour", DAY, generics.Colour.FIRST), ("colour", "RED", generics.Colour.RED),
        ("levels", {"1": "a"}, {generics.Level.LOW: "a"}), ("maybe_keys", {"1": "a", "null": "b"}, {1: "a", None: "b"}),
        ("flags", {"true": DAY}, {True: NEW_YEAR}), ("pairs", [[[1, 2], DAY]], {(1, 2): NEW_YEAR}),
        ("reversible", [DAY], [NEW_YEAR]), ("contained", [DAY], [NEW_YEAR]),
        ("default", {"a": [DAY]}, {"a": [NEW_YEAR]}), ("chained", {"a": DAY}, collections.ChainMap({"a": NEW_YEAR})),
        ("proxied", {"a": DAY}, types.MappingProxyType({"a": NEW_YEAR})), ("words", {"a": 1}, collections.Counter("a")),
        ("namespace", {"a": 1}, types.SimpleNamespace(a=1)), ("own_list", [DAY], generics.Days([NEW_YEAR])),
        ("own_dict", {"a": {"name": "b"}}, generics.ByName(a=generics.Other("b"))),
        ("own_ordered", {"a": DAY}, generics.Register(a=NEW_YEAR)), ("own_text", "a", generics.Name("a")),
        ("own_number", "0.10", generics.Cents("0.10")), ("own_maker", "a", "a"),
        ("dispatched", DAY, NEW_YEAR), ("dispatched", 1, 1), ("dispatched", "text", "text"), ("dispatched", [1], [1]),
        ("zone", "Europe/Berlin", zoneinfo.ZoneInfo("Europe/Berlin")),
        ("any_zone", "UTC", zoneinfo.ZoneInfo("UTC")), ("pattern", "a+", re.compile("a+")), ("path", "a", Path("a")),
    ):  # fmt: skip
        found = converted(getattr(generics, name), given)
        assert (found, type(found)) == (made, type(made) if name != "default" else collections.defaultdict), name
    assert next(converted(generics.iterated, [DAY])) == NEW_YEAR
    assert converted(generics.default, {})["new"] == []
    with pytest.raises(Refusal, match="has a key 'x'"):
        converted(generics.levels, {"x": "a"})


def test_attrs_and_models(generics: Any) -> None:
    loan = converted(generics.loan, {"on": DAY, "days": "5", "until": DAY})
    assert loan == generics.Loan(NEW_YEAR, 5, NEW_YEAR)
    assert converted(generics.model, {"day": DAY}).on == NEW_YEAR
    assert converted(generics.root, [DAY]).root == [NEW_YEAR]
    with pytest.raises(Refusal, match=r"argument x.*validation error"):
        converted(generics.model, {"day": "x"})


@pytest.mark.parametrize("text", ["1e999999999", "1e-999999999", "1E100001", "1e" + "9" * 5000])
def test_a_fraction_of_endless_digits_is_refused(generics: Any, text: str) -> None:
    with pytest.raises(Refusal, match="exponent beyond"):
        converted(generics.fraction, text)


def test_annotations_are_evaluated_once(generics: Any) -> None:
    generics.evaluations.clear()
    counted = generics.Counted()
    for target in (generics.counting, functools.partial(generics.counting), counted, counted.method):
        parameters = Parameters()
        before = len(generics.evaluations)
        for _ in range(3):
            assert parameters.fitted(target, [DAY], {}) == ([NEW_YEAR], {})
        assert len(generics.evaluations) == before + 1, target


def test_a_method_is_of_its_class(generics: Any) -> None:
    parameters = Parameters()
    for kind, made in ((generics.DateShelf, NEW_YEAR), (generics.Shelf, DAY), (generics.DateShelf, NEW_YEAR)):
        assert parameters.fitted(kind(None).put, [DAY], {})[0] == [made]


def test_an_object_is_not_kept_for_what_is_known_of_it(generics: Any) -> None:
    parameters, counted = Parameters(), generics.Counted()
    assert parameters.fitted(counted, [DAY], {})[0] == [NEW_YEAR]
    alive = weakref.ref(counted)
    del counted
    gc.collect()
    assert alive() is None


def test_a_gap_between_positional_only_parameters_has_the_defaults(generics: Any) -> None:
    assert positional_only(generics.gaps, {"c": 3}) == (["a", None, 3], {})
    assert positional_only(generics.gaps, {"b": 2, "d": 4}) == (["a", 2], {"d": 4})
    assert positional_only(generics.gaps, {}) == ([], {})
    assert positional_only(generics.needs, {"b": 2}) == ([], {"b": 2})


def test_a_callable_that_lies_about_itself_is_called_all_the_same(generics: Any) -> None:
    for target in (generics.Lying(), generics.in_a_circle, generics.Everything()):
        assert Parameters().fitted(target, [DAY], {}) == ([DAY], {})
