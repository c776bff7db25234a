"""What clients of a module have in common: calls as generators that yield RPCs and get their answers.

`jac_orc.client.connection` makes these RPCs for threads, `jac_orc.client.async_connection` for asyncio.
"""

from __future__ import annotations

import abc
import functools
import itertools
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jac_orc.client.messages import (
    MAX_MESSAGE_BYTES,
    Arguments,
    Earlier,
    Remote,
    Results,
    batch_results,
    put_requests,
)
from jac_orc.guest.large_values import LARGE_BYTES
from jac_orc.guest.protowire import fields, flag, key, sized, string
from jac_orc.v1 import module_pb2

OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES + 64 * 1024),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES + 64 * 1024),
    ("grpc.http2.bdp_probe", 0),  # as in the server: time lost where both are near each other
    ("grpc.http2.lookahead_bytes", 4 * 1024 * 1024),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
)
"""The options of a channel to a module."""
RELEASE_PAUSE = 0.02
"""Seconds in which released objects are gathered."""

_RELEASE_SECONDS = 5.0
_LONGEST_SECONDS = 1e8  # gRPC takes a much later deadline for one in the past
_MOST_BYTES = MAX_MESSAGE_BYTES - 1024 * 1024
_PATH = f"/{module_pb2.DESCRIPTOR.services_by_name['ModuleService'].full_name}/"
_SECOND = key(2)


class Rpc(NamedTuple):
    """What is asked; the answer is the response's bytes, of GetValue the value's."""

    method: str
    request: bytes | Iterator[bytes]


Steps = Generator[Rpc, Any, Any]


