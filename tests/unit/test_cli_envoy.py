"""How many threads Envoy gets on one machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jac_orc.cli.envoy import cores, workers

ALL = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("available", "expected"), [(1, 1), (2, 1), (3, 2), (4, 2), (64, 32)])
def test_envoy_gets_a_thread_for_every_two_cores(available: int, expected: int) -> None:
    assert workers(available) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("50000 100000", 1), ("100000 100000", 1), ("99900000 100000", ALL), ("max 100000", ALL), ("", ALL), (None, ALL)],
)
def test_a_control_group_limits_the_cores(tmp_path: Path, text: str | None, expected: int) -> None:
    file = tmp_path / "cpu.max"
    if text is not None:
        file.write_text(text)
    assert cores(file) == expected
