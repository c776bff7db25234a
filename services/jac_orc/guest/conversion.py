"""Arguments in JSON made into what parameters are annotated with: bytes, datetime, Decimal, Enum, dataclass, ndarray …

A converter takes a JSON value and gives another one; None stands for "as it is". What is not JSON (an object, bytes)
is never touched, nor is anything that an annotation is unclear about.
"""

from __future__ import annotations

import base64
import collections
import dataclasses
import enum
import functools
import inspect
import itertools
import math
import re
import sys
import typing
from collections import abc
from typing import Any

from .annotations import evaluated, function_of, meant
from .failures import Refusal
from .python_values import TEXT_CLASSES, loaded_class

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Collection

    Converter = Callable[[Any], Any]

_JSON_TYPES = (str, int, float, bool, list, dict, type(None))
_MAX_DEPTH = 20


class ConversionError(ValueError):
    """An argument that can't be what its parameter is annotated with; says what it must be, or has."""


class Converters:
    """The converters of a callable's parameters."""

    def __init__(self, signature: inspect.Signature, hints: dict[str, Any]) -> None:
        self._positional: list[tuple[str, Converter | None]] = []
        self._named: dict[str, Converter | None] = {}
        self._more_positional: tuple[str, Converter | None] = ("", None)
        self._more_named: Converter | None = None
        for parameter in signature.parameters.values():
            converter = converter_for(hints.get(parameter.name, Any))
            if parameter.kind is parameter.VAR_POSITIONAL:
                self._more_positional = (parameter.name, converter)
            elif parameter.kind is parameter.VAR_KEYWORD:
                self._more_named = converter
            else:
                self._named[parameter.name] = converter
                if parameter.kind is not parameter.KEYWORD_ONLY:
                    self._positional.append((parameter.name, converter))
        every = [*self._named.values(), self._more_positional[1], self._more_named]
        self.is_needed = any(converter is not None for converter in every)

    def convert(self, args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments as the callable wants them; raises Refusal that names the parameter of one that can't be so."""
        places = itertools.chain(self._positional, itertools.repeat(self._more_positional))
        converted = list(map(_converted, places, args))
        named = {name: _converted((name, self._named.get(name, self._more_named)), kwargs[name]) for name in kwargs}
        return converted, named


def _converted(place: tuple[str, Converter | None], value: Any) -> Any:
    name, converter = place
    if converter is None or type(value) not in _JSON_TYPES:
        return value
    try:
        return converter(value)
    except Exception as failure:  # what the constructors of these types raise, the module's own among them
        text = str(failure) if isinstance(failure, ConversionError) else "can't be converted: %s" % str(failure)[:300]
        raise Refusal("ARGUMENT_NOT_CONVERTIBLE", "the argument %s %s" % (name, text), parameter=name[:200]) from None


def _applied(converter: Converter | None, value: Any) -> Any:
    return value if converter is None or type(value) not in _JSON_TYPES else converter(value)


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
    converters = Converters(signature, {**hints, **evaluated(function_of(target))})
    return converters if converters.is_needed else None


def converter_for(hint: Any, depth: int = 0) -> Converter | None:
    """The converter to what an annotation says; None where a JSON value is that already, or nothing is known of it."""
    if depth > _MAX_DEPTH:
        return None
    try:
        simple: Converter | None = _SIMPLE.get(hint) or _of_library(hint)
    except TypeError:  # Annotated with what can't be hashed
        simple = None
    if simple is not None:
        return simple
    origin = typing.get_origin(hint)
    plain = meant(hint, origin)
    if plain is not None:
        return converter_for(plain, depth + 1)
    if origin is typing.Union or type(hint).__name__ == "UnionType":
        return _to_union(typing.get_args(hint), depth)
    array = getattr(sys.modules.get("numpy"), "ndarray", None)
    if array is not None and (origin or hint) is array:
        return _to_array(hint)
    if origin is not None:
        return _to_container(origin, typing.get_args(hint), depth)
    if isinstance(hint, type):
        return _to_class(hint, depth)
    return None


# --- scalars ----------------------------------------------------------------------------------------------------------


def _want(value: Any, kinds: Any, what: str) -> Any:
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise ConversionError("must be %s, not %s" % (what, type(value).__name__))
    return value


def _to_float(value: Any) -> Any:
    if type(value) is int:
        return float(value)
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value


def _to_int(value: Any) -> Any:
    return int(value) if type(value) is float and value.is_integer() else value


def _to_bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(_want(value, str, "a base64 string"), validate=True)
    except ValueError as failure:
        raise ConversionError("is not base64: %s" % failure) from None


def _to_complex(value: Any) -> Any:
    if isinstance(value, list) and len(value) == 2:
        return complex(*(_want(_to_float(part), (int, float), "a number") for part in value))
    return _want(value, (int, float), "[real, imaginary] or a number")


def _iso(text: Any) -> str:
    """ISO 8601 as Pythons before 3.11 read it, which don't know the Z."""
    text = str(_want(text, str, "a string in ISO 8601"))
    return str(text[:-1] + "+00:00" if text[-1:] in "zZ" and len(text) > 10 else text)


def _to_duration(kind: Any, value: Any) -> Any:
    if isinstance(value, str):
        found = re.match(r"(-?)(\d{1,15})(?:\.(\d{1,6}))?s\Z", value)
        if not found:
            raise ConversionError('must be a duration in seconds like "3.5s"')
        micros = int(found.group(2)) * 1_000_000 + int((found.group(3) or "").ljust(6, "0"))
        return kind(microseconds=-micros if found.group(1) else micros)
    return kind(seconds=_want(value, (int, float), "a number of seconds"))


def _to_decimal(kind: Any, value: Any) -> Any:
    try:
        return kind(str(_want(value, (str, int, float), "a number or a string")))
    except ArithmeticError:
        raise ConversionError("is no decimal number") from None


_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_SIMPLE: dict[Any, Any] = {
    float: _to_float,
    int: _to_int,
    bytes: _to_bytes,
    bytearray: lambda value: bytearray(_to_bytes(value)),
    memoryview: lambda value: memoryview(_to_bytes(value)),
    complex: _to_complex,
}
_LIBRARY: dict[str, Callable[[Any, Any], Any]] = {
    **dict.fromkeys(
        (*TEXT_CLASSES, "pathlib.Path", "pathlib.PurePath"), lambda kind, value: kind(_want(value, str, "a string"))
    ),
    "decimal.Decimal": _to_decimal,
    "fractions.Fraction": lambda kind, value: kind(_want(value, (str, int, float), "a number or a string")),
    "datetime.datetime": lambda kind, value: kind.fromisoformat(_iso(value)),
    "datetime.date": lambda kind, value: kind.fromisoformat(_want(value, str, "a date like 2026-01-31")),
    "datetime.time": lambda kind, value: kind.fromisoformat(_want(value, str, "a time like 10:30:00")),
    "datetime.timedelta": _to_duration,
}


def _of_library(hint: Any) -> Converter | None:
    """The converter to a class of the standard library, whose module is loaded if an annotation names the class."""
    for name, convert in _LIBRARY.items():
        if loaded_class(name) is hint:
            return functools.partial(convert, hint)
    return None


# --- containers -------------------------------------------------------------------------------------------------------

# Of a long list of numbers the types are looked at once.
_AS_THEY_ARE: dict[Any, set[type]] = {_to_float: {float}, _to_int: {int}}
# What a JSON array is made into.
_LISTS: dict[Any, Any] = {
    **dict.fromkeys((list, abc.Sequence, abc.MutableSequence, abc.Iterable, abc.Collection), list),
    **{kind: kind for kind in (tuple, set, frozenset, collections.deque)},
    abc.Set: frozenset,
    abc.MutableSet: set,
}


def _to_container(origin: Any, args: Any, depth: int) -> Converter | None:
    if origin in (dict, abc.Mapping, abc.MutableMapping) and len(args) == 2:
        return _to_mapping(args, depth)
    if isinstance(origin, type) and issubclass(origin, dict) and args:
        return _to_kind_of_dict(origin, args, depth)
    if origin is tuple and args and args[-1] is not Ellipsis:
        return _to_tuple([converter_for(arg, depth + 1) for arg in args if arg != ()])
    if origin in _LISTS:
        return _to_list(_LISTS[origin], converter_for(args[0], depth + 1) if args else None)
    return _to_class(origin, depth) if isinstance(origin, type) else None


def _to_list(kind: Any, item: Converter | None) -> Converter | None:
    if kind is list and item is None:
        return None

    def convert(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        if item is not None and set(map(type, value)) != _AS_THEY_ARE.get(item):
            value = [item(part) if type(part) in _JSON_TYPES else part for part in value]
        return value if kind is list else kind(value)

    return convert


_SIMPLE.update({kind: _to_list(made, None) for kind, made in _LISTS.items() if made is not list})


def _to_mapping(args: Any, depth: int) -> Converter | None:
    key, item = (converter_for(arg, depth + 1) for arg in args)
    if args[0] in (int, float):
        key = args[0]
    if key is None and item is None:
        return None

    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {(key(name) if key else name): _applied(item, part) for name, part in value.items()}

    return convert


def _to_kind_of_dict(kind: Any, args: Any, depth: int) -> Converter:
    """To an OrderedDict, a Counter or a defaultdict, which makes what is missing by the class of its values."""
    entries = _to_mapping((args[0], int) if len(args) == 1 else args, depth)
    factory = (args[-1] if isinstance(args[-1], type) else None,) if issubclass(kind, collections.defaultdict) else ()

    def convert(value: Any) -> Any:
        return kind(*factory, value if entries is None else entries(value)) if isinstance(value, dict) else value

    return convert


def _to_tuple(items: list[Converter | None]) -> Converter:
    def convert(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        if len(value) != len(items):
            raise ConversionError("must have %d items, not %d" % (len(items), len(value)))
        return tuple(map(_applied, items, value))

    return convert


def _to_union(options: Any, depth: int) -> Converter | None:
    """Convert to the first of several types that a value can be; a value that already is one of them stays.

    An int is a float to type checkers. Code that takes a float or something else, like Pillow, often wants it as it is.
    """
    fits = {*options, int} if float in options and len({*options} - {type(None)}) > 1 else {*options}
    numbers = [_SIMPLE[kind] for kind in (float, int) if kind in options]
    found = [(option, converter_for(option, depth + 1)) for option in options if option not in _JSON_TYPES]
    converters = [converter for _, converter in found if converter is not None]
    unknown = any(converter is None for _, converter in found)
    if not converters and not numbers:
        return None

    def convert(value: Any) -> Any:
        if type(value) in fits:
            return value
        for number in numbers:
            made = number(value)
            if made is not value:
                return made
        failures = []
        for converter in converters:
            try:
                return converter(value)
            except Exception as failure:  # noqa: PERF203 - of whichever type's constructor
                failures.append(failure)
        if unknown or not failures:
            return value
        raise failures[0]

    return convert


# --- classes ----------------------------------------------------------------------------------------------------------


def _to_class(kind: Any, depth: int) -> Converter | None:
    if issubclass(kind, enum.Enum):
        return _to_enum(kind)
    if dataclasses.is_dataclass(kind) or hasattr(kind, "__attrs_attrs__"):
        return _to_fields(kind, list(inspect.signature(kind).parameters))
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _to_fields(kind, kind._fields, is_sequence=True)
    if issubclass(kind, dict) and hasattr(kind, "__total__"):  # TypedDict
        of_field = _field_converter(kind)
        return lambda value: {name: of_field(name, value[name]) for name in value} if isinstance(value, dict) else value
    if hasattr(kind, "model_validate") and hasattr(kind, "model_fields"):
        return lambda value: kind.model_validate(value) if isinstance(value, dict) else value
    return None


def _to_enum(kind: Any) -> Converter:
    def convert(value: Any) -> Any:
        for member in kind:
            if member.value == value and type(member.value) is type(value):
                return member
        if isinstance(value, list):
            value = tuple(value)
        try:
            return kind(value)
        except ValueError:
            if isinstance(value, str) and value in kind.__members__:
                return kind[value]
        shown = ", ".join(repr(member.value) for member in kind)
        raise ConversionError("is no value of %s; known are %s" % (kind.__name__, shown[:300]))

    return convert


def _field_converter(kind: Any) -> Callable[[str, Any], Any]:
    """What converts a field of a class, by name; it looks at the class when first used, as that may contain itself."""

    @functools.lru_cache(maxsize=None)
    def converters() -> dict[str, Converter | None]:
        hints = {**evaluated(kind), **evaluated(function_of(kind))}
        return {name: converter_for(hint) for name, hint in hints.items()}

    def convert(name: str, value: Any) -> Any:
        converter = converters().get(name)
        if converter is None or type(value) not in _JSON_TYPES:
            return value
        try:
            return converter(value)
        except ConversionError as failure:
            raise ConversionError("has a field %s that %s" % (name, failure)) from None

    return convert


def _to_fields(kind: Any, names: Collection[str], *, is_sequence: bool = False) -> Converter:
    """To a class that is made of its fields: an object has them, or an array does in their order."""
    of_field = _field_converter(kind)

    def convert(value: Any) -> Any:
        if is_sequence and isinstance(value, list) and len(value) <= len(names):
            value = dict(zip(names, value))
        if not isinstance(value, dict):
            what = "an object or an array" if is_sequence else "an object"
            raise ConversionError("must be %s with the fields %s" % (what, ", ".join(names)))
        unknown = [name for name in value if name not in names]
        if unknown and not is_sequence:  # a named tuple's `__new__` may take others
            raise ConversionError("has a field %r, which %s has not" % (unknown[0][:100], kind.__name__))
        return kind(**{name: of_field(name, part) for name, part in value.items()})

    return convert


def _to_array(hint: Any) -> Converter:
    numpy: Any = sys.modules["numpy"]
    args = typing.get_args(hint)[1:]  # numpy.ndarray[shape, numpy.dtype[scalar]]
    scalars = [scalar for arg in args for scalar in typing.get_args(arg)]
    dtype = next((scalar for scalar in scalars if scalar in numpy.sctypeDict.values()), None)  # not numpy.floating

    def convert(value: Any) -> Any:
        return numpy.asarray(value, dtype=dtype) if isinstance(value, list) else value

    return convert
