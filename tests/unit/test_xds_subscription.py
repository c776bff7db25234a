"""The incremental xDS protocol, without a transport."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jac_orc.pod_manager.xds.subscription import Changes, Rejection, Subscription

TYPE = "type.example/Thing"


@dataclass(frozen=True)
class Thing:
    name: str
    version: str


class Things:
    """A source of named versions."""

    def __init__(self, **versions: str) -> None:
        self.versions = versions

    def get(self, type_url: str, name: str) -> Thing | None:
        assert type_url == TYPE
        return Thing(name, self.versions[name]) if name in self.versions else None

    def names(self, type_url: str) -> Iterable[str]:
        assert type_url == TYPE
        return self.versions.keys()


def subscribed(things: Things, *names: str, **initial: str) -> Subscription:
    subscription = Subscription(TYPE, things)
    subscription.request(names, initial_versions=initial)
    return subscription


def change(subscription: Subscription, things: Things, name: str, version: str | None) -> bool:
    if version is None:
        del things.versions[name]
    else:
        things.versions[name] = version
    return subscription.changed(name)


NOTHING = Changes([], [])


def test_a_first_request_without_names_asks_for_everything() -> None:
    things = Things(a="1", b="1")
    subscription = subscribed(things)
    assert subscription.take() == Changes(["a", "b"], [])
    assert subscription.take() == NOTHING
    assert change(subscription, things, "c", "1")
    assert subscription.take() == Changes(["c"], [])


def test_an_explicit_wildcard_next_to_names() -> None:
    things = Things(a="1", b="1")
    subscription = subscribed(things, "*", "a", "x")
    assert subscription.take() == Changes(["a", "b"], [])
    subscription.request(unsubscribe=["*"])
    assert not change(subscription, things, "b", "2")
    assert change(subscription, things, "a", "2")
    assert change(subscription, things, "x", "1")
    assert subscription.take() == Changes(["a", "x"], [])


def test_only_named_resources_are_sent() -> None:
    things = Things(a="1", b="1")
    subscription = subscribed(things, "a")
    assert subscription.take() == Changes(["a"], [])
    assert not change(subscription, things, "b", "2")
    subscription.request(["b"])
    assert subscription.take() == Changes(["b"], [])
    subscription.request(unsubscribe=["a"])
    assert not change(subscription, things, "a", "2")
    assert subscription.take() == NOTHING


def test_an_unknown_name_is_waited_for() -> None:
    things = Things()
    subscription = subscribed(things, "later")
    assert subscription.take() == NOTHING
    assert change(subscription, things, "later", "1")
    assert subscription.take() == Changes(["later"], [])


def test_what_comes_and_goes_unseen_is_not_told() -> None:
    things = Things()
    subscription = subscribed(things)
    change(subscription, things, "a", "1")
    change(subscription, things, "a", None)
    assert subscription.take() == NOTHING


def test_removal() -> None:
    things = Things(a="1")
    subscription = subscribed(things)
    subscription.take()
    assert change(subscription, things, "a", None)
    assert subscription.take() == Changes([], ["a"])
    change(subscription, things, "a", "1")
    assert subscription.take() == Changes(["a"], [])


def test_changed_back_before_it_was_sent() -> None:
    things = Things(a="1")
    subscription = subscribed(things)
    subscription.take()
    change(subscription, things, "a", "2")
    change(subscription, things, "a", "1")
    assert subscription.take() == NOTHING


def test_a_reconnected_client_gets_what_differs() -> None:
    things = Things(same="1", newer="2", new="1")
    subscription = subscribed(things, same="1", newer="1", gone="1")
    assert subscription.take() == Changes(["newer", "new"], ["gone"])


def test_a_reconnected_client_with_names() -> None:
    things = Things(same="1", newer="2", other="1")
    subscription = subscribed(things, "same", "newer", "gone", "never", same="1", newer="1", gone="1", stranger="1")
    assert subscription.take() == Changes(["newer"], ["gone"])


def test_a_name_subscribed_to_again_is_sent_again() -> None:
    things = Things(a="1")
    subscription = subscribed(things, "a")
    subscription.take()
    subscription.request(["a"])
    assert subscription.take() == Changes(["a"], [])


def test_a_name_unsubscribed_under_a_wildcard_is_answered() -> None:
    things = Things(a="1")
    subscription = subscribed(things, "*", "a", "b")
    subscription.take()
    subscription.request(unsubscribe=["a", "b"])
    assert subscription.take() == Changes(["a"], ["b"])
    assert change(subscription, things, "a", "2")


def test_initial_versions_count_in_the_first_request_only() -> None:
    things = Things(a="1", b="1")
    subscription = subscribed(things, "a")
    subscription.take()
    subscription.request(["b"], initial_versions={"b": "1"})
    assert subscription.take() == Changes(["b"], [])


def test_acknowledgement() -> None:
    subscription = subscribed(Things(a="1"))
    nonce = subscription.nonce({"a": "1"})
    assert subscription.request(nonce=nonce) is None
    assert subscription.request(nonce=nonce, error="late") == Rejection(TYPE, {}, "late")


def test_a_refused_version_is_not_sent_again_but_the_next_one_is() -> None:
    things = Things(a="1")
    subscription = subscribed(things)
    subscription.take()
    change(subscription, things, "a", "bad")
    assert subscription.take() == Changes(["a"], [])
    nonce = subscription.nonce({"a": "bad"})
    assert subscription.request(nonce=nonce, error="no such thing") == Rejection(TYPE, {"a": "bad"}, "no such thing")
    assert subscription.take() == NOTHING
    change(subscription, things, "a", "2")
    assert subscription.take() == Changes(["a"], [])


def test_nonces_differ_and_stale_ones_do_no_harm() -> None:
    things = Things(a="1")
    subscription = subscribed(things, "a")
    first, second = subscription.nonce({"a": "1"}), subscription.nonce({"a": "2"})
    assert first != second
    assert subscription.request(["b"], nonce="stale") is None
    assert change(subscription, things, "b", "1")
    assert subscription.request(nonce=second, error="x") == Rejection(TYPE, {"a": "2"}, "x")
    assert subscription.request(nonce=first) is None
