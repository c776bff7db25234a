"""The pod manager as the commands have it: calls to it, and what a failure tells people."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import TypeVar

import grpc
from google.rpc import error_details_pb2

from jac_orc.cli import INTERRUPTED, show
from jac_orc.cli.failures import CallError, Unreachable, UsageError
from jac_orc.cli.place import Address
from jac_orc.client.packing import PackingError
from jac_orc.core import config
from jac_orc.errors import OrcError, from_call
from jac_orc.v1 import module_pb2_grpc, pod_manager_pb2, pod_manager_pb2_grpc

Q = TypeVar("Q")
R = TypeVar("R")

_PATIENCE = 30.0
"""Seconds for which streams that end at once are asked for again, as while a cluster's gateway is replaced."""
_RETRY_SECONDS = 0.5
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024 + 64 * 1024

# What to do next, by reason, and by whether it is about a module, of which {module} is the name.
_ADVICE = {
    ("MODULE_SPEC_DIFFERS", True): "--update changes what options are given for; or first jac-orc delete {module}",
    ("MODULE_NOT_FOUND", True): "this lists those that are: jac-orc list",
    ("MODULE_UNAVAILABLE", False): "this says why: jac-orc doctor",
    ("UNAUTHENTICATED", False): "set JAC_ORC_API_KEY to one that is known there, and try again: jac-orc …",
}
# What a server's own gRPC tells for the calls that are under way when it is stopped.
_STOPPED = "Cancelling all calls"


class Remote:
    """A pod manager behind its front port. Calls raise OrcError or CallError.

    `options` name the place to a further command, as they did to this one. Through a port-forward calls wait for the
    connection: it is made again where it is lost, or else ends the command.
    """

    def __init__(self, address: Address, options: str = "") -> None:
        self.address = address
        self.options = options
        self._wait = address.cluster is not None
        self._metadata = (("x-api-key", address.api_key),) if address.api_key else ()
        if address.api_key and not (address.is_secure or address.is_local):
            print(f"the API key goes unencrypted to {address.url}: https:// is safe", file=sys.stderr)
        arguments: list[tuple[str, int]] = [
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
        ]
        if address.is_local:
            arguments.append(("grpc.enable_http_proxy", 0))
        if address.is_secure:
            self._channel = grpc.aio.secure_channel(address.target, grpc.ssl_channel_credentials(), arguments)
        else:
            self._channel = grpc.aio.insecure_channel(address.target, arguments)
        self.modules = pod_manager_pb2_grpc.PodManagerServiceStub(self._channel)
        self.calls = module_pb2_grpc.ModuleServiceStub(self._channel)

    async def __aenter__(self) -> Remote:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def call(self, method: grpc.aio.UnaryUnaryMultiCallable[Q, R], request: Q, timeout: float | None = None) -> R:
        """Return the answer to a request. Raises CallError if a timeout, in seconds, passes before it."""
        with self._told():
            return await method(request, timeout=timeout, wait_for_ready=self._wait, metadata=self._metadata)

    async def send(self, method: grpc.aio.StreamUnaryMultiCallable[Q, R], requests: AsyncIterator[Q]) -> R:
        """The answer to a stream of requests."""
        with self._told():
            return await method(requests, wait_for_ready=self._wait, metadata=self._metadata)

    async def stream(self, method: grpc.aio.UnaryStreamMultiCallable[Q, R], request: Q) -> AsyncIterator[R]:
        """The stream of answers to a request."""
        with self._told():
            call = method(request, wait_for_ready=self._wait, metadata=self._metadata)
            try:
                async for response in call:
                    yield response
            finally:
                call.cancel()

    async def log_lines(
        self, module: str, *, follow: bool, tail: int | None
    ) -> AsyncIterator[pod_manager_pb2.ReadLogsResponse]:
        """Yield a module's log lines. When following, resume a stream that was cut off, because it was idle for long or
        the connection to a cluster was lost; lines logged in between are included."""
        seen: dict[str, int] = {}  # the times of the pods' last lines
        alive = -math.inf  # when the stream was last known to be one
        while True:
            request = pod_manager_pb2.ReadLogsRequest(module_name=module, follow=follow, tail=tail)
            begin, before, newest = time.monotonic(), dict(seen), max(seen.values(), default=0)
            try:
                async for line in self.stream(self.modules.ReadLogs, request):
                    moment = line.time.ToNanoseconds()
                    if moment > before.get(line.pod, newest) or not moment:
                        seen[line.pod], alive = moment, time.monotonic()
                        yield line
            except CallError as failure:
                may_return = self.address.cluster is not None or not isinstance(failure, Unreachable)
                now = time.monotonic()
                if now - begin > 1:
                    alive = now
                if not (follow and may_return and now - alive < _PATIENCE):
                    raise
                await asyncio.sleep(0 if alive > begin else _RETRY_SECONDS)
            if not follow:
                return
            tail = None if seen else 0

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except grpc.aio.AioRpcError as failure:
            raise told(failure, self.address) from failure


