"""What the pod manager does with modules, over any backend: create, change, delete, and have one ready for a call.

Changes of one module are made one after the other. What is under way goes on when its caller goes away: a creation that
fails cleans up after itself even if nobody waits for it. Who asks for what another one is creating joins in, or is
refused at once.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from weakref import WeakValueDictionary

from jac_orc.core.tasks import NamedLocks, Tasks, report_working
from jac_orc.errors import OrcError, error
from jac_orc.pod_manager.backends.base import Backend
from jac_orc.pod_manager.distributions import guess, near
from jac_orc.pod_manager.model import Module, ModulePhase, ModuleSpec, check_name, is_standard_library
from jac_orc.pod_manager.policy import Policy

logger = logging.getLogger(__name__)

_STOPPING = "the pod manager is stopping; the change may go on: look at the module, or send the request again"


class Modules:
    """The modules of one backend, under one policy."""

    def __init__(self, backend: Backend, policy: Policy, *, auto_deploy: bool) -> None:
        self.backend = backend
        self._policy = policy
        self._auto_deploy = auto_deploy
        self._locks = NamedLocks()
        self._deleting: set[str] = set()
        self._for_calls: dict[str, asyncio.Task[Module]] = {}  # the creations that calls have begun
        self._tasks = Tasks(backend.faults)
        self._settling = Settling(backend)

    async def start(self) -> None:
        """Begin to follow the backend, and log which of its modules the policy no longer allows."""
        self._tasks.supervise("watching modules for waiting callers", self._settling.follow)
        for module in self.backend.modules():
            try:
                self._policy.check(module.spec)
            except OrcError as failure:
                advice = f"it stays as it is until it is updated or deleted: jac-orc delete {module.name}"
                logger.warning("%s is deployed, but %s; %s", module.name, failure.message, advice)

    async def stop(self) -> None:
        """End what is under way here; the modules go on."""
        await self._tasks.cancel()  # first, as changes must not be undone because their waiters fail
        self._settling.stop()

    def get(self, name: str) -> Module:
        """The module as it is now; raises OrcError if there is none."""
        check_name(name)
        module = self.backend.get(name)
        if module is None:
            raise error("MODULE_NOT_FOUND", f"no module {name} is deployed", {"module": name})
        return module

    def completed(self, spec: ModuleSpec) -> ModuleSpec:
        """Return the spec with the requirements that its module's name implies.

        Raises OrcError for a spec that the policy does not allow.
        """
        self._policy.check(spec)
        name = spec.module_name
        if spec.needs_install or spec.image or is_standard_library(name):
            return spec
        if not self._policy.guess:
            text = f"the policy lets no distribution be taken for {name}; create it with `requirements`"
            raise error("DISTRIBUTION_UNKNOWN", text, {"module": name, "near": ""})
        spec = dataclasses.replace(spec, requirements=(guess(name).requirement,))
        self._policy.check_requirements(spec.requirements)
        return spec

    async def create(self, spec: ModuleSpec, *, wait: bool = True) -> Module:
        """Deploys the module, or answers the one that is deployed with an equal spec.

        With `wait` it returns when the module can be called; if that fails nothing is left of it. Raises OrcError.
        """
        spec = self.completed(spec)
        if not wait:
            module, _ = await self._applied(spec)
            return module
        return await self._shielded(self._tasks.start(self._create(spec)))

    async def update(self, name: str, change: Callable[[Module], ModuleSpec], *, wait: bool = True) -> Module:
        """Changes the module's spec to what `change` makes of the module.

        With `wait` it returns when all pods are of that spec. If that fails the old spec is restored, whether it is
        waited for or not. Raises OrcError.
        """
        applied: asyncio.Future[Module] = asyncio.get_running_loop().create_future()
        updated = self._tasks.start(self._update(name, change, applied))
        if not wait:
            await asyncio.wait([applied, updated], return_when=asyncio.FIRST_COMPLETED)
            if applied.done():
                return applied.result()
        return await self._shielded(updated)

    async def delete(self, name: str) -> None:
        """Removes the module; raises OrcError if there is none. What is being done to it ends with that."""
        self.get(name)
        await asyncio.shield(self._tasks.start(self._delete(name)))

    async def _delete(self, name: str) -> None:
        self._deleting.add(name)  # whoever would take a change back now would deploy it anew
        try:
            await self.backend.delete(name)
        finally:
            self._deleting.discard(name)

    async def ready(self, name: str, *, deploy: bool = True) -> Module:
        """The module once it can be called, with `deploy` deployed now if need be; raises OrcError where that fails."""
        check_name(name)
        module = self.backend.get(name)
        if module is not None and module.ready:
            return module
        if module is None and not (deploy and self._auto_deploy):
            text = f"no module {name} is deployed; deploy it with POST /create_pod/{name}"
            raise error("MODULE_NOT_FOUND", text, {"module": name})
        if module is None:
            creating = self._for_calls.get(name)
            if creating is None:
                spec = self.completed(ModuleSpec(name))
                self._policy.check_call(name)
                creating = self._for_calls[name] = self._tasks.start(self._create_for_call(spec))
            return await self._shielded(creating)
        if module.spec.replicas == 0:
            raise error("MODULE_UNAVAILABLE", f"{name} is scaled to no pod; scale it up to call it", {"module": name})
        return await self._settling.wait(module, _answers)

    async def _create(self, spec: ModuleSpec) -> Module:
        module, is_new = await self._applied(spec)

        def is_ours(now: Module) -> bool:  # and not changed meanwhile to what somebody else has to answer for
            return now.uid == module.uid and not now.spec.differing_fields(spec)

        def done(now: Module) -> bool:
            return now.spec.replicas == 0 or (_answers(now) if is_ours(now) else bool(now.ready))

        try:
            return await self._settling.wait(module, done)
        except OrcError as failure:
            now = self.backend.get(spec.module_name)
            if is_new and now is not None and is_ours(now):
                await self.backend.delete(spec.module_name)
            raise _advised(failure, spec) from None

    async def _create_for_call(self, spec: ModuleSpec) -> Module:
        try:
            return await self._create(spec)
        finally:
            del self._for_calls[spec.module_name]

    async def _applied(self, spec: ModuleSpec) -> tuple[Module, bool]:
        """The module of that spec, and whether it is new; raises OrcError where there is one of another spec."""
        if (existing := self._existing(spec)) is not None:
            return existing, False
        async with self._locks[spec.module_name]:
            if (existing := self._existing(spec)) is not None:
                return existing, False
            return await self.backend.apply(spec), True

    def _existing(self, spec: ModuleSpec) -> Module | None:
        module = self.backend.get(spec.module_name)
        if module is None or module.phase is ModulePhase.DELETING:
            return None
        if module.name in self._for_calls and not module.ready and module.spec.differing_fields(spec):
            return None  # who says what it shall be goes before a call, which gets its answer from that
        module.spec.must_equal(spec)
        return module

    async def _update(
        self, name: str, change: Callable[[Module], ModuleSpec], applied: asyncio.Future[Module]
    ) -> Module:
        async with self._locks[name]:
            before = self.get(name)
            module = await self.backend.apply(self.completed(change(before)))
            if not applied.done():
                applied.set_result(module)
            try:
                return await self._settling.wait(module, _is_settled)
            except OrcError as failure:
                logger.warning("%s: generation %d is taken back: %s", name, module.generation, failure.message)
                now = self.backend.get(name)
                if now is not None and now.uid == module.uid and name not in self._deleting:
                    await self.backend.apply(before.spec)
                raise

    async def _shielded(self, task: asyncio.Task[Module]) -> Module:
        """Return what the task returns; it goes on to its end even if the caller goes away."""
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise error("MODULE_UNAVAILABLE", _STOPPING) from None
            raise


def _answers(now: Module) -> bool:
    """Whether the module can be called; raises OrcError where it can't become so."""
    if now.ready or now.error is None:
        return bool(now.ready)
    raise now.error.with_traceback(None)  # else each call would add to the traceback of an error that stays


