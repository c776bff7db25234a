"""A list of 100,000 floats as JSON, over REST."""

from __future__ import annotations

import json
from contextlib import ExitStack

from bench import environments
from bench.load import Target
from bench.processes import NotStarted
from bench.report import Report, progress
from bench.rounds import loads, ours
from bench.system import running
from bench.trivial_peers import answering, fastapi

COUNT = 100_000
IN_FLIGHT = 4
# The same numbers as bench/peers/serve_fastapi.py has.
FLOATS = [1 / 3, 2 / 3, 1 / 7, 2 / 7, 3 / 7, 1 / 9, 2 / 9, 4 / 9]


def run(report: Report) -> None:
    """Measures it against FastAPI with and without a declared type."""
    case, floats = f"{COUNT:,} floats as JSON, REST, {IN_FLIGHT} connections", FLOATS * (COUNT // len(FLOATS))
    failure: Exception | None = None
    with ExitStack() as stack:
        progress("starting jac-orc up")
        port = stack.enter_context(running()).port
        # A function of the standard library that makes a list in no time.
        body = json.dumps({"args": [FLOATS, COUNT // len(FLOATS)]}).encode()
        path = "/run_module?module_name=operator&method_name=mul"
        mul = Target("http", port, path, body, b"")
        targets = {"ours": answering(mul, lambda answer: bool(json.loads(answer) == {"result": floats}))}
        try:
            theirs = stack.enter_context(fastapi())["http"].port
            body = json.dumps({"count": COUNT}).encode()
            for name, path in {"FastAPI def": "/floats", "FastAPI def -> list[float]": "/declared_floats"}.items():
                target = Target("http", theirs, path, body, b"")
                targets[name] = answering(target, lambda answer: bool(json.loads(answer) == floats))
        except (environments.NotInstalled, NotStarted, OSError) as why:
            failure = why
        found = loads("a long list as JSON", targets, IN_FLIGHT)
    rate = ours(found.pop("ours")).rate
    if failure:
        report.unavailable(case, "FastAPI", str(failure))
    for peer, result in found.items():
        if isinstance(result, Exception):
            report.unavailable(case, peer, str(result))
        else:
            report.ratio(case, peer, rate, result.rate, "calls/s", least=1.0)
