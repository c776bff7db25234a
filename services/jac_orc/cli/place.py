"""Where a command's pod manager is: at an address, or in a cluster, to whose gateway a port is forwarded."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import urllib.parse
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from jac_orc.cli.failures import UsageError
from jac_orc.cli.forward import NAMESPACE, Cluster, forwarded
from jac_orc.cli.options import Place
from jac_orc.core import config

DEFAULT_URL = "http://127.0.0.1:8080"


@dataclass(frozen=True)
class Settings:
    """Where the pod manager is, if the command doesn't say it."""

    jac_orc_url: str = ""
    pod_manager_url: str = ""
    """In a pod this is set for the module's code; there the commands find their own pod manager."""
    jac_orc_context: str = ""
    """A cluster, as the kubeconfig names it."""
    jac_orc_namespace: str = NAMESPACE
    """Where in the cluster it is."""
    jac_orc_api_key: str = ""
    """The key to call with, where the front port takes only those that have one."""
    kubeconfig: str = ""
    """Kubernetes' own variable; set, `jac-orc doctor` looks at the cluster that it names."""


def find(place: Place, *, any_context: bool = False) -> Cluster | str:
    """The cluster, or the URL; raises UsageError.

    The command line comes before the environment, and there an address before a context. With `any_context` that of
    KUBECONFIG is taken, too.
    """
    settings = config.load(Settings)
    if place.url and (place.context or place.namespace):
        raise UsageError("--url names an address, --context and --namespace a cluster; give one or the other")
    url = "" if place.context or place.namespace else place.url or settings.jac_orc_url or settings.pod_manager_url
    context = "" if url else place.context or settings.jac_orc_context
    if context or (any_context and not url and (settings.kubeconfig or place.namespace)):
        return Cluster(context, place.namespace or settings.jac_orc_namespace)
    if place.namespace:
        raise UsageError("--namespace is one of a cluster; name that, too, with --context or JAC_ORC_CONTEXT")
    return url or DEFAULT_URL


@contextlib.asynccontextmanager
async def address(found: Cluster | str) -> AsyncIterator[Address]:
    """The address of a URL or a cluster's gateway for as long as the block takes; raises UsageError or CallError."""
    if isinstance(found, str):
        yield Address.of(found)
        return
    async with forwarded(found) as port:
        yield dataclasses.replace(Address.of(f"127.0.0.1:{port}"), cluster=found)


@dataclass(frozen=True)
class Address:
    """A URL of the front port."""

    url: str
    target: str
    is_secure: bool
    is_local: bool
    cluster: Cluster | None = None
    """The cluster to whose gateway it leads while the command runs; None: it is nobody's port-forward."""
    api_key: str = field(default="", repr=False)
    """Sent with each request; empty: none is."""

    @classmethod
    def of(cls, url: str) -> Address:
        """The address; raises UsageError."""
        try:
            url.encode()  # what the shell gave may not be UTF-8
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
        api_key = config.load(Settings).jac_orc_api_key
        if not (api_key.isascii() and api_key.isprintable()):
            raise UsageError("JAC_ORC_API_KEY is no API key: one is printable ASCII")
        return cls(f"{parts.scheme}://{name}", target, is_secure, _is_loopback(host.strip("[]")), api_key=api_key)


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
