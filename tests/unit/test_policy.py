"""What an operator's policy file lets users require. What it says of modules is in test_settings.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from jac_orc.core.config import ConfigurationError
from jac_orc.errors import PermissionDeniedError
from jac_orc.pod_manager import policy
from jac_orc.pod_manager.policy import Policy


def loaded(directory: Path, text: str) -> Policy:
    file = directory / "policy.yaml"
    file.write_text(text)
    return policy.load(file)


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
    loaded(tmp_path, LIST).check_requirements([requirement])


@pytest.mark.parametrize(
    "requirement",
    [
        "pandas", "numpyx", "xnumpy", "google-cloud", "google-cloudy", "evil @ https://example.com/numpy-1-py3-none-any.whl",
        "evil[numpy]", "evil; extra == 'numpy'", "not a requirement", "", "*",
    ],
)  # fmt: skip
def test_what_is_not_on_it_is_refused(tmp_path: Path, requirement: str) -> None:
    with pytest.raises(PermissionDeniedError) as caught:
        loaded(tmp_path, LIST).check_requirements(["numpy", requirement])
    assert caught.value.reason == "REQUIREMENT_REFUSED"
    assert caught.value.metadata == {"requirement": requirement}
    assert requirement in caught.value.message and "`requirements` in the policy file" in caught.value.message


def test_an_empty_list_allows_none(tmp_path: Path) -> None:
    found = loaded(tmp_path, "requirements: []")
    found.check_requirements([])
    with pytest.raises(PermissionDeniedError):
        found.check_requirements(["numpy"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("guess: maybe", "`guess` must be true or false"), ("guess: 1", "`guess` must be true or false"),
        ("guess:", "`guess` must be true or false"), ("guess: [numpy]", "`guess` must be true or false"),
        ("requirements: numpy", "`requirements` must be a list"), ("requirements:", "`requirements` must be a list"),
        ("requirements: [1]", "`requirements` must be a list"), ("requirements: [numpy>=2]", "without versions"),
        ("requirements: ['']", "without versions"), ("requirements: {numpy: 1}", "`requirements` must be a list"),
        ("allow: numpy", "`allow` must be a list of module names"),
        ("requirement: [numpy]", "the keys `allow`, `refuse`, `guess`, `requirements`, each of them optional"),
    ],
)  # fmt: skip
def test_a_faulty_key_is_told(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=r"policy\.yaml") as caught:
        loaded(tmp_path, text)
    assert told in str(caught.value)
