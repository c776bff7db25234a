"""Arguments and parameters: what a signature says, how arguments are fitted to it, and why they don't."""

from __future__ import annotations

import ast
import contextlib
import inspect
import itertools
import re
import types
import weakref
from typing import Any

from .annotations import function_of, passes_on
from .conversion import Converters, converters_of
from .failures import Refusal

_MOST_REMEMBERED = 10_000


def signature_of(target: Any) -> inspect.Signature | None:
    """The signature of a callable, from itself or from the first line of its docstring; None where neither tells it."""
    with contextlib.suppress(Exception):  # a signature is the user's code: anything may come out of it
        signature = inspect.signature(target)
        if isinstance(target, type) and passes_on(list(signature.parameters.values())):
            _, *parameters = inspect.signature(function_of(target)).parameters.values()
            return signature.replace(parameters=parameters)
        return signature
    found = None
    with contextlib.suppress(Exception):  # there may be no text, or anything else
        found = re.match(r"[\w.]+(\(.*\))(?:\s*->.*)?$", target.__doc__.strip().partition("\n")[0])
    if not found:
        return None
    try:
        return _signature_from("def f%s: pass" % found.group(1))
    except (SyntaxError, ValueError):  # a text that only looks like a signature
        return None


def _signature_from(source: str) -> inspect.Signature:
    """The signature of a function that is compiled but never run, not even its defaults: each is None here."""
    tree: Any = ast.parse(source)
    arguments = tree.body[0].args
    code = next(value for value in compile(tree, "f", "exec").co_consts if getattr(value, "co_name", "") == "f")
    function = types.FunctionType(code, {}, "f", (None,) * len(arguments.defaults))
    named = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    function.__kwdefaults__ = {arg.arg: None for arg, default in named if default is not None}
    return _FromText(list(inspect.signature(function).parameters.values()))


class _FromText(inspect.Signature):
    """A signature out of a docstring, whose defaults are unknown."""


class Parameters:
    """What is known of the parameters of callables that have been called; found out once for each.

    Annotations are the module's code: they are not evaluated again.
    """

    def __init__(self) -> None:
        self._known: dict[Any, tuple[Any, Any, Converters | None]] = {}

    def fitted(self, target: Any, args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments converted to what the parameters are annotated with; raises Refusal that names a fault."""
        converters = self.converters(target) if args or kwargs else None
        return (args, kwargs) if converters is None else converters.convert(args, kwargs)

    def converters(self, target: Any) -> Converters | None:
        """The converters of a callable's parameters; None where none needs one."""
        if isinstance(target, types.MethodType):
            # By class, because the class gives its type variables their types.
            function, owner = target.__func__, target.__self__
            kind: Any = owner if isinstance(owner, type) else type(owner)
        elif isinstance(target, types.BuiltinFunctionType):
            return None  # has no annotations
        else:
            function, kind = target, None
        key = id(function), id(kind)
        known = self._known.get(key)
        if known is not None and known[0] is function and known[1] is kind:
            return known[2]
        if isinstance(function, (types.FunctionType, type)):
            return self._remember(key, function, kind, converters_of(target, signature_of(target)))
        # An object is remembered as long as it lives.
        if known is not None and isinstance(known[0], weakref.ref) and known[0]() is target:
            return known[2]
        found = converters_of(target, signature_of(target))
        with contextlib.suppress(TypeError):  # to such an object there are no weak references
            self._remember(key, weakref.ref(target), kind, found)
        return found

    def _remember(self, key: Any, function: Any, kind: Any, converters: Converters | None) -> Converters | None:
        if len(self._known) >= _MOST_REMEMBERED:
            self._known.clear()
        self._known[key] = function, kind, converters  # which keeps functions and classes, so that ids stay their own
        return converters


def positional_only(target: Any, named: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Named arguments as positional and named ones, for parameters that can't be passed by name.

    One that is left out before another has its default.
    """
    signature, args, rest = signature_of(target), [], dict(named)
    found = signature.parameters.values() if signature else ()
    only = list(itertools.takewhile(lambda each: each.kind is inspect.Parameter.POSITIONAL_ONLY, found))
    while only and only[-1].name not in rest:
        only.pop()
    for parameter in only:
        if parameter.name in rest:
            args.append(rest.pop(parameter.name))
        elif parameter.default is parameter.empty or isinstance(signature, _FromText):
            break
        else:
            args.append(parameter.default)
    return args, rest


def binds_as_one_list(target: Any, args: list[Any]) -> bool:
    """Whether the arguments don't bind as they are but one list of them does, decided without calling anything."""
    signature = signature_of(target)
    return signature is not None and bool(_fault(signature, args, {})) and not _fault(signature, [args], {})


def _fault(signature: inspect.Signature, args: list[Any], kwargs: dict[str, Any]) -> str:
    """Why arguments don't bind; empty where they do."""
    try:
        signature.bind(*args, **kwargs)
    except TypeError as failure:
        return str(failure)
    return ""


def explain_binding(target: Any, method: str, args: list[Any], kwargs: dict[str, Any], failure: TypeError) -> None:
    """Raises the Refusal that names the parameter at fault, where the signature tells that one is."""
    signature = signature_of(target)
    text = _fault(signature, args, kwargs) if signature else ""
    if signature is None or not text:
        return
    found = re.search(r"'([^']*)'", text)
    if found:
        parameter = found.group(1)
    else:  # too many positional arguments: the last parameter that takes one
        places = [p for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        parameter = places[-1].name if places else ""
        text += ": %d given, at most %d taken" % (len(args), len(places))
    message = "%s%s: %s" % (method, str(signature)[:300], text)
    raise Refusal("ARGUMENTS_DO_NOT_BIND", message, method=method[:200], parameter=parameter[:200]) from failure
