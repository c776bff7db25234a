"""Converters to lists, tuples, sets and mappings of any kind."""

from __future__ import annotations

import collections
import json
import types
import typing
from collections import abc
from typing import TYPE_CHECKING, Any

from .annotations import arguments_of
from .conversion_scalars import ANY, FLOAT, INT, SIMPLE, ConversionError, Converter, How, applied, unfit

if TYPE_CHECKING:
    from .conversion import Maker

# Of a long list of numbers the types are looked at once.
_AS_THEY_ARE: dict[Any, set[type]] = {FLOAT: {float}, INT: {int}}
# What a JSON array is made into.
_LISTS: dict[Any, Any] = {
    **dict.fromkeys(
        (list, abc.Sequence, abc.MutableSequence, abc.Iterable, abc.Collection, abc.Reversible, abc.Container), list
    ),
    **{kind: kind for kind in (tuple, set, frozenset, collections.deque, collections.UserList)},
    **dict.fromkeys((abc.Iterator, abc.Generator), iter),
    abc.Set: frozenset,
    abc.MutableSet: set,
}
_OWN_LISTS = (list, tuple, set, frozenset, collections.deque, collections.UserList)
# What a JSON object is made into.
_MAPPINGS: dict[Any, Any] = {
    **dict.fromkeys((dict, abc.Mapping, abc.MutableMapping), dict),
    **{kind: kind for kind in (collections.UserDict, collections.ChainMap, types.MappingProxyType)},
    types.SimpleNamespace: lambda value: types.SimpleNamespace(**value),
}
_MAKERS = frozenset((*_LISTS, *_MAPPINGS, collections.Counter, collections.OrderedDict, collections.defaultdict))
_SCALARS = (bool, int, float, type(None))


def to_container(maker: Maker, kind: Any, args: tuple[Any, ...]) -> Converter | None:
    """The converter to a container of what the arguments say; None for what is none."""
    if kind is tuple and args and args[-1] is not Ellipsis:
        return _to_tuple([maker.converter(arg) for arg in args if arg != ()])
    if kind in _LISTS:
        return _to_list(_LISTS[kind], maker.converter(args[0]) if args else ANY)
    if kind in _MAPPINGS:
        return _to_mapping(_MAPPINGS[kind], *_entries(maker, args))
    if not isinstance(kind, type) or hasattr(kind, "__total__") or hasattr(kind, "_fields"):
        return None
    if kind not in _MAKERS:
        maker, args = maker.within(kind), arguments_of(kind, args, _MAKERS)
    if any(inherits_making(kind, base) for base in _OWN_LISTS):
        return _to_list(kind, maker.converter(args[0]) if args else ANY)
    if not issubclass(kind, dict):
        return None
    if issubclass(kind, collections.Counter):
        return _to_mapping(kind, *_entries(maker, (*args[:1], int)))
    if issubclass(kind, collections.defaultdict):
        factory = typing.get_origin(args[-1]) or args[-1] if args else None
        return _to_mapping(lambda value: kind(factory if callable(factory) else None, value), *_entries(maker, args))
    return _to_mapping(kind, *_entries(maker, args))


def inherits_making(kind: type, base: type) -> bool:
    """Whether a class's values are made as those of the base are."""
    made: Any = kind  # mypy takes `__init__` of a class for one of an instance
    return issubclass(kind, base) and made.__new__ is base.__new__ and made.__init__ is base.__init__  # type: ignore[misc]


def _entries(maker: Maker, args: tuple[Any, ...]) -> tuple[Converter, Converter]:
    key, item = args if len(args) == 2 else (Any, Any)
    return (ANY if key is str else _key(maker.converter(key))), maker.converter(item)


def _to_list(kind: Any, item: Converter) -> Converter:
    as_they_are = _AS_THEY_ARE.get(item)

    def convert(value: Any, how: How) -> Any:
        if type(value) is not list:
            return unfit(value, how, "an array")
        if item is not ANY and set(map(type, value)) != as_they_are and (how.is_strict or not item.is_plain):
            value = [applied(item, part, how) for part in value]
        return value if kind is list else kind(value)

    return Converter(convert, is_plain=kind is list and item.is_plain)


def _to_tuple(items: list[Converter]) -> Converter:
    def convert(value: Any, how: How) -> Any:
        if type(value) is not list:
            return unfit(value, how, "an array")
        if len(value) != len(items):
            raise ConversionError("must have %d items, not %d" % (len(items), len(value)))
        return tuple(applied(item, part, how) for item, part in zip(items, value, strict=True))

    return Converter(convert)


def _to_mapping(kind: Any, key: Converter, item: Converter) -> Converter:
    """To a dict or its like, from an object, or from an array of pairs as results have it for such keys."""

    def convert(value: Any, how: How) -> Any:
        if type(value) is list and key is not ANY and all(type(pair) is list and len(pair) == 2 for pair in value):
            pairs: Any = value
        elif type(value) is dict:
            pairs = value.items()
        else:
            return unfit(value, how, "an object")
        made = {applied(key, name, how): applied(item, part, how) for name, part in pairs}
        return made if kind is dict else kind(made)

    return Converter(convert, is_plain=kind is dict and key is ANY and item.is_plain)


def _key(converter: Converter) -> Converter:
    """To a key, which JSON has as a text: of that what it says itself, else of the number, boolean or null in it."""
    if converter is ANY or converter is SIMPLE[str]:
        return ANY

    def convert(value: Any, how: How) -> Any:
        try:
            return converter.apply(value, how.strict)
        except Exception as failure:
            try:
                scalar = json.loads(value) if isinstance(value, str) else None
                if type(scalar) in _SCALARS and isinstance(value, str):
                    return converter.apply(scalar, how.strict)
            except ValueError:
                pass
            raise ConversionError("has a key %r, which %s" % (str(value)[:100], failure)) from None

    return Converter(convert)
