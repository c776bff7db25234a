"""What module servers report to the pod manager; their modules' code may send anything to the same socket."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from pathlib import Path
from typing import Any

import pytest

from jac_orc.pod_manager.backends.local_reports import Reports

GOOD = {"module": "math", "pod": "math-1", "pid": 7, "guest_restarts": 2, "stops": False}


@pytest.mark.parametrize(
    "report",
    [
        {**GOOD, "pid": "x"}, {**GOOD, "pid": None}, {**GOOD, "pid": 0}, {**GOOD, "pid": True}, {**GOOD, "pid": 1.5},
        {**GOOD, "guest_restarts": -1}, {**GOOD, "guest_restarts": []}, {**GOOD, "guest_restarts": 2**31},
        {**GOOD, "stops": 1}, {**GOOD, "guest_restarts": float("inf")}, {**GOOD, "module": {}}, {}, [], "x",
        b"\xff", b"[" * 4000, b'{"pid":' + b"9" * 4000,
    ],
    ids=lambda report: str(report)[:60],
)  # fmt: skip
async def test_a_malformed_report_is_logged_and_left_out(
    no_task_left: None, tmp_path: Path, caplog: pytest.LogCaptureFixture, report: Any
) -> None:
    path, taken = tmp_path / "reports.sock", asyncio.Queue[tuple[str, str, int, int, bool]]()
    reports = Reports(path, lambda *each: taken.put_nowait(each))
    reports.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        for each in (report, GOOD):
            sender.sendto(each if isinstance(each, bytes) else json.dumps(each).encode(), str(path))
    assert await asyncio.wait_for(taken.get(), 5) == ("math", "math-1", 7, 2, False)
    reports.stop()
    assert taken.empty()
    assert [record.levelno for record in caplog.records] == [logging.WARNING], caplog.text
