"""How far the builders of environments are, by what the installer writes in their logs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jac_orc.core.tasks import Tasks
from jac_orc.pod_manager.backends.kube.client import Document, KubeClient
from jac_orc.pod_manager.backends.kube.logs import lines_of
from jac_orc.pod_manager.backends.kube.pods import Cluster
from jac_orc.pod_manager.installer import MAX_PROGRESS, stage_of
from jac_orc.pod_manager.model import ModulePhase


class Progress:
    """Follows the logs of builders' pods while they run; `on_change` gets the name of a builder that is further."""

    def __init__(self, client: KubeClient, cluster: Cluster, on_change: Callable[[str], None]) -> None:
        self._client = client
        self._cluster = cluster
        self._on_change = on_change
        self._told: dict[str, tuple[ModulePhase, str]] = {}  # by pod
        self._tasks = Tasks()

    def of(self, builder: str, pods: Sequence[Document]) -> tuple[ModulePhase, str] | None:
        """What a builder whose pods these are does just now; None where none of them runs."""
        running = [pod["metadata"]["name"] for pod in pods if pod["status"].get("phase") == "Running"]
        for pod in running:
            if pod not in self._told:
                self._told[pod] = (ModulePhase.RESOLVING, "choosing the versions of its packages")
                self._tasks.start(self._follow(builder, pod))
        return self._told[running[-1]] if running else None

    async def stop(self) -> None:
        """Follows no more."""
        await self._tasks.cancel()

    async def _follow(self, builder: str, pod: str) -> None:
        try:
            async for line in lines_of(self._client, self._cluster.path("Pod"), pod, {"follow": "true"}):
                stage = stage_of(line.text) if line.stream == "installer" else None
                if stage is not None:
                    self._told[pod] = (stage, line.text[:MAX_PROGRESS])
                    self._on_change(builder)
        finally:
            self._told.pop(pod, None)
