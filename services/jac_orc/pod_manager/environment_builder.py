"""`python -m jac_orc.pod_manager.environment_builder`: builds one module's environment in the store, then ends.

A Job of the cluster runs it, apart from the pod manager, as a build runs code of the distributions that it builds; or
`jac-orc image build`, whose store is a folder of the image that it makes.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

from jac_orc.core import config, files, lifecycle, logs
from jac_orc.errors import OrcError, error
from jac_orc.pod_manager.distributions import guess
from jac_orc.pod_manager.environments import Environments
from jac_orc.pod_manager.locks import Locks
from jac_orc.pod_manager.model import is_standard_library, spec_from_document
from jac_orc.pod_manager.policy import Policy
from jac_orc.pod_manager.sources import Sources

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """Each field is read from the environment variable of its name in capitals."""

    question_file: Path
    """What to build, as JSON: `spec`, a module's; `allowed_requirements` and `builds` as in the policy."""
    store: Path
    """The shared volume."""
    source_file: Path | None = None
    """An archive of the user's own code, which is stored first and is the module's source."""
    links: Path | None = None
    """A folder for links to what was built: `environment`, `source` and `source-home`; None: nobody looks there."""
    install_timeout: float = 1800.0
    """Seconds that one run of the installer may take."""
    termination_log: str | None = None
    """A file for why the build has failed, as JSON; None: nobody reads it."""
    log_level: str = "info"
    """The least level that is logged."""


async def build(settings: Settings) -> None:
    """Resolves and builds; raises OrcError where that can't be done."""
    question = files.read_json(settings.question_file)
    spec, allowed = spec_from_document(question["spec"]), question["allowed_requirements"]
    sources = Sources(settings.store / "sources")
    if settings.source_file is not None:
        source = sources.add(settings.source_file.name, await asyncio.to_thread(settings.source_file.read_bytes))
        spec = dataclasses.replace(spec, source=source)
    elif not spec.needs_install and not is_standard_library(spec.module_name):
        spec = dataclasses.replace(spec, requirements=(guess(spec.module_name).requirement,))
    allowed = None if allowed is None else tuple(allowed)
    policy = Policy(allowed_requirements=allowed, builds=question.get("builds", True))
    locks = Locks(settings.store / "locks", sources, policy, settings.install_timeout)
    # Others build and use environments in the store, too: removing any is for pod managers, which know what is in use.
    root = settings.store / "environments"
    environments = Environments(root, locks, timeout=settings.install_timeout, collects=False)
    try:
        lock = await environments.resolve(spec, _tell)
        environment = await environments.ensure(lock, _tell)
        await environments.compiled(lock)
        environment.release()
        if settings.links is not None:
            await asyncio.to_thread(_link, settings.links / "environment", environment.interpreter.parents[1])
            if spec.source is not None and not spec.source.kind.is_installed:
                folder = await asyncio.to_thread(sources.folder, spec.source)
                await asyncio.to_thread(_link, settings.links / "source", folder)
                await asyncio.to_thread(_link, settings.links / "source-home", sources.home(spec.source))
        logger.info("built the environment %s: %s", lock.digest, ", ".join(lock.packages) or "no package")
    finally:
        await environments.stop()


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)


def _tell(line: str) -> None:
    logger.info("%s", line.strip(), extra={"stream": "installer"})


def main() -> None:
    """Builds with settings from the environment."""
    try:
        settings = config.load(Settings)
    except config.ConfigurationError as failure:
        print(f"environment builder: {failure}", file=sys.stderr)
        sys.exit(2)
    logs.set_up(settings.log_level)
    try:
        asyncio.run(build(settings))
    except (OrcError, OSError) as failure:
        told = failure if isinstance(failure, OrcError) else error("ENVIRONMENT_FAILED", f"the store fails: {failure}")
        logger.error("%s", told.message)
        lifecycle.tell_failure(told, settings.termination_log)
        sys.exit(1)


if __name__ == "__main__":
    main()
