"""What modules are on Kubernetes, as files to read and to review."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import yaml

from jac_orc.pod_manager.backends.kube import builders, objects
from jac_orc.pod_manager.backends.kube.objects import Record
from jac_orc.pod_manager.backends.kube.pods import Cluster, Document, Runtime
from jac_orc.pod_manager.model import Autoscaling, ModuleSpec, Resources
from jac_orc.pod_manager.policy import Policy
from jac_orc.pod_manager.settings import Settings
from jac_orc.pod_manager.sources import SourceRef

CLUSTER = Cluster(
    "jac-orc", "registry.example/jac-cloud-orc:1.0", settings=Settings(store_claim="jac-orc-store"),
    pod_manager_url="jac-orc-pod-manager.jac-orc.svc:50050",
    policy=Policy(refused=("numpy.f2py",)),
)  # fmt: skip
SOURCE = SourceRef(f"sha256:{'0f' * 32}", "shop.zip")
PLAIN = ModuleSpec("statistics")
FULL = ModuleSpec(
    "sklearn.linear_model", requirements=("scikit-learn>=1.5,<2",), constraints=("numpy<3",), replicas=3,
    env={"GREETING": "costs $(PRICE) or $5"}, workers=2, labels={"team": "a"}, import_timeout=90.0,
)  # fmt: skip
OWN = ModuleSpec("shop", source=SOURCE)
HOME = f"/store/sources/{SOURCE.hex}"
TREE = f"{HOME}/tree"
AUTOSCALED = ModuleSpec("statistics", replicas=2, resources=Resources(cpu="500m"), autoscaling=Autoscaling(1, 5, 80))


def record(spec: ModuleSpec) -> Record:
    revision = spec.revision(labelled=True)
    return Record(spec, 2, 1_790_000_000.0, revision, {"0123456789ab": 1, revision: 2})


RENDERED: dict[str, Callable[[], list[Document]]] = {
    "standard-library": lambda: [
        objects.claim(CLUSTER, record(PLAIN)),
        objects.deployment(CLUSTER, record(PLAIN), Runtime()),
        *objects.dependents(CLUSTER, PLAIN, "6f0c"),
    ],
    "requirements": lambda: [
        builders.builder(CLUSTER, FULL, [("sklearn-linear-model-x", "6f0c")]),
        objects.deployment(CLUSTER, record(FULL), Runtime("a" * 24)),
        *objects.dependents(CLUSTER, FULL, "6f0c"),
    ],
    "autoscaling": lambda: [
        objects.deployment(CLUSTER, record(AUTOSCALED), Runtime()),
        *objects.dependents(CLUSTER, AUTOSCALED, "6f0c"),
    ],
    "own-source": lambda: [
        builders.builder(CLUSTER, OWN, [("shop", "6f0c")]),
        objects.deployment(CLUSTER, record(OWN), Runtime("a" * 24, (f"{TREE}/src", TREE), HOME)),
    ],
}


@pytest.mark.parametrize("name", RENDERED)
def test_objects(name: str, golden: Callable[[str, str], None]) -> None:
    text = yaml.safe_dump_all(RENDERED[name](), sort_keys=False, width=120)
    golden(f"tests/golden/kube/{name}.yaml", text)
