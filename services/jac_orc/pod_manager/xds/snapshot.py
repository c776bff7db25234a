"""What Envoy shall have: resources by type and name, each with a version, and who wants to know of changes.

Versions are hashes of the content, so that they survive a restart of the control plane: an Envoy that reconnects says
which versions it has and gets only what differs. A change costs the same however many modules there are. Used from one
event loop only.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from google.protobuf.any_pb2 import Any as PackedResource
from google.protobuf.message import Message

from .messages import type_url
from .resources import CLUSTER_TYPE, ENDPOINTS_TYPE, Endpoint, endpoints, module_cluster, module_resource_name

Observer = Callable[[str, str], None]
"""Receives the type and the name of a resource that has changed or is gone."""


class InconsistentSnapshotError(Exception):
    """The change would leave a cluster without its endpoints; Envoy would wait for them."""


@dataclass(frozen=True)
class Resource:
    """One resource as it is sent."""

    version: str
    packed: PackedResource


class Snapshot:
    """The resources that every connected Envoy gets.

    Endpoints come before the cluster of their name, and go after it.
    """

    def __init__(self) -> None:
        self.observers: set[Observer] = set()
        self._resources: defaultdict[str, dict[str, Resource]] = defaultdict(dict)

    def resources(self, url: str) -> Mapping[str, Resource]:
        """Return the resources of a type by name, which later changes show in."""
        return self._resources[url]

    def set(self, resource: Message) -> None:
        """Add or replace a resource; observers receive only what changes something.

        Raises InconsistentSnapshotError for a cluster whose endpoints aren't here.
        """
        url = type_url(resource)
        name: str = getattr(resource, "cluster_name" if url == ENDPOINTS_TYPE else "name")
        has_endpoints = isinstance(resource, Cluster) and resource.type == Cluster.EDS
        if has_endpoints and name not in self._resources[ENDPOINTS_TYPE]:
            raise InconsistentSnapshotError(f"the cluster {name!r} has no endpoints yet")
        content = resource.SerializeToString(deterministic=True)
        version = hashlib.blake2b(content, digest_size=12).hexdigest()
        known = self._resources[url]
        if name not in known or known[name].version != version:
            known[name] = Resource(version, PackedResource(type_url=url, value=content))
            self._notify(url, name)

    def remove(self, url: str, name: str) -> None:
        """Remove a resource, if it is there.

        Raises InconsistentSnapshotError for endpoints whose cluster is still there.
        """
        if url == ENDPOINTS_TYPE and name in self._resources[CLUSTER_TYPE]:
            raise InconsistentSnapshotError(f"the endpoints {name!r} are those of a cluster that is still there")
        if self._resources[url].pop(name, None) is not None:
            self._notify(url, name)

    def put_module(self, module: str, pods: Iterable[Endpoint]) -> None:
        """Make calls of the module go to these pods."""
        self.set(endpoints(module, pods))
        self.set(module_cluster(module))

    def drop_module(self, module: str) -> None:
        """Make calls of the module go to the pod manager. Calls in flight go on."""
        name = module_resource_name(module)
        self.remove(CLUSTER_TYPE, name)
        self.remove(ENDPOINTS_TYPE, name)

    def _notify(self, url: str, name: str) -> None:
        for observer in self.observers:
            observer(url, name)
