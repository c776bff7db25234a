"""JSON arguments become what annotations say, each for itself."""

from __future__ import annotations

import collections
import sys
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from jac_orc.guest.binding import Parameters
from jac_orc.guest.failures import Refusal

NEW_YEAR = date(2026, 1, 1)


@pytest.fixture(scope="module")
def module() -> Iterator[Any]:
    folder = str(Path(__file__).parents[1] / "guests")
    sys.path.insert(0, folder)
    try:
        import orc_unit_annotated  # type: ignore[import-not-found]

        yield orc_unit_annotated
    finally:
        sys.path.remove(folder)


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
