"""Names and records of modules on Kubernetes."""

from __future__ import annotations

import hashlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jac_orc.pod_manager.backends.kube import builders, objects
from jac_orc.pod_manager.backends.kube.objects import Record
from jac_orc.pod_manager.backends.kube.pods import Cluster, Runtime
from jac_orc.pod_manager.model import Autoscaling, ModuleSpec
from jac_orc.pod_manager.settings import Settings
from jac_orc.pod_manager.sources import SourceRef

CLUSTER = Cluster("jac-orc", "jac-cloud-orc:1", settings=Settings(store_claim="store"))
SEGMENTS = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,60}", fullmatch=True)
NAMES = st.lists(SEGMENTS, min_size=1, max_size=4).map(".".join)


@given(NAMES)
def test_names_are_dns_labels_with_room_for_what_is_made_of_them(name: str) -> None:
    made = objects.object_name(name)
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", made)
    assert len(made) <= 46


@given(NAMES, NAMES)
def test_two_modules_never_share_a_name(one: str, other: str) -> None:
    assert (objects.object_name(one) == objects.object_name(other)) == (one == other)


def test_names_that_look_alike_differ() -> None:
    alike = ["a.b", "a_b", "A.b", "a.B", "a__b", "ab", "a.b_", "PIL", "pil", "x" * 200, "x" * 199]
    assert len({objects.object_name(name) for name in alike}) == len(alike)


def test_no_module_takes_a_name_of_the_systems_own() -> None:
    for name in ("jac_orc_pod_manager", "jac.orc.gateway", "jac_orc_gateway"):
        assert objects.object_name(name) not in ("jac-orc-pod-manager", "jac-orc-gateway")


def test_a_record_is_read_as_it_was_written() -> None:
    spec = ModuleSpec(
        "shop",
        requirements=("a",),
        constraints=("b<1",),
        env={"A": "ä"},
        source=SourceRef("sha256:" + "0" * 64, "s.zip"),
    )
    record = Record.first(spec).changed(ModuleSpec("shop")).changed(spec)
    deployment = objects.deployment(CLUSTER, record, Runtime())
    assert objects.record_of(deployment) == record
    assert record.generation == 3
    assert record.revisions == {spec.revision(labelled=True): 1, ModuleSpec("shop").revision(labelled=True): 2}


def autoscaled(least: int, most: int, replicas: int = 1) -> ModuleSpec:
    return ModuleSpec("shop", replicas=replicas, autoscaling=Autoscaling(least, most, 80))


def test_a_record_tells_when_its_autoscaling_was_changed() -> None:
    record = Record.first(autoscaled(1, 5))
    generations = []
    for spec in (autoscaled(1, 5, 3), autoscaled(2, 5), autoscaled(2, 5), ModuleSpec("shop"), ModuleSpec("shop")):
        record = record.changed(spec)
        generations.append(record.autoscaling_since)
    assert generations == [0, 3, 3, 5, 5]
    assert objects.record_of(objects.deployment(CLUSTER, record, Runtime())) == record


@pytest.mark.parametrize(("present", "kept"), [(1, 2), (2, 2), (3, 3), (4, 4), (9, 4)])
def test_an_update_keeps_what_an_autoscaler_has_chosen(present: int, kept: int) -> None:
    deployment = objects.deployment(CLUSTER, Record.first(autoscaled(1, 9, present)), Runtime())
    record = Record.first(autoscaled(1, 9)).changed(autoscaled(2, 4))
    made = objects.deployment(CLUSTER, record.as_scaled(deployment), Runtime())
    assert made["spec"]["replicas"] == kept
    plain = Record.first(ModuleSpec("shop", replicas=7))
    assert plain.as_scaled(deployment) == plain


def test_a_module_that_is_new_begins_with_its_own_number() -> None:
    record = Record.first(autoscaled(1, 5, 3))
    assert record.as_scaled(objects.claim(CLUSTER, record)) == record


