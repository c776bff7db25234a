"""`jac-orc dev`: the code of a folder or of a file, deployed again at each save."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path

import watchfiles

from jac_orc.cli import deploying, show, sources
from jac_orc.cli.failures import CallError, UsageError
from jac_orc.cli.first_call import first_call
from jac_orc.cli.options import Spec
from jac_orc.cli.remote import Remote, explain
from jac_orc.client.packing import PackingError, Tree, watched
from jac_orc.errors import OrcError
from jac_orc.v1 import pod_manager_pb2 as pb

_DEBOUNCE_MS = 50
_STEP_MS = 20
_RETRY_SECONDS = 1.0
_QUIET_SECONDS = 1.0
# What other code may mend; any other failure of the first version ends the command.
_OF_THE_CODE = frozenset(
    "MODULE_IMPORT_FAILED ENVIRONMENT_FAILED SOURCE_INVALID REQUIREMENT_REFUSED GUEST_DIED EXCEPTION_RAISED".split()
)


async def develop(remote: Remote, path: Path, name: str, spec: Spec) -> None:
    """Deploys the code now and at each change, and prints the module's logs, until it is cancelled."""
    development = Development(remote, path, deploying.spec(spec, name or sources.only_name(path)))
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(development.follow_code())
            tasks.create_task(development.follow_logs())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    finally:
        if development.exists.is_set():
            command = f"jac-orc delete {development.name}{remote.options}"
            print(f"{development.name} stays deployed; this removes it: {command}", file=sys.stderr)


class Development:
    """One folder, or file, and the module that is made of it."""

    def __init__(self, remote: Remote, path: Path, spec: pb.ModuleSpec) -> None:
        self.name = spec.module_name
        self.exists = asyncio.Event()
        self._remote = remote
        self._path = path
        self._spec = spec
        self._digest = ""
        self._complaint = ""
        self._lines_before: int | None = None
        """How many log lines of earlier times are shown; None: all that may be of this version's start."""

    async def follow_code(self) -> None:
        """Deploys each version of the code. Raises what no later version can mend."""
        with contextlib.suppress(OrcError):
            request = pb.GetModuleRequest(module_name=self.name)
            await self._remote.call(self._remote.modules.GetModule, request)
            self._lines_before = 0
            self.exists.set()
        is_first = True
        async with contextlib.aclosing(changes(self._path)) as versions:
            async for _ in versions:
                try:
                    await self._deploy(is_first)
                    self._complaint = ""
                except (OrcError, CallError, PackingError, UsageError, OSError) as failure:
                    if isinstance(failure, OrcError) and failure.reason in _OF_THE_CODE:
                        after = "the old version goes on answering" if self.exists.is_set() else "waiting for a change"
                        self._complain(failure, f"this version does not start; {after}")
                    elif is_first:
                        raise
                    else:
                        self._digest = ""  # it may be deployed yet
                        self._complain(failure, "waiting for a change")
                if is_first:
                    show.say(f"{self.name}: watching {self._path}; Ctrl-C ends that")
                is_first = False

    async def follow_logs(self) -> None:
        """Prints the module's log lines as soon as it exists, whatever happens to it or to the pod manager."""
        await self.exists.wait()
        tail = self._lines_before
        while True:
            with contextlib.suppress(OrcError, CallError):
                async for line in self._remote.log_lines(self.name, follow=True, tail=tail):
                    show.say(show.log_line(line))
            await asyncio.sleep(_RETRY_SECONDS)
            tail = 0

    async def _deploy(self, is_first: bool) -> None:
        """Deploys the code as it is now, if that is news, and tells when it answers."""
        begin = time.monotonic()
        source = await asyncio.to_thread(sources.read, self._path, self.name)
        if source.packed.digest == self._digest:
            return
        self._digest = source.packed.digest
        if is_first:
            source.hint()
        self._spec.source.CopyFrom(await sources.upload(self._remote, source))
        with show.Progress(live=False, after=0 if is_first else _QUIET_SECONDS) as progress:
            async with deploying.watched(self._remote, self.name, progress):
                module = await self._apply(is_first)
        seconds = time.monotonic() - begin
        if is_first:
            show.say(show.readiness(module, seconds))
            show.say(f"a first call to try:\n\n  {await first_call(self._remote, module)}\n")
        else:
            files = f"{source.packed.files} file{'' if source.packed.files == 1 else 's'}"
            show.say(f"{self.name}: {files}, new code answers after {seconds:.2f} s")
        self.exists.set()

    async def _apply(self, is_first: bool) -> pb.Module:
        if self.exists.is_set() and not is_first:
            try:
                only_source = pb.ModuleSpec(module_name=self.name, source=self._spec.source)
                return await deploying.change(self._remote, only_source)
            except OrcError as failure:
                if failure.reason != "MODULE_NOT_FOUND":  # somebody has removed it
                    raise
        return await deploying.create(self._remote, self._spec, update=True, wait=True)

    def _complain(self, failure: Exception, consequence: str) -> None:
        """Tells of a failure, once however often it is met."""
        text = f"{explain('dev', failure, self._remote.options)}\n{self.name}: {consequence}"
        if text != self._complaint:
            print(show.printable(text), file=sys.stderr, flush=True)
        self._complaint = text


async def changes(path: Path) -> AsyncGenerator[None]:
    """Yields at once, and again whenever files that are packed have changed; raises PackingError at first only.

    `path` is a folder or a file.

    Watched are those folders only in which such files are, each by itself. As these change, too, the watch is made anew
    each time, and before the caller looks at the files: what changes while it is busy makes one further change.
    """
    tree = await asyncio.to_thread(watched, path)
    while True:
        if not tree.folders:  # all of it has gone; it may come back
            yield
            await asyncio.sleep(_RETRY_SECONDS)
            tree = await asyncio.to_thread(_look_again, path, tree)
            continue
        watch = watchfiles.awatch(
            *tree.folders, watch_filter=partial(_matters, tree), debounce=_DEBOUNCE_MS, step=_STEP_MS, recursive=False
        )
        change = asyncio.ensure_future(anext(watch))
        try:
            await asyncio.sleep(0)  # it watches before it waits for the first time
            before = set(tree.folders)
            tree = await asyncio.to_thread(_look_again, path, tree)
            if set(tree.folders) == before or change.done():
                yield
                await change
        except FileNotFoundError:  # a folder has gone before it was watched
            pass
        except OSError as failure:
            raise CallError(f"{path} can't be watched: {failure}") from failure
        finally:
            change.cancel()
            await asyncio.gather(change, return_exceptions=True)
            await watch.aclose()


def _look_again(path: Path, tree: Tree) -> Tree:
    """What is in the folder now; what of it was there, while it can't be packed. The caller tells why."""
    try:
        return watched(path)
    except PackingError:
        return Tree(tree.root, tree.ignores, {}, [path for path in tree.folders if path.is_dir()])


def _matters(tree: Tree, change: watchfiles.Change, path: str) -> bool:
    """Whether what has changed may be packed."""
    name = os.path.relpath(path, tree.root)
    return name == "." or name.startswith("../") or not tree.ignores.left_out_by(name, is_folder=os.path.isdir(path))
