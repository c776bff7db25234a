"""Bounds what calls hold in memory while their module is not ready."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from jac_orc.errors import error


@dataclass(frozen=True)
class HeldLimits:
    """How many calls, with how many bytes of first messages, one pod manager holds: for a module, and for all."""

    module_calls: int = 1000
    module_bytes: int = 128 * 1024**2
    calls: int = 5000
    bytes: int = 256 * 1024**2


class HeldCalls:
    """Counts the held calls; each counts from its arrival until it has a pod."""

    def __init__(self, limits: HeldLimits) -> None:
        self._limits = limits
        self._calls: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    @property
    def calls(self) -> int:
        """How many calls are held."""
        return self._calls.total()

    @property
    def bytes(self) -> int:
        """How many bytes they have."""
        return self._bytes.total()

    @contextlib.contextmanager
    def hold(self, module: str, size: int) -> Iterator[None]:
        """Hold a call of that many bytes; raises OrcError if there are too many."""
        limits = self._limits
        for held, limit, what in (
            (self._calls[module] + 1, limits.module_calls, f"calls of {module} wait"),
            (self._bytes[module] + size, limits.module_bytes, f"bytes of calls of {module} wait"),
            (self.calls + 1, limits.calls, "calls wait"),
            (self.bytes + size, limits.bytes, "bytes of calls wait"),
        ):
            if held > limit:
                text = f"more than {limit} {what} for modules that are not ready; try again later"
                raise error("QUEUE_FULL", text, {"module": module})
        self._calls[module] += 1
        self._bytes[module] += size
        try:
            yield
        finally:
            for counter, count in ((self._calls, 1), (self._bytes, size)):
                counter[module] -= count
                if not counter[module]:
                    del counter[module]
