"""Where a command looks for its pod manager."""

from __future__ import annotations

import pytest

from jac_orc.cli.failures import UsageError
from jac_orc.cli.forward import Cluster
from jac_orc.cli.options import Place
from jac_orc.cli.place import DEFAULT_URL, Address, find

VARIABLES = ("JAC_ORC_URL", "POD_MANAGER_URL", "JAC_ORC_CONTEXT", "JAC_ORC_NAMESPACE", "KUBECONFIG")


@pytest.fixture
def environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in request.param.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("environment", "place", "found"),
    [
        ({}, Place(), DEFAULT_URL),
        ({"KUBECONFIG": "k"}, Place(), DEFAULT_URL),
        ({"POD_MANAGER_URL": "a", "JAC_ORC_URL": "b"}, Place(), "b"),
        ({"JAC_ORC_URL": "b", "JAC_ORC_CONTEXT": "c"}, Place(), "b"),
        ({"POD_MANAGER_URL": "b", "JAC_ORC_CONTEXT": "c"}, Place(), "b"),
        ({"JAC_ORC_CONTEXT": "c"}, Place(), Cluster("c", "jac-orc")),
        ({"JAC_ORC_CONTEXT": "c", "JAC_ORC_NAMESPACE": "n"}, Place(), Cluster("c", "n")),
        ({"JAC_ORC_CONTEXT": "c"}, Place(url="u"), "u"),
        ({"JAC_ORC_URL": "b"}, Place(context="d"), Cluster("d", "jac-orc")),
        ({"JAC_ORC_CONTEXT": "c", "JAC_ORC_NAMESPACE": "n"}, Place(context="d", namespace="m"), Cluster("d", "m")),
        ({"JAC_ORC_URL": "b", "JAC_ORC_CONTEXT": "c"}, Place(namespace="m"), Cluster("c", "m")),
    ],
    indirect=["environment"],
)
def test_the_command_line_before_the_environment_and_there_an_address_before_a_context(
    environment: None, place: Place, found: Cluster | str
) -> None:
    assert find(place) == found


@pytest.mark.parametrize(
    ("environment", "place", "found"),
    [
        ({}, Place(), DEFAULT_URL),
        ({"KUBECONFIG": "k"}, Place(), Cluster("", "jac-orc")),
        ({"KUBECONFIG": "k", "JAC_ORC_URL": "b"}, Place(), "b"),
        ({}, Place(namespace="m"), Cluster("", "m")),
    ],
    indirect=["environment"],
)
def test_the_doctor_takes_the_current_context_too(environment: None, place: Place, found: Cluster | str) -> None:
    assert find(place, any_context=True) == found


@pytest.mark.parametrize("environment", [{}], indirect=True)
@pytest.mark.parametrize("place", [Place("u", "c"), Place("u", "", "n"), Place("", "", "n")])
def test_what_makes_no_sense(environment: None, place: Place) -> None:
    with pytest.raises(UsageError):
        find(place)


def test_the_same_place_for_a_further_command() -> None:
    assert Place().options == ""
    assert Place(context="a b", namespace="n").options == " --context 'a b' --namespace n"
    assert Cluster("", "n").options == "--namespace n"
    assert Cluster("c", "jac-orc").install == (
        "kubectl --context c apply -k kustomize/overlays/local, or another overlay there"
    )
    assert "`namespace: n`" in Cluster("", "n").install
    assert Cluster("a b", "n").by_hand.startswith("kubectl --context 'a b' --namespace n port-forward service/")


def test_addresses() -> None:
    assert Address.of("127.0.0.1:81") == Address("http://127.0.0.1:81", "127.0.0.1:81", False, True)
    assert Address.of("https://orc.example/") == Address("https://orc.example", "orc.example:443", True, False)
    for url in ("ftp://a", "http://a/b", "http://a:b", "http://"):
        with pytest.raises(UsageError):
            Address.of(url)
