"""Arguments in JSON made into what parameters are annotated with: bytes, datetime, Decimal, Enum, dataclass, ndarray …

What single values become is in `conversion_scalars`; containers and classes have a file each. Here are the parameters
of a callable, and annotations that lead to others: unions, literals, names, generics.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import sys
import types
import typing
from typing import Any

from .annotations import alias_of, evaluated, evaluated_hint, function_of, meant, variables_of
from .conversion_classes import fields_of_class, to_class
from .conversion_containers import to_container
from .conversion_scalars import (
    ANY,
    AS_WRITTEN,
    EXACT_CLASSES,
    JSON_TYPES,
    SIMPLE,
    ConversionError,
    Converter,
    Exact,
    How,
    of_library,
    unfit,
)
from .failures import Refusal

if typing.TYPE_CHECKING:
    from collections.abc import Callable

    Place = tuple[str, Converter]

_MAX_DEPTH = 20
_EMPTY = inspect.Parameter.empty


class Converters:
    """The converters of a callable's parameters."""

    def __init__(self, signature: inspect.Signature, hints: dict[str, Any], maker: Maker) -> None:
        self._positional: list[Place] = []
        self._named: dict[str, Converter] = {}
        self._more_positional = self._more_named = "", ANY
        for name, parameter in signature.parameters.items():
            hint = hints.get(name, Any)
            if parameter.kind is parameter.VAR_POSITIONAL:
                first, rest = maker.items(hint)
                self._positional += [(name, converter) for converter in first]
                self._more_positional = name, rest
            elif parameter.kind is parameter.VAR_KEYWORD:
                fields, rest = maker.fields(hint)
                self._named = {**fields, **self._named}
                self._more_named = name, rest
            else:
                self._named[name] = maker.converter(hint, parameter.default)
                if parameter.kind is not parameter.KEYWORD_ONLY:
                    self._positional.append((name, self._named[name]))
        every = [*dict(self._positional).values(), *self._named.values(), self._more_positional[1], self._more_named[1]]
        self.is_needed = not all(converter.is_plain for converter in every)
        self.is_exact = any(converter.is_exact for converter in every)

    def convert(
        self, args: list[Any], kwargs: dict[str, Any], exact: Exact | None = None
    ) -> tuple[list[Any], dict[str, Any]]:
        """The arguments as the callable wants them; raises Refusal that names the parameter of one that can't be so."""
        how = AS_WRITTEN if exact is None else How(exact)
        places = itertools.chain(self._positional, itertools.repeat(self._more_positional))
        converted = [_converted(place, value, how) for place, value in zip(places, args, strict=False)]
        named = {
            name: _converted((name, self._named.get(name, self._more_named[1])), kwargs[name], how) for name in kwargs
        }
        return converted, named


def _converted(place: Place, value: Any, how: How) -> Any:
    name, converter = place
    if converter.is_plain or type(value) not in JSON_TYPES:
        return value
    try:
        return converter.apply(value, how)
    except Exception as failure:  # what the constructors of these types raise, the module's own among them
        text = str(failure) if isinstance(failure, ConversionError) else "can't be converted: %s" % str(failure)[:300]
        raise Refusal("ARGUMENT_NOT_CONVERTIBLE", "the argument %s %s" % (name, text), parameter=name[:200]) from None


def converters_of(target: Any, signature: inspect.Signature | None) -> Converters | None:
    """The converters of a callable; None where none of its parameters needs one."""
    if signature is None:
        return None
    hints = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if parameter.annotation is not parameter.empty
    }
    if not hints:
        return None
    function = None
    with contextlib.suppress(Exception):  # what is found in its place may be anything
        function = function_of(target)
        hints.update(evaluated(function, variables_of(target, function)))
        first = next(iter(signature.parameters))
        if first in hints and isinstance(getattr(target, "registry", None), types.MappingProxyType):
            # A function of `functools.singledispatch` takes what any of its implementations does, `object` included.
            hints[first] = typing.Union[(hints[first], *target.registry)]
    owner = target if isinstance(target, type) else getattr(target, "__self__", None)
    maker = Maker(getattr(function, "__globals__", {}), owner if isinstance(owner, type) else type(owner))
    converters = Converters(signature, hints, maker)
    return converters if converters.is_needed else None


