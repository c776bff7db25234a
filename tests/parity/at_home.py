"""Run a program's calls in an interpreter that `python -c` has started: with this text, and a call of `run`.

Nothing is imported that the program does not import itself.
"""

import sys


class Names:
    """What an expression can name: results that have been kept, and what the module has at that moment."""

    def __init__(self, module):
        self.module = module
        self.kept = {}

    def __getitem__(self, name):
        if name in self.kept:
            return self.kept[name]
        try:
            return getattr(self.module, name)
        except AttributeError:
            raise KeyError(name) from None


def qualified(kind):
    return f"{kind.__module__}.{kind.__qualname__}"


def exception(failure):
    cause = failure.__cause__ or (None if failure.__suppress_context__ else failure.__context__)
    try:
        message = str(failure)
    except Exception as second:  # noqa: BLE001
        message = f"<its text can't be made: {type(second).__name__}>"
    return {
        "type": qualified(type(failure)),
        "message": message,
        "notes": [str(note) for note in getattr(failure, "__notes__", [])],
        "cause": exception(cause) if cause else None,
        "exceptions": [exception(member) for member in getattr(failure, "exceptions", ())],
    }


def finished(value, streams):
    """The value once it has been awaited, and its items if it is a stream."""
    if hasattr(type(value), "__await__"):
        import asyncio

        async def wait():
            return await value

        return asyncio.run(wait())
    if streams and hasattr(value, "__aiter__"):
        import asyncio

        async def read():
            return [item async for item in value]

        return asyncio.run(read())
    return list(value) if streams else value


def outcome(names, expression, name, streams):
    try:
        value = finished(eval(expression, {}, names), streams)
    except BaseException as failure:  # noqa: BLE001 - it is what is compared
        return {"exception": exception(failure)}
    if not name:
        return {"repr": repr(value)}
    names.kept[name] = value
    return {"kept": qualified(type(value))}


def run(module, folder, calls, report):
    """Write the outcomes of the calls, each an expression, a name to keep its result by, and whether it is a stream."""
    sys.path.insert(0, folder)
    names = Names(__import__(module))
    outcomes = [outcome(names, *call) for call in calls]
    with open(report, "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(repr(outcomes))
