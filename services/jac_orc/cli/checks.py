"""What `jac-orc doctor` finds: one line per thing that was looked at, and what mends a fault."""

from __future__ import annotations

import asyncio
import enum
import http.client
import urllib.error
import urllib.request
from dataclasses import dataclass

from jac_orc.cli.place import Address

_SECONDS = 10.0
_MOST_BYTES = 1 << 20


class State(enum.StrEnum):
    """How a check came out."""

    OK = "ok"
    FAULT = "fault"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    found: str
    fix: str = ""
    """For a fault: the command that mends it, or the file to edit."""


def ok(name: str, found: str) -> Check:
    """It is as it shall be."""
    return Check(name, State.OK, found)


def fault(name: str, found: str, fix: str) -> Check:
    """It isn't."""
    return Check(name, State.FAULT, found, fix)


def skipped(name: str, why: str) -> Check:
    """It wasn't looked at, or doesn't matter here."""
    return Check(name, State.SKIPPED, why)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """No pod manager sends its callers elsewhere, and a key is for nobody else."""

    def redirect_request(self, *_: object) -> None:
        return None


async def answer(address: Address) -> tuple[int, str]:
    """Return the status and the beginning of the response to a list of modules. Raises OSError if nothing responds."""
    status, text = await fetch(address, "/v1/modules?page_size=1", _SECONDS)
    return status, text[:1000]


async def fetch(address: Address, path: str, seconds: float) -> tuple[int, str]:
    """Return the status and the body of the response to a GET request. Raises OSError if nothing responds."""

    def ask() -> tuple[int, str]:
        proxies = urllib.request.ProxyHandler({} if address.is_local else None)
        request = urllib.request.Request(f"{address.url}{path}", headers=address.headers)  # noqa: S310
        try:
            with urllib.request.build_opener(proxies, _NoRedirect).open(request, timeout=seconds) as response:
                return response.status, response.read(_MOST_BYTES).decode("utf-8", "replace")
        except urllib.error.HTTPError as failure:
            with failure:
                return failure.code, failure.read(_MOST_BYTES).decode("utf-8", "replace")
        except urllib.error.URLError as failure:
            raise OSError(str(failure.reason)) from failure
        except http.client.HTTPException as failure:
            raise OSError(f"what answers doesn't speak HTTP: {failure!r}") from failure

    return await asyncio.to_thread(ask)
