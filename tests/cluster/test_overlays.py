"""The overlays `ingress` and `gateway-api`, called through a controller that is not ours."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.struct_pb2 import Value

from jac_orc.v1 import module_pb2, module_pb2_grpc, pod_manager_pb2, pod_manager_pb2_grpc
from tests.cluster.installation import Installation, wait_until
from tests.cluster.overlay import certificate_secret, installed, render

JSON = {"content-type": "application/json"}


@dataclass
class Way:
    """A way in from outside."""

    overlay: str
    address: str
    """The controller's, `127.0.0.1:8081`."""
    rest: Installation
    """Through the host for REST."""
    rest_host: str
    grpc_host: str
    tls: str
    """The controller's address for TLS; empty: not known."""
    certificate: Path
    """That of both hosts, which is there only where TLS is tried."""

    def channel(self, host: str) -> grpc.Channel:
        """A connection to the controller, for a host."""
        return grpc.insecure_channel(self.address, options=[("grpc.default_authority", host)])


@pytest.fixture(scope="module", params=["ingress", "gateway-api"])
def way(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """Each overlay, installed anew; they are not there at the same time, as a controller may serve only one of them."""
    overlay: str = request.param
    kind = "ingress" if overlay == "ingress" else "gateway"
    variable = f"ORC_TEST_{kind.upper()}"
    if variable not in os.environ:
        pytest.skip(f"needs a controller: {variable}=http://HOST:PORT; {variable}_CLASS is its class, if not contour")
    namespace = f"orc-{overlay}"  # not a new one each time: there are controllers that serve one Gateway, by its name
    hosts = {"restHost": f"{kind}.orc.test", "grpcHost": f"grpc.{kind}.orc.test"}
    settings = {f"{kind}Class": os.environ.get(f"{variable}_CLASS", "contour"), **hosts}
    folder, url, tls = tmp_path_factory.mktemp(overlay), os.environ[variable], os.environ.get(f"{variable}_TLS", "")
    rest = Installation(namespace, url, {"host": hosts["restHost"]})
    address = httpx.URL(url).netloc.decode()
    way = Way(overlay, address, rest, hosts["restHost"], hosts["grpcHost"], tls, folder / "tls.crt")
    secrets = [certificate_secret(folder, "jac-orc-tls", way.rest_host, way.grpc_host)] if tls else []
    with installed(render(folder, overlay, namespace, settings, secretGenerator=secrets), namespace):
        wait_until(lambda: leads_to_it(way), 90)
        yield way
    rest.http.close()


def leads_to_it(way: Way) -> bool:
    """Whether the controller has taken both hosts' routes."""
    try:
        with way.channel(way.grpc_host) as channel:
            modules(channel)
    except grpc.RpcError:
        return False
    return way.rest.responds()


def modules(channel: grpc.Channel) -> list[str]:
    """The names of the modules, by the pod manager's gRPC."""
    stub = pod_manager_pb2_grpc.PodManagerServiceStub(channel)
    answer = stub.ListModules(pod_manager_pb2.ListModulesRequest(), timeout=10)
    return [module.name for module in answer.modules]


def call(channel: grpc.Channel, module: str, method: str, *args: float, timeout: float = 30) -> Any:
    """The result of a call by gRPC."""
    request = module_pb2.CallRequest(method=method, args=[Value(number_value=arg) for arg in args])
    answer = module_pb2_grpc.ModuleServiceStub(channel).Call(request, metadata=(("x-module", module),), timeout=timeout)
    return answer.result.number_value


def test_the_sample_call(way: Way) -> None:
    response = way.rest.http.post("/create_pod/statistics")
    assert response.status_code == 200, response.text
    query = {"module_name": "statistics", "method_name": "mean"}
    response = way.rest.http.post("/run_module", params=query, json={"args": [[16, 20, 24]], "kwargs": {}})
    assert (response.status_code, response.json()) == (200, {"result": 20})


def test_the_sample_call_by_grpc(way: Way) -> None:
    assert way.rest.create("math").status_code == 200
    with way.channel(way.grpc_host) as channel:
        assert "math" in modules(channel)
        assert call(channel, "math", "sqrt", 9) == 3


def test_grpcurl(way: Way) -> None:
    """It asks by reflection what the methods take."""
    assert way.rest.create("math").status_code == 200
    program = shutil.which("grpcurl", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert program, "grpcurl is not installed"
    command = [program, "-plaintext", "-authority", way.grpc_host, "-H", "x-module: math"]
    command += ["-d", '{"method": "sqrt", "args": [9]}', way.address, "jac_orc.v1.ModuleService/Call"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"result": 3}


def test_both_calls_over_tls(way: Way) -> None:
    if not way.tls:
        kind = "INGRESS" if way.overlay == "ingress" else "GATEWAY"
        pytest.skip(f"needs the controller's port for TLS: ORC_TEST_{kind}_TLS=https://HOST:PORT")
    assert way.rest.create("math").status_code == 200
    context = ssl.create_default_context(cafile=str(way.certificate))
    with httpx.Client(base_url=way.tls, verify=context, trust_env=False, headers={"host": way.rest_host}) as client:
        body = {"method": "sqrt", "args": [9]}
        of_host = {"sni_hostname": way.rest_host}
        response = client.post("/v1/modules/math:call", json=body, extensions=of_host)
        assert (response.status_code, response.json()) == (200, {"result": 3.0})
    credentials = grpc.ssl_channel_credentials(way.certificate.read_bytes())
    options = [("grpc.ssl_target_name_override", way.grpc_host), ("grpc.default_authority", way.grpc_host)]
    with grpc.secure_channel(httpx.URL(way.tls).netloc.decode(), credentials, options) as channel:
        assert call(channel, "math", "sqrt", 9) == 3


def test_a_stream_comes_a_line_at_a_time(way: Way) -> None:
    assert way.rest.create("itertools").status_code == 200
    with way.rest.http.stream("POST", "/v1/modules/itertools:stream", json={"method": "count"}) as response:
        assert response.status_code == 200
        lines = response.iter_lines()
        assert [json.loads(next(lines))["result"] for _ in range(5)] == [0, 1, 2, 3, 4]
    request = module_pb2.StreamRequest(method="count")
    with way.channel(way.grpc_host) as channel:
        stream = module_pb2_grpc.ModuleServiceStub(channel).Stream(request, metadata=(("x-module", "itertools"),))
        assert [next(stream).result.number_value for _ in range(5)] == [0, 1, 2, 3, 4]
        stream.cancel()


def test_a_watch_tells_of_each_change_at_once(way: Way) -> None:
    assert way.rest.create("math").status_code == 200
    with way.rest.http.stream("GET", "/v1/modules:watch", timeout=30) as response:
        lines = (json.loads(line)["module"]["name"] for line in response.iter_lines())
        assert next(lines)
        assert way.rest.create("colorsys", replicas=0).status_code == 200
        assert "colorsys" in lines


def test_a_call_may_take_longer_than_controllers_wait(way: Way) -> None:
    """By gRPC, too; through Gateway API on the host for REST, as a GRPCRoute can't say how long a call may take."""
    assert way.rest.create("time").status_code == 200
    host = way.grpc_host if way.overlay == "ingress" else way.rest_host
    begin = time.monotonic()
    with ThreadPoolExecutor(1) as threads, way.channel(host) as channel:
        by_grpc = threads.submit(call, channel, "time", "sleep", 20, timeout=60)
        response = way.rest.call("time", "sleep", 20)
        by_grpc.result()
    assert (response.status_code, response.json()) == (200, {"result": None})
    assert time.monotonic() - begin >= 20


def test_a_large_body(way: Way) -> None:
    assert way.rest.create("statistics").status_code == 200
    count = 1_500_000
    body = b'{"method":"fmean","args":[[%s]]}' % b",".join([b"4"] * count)
    assert len(body) > 3_000_000
    response = way.rest.http.post("/v1/modules/statistics:call", content=body, headers=JSON)
    assert (response.status_code, response.json()) == (200, {"result": 4.0})


def test_other_hosts_are_not_ours(way: Way) -> None:
    response = way.rest.http.get("/v1/modules", headers={"host": "other.orc.test"})
    assert response.status_code == 404
    with way.channel("other.orc.test") as channel, pytest.raises(grpc.RpcError) as failure:
        modules(channel)
    assert failure.value.code() == grpc.StatusCode.UNIMPLEMENTED  # what 404 is in gRPC
