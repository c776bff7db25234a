"""Autoscaling on the command line: the options in, and how a module's is told."""

from __future__ import annotations

from typing import Any

import pytest

from jac_orc.cli import deploying, show
from jac_orc.cli.deploying import given
from jac_orc.cli.failures import UsageError
from jac_orc.cli.options import Spec
from jac_orc.v1 import pod_manager_pb2 as pb


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_replicas": 5}, pb.Autoscaling(max_replicas=5, target_cpu=80)),
        (
            {"min_replicas": 2, "max_replicas": 5, "target_cpu": 50},
            pb.Autoscaling(min_replicas=2, max_replicas=5, target_cpu=50),
        ),
    ],
)
def test_options(options: dict[str, Any], expected: pb.Autoscaling) -> None:
    spec = deploying.spec(Spec(**options), "math")
    assert spec.autoscaling == expected and given(spec) == ["autoscaling"]


def test_the_option_that_ends_it() -> None:
    spec = deploying.spec(Spec(max_replicas=0, workers=2), "math")
    assert given(spec) == ["workers", "autoscaling"]
    assert deploying.cleared(spec) == pb.ModuleSpec(module_name="math", workers=2)
    with pytest.raises(UsageError, match="--max-replicas"):
        deploying.spec(Spec(max_replicas=0, min_replicas=1), "math")


def test_no_option() -> None:
    assert given(deploying.spec(Spec(), "math")) == []


@pytest.mark.parametrize("options", [{"min_replicas": 2}, {"target_cpu": 50}])
def test_bounds_need_the_upper_one(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--max-replicas"):
        deploying.spec(Spec(**options), "math")


def test_a_module_tells_its_bounds(capsys: pytest.CaptureFixture[str]) -> None:
    autoscaling = pb.Autoscaling(min_replicas=1, max_replicas=5, target_cpu=80)
    show.module(pb.Module(name="math", spec=pb.ModuleSpec(module_name="math", replicas=3, autoscaling=autoscaling)))
    assert "autoscaling  max_replicas=5, min_replicas=1, target_cpu=80\n" in capsys.readouterr().out
    show.module(pb.Module(name="math", spec=pb.ModuleSpec(module_name="math")))
    assert "autoscaling" not in capsys.readouterr().out
