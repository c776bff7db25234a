"""Calls that last until they are told to end, and what became of each."""

import asyncio
import contextlib
import os
import time

_begun = []
_ended = {}


@contextlib.contextmanager
def _noted(name):
    _begun.append(name)
    try:
        yield
        _ended[name] = "returned"
    except BaseException as failure:
        _ended[name] = type(failure).__name__
        raise


def hold(name, gate):
    """Looks again and again whether the file is there; until then one beside it tells that this runs."""
    mark = "%s-%s" % (gate, name)
    with _noted(name):
        open(mark, "w").close()
        try:
            while not os.path.exists(gate):
                time.sleep(0.005)
        finally:
            os.unlink(mark)
    return name


def spin(name):
    """Works for ever, step by step."""
    with _noted(name):
        while True:
            pass


async def rest(name):
    """Waits for ever, as a coroutine."""
    with _noted(name):
        await asyncio.sleep(3600)


def count(name):
    """Counts for ever, an item a time."""
    with _noted(name):
        number = 0
        while True:
            yield number
            number += 1
            time.sleep(0.001)


async def count_slowly(name):
    """Gives one item, then waits for ever."""
    with _noted(name):
        yield 0
        await asyncio.sleep(3600)


def forever():
    """Works for ever."""
    while True:
        pass


def nap(seconds):
    """Sleeps where nothing can interrupt it."""
    time.sleep(seconds)


def refuse_to_end():
    """Works for ever, whatever is raised in it."""
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass


def begun():
    """The names of the calls that have begun, in order."""
    return _begun


def ended():
    """How each call has ended that has."""
    return _ended


def forget():
    """Begins anew with what `begun` and `ended` tell."""
    _begun.clear()
    _ended.clear()