class Caller(abc.ABC):
    """A module, behind a front proxy or at a module server's own address.

    The methods of an AsyncConnection return awaitables of what is documented here. All raise OrcError, and TypeError
    for a value that can't be sent.
    """

    def __init__(
        self, channel: Any, module: str, metadata: Sequence[tuple[str, str]], timeout: float | None,
        release: Callable[[str], None],
    ) -> None:  # fmt: skip
        """`release` gets the ids of objects that are forgotten here, in any thread and at any time."""
        self._metadata = (*metadata, ("x-module", module)) if module else tuple(metadata)
        self._timeout = timeout
        makers = {"PutValue": channel.stream_unary}
        makers |= dict.fromkeys(("GetValue", "StreamPython"), channel.unary_stream)
        makers |= dict.fromkeys(("CallPython", "CallBatch", "ReleaseObject"), channel.unary_unary)
        self._methods = {name: make(_PATH + name) for name, make in makers.items()}
        self._send_release = functools.partial(
            self._methods["ReleaseObject"], metadata=self._metadata, timeout=_RELEASE_SECONDS
        )
        self._results = Results(release)

    @abc.abstractmethod
    def run(self, steps: Steps, timeout: float | None) -> Any:
        """What the steps return when their RPCs are made."""

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """What the function returns."""
        return self.invoke(method, args, kwargs)

    def invoke(
        self, method: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, *,
        target: Remote | None = None, kept: bool = False, timeout: float | None = None,
    ) -> Any:  # fmt: skip
        """What a function, or a method of `target`, returns; an empty name calls the object itself.

        `kept` answers with a Remote, whatever it is.
        """
        return self.run(self._calling(method, Arguments(args, kwargs or {}, target), flag(6, kept)), timeout)

    def batch(self, *, goes_on: bool = False, timeout: float | None = None) -> Batch:
        """Calls that are sent together; with `goes_on` also those after one that fails."""
        return Batch(self, goes_on=goes_on, timeout=timeout)

    def put(self, value: Any, timeout: float | None = None) -> Any:
        """A Remote of a value of any size."""
        return self.run(self._putting(value), timeout)

    def get(self, remote: Remote, timeout: float | None = None) -> Any:
        """The value of an object, whatever its size."""
        return self.run(self._getting(remote), timeout)

    # --- what they consist of ---

    def _deadline(self, timeout: float | None) -> float | None:
        timeout = self._timeout if timeout is None else timeout
        if timeout is None:
            return None
        if not timeout >= 0:
            raise ValueError(f"the timeout is {timeout!r}, and must be a number of seconds")
        return time.monotonic() + min(timeout, _LONGEST_SECONDS)

    def _start(self, rpc: Rpc, deadline: float | None) -> Any:
        """The call or, of a unary method of `grpc`, its answer."""
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        return self._methods[rpc.method](rpc.request, metadata=self._metadata, timeout=timeout)

    def _value(self, response: bytes) -> Any:
        """The value in a response's first field."""
        return self._results.value(dict(fields(response)).get(1, b""))

    def _received(self, response: bytes) -> tuple[Any, bool]:
        """Return a CallPythonResponse's or StreamPythonResponse's value, or a Remote of a large one and True."""
        parts = dict(fields(response))
        return self._results.value(parts.get(1, b"")), bool(parts.get(2))

    def _calling(self, method: str, arguments: Arguments, options: bytes) -> Steps:
        held = yield from self._sending_ahead([arguments])
        response = yield Rpc("CallPython", arguments.message(method, options))
        del held
        value, is_large = self._received(response)
        return (yield from self._getting(value)) if is_large else value

    def _streaming(self, method: str, arguments: Arguments) -> Steps:
        """What a stream is begun with, and what must be kept while it runs."""
        held = yield from self._sending_ahead([arguments])
        return Rpc("StreamPython", arguments.message(method)), held

    def _putting(self, value: Any) -> Steps:
        (piece,) = Arguments([value], {}, None).pieces()
        return self._value((yield Rpc("PutValue", put_requests(piece, ""))))

    def _getting(self, remote: Remote) -> Steps:
        return self._results.value((yield Rpc("GetValue", string(2, remote.obj_id))))

    def _batching(self, batch: Batch) -> Steps:
        held = yield from self._sending_ahead([arguments for _, arguments, _ in batch.calls])
        response = yield Rpc("CallBatch", batch.message())
        del held
        return batch_results(response, self._results.value)

    def _sending_ahead(self, calls: Sequence[Arguments]) -> Steps:
        """Stores large arguments, and further ones if the rest is too large for one message; what holds them.

        They go to where the calls' objects are, or all to one place, as a call can use objects of one process only.
        """
        held: list[Remote] = []
        pieces = sorted(itertools.chain.from_iterable(call.pieces() for call in calls), key=lambda piece: -piece.size)
        size = sum(piece.size for piece in pieces)
        beside = next((call.obj_id for call in calls if call.obj_id), "")
        for piece in pieces:
            if size < _MOST_BYTES and piece.size < LARGE_BYTES:
                break
            response = yield Rpc("PutValue", put_requests(piece, beside))
            held.append(self._value(response))
            beside = beside or held[0].obj_id
            size -= piece.size
            piece.replace(bytes(dict(fields(response))[1]))
            size += piece.size
        return held


class Batch:
    """Calls that are sent together by `run`; their results may be used before they are there."""

    def __init__(self, caller: Caller, *, goes_on: bool, timeout: float | None) -> None:
        self._caller = caller
        self._goes_on = goes_on
        self._timeout = timeout
        self.calls: list[tuple[str, Arguments, bytes]] = []

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Earlier:
        """Adds a call; what is answered stands for its result in later ones."""
        return self.invoke(method, args, kwargs)

    def invoke(
        self, method: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, *,
        target: Remote | Earlier | None = None, kept: bool = False, silent: bool = False,
    ) -> Earlier:  # fmt: skip
        """Adds a call of a function, or of a method of `target`; what a `silent` one returns isn't sent here."""
        arguments = Arguments(args, kwargs or {}, target, self)
        self.calls.append((method, arguments, flag(5, kept) + flag(6, silent)))
        return Earlier(self, len(self.calls) - 1)

    def run(self) -> Any:
        """What became of each call: its result, None of a silent one, or an OrcError; fewer where one has failed."""
        return self._caller.run(self._caller._batching(self), self._timeout)

    def message(self) -> bytes:
        """The CallBatchRequest."""
        calls = [
            sized(_SECOND, arguments.message(method, options, shift=1)) for method, arguments, options in self.calls
        ]
        return b"".join((*calls, flag(3, self._goes_on)))
