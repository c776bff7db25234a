"""Page tokens: opaque to clients, and valid across restarts, replicas and changes of the list."""

from __future__ import annotations

import base64
import hashlib

from jac_orc.errors import error

_VERSION = b"page-1"
_CHECK_BYTES = 6


def token(last: str) -> str:
    """Return the token of the page after the one that ends with this name."""
    name = last.encode()
    return base64.urlsafe_b64encode(_check(name) + name).decode().rstrip("=")


def last_name(page_token: str) -> str:
    """Return the name that the page before ended with; empty for the first page, whose token is empty.

    Raises OrcError for a token that `token` did not return.
    """
    try:
        content = base64.urlsafe_b64decode(page_token + "=" * (-len(page_token) % 4))
        name = content[_CHECK_BYTES:].decode()
    except ValueError:
        name = ""
    if page_token and (not name or token(name) != page_token):
        text = f"invalid page_token {page_token[:40]!r}; use the next_page_token of the page before, or none"
        raise error("MALFORMED_REQUEST", text, {"field": "page_token"})
    return name


def _check(name: bytes) -> bytes:
    return hashlib.blake2b(name, digest_size=_CHECK_BYTES, person=_VERSION).digest()
