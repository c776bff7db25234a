"""A real Envoy that speaks TLS, with a certificate that is replaced while it runs."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from jac_orc.pod_manager.xds.listener import listener
from jac_orc.v1 import module_pb2, module_pb2_grpc
from tests.feature.front_files import Mounted, api_keys, certificate, make_certificate
from tests.feature.xds_front import Front, eventually, failure, free_port

KEY = "a" * 32


class Secure:
    """A front with TLS on a second port, and the Secrets that it reads."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.secret, self.keys = Mounted(directory / "tls"), Mounted(directory / "keys")
        self.certificate = self.renew()
        self.keys.put(keys_yaml=api_keys(alice=KEY))
        self.front = Front(directory)
        self.port = free_port()
        sds = directory / "certificate.yaml"
        sds.write_text(certificate(self.secret.folder))
        keys = str(self.keys.folder / "keys.yaml")
        self.front.listeners.append(listener("127.0.0.1", self.port, api_keys=keys, certificate=str(sds)))

    def renew(self) -> bytes:
        make_certificate(self._directory, "localhost")
        crt, key = (self._directory / name for name in ("tls.crt", "tls.key"))
        self.secret.put(tls_crt=crt.read_bytes(), tls_key=key.read_bytes())
        return crt.read_bytes()

    def served(self) -> bytes:
        """The certificate that it shows, as PEM."""
        return ssl.get_server_certificate(("127.0.0.1", self.port)).encode()

    def call(self, path: str, **headers: str) -> httpx.Response:
        """A REST call by who trusts the first certificate."""
        context = ssl.create_default_context(cadata=self.certificate.decode())
        with httpx.Client(base_url=f"https://localhost:{self.port}", verify=context, trust_env=False) as client:
            return client.post(path, json={}, headers=headers)


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Secure]:
    secure = Secure(tmp_path)
    try:
        secure.front.start()
        secure.front.put("numpy", secure.front.pod("numpy-1").endpoint)
        eventually(lambda: secure.front.server_of("numpy") == "numpy-1")
        yield secure
        assert not secure.front.rejected
    finally:
        secure.front.close()


def test_rest_and_grpc_on_one_port(secure: Secure) -> None:
    assert secure.call("/modules/numpy/f", **{"x-api-key": KEY}).json()["server"] == "numpy-1"
    assert failure(secure.call("/modules/numpy/f")) == (401, 16, "UNAUTHENTICATED")
    credentials = grpc.ssl_channel_credentials(secure.certificate)
    with grpc.secure_channel(f"localhost:{secure.port}", credentials) as channel:
        stub = module_pb2_grpc.ModuleServiceStub(channel)
        metadata = (("x-module", "numpy"), ("x-api-key", KEY))
        answer = stub.Call(module_pb2.CallRequest(method="f"), metadata=metadata, timeout=5)
        assert answer.result.string_value == "numpy-1"


def test_who_speaks_no_tls(secure: Secure) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{secure.port}/v1/modules", trust_env=False)


def test_a_new_certificate_is_taken_as_it_comes(secure: Secure) -> None:
    assert secure.served() == secure.certificate
    renewed = secure.renew()
    eventually(lambda: secure.served() == renewed)
    secure.secret.put(tls_crt=b"no certificate", tls_key=b"no key")
    eventually(lambda: "ertificate" in secure.front.log.read_text())
    assert secure.served() == renewed, "it goes on with what it has"
