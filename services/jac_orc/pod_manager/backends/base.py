"""The interface of a backend: where pods run, and where it is kept which modules there are; and what all share."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator
from typing import Any, Protocol

from jac_orc.core import logs
from jac_orc.core.config import MODULE_ENV_PREFIX
from jac_orc.core.tasks import Faults
from jac_orc.errors import OrcError, error
from jac_orc.pod_manager.model import LogLine, Module, ModuleSpec
from jac_orc.pod_manager.policy import Policy
from jac_orc.pod_manager.settings import Settings

logger = logging.getLogger(__name__)

_EXIT_GRACE = 3
_STOP_MARGIN = 5


class Backend(Protocol):
    """Keeps modules deployed as their specs say.

    `apply` and `delete` say what shall be; the backend makes it so on its own and tells of each step by `watch`. What
    was applied outlives this process.
    """

    faults: Faults
    """What keeps this process from following the modules; the pod manager's health shows it."""

    async def start(self) -> None:
        """Takes up the modules that there are; raises OrcError or ConfigurationError where they can't be known."""
        ...

    async def stop(self) -> None:
        """Lets go of everything; the pods go on."""
        ...

    async def apply(self, spec: ModuleSpec) -> Module:
        """Has the module be as the spec says; returns once that is recorded, before it is done."""
        ...

    async def plan(self, spec: ModuleSpec) -> list[dict[str, Any]]:
        """The objects that `apply` would make, as manifests, and makes nothing; none where pods are no objects.

        Raises OrcError as `apply` does.
        """
        ...

    async def delete(self, name: str) -> None:
        """Removes the module and everything made for it; returns when it is gone. An unknown one is no fault."""
        ...

    def get(self, name: str) -> Module | None:
        """The module as it is now, without waiting or reading anything from elsewhere."""
        ...

    def modules(self) -> list[Module]:
        """All modules as they are now, sorted by name."""
        ...

    def watch(self) -> AsyncIterator[tuple[Module, bool]]:
        """Each module as it is now, then whenever it has changed, with whether it is gone.

        A slow reader gets a module's latest state, not each one between.
        """
        ...

    def logs(self, name: str, *, follow: bool, tail: int) -> AsyncIterator[LogLine]:
        """The last `tail` lines of each of the module's pods, then, with `follow`, new ones as they come."""
        ...


def stop_seconds(spec: ModuleSpec, settings: Settings, lame_duck: float) -> int:
    """Return the seconds that a module server may take to stop: its calls end, then its guests, then the server."""
    return math.ceil(lame_duck + min(spec.timeout, settings.max_drain)) + _EXIT_GRACE + _STOP_MARGIN


def server_environment(
    spec: ModuleSpec, settings: Settings, pod_manager_url: str, policy: Policy, lame_duck: float
) -> dict[str, str]:
    """Return the environment variables by which a module server is told what it serves, wherever it runs."""
    return {
        **{MODULE_ENV_PREFIX + name: value for name, value in spec.env.items()},
        "MODULE_NAME": spec.module_name,
        "IMPORT_TIMEOUT": str(spec.import_timeout),
        "WORKERS": str(spec.workers),
        "MAX_CONCURRENCY": str(spec.max_concurrency),
        "QUEUE": str(spec.queue),
        "TIMEOUT": str(spec.timeout),
        "LAME_DUCK": str(lame_duck),
        "MAX_DRAIN": str(settings.max_drain),
        "EXIT_GRACE": str(_EXIT_GRACE),
        "POD_MANAGER_URL": pod_manager_url,
        **policy.environment,
    }


def deploy_failure(name: str, raised: Exception) -> OrcError:
    """Log what keeps a module from being deployed, and return it; all but an OrcError is a fault of this program."""
    if isinstance(raised, OrcError):
        logger.warning("%s: %s", name, raised.message)
        return raised
    logger.error("deploying %s failed; trying again", name, exc_info=raised)
    return error("INTERNAL", f"deploying {name} failed; the pod manager's log has the details")


def log_line(pod: str, text: str, time: str = "") -> LogLine:
    """Return a line of a pod's log; `time` is when it was written, if the line itself may not say so."""
    fields = logs.parse(text)
    time = time or fields.get("time", "")
    return LogLine(time, pod, fields.get("stream", "server"), fields["text"], fields.get("call_id", ""))
