"""Calls of one module with Python's own values, from asyncio; `jac_orc.client.connection` has the same for threads.

async with AsyncConnection("127.0.0.1:8080", "statistics") as statistics:
    await statistics.call("mean", [Decimal("1.5"), 2])
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import grpc

from jac_orc.client.calling import OPTIONS, RELEASE_PAUSE, Caller, Rpc, Steps
from jac_orc.client.messages import Arguments, Assembly, Remote, failure_of, release_requests
from jac_orc.errors import error


class AsyncConnection(Caller):
    __doc__ = Caller.__doc__

    def __init__(
        self, target: str | grpc.aio.Channel, module: str = "", metadata: Sequence[tuple[str, str]] = (),
        timeout: float | None = None,
    ) -> None:  # fmt: skip
        """`timeout` is of each call, in seconds; None: as long as the module allows. It is made in a running loop."""
        self._loop = asyncio.get_running_loop()
        self._own_channel = grpc.aio.insecure_channel(target, options=OPTIONS) if isinstance(target, str) else None
        super().__init__(self._own_channel or target, module, metadata, timeout, self._forget)
        self._released: deque[str] = deque()
        self._releasing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> AsyncConnection:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends it: its objects are released, and calls in flight are cancelled."""
        self._released.extend(self._results.obj_ids)
        await self._release_now()
        if self._own_channel is not None:
            await self._own_channel.close()

    def stream(
        self, method: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, *,
        target: Remote | None = None, timeout: float | None = None,
    ) -> AsyncItems:  # fmt: skip
        """The items of a generator function as they are made, or those of an object."""
        return AsyncItems(self, self._streaming(method, Arguments(args, kwargs or {}, target)), timeout)

    async def run(self, steps: Steps, timeout: float | None) -> Any:
        deadline = self._deadline(timeout)
        response: Any = None
        while True:
            try:
                rpc = steps.send(response)
            except StopIteration as end:
                return end.value
            response = await self._response(rpc, deadline)

    def _start(self, rpc: Rpc, deadline: float | None) -> Any:
        try:
            return super()._start(rpc, deadline)
        except grpc.aio.UsageError as failure:  # of a channel that is closed
            raise error("CANCELLED", f"the connection is closed: {failure}") from None

    async def _response(self, rpc: Rpc, deadline: float | None) -> Any:
        try:
            call = self._start(rpc, deadline)
            if rpc.method != "GetValue":
                return await call
            assembly = Assembly()
            async for message in call:
                assembly.add(message)
        except grpc.RpcError as failure:
            raise failure_of(failure) from None
        return assembly.message

    def _forget(self, obj_id: str) -> None:
        """Release an object in the background. Any thread may call this, at any time."""
        self._released.append(obj_id)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._release_soon)

    def _release_soon(self) -> None:
        if self._releasing is None or self._releasing.done():
            self._releasing = self._loop.create_task(self._release_later())

    async def _release_later(self) -> None:
        while self._released:
            await asyncio.sleep(RELEASE_PAUSE)
            await self._release_now()

    async def _release_now(self) -> None:
        obj_ids = [self._released.popleft() for _ in range(len(self._released))]
        with contextlib.suppress(grpc.RpcError, grpc.aio.UsageError):  # they are gone, or go with their leases
            for request in release_requests(obj_ids):
                await self._send_release(request)


class AsyncItems(AsyncIterator[Any]):
    """The items of a generator in the pod, which is at most a few ahead of the reader.

    The generator is closed there as soon as this is: by `close` or `aclose`, at the end of an `async with`, as garbage,
    or because reading an item failed or was cancelled.
    """

    def __init__(self, connection: AsyncConnection, steps: Steps, timeout: float | None) -> None:
        self._connection = connection
        self._steps = steps
        self._timeout = timeout
        self._call: Any = None
        self._is_closed = False
        self._held: list[Remote] = []

    async def __anext__(self) -> Any:
        if self._is_closed:
            raise StopAsyncIteration
        try:
            return await self._next()
        except BaseException as failure:  # as in a generator, after which there is no further item
            self.close()
            if isinstance(failure, grpc.RpcError):
                raise failure_of(failure) from None
            raise

    async def _next(self) -> Any:
        connection = self._connection
        if self._call is None:
            rpc, self._held = await connection.run(self._steps, self._timeout)
            self._call = connection._start(rpc, connection._deadline(self._timeout))
        response = await self._call.read()
        if response is grpc.aio.EOF:
            raise StopAsyncIteration
        value, is_large = connection._received(response)
        return await connection.get(value) if is_large else value

    async def __aenter__(self) -> AsyncItems:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the generator; there is no further item then."""
        self._is_closed = True
        self._held = []
        if self._call is not None:
            self._call.cancel()

    async def aclose(self) -> None:
        """Close the generator, as `close` does, for `contextlib.aclosing`."""
        self.close()

    def __del__(self) -> None:
        if self._call is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._connection._loop.call_soon_threadsafe(self._call.cancel)
