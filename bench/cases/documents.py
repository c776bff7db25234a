"""A list of 100,000 floats as JSON, over REST."""

from __future__ import annotations

import json

from bench.comparison import Comparison
from bench.load import Target
from bench.peer_servers import answering, fastapi
from bench.results import Run
from bench.system import running

COUNT = 100_000
IN_FLIGHT = 4
# The same numbers as bench/peers/serve_fastapi.py has.
FLOATS = [1 / 3, 2 / 3, 1 / 7, 2 / 7, 3 / 7, 1 / 9, 2 / 9, 4 / 9]
PEERS = {"FastAPI": "/floats", "FastAPI, type declared": "/declared_floats"}


def run(run: Run) -> None:
    """Measure it against FastAPI with and without a declared type."""
    case, floats = f"{COUNT:,} floats as JSON, REST, {IN_FLIGHT} connections", FLOATS * (COUNT // len(FLOATS))
    with Comparison(run, case) as comparison:
        system = comparison.enter_context(running())
        system.request("POST", "/create_pod/operator", {})
        # A function of the standard library that makes a list in no time.
        body = json.dumps({"args": [FLOATS, COUNT // len(FLOATS)]}).encode()
        mul = Target("http", system.port, "/run_module?module_name=operator&method_name=mul", body, b"")
        mul = answering(mul, lambda answer: bool(json.loads(answer) == {"result": floats}))
        comparison.ways["ours"] = comparison.loading(mul, IN_FLIGHT)
        for peer, path in PEERS.items():
            with comparison.peer(peer):
                port = comparison.enter_context(fastapi())["http"].port
                target = Target("http", port, path, json.dumps({"count": COUNT}).encode(), b"")
                target = answering(target, lambda answer: bool(json.loads(answer) == floats))
                comparison.ways[peer] = comparison.loading(target, IN_FLIGHT)
        comparison.compare()
        for peer in PEERS:
            comparison.ratio(case, peer, "calls/s", least=1.0)
