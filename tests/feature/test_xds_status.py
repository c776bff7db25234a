"""What Envoy tells kubelets and Prometheus, of which its admin interface has much more."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.feature.xds_front import Front, running_front


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    yield from running_front(tmp_path_factory.mktemp("front"))


@pytest.fixture
def status(front: Front) -> str:
    return f"http://127.0.0.1:{front.status_port}"


def raw(port: int, target: str) -> int:
    """The HTTP status of a GET whose target no client library has put in order."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        return int(connection.makefile("rb").readline().split()[1])


def test_it_tells_that_it_is_ready(status: str) -> None:
    answer = httpx.get(f"{status}/ready", trust_env=False)
    assert (answer.status_code, answer.text) == (200, "LIVE\n")


def test_prometheus_gets_the_metrics_it_asks_for(front: Front, status: str) -> None:
    assert front.server_of("numpy") == "numpy-1"
    answer = httpx.get(
        f"{status}/stats/prometheus", params={"filter": "^http.front.downstream_rq_total$"}, trust_env=False
    )
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix="front"}' in answer.text
    assert "status" not in answer.text


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "//ready",
        "/READY",
        "/clusters",
        "/config_dump",
        "/quitquitquit",
        "/ready/../config_dump",
        "/ready%2f..%2fconfig_dump",
        "/stats",
        "/stats/",
        "/stats/prometheus/../../config_dump",
    ],
)
def test_the_rest_of_the_admin_interface_is_out_of_reach(front: Front, target: str) -> None:
    assert raw(front.status_port, target) == 404


@pytest.mark.parametrize(
    "page", ["/ready", "/quitquitquit", "/healthcheck/fail", "/drain_listeners", "/stats/prometheus"]
)
def test_nothing_can_be_posted(status: str, page: str) -> None:
    assert httpx.post(status + page, trust_env=False).status_code == 404
    assert httpx.get(f"{status}/ready", trust_env=False).status_code == 200


def test_clients_of_the_front_port_reach_none_of_it(front: Front) -> None:
    answer = front.http.get("/ready", headers={"x-module": "admin"})
    assert answer.status_code == 404
    assert "LIVE" not in answer.text
