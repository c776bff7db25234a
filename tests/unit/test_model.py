"""Names and specs of modules: what is legal, what is told of the rest, and which distribution provides a module."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from jac_orc.errors import OrcError
from jac_orc.pod_manager.distributions import guess
from jac_orc.pod_manager.model import (
    Autoscaling,
    Module,
    ModulePhase,
    ModuleSpec,
    Pod,
    PodPhase,
    Resources,
    check_name,
    spec_from_document,
)


@pytest.mark.parametrize("name", ["math", "sklearn.linear_model", "PIL", "a_b.C_d.e1", "x" * 200, "match", "type"])
def test_import_names_are_legal(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name",
    ["", " ", ".", "a.", ".a", "a..b", "../../x", "a/b", "a-b", "1a", "a b", "for", "a.None", "é", "a\n", "a\0", "a:b",
     "x" * 201, "x" * 10_000, "a." * 5_000, "\ud800", "numpy;rm", "${x}", "A" * 190 + ".import"],
)  # fmt: skip
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(OrcError) as caught:
        check_name(name)
    assert caught.value.reason == "MODULE_NAME_INVALID"
    assert len(caught.value.message) < 1000


@pytest.mark.parametrize("name", ["_thread", "a._b", "__main__", "json.__init__"])
def test_private_names_are_refused(name: str) -> None:
    with pytest.raises(OrcError) as caught:
        check_name(name)
    assert caught.value.reason == "NAME_NOT_EXPOSED"


@pytest.mark.parametrize(
    ("name", "advice"),
    [("naïve", "within ASCII"), ("модуль", "within ASCII"), ("shop.größe", "within ASCII"), ("a-b", "`import`"),
     ("for", "`import`"), ("größe.for", "`import`"), ("_x", "underscore")],
)  # fmt: skip
def test_a_name_that_is_refused_comes_with_advice(name: str, advice: str) -> None:
    with pytest.raises(OrcError, match=advice):
        check_name(name)


def test_pods_of_one_revision_are_alike() -> None:
    spec = ModuleSpec("math", env={"A": "1", "B": "2"})
    free: dict[str, Any] = {"replicas": 5, "labels": {"a": "b"}, "autoscaling": Autoscaling(1, 5, 80)}
    same = dataclasses.replace(spec, env={"B": "2", "A": "1"}, **free)
    assert spec.revision() == same.revision() and spec.differing_fields(same) == list(free)
    changes: list[dict[str, Any]] = [
        {"requirements": ("a",)}, {"env": {}}, {"workers": 2}, {"max_concurrency": 1}, {"queue": 1}, {"timeout": 1.0},
        {"python_version": "3.12"}, {"module_name": "cmath"},
    ]  # fmt: skip
    revisions = {dataclasses.replace(spec, **change).revision() for change in changes}
    assert len(revisions | {spec.revision()}) == len(changes) + 1
    for change in changes:
        assert spec.differing_fields(dataclasses.replace(spec, **change)) == list(change)


def test_a_module_is_settled_when_all_is_as_its_spec_says() -> None:
    ready, leaving = Pod("p0", PodPhase.READY, "", 0, 1), Pod("p1", PodPhase.DRAINING, "10.0.0.1:50051", 0, 1)
    module = Module(ModuleSpec("math"), "u", 1, 0.0, 0.0, ModulePhase.READY, (ready,), observed_generation=1)
    assert module.settled
    assert not dataclasses.replace(module, pods=(ready, leaving)).settled
    assert dataclasses.replace(module, pods=(ready, dataclasses.replace(leaving, address=""))).settled
    assert not dataclasses.replace(module, generation=2).settled
    assert not dataclasses.replace(module, spec=ModuleSpec("math", replicas=2)).settled
    assert dataclasses.replace(module, pods=(), spec=ModuleSpec("math", replicas=0)).settled


@pytest.mark.parametrize(
    ("module", "requirement"),
    [
        ("math", ""), ("xml.etree.ElementTree", ""), ("numpy", "numpy"), ("numpy.linalg", "numpy"),
        ("PIL", "pillow"), ("PIL.Image", "pillow"), ("sklearn.linear_model", "scikit-learn"),
        ("google.protobuf.json_format", "protobuf"), ("yaml", "pyyaml"), ("bs4", "beautifulsoup4"),
    ],
)  # fmt: skip
def test_a_module_has_the_distribution_that_provides_it(module: str, requirement: str) -> None:
    assert guess(module).requirement == requirement


def test_a_spec_is_read_from_the_document_made_of_it() -> None:
    spec = ModuleSpec(
        "math", requirements=("a",), resources=Resources("1"), secrets=("b",), env={"A": "1"},
        autoscaling=Autoscaling(1, 5, 80),
    )  # fmt: skip
    assert spec_from_document(json.loads(json.dumps(dataclasses.asdict(spec)))) == spec
    assert spec_from_document({"module_name": "math"}) == ModuleSpec("math")


@pytest.mark.parametrize(("replicas", "kept"), [(0, 2), (1, 2), (2, 2), (3, 3), (4, 4), (5, 4)])
def test_an_autoscaled_module_is_within_its_bounds(replicas: int, kept: int) -> None:
    spec = ModuleSpec("math", replicas=9)
    assert dataclasses.replace(spec, autoscaling=Autoscaling(2, 4, 80)).scaled_to(replicas).replicas == kept
    assert spec.scaled_to(replicas).replicas == replicas


def test_what_an_autoscaler_has_chosen_is_no_difference() -> None:
    one = ModuleSpec("math", replicas=1, autoscaling=Autoscaling(1, 5, 80))
    assert one.differing_fields(dataclasses.replace(one, replicas=4)) == []
    assert one.differing_fields(dataclasses.replace(one, replicas=4, workers=2)) == ["workers"]
    assert one.differing_fields(dataclasses.replace(one, autoscaling=Autoscaling(2, 5, 80))) == ["autoscaling"]
    without = ModuleSpec("math", replicas=4)
    assert one.differing_fields(without) == without.differing_fields(one) == ["replicas", "autoscaling"]