def _is_settled(now: Module) -> bool:
    """Whether all of the module is as its spec says; raises OrcError where it can't become so."""
    if now.error is not None:
        raise now.error.with_traceback(None)
    return now.settled


def _advised(failure: OrcError, spec: ModuleSpec) -> OrcError:
    """The failure, with what to do where the requirements were guessed from the module's name."""
    if failure.reason not in ("ENVIRONMENT_FAILED", "MODULE_IMPORT_FAILED") or spec.source is not None:
        return failure
    try:
        known = guess(spec.module_name)
    except OrcError:  # whoever asked has named the requirements
        return failure
    if spec.requirements != (known.requirement,):
        return failure
    text = f"{failure.message}\n{known.requirement} was taken as the distribution that provides {spec.module_name}"
    text += "; if another one does, create the module with `requirements`"
    meant = [] if known.known else near(spec.module_name)
    if meant:
        text += f". Near to it are {', '.join(meant)}"
    if failure.reason == "ENVIRONMENT_FAILED" and not known.known:
        return error("DISTRIBUTION_UNKNOWN", text, {"module": spec.module_name, "near": ",".join(meant)})
    return error(failure.reason, text, failure.metadata, failure.details)


class Settling:
    """Waits until modules have reached their desired state; one watch serves all waiters."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        # The next change of a module, by its name; waiters keep it alive.
        self._changes: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()
        self._is_stopping = False

    async def follow(self) -> None:
        """Wake the waiters of each module that changes; all of them at first, as changes may have been missed."""
        self._wake(*self._changes)
        report_working()
        async for module, _ in self._backend.watch():
            self._wake(module.name)

    def stop(self) -> None:
        """Let all waiters fail."""
        self._is_stopping = True
        self._wake(*self._changes)

    def _wake(self, *names: str) -> None:
        for name in names:
            if (change := self._changes.pop(name, None)) is not None:
                change.set()

    async def wait(self, module: Module, done: Callable[[Module], bool]) -> Module:
        """Return the module once `done` holds; raises OrcError, also when the module is deleted."""
        while True:
            now = self._backend.get(module.name)
            if now is None or now.uid != module.uid or now.phase is ModulePhase.DELETING:
                failed = now is not None and now.uid == module.uid and now.error
                gone = error("MODULE_UNAVAILABLE", f"{module.name} was deleted meanwhile", {"module": module.name})
                raise failed or gone
            if done(now):
                return now
            if self._is_stopping:
                raise error("MODULE_UNAVAILABLE", _STOPPING)
            change = self._changes.setdefault(module.name, asyncio.Event())
            await change.wait()
