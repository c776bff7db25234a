"""One client's subscription to one type of resources, as the incremental (Delta) variant of xDS defines it.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol.html, sections "Incremental xDS", "How the client
specifies what resources to return", "ACK/NACK and resource type instance version". No transport in here: requests come
in as data, answers go out as data.

What the client has is taken to be what was sent to it, whether it has acknowledged that or not: a resource that it
refused stays refused until its content changes, rather than being sent for ever. After a NACK the client goes on with
what it had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .snapshot import Resource

WILDCARD = "*"
_FORGOTTEN = ""
"""No resource's version: whatever there is now is to be sent."""


class Changes(NamedTuple):
    """What is to be sent."""

    updated: Mapping[str, Resource]
    """Resources by name, in order."""
    removed: Sequence[str]
    """Names of resources that the client has and that are gone."""


class Subscription:
    """What a client wants of a type, what it has been sent, and what it is still to be sent."""

    def __init__(self, resources: Mapping[str, Resource]) -> None:
        """`resources` are those of the type, by name, as they are at any time."""
        self._resources = resources
        self._started = False
        self._wildcard = False
        self._names: set[str] = set()
        # Name → the version that the client has or is being sent.
        self._sent: dict[str, str] = {}
        # Names to look at when next something is sent; a dict for its order.
        self._pending: dict[str, None] = {}

    def request(
        self,
        subscribe: Sequence[str] = (),
        unsubscribe: Sequence[str] = (),
        initial_versions: Mapping[str, str] | None = None,
    ) -> None:
        """Take one request in, which may acknowledge or refuse something as well."""
        if not self._started:
            self._started = True
            self._sent.update(initial_versions or {})
            self._start(subscribe)
        else:
            self._subscribe(subscribe, resend=True)
        self._unsubscribe(unsubscribe)

    def changed(self, name: str) -> bool:
        """Take note that a resource has changed or is gone; return whether the client is to receive that."""
        if self._wants(name):
            self._pending[name] = None
            return True
        return False

    def take(self) -> Changes:
        """Return what is to be sent now; it counts as sent.

        A name that doesn't exist and that the client doesn't have is not answered at all: it is sent when it comes.
        """
        pending, self._pending = self._pending, {}
        updated, removed = {}, []
        for name in pending:
            resource = self._resources.get(name)
            if resource is not None and self._sent.get(name) != resource.version:
                self._sent[name] = resource.version
                updated[name] = resource
            elif resource is None and self._sent.pop(name, None) is not None:
                removed.append(name)
        return Changes(updated, removed)

    def _wants(self, name: str) -> bool:
        return self._wildcard or name in self._names

    def _start(self, names: Sequence[str]) -> None:
        """A first request that names nothing asks for everything, as one for `*` does.

        What the client has from an earlier stream is looked at too: it may be gone.
        """
        self._subscribe([*names] or [WILDCARD], resend=False)
        for name in self._sent:
            if self._wants(name):
                self._pending[name] = None

    def _subscribe(self, names: Sequence[str], resend: bool) -> None:
        """A name that is subscribed to again is sent again, even if unchanged: the client may have forgotten it."""
        for name in names:
            if name == WILDCARD:
                self._wildcard = True
                self._pending.update(dict.fromkeys(self._resources))
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
