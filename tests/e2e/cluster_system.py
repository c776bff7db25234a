"""The system on the cluster that KUBECONFIG names, seen as `LocalSystem` sees one on this machine.

What is of the cluster is seen through kubectl, the processes in /proc: that needs a cluster whose node is this machine
(ORC_TEST_NODE), and without one the tests that ask for processes are skipped.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import httpx

from jac_orc.pod_manager.backends.kube.objects import MANAGED_BY, object_name
from jac_orc.pod_manager.backends.kube.pods import GRPC_PORT
from tests.cluster.installation import NAMESPACE, URL, install, uninstall
from tests.cluster.kubectl import image, kubectl, kubectl_json, node_parts
from tests.e2e.system import ROLES, System, logged_errors, parent, wait_until

_KINDS = "deployments,replicasets,pods,services,endpointslices,poddisruptionbudgets,horizontalpodautoscalers,jobs"
_OURS = f"app.kubernetes.io/managed-by={MANAGED_BY}"
_POD_MANAGER = "deployment/jac-orc-pod-manager"
_WHEELS = "orc-test-wheels"
_LEFT_SECONDS = 15.0

Document = dict[str, Any]


class ClusterSystem(System):
    """The overlay `local`, with an index of the sample modules beside it; there can be one at a time."""

    traces_of_two_pods = 7  # a Deployment, a ReplicaSet, two Pods, a Service, an EndpointSlice, a PodDisruptionBudget
    has_manifests = True

    def __init__(self, wheels: Path) -> None:
        self._wheels = wheels
        self._removed: set[int] = set()

    def start(self) -> ClusterSystem:
        uninstall()
        kubectl("create", "namespace", NAMESPACE)
        _apply(*_index(self._wheels))
        install()
        kubectl("-n", NAMESPACE, "rollout", "status", f"deployment/{_WHEELS}", "--timeout=60s")
        self.connect(URL)
        wait_until(self._answers)
        return self

    def _answers(self) -> bool:
        with suppress(httpx.TransportError):
            return self.http.get("/v1/modules").status_code == 200
        return False

    def end(self) -> None:
        self.disconnect()
        uninstall()

    @contextmanager
    def closed(self) -> Iterator[None]:
        """For a while it deploys nothing by itself."""
        self._let_calls_deploy("false")
        try:
            yield
        finally:
            self._let_calls_deploy("true")

    def _let_calls_deploy(self, value: str) -> None:
        kubectl("-n", NAMESPACE, "set", "env", _POD_MANAGER, f"POD_MANAGER_AUTO_DEPLOY={value}")
        kubectl("-n", NAMESPACE, "rollout", "status", _POD_MANAGER, "--timeout=120s")
        wait_until(lambda: len(self.pids("pod_manager")) == 1, 60)  # the old one's calls end, and its streams

    # --- processes ---

    def pids(self, role: str = "", module: str = "") -> list[int]:
        found = [each for each in _processes() if ROLES.get(role, "") in each[1] and each[0] not in self._removed]
        if role == "guest":
            servers = set(self.pids("server", module))
            return [pid for pid, _, _ in found if parent(pid) in servers]
        return [pid for pid, _, names in found if module in ("", names.get("MODULE_NAME"))]

    def server_at(self, module: str, address: str) -> int:
        host = address.rpartition(":")[0]
        servers = [each for each in _processes() if ROLES["server"] in each[1]]
        (pid,) = [pid for pid, _, names in servers if (names["MODULE_NAME"], names["POD_ADDRESS"]) == (module, host)]
        return pid

    def places(self) -> set[tuple[str, str]]:
        """Those of all pods and Services, and what leads to them here."""
        found = {("127.0.0.1", str(self.port)), ("127.0.0.1", str(GRPC_PORT))}
        for each in kubectl_json("-n", NAMESPACE, "get", "pods,services")["items"]:
            if each["kind"] == "Service":
                found |= {(each["spec"]["clusterIP"], str(port["port"])) for port in each["spec"]["ports"]}
            else:
                ports = [port for one in each["spec"]["containers"] for port in one.get("ports", ())]
                found |= {(each["status"].get("podIP", ""), str(port["containerPort"])) for port in ports}
        return {(host, port) for host, port in found if host not in ("", "None")}

    def meeting_place(self, module: str) -> tuple[Path, Path]:
        (server,) = self.pids("server", module)
        here = Path("/tmp", f"orc-{uuid.uuid4().hex[:8]}")
        ours = Path(f"/proc/{server}/root{here}")
        ours.mkdir()
        ours.chmod(0o777)
        return here, ours

    # --- what it keeps ---

    def logged_errors(self) -> list[str]:
        pods = kubectl("-n", NAMESPACE, "get", "pods", "--output", "name").split()
        texts = (kubectl("-n", NAMESPACE, "logs", "--all-containers", pod) for pod in pods)
        return logged_errors(line for text in texts for line in text.splitlines())

    def stored(self, pattern: str) -> set[str]:
        listed = f"ls -d /store/{pattern} 2>/dev/null || true"
        found = kubectl("-n", NAMESPACE, "exec", _POD_MANAGER, "--", "sh", "-c", listed).split()
        return {path for path in found if not path.endswith(("/.", "/.."))}

    def traces(self, module: str) -> list[str]:
        """The module's objects, and what belongs to them."""
        names = {object_name(module)}
        found: dict[str, None] = {}
        everything = kubectl_json("-n", NAMESPACE, "get", _KINDS, "--selector", _OURS)["items"]
        for each in sorted(everything, key=lambda each: bool(each["kind"] == "Pod")):  # behind what they belong to
            metadata = each["metadata"]
            if names & {metadata["name"], *(owner["name"] for owner in metadata.get("ownerReferences", ()))}:
                names.add(metadata["name"])
                found[f"{each['kind']}/{metadata['name']}"] = None
        return list(found)

    def left(self, module: str) -> list[str]:
        """As `traces`, once the cluster has had time to collect what has lost its owner."""
        with suppress(AssertionError):
            wait_until(lambda: not self.traces(module), _LEFT_SECONDS)
        return self.traces(module)

    def remove(self, module: str) -> None:
        """Remove a module without waiting for its pods, which take a node seconds to end: they are forgotten here."""
        path = f"/v1/modules/{module}"
        if self.http.get(path).status_code == 404:
            return
        if "ORC_TEST_NODE" in os.environ:
            self._removed |= set(self.pids("server", module))
        deleting = Thread(target=self.http.delete, args=(path,))
        deleting.start()
        wait_until(lambda: not deleting.is_alive() or _is_deleting(self.http.get(path)))
        label = f"app.kubernetes.io/name={object_name(module)}"
        kubectl("-n", NAMESPACE, "delete", "pods", "--selector", label, "--force", "--grace-period=0", "--wait=false")
        deleting.join()
        wait_until(lambda: not self.traces(module))