def test_a_record_that_was_damaged_is_none() -> None:
    deployment = objects.deployment(CLUSTER, Record.first(ModuleSpec("math")), Runtime())
    for text in ("", "{", "[]", "null", '{"spec": {}}', '{"spec": {"module_name": "math"}}', '{"spec": []}'):
        deployment["metadata"]["annotations"][objects.RECORD] = text
        assert objects.record_of(deployment) is None
    del deployment["metadata"]["annotations"][objects.RECORD]
    assert objects.record_of(deployment) is None


def test_a_record_of_a_newer_version_is_read_as_far_as_it_is_known() -> None:
    record = Record.first(ModuleSpec("math", replicas=2))
    deployment = objects.deployment(CLUSTER, record, Runtime())
    document = json.loads(record.text())
    newer = {**document, "new": 1, "spec": {**document["spec"], "newer": {"a": 1}}}
    deployment["metadata"]["annotations"][objects.RECORD] = json.dumps(newer)
    assert objects.record_of(deployment) == record


def test_a_claim_sets_nothing_that_the_whole_doesnt_set_too() -> None:
    """Not even after a later change, or it would stay there."""
    record = Record.first(ModuleSpec("math", env={"A": "1"}, labels={"team": "a"}, annotations={"owner": "b"}))
    claim = objects.claim(CLUSTER, record)
    whole = objects.deployment(CLUSTER, record.changed(ModuleSpec("math")), Runtime("e"))

    def paths(document: object, at: str = "") -> set[str]:
        if isinstance(document, dict):
            return {path for key, value in document.items() for path in paths(value, f"{at}/{key}")}
        if isinstance(document, list):
            return {path for number, value in enumerate(document) for path in paths(value, f"{at}/{number}")}
        return {at}

    assert paths(claim) <= paths(whole)


def test_values_of_variables_are_taken_as_they_are() -> None:
    deployment = objects.deployment(CLUSTER, Record.first(ModuleSpec("math", env={"A": "$(PORT) $$ $"})), Runtime())
    variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    found = next(each["value"] for each in variables if each["name"] == "MODULE_ENV_A")
    assert found == "$$(PORT) $$$$ $$"


def test_builds_of_one_environment_share_a_name() -> None:
    spec = ModuleSpec("numpy", requirements=("numpy<3",))
    same = ModuleSpec("numpy.linalg", requirements=("numpy<3",), env={"A": "1"}, replicas=5)
    other = ModuleSpec("numpy", requirements=("numpy<2",))
    key = builders.builder_name(CLUSTER, spec)
    assert key == builders.builder_name(CLUSTER, same)
    assert key != builders.builder_name(CLUSTER, other)
    assert key != builders.builder_name(Cluster("jac-orc", "jac-cloud-orc:2"), spec)


def test_the_form_rises_with_each_change_of_what_belongs_to_a_module() -> None:
    made = json.dumps(objects.dependents(CLUSTER, autoscaled(1, 5), "uid"), sort_keys=True)
    advice = "raise objects.FORM, so that what older versions have made is changed too, then write the new digest here"
    assert hashlib.sha256(made.encode()).hexdigest()[:8] == "bd93afa8", advice


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({objects.FORM_ANNOTATION: str(objects.FORM)}, True), ({objects.FORM_ANNOTATION: "999"}, True),
        ({objects.FORM_ANNOTATION: "1"}, False), ({objects.FORM_ANNOTATION: "x"}, False), ({}, False), (None, False),
    ],
)  # fmt: skip
def test_only_an_older_form_is_out_of_date(annotations: dict[str, str] | None, expected: bool) -> None:
    assert objects.is_current({"metadata": {"annotations": annotations}}) is expected
    assert not objects.is_current(None)


@given(NAMES)
def test_everything_tells_the_import_name(name: str) -> None:
    labels, annotations = objects.identity(name)
    assert annotations == {objects.MODULE: name}
    assert labels.get(objects.MODULE, name) == name
    assert all(
        len(value) <= 63 and re.fullmatch(r"[A-Za-z0-9]([-\w.]*[A-Za-z0-9])?", value) for value in labels.values()
    )


@pytest.mark.parametrize("name", ["a_", "a." + "b" * 62])
def test_a_name_that_is_no_label_value_is_an_annotation_only(name: str) -> None:
    labels, annotations = objects.identity(name)
    assert objects.MODULE not in labels and annotations == {objects.MODULE: name}
