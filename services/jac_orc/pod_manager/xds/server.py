"""The Aggregated Discovery Service, in its Delta variant: one stream per Envoy, on which each change is pushed.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol.html, section "Eventual consistency considerations":
what is added goes out in the order CDS, EDS, LDS, RDS, and only then what is gone, users before what they use. Fill the
snapshot before the server starts: an Envoy that reconnects to an empty one loses its modules.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import grpc
from envoy.service.discovery.v3 import ads_pb2
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from .resources import CLUSTER_TYPE, ENDPOINTS_TYPE, LISTENER_TYPE, ROUTES_TYPE
from .snapshot import Snapshot
from .subscription import Rejection, Subscription

logger = logging.getLogger(__name__)

_ADD_ORDER = (CLUSTER_TYPE, ENDPOINTS_TYPE, LISTENER_TYPE, ROUTES_TYPE)
_REMOVE_ORDER = (ROUTES_TYPE, LISTENER_TYPE, CLUSTER_TYPE, ENDPOINTS_TYPE)
_SERVICE = ads_pb2.DESCRIPTOR.services_by_name["AggregatedDiscoveryService"]
_REMEMBERED_REJECTIONS = 100


class XdsServer:
    """Sends a snapshot to every Envoy that connects, and each change of it from then on."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._streams: set[_Stream] = set()
        self.rejected: deque[Rejection] = deque(maxlen=_REMEMBERED_REJECTIONS)
        """What Envoys have refused, the latest last; each is a fault of ours."""

    @property
    def streams(self) -> int:
        """How many Envoys are connected."""
        return len(self._streams)

    def add_to(self, server: grpc.aio.Server) -> None:
        """Registers the service on a server that has not started."""
        handlers = {
            "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(
                self._delta, DeltaDiscoveryRequest.FromString, DeltaDiscoveryResponse.SerializeToString
            ),
            "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(self._state_of_the_world),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE.full_name, handlers),))

    def close(self) -> None:
        """Ends all streams, so that a stop of the server needn't wait for them; Envoys go on with what they have."""
        for stream in self._streams:
            stream.close()

    async def _delta(
        self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[Any]:
        stream = _Stream(self._snapshot, self.rejected)
        self._streams.add(stream)
        reader = asyncio.create_task(stream.read(requests), name="xds-reader")
        try:
            async for response in stream.responses():
                yield response
        finally:
            self._streams.discard(stream)
            stream.end()
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _state_of_the_world(
        self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        await context.abort(
            grpc.StatusCode.UNIMPLEMENTED,
            "this server speaks the incremental variant of xDS only: set api_type to DELTA_GRPC",
        )


class _Stream:
    """One Envoy's stream: its subscriptions, by type, and whether there is something to send."""

    def __init__(self, snapshot: Snapshot, rejected: deque[Rejection]) -> None:
        self._snapshot = snapshot
        self._rejected = rejected
        self._subscriptions: dict[str, Subscription] = {}
        self._wake = asyncio.Event()
        self._closed = False
        self.end = snapshot.observe(self._changed)

    def close(self) -> None:
        self._closed = True
        self._wake.set()

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
            self.close()

    async def responses(self) -> AsyncIterator[Any]:
        """What is to be sent, as it comes up, until the stream is closed."""
        while not self._closed:
            await self._wake.wait()
            self._wake.clear()
            for response in self._collect():
                yield response

    def _changed(self, type_url: str, name: str) -> None:
        subscription = self._subscriptions.get(type_url)
        if subscription is not None and subscription.changed(name):
            self._wake.set()

    def _take_in(self, request: Any) -> None:
        subscription = self._subscriptions.get(request.type_url)
        if subscription is None:
            subscription = self._subscriptions[request.type_url] = Subscription(request.type_url, self._snapshot)
        rejection = subscription.request(
            request.resource_names_subscribe,
            request.resource_names_unsubscribe,
            request.initial_resource_versions,
            request.response_nonce,
            request.error_detail.message if request.HasField("error_detail") else None,
        )
        if rejection is not None:
            logger.error("Envoy refused %s %s: %s", rejection.type_url, list(rejection.versions), rejection.message)
            self._rejected.append(rejection)

    def _collect(self) -> list[Any]:
        """The responses for all that has changed, make before break; made at once, as each send lets others run."""
        changes = {url: subscription.take() for url, subscription in self._subscriptions.items()}
        added = [(url, changes[url].updated) for url in _ADD_ORDER if url in changes]
        gone = [(url, changes[url].removed) for url in _REMOVE_ORDER if url in changes]
        return [
            *(self._response(url, updated=names) for url, names in added if names),
            *(self._response(url, removed=names) for url, names in gone if names),
        ]

    def _response(self, url: str, updated: Any = (), removed: Any = ()) -> Any:
        response = DeltaDiscoveryResponse(type_url=url, removed_resources=removed)
        versions: dict[str, str] = {}
        for name in updated:
            resource = self._snapshot.get(url, name)
            assert resource is not None, "nothing can change between Subscription.take and here"
            versions[name] = resource.version
            response.resources.add(name=name, version=resource.version, resource=resource.packed)
        response.nonce = self._subscriptions[url].nonce(versions)
        return response
