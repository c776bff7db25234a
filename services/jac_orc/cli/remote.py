"""The pod manager as the commands have it: where it is, calls to it, and what a failure tells people."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import sys
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.rpc import error_details_pb2, status_pb2

from jac_orc.cli import show
from jac_orc.client.packing import PackingError
from jac_orc.core import config
from jac_orc.errors import OrcError, from_status
from jac_orc.v1 import module_pb2_grpc, pod_manager_pb2_grpc

Q = TypeVar("Q")
R = TypeVar("R")

DEFAULT_URL = "http://127.0.0.1:8080"
INTERRUPTED = 130
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024 + 64 * 1024

# What to do next, by reason; {module} is of the error's metadata.
_ADVICE = {
    "MODULE_SPEC_DIFFERS": "change it with --update, or remove it first with: jac-orc delete {module}",
    "MODULE_NOT_FOUND": "this lists those that are: jac-orc list",
}


class UsageError(Exception):
    """What was asked for makes no sense; the message says why."""


class CallError(Exception):
    """A call has failed, and no pod manager says why."""


class Unreachable(CallError):
    """Nothing answers there."""


@dataclass(frozen=True)
class Settings:
    """Where the pod manager is, if the command doesn't say it."""

    jac_orc_url: str = ""
    pod_manager_url: str = ""
    """In a pod this is set for the module's code; there the commands find their own pod manager."""


@dataclass(frozen=True)
class Address:
    """A URL of the front port."""

    url: str
    target: str
    is_secure: bool
    is_local: bool

    @classmethod
    def of(cls, url: str) -> Address:
        """The address; an empty URL is the one of the environment, or the default. Raises UsageError."""
        settings = config.load(Settings)
        url = url or settings.jac_orc_url or settings.pod_manager_url or DEFAULT_URL
        try:
            parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
            host, port = parts.hostname, parts.port
        except ValueError as fault:
            raise UsageError(f"{url!r} is no URL: {fault}") from None
        if parts.scheme not in ("http", "https") or not host or parts.path not in ("", "/") or parts.query:
            raise UsageError(f"{url!r} is not of the form {DEFAULT_URL}")
        is_secure = parts.scheme == "https"
        host = f"[{host}]" if ":" in host else host
        name = host if port is None else f"{host}:{port}"
        target = f"{host}:{port or (443 if is_secure else 80)}"
        return cls(f"{parts.scheme}://{name}", target, is_secure, _is_loopback(host.strip("[]")))


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


class Remote:
    """A pod manager behind its front port. Calls raise OrcError or CallError."""

    def __init__(self, address: Address) -> None:
        self.address = address
        options: list[tuple[str, int]] = [
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
        ]
        if address.is_local:
            options.append(("grpc.enable_http_proxy", 0))
        if address.is_secure:
            self._channel = grpc.aio.secure_channel(address.target, grpc.ssl_channel_credentials(), options)
        else:
            self._channel = grpc.aio.insecure_channel(address.target, options)
        self.modules = pod_manager_pb2_grpc.PodManagerServiceStub(self._channel)
        self.calls = module_pb2_grpc.ModuleServiceStub(self._channel)

    async def __aenter__(self) -> Remote:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def call(self, method: grpc.aio.UnaryUnaryMultiCallable[Q, R], request: Q) -> R:
        """The answer to a request."""
        with self._told():
            return await method(request)

    async def send(self, method: grpc.aio.StreamUnaryMultiCallable[Q, R], requests: AsyncIterator[Q]) -> R:
        """The answer to a stream of requests."""
        with self._told():
            return await method(requests)

    async def stream(self, method: grpc.aio.UnaryStreamMultiCallable[Q, R], request: Q) -> AsyncIterator[R]:
        """The stream of answers to a request."""
        with self._told():
            call = method(request)
            try:
                async for response in call:
                    yield response
            finally:
                call.cancel()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except grpc.aio.AioRpcError as failure:
            raise told(failure, self.address.url) from failure


def told(failure: grpc.aio.AioRpcError, url: str) -> OrcError | CallError:
    """What a failed call means."""
    for name, value in failure.trailing_metadata() or ():
        if name == "grpc-status-details-bin" and isinstance(value, bytes):
            return from_status(status_pb2.Status.FromString(value))
    details = failure.details() or "no details"
    if failure.code() is grpc.StatusCode.UNAVAILABLE:
        text = f"no pod manager answers at {url}: start one with jac-orc up, or name another with --url"
        return Unreachable(text if "Connection refused" in details else f"{text} ({details})")
    if failure.code() is grpc.StatusCode.UNIMPLEMENTED:
        return CallError(f"what answers at {url} is no pod manager, or an older one ({details})")
    return CallError(f"{url} answers {failure.code().name}: {details}")


def explain(command: str, failure: Exception) -> str:
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
        if advice := _ADVICE.get(failure.reason):
            lines.append(advice.format(module=failure.metadata.get("module", "MODULE")))
    return "\n".join(lines)


def run(command: str, url: str, work: Callable[[Remote], Awaitable[None]]) -> None:
    """Runs a command's work to its end, and ends the process where it fails."""

    async def connected() -> None:
        async with Remote(Address.of(url)) as remote:
            await work(remote)

    try:
        asyncio.run(connected())
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # nobody reads any more; what is left to print has no place to go
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        sys.exit(1)
    except (UsageError, config.ConfigurationError) as failure:
        print(show.printable(explain(command, failure)), file=sys.stderr)
        sys.exit(2)
    except (OrcError, CallError, PackingError, OSError) as failure:
        print(show.printable(explain(command, failure)), file=sys.stderr)
        sys.exit(1)
