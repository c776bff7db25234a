"""A process counts as hung after six failures in a row, and no sooner."""

from __future__ import annotations

import asyncio

import pytest

from jac_orc.core.liveness import grpc_answers, hung


@pytest.mark.parametrize("failures", [[True, False] * 10, [False] * 5 + [True] + [False] * 5 + [True], []])
async def test_one_answer_is_enough_to_live_on(failures: list[bool]) -> None:
    answers = iter(failures)
    asked = 0

    async def ask() -> bool:
        nonlocal asked
        asked += 1
        return next(answers, True)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(hung(ask, 0.001), 0.3)
    assert asked > len(failures)


async def test_six_failures_in_a_row_are_too_many() -> None:
    asked = 0

    async def ask() -> bool:
        nonlocal asked
        asked += 1
        if asked % 2:
            await asyncio.sleep(60)  # answers too late, which is no answer
        return False

    await asyncio.wait_for(hung(ask, 0.01), 5)
    assert asked == 6


async def test_nobody_is_asked_where_the_period_is_zero() -> None:
    async def ask() -> bool:
        raise AssertionError

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(hung(ask, 0), 0.05)


async def test_nothing_that_listens_is_no_answer() -> None:
    assert not await grpc_answers("127.0.0.1:1")
