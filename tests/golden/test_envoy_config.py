"""The configuration that Envoy gets, as files to read and to review."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from google.protobuf import descriptor_pb2, json_format
from google.protobuf.message import Message

from jac_orc.pod_manager.xds import resources
from jac_orc.pod_manager.xds.descriptors import descriptor_set
from jac_orc.pod_manager.xds.listener import listener
from jac_orc.pod_manager.xds.routes import routes

PODS = [resources.Endpoint("127.0.0.1", 50051), resources.Endpoint("127.0.0.1", 50052, draining=True)]


_UNORDERED = ("json_format", "typed_per_filter_config")


class Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such, and nothing by reference."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def represent_text(dumper: Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


Dumper.add_representer(str, represent_text)


def as_data(message: Message) -> Any:
    return in_order(json_format.MessageToDict(message, preserving_proto_field_name=True))


def in_order(data: Any, free: bool = False) -> Any:
    """Return the data with free-form objects and maps, which have no order, sorted; fields of messages keep theirs."""
    if isinstance(data, list):
        return [in_order(item, free) for item in data]
    if isinstance(data, dict):
        items = sorted(data.items()) if free else data.items()
        return {key: in_order(value, free or key in _UNORDERED) for key, value in items}
    return data


def readable_listener() -> Any:
    """The listener with the names of the files in the transcoder's descriptor set in place of their content."""
    data = as_data(listener("127.0.0.1", 8080))
    manager = data["filter_chains"][0]["filters"][0]["typed_config"]
    transcoder = next(part for part in manager["http_filters"] if part["name"] == "transcoder")["typed_config"]
    files = descriptor_pb2.FileDescriptorSet.FromString(descriptor_set()).file
    transcoder["proto_descriptor_bin"] = "".join(f"{file.name}\n" for file in files)
    return data


RENDERED: dict[str, Callable[[], Any]] = {
    "envoy/bootstrap": lambda: resources.bootstrap("front", ("127.0.0.1", 18000), "envoy-admin.sock"),
    "kustomize/base/gateway/envoy": lambda: resources.bootstrap(
        "front", ("jac-orc-xds", 18000), "/tmp/envoy-admin.sock", status_port=9902, standby="jac-orc-xds-standby"
    ),
    "envoy/listener": readable_listener,
    "envoy/routes": lambda: as_data(routes()),
    "envoy/cluster": lambda: as_data(resources.module_cluster("numpy")),
    "envoy/pod-manager-cluster": lambda: as_data(resources.pod_manager_cluster("127.0.0.1", 50050)),
    "envoy/endpoints": lambda: as_data(resources.endpoints("numpy", PODS)),
}


@pytest.mark.parametrize("name", RENDERED)
def test_configuration(name: str, golden: Callable[[str, str], None]) -> None:
    text = yaml.dump(RENDERED[name](), Dumper=Dumper, sort_keys=False, width=120, allow_unicode=True)
    golden(
        f"{name}.yaml",
        f"# Rendered from jac_orc.pod_manager.xds by `pytest --golden-rewrite tests/golden`.\n{text}",
    )
