"""A port of this machine that leads to the gateway of a cluster, for as long as a command takes.

`kubectl port-forward` makes it: whoever has a cluster has kubectl, and it knows all ways to log in. The kernel ends it
with this process. It ends itself where its pod goes, or the connection; then it is started again on the same port, and
calls that have waited meanwhile go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shlex
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

from jac_orc.cli import show
from jac_orc.cli.failures import CallError, UsageError
from jac_orc.core import config
from jac_orc.core.processes import ManagedProcess, dying_with_parent

GATEWAY = "jac-orc-gateway"
NAMESPACE = "jac-orc"
"""Where the overlays in `kustomize/` install it."""
WHY = "; this says why: "
"""Before the advice to ask the doctor."""

_OPEN = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ->")
_FAULT = re.compile(r"error|unable to|the connection to", re.IGNORECASE)
_LOG_LINE = re.compile(r"[EWI]\d{4} ")
_NO_CONTEXT = re.compile(r"context .*does not exist|context was not found")
_NOT_INSTALLED = re.compile(r"(services|namespaces) \S+ not found")
_NO_POD = re.compile(r"timed out waiting|pod is not running")
_START_SECONDS = 60.0
_STABLE_SECONDS = 10.0
_PAUSE = 1.0
_TRIES = 5


@dataclass(frozen=True)
class Cluster:
    """A namespace of a cluster."""

    context: str
    """As the kubeconfig names it; empty: the current one."""
    namespace: str

    @property
    def options(self) -> str:
        """What names it, to kubectl and to jac-orc alike."""
        return shlex.join([*self._context, "--namespace", self.namespace])

    @property
    def kubectl(self) -> str:
        """The beginning of a command there."""
        return f"kubectl {self.options}"

    @property
    def by_hand(self) -> str:
        """The command that makes the gateway's port for people."""
        return f"{self.kubectl} port-forward service/{GATEWAY} 8080:http"

    @property
    def install(self) -> str:
        """The command that installs it there."""
        command = shlex.join(["kubectl", *self._context, "apply", "-k", "kustomize/overlays/local"])
        own = f", through a kustomization of your own with `namespace: {self.namespace}` (see kustomize/README.md)"
        return f"{command}, or another overlay there{own if self.namespace != NAMESPACE else ''}"

    @property
    def _context(self) -> list[str]:
        return ["--context", self.context] if self.context else []


