"""Watchers: each at its own pace, none with more than one change per module waiting."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator
from typing import cast

import pytest

from jac_orc.pod_manager.backends.known_modules import Change, KnownModules
from jac_orc.pod_manager.model import Module, ModulePhase, ModuleSpec


def module(name: str, generation: int = 1) -> Module:
    return Module(ModuleSpec(name), "u", generation, 0.0, 0.0, ModulePhase.READY)


def known(*names: str) -> KnownModules:
    modules = KnownModules()
    for name in names:
        modules.publish(module(name))
    return modules


async def take(stream: AsyncIterator[Change], count: int) -> list[tuple[str, int, bool]]:
    found = []
    for _ in range(count):
        changed, gone = await asyncio.wait_for(anext(stream), 2)
        found.append((changed.name, changed.generation, gone))
    return found


async def end(stream: AsyncIterator[Change]) -> None:
    await cast(AsyncGenerator[Change], stream).aclose()


async def test_what_is_there_comes_first_then_changes() -> None:
    modules = known("a", "b")
    stream = modules.watch()
    assert await take(stream, 2) == [("a", 1, False), ("b", 1, False)]
    modules.publish(module("a", 2))
    modules.publish(module("b", 1), gone=True)
    assert await take(stream, 2) == [("a", 2, False), ("b", 1, True)]
    await end(stream)


async def test_a_slow_watcher_gets_the_latest_of_each() -> None:
    modules = known("a")
    stream = modules.watch()
    await take(stream, 1)
    for generation in range(100):
        modules.publish(module("a", generation))
        modules.publish(module("b", generation), gone=generation == 99)
    assert await take(stream, 2) == [("a", 99, False), ("b", 99, True)]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(stream), 0.02)


async def test_gone_and_new_again_is_new() -> None:
    modules = known("a")
    stream = modules.watch()
    await take(stream, 1)
    modules.publish(module("a"), gone=True)
    modules.publish(dataclasses.replace(module("a"), uid="other"))
    changed, gone = await anext(stream)
    assert changed.uid == "other" and not gone
    await end(stream)


async def test_watchers_do_not_wait_for_each_other() -> None:
    modules = known("a")
    slow, quick = modules.watch(), modules.watch()
    await take(slow, 1)
    await take(quick, 1)
    for generation in range(2, 5):
        modules.publish(module("a", generation))
        assert await take(quick, 1) == [("a", generation, False)]
    assert await take(slow, 1) == [("a", 4, False)]
    await end(slow)
    await end(quick)


async def test_a_change_wakes_a_waiting_watcher() -> None:
    modules = known()
    stream = modules.watch()
    waiting = asyncio.create_task(take(stream, 1))
    await asyncio.sleep(0.01)
    modules.publish(module("a"))
    assert await waiting == [("a", 1, False)]
    await end(stream)


async def test_a_watcher_that_has_ended_is_forgotten() -> None:
    modules = known("a")
    streams = [modules.watch() for _ in range(3)]
    for stream in streams:
        await take(stream, 1)
        await end(stream)
    assert not modules._waiting
