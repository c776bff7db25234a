"""The first version of a module."""

import os


def version() -> str:
    """Tells the version."""
    return os.environ.get("ORC_GUEST_SUFFIX", "") + "1.0"
