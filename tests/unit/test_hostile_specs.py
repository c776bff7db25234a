"""A hostile string in a spec is refused, naming its field, or stays data: in files, commands, logs and objects."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jac_orc.core import logs
from jac_orc.errors import OrcError
from jac_orc.pod_manager import convert
from jac_orc.pod_manager.backends.kube import builders, objects
from jac_orc.pod_manager.backends.kube.objects import Record
from jac_orc.pod_manager.backends.kube.pods import Cluster, Runtime
from jac_orc.pod_manager.model import ModuleSpec, Resources, Toleration, check_name, spec_from_document
from jac_orc.pod_manager.requirements import installer_file, parse
from jac_orc.pod_manager.settings import Settings
from jac_orc.pod_manager.spec_checks import violations

CLUSTER = Cluster("orc", "jac-cloud-orc:1", settings=Settings(store_claim="store"))
FIELDS: dict[str, tuple[Callable[[str], dict[str, Any]], str]] = {
    "requirements[0]": (lambda text: {"requirements": (text,)}, "numpy"),
    "constraints[0]": (lambda text: {"constraints": (text,)}, "numpy @ https://a.example/x.whl"),
    "env": (lambda text: {"env": {text: "x"}}, "NAME"),
    "env[NAME]": (lambda text: {"env": {"NAME": text}}, "value"),
    "labels": (lambda text: {"labels": {text: "x"}}, "example.com/team"),
    "labels[team]": (lambda text: {"labels": {"team": text}}, "a"),
    "secrets[0]": (lambda text: {"secrets": (text,)}, "keys"),
    "image": (lambda text: {"image": text}, "registry.example:5000/shop:1"),
    "python_version": (lambda text: {"python_version": text}, "3.12"),
    "resources.cpu": (lambda text: {"resources": Resources(cpu=text)}, "500m"),
    "resources.memory": (lambda text: {"resources": Resources(memory=text)}, "512Mi"),
    "resources.cpu_limit": (lambda text: {"resources": Resources(cpu_limit=text)}, "500m"),
    "resources.tmp": (lambda text: {"resources": Resources(tmp=text)}, "1Gi"),
    "annotations": (lambda text: {"annotations": {text: "x"}}, "example.com/owner"),
    "annotations[owner]": (lambda text: {"annotations": {"owner": text}}, "a"),
    "node_selector": (lambda text: {"node_selector": {text: "x"}}, "example.com/pool"),
    "node_selector[pool]": (lambda text: {"node_selector": {"pool": text}}, "a"),
    "tolerations[0].key": (lambda text: {"tolerations": (Toleration(text, "Exists"),)}, "gpu"),
    "tolerations[0].value": (lambda text: {"tolerations": (Toleration("gpu", "Equal", text),)}, "a"),
    "priority_class": (lambda text: {"priority_class": text}, "low"),
    "service_account": (lambda text: {"service_account": text}, "shop"),
}
NAMED = ("labels", "annotations", "node_selector")
PIECES = st.one_of(
    st.sampled_from(
        [
            *"\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029\0\t\\\ud800\u202e'\"@", "\r\n", "\\\n", " --index-url=https://e.example",
            "\n-r /proc/self/environ", " #", "${HOME}", "$(HOME)", "$$", "`id`", "; id", "\x1b[2J", "{{x}}", "a: b\n-",
            "&a", "*a", "!!python/object:x", "../..", "%0a",
        ]
    ),
    st.text(max_size=5),
)  # fmt: skip
HOSTILE = st.tuples(PIECES, st.sampled_from(["", "orc", "numpy", "-x", "/"]), PIECES).map("".join)


def objects_of(spec: ModuleSpec) -> list[dict[str, Any]]:
    return builders.plan(CLUSTER, Record.first(spec), None, "uid")


def leaves(document: object, path: str = "") -> Iterator[tuple[str, object]]:
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    yield from (leaf for key, value in items for leaf in leaves(value, f"{path}/{key}"))
    if not isinstance(document, dict | list):
        yield path, document


def holds_as_data(spec: ModuleSpec, plain: ModuleSpec) -> None:
    """Its objects are those of a plain spec but for the values, and each text in them is the spec's own."""
    made, usual = objects_of(spec), objects_of(plain)
    if all(getattr(spec, name).keys() == getattr(plain, name).keys() for name in NAMED):
        assert [path for path, _ in leaves(made)] == [path for path, _ in leaves(usual)]
    containers = [document["spec"]["template"]["spec"]["containers"][0] for document in (made[0], made[-1])]
    assert [each["command"] for each in containers] == [
        document["spec"]["template"]["spec"]["containers"][0]["command"] for document in (usual[0], usual[-1])
    ]
    (*_, builder) = made
    question = json.loads(builder["spec"]["template"]["metadata"]["annotations"][objects.RECORD])
    assert spec_from_document(question["spec"]).requirements == spec.requirements
    record = objects.record_of(objects.deployment(CLUSTER, Record.first(spec), Runtime()))
    assert record is not None and record.spec == spec
    assert list(yaml.safe_load_all(convert.yaml_stream(made))) == made
    variables = {each["name"]: each.get("value", "") for each in containers[0]["env"]}
    for name, value in spec.env.items():
        assert variables[f"MODULE_ENV_{name}"] == value.replace("$", "$$")


@pytest.mark.parametrize("field", FIELDS)
@given(before=st.booleans(), hostile=HOSTILE, after=st.booleans())
def test_a_hostile_string_is_refused_or_stays_data(field: str, before: bool, hostile: str, after: bool) -> None:
    fields, plain = FIELDS[field]
    text = plain * before + hostile + plain * after
    spec = ModuleSpec("shop", **fields(text))
    line = logs.render(0.0, "info", "server", text)
    assert len(line.splitlines()) == 1 and line.encode() and json.loads(line)["text"] == text
    if found := violations(spec):
        assert {name for name, _ in found} <= {field, f"{field}[{text}]"}, "the one that is at fault, and no other"
        assert all(told.isprintable() and len(told) < 400 for _, told in found)
        return
    if text:
        holds_as_data(spec, ModuleSpec("shop", **fields(plain)))
    lines = [parse(each).text for each in (*spec.requirements, *spec.constraints)]
    written = installer_file(lines)
    assert written.isascii() and written.splitlines() == lines
    assert json.loads(json.dumps(dataclasses.asdict(spec)).encode("ascii"))["module_name"] == "shop"


@given(hostile=HOSTILE)
def test_a_name_that_reaches_headers_and_paths_is_plain(hostile: str) -> None:
    for name in (hostile, f"shop{hostile}", f"shop.{hostile}", f"{hostile}.shop"):
        with contextlib.suppress(OrcError):
            check_name(name)
            assert name.isascii() and name.replace("_", "").replace(".", "").isalnum() and ".." not in name
