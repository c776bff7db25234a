"""An Envoy whose control plane was away follows it again within seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.feature.xds_front import Front, eventually

AWAY_SECONDS = 5.0


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    """A front that finds its control plane by name, as in a cluster."""
    front = Front(tmp_path)
    front.xds_host = "localhost"
    try:
        front.start()
        front.put("numpy", front.pod("numpy-1").endpoint)
        eventually(lambda: front.server_of("numpy") == "numpy-1")
        yield front
    finally:
        front.close()


def test_changes_made_while_it_was_away_arrive_at_once(front: Front) -> None:
    """Without a limit Envoy would try again after 4 s on average, after 15 s if it was away for long."""
    moved = front.pod("numpy-2").endpoint
    front.stop_xds()
    front.put("numpy", moved)
    time.sleep(AWAY_SECONDS)
    assert front.server_of("numpy") == "numpy-1"
    front.start_xds()
    eventually(lambda: front.server_of("numpy") == "numpy-2", 2.5)
