"""What the pod manager may do in its namespace, as `kustomize/base/pod-manager/role.yaml` gives it; a test compares.

By these `jac-orc doctor` tells which one is missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]

_VERBS = {
    ("apps", "deployments"): "get list watch create patch delete",
    ("apps", "deployments/scale"): "patch",
    ("apps", "deployments/finalizers"): "update",
    ("", "pods"): "get list watch",
    ("", "pods/log"): "get",
    ("discovery.k8s.io", "endpointslices"): "list watch",
    ("", "services"): "get create patch",
    ("policy", "poddisruptionbudgets"): "get list watch create patch",
    ("autoscaling", "horizontalpodautoscalers"): "get list watch create patch delete",
    ("batch", "jobs"): "list watch create patch delete",
    ("", "events"): "list watch",
}


@dataclass(frozen=True, order=True)
class Right:
    """One verb on one resource."""

    group: str
    resource: str
    """With its subresource, if it is about that: `pods/log`."""
    verb: str


RIGHTS = tuple(Right(*resource, verb) for resource, verbs in _VERBS.items() for verb in verbs.split())


def lacking(rules: Iterable[Document]) -> list[Right]:
    """The rights that the rules of a Role don't give."""
    rules = list(rules)
    return [right for right in RIGHTS if not any(_gives(rule, right) for rule in rules)]


def _gives(rule: Document, right: Right) -> bool:
    given = (("apiGroups", right.group), ("resources", right.resource), ("verbs", right.verb))
    return not rule.get("resourceNames") and all({value, "*"} & set(rule.get(key, ())) for key, value in given)


def told(missing: Iterable[Right]) -> str:
    """The rights for people: `create, patch services; get pods/log`."""
    verbs: dict[str, list[str]] = {}
    for right in missing:
        verbs.setdefault(right.resource, []).append(right.verb)
    return "; ".join(f"{', '.join(each)} {resource}" for resource, each in verbs.items())


def review(right: Right, namespace: str, account: str) -> Document:
    """A question to the API server: whether the service account of the namespace has the right there."""
    resource, _, subresource = right.resource.partition("/")
    attributes = {"namespace": namespace, "verb": right.verb, "group": right.group, "resource": resource}
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "LocalSubjectAccessReview",
        "metadata": {"namespace": namespace},
        "spec": {
            "user": f"system:serviceaccount:{namespace}:{account}",
            "groups": groups,
            "resourceAttributes": attributes | ({"subresource": subresource} if subresource else {}),
        },
    }
