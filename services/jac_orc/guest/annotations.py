"""Annotations of the module's code, which may be texts, names for type checkers only, or anything that is no type."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import sys
import types
import typing
from typing import Any


def function_of(target: Any) -> Any:
    """What has the annotations of a callable: of a class, what it is made by."""
    function = target
    if isinstance(target, type):
        made_by = target.__new__ if target.__init__ is object.__init__ else target.__init__  # type: ignore[misc]
        function = target if made_by is object.__new__ else made_by
    elif not hasattr(target, "__code__") and not hasattr(target, "__wrapped__"):
        function = getattr(target, "func", None) or type(target).__call__
    return inspect.unwrap(function)


def evaluated(owner: Any) -> dict[str, Any]:
    """The annotations of a function or a class, each evaluated on its own where it stands; without those that fail.

    A name may be there for type checkers only, and the code of an annotation may raise anything.
    """
    found: dict[str, Any] = {}
    for place in reversed(owner.__mro__) if isinstance(owner, type) else (owner,):
        with contextlib.suppress(Exception):
            if isinstance(place, type):
                outer, inner = vars(sys.modules[place.__module__]), dict(vars(place))
            else:
                outer, inner = place.__globals__, None
            for name, hint in _annotations(place).items():
                alone: Any = types.ModuleType("alone")  # of which a Final may be, too
                alone.__annotations__ = {name: hint}
                with contextlib.suppress(Exception):
                    found.update(typing.get_type_hints(alone, outer, inner))
    return found


def _annotations(place: Any) -> dict[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(place, format=annotationlib.Format.FORWARDREF)
    inherits = isinstance(place, type) and sys.version_info < (3, 10)
    return vars(place).get("__annotations__", {}) if inherits else place.__annotations__  # type: ignore[no-any-return]


def meant(hint: Any, origin: Any) -> Any:
    """The annotation that another one only names or decorates; None for one that speaks for itself."""
    if getattr(hint, "__metadata__", None) is not None:  # Annotated
        return hint.__origin__
    if origin in (typing.Final, typing.ClassVar):
        return typing.get_args(hint)[0]
    if isinstance(hint, dataclasses.InitVar):
        return hint.type
    if isinstance(hint, typing.TypeVar):
        return hint.__bound__
    if hasattr(hint, "__supertype__"):  # NewType
        return hint.__supertype__
    alias = origin or hint  # `type Name = …` of Python 3.12
    return alias.__value__ if type(alias).__name__ == "TypeAliasType" else None