async def probe(address: Address, timeout: float = 10.0) -> None:
    """Raise OrcError or CallError unless a pod manager answers there within `timeout` seconds."""
    async with Remote(address) as remote:
        await remote.call(remote.modules.ListModules, pod_manager_pb2.ListModulesRequest(page_size=1), timeout)


def told(failure: grpc.aio.AioRpcError, address: Address) -> OrcError | CallError:
    """What a failed call means."""
    if reported := from_call(failure):
        return reported
    details = failure.details() or "no details"
    url = address.url
    is_reached = failure.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    if not is_reached and _STOPPED in details:
        options = f"--url {url}" if address.cluster is None else address.cluster.options
        text = "the pod manager was stopped, or restarted, amid the call; what was asked for may go on"
        return Unreachable(f"{text}; this tells, as `jac-orc get MODULE` does: jac-orc list {options}")
    if not is_reached and address.cluster is not None:
        text = f"the pod manager can't be reached through the cluster's gateway: {details}"
        return Unreachable(f"{text}; this says why: jac-orc doctor {address.cluster.options}")
    if not is_reached:
        text = f"no pod manager answers at {url}: start one with jac-orc up, or name another with --url or --context"
        return Unreachable(text if "Connection refused" in details else f"{text} ({details})")
    if failure.code() is grpc.StatusCode.UNIMPLEMENTED:
        return CallError(f"what answers at {url} is no pod manager, or an older one ({details})")
    return CallError(f"{url} answers {failure.code().name}: {details}")


def explain(command: str, failure: Exception, options: str = "") -> str:
    """The failure for people: one line, or a line per field that is at fault, and what to do next."""
    lines = [f"jac-orc {command}: {failure}"]
    if isinstance(failure, OrcError):
        faults = [
            f"{fault.field}: {fault.description}"
            for detail in failure.details
            if isinstance(detail, error_details_pb2.BadRequest)
            for fault in detail.field_violations
        ]
        if len(faults) > 1 and failure.message == "; ".join(faults):
            lines = [f"jac-orc {command}: the request has {len(faults)} faults:"]
        if faults and [failure.message] != faults:
            lines += [f"  {fault}" for fault in faults]
        if advice := _ADVICE.get((failure.reason, "module" in failure.metadata)):
            lines.append(advice.format_map(failure.metadata) + options)
    return "\n".join(lines)


@contextlib.contextmanager
def reported(command: str, options: str = "") -> Iterator[None]:
    """End the process, with a message and its exit code, if the block fails."""
    try:
        yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # nobody reads any more; what is left to print has no place to go
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        sys.exit(1)
    except (UsageError, config.ConfigurationError, OrcError, CallError, PackingError, OSError) as failure:
        print(show.printable(explain(command, failure, options)), file=sys.stderr)
        sys.exit(2 if isinstance(failure, (UsageError, config.ConfigurationError)) else 1)
