"""Requests to the API server of one cluster, in plain documents.

The client library's models are not used: with them an informer's cache is several times as large, and fields that a
newer server adds are lost. Its configuration, authentication and transport are.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from jac_orc.core.config import ConfigurationError
from jac_orc.errors import OrcError, error

FIELD_MANAGER = "jac-orc"
LACKS_RIGHT = "the pod manager lacks a right, or an admission rule refuses it; `jac-orc doctor` finds missing rights"
Document = dict[str, Any]

_TIMEOUT = 10.0
_TLS_END = 0.25
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_QUOTA = "exceeded quota"


class NotFoundInClusterError(Exception):
    """There is no such object."""


class ConflictError(Exception):
    """The object is there already, or is no longer as it was when it was read."""


class GoneError(Exception):
    """The version to watch from is too old; everything has to be listed anew."""


class KubeClient:
    """Sends requests; all raise OrcError, with CLUSTER_UNAVAILABLE where the API server can't be reached."""

    def __init__(self, configuration: Configuration) -> None:
        self.api = ApiClient(configuration)
        self._configuration = configuration

    @classmethod
    async def connect(cls, kubeconfig: str | None = None, context: str | None = None) -> tuple[KubeClient, str]:
        """A client, and the namespace that it is set up for: in a pod that of its account, else that of the kubeconfig.

        With a context of the kubeconfig, which needs no current one then, it is empty. Raises ConfigurationError.
        """
        configuration = Configuration()
        if kubeconfig is None and context is None and (namespace := _own_namespace()):
            config.load_incluster_config(client_configuration=configuration)
            return cls(configuration), namespace
        try:
            await config.load_kube_config(kubeconfig, context, client_configuration=configuration)
            if context is not None:
                return cls(configuration), ""
            _, active = config.list_kube_config_contexts(kubeconfig)
        except Exception as failure:  # of a file that is no kubeconfig the library makes any error
            raise ConfigurationError(f"no cluster is known: {failure}; set KUBECONFIG") from failure
        return cls(configuration), active["context"].get("namespace", "default")

    async def close(self) -> None:
        """Closes all connections."""
        await self.api.close()
        await asyncio.sleep(_TLS_END)  # aiohttp doesn't wait for those of answers that were broken off

    async def get(self, path: str, **query: str) -> Document:
        """Reads an object or a list; raises NotFoundInClusterError."""
        return await self._request("GET", path, query)

    async def create(self, path: str, body: Document, **query: str) -> Document:
        """Creates an object below the path of its kind; raises ConflictError where it is there."""
        return await self._request("POST", path, {"fieldManager": FIELD_MANAGER, **query}, body)

    async def apply(self, path: str, body: Document) -> Document:
        """Server-side apply; raises ConflictError where the body names another `resourceVersion` or `uid`."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return await self._request("PATCH", path, query, body, "application/apply-patch+yaml")

    async def merge(self, path: str, body: Document) -> Document:
        """Changes the fields that the body names (RFC 7386); raises NotFoundInClusterError, ConflictError."""
        return await self._request("PATCH", path, {"fieldManager": FIELD_MANAGER}, body, "application/merge-patch+json")

    async def delete(self, path: str, body: Document) -> None:
        """Deletes an object, with DeleteOptions; one that is gone is no fault. Raises ConflictError."""
        try:
            await self._request("DELETE", path, {}, body)
        except NotFoundInClusterError:
            return

    async def lines(self, path: str, query: Mapping[str, str], *, silence: float | None) -> AsyncIterator[bytes]:
        """The lines of an answer that goes on; ends with it, or raises OrcError after `silence` seconds without any."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_TIMEOUT, sock_read=silence)
        response = await self._send("GET", path, query, None, "application/json", timeout)
        rest = b""
        try:
            # By hand, as aiohttp's own lines have a largest length, which objects may exceed.
            async for data in response.content.iter_any():
                *whole, rest = (rest + data).split(b"\n")
                for line in whole:
                    yield line
            if rest:
                yield rest
        except (aiohttp.ClientError, TimeoutError, OSError) as failure:
            raise _unreachable(failure) from failure
        finally:
            response.close()

    async def _request(
        self, method: str, path: str, query: Mapping[str, str], body: Document | None = None,
        content_type: str = "application/json",
    ) -> Document:  # fmt: skip
        response = await self._send(method, path, query, body, content_type, aiohttp.ClientTimeout(total=_TIMEOUT))
        try:
            document: Document = json.loads(await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as failure:
            raise _unreachable(failure) from failure
        finally:
            response.release()
        return document

    async def _send(
        self, method: str, path: str, query: Mapping[str, str], body: Document | None, content_type: str,
        timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:  # fmt: skip
        url = f"{self._configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Content-Type": content_type, "Accept": "application/json", "User-Agent": self.api.user_agent}
        try:
            headers |= await self._authorization()
            answer = await self.api.call_api(method, url, headers, body, _request_timeout=timeout)
            response: aiohttp.ClientResponse = answer.response
            if response.status < 400:
                return response
            text = await response.text(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as failure:
            raise _unreachable(failure) from failure
        response.release()
        raise _failure(response.status, text, path)

    async def _authorization(self) -> dict[str, str]:
        """Return the headers with the credentials as they are now; a token's file may have changed."""
        try:
            settings: Any = (await self._configuration.auth_settings()).values()
        except config.ConfigException as failure:
            raise error("CLUSTER_REFUSED", f"the credentials for the cluster can't be read: {failure}") from failure
        return {each["key"]: each["value"] for each in settings if each["in"] == "header" and each["value"]}


def _own_namespace() -> str:
    """That of the pod that this runs in; empty where it runs in none that has an account."""
    try:
        return (_ACCOUNT / "namespace").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _unreachable(failure: BaseException) -> OrcError:
    why = str(failure) or type(failure).__name__
    text = f"the cluster's API server can't be reached: {why}; deployed modules serve on"
    return error("CLUSTER_UNAVAILABLE", text)


def _failure(status: int, text: str, path: str) -> Exception:
    """What an answer with a status of failure means."""
    try:
        document = json.loads(text)
        text = document.get("message") or text
    except (ValueError, AttributeError):
        pass
    if status == 404:
        return NotFoundInClusterError(text)
    if status == 409 or (status == 422 and "metadata.uid" in text):  # the latter: a new object of the same name
        return ConflictError(text)
    if status == 410:
        return GoneError(text)
    if status == 403 and _QUOTA in text:
        return error("QUOTA_EXCEEDED", f"the cluster's quota doesn't allow it: {text}")
    if status in (401, 403):
        return error("CLUSTER_REFUSED", f"the cluster refuses it: {text} ({LACKS_RIGHT})", {"path": path})
    if status == 429 or status >= 500:
        return error("CLUSTER_UNAVAILABLE", f"the cluster's API server can't answer now ({status}): {text}")
    return error("CLUSTER_REFUSED", f"the cluster refuses it: {text}", {"path": path})
