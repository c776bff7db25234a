"""Format strings: they name attributes as text, and must not reach private ones by it.

`"{0.__init__.__globals__}"` reads what no path of names may read. The functions here are those that take such a text
from a caller; a text that the module's own code formats is its own business.
"""

from __future__ import annotations

import re
import types
from typing import Any

from .failures import Refusal

_KINDS = frozenset((types.FunctionType, types.MethodType, types.BuiltinMethodType, types.MethodDescriptorType))
_NAMES = frozenset(("format", "format_map", "vformat", "get_field"))
_PYTHON = frozenset(("string", "collections"))  # Formatter and UserString
# Names that begin with an underscore, and those of frames: `{0.gi_frame.f_globals}` of a generator.
_FIELD = re.compile(r"[.\[](_|(gi|cr|ag|tb)_)")
_TEMPLATE = re.compile(r"\{[^{}]*[.\[](_|(gi|cr|ag|tb)_)")


def check_format(target: Any, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Raises Refusal for a call that formats a text with a private name in it."""
    if type(target) not in _KINDS or target.__name__ not in _NAMES:
        return
    owner = getattr(target, "__self__", None)
    is_text = isinstance(owner, str) or getattr(target, "__objclass__", None) is str
    if not is_text and getattr(target, "__module__", None) not in _PYTHON:
        return
    private = _FIELD if target.__name__ == "get_field" else _TEMPLATE
    texts = [getattr(value, "data", value) for value in (owner, *args, *kwargs.values())]
    if any(isinstance(text, str) and private.search(text) for text in texts):
        raise Refusal("NAME_NOT_EXPOSED", "a format string must not name private attributes or items")
