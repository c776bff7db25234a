"""What creating a module would make on Kubernetes, and how that is written."""

from __future__ import annotations

import yaml

from jac_orc.pod_manager import convert
from jac_orc.pod_manager.backends.kube import builders, objects
from jac_orc.pod_manager.backends.kube.objects import Record
from jac_orc.pod_manager.backends.kube.pods import Cluster, Document, Runtime
from jac_orc.pod_manager.model import Autoscaling, ModuleSpec
from jac_orc.pod_manager.settings import Settings

CLUSTER = Cluster("jac-orc", "jac-cloud-orc:1", settings=Settings(store_claim="store"))
NUMPY = Record.first(ModuleSpec("numpy", requirements=("numpy",)))


def kinds(documents: list[Document]) -> list[str]:
    return [document["kind"] for document in documents]


def owners(documents: list[Document]) -> set[str]:
    return {owner["uid"] for each in documents for owner in each["metadata"].get("ownerReferences", ())}


def test_what_is_built_and_what_is_not() -> None:
    built = builders.plan(CLUSTER, NUMPY, Runtime("digest"), "")
    assert kinds(built) == ["Deployment", "Service", "PodDisruptionBudget"]
    unbuilt = builders.plan(CLUSTER, NUMPY, None, "")
    assert kinds(unbuilt) == ["Deployment", "Service", "PodDisruptionBudget", "Job"]
    annotations = unbuilt[0]["spec"]["template"]["metadata"]["annotations"]
    assert annotations[objects.ENVIRONMENT] == builders.UNBUILT


def test_an_autoscaler_is_made_for_those_that_want_one() -> None:
    spec = ModuleSpec("numpy", requirements=("numpy",), autoscaling=Autoscaling(1, 5, 80))
    planned = builders.plan(CLUSTER, Record.first(spec), Runtime("digest"), "uid")
    assert kinds(planned) == ["Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler"]
    assert planned[-1]["metadata"] == planned[1]["metadata"]
    assert planned[-1]["spec"]["scaleTargetRef"]["name"] == planned[0]["metadata"]["name"]


def test_only_what_is_there_owns() -> None:
    for runtime in (Runtime("digest"), None):
        assert owners(builders.plan(CLUSTER, NUMPY, runtime, "")) == set()
        assert owners(builders.plan(CLUSTER, NUMPY, runtime, "uid")) == {"uid"}


def test_as_yaml_it_is_the_same_without_references() -> None:
    planned = builders.plan(CLUSTER, NUMPY, None, "uid")
    text = convert.yaml_stream(planned)
    assert list(yaml.safe_load_all(text)) == planned
    assert "&id" not in text and text.startswith("apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: numpy\n")
    assert text == convert.yaml_stream(builders.plan(CLUSTER, NUMPY, None, "uid"))
    assert convert.yaml_stream([]) == ""
