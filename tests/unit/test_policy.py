"""The operator's policy file: what it says, and what it lets users deploy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jac_orc.core.config import ConfigurationError
from jac_orc.errors import OrcError, PermissionDeniedError
from jac_orc.pod_manager import policy
from jac_orc.pod_manager.model import ModuleSpec
from jac_orc.pod_manager.policy import Policy


def loaded(directory: Path, text: str | bytes) -> Policy:
    file = directory / "policy.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return policy.load(file)


def refusal(found: Policy, name: str = "shop", /, **fields: Any) -> OrcError:
    with pytest.raises(PermissionDeniedError) as caught:
        found.check(ModuleSpec(name, **fields))
    return caught.value


# Modules


@pytest.mark.parametrize(
    "name",
    ["os", "subprocess", "shutil", "ctypes", "ctypes.util", "importlib", "importlib.metadata", "builtins", "socket",
     "pty", "sys", "os.path", "runpy", "multiprocessing.pool", "concurrent.futures", "concurrent.futures.process",
     "urllib.request", "http.client", "http.server", "pickle", "code", "pip", "tempfile", "io", "pathlib", "timeit",
     "lib2to3.main", "logging", "logging.handlers", "asyncio.subprocess", "xml.etree.ElementTree"],
)  # fmt: skip
def test_a_create_may_deploy_what_a_call_may_not(name: str) -> None:
    Policy().check(ModuleSpec(name))
    with pytest.raises(PermissionDeniedError) as caught:
        Policy().check_call(name)
    assert caught.value.reason == "MODULE_REFUSED" and caught.value.metadata["module"] == name
    for advice in (f"jac-orc create {name}", f"POST /create_pod/{name}", "gives access to the host"):
        assert advice in caught.value.message


@pytest.mark.parametrize(
    "name",
    ["math", "json", "statistics", "numpy", "sklearn.linear_model", "osmium", "system", "os_", "OS", "ioa", "shop.os",
     "urllib", "urllib.parse", "http", "http.cookies", "ntpath", "concurrent", "xml", "xml.etree", "email", "encodings",
     "string", "collections", "random", "uuid", "time"],
)  # fmt: skip
def test_a_call_may_deploy_what_only_computes(name: str) -> None:
    Policy().check_call(name)


def test_a_policy_changes_what_calls_and_creates_may_deploy(tmp_path: Path) -> None:
    found = loaded(tmp_path, "allow: [os, logging.handlers, concurrent]\nrefuse: [numpy, os.path, shop.admin]\n")
    for allowed in ("os", "logging.handlers", "concurrent.futures", "concurrent.futures.thread"):
        found.check_call(allowed)
    for kept in ("subprocess", "logging", "posix"):
        with pytest.raises(PermissionDeniedError):
            found.check_call(kept)
    for refused in ("numpy", "numpy.linalg", "os.path", "shop.admin.users"):
        assert refusal(found, refused).reason == "MODULE_REFUSED"
        assert "`refuse`" in refusal(found, refused).message
    for name in ("os", "subprocess", "numpy_financial", "shop"):
        found.check(ModuleSpec(name))


def test_module_servers_learn_the_differences_only(tmp_path: Path) -> None:
    assert Policy().environment == {"ALLOWED_MODULES": "", "REFUSED_MODULES": ""}
    found = loaded(tmp_path, "allow: [glob]\nrefuse: [numpy, os]\n")
    assert found.environment == {"ALLOWED_MODULES": "glob", "REFUSED_MODULES": "numpy,os"}


def test_each_policy_for_modules_has_its_own_fingerprint(tmp_path: Path) -> None:
    texts = ("allow: [glob]", "refuse: [glob]", "allow: [glob]\nrefuse: [glob]", "allow: [glob, os]")
    found = [policy.fingerprint(loaded(tmp_path, text).environment) for text in texts]
    assert len({"", *found}) == len(texts) + 1
    assert policy.fingerprint(Policy().environment) == policy.fingerprint({}) == ""


# Distributions


@pytest.mark.parametrize("text", ["", "allow: [os]\n"])
def test_by_default_distributions_are_guessed_and_any_may_be_required(tmp_path: Path, text: str) -> None:
    found = loaded(tmp_path, text)
    assert found.guess and found.allowed_requirements is None
    found.check_requirements(["numpy>=2", "anything", "a @ https://example.com/a.whl"])


@pytest.mark.parametrize(("text", "guess"), [("guess: false", False), ("guess: true", True), ("guess: no", False)])
def test_guessing_can_be_switched_off(tmp_path: Path, text: str, guess: bool) -> None:
    assert loaded(tmp_path, text).guess is guess


LIST = "requirements: [numpy, Scikit_Learn, google-cloud-*, ruamel.yaml]"


@pytest.mark.parametrize(
    "requirement",
    [
        "numpy", "NumPy>=2,<3", "numpy[x]; python_version>'3'", "scikit-learn", "scikit.learn==1",
        "google-cloud-storage", "google_cloud_storage", "ruamel.yaml", "ruamel-yaml", "numpy @ https://example.com/numpy-1-py3-none-any.whl",
    ],
)  # fmt: skip
def test_what_is_on_the_list_may_be_required_however_it_is_written(tmp_path: Path, requirement: str) -> None:
    loaded(tmp_path, LIST).check(ModuleSpec("shop", requirements=(requirement,)))


@pytest.mark.parametrize(
    "requirement",
    [
        "pandas", "numpyx", "xnumpy", "google-cloud", "google-cloudy", "evil @ https://example.com/numpy-1-py3-none-any.whl",
        "evil[numpy]", "evil; extra == 'numpy'", "not a requirement", "", "*",
    ],
)  # fmt: skip
def test_what_is_not_on_it_is_refused(tmp_path: Path, requirement: str) -> None:
    failure = refusal(loaded(tmp_path, LIST), requirements=("numpy", requirement))
    assert failure.reason == "REQUIREMENT_REFUSED"
    assert failure.metadata == {"requirement": requirement}
    assert requirement in failure.message and "`requirements` in the policy file" in failure.message


def test_a_constraint_with_an_address_is_judged_as_a_requirement(tmp_path: Path) -> None:
    found = loaded(tmp_path, LIST)
    found.check(ModuleSpec("shop", requirements=("numpy",), constraints=("pandas<2", "evil==1")))
    failure = refusal(found, requirements=("numpy",), constraints=("evil @ https://e.example/evil-1-py3-none-any.whl",))
    assert failure.reason == "REQUIREMENT_REFUSED"
    built = refusal(loaded(tmp_path, "builds: false"), constraints=("numpy @ https://e.example/numpy-1.tar.gz",))
    assert "`builds: false`" in built.message


def test_an_empty_list_allows_none(tmp_path: Path) -> None:
    found = loaded(tmp_path, "requirements: []\nsecrets: []\nimages: []")
    found.check(ModuleSpec("shop"))
    assert refusal(found, requirements=("numpy",)).reason == "REQUIREMENT_REFUSED"
    assert refusal(found, secrets=("module-a",)).metadata == {"key": "secrets", "value": "module-a"}
    assert refusal(found, image="python").metadata == {"key": "images", "value": "python"}


@pytest.mark.parametrize(
    ("requirement", "is_built"),
    [
        ("numpy", False), ("a @ https://h.example/a-1-py3-none-any.whl#sha256=00", False),
        ("a @ https://h.example/a.whl?x=1", False), ("a @ https://h.example/a-1.tar.gz", True),
        ("a @ git+https://h.example/a", True), ("a @ git+https://h.example/a.whl", True),
        ("a @ https://h.example/a.zip#a.whl", True),
    ],
)  # fmt: skip
def test_builds_can_be_switched_off(tmp_path: Path, requirement: str, is_built: bool) -> None:
    assert loaded(tmp_path, "guess: false").builds
    found = loaded(tmp_path, "builds: false")
    if not is_built:
        found.check(ModuleSpec("shop", requirements=("numpy", requirement)))
        return
    failure = refusal(found, requirements=("numpy", requirement))
    assert (failure.reason, failure.metadata) == ("REQUIREMENT_REFUSED", {"requirement": requirement})
    assert "`builds: false`" in failure.message and "give the URL of a wheel" in failure.message


# Secrets and images


def test_without_a_list_any_secret_and_image_may_be_named() -> None:
    Policy().check(ModuleSpec("shop", secrets=("a", "b"), image="anything:1.0"))


def test_secrets_are_named_or_matched(tmp_path: Path) -> None:
    found = loaded(tmp_path, "secrets: [module-*, shared]")
    found.check(ModuleSpec("shop", secrets=("module-a", "module-b.c", "shared")))
    for secret in ("amodule-a", "module", "shared2", "tls"):
        failure = refusal(found, secrets=("module-a", secret))
        assert failure.reason == "POLICY_REFUSED" and failure.metadata == {"key": "secrets", "value": secret}
        assert repr(secret) in failure.message and "`secrets`" in failure.message


@pytest.mark.parametrize("key", ["labels", "annotations"])
def test_labels_and_annotations_are_allowed_by_their_names(tmp_path: Path, key: str) -> None:
    names = {"team": "a", "example.com/Cost_centre": "4711"}
    loaded(tmp_path, "").check(ModuleSpec("shop", **{key: names}))  # type: ignore[arg-type]
    found = loaded(tmp_path, f"{key}: [team, 'example.com/*']")
    found.check(ModuleSpec("shop", **{key: names}))  # type: ignore[arg-type]
    for name in ("teams", "x.example.com/a", "inject.example.org/a"):
        failure = refusal(found, **{key: {**names, name: ""}})
        assert (failure.reason, failure.metadata) == ("POLICY_REFUSED", {"key": key, "value": name})
    assert refusal(loaded(tmp_path, f"{key}: []"), **{key: {"team": "a"}}).metadata["value"] == "team"


DIGEST = "@sha256:" + "0f" * 32


@pytest.mark.parametrize(
    ("pattern", "images"),
    [
        ("python", ["python", "python:3.12", "docker.io/python", "docker.io/library/python:latest", "library/python",
                    "index.docker.io/library/python", "docker.io:443/library/python", "DOCKER.IO/library/python",
                    "python" + DIGEST, "python:3.12" + DIGEST]),
        ("docker.io/library/python:latest", ["python", "python:latest"]),
        ("python:3.*", ["python:3.12", "library/python:3.9-slim"]),
        ("shop/*", ["shop/web:1", "docker.io/shop/api/v2"]),
        ("registry.example.com:5000/*", ["registry.example.com:5000/shop", "Registry.Example.com:5000/a/b:1"]),
        ("registry.example.com/shop" + DIGEST, ["registry.example.com/shop" + DIGEST,
                                                "registry.example.com:443/shop:1.0" + DIGEST]),
        ("*.example.com/shop", ["a.example.com/shop:2"]),
        ("*", ["python", "registry.example.com/x:1" + DIGEST]),
        ("localhost/x", ["localhost/x:1"]),
    ],
)  # fmt: skip
def test_an_image_may_be_named_in_every_spelling_of_what_is_allowed(
    tmp_path: Path, pattern: str, images: list[str]
) -> None:
    found = loaded(tmp_path, f"images: ['{pattern}']")
    for image in images:
        found.check(ModuleSpec("shop", image=image))


@pytest.mark.parametrize(
    ("pattern", "images"),
    [
        ("python", ["evil/python", "registry.example.com/python", "registry.example.com/library/python", "pythonx",
                    "localhost/python", "python.example.com/python", "Docker/python"]),
        ("python:3.12", ["python", "python:3.13", "python" + DIGEST, "python:3.12" + DIGEST]),
        ("python:*", ["python" + DIGEST]),
        ("shop/*", ["registry.example.com/shop/web", "shop.example.com/web", "localhost:5000/shop/web"]),
        ("registry.example.com/*", ["registry.example.com:5000/x", "registry.example.com.evil.example/x",
                                    "evil.example/registry.example.com/x", "x.registry.example.com/x"]),
        ("registry.example.com/shop" + DIGEST, ["registry.example.com/shop", "registry.example.com/shop:1.0",
                                                "registry.example.com/shop@sha256:" + "1" * 64]),
    ],
)  # fmt: skip
def test_no_spelling_of_another_image_passes(tmp_path: Path, pattern: str, images: list[str]) -> None:
    found = loaded(tmp_path, f"images: ['{pattern}']")
    for image in images:
        failure = refusal(found, image=image)
        assert failure.reason == "POLICY_REFUSED" and failure.metadata == {"key": "images", "value": image}


# The file


@pytest.mark.parametrize("text", ["", "# nothing\n", "allow: []", "refuse: []\n"])
def test_a_file_that_says_nothing_is_the_default(tmp_path: Path, text: str) -> None:
    assert loaded(tmp_path, text) == policy.load(None) == Policy()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("guess: maybe", "`guess` must be true or false"), ("guess: 1", "`guess` must be true or false"),
        ("builds: 1", "`builds` must be true or false"),
        ("guess:", "`guess` must be true or false"), ("guess: [numpy]", "`guess` must be true or false"),
        ("requirements: numpy", "`requirements` must be a list"), ("requirements:", "`requirements` must be a list"),
        ("requirements: [1]", "`requirements` must be a list"), ("requirements: [numpy>=2]", "without versions"),
        ("requirements: ['']", "without versions"), ("requirements: {numpy: 1}", "`requirements` must be a list"),
        ("allow: os", "`allow` must be a list of module names"), ("allow: false", "`allow` must be a list"),
        ("allow: [1]", "'1' is none"), ("allow: {os: true}", "`allow` must be a list"),
        ("allow: [os.]", "'os.' is none"),
        ("refuse: [num*]", "'num*' is none"), ("refuse: [a-b]", "'a-b' is none"),
        ("refuse:", "`refuse` must be a list"),
        ("secrets: a", "`secrets` must be a list of names of Secrets"), ("secrets: [A]", "'A' is none"),
        ("secrets: [[a]]", "`secrets` must be a list"), ("images: [a b]", "'a b' is none"),
        ("images:", "`images` must be a list"),
        ("labels: {team: a}", "`labels` must be a list of names of labels"), ("annotations: [a b]", "'a b' is none"),
        ("requirement: [numpy]", "unknown key `requirement`; known keys: guess, builds, allow, refuse, requirements"),
        ("secret: [a]", "unknown key `secret`"), ("1: 2", "unknown key `1`"),
        ("allow: [os]\nallow: []", "the key `allow` appears twice"),
        ("[os]", "must have keys and values"), ("os", "must have keys and values"), ("5", "must have keys and values"),
        ("a: [", "can't be read"), (b"\xff\xfe\xff", "can't be read"), ("\t- x", "can't be read"),
        ("!!python/object/apply:os.system [id]", "can't be read"), ("{[a]: 1}", "can't be read"),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_the_file_the_key_and_the_form(tmp_path: Path, text: str | bytes, told: str) -> None:
    with pytest.raises(ConfigurationError, match=r"policy\.yaml") as caught:
        loaded(tmp_path, text)
    assert told in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.yaml"):
        policy.load(tmp_path / "none.yaml")
