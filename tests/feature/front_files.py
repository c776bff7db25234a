"""Files that Envoy follows, as a kubelet gives them to a pod, and what the kustomize tree says is in them."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

COMPONENTS = Path(__file__).parents[2] / "kustomize" / "components"


class Mounted:
    """A Secret that is mounted as a folder: all of its files change at once, by the link `..data`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def put(self, **contents: str | bytes) -> None:
        """Has it contain these, each by its name, with `_` in place of a dot."""
        version = self.folder / f"..{uuid.uuid4().hex}"
        version.mkdir()
        for name, content in contents.items():
            file = name.replace("_", ".")
            (version / file).write_bytes(content if isinstance(content, bytes) else content.encode())
            if not (self.folder / file).is_symlink():
                (self.folder / file).symlink_to(f"..data/{file}")
        link = self.folder / "..data_tmp"
        link.symlink_to(version.name)
        link.rename(self.folder / "..data")


def api_keys(**keys: str) -> str:
    """The example of the component `api-keys` with the keys of these clients."""
    document: Any = yaml.safe_load((COMPONENTS / "api-keys" / "example.yaml").read_text())
    config = document["resources"][0]["typed_config"]
    config["credentials"] = [{"client": client, "key": key} for client, key in keys.items()]
    return yaml.safe_dump(document)


def make_certificate(folder: Path, *hosts: str) -> None:
    """Writes `tls.crt`, for these hosts and signed by itself, and `tls.key`."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl: apt install openssl")
    names = ",".join(f"DNS:{host}" for host in hosts)
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=orc.test"]
    command += ["-addext", f"subjectAltName={names}", "-keyout", "tls.key", "-out", "tls.crt"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)


def certificate(folder: Path) -> str:
    """The file of the component `tls`, for a certificate in that folder."""
    text = (COMPONENTS / "tls" / "certificate.yaml").read_text()
    assert "/etc/jac-orc/tls" in text
    return text.replace("/etc/jac-orc/tls", str(folder))
