"""What Envoy shall have: resources by type and name, each with a version, and who wants to know of changes.

Versions are hashes of the content, so that they survive a restart of the control plane: an Envoy that reconnects says
which versions it has and gets only what differs. A change costs the same however many modules there are. Used from one
event loop only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from google.protobuf.any_pb2 import Any as PackedResource
from google.protobuf.message import Message

from . import resources
from .messages import type_url
from .resources import CLUSTER_TYPE, ENDPOINTS_TYPE, Endpoint

Observer = Callable[[str, str], None]
"""Told the type and the name of a resource that has changed or is gone."""


class InconsistentSnapshotError(Exception):
    """The change would leave a cluster without the endpoints it refers to; Envoy would wait for them."""


@dataclass(frozen=True)
class Resource:
    """One resource as it is sent."""

    name: str
    version: str
    packed: PackedResource


class Snapshot:
    """The resources that every connected Envoy gets.

    Endpoints come before the cluster that refers to them, and go after it.
    """

    def __init__(self) -> None:
        self._resources: dict[str, dict[str, Resource]] = {}
        self._observers: dict[object, Observer] = {}
        # The resource name of the endpoints → how many clusters refer to them; and each cluster's reference.
        self._references: dict[str, int] = {}
        self._reference_of: dict[str, str] = {}

    def set(self, resource: Message) -> bool:
        """Adds or replaces a resource; whether that changed anything.

        Raises InconsistentSnapshotError for a cluster whose endpoints aren't here.
        """
        url, name = type_url(resource), _name(resource)
        if isinstance(resource, Cluster):
            self._refer(name, _endpoints_of(resource))
        content = resource.SerializeToString(deterministic=True)
        version = hashlib.blake2b(content, digest_size=12).hexdigest()
        known = self._resources.setdefault(url, {})
        if name in known and known[name].version == version:
            return False
        known[name] = Resource(name, version, PackedResource(type_url=url, value=content))
        self._tell(url, name)
        return True

    def remove(self, type_url: str, name: str) -> bool:
        """Removes a resource; whether it was there.

        Raises InconsistentSnapshotError for endpoints that a cluster refers to.
        """
        if type_url == ENDPOINTS_TYPE and self._references.get(name):
            raise InconsistentSnapshotError(f"the endpoints {name!r} are those of a cluster that is still there")
        if self._resources.get(type_url, {}).pop(name, None) is None:
            return False
        if type_url == CLUSTER_TYPE:
            self._refer(name, None)
        self._tell(type_url, name)
        return True

    def put_module(self, module: str, pods: Iterable[Endpoint]) -> bool:
        """Makes calls of the module go to these pods; whether that changed anything."""
        moved = self.set(resources.endpoints(module, pods))
        return self.set(resources.module_cluster(module)) or moved

    def drop_module(self, module: str) -> bool:
        """Makes calls of the module go to the pod manager; whether that changed anything. Calls in flight go on."""
        name = resources.module_resource_name(module)
        dropped = self.remove(CLUSTER_TYPE, name)
        return self.remove(ENDPOINTS_TYPE, name) or dropped

    def get(self, type_url: str, name: str) -> Resource | None:
        """The resource, or None."""
        return self._resources.get(type_url, {}).get(name)

    def names(self, type_url: str) -> Iterable[str]:
        """The names of all resources of a type."""
        return self._resources.get(type_url, {}).keys()

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Has the observer told of each change from now on; the answer ends that."""
        key = object()
        self._observers[key] = observer

        def end() -> None:
            self._observers.pop(key, None)

        return end

    def _tell(self, url: str, name: str) -> None:
        for observer in list(self._observers.values()):
            observer(url, name)

    def _refer(self, cluster: str, target: str | None) -> None:
        """Notes which endpoints the cluster refers to, None for none, in place of what it referred to before."""
        if target is not None and self.get(ENDPOINTS_TYPE, target) is None:
            raise InconsistentSnapshotError(f"the cluster {cluster!r} has no endpoints {target!r} yet")
        before = self._reference_of.pop(cluster, None)
        if before is not None:
            self._references[before] -= 1
            if not self._references[before]:
                del self._references[before]
        if target is not None:
            self._reference_of[cluster] = target
            self._references[target] = self._references.get(target, 0) + 1


def _name(resource: Message) -> str:
    """What xDS calls a resource's name: `cluster_name` for endpoints, else `name`."""
    field = "cluster_name" if type_url(resource) == ENDPOINTS_TYPE else "name"
    name: str = getattr(resource, field)
    if not name:
        raise ValueError(f"a {resource.DESCRIPTOR.name} without a name")
    return name


def _endpoints_of(cluster: Cluster) -> str | None:
    if cluster.type != Cluster.EDS:
        return None
    name: str = cluster.eds_cluster_config.service_name or cluster.name
    return name