async def ways_in(cluster: Cluster) -> list[str]:
    """Return the URLs of the gateway's Service that may work from here without a port-forward, if it has any."""
    process = await asyncio.create_subprocess_exec(
        "kubectl", *shlex.split(cluster.options), "get", "service", GATEWAY, "--output=json", "--request-timeout=5s",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    output, _ = await process.communicate()
    service = json.loads(output) if process.returncode == 0 else {"spec": {}}
    port: dict[str, int] = next((each for each in service["spec"].get("ports", ()) if each.get("name") == "http"), {})
    balancers = service.get("status", {}).get("loadBalancer", {}).get("ingress", ())
    urls = [f"http://{each.get('ip') or each.get('hostname')}:{port.get('port')}" for each in balancers]
    return [f"http://127.0.0.1:{port['nodePort']}", *urls] if "nodePort" in port else urls


@contextlib.asynccontextmanager
async def forwarded(cluster: Cluster) -> AsyncIterator[int]:
    """The port, on 127.0.0.1, for the block; raises UsageError or CallError, also amid it, where it can't be had."""
    forward = _Forward(cluster)
    try:
        await forward.start()
        async with asyncio.TaskGroup() as tasks:
            keeper = tasks.create_task(forward.keep())
            yield forward.port
            keeper.cancel()
    except ExceptionGroup as failures:  # of the block, or of the keeper, which has cancelled the block
        raise failures.exceptions[0] from None
    finally:
        await forward.stop()


class _Forward:
    """One port, and the process that forwards it now."""

    def __init__(self, cluster: Cluster) -> None:
        self.port = 0
        self._cluster = cluster
        self._process: ManagedProcess | None = None
        self._reading: asyncio.Task[None] | None = None
        self._errors: list[str] = []

    async def start(self) -> ManagedProcess:
        """Return the process once the port is open; raises UsageError or CallError where that fails."""
        if shutil.which("kubectl") is None:
            text = (
                "kubectl, which commands with --context need, is not installed: https://kubernetes.io/docs/tasks/tools/"
            )
            raise UsageError(f"{text}; without it, give the gateway's address with --url")
        self._errors = []
        command = [
            "kubectl", *shlex.split(self._cluster.options), "port-forward", "--address=127.0.0.1",
            "--pod-running-timeout=10s", f"service/{GATEWAY}", f"{self.port or ''}:http",
        ]  # fmt: skip
        process = self._process = ManagedProcess.start_piped(dying_with_parent(command), config.environment())
        opened = asyncio.Event()
        self._reading = asyncio.create_task(self._read_errors(process, opened))
        try:
            async with asyncio.timeout(_START_SECONDS):
                line = await process.stdout.readline()
                if match := _OPEN.search(line.decode(errors="replace")):
                    self.port = int(match[1])
                    opened.set()
                    return process
                await self._reading
        except TimeoutError:
            self._errors.append(f"it has opened no port within {_START_SECONDS:g} s")
        await self.stop()
        raise self._failure()

    async def _read_errors(self, process: ManagedProcess, opened: asyncio.Event) -> None:
        """Keeps what kubectl complains of; what else it says before the port is open is how to log in."""
        async for data in process.stderr:
            line = data.decode(errors="replace").strip()
            self._errors.append(line)
            if not opened.is_set() and not _FAULT.match(line) and not _LOG_LINE.match(line):
                print(show.printable(line), file=sys.stderr, flush=True)

    async def keep(self) -> None:
        """Start it again whenever it ends; raises CallError once it can't be kept."""
        loop = asyncio.get_running_loop()
        failure, tries = self._failure(), 0
        while tries < _TRIES:
            lasted = 0.0
            try:
                process = self._process or await self.start()
                began = loop.time()
                await process.ended.wait()
                await self.stop()
                failure, lasted = self._failure(), loop.time() - began
            except CallError as again:
                failure = again
            tries = 0 if lasted > _STABLE_SECONDS else tries + 1
            await asyncio.sleep(_PAUSE)
        raise CallError(f"the connection to the cluster is lost: {failure}")

    async def stop(self) -> None:
        """Closes the port."""
        if self._process is None or self._reading is None:
            return
        self._process.signal(signal.SIGKILL)  # which ends what it may have started to log in, too
        await asyncio.gather(self._reading, self._process.ended.wait(), return_exceptions=True)
        self._process.close_output()
        self._process = None

    def _failure(self) -> UsageError | CallError:
        """Why it has ended, for people."""
        lines = [line for line in self._errors if line] or ["it ends at once"]
        namespace, told = self._cluster.namespace, next(filter(_FAULT.match, reversed(lines)), lines[-1])
        if _NO_CONTEXT.search(told):
            text = "this lists those that are: kubectl config get-contexts"
            return UsageError(f"the kubeconfig has no context {self._cluster.context}; {text}")
        if _NOT_INSTALLED.search(told):
            text = f"JAC Cloud Orchestrator isn't in the namespace {namespace}: there is no Service {GATEWAY}"
            return CallError(f"{text}; name the --namespace where it is, or install it: {self._cluster.install}")
        doctor = f"{WHY}jac-orc doctor {self._cluster.options}"
        if _NO_POD.search(told):
            return CallError(f"no pod of {GATEWAY} runs in the namespace {namespace}{doctor}")
        return CallError(f"no port can be forwarded to {GATEWAY} in the namespace {namespace}: {told}{doctor}")
