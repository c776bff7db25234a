"""Supervised tasks: what fails is logged, shows in the faults, and is run again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from jac_orc.core.tasks import Faults, Tasks, report_impaired, report_working
from jac_orc.errors import error


@pytest.fixture
async def tasks(no_task_left: None) -> AsyncIterator[tuple[Tasks, Faults]]:
    faults = Faults()
    tasks = Tasks(faults)
    yield tasks, faults
    await tasks.cancel()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def cancelled_inside() -> None:
    inner = asyncio.get_running_loop().create_future()
    inner.cancel()
    await inner


async def raises() -> None:
    raise KeyError("metadata")


async def ends() -> None:
    return


@pytest.mark.parametrize(
    ("first", "words"),
    [(raises, "KeyError: 'metadata'"), (ends, "has ended by itself"), (cancelled_inside, "Cancelled")],
)
async def test_work_that_ends_is_logged_and_run_again(
    tasks: tuple[Tasks, Faults], first: Callable[[], Awaitable[None]], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    runs: list[bool] = []

    async def work() -> None:
        runs.append(tasks[1].is_broken)
        if len(runs) == 1:
            await first()
        else:
            report_working()
            await asyncio.Event().wait()

    tasks[0].supervise("watching", work)
    await until(lambda: tasks[1].is_broken)
    await until(lambda: len(runs) == 2)
    assert runs == [False, True] and not tasks[1].is_impaired
    assert "watching failed; trying again in 0.2 s" in caplog.text and words in caplog.text


async def test_what_another_system_answers_impairs_and_is_told_in_a_line(
    tasks: tuple[Tasks, Faults], caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        raise error("CLUSTER_UNAVAILABLE", "the API server is away")

    tasks[0].supervise("watching", work)
    await until(lambda: tasks[1].is_impaired)
    assert not tasks[1].is_broken
    assert "watching: the API server is away; trying again" in caplog.text and "Traceback" not in caplog.text


async def test_work_that_fails_at_once_is_tried_ever_more_seldom(
    tasks: tuple[Tasks, Faults], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    tasks[0].supervise("watching", raises)
    await asyncio.sleep(1.2)
    assert [record.message.partition(" in ")[2] for record in caplog.records] == ["0.2 s", "0.4 s", "0.8 s"]


async def test_a_task_that_ends_with_its_process_is_no_fault(tasks: tuple[Tasks, Faults]) -> None:
    async def work() -> None:
        report_impaired()
        await asyncio.Event().wait()

    tasks[0].supervise("watching", work)
    await until(lambda: tasks[1].is_impaired)
    await tasks[0].cancel()
    assert not tasks[1].is_impaired
