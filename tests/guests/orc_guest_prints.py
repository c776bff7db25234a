"""A module that prints while it is imported, without a line's end."""

import sys

print("imported loudly")
sys.stdout.write("{}" * 20000)
sys.stdout.flush()


def answer() -> int:
    """Answers."""
    return 42
