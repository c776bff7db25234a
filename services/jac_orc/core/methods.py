"""A gRPC method as both servers here take it: `grpc.aio.Server` and `core.queue_server.QueueServer`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

STATUSES = {status.value[0]: status for status in grpc.StatusCode}
"""gRPC's status codes by their numbers."""


class Context(Protocol):
    """What a handler may do with its call; of `grpc.aio.ServicerContext`, what is used here."""

    def invocation_metadata(self) -> Any:
        """Return what the client sent: pairs of a name in lower case and a text, or bytes if the name ends in -bin."""

    def time_remaining(self) -> float | None:
        """Return the seconds until the deadline; None if there is none."""

    async def read(self) -> Any:
        """Return the next message; `grpc.aio.EOF` at the end."""

    async def write(self, message: Any) -> None:
        """Send a message of a response stream; return when there is room for more."""

    async def send_initial_metadata(self, metadata: Any) -> None:
        """Send the metadata before the first message, which otherwise takes it along."""

    def set_trailing_metadata(self, metadata: Any) -> None:
        """Have this sent with the status."""

    async def abort(self, code: Any, details: str = "", trailing_metadata: Any = ()) -> Any:
        """End the call with this status; always raises."""

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Have this called, in any thread, when the status has been sent or nobody waits for it any more."""


Finish = Callable[..., None]
"""Sends the one `message` of a call, or its status as `code`, `details`, `trailing`; nothing if the call has ended."""


@dataclass(frozen=True)
class Method:
    """A method that gets the bytes of messages, and what answers its calls.

    `stream_stream` is called with the messages, an asynchronous iterator, and the context, and iterated. A method that
    takes or gives one message is registered as if it had streams: on the wire they are alike, and `grpc.aio` never
    answers a unary call that comes without its message.
    """

    stream_stream: Callable[[AsyncIterator[bytes], Any], AsyncIterator[Any]] | None = None
    response_serializer: Callable[[Any], bytes] | None = None
    takes_one: bool = True
    """Whether a client sends one message, so that the call can't begin before that is there."""
    begin: Callable[[Any, Context, Finish], Callable[[], None]] | None = None
    """Instead of `stream_stream`, without a coroutine: starts to answer the message, or `grpc.aio.EOF`, and returns
    what is to be called if the caller gives up."""
