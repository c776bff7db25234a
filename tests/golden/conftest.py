"""Golden files: what pure functions render is compared with reviewed files, or replaces them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

REWRITE = "--golden-rewrite"
ROOT = Path(__file__).parents[2]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the switch; pytest reads it here only if this directory is named on its command line."""
    parser.addoption(REWRITE, action="store_true", help="write the golden files instead of comparing with them")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares a text with the file of this path below the project's root."""
    rewrite = request.config.getoption(REWRITE, default=False)

    def check(path: str, text: str) -> None:
        file = ROOT / path
        if rewrite:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        assert text == before, f"{path} differs; if that is meant: pytest {REWRITE} tests/golden"

    return check
