"""Fixtures of the unit tests."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def leftovers(no_child_left: None, no_task_left: None) -> None:
    """No test leaves anything behind."""