def _is_deleting(response: httpx.Response) -> bool:
    return response.status_code == 404 or response.json()["status"]["phase"] == "MODULE_PHASE_DELETING"


def _processes() -> list[tuple[int, str, dict[str, str]]]:
    """Those of the namespace's pods: their resolver looks there first."""
    node_parts()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            resolver = (entry / "root/etc/resolv.conf").read_text() if entry.name.isdigit() else ""
            if f"search {NAMESPACE}.svc." not in resolver:
                continue
            words = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
            command = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue
        found.append((int(entry.name), command, dict(word.partition("=")[::2] for word in words)))
    return found


def _apply(*documents: Document) -> None:
    items = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
    kubectl("-n", NAMESPACE, "apply", "--server-side", "-f", "-", stdin=json.dumps(items))


def _index(wheels: Path) -> Iterator[Document]:
    """A server of the wheels, and where the installer learns of it.

    Their content is part of the address, as what was installed from an address is kept in the store.
    """
    contents = {file.name: file.read_bytes() for file in sorted(wheels.glob("*.whl"))}
    digest = hashlib.sha256(b"".join(contents.values())).hexdigest()[:16]
    labels = {"app.kubernetes.io/name": _WHEELS}
    metadata = {"name": _WHEELS, "labels": labels}
    encoded = {name: base64.b64encode(content).decode() for name, content in contents.items()}
    yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "binaryData": encoded}
    container = {
        "name": "index",
        "image": image(),
        "command": ["python", "-m", "http.server", "8080", "--directory", "/wheels"],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
        "volumeMounts": [{"name": "wheels", "mountPath": f"/wheels/{digest}"}],
    }
    volumes = [{"name": "wheels", "configMap": {"name": _WHEELS}}]
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container], "volumes": volumes}
    yield {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
    }
    ports = [{"port": 80, "targetPort": 8080}]
    yield {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"selector": labels, "ports": ports}}
    yield {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "jac-orc-installer"},
        "data": {"UV_FIND_LINKS": f"http://{_WHEELS}.{NAMESPACE}.svc/{digest}/"},
    }
