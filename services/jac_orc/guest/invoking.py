"""What a call calls, and the calling of it: of the module's code, and with nothing of any codec."""

from __future__ import annotations

import inspect
import types
from typing import TYPE_CHECKING, Any

from .binding import explain_binding
from .coroutines import Loop, items_of
from .failures import Refusal, quote
from .formatting import check_format
from .names import Change
from .protowire import Malformed

if TYPE_CHECKING:
    from collections.abc import Callable

    from .calls import Call
    from .names import Names

NOTHING = object()
"""In place of an object, where the module itself is meant."""


class Invoker:
    """Calls what one module has, and its objects."""

    def __init__(self, names: Names, loop: Loop) -> None:
        self._names = names
        self._loop = loop

    def target(self, method: str, owner: Any = NOTHING, *, streams: bool = False) -> Any:
        """What is called: a name of the module, or of an object, or the object itself; raises Refusal."""
        if owner is NOTHING:
            if not method:
                raise Refusal("MALFORMED_REQUEST", "no method is named", field="method")
            target = self._names.resolve(method)
        elif method:
            target = self._names.resolve_in(owner, method)
        elif callable(owner) or streams:
            return owner
        else:
            text = "the object is a %s, which can't be called; name one of its methods" % type(owner).__name__
            raise Refusal("NOT_CALLABLE", text)
        if issubclass(type(target), types.ModuleType):
            raise Refusal("NOT_CALLABLE", "%s is a module; name a function in it" % quote(method), method=method[:200])
        return target

    def constant(self, call: Call, value: Any, method: str, args: Any, kwargs: Any) -> Any:
        """The value of a name that can't be called; a coroutine, of a property, and a future are awaited."""
        if args or kwargs:
            text = "%s is a constant; it takes no arguments" % quote(method)
            raise Refusal("NOT_CALLABLE", text, method=method[:200])
        return call.wait_for(value) if _is_awaitable(value) and not _is_handle(value) else value

    def run(self, call: Call, target: Any, method: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """What the callable returns; a coroutine is awaited."""
        check_format(target, args, kwargs)
        try:
            result = target(*args, **kwargs)
        except TypeError as failure:
            # Raised by the call itself and not by code within: the arguments are what it objects to.
            if failure.__traceback__ and failure.__traceback__.tb_next is None:
                explain_binding(target, method, args, kwargs, failure)
            raise
        except (Refusal, Malformed) as failure:
            if type(target) is Change:
                raise
            # The module's own code can't speak in this system's name
            raise RuntimeError(str(failure)) from failure
        return call.wait_for(result) if _is_awaitable(result) else result

    def stream(self, call: Call, result: Any, encoded: Callable[[Any], bytes]) -> bytes:
        """Sends each item of what was returned; answers the empty end."""
        with items_of(result, call.wait_for, self._loop) as items:
            for item in items:
                call.send(encoded(item))
        return b""


def _is_handle(value: Any) -> bool:
    """Whether it is an object that is more than its result: a connection, say, that is awaited once."""
    return not isinstance(value, (types.CoroutineType, types.GeneratorType)) and not hasattr(
        value, "_asyncio_future_blocking"
    )


def _is_awaitable(value: Any) -> bool:
    """Whether `await` would be written before it at home: coroutines, futures, whatever else can be awaited."""
    return getattr(type(value), "__await__", None) is not None or (
        type(value) is types.GeneratorType and inspect.isawaitable(value)
    )
