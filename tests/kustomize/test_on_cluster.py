"""A cluster's API server, with its schemas and its admission, takes every overlay as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.cluster.kubectl import kubectl, new_namespace
from tests.kustomize.rendering import OVERLAYS, of_kind, render_upon


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("base", "components"),
    [
        *((f"overlays/{overlay}", []) for overlay in OVERLAYS),
        ("base", ["high-availability", "autoscaling"]),
        ("overlays/gateway-api", ["api-keys", "tls"]),
    ],
)
def test_the_api_server_takes_it(base: str, components: list[str], tmp_path: Path) -> None:
    served = kubectl("api-versions").split()
    with new_namespace("jac-orc-kustomize") as namespace:
        documents = render_upon(tmp_path, base, components, namespace)
        # An installed system may have the node port already.
        for service in of_kind(documents, "Service"):
            for port in service["spec"]["ports"]:
                port.pop("nodePort", None)
        if namespaces := of_kind(documents, "Namespace"):  # for real, as pods are judged by the labels that it has
            kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(namespaces))
        known = [each for each in documents if each["apiVersion"] in served]
        apply = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "-f", "-"]
        kubectl(*apply, stdin=yaml.safe_dump_all(known))
    if unknown := sorted({f"{each['kind']} ({each['apiVersion']})" for each in documents if each not in known}):
        pytest.skip(f"all else is taken, but this cluster has no {', '.join(unknown)}")
