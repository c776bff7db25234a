"""What the tests of the guest's parts share: a shelf for objects, documents, and a guest without its process."""

from __future__ import annotations

import importlib
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import strategies as st

from jac_orc.guest import wire
from jac_orc.guest.calls import Call, Calls
from jac_orc.guest.coroutines import Loop
from jac_orc.guest.failures import Refusal
from jac_orc.guest.host_access import HostAccess
from jac_orc.guest.names import Names
from jac_orc.guest.objects import Objects
from jac_orc.guest.requests import Requests
from jac_orc.guest.wire import Wire

LIMITS = {"max_answer": 1_000_000, "max_value": 1_000_000}

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)


class Shelf:
    """Keeps what has no exact form, as the guest's objects do, but with ids that tests can tell."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def keep(self, value: Any) -> dict[str, Any]:
        self.kept.append(value)
        return {"obj_id": f"shelf-{len(self.kept) - 1}", "type": "a.B", "repr": "…", "is_callable": False}

    def find(self, obj_id: str) -> Any:
        return self.kept[int(obj_id.removeprefix("shelf-"))]


def names_of(module: str) -> Names:
    return Names(module, importlib.import_module(module), HostAccess())


def objects_of(
    module: str = "statistics", *, lease: float = 900.0, most: int = 1000, most_bytes: int = 10**9
) -> Objects:
    return Objects(names_of(module), f"{module}-127.0.0.1-50051-1", lease, most, most_bytes)


class Parts:
    """A guest's parts put together in this process: calls are performed in the test's own thread."""

    def __init__(self, names: Names, sock: socket.socket, objects: Objects) -> None:
        self.objects = objects
        self.requests = Requests(names, objects, Loop(), LIMITS)
        output: Any = None  # what is printed is no matter of these tests
        self._calls = Calls(Wire(sock), output, self.requests, Loop())
        self._last_call = 0

    def call(self, method: str, message: Message | bytes) -> bytes:
        """The answer to one method of the service; raises what the call raises."""
        self._last_call += 1
        call = Call(self._calls, self._last_call)
        body = message if isinstance(message, bytes) else message.SerializeToString()
        return self.requests.perform(call, wire.STYLES.index(method), body)


@contextmanager
def parts(names: Names, objects: Objects | None = None) -> Iterator[Parts]:
    """The parts for one module; what they send goes nowhere."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Parts(names, theirs, objects or Objects(names, f"{names.name}-127.0.0.1-50051-1", 900.0, 1000, 10**9))


def refusal(function: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
    """The error of the Refusal that the function raises."""
    with pytest.raises(Refusal) as caught:
        function(*args, **kwargs)
    error: dict[str, Any] = caught.value.error
    return error


def nested(depth: int, leaf: Any, kind: type) -> Any:
    """A leaf in so many containers."""
    for _ in range(depth):
        leaf = {"a": leaf} if kind is dict else kind([leaf])
    return leaf
