"""One client's subscription to one type of resources, as the incremental (Delta) variant of xDS defines it.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol.html, sections "Incremental xDS", "How the client
specifies what resources to return", "ACK/NACK and resource type instance version". No transport in here: requests come
in as data, answers go out as data.

What the client has is taken to be what was sent to it, whether it has acknowledged that or not: a resource that it
refused stays refused until its content changes, rather than being sent for ever. After a NACK the client goes on with
what it had.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

WILDCARD = "*"
_FORGOTTEN = ""
"""No resource's version: whatever there is now is to be sent."""


class Known(Protocol):
    """What of a resource matters here."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def version(self) -> str:
        """Its version; equal versions mean equal content."""


class Source(Protocol):
    """Where the resources are."""

    def get(self, type_url: str, name: str) -> Known | None:
        """The resource, or None."""

    def names(self, type_url: str) -> Iterable[str]:
        """The names of all resources of a type."""


@dataclass(frozen=True)
class Rejection:
    """A NACK: what the client refused, and why."""

    type_url: str
    versions: Mapping[str, str]
    """The refused resources with their versions; empty where the nonce names no answer in flight."""
    message: str


@dataclass(frozen=True)
class Changes:
    """What is to be sent."""

    updated: Sequence[str]
    """Names of resources, in order."""
    removed: Sequence[str]
    """Names of resources that the client has and that are gone."""


class Subscription:
    """What a client wants of a type, what it has been sent, and what it is still to be sent."""

    def __init__(self, type_url: str, source: Source) -> None:
        self.type_url = type_url
        self._source = source
        self._started = False
        self._wildcard = False
        self._names: set[str] = set()
        # Name → the version that the client has or is being sent.
        self._sent: dict[str, str] = {}
        # Names to look at when next something is sent; a dict for its order.
        self._pending: dict[str, None] = {}
        # Nonce → the versions it carried, until it is acknowledged.
        self._in_flight: dict[str, Mapping[str, str]] = {}
        self._nonces = 0

    def request(
        self,
        subscribe: Sequence[str] = (),
        unsubscribe: Sequence[str] = (),
        initial_versions: Mapping[str, str] | None = None,
        nonce: str = "",
        error: str | None = None,
    ) -> Rejection | None:
        """Takes one request in; the answer tells of a NACK, which has an `error`.

        A stale or unknown nonce acknowledges nothing; what else the request asks for counts all the same.
        """
        rejection = self._acknowledge(nonce, error)
        if not self._started:
            self._started = True
            self._sent.update(initial_versions or {})
            self._start(subscribe)
        else:
            self._subscribe(subscribe, resend=True)
        self._unsubscribe(unsubscribe)
        return rejection

    def changed(self, name: str) -> bool:
        """Takes note that a resource has changed or is gone; whether the client is to be told."""
        if self._wildcard or name in self._names:
            self._pending[name] = None
            return True
        return False

    def wants(self, name: str) -> bool:
        """Whether the client has subscribed to this resource."""
        return self._wildcard or name in self._names

    def take(self) -> Changes:
        """What is to be sent now; it counts as sent.

        A name that doesn't exist and that the client doesn't have is not answered at all: it is sent when it comes.
        """
        pending, self._pending = self._pending, {}
        updated, removed = [], []
        for name in pending:
            resource = self._source.get(self.type_url, name)
            if resource is not None and self._sent.get(name) != resource.version:
                self._sent[name] = resource.version
                updated.append(name)
            elif resource is None and self._sent.pop(name, None) is not None:
                removed.append(name)
        return Changes(updated, removed)

    def nonce(self, versions: Mapping[str, str]) -> str:
        """A new nonce for an answer that carries these versions."""
        self._nonces += 1
        nonce = str(self._nonces)
        self._in_flight[nonce] = dict(versions)
        return nonce

    def _acknowledge(self, nonce: str, error: str | None) -> Rejection | None:
        versions = self._in_flight.pop(nonce, {})
        return None if error is None else Rejection(self.type_url, versions, error)

    def _start(self, names: Sequence[str]) -> None:
        """A first request that names nothing asks for everything, as one for `*` does.

        What the client has from an earlier stream is looked at too: it may be gone.
        """
        self._subscribe([*names] or [WILDCARD], resend=False)
        for name in self._sent:
            if self.wants(name):
                self._pending[name] = None

    def _subscribe(self, names: Sequence[str], resend: bool) -> None:
        """A name that is subscribed to again is sent again, even if unchanged: the client may have forgotten it."""
        for name in names:
            if name == WILDCARD:
                self._wildcard = True
                self._pending.update(dict.fromkeys(self._source.names(self.type_url)))
                continue
            self._names.add(name)
            if resend and name in self._sent:
                self._sent[name] = _FORGOTTEN
            self._pending[name] = None

    def _unsubscribe(self, names: Sequence[str]) -> None:
        for name in names:
            if name == WILDCARD:
                self._wildcard = False
                kept = self._names
                self._sent = {sent: version for sent, version in self._sent.items() if sent in kept}
                self._pending = {pending: None for pending in self._pending if pending in kept}
                continue
            self._names.discard(name)
            if self._wildcard:
                # The client can't tell whether the wildcard covers it: it gets the resource, or its removal.
                self._sent[name] = _FORGOTTEN
                self._pending[name] = None
            else:
                self._sent.pop(name, None)
                self._pending.pop(name, None)
