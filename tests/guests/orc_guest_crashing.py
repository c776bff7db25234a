"""Calls that end, or upset, the process they run in."""

import ctypes
import os
import socket
import sys


def segfault() -> None:
    """Reads where there is nothing."""
    ctypes.string_at(0)


def leave(code: int) -> None:
    """Ends the process at once."""
    os._exit(code)


def close_everything() -> None:
    """Closes the wire to the server too."""
    os.closerange(0, 1024)


def exit_politely(code: int) -> None:
    """Asks for the end."""
    sys.exit(code)


def say(text: str) -> str:
    """Prints to both streams."""
    print(text)
    print(text, file=sys.stderr)
    return "said"


def process() -> str:
    """Tells which process of which pod this is."""
    return f"{socket.gethostname()}-{os.getpid()}"