class Maker:
    """Makes converters of annotations. Each class and each name is looked at once, as it may lead back to itself."""

    def __init__(self, names: dict[str, Any], own: Any, outer: Maker | None = None) -> None:
        """`names` is the namespace of the annotations; `own` is the class that `Self` means there."""
        self._names = names
        self._own = own
        self._known: dict[Any, Converter] = {} if outer is None else outer._known
        self._exact: list[Any] = [] if outer is None else outer._exact
        self._depth: int = 0 if outer is None else outer._depth

    def within(self, kind: type) -> Maker:
        """What makes converters of annotations in the body of a class."""
        return Maker(vars(sys.modules.get(kind.__module__, sys)), kind, self)

    def converter(self, hint: Any, default: Any = _EMPTY) -> Converter:
        """The converter to what an annotation says; ANY where nothing is known of that.

        A default of None allows null, as in `on: date = None`.
        """
        if self._depth > _MAX_DEPTH:
            return ANY
        seen = len(self._exact)
        self._depth += 1
        try:
            made = self._converter(hint)
        except Exception:  # it may be anything, with code that fails
            made = ANY
        finally:
            self._depth -= 1
        if default is None and not made.is_plain:
            made = Converter(lambda value, how, made=made: None if value is None else made.apply(value, how))  # type: ignore[misc]
        if len(self._exact) > seen:
            made.is_exact = True
        return made

    def _converter(self, hint: Any) -> Converter:
        try:
            simple = SIMPLE.get(hint)
        except TypeError:  # Annotated with what can't be hashed
            simple = None
        if simple is not None:
            return simple
        origin = typing.get_origin(hint)
        found = of_library(origin or hint)
        if found is not None:
            self._exact += [hint] if found[0] in EXACT_CLASSES else ()
            return found[1]
        if getattr(hint, "_name", None) == "Self" and self._own is not None:
            hint = self._own
        plain = meant(hint, origin)
        if plain is not None:
            return self.converter(plain)
        if isinstance(hint, (str, typing.ForwardRef)):
            return self._once(str(hint), lambda: evaluated_hint(hint, self._names, {}))
        alias = alias_of(hint, origin)
        if alias is not None:
            return self._once(hint, lambda: alias)
        args = typing.get_args(hint)
        if origin is typing.Union or isinstance(hint, types.UnionType):
            return self._union(args)
        if getattr(origin, "_name", None) == "Literal":
            return self._literal(args)
        return self._class(origin or hint, args)

    def _once(self, key: Any, find: Callable[[], Any]) -> Converter:
        """Return the converter of a named type, which may contain itself."""
        return self._remembered(key, lambda: self.converter(find()))

    def _remembered(self, key: Any, make: Callable[[], Converter]) -> Converter:
        """A converter that is made once; it is there before it is made."""
        try:
            known = self._known.get(key)
        except TypeError:  # what can't be hashed is made each time
            return make()
        if known is None:
            known = self._known[key] = Converter(ANY.apply)
            known.apply = functools.partial(_apply_later, known)
            try:
                made = make()
            except Exception:  # a name that is for type checkers only, or code that fails
                made = ANY
            made = ANY if made is known else made
            known.apply, known.is_plain, known.is_exact = made.apply, made.is_plain, made.is_exact
        self._exact += [key] if known.is_exact else ()
        return known

    def _class(self, kind: Any, args: tuple[Any, ...]) -> Converter:
        array = getattr(sys.modules.get("numpy"), "ndarray", None)
        if array is not None and kind is array:
            return _to_array(args)
        container = to_container(self, kind, args)
        if container is not None:
            return container
        if isinstance(kind, type):
            return self._remembered((kind, args), lambda: to_class(self, kind, args))
        return ANY

    # --- parameters that take the rest of the arguments ---

    def items(self, hint: Any) -> tuple[list[Converter], Converter]:
        """The converters of `*args`: of the first ones, and of each further one."""
        unpacked = _unpacked(hint)
        if unpacked is None:
            return [], self.converter(hint)
        args = typing.get_args(unpacked)
        if args[-1:] == (Ellipsis,):
            return [], self.converter(args[0])
        return [self.converter(arg) for arg in args], ANY

    def fields(self, hint: Any) -> tuple[dict[str, Converter], Converter]:
        """The converters of `**kwargs`: of those that a typed dictionary names, and of any other."""
        unpacked = _unpacked(hint)
        if unpacked is None:
            return {}, self.converter(hint)
        kind = typing.get_origin(unpacked) or unpacked
        return fields_of_class(self, kind, typing.get_args(unpacked)), ANY

    # --- one of several ---

    def _union(self, options: tuple[Any, ...]) -> Converter:
        """To the first of several types that a value fits; one that JSON has is taken as it is.

        An int fits a float among several types, as it does for type checkers: Pillow's colours are annotated so, and
        its modes of whole numbers reject a float.
        """
        converters = [self.converter(option) for option in options]
        own = {option for option in options if option in JSON_TYPES}
        if float in own and len({*options} - {type(None)}) > 1:
            own.add(int)
        is_open = any(converter is ANY for converter in converters)

        def convert(value: Any, how: How) -> Any:
            if type(value) in own:
                return value
            for converter in converters:
                if converter is not ANY:
                    try:
                        return converter.apply(value, how.strict)
                    except Exception:  # noqa: S112 - of whichever type's constructor
                        continue
            if is_open:
                return value
            if how.is_strict:
                raise ConversionError("must be one of %s" % ", ".join(map(_shown, options)))
            for converter in converters:  # which raises if it must be other than it is
                converter.apply(value, how)
            return value

        return Converter(convert, is_plain=all(converter.is_plain for converter in converters))

    def _literal(self, options: tuple[Any, ...]) -> Converter:
        """Convert to one of several values; enum members and bytes are recognised by their JSON form."""
        forms = [(option, self.converter(type(option))) for option in options]
        is_plain = all(converter.is_plain or type(option) is int for option, converter in forms)

        def convert(value: Any, how: How) -> Any:
            for option, converter in forms:
                try:
                    made = converter.apply(value, how.strict)
                except Exception:  # noqa: S112 - of whichever class's constructor
                    continue
                if type(made) is type(option) and made == option:
                    return option
            if is_plain and not how.is_strict:
                return value
            raise ConversionError("must be one of %s" % ", ".join(map(repr, options))[:300])

        return Converter(convert)


def _apply_later(converter: Converter, value: Any, how: How) -> Any:
    """Apply what a converter does once it is made."""
    return converter.apply(value, how)


def _shown(hint: Any) -> str:
    return getattr(hint, "__name__", None) or str(hint)


def _unpacked(hint: Any) -> Any:
    """What an `Unpack[…]` or a `*` unpacks; None for another annotation."""
    if getattr(typing.get_origin(hint), "_name", None) == "Unpack":
        return typing.get_args(hint)[0]
    return hint if getattr(hint, "__unpacked__", False) else None


def _to_array(args: tuple[Any, ...]) -> Converter:
    """To an array, of `numpy.ndarray[shape, numpy.dtype[scalar]]` of that type."""
    numpy: Any = sys.modules["numpy"]
    scalars = [scalar for arg in args[1:] for scalar in typing.get_args(arg)]
    dtype = next((scalar for scalar in scalars if scalar in numpy.sctypeDict.values()), None)  # not numpy.floating

    def convert(value: Any, how: How) -> Any:
        return numpy.asarray(value, dtype=dtype) if type(value) is list else unfit(value, how, "an array")

    return Converter(convert)
