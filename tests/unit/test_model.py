"""Names and specs of modules: what is legal, what is told of the rest, and which distribution provides a module."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any

import pytest

from jac_orc.errors import OrcError
from jac_orc.pod_manager.distributions import default_requirements
from jac_orc.pod_manager.model import (
    MAX_ENTRIES,
    Autoscaling,
    Module,
    ModulePhase,
    ModuleSpec,
    Pod,
    PodPhase,
    Resources,
    check_name,
    spec_from_document,
    violations,
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


def test_a_plain_spec_has_no_fault() -> None:
    assert violations(ModuleSpec("math")) == []


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"replicas": -1}, ["replicas"]), ({"replicas": 1001}, ["replicas"]), ({"replicas": 0}, []),
        ({"workers": 0}, ["workers"]), ({"workers": 129}, ["workers"]), ({"max_concurrency": 0}, ["max_concurrency"]),
        ({"queue": -1}, ["queue"]), ({"queue": 0}, []), ({"timeout": 0.0}, ["timeout"]),
        ({"timeout": -1.0}, ["timeout"]),
        ({"timeout": 86_400.0}, []), ({"timeout": 86_401.0}, ["timeout"]), ({"timeout": float("nan")}, ["timeout"]),
        ({"timeout": float("inf")}, ["timeout"]), ({"python_version": "3.12"}, []), ({"python_version": "3.12.1"}, []),
        ({"python_version": "2.7"}, ["python_version"]), ({"python_version": "3"}, ["python_version"]),
        ({"python_version": "3.12\n"}, ["python_version"]), ({"python_version": "/bin/sh"}, ["python_version"]),
        ({"env": {"A_1": "x=y\n"}}, []), ({"env": {"": "x"}}, ["env"]), ({"env": {"A=B": "x"}}, ["env"]),
        ({"env": {"1A": "x"}}, ["env"]), ({"env": {"A": "\0"}}, ["env"]), ({"env": {"A\n": "x"}}, ["env"]),
        ({"requirements": ("numpy>=2,<3", "pillow[x]; python_version>'3'", "a @ https://example.com/a.whl")}, []),
        ({"requirements": ("--index-url=http://x",)}, ["requirements"]),
        ({"requirements": ("-r x",)}, ["requirements"]),
        ({"requirements": ("",)}, ["requirements"]), ({"requirements": ("numpy==",)}, ["requirements"]),
        ({"requirements": ("numpy\n--pre",)}, ["requirements"]), ({"requirements": ("./local",)}, ["requirements"]),
        ({"requirements": ("a @ file:///etc/passwd",)}, ["requirements"]),
        ({"requirements": ("a @ http://example.com/a.whl",)}, ["requirements"]),
        ({"requirements": ("a @ git+ssh://x/y",)}, ["requirements"]),
        ({"requirements": ("a @ git+https://example.com/y",)}, []),
        ({"replicas": -1, "queue": -1, "requirements": ("=", "!")},
         ["requirements", "requirements", "replicas", "queue"]),
    ],
    ids=str,
)  # fmt: skip
def test_each_fault_is_told(changes: dict[str, Any], fields: list[str]) -> None:
    found = violations(dataclasses.replace(ModuleSpec("math"), **changes))
    assert [field for field, _ in found] == fields
    assert all(text for _, text in found)


@pytest.mark.parametrize(
    "text", ["a" * 5000 + " b", "a; " + "x" * 5000, "a; " + "(" * 100_000, "a --hash=" + "x" * 5000]
)
def test_a_long_faulty_requirement_is_told_short(text: str) -> None:
    ((_, told),) = violations(ModuleSpec("math", requirements=(text,)))
    assert len(told) < 400


@pytest.mark.parametrize("field", ["requirements", "constraints", "env", "labels"])
def test_no_list_is_longer_than_the_limit(field: str) -> None:
    def spec(count: int) -> ModuleSpec:
        names = [f"a{number}" for number in range(count)]
        given: Any = dict.fromkeys(names, "") if field in ("env", "labels") else names
        return ModuleSpec("math", **{field: given})

    assert violations(spec(MAX_ENTRIES)) == []
    assert violations(spec(MAX_ENTRIES + 1)) == [(field, "has 1,001 entries, of at most 1,000")]


def test_the_entries_of_a_list_that_is_too_long_are_not_looked_at() -> None:
    spec = ModuleSpec("math", requirements=("a; python_version > '3'",) * 300_000, constraints=("=",) * 300_000)
    begin = time.perf_counter()
    assert [field for field, _ in violations(spec)] == ["requirements", "constraints"]
    assert time.perf_counter() - begin < 0.5


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
    ready, leaving = Pod("p0", PodPhase.READY, "", 0, 1), Pod("p1", PodPhase.DRAINING, "", 0, 1)
    module = Module(ModuleSpec("math"), "u", 1, 0.0, 0.0, ModulePhase.READY, (ready,), observed_generation=1)
    assert module.settled
    assert not dataclasses.replace(module, pods=(ready, leaving)).settled
    assert not dataclasses.replace(module, generation=2).settled
    assert not dataclasses.replace(module, spec=ModuleSpec("math", replicas=2)).settled
    assert dataclasses.replace(module, pods=(), spec=ModuleSpec("math", replicas=0)).settled


@pytest.mark.parametrize(
    ("module", "requirements"),
    [
        ("math", ()), ("xml.etree.ElementTree", ()), ("numpy", ("numpy",)), ("numpy.linalg", ("numpy",)),
        ("PIL", ("pillow",)), ("PIL.Image", ("pillow",)), ("sklearn.linear_model", ("scikit-learn",)),
        ("google.protobuf.json_format", ("protobuf",)), ("yaml", ("pyyaml",)), ("bs4", ("beautifulsoup4",)),
    ],
)  # fmt: skip
def test_a_module_has_the_distribution_that_provides_it(module: str, requirements: tuple[str, ...]) -> None:
    assert default_requirements(module) == requirements


@pytest.mark.parametrize(
    ("field", "fields"),
    [("resources.cpu", {"resources": Resources(cpu=text)}) for text in ("0", "0m", "-1", "1.5.2", "1Gi", "a lot", "1 ")]
    + [
        ("resources.memory", {"resources": Resources(memory=text)})
        for text in ("0", "0Mi", "512mb", "-1Gi", "1e9", " 1", "512", "0.01Gi", "23.9Mi", "24M", "20000k")
    ]
    + [
        ("resources.gpu", {"resources": Resources(gpu=-1)}),
        ("resources.gpu", {"resources": Resources(gpu=5000)}),
        ("secrets", {"secrets": ("Keys",)}),
        ("secrets", {"secrets": ("../keys",)}),
        ("secrets", {"secrets": ("keys", "jac-orc-api-keys")}),
        ("image", {"image": "Shop"}),
        ("image", {"image": "shop:"}),
        ("image", {"image": "a b"}),
        ("image", {"image": "-shop"}),
        ("image", {"image": "a" * 501}),
        ("requirements", {"image": "shop:1", "requirements": ("a",)}),
        ("labels", {"labels": {"team": "a b"}}),
        ("labels", {"labels": {"": "a"}}),
        ("labels", {"labels": {"app.kubernetes.io/name": "mine"}}),
        ("labels", {"labels": {"jac-orc.dev/revision": "mine"}}),
        ("labels", {"labels": {"team": "a" * 64}}),
    ],
)
def test_what_no_cluster_takes_is_a_fault_everywhere(field: str, fields: dict[str, Any]) -> None:
    assert [name for name, _ in violations(ModuleSpec("math", **fields))] == [field]


@pytest.mark.parametrize(
    "fields",
    [
        {"resources": Resources("500m", "512Mi", 1)},
        {"resources": Resources("2", "2G")},
        {"resources": Resources("0.001", "24Mi")},
        {"resources": Resources("0.5", "1.5Gi")},
        {"secrets": ("keys", "team.keys-2")},
        {"image": "shop"},
        {"image": "registry.example:5000/team/shop:1.0_a"},
        {"image": f"registry.example/shop@sha256:{'0f' * 32}"},
        {"labels": {"team": "a", "example.com/cost-centre": "4711", "empty": ""}},
    ],
)
def test_what_clusters_take_is_no_fault(fields: dict[str, Any]) -> None:
    assert violations(ModuleSpec("math", **fields)) == []


def test_a_spec_is_read_from_the_document_made_of_it() -> None:
    spec = ModuleSpec(
        "math", requirements=("a",), resources=Resources("1"), secrets=("b",), env={"A": "1"},
        autoscaling=Autoscaling(1, 5, 80),
    )  # fmt: skip
    assert spec_from_document(json.loads(json.dumps(dataclasses.asdict(spec)))) == spec
    assert spec_from_document({"module_name": "math"}) == ModuleSpec("math")


@pytest.mark.parametrize(
    ("autoscaling", "faults"),
    [
        (Autoscaling(1, 1, 1), []),
        (Autoscaling(1000, 1000, 1000), []),
        (Autoscaling(0, 1, 80), ["min_replicas"]),
        (Autoscaling(-1, 1, 80), ["min_replicas"]),
        (Autoscaling(1, 0, 80), ["max_replicas"]),
        (Autoscaling(1, 1001, 80), ["max_replicas"]),
        (Autoscaling(1001, 1, 80), ["min_replicas"]),
        (Autoscaling(3, 2, 80), ["min_replicas"]),
        (Autoscaling(1, 2, 0), ["target_cpu"]),
        (Autoscaling(1, 2, 1001), ["target_cpu"]),
        (Autoscaling(0, -1, -1), ["min_replicas", "max_replicas", "target_cpu"]),
    ],
    ids=str,
)
def test_autoscaling_has_bounds_and_a_target(autoscaling: Autoscaling, faults: list[str]) -> None:
    found = [name for name, _ in violations(ModuleSpec("math", autoscaling=autoscaling))]
    assert found == [f"autoscaling.{name}" for name in faults]


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


@pytest.mark.parametrize(
    "text", ["a @ https://h/${HOME}.whl", "lib.whl", "foo.tar.gz", "foo[x].whl", "foo.ZIP", "shop-1-py3-none-any.whl"]
)
def test_requirements_reach_neither_variables_nor_files(text: str) -> None:
    assert [name for name, _ in violations(ModuleSpec("math", requirements=(text,)))] == ["requirements"]
