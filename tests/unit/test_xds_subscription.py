"""The incremental xDS protocol, without a transport."""

from __future__ import annotations

from typing import NamedTuple

from google.protobuf.any_pb2 import Any as PackedResource

from jac_orc.pod_manager.xds.snapshot import Resource
from jac_orc.pod_manager.xds.subscription import Subscription


class Changes(NamedTuple):
    """What is to be sent, by names."""

    updated: list[str]
    removed: list[str]


class Things(dict[str, Resource]):
    """Resources by name, as the snapshot has them."""

    def __init__(self, **versions: str) -> None:
        for name, version in versions.items():
            self.put(name, version)

    def put(self, name: str, version: str) -> None:
        self[name] = Resource(version, PackedResource())


def subscribed(things: Things, *names: str, **initial: str) -> Subscription:
    subscription = Subscription(things)
    subscription.request(names, initial_versions=initial)
    return subscription


def taken(subscription: Subscription) -> Changes:
    changes = subscription.take()
    return Changes(list(changes.updated), list(changes.removed))


def change(subscription: Subscription, things: Things, name: str, version: str | None) -> bool:
    if version is None:
        del things[name]
    else:
        things.put(name, version)
    return subscription.changed(name)


NOTHING = Changes([], [])


def test_a_first_request_without_names_asks_for_everything() -> None:
    things = Things(a="1", b="1")
    subscription = subscribed(things)
    assert taken(subscription) == Changes(["a", "b"], [])
    assert taken(subscription) == NOTHING
    assert change(subscription, things, "c", "1")
    assert taken(subscription) == Changes(["c"], [])


def test_an_explicit_wildcard_next_to_names() -> None:
    things = Things(a="1", b="1")
    subscription = subscribed(things, "*", "a", "x")
    assert taken(subscription) == Changes(["a", "b"], [])
    subscription.request(unsubscribe=["*"])
    assert not change(subscription, things, "b", "2")
    assert change(subscription, things, "a", "2")
    assert change(subscription, things, "x", "1")
    assert taken(subscription) == Changes(["a", "x"], [])


def test_only_named_resources_are_sent() -> None:
    things = Things(a="1", b="1")
    subscription = subscribed(things, "a")
    assert taken(subscription) == Changes(["a"], [])
    assert not change(subscription, things, "b", "2")
    subscription.request(["b"])
    assert taken(subscription) == Changes(["b"], [])
    subscription.request(unsubscribe=["a"])
    assert not change(subscription, things, "a", "2")
    assert taken(subscription) == NOTHING


def test_an_unknown_name_is_waited_for() -> None:
    things = Things()
    subscription = subscribed(things, "later")
    assert taken(subscription) == NOTHING
    assert change(subscription, things, "later", "1")
    assert taken(subscription) == Changes(["later"], [])


def test_what_comes_and_goes_unseen_is_not_told() -> None:
    things = Things()
    subscription = subscribed(things)
    change(subscription, things, "a", "1")
    change(subscription, things, "a", None)
    assert taken(subscription) == NOTHING


def test_removal() -> None:
    things = Things(a="1")
    subscription = subscribed(things)
    subscription.take()
    assert change(subscription, things, "a", None)
    assert taken(subscription) == Changes([], ["a"])
    change(subscription, things, "a", "1")
    assert taken(subscription) == Changes(["a"], [])


def test_changed_back_before_it_was_sent() -> None:
    things = Things(a="1")
    subscription = subscribed(things)
    subscription.take()
    change(subscription, things, "a", "2")
    change(subscription, things, "a", "1")
    assert taken(subscription) == NOTHING


def test_a_reconnected_client_gets_what_differs() -> None:
    things = Things(same="1", newer="2", new="1")
    subscription = subscribed(things, same="1", newer="1", gone="1")
    assert taken(subscription) == Changes(["newer", "new"], ["gone"])


def test_a_reconnected_client_with_names() -> None:
    things = Things(same="1", newer="2", other="1")
    subscription = subscribed(things, "same", "newer", "gone", "never", same="1", newer="1", gone="1", stranger="1")
    assert taken(subscription) == Changes(["newer"], ["gone"])


def test_a_name_subscribed_to_again_is_sent_again() -> None:
    things = Things(a="1")
    subscription = subscribed(things, "a")
    subscription.take()
    subscription.request(["a"])
    assert taken(subscription) == Changes(["a"], [])


def test_a_name_unsubscribed_under_a_wildcard_is_answered() -> None:
    things = Things(a="1")
    subscription = subscribed(things, "*", "a", "b")
    subscription.take()
    subscription.request(unsubscribe=["a", "b"])
    assert taken(subscription) == Changes(["a"], ["b"])
    assert change(subscription, things, "a", "2")


def test_initial_versions_count_in_the_first_request_only() -> None:
    things = Things(a="1", b="1")
    subscription = subscribed(things, "a")
    subscription.take()
    subscription.request(["b"], initial_versions={"b": "1"})
    assert taken(subscription) == Changes(["b"], [])


def test_a_refused_version_is_not_sent_again_but_the_next_one_is() -> None:
    things = Things(a="1")
    subscription = subscribed(things)
    subscription.take()
    change(subscription, things, "a", "bad")
    assert taken(subscription) == Changes(["a"], [])
    subscription.request()
    assert taken(subscription) == NOTHING
    change(subscription, things, "a", "2")
    assert taken(subscription) == Changes(["a"], [])
