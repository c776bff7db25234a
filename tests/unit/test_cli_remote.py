"""What commands tell of calls that no pod manager has answered."""

from __future__ import annotations

import dataclasses

import grpc
import pytest

from jac_orc.cli.failures import CallError, Unreachable
from jac_orc.cli.forward import Cluster
from jac_orc.cli.place import Address
from jac_orc.cli.remote import explain, told
from jac_orc.errors import OrcError, error, to_status

HERE = Address.of("http://127.0.0.1:8080")
THERE = dataclasses.replace(HERE, cluster=Cluster("c", "n"))


def failure(details: str, *trailing: tuple[str, bytes]) -> grpc.aio.AioRpcError:
    metadata = grpc.aio.Metadata(*trailing)
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), metadata, details)


@pytest.mark.parametrize(
    ("address", "command"),
    [
        (HERE, "jac-orc list --url http://127.0.0.1:8080"),
        (THERE, "jac-orc list --context c --namespace n"),
    ],
)
def test_a_pod_manager_that_is_stopped_amid_a_call(address: Address, command: str) -> None:
    said = told(failure("Cancelling all calls"), address)
    assert isinstance(said, Unreachable) and "what was asked for may go on" in str(said)
    assert "jac-orc get MODULE" in str(said) and str(said).endswith(f": {command}")


def test_one_that_cannot_be_reached() -> None:
    there = told(failure("no connection"), THERE)
    assert isinstance(there, CallError) and str(there).endswith("jac-orc doctor --context c --namespace n")
    here = told(failure("Connection refused"), HERE)
    assert isinstance(here, CallError) and "start one with jac-orc up" in str(here)


def test_an_envoy_without_a_pod_manager() -> None:
    status = to_status(error("MODULE_UNAVAILABLE", "no server could take the call")).SerializeToString()
    said = told(failure("no server could take the call", ("grpc-status-details-bin", status)), THERE)
    assert isinstance(said, OrcError) and said.reason == "MODULE_UNAVAILABLE"
    lines = explain("list", said, " --context c").splitlines()
    assert lines == ["jac-orc list: no server could take the call", "this says why: jac-orc doctor --context c"]
