"""Logs of pods, from an API server in this process."""

from __future__ import annotations

from aiohttp import web
from kubernetes.aio.client import Configuration

from jac_orc.pod_manager.backends.kube.client import KubeClient
from jac_orc.pod_manager.backends.kube.logs import read_logs

LOG = """\
2026-11-30T03:39:26.118Z {"stream": "server", "text": "serving"}
unable to retrieve container logs for containerd://0b1c
failed to try resolving symlinks in path "/var/log/pods/x"
2026-11-30T03:39:27+01:00 plain text
"""


async def test_what_the_kubelet_says_in_place_of_a_log_is_no_line_of_it() -> None:
    async def log(request: web.BaseRequest) -> web.Response:
        return web.Response(text=LOG)

    runner = web.ServerRunner(web.Server(log))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = KubeClient(Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}"))
    lines = [line async for line in read_logs(client, "/pods", lambda: ["a"], follow=False, tail=10)]
    assert [(line.stream, line.text) for line in lines] == [("server", "serving"), ("server", "plain text")]
    await client.close()
    await runner.cleanup()
