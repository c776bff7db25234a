"""Which of two gRPC servers answers: `QueueServer`, or `grpc.aio` where that can't be, or isn't wanted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc

from jac_orc.core import config
from jac_orc.core.methods import STATUSES, Context, Method

if TYPE_CHECKING:
    from jac_orc.core.queue_server import QueueServer

logger = logging.getLogger(__name__)

_TRIAL_SECONDS = 2.0


async def new_front(
    options: Sequence[tuple[str, Any]], methods: Mapping[str, Method], unknown: Callable[[str], Method]
) -> QueueServer | grpc.aio.Server:
    """Return a server, not started yet, as the setting GRPC_SERVER says; `unknown` makes the method of other paths.

    A `QueueServer` rests on private parts of grpcio. Without a setting, a trial call shows whether they are there and
    behave as expected. If not, this logs a warning and returns a `grpc.aio` server. The trial takes 10 ms, so a success
    becomes the setting: module servers that this process starts need none.
    """
    if not config.grpc_server():
        fault = await _trial_fault()
        if fault:
            text = "this grpcio (%s) does not carry the queue server, so calls take grpc.aio, which costs them more: %s"
            logger.warning(text, grpc.__version__, fault)
        else:
            config.keep_queue_server()
    if config.grpc_server() == "queue":
        from jac_orc.core.queue_server import QueueServer  # noqa: PLC0415 - which may not be there

        return QueueServer(options, methods, unknown)
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers((_AioMethods(methods, unknown),))
    return server


async def _trial_fault() -> str:
    """Return what is wrong with the queue server in this process; empty if nothing is."""
    try:
        from jac_orc.core.queue_server import QueueServer  # noqa: PLC0415

        async def echo(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
            async for request in requests:
                yield request

        server = QueueServer((), {}, lambda path: Method(echo))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                call: Any = channel.unary_unary("/trial/Echo")
                answer = await call(b"trial", timeout=_TRIAL_SECONDS)
        finally:
            await server.stop(None)
    except Exception as fault:  # noqa: BLE001 - whatever it is, there is another server
        return f"{type(fault).__name__}: {fault}"
    return "" if answer == b"trial" else f"it answered {answer!r}"


class _AioMethods(grpc.GenericRpcHandler):
    """Finds methods for `grpc.aio`."""

    def __init__(self, methods: Mapping[str, Method], unknown: Callable[[str], Method]) -> None:
        self._methods = methods
        self._unknown = unknown

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        path = handler_call_details.method
        method = self._methods.get(path) or self._unknown(path)
        answer: Any = method.stream_stream or partial(_awaited, method.begin)
        return grpc.stream_stream_rpc_method_handler(answer, response_serializer=method.response_serializer)


async def _awaited(begin: Any, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    """Answers a call of a method that has no coroutine."""
    ended: asyncio.Future[tuple[int, str, Any, Any]] = asyncio.get_running_loop().create_future()

    def finish(code: int = 0, details: str = "", trailing: Any = (), message: bytes | None = None) -> None:
        if not ended.done():
            ended.set_result((code, details, trailing, message))

    give_up = begin(await context.read(), context, finish)
    try:
        code, details, trailing, message = await ended
    except asyncio.CancelledError:
        give_up()
        raise
    if code:
        await context.abort(STATUSES[code], details, trailing)
    yield message
