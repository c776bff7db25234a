"""The pod manager's rights, as the package knows them and as the manifests give them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from jac_orc.pod_manager.backends.kube import rights
from jac_orc.pod_manager.backends.kube.rights import RIGHTS, Right

ROLE = Path(__file__).parents[2] / "kustomize/base/pod-manager/role.yaml"


def rules() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(ROLE.read_text())["rules"]
    return found


def test_the_role_gives_these_and_no_other() -> None:
    given = {
        Right(group, resource, verb)
        for rule in rules()
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert given == set(RIGHTS)
    assert rights.lacking(rules()) == []


def test_what_rules_lack_is_told() -> None:
    (services,) = (rule for rule in rules() if rule["resources"] == ["services"])
    (logs,) = (rule for rule in rules() if rule["resources"] == ["pods/log"])
    less = [rule for rule in rules() if rule not in (services, logs)] + [{**services, "verbs": ["get", "delete"]}]
    missing = rights.lacking(less)
    assert missing == [Right("", "pods/log", "get"), Right("", "services", "create"), Right("", "services", "patch")]
    assert rights.told(missing) == "get pods/log; create, patch services"


def test_rules_for_everything_and_for_some_objects_only() -> None:
    everything = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    assert rights.lacking([everything]) == []
    assert rights.lacking([{**everything, "resourceNames": ["one"]}]) == list(RIGHTS)
    assert rights.lacking([]) == list(RIGHTS)


def test_a_review_names_the_account_its_groups_and_the_subresource() -> None:
    spec = rights.review(Right("", "pods/log", "get"), "ns", "manager")["spec"]
    assert spec["user"] == "system:serviceaccount:ns:manager"
    assert "system:serviceaccounts:ns" in spec["groups"]
    expected = {"namespace": "ns", "verb": "get", "group": "", "resource": "pods", "subresource": "log"}
    assert spec["resourceAttributes"] == expected
    plain = rights.review(Right("", "pods", "get"), "ns", "manager")["spec"]["resourceAttributes"]
    assert "subresource" not in plain
