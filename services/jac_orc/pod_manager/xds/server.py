"""The Aggregated Discovery Service, in its Delta variant: one stream per Envoy, on which each change is pushed.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol.html, section "Eventual consistency considerations":
what is added goes out in the order CDS, EDS, LDS, RDS, and only then what is gone, users before what they use. Fill the
snapshot before the server starts: an Envoy that reconnects to an empty one loses its modules.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import grpc
from envoy.service.discovery.v3 import ads_pb2_grpc
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse

from .resources import CLUSTER_TYPE, ENDPOINTS_TYPE, LISTENER_TYPE, ROUTES_TYPE
from .snapshot import Resource, Snapshot
from .subscription import Subscription

logger = logging.getLogger(__name__)

_ADD_ORDER = (CLUSTER_TYPE, ENDPOINTS_TYPE, LISTENER_TYPE, ROUTES_TYPE)
_REMOVE_ORDER = (ROUTES_TYPE, LISTENER_TYPE, CLUSTER_TYPE, ENDPOINTS_TYPE)


class XdsServer:
    """Sends a snapshot to every Envoy that connects, and each change of it from then on."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def add_to(self, server: grpc.aio.Server) -> None:
        """Registers the service on a server that has not started."""
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(self, server)

    async def DeltaAggregatedResources(
        self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[Any]:
        stream = _Stream(self._snapshot)
        self._snapshot.observers.add(stream.changed)
        reader = asyncio.create_task(stream.read(requests), name="xds-reader")
        try:
            async for response in stream.responses():
                yield response
        finally:
            self._snapshot.observers.discard(stream.changed)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def StreamAggregatedResources(
        self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        await context.abort(
            grpc.StatusCode.UNIMPLEMENTED,
            "this server speaks the incremental variant of xDS only: set api_type to DELTA_GRPC",
        )


class _Stream:
    """One Envoy's stream: its subscriptions, by type, and whether there is something to send."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._subscriptions: dict[str, Subscription] = {}
        self._nonces = itertools.count(1)
        # Nonce → the names of the resources in a response, until it is acknowledged or refused.
        self._in_flight: dict[str, list[str]] = {}
        self._wake = asyncio.Event()
        self._closed = False

    async def read(self, requests: AsyncIterator[Any]) -> None:
        """Takes requests in until the client has no more."""
        try:
            async for request in requests:
                self._take_in(request)
                self._wake.set()
        except Exception:
            logger.exception("the stream of an Envoy failed")
            raise
        finally:
            self._closed = True
            self._wake.set()

    async def responses(self) -> AsyncIterator[Any]:
        """What is to be sent, as it comes up, until the client has no more requests."""
        while not self._closed:
            await self._wake.wait()
            self._wake.clear()
            for response in self._collect():
                yield response

    def changed(self, type_url: str, name: str) -> None:
        """Take note that a resource has changed or is gone."""
        subscription = self._subscriptions.get(type_url)
        if subscription is not None and subscription.changed(name):
            self._wake.set()

    def _take_in(self, request: Any) -> None:
        url = request.type_url
        if url not in self._subscriptions:
            self._subscriptions[url] = Subscription(self._snapshot.resources(url))
        self._subscriptions[url].request(
            request.resource_names_subscribe, request.resource_names_unsubscribe, request.initial_resource_versions
        )
        names = self._in_flight.pop(request.response_nonce, [])
        if request.HasField("error_detail"):
            logger.error("Envoy refused %s %s: %s", url, names, request.error_detail.message)

    def _collect(self) -> list[Any]:
        """The responses for all that has changed, make before break; made at once, as each send lets others run."""
        changes = {url: subscription.take() for url, subscription in self._subscriptions.items()}
        updated = [(url, changes[url].updated) for url in _ADD_ORDER if url in changes]
        removed = [(url, changes[url].removed) for url in _REMOVE_ORDER if url in changes]
        return [
            *(self._response(url, resources, []) for url, resources in updated if resources),
            *(self._response(url, {}, names) for url, names in removed if names),
        ]

    def _response(self, url: str, updated: Mapping[str, Resource], removed: Sequence[str]) -> Any:
        nonce = str(next(self._nonces))
        response = DeltaDiscoveryResponse(type_url=url, nonce=nonce, removed_resources=removed)
        for name, resource in updated.items():
            response.resources.add(name=name, version=resource.version, resource=resource.packed)
        self._in_flight[nonce] = [*updated, *removed]
        return response
