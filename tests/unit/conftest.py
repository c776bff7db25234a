"""Fixtures of the unit tests."""

from __future__ import annotations

import hypothesis
import pytest

hypothesis.settings.register_profile("unit", max_examples=50, deadline=None, database=None, derandomize=True)
hypothesis.settings.load_profile("unit")


@pytest.fixture(autouse=True)
def leftovers(no_child_left: None, no_task_left: None) -> None:
    """No test leaves anything behind."""
