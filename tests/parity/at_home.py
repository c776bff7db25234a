"""Runs a program's calls in an interpreter of its own: `python at_home.py FOLDER`, with the calls on standard input.

What it prints last is what became of each call, as JSON: its result as this system's JSON has it and as `repr` shows
it, or the class and the text of what it raised.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from collections.abc import Mapping
from typing import Any

sys.path.insert(0, sys.argv[1])
CALLS = json.load(sys.stdin)
RESULTS: list[dict[str, Any]] = []


class Names(Mapping[str, Any]):
    """What a call can name: what calls before it have been given a name for, and what the module has at that moment."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.given: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name in self.given:
            return self.given[name]
        try:
            return getattr(self.module, name)
        except AttributeError:
            raise KeyError(name) from None

    def __iter__(self) -> Any:
        return iter(self.given)

    def __len__(self) -> int:
        return len(self.given)


async def _awaited(value: Any) -> Any:
    return await value


async def _listed(items: Any) -> list[Any]:
    return [item async for item in items]


def run() -> None:
    import program  # type: ignore[import-not-found]

    names = Names(program)
    for call in CALLS:
        try:
            result = eval(call["expression"], {}, names)
            if inspect.isawaitable(result):
                result = asyncio.run(_awaited(result))
            if call["is_stream"]:
                result = asyncio.run(_listed(result)) if hasattr(result, "__aiter__") else list(result)
        except Exception as failure:  # noqa: BLE001 - it is what is compared
            kind = type(failure)
            RESULTS.append({"exception": f"{kind.__module__}.{kind.__qualname__}", "message": str(failure)})
            continue
        if call["name"]:
            names.given[call["name"]] = result
            RESULTS.append({"kept": type(result).__name__})
        else:
            RESULTS.append({"repr": repr(result)})


run()
sys.stdout.write("\n" + json.dumps(RESULTS) + "\n")
