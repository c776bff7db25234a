"""Converters to classes: enums, dataclasses, named tuples, typed dictionaries, and models of pydantic and msgspec."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import inspect
import sys
from typing import TYPE_CHECKING, Any

from .annotations import bound, evaluated, function_of
from .conversion_containers import inherits_making
from .conversion_scalars import ANY, ConversionError, Converter, How, applied, unfit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .conversion import Maker

_EMPTY = inspect.Parameter.empty


def fields_of_class(maker: Maker, kind: Any, args: tuple[Any, ...]) -> dict[str, Converter]:
    """The converters of a class's fields by name."""
    return _fields(maker, kind, dict(zip(getattr(kind, "__parameters__", ()), args, strict=False)))


def to_class(maker: Maker, kind: Any, args: tuple[Any, ...]) -> Converter:
    """The converter to a class, which may be generic; ANY for one whose values JSON doesn't tell."""
    if issubclass(kind, enum.Enum):
        return _to_enum(maker, kind)
    variables = dict(zip(getattr(kind, "__parameters__", ()), args, strict=False))
    if issubclass(kind, dict) and hasattr(kind, "__total__"):
        return _to_typed_dict(_fields(maker, kind, variables))
    if hasattr(kind, "__get_pydantic_core_schema__") and hasattr(sys.modules.get("pydantic"), "TypeAdapter"):
        return _to_model(_fields(maker, kind, variables), sys.modules["pydantic"].TypeAdapter(kind).validate_python)
    if dataclasses.is_dataclass(kind) or hasattr(kind, "__attrs_attrs__"):
        return _to_fields(maker, kind, variables)
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _to_fields(maker, kind, variables, is_sequence=True)
    if hasattr(kind, "__struct_fields__") and "msgspec" in sys.modules:
        whole = kind[args] if args else kind
        return _to_model(_fields(maker, kind, variables), lambda value: sys.modules["msgspec"].convert(value, whole))
    if hasattr(kind, "__fields__") and hasattr(kind, "parse_obj"):  # a model of pydantic before 2
        return _to_model(_fields(maker, kind, variables), kind.parse_obj)
    for base in (str, int, float, bytes, getattr(sys.modules.get("decimal"), "Decimal", str)):
        if inherits_making(kind, base):
            return _to_own(kind, base, maker.converter(base))
    return ANY


def _to_own(kind: Any, base: Any, converter: Converter) -> Converter:
    """To a class of the module's own from what its base is made of."""

    def convert(value: Any, how: How) -> Any:
        made = applied(converter, value, how)
        return kind(made) if type(made) is base else made

    return Converter(convert)


def _to_enum(maker: Maker, kind: Any) -> Converter:
    """To a member by its value, in the form that this has in JSON, or else by its name."""
    forms = [(member, maker.converter(type(member.value))) for member in kind]

    def convert(value: Any, how: How) -> Any:
        for member, _ in forms:
            if type(member.value) is type(value) and member.value == value:
                return member
        for member, form in forms:
            try:
                made = form.apply(value, how.strict)
            except Exception:  # noqa: S112 - of whichever class's constructor
                continue
            if type(made) is type(member.value) and made == member.value:
                return member
        try:
            return kind(tuple(value) if isinstance(value, list) else value)
        except ValueError:
            if isinstance(value, str) and value in kind.__members__:
                return kind[value]
        shown = ", ".join(repr(member.value) for member, _ in forms)
        raise ConversionError("is no value of %s; known are %s" % (kind.__name__, shown[:300]))

    return Converter(convert)


def _fields(maker: Maker, kind: Any, variables: dict[Any, Any]) -> dict[str, Converter]:
    """The converters of a class's fields by name. A field whose default is None may be null."""
    function = function_of(kind)
    of_class, every = evaluated(kind, variables), {}
    for known in reversed(list(bound(kind, variables).values())):
        every.update(known)
    inner = maker.within(kind)
    hints = {**of_class, **(evaluated(function, every) if function is not kind else {})}
    defaults = {}
    with contextlib.suppress(TypeError, ValueError):
        defaults = {name: each.default for name, each in inspect.signature(kind).parameters.items()}
    return {name: inner.converter(hint, defaults.get(name, _EMPTY)) for name, hint in hints.items()}


def _converted(fields: Mapping[str, Converter], name: str, value: Any, how: How) -> Any:
    converter = fields.get(name, ANY)
    if converter.is_plain and not how.is_strict:
        return value
    try:
        return applied(converter, value, how)
    except ConversionError as failure:
        raise ConversionError("has a field %s that %s" % (name[:100], failure)) from None


def _to_typed_dict(fields: Mapping[str, Converter]) -> Converter:
    def convert(value: Any, how: How) -> Any:
        if not isinstance(value, dict):
            return unfit(value, how, "an object")
        if how.is_strict and not value.keys() <= fields.keys():
            raise ConversionError("has other fields than %s" % ", ".join(fields))
        return {name: _converted(fields, name, value[name], how) for name in value}

    return Converter(convert)


def _to_fields(maker: Maker, kind: Any, variables: dict[Any, Any], *, is_sequence: bool = False) -> Converter:
    """To a class that is made of its fields: an object has them, or an array does in their order."""
    names = kind._fields if is_sequence else list(inspect.signature(kind).parameters)
    fields = _fields(maker, kind, variables)

    def convert(value: Any, how: How) -> Any:
        if is_sequence and isinstance(value, list) and len(value) <= len(names):
            value = dict(zip(names, value, strict=False))
        if not isinstance(value, dict):
            what = "an object or an array" if is_sequence else "an object"
            raise ConversionError("must be %s with the fields %s" % (what, ", ".join(names)))
        unknown = [name for name in value if name not in names]
        if unknown and not is_sequence:  # a named tuple's `__new__` may take others
            raise ConversionError("has a field %r, which %s has not" % (unknown[0][:100], kind.__name__))
        return kind(**{name: _converted(fields, name, part, how) for name, part in value.items()})

    return Converter(convert)


def _to_model(fields: Mapping[str, Converter], make: Callable[[Any], Any]) -> Converter:
    """To what has a reader of its own, which gets only those numbers that must be exact from here."""
    exact = [name for name, converter in fields.items() if converter.is_exact]

    def convert(value: Any, how: How) -> Any:
        if how.exact is not None and isinstance(value, dict):
            value = {
                name: _converted(fields, name, part, how) if name in exact else part for name, part in value.items()
            }
        return make(value)

    return Converter(convert)
