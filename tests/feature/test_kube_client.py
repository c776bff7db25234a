"""Requests to an API server: credentials and proxies, against a server in this process."""

from __future__ import annotations

import json
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from jac_orc.errors import OrcError
from jac_orc.pod_manager.backends.kube.client import KubeClient
from tests.feature.front_files import make_certificate

PLUGIN = """
import json
print(json.dumps({
    "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "from-a-plugin"},
}))
"""


class Requests:
    """A server that answers each request by what it was."""

    def __init__(self) -> None:
        self.seen: list[web.BaseRequest] = []

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        self.seen.append(request)
        return web.json_response({"query": dict(request.query), "authorization": request.headers.get("Authorization")})

    @asynccontextmanager
    async def served(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        runner = web.ServerRunner(web.Server(self._answer))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}" if tls is None else f"https://localhost:{port}"
        await runner.cleanup()


def kubeconfig(directory: Path, server: str, user: dict[str, Any], **cluster: str) -> str:
    file = directory / "kubeconfig"
    context = {"cluster": "c", "user": "u", "namespace": "shop"}
    file.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": user}], "contexts": [{"name": "x", "context": context}],
    }))  # fmt: skip
    return str(file)


async def test_a_plugins_credentials_are_sent(no_task_left: None, tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    exec_ = {
        "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never", "command": sys.executable,
        "args": [str(tmp_path / "plugin.py")],
    }  # fmt: skip
    async with Requests().served() as url:
        client, namespace = await KubeClient.connect(kubeconfig(tmp_path, url, {"exec": exec_}))
        answer = await client.get("/api/v1/pods", labelSelector="a=b,c in (d, e)+%")
        await client.close()
    assert namespace == "shop" and answer["authorization"] == "Bearer from-a-plugin"
    assert answer["query"] == {"labelSelector": "a=b,c in (d, e)+%"}


async def test_a_token_that_rotates_is_read_again(no_task_left: None, tmp_path: Path) -> None:
    token = tmp_path / "token"

    def refresh(configuration: Configuration) -> None:
        configuration.api_key["authorization"] = "bearer " + token.read_text()

    async with Requests().served() as url:
        configuration: Any = Configuration(host=url, api_key={"authorization": ""})
        configuration.refresh_api_key_hook = refresh
        client = KubeClient(configuration)
        for text in ("first", "second"):
            token.write_text(text)
            assert (await client.get("/x"))["authorization"] == f"bearer {text}"
        token.unlink()
        with pytest.raises(OrcError) as caught:
            await client.get("/x")
        assert caught.value.reason == "CLUSTER_UNAVAILABLE"
        await client.close()


async def test_a_kubeconfigs_proxy_is_used(no_task_left: None, tmp_path: Path) -> None:
    proxy = Requests()
    async with proxy.served() as url:
        file = kubeconfig(tmp_path, "http://cluster.invalid:6443", {"token": "t"}, **{"proxy-url": url})
        client, _ = await KubeClient.connect(file)
        assert (await client.get("/version"))["authorization"] == "Bearer t"
        await client.close()
    assert [request.host for request in proxy.seen] == ["cluster.invalid"]


async def test_a_client_certificate_is_shown(no_task_left: None, tmp_path: Path) -> None:
    make_certificate(tmp_path, "localhost")
    certificate, key = str(tmp_path / "tls.crt"), str(tmp_path / "tls.key")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificate)
    tls.load_cert_chain(certificate, key)
    tls.verify_mode = ssl.CERT_REQUIRED
    user = {"client-certificate": certificate, "client-key": key}
    async with Requests().served(tls) as url:
        client, _ = await KubeClient.connect(kubeconfig(tmp_path, url, user, **{"certificate-authority": certificate}))
        assert await client.get("/version")
        await client.close()
