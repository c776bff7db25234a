"""Calls of one module with Python's own values, from threads.

    with Connection("127.0.0.1:8080", "statistics") as statistics:
        statistics.call("mean", [Decimal("1.5"), 2])

Each call is an RPC of its own, so any number of threads may share a connection. gRPC connects again by itself. A
connection that is closed, or garbage, releases its objects. What is held when the interpreter exits stays until its
lease ends.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import grpc

from jac_orc.client.calling import OPTIONS, RELEASE_PAUSE, Caller, Rpc, Steps
from jac_orc.client.messages import Arguments, Assembly, Remote, failure_of, release_requests
from jac_orc.errors import error


class Connection(Caller):
    __doc__ = Caller.__doc__

    def __init__(
        self, target: str | grpc.Channel, module: str = "", metadata: Sequence[tuple[str, str]] = (),
        timeout: float | None = None,
    ) -> None:  # fmt: skip
        """`timeout` is of each call, in seconds; None: as long as the module allows."""
        self._own_channel = grpc.insecure_channel(target, options=OPTIONS) if isinstance(target, str) else None
        self._released: queue.SimpleQueue[str] = queue.SimpleQueue()  # which a finalizer may use at any point
        super().__init__(self._own_channel or target, module, metadata, timeout, self._released.put)
        self._closing = threading.Event()
        end = weakref.finalize(self, self._released.put, "")
        end.atexit = False
        arguments = (self._send_release, self._results.obj_ids, self._released, self._closing)
        self._releasing = threading.Thread(target=_keep_releasing, args=arguments, daemon=True, name="releases")
        self._releasing.start()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends it: its objects are released, and calls in flight are cancelled."""
        if not self._closing.is_set():
            self._closing.set()
            self._released.put("")
            self._releasing.join()
        if self._own_channel is not None:
            self._own_channel.close()

    def stream(
        self, method: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, *,
        target: Remote | None = None, timeout: float | None = None,
    ) -> Items:  # fmt: skip
        """The items of a generator function as they are made, or those of an object."""
        rpc, held = self.run(self._streaming(method, Arguments(args, kwargs or {}, target)), timeout)
        return Items(self, self._start(rpc, self._deadline(timeout)), held)

    def run(self, steps: Steps, timeout: float | None) -> Any:
        deadline = self._deadline(timeout)
        response: Any = None
        while True:
            try:
                rpc = steps.send(response)
            except StopIteration as end:
                return end.value
            response = self._response(rpc, deadline)

    def _start(self, rpc: Rpc, deadline: float | None) -> Any:
        try:
            return super()._start(rpc, deadline)
        except ValueError as failure:  # of a channel that is closed
            raise error("CANCELLED", f"the connection is closed: {failure}") from None

    def _response(self, rpc: Rpc, deadline: float | None) -> Any:
        try:
            response = self._start(rpc, deadline)
            if rpc.method != "GetValue":
                return response
            assembly = Assembly()
            for message in response:
                assembly.add(message)
        except grpc.RpcError as failure:
            raise failure_of(failure) from None
        return assembly.message


class Items(Iterator[Any]):
    """The items of a generator in the pod, which is at most a few ahead of the reader.

    The generator is closed there as soon as this is: by `close`, at the end of a `with`, as garbage, or because reading
    an item failed. A loop that is left by `break` leaves it as garbage, unless something else refers to it.
    """

    def __init__(self, connection: Connection, responses: Any, held: list[Remote]) -> None:
        self._connection = connection
        self._responses = responses
        self._held = held
        self._is_closed = False

    def __next__(self) -> Any:
        if self._is_closed:
            raise StopIteration
        try:
            value, is_large = self._connection._received(next(self._responses))
            return self._connection.get(value) if is_large else value
        except BaseException as failure:  # as in a generator, after which there is no further item
            self.close()
            if isinstance(failure, grpc.RpcError):
                raise failure_of(failure) from None
            raise

    def __enter__(self) -> Items:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the generator; there is no further item then."""
        self._is_closed = True
        self._held = []
        self._responses.cancel()

    def __del__(self) -> None:
        self._responses.cancel()


def _keep_releasing(
    release: Callable[[bytes], object], obj_ids: set[str], released: queue.SimpleQueue[str], closing: threading.Event
) -> None:
    """Release objects in the pods, many at a time. After an empty id, release those left in `obj_ids` and return.

    This holds no reference to the connection, which can become garbage.
    """
    has_ended = False
    while not has_ended:
        gathered = [released.get()]
        closing.wait(RELEASE_PAUSE)
        with contextlib.suppress(queue.Empty):
            while True:
                gathered.append(released.get_nowait())
        has_ended = "" in gathered
        with contextlib.suppress(grpc.RpcError, ValueError):  # they are gone, or go with their leases
            for request in release_requests({*filter(None, gathered), *(obj_ids if has_ended else ())}):
                release(request)
