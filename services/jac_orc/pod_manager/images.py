"""Names of images in one canonical form, so that a pattern of the policy fits every spelling of what it allows.

The form is that of the distribution project's reference grammar: `docker.io/library/python:latest` for `python`.
"""

from __future__ import annotations

import re

_HUB = "docker.io"
_HUB_TOO = ("index.docker.io", "registry-1.docker.io")
_TAG = re.compile(r":[^/:]*\Z")


def spellings(image: str) -> tuple[str, ...]:
    """Return what a pattern may match: the image's name alone, and the name with what chooses its content.

    That is the digest if there is one, as a tag before it chooses nothing, or else the tag.
    """
    name, _, digest = image.partition("@")
    tag = _TAG.search(name)
    bare = _with_registry(name[: tag.start()] if tag else name)
    return bare, f"{bare}@{digest}" if digest else f"{bare}{tag[0] if tag else ':latest'}"


def canonical_pattern(pattern: str) -> str:
    """Return a pattern of image names with its registry in place; `*` at its beginning fits any registry."""
    return pattern if pattern.startswith(("*", "?", "[")) else _with_registry(pattern)


def _with_registry(name: str) -> str:
    first, slash, rest = name.partition("/")
    is_host = slash and (first == "localhost" or first != first.lower() or re.search(r"[.:*?\[]", first))
    host, path = (first.lower().removesuffix(":443"), rest) if is_host else (_HUB, name)
    host = _HUB if host in _HUB_TOO else host
    return f"{host}/library/{path}" if host == _HUB and "/" not in path and path != "*" else f"{host}/{path}"
