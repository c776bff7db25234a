"""Annotations of the module's code, which may be texts, names for type checkers only, or anything that is no type."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import sys
import types
import typing
from typing import Any

if typing.TYPE_CHECKING:
    from collections.abc import Collection, Sequence

Variables = dict[Any, Any]  # what type variables stand for

_PASSED_ON = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_WRAPPERS = ("Final", "ClassVar", "Required", "NotRequired", "ReadOnly")


def function_of(target: Any) -> Any:
    """Return what has the annotations of a callable; of a class the one that takes a call's arguments.

    That is its metaclass's `__call__`, its `__new__` or its `__init__`: the first that doesn't only pass them on.
    """
    function = target
    if isinstance(target, type):
        function = target
        for made_by in (type(target).__call__, target.__new__, target.__init__):  # type: ignore[misc]
            if hasattr(made_by, "__code__"):
                function = inspect.unwrap(made_by)
                if not passes_on(list(inspect.signature(function).parameters.values())[1:]):
                    break
    elif not hasattr(target, "__code__") and not hasattr(target, "__wrapped__"):
        function = getattr(target, "func", None) or type(target).__call__
    return inspect.unwrap(function)


def passes_on(parameters: Sequence[inspect.Parameter]) -> bool:
    """Return whether a constructor takes any arguments, so that another one must declare them."""
    return bool(parameters) and all(parameter.kind in _PASSED_ON for parameter in parameters)


def evaluated(owner: Any, variables: Variables | None = None) -> dict[str, Any]:
    """Evaluate each annotation of a function or a class on its own, in its own namespace; leave out those that fail.

    A name may exist for type checkers only, and the code of an annotation may raise anything. Type variables are
    replaced by their types: the bases of a class give its own, and `variables` has others.
    """
    found: dict[str, Any] = {}
    known, around = variables or {}, dict[str, Any]()
    for place in reversed(owner.__mro__) if isinstance(owner, type) else (owner,):
        with contextlib.suppress(Exception):
            if isinstance(place, type):
                outer, inner = vars(sys.modules[place.__module__]), dict(vars(place))
                inner.pop("__annotations__", None)
                known = bound(owner, variables).get(place, {})
            else:
                outer, inner, around = place.__globals__, {}, _class_around(place)
            inner.update({each.__name__: each for each in getattr(place, "__type_params__", ())})
            for name, hint in _annotations(place).items():
                with contextlib.suppress(Exception):
                    try:
                        meaning = evaluated_hint(hint, outer, inner)
                    except NameError:  # a class within the method's own, say
                        meaning = evaluated_hint(hint, outer, {**around, **inner})
                    found[name] = substituted(meaning, known)
    return found


def _class_around(function: Any) -> dict[str, Any]:
    """The names of the class in whose body a function is written; none for any other function."""
    found = function.__globals__
    for name in function.__qualname__.split(".")[:-1]:
        owner = found.get(name)
        if not isinstance(owner, type):
            return {}
        found = vars(owner)
    return {} if found is function.__globals__ else dict(found)


def evaluated_hint(hint: Any, outer: dict[str, Any], inner: dict[str, Any]) -> Any:
    """Return an annotation without texts in it; raises whatever its code raises."""
    alone: Any = types.ModuleType("alone")  # a module may have a Final, too
    alone.__annotations__ = {"hint": hint}
    return typing.get_type_hints(alone, outer, inner, include_extras=True)["hint"]


def _annotations(place: Any) -> dict[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(place, format=annotationlib.Format.FORWARDREF)
    return inspect.get_annotations(place)


# --- generics ---------------------------------------------------------------------------------------------------------


def bound(kind: Any, variables: Variables | None = None) -> dict[Any, Variables]:
    """What the type variables of a class and of its bases stand for, by class: `class Prices(Box[Decimal])` says so."""
    found: dict[Any, Variables] = {}
    waiting = [(kind, variables or {})]
    for each, known in waiting:  # which grows
        if each in found:
            continue
        found[each] = known
        for base in vars(each).get("__orig_bases__", ()) if isinstance(each, type) else ():
            origin = typing.get_origin(base)
            if isinstance(origin, type):
                args = [substituted(arg, known) for arg in typing.get_args(base)]
                waiting.append((origin, dict(zip(getattr(origin, "__parameters__", ()), args, strict=False))))
        waiting += [(base, {}) for base in getattr(each, "__bases__", ())]
    return found


def arguments_of(kind: Any, args: tuple[Any, ...], among: Collection[Any]) -> tuple[Any, ...]:
    """The arguments of the nearest generic base that is one of these classes: `class Days(dict[str, date])`."""
    for each, known in bound(kind, dict(zip(getattr(kind, "__parameters__", ()), args, strict=False))).items():
        for base in vars(each).get("__orig_bases__", ()) if isinstance(each, type) else ():
            if typing.get_origin(base) in among:
                return tuple(substituted(arg, known) for arg in typing.get_args(base))
    return args


def variables_of(target: Any, function: Any) -> Variables:
    """What the type variables of a callable stand for by the class that it is a method or the constructor of."""
    kind = target if isinstance(target, type) else type(getattr(target, "__self__", None))
    every: Variables = {}
    each: Any
    for each, known in reversed(list(bound(kind).items())):
        every.update(known)
        if any(value is function for value in vars(each).values()):
            return dict(known)
    return every


def substituted(hint: Any, variables: Variables) -> Any:
    """The annotation with what its type variables stand for in their place."""
    if not variables:
        return hint
    if isinstance(hint, typing.TypeVar):
        return variables.get(hint, hint)
    parameters = () if isinstance(hint, type) and not typing.get_origin(hint) else getattr(hint, "__parameters__", ())
    if parameters:
        return hint[tuple(variables.get(each, each) for each in parameters)]
    return hint


# --- names and decorations --------------------------------------------------------------------------------------------


def meant(hint: Any, origin: Any) -> Any:
    """The annotation that another one only names or decorates; None for one that speaks for itself."""
    if getattr(hint, "__metadata__", None) is not None:  # Annotated
        return hint.__origin__
    if getattr(origin, "_name", None) in _WRAPPERS:
        return typing.get_args(hint)[0]
    if isinstance(hint, dataclasses.InitVar):
        return hint.type
    if isinstance(hint, typing.TypeVar):
        return _variable(hint)
    return getattr(hint, "__supertype__", None)  # NewType


def _variable(hint: Any) -> Any:
    if hint.__constraints__:
        return typing.Union[hint.__constraints__]  # noqa: UP007 - of a tuple
    has_default = getattr(hint, "has_default", None)  # of Python 3.13 and of typing_extensions
    return hint.__default__ if has_default is not None and has_default() else hint.__bound__


def alias_of(hint: Any, origin: Any) -> Any:
    """Return the type that a `type Name = …` (Python 3.12) names; None if the hint is no such alias."""
    alias = origin or hint
    if type(alias).__name__ != "TypeAliasType":
        return None
    return substituted(alias.__value__, dict(zip(alias.__type_params__, typing.get_args(hint), strict=False)))
