"""BentoML with one worker, its access log off: `bentoml serve bench.peers.serve_bentoml:Sqrt`."""

from __future__ import annotations

import math

import bentoml  # type: ignore[import-not-found]


@bentoml.service(
    workers=1,
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)
class Sqrt:
    """The trivial call."""

    @bentoml.api
    def sqrt(self, x: float) -> float:
        return math.sqrt(x)
