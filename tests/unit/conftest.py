"""Fixtures of the unit tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import hypothesis
import pytest

from jac_orc.guest.json_values import MAX_DIGITS

hypothesis.settings.register_profile("unit", max_examples=50, deadline=None, database=None, derandomize=True)
hypothesis.settings.load_profile("unit")


@pytest.fixture(autouse=True)
def leftovers(no_child_left: None, no_task_left: None) -> None:
    """No test leaves anything behind."""


@pytest.fixture(scope="module")
def digits_as_in_the_guest() -> Iterator[None]:
    """The limit that the guest's process sets."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(MAX_DIGITS)
    yield
    sys.set_int_max_str_digits(limit)
