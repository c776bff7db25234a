"""What text from outside may contain, and how messages show it.

Text of a spec or of a source reaches files, command lines, headers, logs and objects of a cluster. Each of these has
its own special characters, so almost all text may hold printable ASCII only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NOT_PLAIN = re.compile(r"[^ -~]")
_NOT_IN_A_VALUE = re.compile("[\0\ud800-\udfff]")
_NOT_IN_A_PATH = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_USER_INFO = re.compile(
    r"""://(?: [^/\s@:]*@                               # a user or a token
             | [^/\s@]*@ (?:\S*@)?                       # with a password, which may have an `@` itself
             | (?!\[)[^/\s@:]*: (?!\d{1,5}(?:[/?#\s'"),;:]|\Z)|[/\s]|\Z) (?:\S*@|\S*)  # or a `/`; no port
             )""",
    re.VERBOSE,
)


def plain_fault(text: str, max_bytes: int) -> str:
    """Return what keeps the text from being one line of printable ASCII; empty if nothing does."""
    return size_fault(text, max_bytes) or _character_fault(_NOT_PLAIN, text, "; only printable ASCII is allowed")


def value_fault(text: str, max_bytes: int) -> str:
    """Return what keeps the text from being the value of an environment variable; empty if nothing does."""
    return size_fault(text, max_bytes) or _character_fault(_NOT_IN_A_VALUE, text, ", which no environment can hold")


def path_fault(path: str) -> str:
    """Return which character of a file's path could be read as something else: a line's end, a hidden direction."""
    return _character_fault(_NOT_IN_A_PATH, path, " in its path")


def size_fault(text: str, max_bytes: int) -> str:
    """Return by how much the text is too large; empty if it isn't."""
    size = len(text.encode("utf-8", "surrogatepass"))
    return f"has {size:,} bytes, of at most {max_bytes:,}" if size > max_bytes else ""


def _character_fault(characters: re.Pattern[str], text: str, why: str) -> str:
    found = characters.search(text)
    return f"has the character U+{ord(found[0]):04X} at position {found.start() + 1}{why}" if found else ""


def shown(text: str, most: int = 100) -> str:
    """Return text from outside for a message: quoted, short, special characters escaped, no password in a URL."""
    escaped = repr(hidden(text)[: most + 1])[1:-1]
    return f"'{escaped[:most]}…'" if len(escaped) > most else f"'{escaped}'"


def hidden(text: str) -> str:
    """Return the text without the user names and passwords of its URLs."""
    return _USER_INFO.sub("://…@", text)


@dataclass(frozen=True)
class Rule:
    """What a string may be: its size, its form as a regular expression, and how a message names that form."""

    max_bytes: int
    form: str
    expected: str

    def fault(self, text: str) -> str:
        """Return what is wrong with the text; empty if nothing is."""
        fault = plain_fault(text, self.max_bytes)
        if not fault and re.fullmatch(self.form, text):
            return ""
        return f"{shown(text, 60)} is not {self.expected}" + (f": it {fault}" if fault else "")
