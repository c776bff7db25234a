"""FastAPI with plain functions: `uvicorn bench.peers.serve_fastapi:app --no-access-log`."""

from __future__ import annotations

import math

from fastapi import Body, FastAPI  # type: ignore[import-not-found]

FLOATS = [1 / 3, 2 / 3, 1 / 7, 2 / 7, 3 / 7, 1 / 9, 2 / 9, 4 / 9]

app = FastAPI()


@app.post("/sqrt")
def sqrt(x: float = Body(embed=True)):
    """The trivial call."""
    return math.sqrt(x)


@app.post("/floats")
def floats(count: int = Body(embed=True)):
    """A long list."""
    return FLOATS * (count // len(FLOATS))


@app.post("/declared_floats")
def declared_floats(count: int = Body(embed=True)) -> list[float]:
    """The same with its type declared, by which FastAPI encodes the answer."""
    return FLOATS * (count // len(FLOATS))
