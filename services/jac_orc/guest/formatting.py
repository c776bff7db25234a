"""Format strings: they name attributes as text, and must not reach private ones by it.

`"{0.__init__.__globals__}"` reads what no path of names may read. The functions here are those that take such a text
from a caller; a text that the module's own code formats is its own business.
"""

from __future__ import annotations

import _string  # type: ignore[import-not-found]
import re
import types
from typing import Any

from .failures import Refusal

_KINDS = frozenset((types.FunctionType, types.MethodType, types.BuiltinMethodType, types.MethodDescriptorType))
_NAMES = frozenset(("format", "format_map", "vformat", "get_field"))
_PYTHON = frozenset(("string", "collections"))  # Formatter and UserString
# Names that begin with an underscore, and those of frames: `{0.gi_frame.f_globals}` of a generator.
_PRIVATE = re.compile(r"_|(gi|cr|ag|tb)_")
_MAX_DEPTH = 3  # Python refuses to format specs that are nested deeper


def check_format(target: Any, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Raises Refusal for a call that formats a text with a private name in it."""
    if type(target) not in _KINDS or target.__name__ not in _NAMES:
        return
    owner = getattr(target, "__self__", None)
    is_text = isinstance(owner, str) or getattr(target, "__objclass__", None) is str
    if not is_text and getattr(target, "__module__", None) not in _PYTHON:
        return
    is_private = _names_private if target.__name__ == "get_field" else _formats_private
    texts = [getattr(value, "data", value) for value in (owner, *args, *kwargs.values())]
    if any(isinstance(text, str) and is_private(text) for text in texts):
        raise Refusal("NAME_NOT_EXPOSED", "a format string must not name private attributes or items")


def check_text(value: Any) -> None:
    """Raises Refusal for a text with a private name in it, where code that isn't the caller's may format it."""
    if isinstance(value, str) and _formats_private(value):
        raise Refusal("NAME_NOT_EXPOSED", "a format string must not name private attributes or items")


def check_no_formatter(value: Any) -> None:
    """Raises Refusal for a string's own format method: as a callback it would be called without the check above."""
    if isinstance(value, types.BuiltinMethodType) and value.__name__ in _NAMES and isinstance(value.__self__, str):
        raise Refusal("NAME_NOT_EXPOSED", "the result is a text's method %s; call it by name" % value.__name__)


def _formats_private(template: str, depth: int = _MAX_DEPTH) -> bool:
    """Whether a field of the template, or of a format spec in it, names something private.

    Python's own parser finds the fields: a pattern would stop at the inner brace of `{0[}].__class__}`. The check
    ends at the first error, as formatting does.
    """
    try:
        for _, field, spec, _ in _string.formatter_parser(template):
            if field is None:
                continue
            if _names_private(field) or (spec and depth > 1 and _formats_private(spec, depth - 1)):
                return True
    except ValueError:
        pass
    return False


def _names_private(field: str) -> bool:
    """Whether a field name, as in `{field}`, leads through a private attribute or item."""
    try:
        _, rest = _string.formatter_field_name_split(field)
        return any(isinstance(name, str) and _PRIVATE.match(name) for _, name in rest)
    except ValueError:  # formatting raises it too
        return False
