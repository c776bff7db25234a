"""What a module has: `jac_orc.v1.DescribeResponse`, with signatures, types and documentation."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from .binding import signature_of
from .failures import qualified_name
from .protowire import VARINT, flag, key, sized, string, varint

if TYPE_CHECKING:
    from collections.abc import Callable

    from .names import Names

MAX_DOCUMENTATION_CHARS = 20000
FUNCTION, CLASS, CONSTANT, GENERATOR, COROUTINE = range(1, 6)  # jac_orc.v1.MemberKind
_MEMBER, _PARAMETER = key(4), key(5)


def describe(names: Names) -> bytes:
    """The module's exposed members, sorted by name."""
    module = names.module
    version = getattr(module, "__version__", "")
    members = sorted(names.walk(), key=lambda found: found[0])
    parts = [
        string(1, names.name),
        string(2, version if isinstance(version, str) else ""),
        string(3, _documentation(module)),
    ]
    return b"".join(parts + [sized(_MEMBER, _member(path, value)) for path, value in members])


def _documentation(value: Any) -> str:
    try:
        return (inspect.getdoc(value) or "")[:MAX_DOCUMENTATION_CHARS]
    except Exception:
        return ""


def _member(path: str, value: Any) -> bytes:
    if callable(value):
        try:
            return _callable(path, value)
        except Exception:  # of its own code
            return string(1, path) + _number(2, FUNCTION)
    return string(1, path) + _number(2, CONSTANT) + string(6, qualified_name(type(value)))


def _callable(path: str, value: Any) -> bytes:
    kind = FUNCTION
    if isinstance(value, type):
        kind = CLASS
    elif inspect.iscoroutinefunction(value):
        kind = COROUTINE
    elif inspect.isgeneratorfunction(value) or inspect.isasyncgenfunction(value):
        kind = GENERATOR
    parts = [string(1, path), _number(2, kind), string(4, _documentation(value))]
    signature = signature_of(value)
    if signature is not None:
        parts.append(string(3, _safe_text(str, signature)))
        parts += [sized(_PARAMETER, _parameter(parameter)) for parameter in signature.parameters.values()]
        parts.append(string(6, _annotation(signature.return_annotation)))
    return b"".join(parts)


def _parameter(parameter: inspect.Parameter) -> bytes:
    is_optional = parameter.default is not parameter.empty or parameter.kind.name.startswith("VAR_")
    default = "" if parameter.default is parameter.empty else _safe_text(repr, parameter.default)[:200]
    return b"".join(
        [
            string(1, parameter.name),
            _number(2, parameter.kind + 1),  # jac_orc.v1.ParameterKind has them in Python's order
            string(3, _annotation(parameter.annotation)),
            flag(4, is_optional),
            string(5, default),
        ]
    )


def _number(field: int, value: int) -> bytes:
    return key(field, VARINT) + varint(value)


def _annotation(annotation: Any) -> str:
    if annotation is inspect.Signature.empty:
        return ""
    return annotation if isinstance(annotation, str) else _safe_text(inspect.formatannotation, annotation)


def _safe_text(render: Callable[[Any], str], value: Any) -> str:
    try:
        return render(value)
    except Exception:
        return ""
