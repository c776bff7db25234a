"""Logs of one machine: the event loop goes on while they are read and written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from jac_orc.core import logs
from jac_orc.pod_manager.backends.local_logs import LogWriter, read_logs


@asynccontextmanager
async def loop_free(longest: float) -> AsyncIterator[None]:
    """Fail if anything held the event loop for so many seconds of its thread's processor time."""
    held = 0.0

    async def look() -> None:
        nonlocal held
        while True:
            began = time.thread_time()
            await asyncio.sleep(0.001)
            held = max(held, time.thread_time() - began)

    looking = asyncio.create_task(look())
    await asyncio.sleep(0.02)
    yield
    await asyncio.sleep(0.02)  # so that it sees what held the loop last
    looking.cancel()
    assert held < longest, f"the loop was held for {held:.3f} s"


async def test_a_large_log_is_followed_without_holding_the_loop(no_task_left: None, tmp_path: Path) -> None:
    path = tmp_path / "pod.log"
    line = logs.render(1.0, "info", "stdout", "x" * 1000) + "\n"
    path.write_text(line)
    lines = read_logs(lambda: {"pod": path}, follow=True, tail=10)
    assert (await anext(lines)).text == "x" * 1000
    with path.open("a") as file:
        for _ in range(50):
            file.write(line * 1000)
    seen = 0
    async with loop_free(0.2):  # all at once: some 50 MB, which takes seconds to take apart
        async for _ in lines:
            seen += 1
            if seen == 50_000:
                break
    await lines.aclose()  # type: ignore[attr-defined]


async def test_lines_are_written_in_order_and_bounded(no_task_left: None, tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "a.log")
    async with loop_free(0.2):
        for number in range(15_000):
            writer.add("installer", str(number))
        await writer.flush()
    texts = [logs.parse(line)["text"] for line in (tmp_path / "a.log").read_text().splitlines()]
    assert texts == [str(number) for number in range(5000, 15_000)]
    writer.add("installer", "more")
    await writer.flush()
    assert (tmp_path / "a.log").read_text().count("\n") == 10_001


async def test_a_log_that_cant_be_written_is_left_out(no_task_left: None, tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "gone" / "a.log")
    writer.add("installer", "lost")
    await writer.flush()
    assert not (tmp_path / "gone").exists()
