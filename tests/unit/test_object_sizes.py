"""What an object is taken to weigh is near what it does."""

from __future__ import annotations

from typing import Any

import pytest

from jac_orc.guest.objects import size_of


@pytest.mark.parametrize(
    ("value", "megabytes"),
    [
        ([0.5 + number for number in range(1_000_000)], 32),
        (list(range(1000, 1_001_000)), 36),
        ({number: str(number) for number in range(200_000)}, 21),
        ([[float(number)] * 3 for number in range(100_000)], 11),
        ("x" * 10_000_000, 10), ([b"x" * (1000 + number) for number in range(5000)], 18),
    ],
    ids=["floats", "ints", "dict", "lists", "text", "bytes"],
)  # fmt: skip
def test_an_object_weighs_what_it_holds(value: Any, megabytes: int) -> None:
    assert 0.5 * megabytes < size_of(value) / 1e6 < 1.7 * megabytes
