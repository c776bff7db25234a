"""Entries that fail because of a known fault of the product; each line goes when its fault is repaired."""

from __future__ import annotations

KNOWN_FAULTS: dict[tuple[str, str, str], str] = {}
"""What is wrong, by module, entry and way."""
