"""What a spec may contain, and which fault is reported of the rest. Nothing of it is ever read as anything but data."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import pytest

from jac_orc.pod_manager.model import Autoscaling, ModuleSpec, Resources
from jac_orc.pod_manager.spec_checks import MAX_ENTRIES, violations


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
        ({"env": {"1A": "x"}}, ["env"]), ({"env": {"A": "\0"}}, ["env[A]"]), ({"env": {"A\n": "x"}}, ["env"]),
        ({"requirements": ("numpy>=2,<3", "pillow[x]; python_version>'3'", "a @ https://example.com/a.whl")}, []),
        ({"requirements": ("--index-url=http://x",)}, ["requirements[0]"]),
        ({"requirements": ("-r x",)}, ["requirements[0]"]),
        ({"requirements": ("",)}, ["requirements[0]"]), ({"requirements": ("numpy==",)}, ["requirements[0]"]),
        ({"requirements": ("numpy\n--pre",)}, ["requirements[0]"]),
        ({"requirements": ("./local",)}, ["requirements[0]"]),
        ({"requirements": ("a @ file:///etc/passwd",)}, ["requirements[0]"]),
        ({"requirements": ("a @ http://example.com/a.whl",)}, ["requirements[0]"]),
        ({"requirements": ("a @ git+ssh://x/y",)}, ["requirements[0]"]),
        ({"requirements": ("a @ git+https://example.com/y",)}, []),
        ({"replicas": -1, "queue": -1, "requirements": ("=", "!")},
         ["requirements[0]", "requirements[1]", "replicas", "queue"]),
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
    begin = time.process_time()
    assert [field for field, _ in violations(spec)] == ["requirements", "constraints"]
    assert time.process_time() - begin < 0.5


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
        ("secrets[0]", {"secrets": ("Keys",)}),
        ("secrets[0]", {"secrets": ("../keys",)}),
        ("secrets[1]", {"secrets": ("keys", "jac-orc-api-keys")}),
        ("image", {"image": "Shop"}),
        ("image", {"image": "shop:"}),
        ("image", {"image": "a b"}),
        ("image", {"image": "-shop"}),
        ("image", {"image": "a" * 501}),
        ("requirements", {"image": "shop:1", "requirements": ("a",)}),
        ("labels[team]", {"labels": {"team": "a b"}}),
        ("labels", {"labels": {"": "a"}}),
        ("labels[app.kubernetes.io/name]", {"labels": {"app.kubernetes.io/name": "mine"}}),
        ("labels[jac-orc.dev/revision]", {"labels": {"jac-orc.dev/revision": "mine"}}),
        ("labels[team]", {"labels": {"team": "a" * 64}}),
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


@pytest.mark.parametrize(
    "text", ["a @ https://h/${HOME}.whl", "lib.whl", "foo.tar.gz", "foo[x].whl", "foo.ZIP", "shop-1-py3-none-any.whl"]
)
def test_requirements_reach_neither_variables_nor_files(text: str) -> None:
    assert [name for name, _ in violations(ModuleSpec("math", requirements=(text,)))] == ["requirements[0]"]


NUMPY = "numpy @ https://a.example/x.whl"


@pytest.mark.parametrize("field", ["requirements", "constraints"])
@pytest.mark.parametrize(
    "text",
    [
        *(f"{NUMPY}{end}--index-url=https://evil.example" for end in ("\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c")),
        *(f"{NUMPY}{end}-r=/proc/self/environ" for end in ("\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\t", "\0")),
        f"{NUMPY}\\", f"{NUMPY} \\\n", f"{NUMPY}\n", "\nnumpy", f"{NUMPY} --index-url=https://evil.example",
        f"{NUMPY} # x", "numpy\ud800",
        " ", "\t", "-rx", "--pre", "numpy; python_version > '3 --pre'", "numpy; python_version > ' #'",
        "numpy; platform_version == 'x\" or python_version > \"3'", "numpy===1\\", "numpy\u202e", "n\u00fcmpy",
        "numpy @ https://user:secret@a.example/x.whl", "numpy @ git+https://token@a.example/x", "numpy @ https://a.example\\@b/",
        "numpy @ https:///x.whl", "numpy @ https://", "numpy @ https://-a.example/x", "numpy @ https://a b/x.whl",
        "numpy @ git+https://a.example/x@--upload-pack=evil", "numpy @ https://a.example/x.zip#subdirectory=../../etc",
        "numpy @ git+https://a.example/x#egg=numpy&subdirectory=%2e%2e/x",
        "numpy @ git+https://a.example/x#subdirectory=/etc",
        "numpy @ HTTPS://a.example/x.whl", "numpy @ ./x", "numpy @ x.whl", "numpy @ git+file:///x",
        "numpy @ ssh://a.example/x",
        "numpy @ https://a.example/${HOME}.whl", "numpy==1 --hash=sha256:x",
        "numpy --hash=sha256:" + "0" * 64 + " --pre",
        "a" * 20_000, "numpy" + ",<1" * 6000,
    ],
)  # fmt: skip
def test_no_requirement_holds_more_than_itself(field: str, text: str) -> None:
    (violation,) = violations(ModuleSpec("math", **{field: ("numpy", text)}))  # type: ignore[arg-type]
    assert violation[0] == f"{field}[1]"
    assert violation[1].isprintable() and len(violation[1]) < 400 and "secret" not in violation[1]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"env": {"A": "x" * 131_060}}, "env[A]"),
        ({"env": {"A": "\udc80"}}, "env[A]"),
        ({"env": {"A" * 257: ""}}, "env"),
        ({"env": {"A\u0663": ""}}, "env"),
        ({"env": {"PATH ": ""}}, "env"),
        ({"env": {str(number): "x" * 100 for number in range(2)}}, "env"),
        ({"labels": {"a..b/c": ""}}, "labels"),
        ({"labels": {"a" * 254 + "/c": ""}}, "labels"),
        ({"labels": {"a/b/c": ""}}, "labels"),
        ({"labels": {"a\n": ""}}, "labels"),
        ({"labels": {"a": "b\n"}}, "labels[a]"),
        ({"labels": {"a": "\u0663"}}, "labels[a]"),
        ({"secrets": ("a..b",)}, "secrets[0]"),
        ({"secrets": ("a.-b",)}, "secrets[0]"),
        ({"secrets": ("a" * 254,)}, "secrets[0]"),
        ({"secrets": ("a\n",)}, "secrets[0]"),
        ({"image": "-x/shop"}, "image"),
        ({"image": "a//b"}, "image"),
        ({"image": "a...b"}, "image"),
        ({"image": "shop:1\n"}, "image"),
        ({"image": "a" * 30 + "." * 30 + "/"}, "image"),
        ({"resources": Resources(cpu="\u0663")}, "resources.cpu"),
        ({"resources": Resources(cpu="1\n")}, "resources.cpu"),
        ({"resources": Resources(memory="\u0665\u0661\u0662Mi")}, "resources.memory"),
        ({"python_version": "3.\u0663"}, "python_version"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_each_string_has_its_own_characters_and_length(changes: dict[str, Any], field: str) -> None:
    found = violations(ModuleSpec("math", **changes))
    assert {name for name, _ in found} == {field}
    assert all(text.isprintable() and len(text) < 200 for _, text in found)


@pytest.mark.parametrize(
    "changes",
    [
        {"env": {"CERTIFICATE": "-----BEGIN\r\n\tx\x1b\u2028\u00fc" + "x" * 100_000}},
        {"env": {"A" * 256: " --x # ${HOME} \\"}},
        {"requirements": ("Foo.Bar[B,a] >=1, <2 ; python_version > '3'", "a@https://h.example:8443/a.whl#sha256=00")},
        {"requirements": ("a @ git+https://h.example/o/a.git@v1.0#subdirectory=src/a&egg=a", "a===1.0", "a~=1.0.dev1")},
        {"requirements": ("numpy==1 --hash=sha256:" + "0" * 64 + " --hash sha512:" + "a" * 128,)},
        {"labels": {"a" * 253 + "/" + "b" * 63: "c" * 63}},
        {"secrets": ("a" * 253,)},
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_only_unusual_is_no_fault(changes: dict[str, Any]) -> None:
    assert violations(ModuleSpec("math", **changes)) == []


def test_a_spec_is_no_larger_than_an_object_of_a_cluster() -> None:
    values = {f"A{number}": "x" * 1000 for number in range(190)}
    assert violations(ModuleSpec("math", env=values)) == []
    ((field, text),) = violations(ModuleSpec("math", env={**values, "B": "x" * 10_000}))
    assert field == "env" and "196,608" in text


def test_a_spec_that_is_too_large_is_refused_before_its_strings_are_parsed() -> None:
    slow = tuple(f"a{number}" + "==1," * 2000 + "==1" for number in range(1000))
    begin = time.process_time()
    ((field, text),) = violations(ModuleSpec("math", requirements=slow))
    assert field == "requirements" and "196,608" in text
    assert time.process_time() - begin < 2, "to parse them takes half a minute"


def test_a_version_of_another_python_is_named_as_that() -> None:
    found = violations(ModuleSpec("math", python_version="9.9"))
    assert "'9.9' is not a version of Python 3 like 3.12" in str(found)
